//! The commands on a data directory: a document goes out as a SQLite file and comes in as one.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Command;

use offprint_protocol::*;
use offprint_server::{FileDisk, Limits};
use rusqlite::Connection;
use support::{Copy, Running, add, push};
use tempfile::TempDir;

/// What the program says on stdout; or, if it fails, on stderr.
fn offprint(data: &TempDir, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offprint"));
    let output = command.args(arguments).arg("--data").arg(data.path().join("data")).output().unwrap();
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    match output.status.code() {
        Some(0) => Ok(out),
        Some(1) => Err(out + &error),
        other => panic!("{other:?}: {error}"),
    }
}

async fn serve(data: &TempDir) -> Running {
    Running::start(&data.path().join("data"), Limits::default()).await
}

/// Some notes in documents, made over the wire.
async fn made(documents: &[&str]) -> TempDir {
    let data = tempfile::tempdir().unwrap();
    let server = serve(&data).await;
    for document in documents {
        let mut copy = Copy::new(document, 1);
        let mut socket = copy.connect(server.address).await;
        socket.send(&push([add(1, "one"), add(2, "one"), add(3, document)])).await;
        copy.until(&mut socket, 3).await;
    }
    server.stop().await;
    data
}

fn texts(path: &Path) -> Vec<String> {
    let sqlite = Connection::open(path).unwrap();
    let check: String = sqlite.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut statement = sqlite.prepare("SELECT text FROM note ORDER BY n").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn file(data: &TempDir, name: &str) -> String {
    data.path().join(name).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_document_goes_out_and_comes_in_as_a_sqlite_file() {
    let data = made(&["a"]).await;
    let (out, again) = (file(&data, "out.db"), file(&data, "again.db"));
    offprint(&data, &["export", "a", &out]).unwrap();
    assert_eq!(texts(Path::new(&out)), ["one", "a"]);
    offprint(&data, &["import", "b", &out]).unwrap();
    offprint(&data, &["export", "b", &again]).unwrap();
    assert_eq!(texts(Path::new(&again)), ["one", "a"]);
    let server = serve(&data).await;
    let mut copy = Copy::new("b", 1);
    let mut socket = copy.connect(server.address).await;
    socket.send(&push([add(1, "two")])).await;
    copy.until(&mut socket, 1).await;
    assert_eq!(copy.query::<String>("SELECT text FROM note ORDER BY n"), ["one", "a", "two"]);
}

#[tokio::test]
async fn nothing_that_is_there_is_replaced() {
    let data = made(&["a", "b"]).await;
    let out = file(&data, "out.db");
    std::fs::write(&out, "mine").unwrap();
    let error = offprint(&data, &["export", "a", &out]).unwrap_err();
    assert!(error.contains("offprint: disk: "), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    std::fs::remove_file(&out).unwrap();
    offprint(&data, &["export", "a", &out]).unwrap();
    let error = offprint(&data, &["import", "b", &out]).unwrap_err();
    assert!(error.contains("bad_argument: there is a document b already"), "{error}");
    let error = offprint(&data, &["export", "absent", &file(&data, "absent.db")]).unwrap_err();
    assert!(error.contains("bad_argument: there is no document absent"), "{error}");
    assert_eq!(offprint(&data, &["verify"]).unwrap(), "a: ok\nb: ok\n2 ok, 0 not\n");
}

#[tokio::test]
async fn any_sound_sqlite_file_comes_in_and_has_the_migrations_that_it_lacks() {
    let data = tempfile::tempdir().unwrap();
    let path = file(&data, "small.db");
    let sqlite = Connection::open(&path).unwrap();
    let mode: String = sqlite
        .execute_batch("PRAGMA page_size = 1024; PRAGMA auto_vacuum = FULL")
        .and_then(|()| sqlite.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)))
        .unwrap();
    assert_eq!(mode, "wal");
    // The first of the definition's two migrations.
    sqlite.execute_batch(&support::definition().migrations[0]).unwrap();
    sqlite
        .execute_batch(
            "PRAGMA user_version = 1; WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 500)
             INSERT INTO note (text) SELECT 'note ' || n FROM n",
        )
        .unwrap();
    // Still open, and its WAL not written back.
    offprint(&data, &["import", "a", &path]).unwrap();
    let server = serve(&data).await;
    let mut copy = Copy::new("a", 1);
    copy.connect(server.address).await;
    assert_eq!(copy.query::<i64>("SELECT count(*) FROM note"), [500]);
    assert_eq!(copy.query::<i64>("SELECT count(*) FROM seen"), [0]);
    drop(sqlite);
}

#[tokio::test]
async fn a_file_that_cannot_be_a_document_is_refused_with_a_code_and_leaves_none() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("data")).unwrap();
    let make = |name: &str, sql: &str| {
        let path = file(&data, name);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    };
    let text = file(&data, "text.db");
    std::fs::write(&text, "x".repeat(10_000)).unwrap();
    let damaged =
        make("damaged.db", "CREATE TABLE a (b); CREATE INDEX c ON a (b); INSERT INTO a VALUES (1), (2)");
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[2 * PAGE_SIZE..].fill(0x55);
    std::fs::write(&damaged, bytes).unwrap();
    let absent = file(&data, "absent.db");
    for (path, code) in [
        (text, "corrupt"),
        (damaged, "corrupt"),
        (make("utf16.db", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE a (b)"), "bad_argument"),
        (
            make(
                "newer.db",
                "CREATE TABLE a (b); PRAGMA writable_schema = ON; INSERT INTO sqlite_schema \
            VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING fts5(x)')",
            ),
            "bad_argument",
        ),
        (absent, "sql"),
    ] {
        let error = offprint(&data, &["import", "a", &path]).unwrap_err();
        assert!(error.starts_with(&format!("offprint: {code}: ")), "{path}: {error}");
    }
    assert_eq!(offprint(&data, &["verify"]).unwrap(), "0 ok, 0 not\n");
}

#[tokio::test]
async fn a_running_server_keeps_every_command_out() {
    let data = made(&["a"]).await;
    let server = serve(&data).await;
    let out = file(&data, "out.db");
    for arguments in [&["export", "a", &out][..], &["import", "b", &out], &["inspect"], &["verify", "a"]] {
        let error = offprint(&data, arguments).unwrap_err();
        assert!(error.starts_with("offprint: blocked: "), "{error}");
    }
    assert!(!Path::new(&out).exists());
    server.stop().await;
    offprint(&data, &["verify"]).unwrap();
}

#[tokio::test]
async fn where_a_document_stands_is_printed() {
    let data = made(&["a", "b"]).await;
    let text = offprint(&data, &["inspect", "b"]).unwrap();
    let client = "01".repeat(16);
    for expected in [
        "b\n  journal: ",
        "\n  lsn: 2\n",
        "\n  pages: ",
        "\n  file log-0: ",
        "\n  clients: 1\n",
        &format!("\n  client {client}: decided through 3, 1 rejections kept\n"),
    ] {
        assert!(text.contains(expected), "{expected}{text}");
    }
    assert!(offprint(&data, &["inspect"]).unwrap().starts_with("a\n"));
}

#[tokio::test]
async fn what_is_damaged_is_told_apart_from_what_is_not() {
    let data = made(&["a", "b", "c"]).await;
    let directory = data.path().join("data").join(FileDisk::directory_name(&DocumentId::new("b").unwrap()));
    for name in ["head", "log-0", "log-1"] {
        let path = directory.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 0x10);
        std::fs::write(&path, bytes).unwrap();
    }
    let text = offprint(&data, &["verify"]).unwrap_err();
    assert!(text.starts_with("a: ok\nb: corrupt: ") && text.contains("\nc: ok\n2 ok, 1 not\n"), "{text}");
    // Sound pages with rows that break a promise of the schema.
    let path = file(&data, "keys.db");
    let sql = "PRAGMA foreign_keys = OFF; CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p); \
        INSERT INTO c VALUES (7)";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    offprint(&data, &["import", "keys", &path]).unwrap();
    let text = offprint(&data, &["verify", "keys"]).unwrap_err();
    assert!(text.starts_with("keys: a row of c refers to none\n0 ok, 1 not\n"), "{text}");
}
