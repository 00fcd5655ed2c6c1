//! Prints `worker/src/rpc.generated.ts`: what tabs and hub say to each other, as TypeScript.

use std::io::Write;

use offprint_protocol::rpc::{
    Connection, Problem, Progress, Rejection, Reply, Request, Select, Shortage, Status, Storage, StorageKind,
    TabEvent, TabRequest,
};
use offprint_protocol::{Code, Definition, Lsn, MutationSeq, MutatorSource, RequestNo};
use ts_rs::{Config, TS};

const HEAD: &str = "\
// Generated from crate/protocol by `npm run build`; not edited by hand.

/**
 * A SQLite value: NULL, INTEGER (a number without fraction, or a bigint of 64 bits), REAL, TEXT, BLOB.
 * `true` and `false` are stored as 1 and 0.
 */
export type SqlValue = null | number | bigint | string | boolean | Uint8Array;
";

fn declare<T: TS>(out: &mut String, config: &Config) {
    out.push('\n');
    if let Some(docs) = T::docs() {
        out.push_str(docs.trim_end());
        out.push('\n');
    }
    out.push_str("export ");
    out.push_str(&T::decl(config));
    out.push('\n');
}

fn main() -> std::io::Result<()> {
    let config = Config::new().with_large_int("number");
    let mut out = HEAD.to_owned();
    declare::<Code>(&mut out, &config);
    declare::<Problem>(&mut out, &config);
    declare::<RequestNo>(&mut out, &config);
    declare::<MutationSeq>(&mut out, &config);
    declare::<Lsn>(&mut out, &config);
    declare::<MutatorSource>(&mut out, &config);
    declare::<Definition>(&mut out, &config);
    declare::<Select>(&mut out, &config);
    declare::<Request>(&mut out, &config);
    declare::<TabRequest>(&mut out, &config);
    declare::<Reply>(&mut out, &config);
    declare::<Rejection>(&mut out, &config);
    declare::<Connection>(&mut out, &config);
    declare::<Progress>(&mut out, &config);
    declare::<StorageKind>(&mut out, &config);
    declare::<Shortage>(&mut out, &config);
    declare::<Storage>(&mut out, &config);
    declare::<Status>(&mut out, &config);
    declare::<TabEvent>(&mut out, &config);
    std::io::stdout().lock().write_all(out.as_bytes())
}
