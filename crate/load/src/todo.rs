//! The mutations of the bench's definition (demo/bench/page/definition.ts).

use offprint_protocol::{Argument, Value};

/// A mutator's name and arguments.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) args: Vec<Argument>,
}

/// Changes one bit of a row.
pub(crate) fn toggle(row: u64) -> Call {
    call("toggle", [("id", text(format!("todo-{row:06}")))])
}

/// Adds a row with a random key.
pub(crate) fn insert(at: u64) -> Call {
    let title = text(format!("Something to do, and it is number {at}"));
    call(
        "insert",
        [("id", text(uuid(at))), ("list", text(format!("list-{:02}", at % 100))), ("title", title)],
    )
}

/// Adds rows from … to `to` - 1, of some fifty bytes.
pub(crate) fn fill(from: u64, to: u64) -> Call {
    call("fill", [("from", integer(from)), ("to", integer(to))])
}

/// Adds rows from … to `to` - 1, of about a kilobyte.
pub(crate) fn bulk(from: u64, to: u64) -> Call {
    call("bulk", [("from", integer(from)), ("to", integer(to))])
}

/// `args` are in ascending order of their names.
fn call<const N: usize>(name: &'static str, args: [(&str, Value); N]) -> Call {
    let args = args.map(|(name, value)| Argument { name: name.to_owned(), value });
    Call { name, args: args.into() }
}

fn text(text: String) -> Value {
    Value::Text(text)
}

fn integer(number: u64) -> Value {
    Value::Integer(number as i64)
}

/// Looks like what `crypto.randomUUID` gives, and is the same in every run.
fn uuid(at: u64) -> String {
    let [a, b] = [mixed(2 * at), mixed(2 * at + 1)];
    let (first, second, third) = (a >> 32, a >> 16 & 0xffff, a & 0xfff);
    format!("{first:08x}-{second:04x}-4{third:03x}-8{:03x}-{:012x}", b >> 52, b & 0xffff_ffff_ffff)
}

/// splitmix64.
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
