//! A server that keeps what documents were, and the commands that bring it back.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use offprint_protocol::{DocumentId, Value};
use offprint_server::{FileDisk, Limits};
use rusqlite::Connection;
use support::{Copy, Running, add, mutation, push};
use tempfile::TempDir;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What the program says on stdout; or, if it fails, on stderr.
fn offprint(data: &TempDir, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offprint"));
    let output = command.args(arguments).arg("--data").arg(data.path().join("data")).output().unwrap();
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if output.status.success() { Ok(out) } else { Err(out + &error) }
}

async fn serve(data: &TempDir, history: Option<Duration>) -> Running {
    Running::start(&data.path().join("data"), Limits { history, ..Limits::default() }).await
}

fn file(data: &TempDir, name: &str) -> String {
    data.path().join(name).to_str().unwrap().to_owned()
}

fn kept(data: &TempDir) -> Vec<PathBuf> {
    let directory = data.path().join("data").join(FileDisk::directory_name(&DocumentId::new("a").unwrap()));
    let Ok(entries) = std::fs::read_dir(directory.join("history")) else { return Vec::new() };
    let mut kept: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    kept.sort();
    kept
}

fn texts(path: &str) -> Vec<String> {
    let sqlite = Connection::open(Path::new(path)).unwrap();
    let check: String = sqlite.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut statement = sqlite.prepare("SELECT text FROM note ORDER BY n").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Notes 1 to `count`, a commit each, over several lives of the server.
async fn written(history: Option<Duration>, count: u64) -> TempDir {
    let data = tempfile::tempdir().unwrap();
    let mut copy = Copy::new("a", 1);
    for seq in 1..=count {
        let server = serve(&data, history).await;
        let mut socket = copy.connect(server.address).await;
        socket.send(&push([add(seq, &seq.to_string())])).await;
        copy.until(&mut socket, seq).await;
        drop(socket);
        server.stop().await;
    }
    data
}

#[tokio::test]
async fn a_document_is_exported_as_it_was_at_every_lsn_and_time() {
    let data = written(Some(WEEK), 6).await;
    // The first commit made the tables.
    for notes in 0..=6_u64 {
        let out = file(&data, &format!("{notes}.db"));
        let said = offprint(&data, &["export", "a", &out, "--at", &(notes + 1).to_string()]).unwrap();
        assert_eq!(said, format!("Lsn {}\n", notes + 1));
        assert_eq!(texts(&out), (1..=notes).map(|note| note.to_string()).collect::<Vec<_>>());
    }
    let inspected = offprint(&data, &["inspect", "a"]).unwrap();
    let line = inspected.lines().find_map(|line| line.strip_prefix("  history: Lsn 0 to 7, from ")).unwrap();
    let (first, rest) = line.split_once(" to ").unwrap();
    let (last, _) = rest.split_once(',').unwrap();
    for (at, notes) in [(first, 0), (last, 6), ("2999-01-01T00:00:00Z", 6)] {
        let out = file(&data, &format!("at {at}.db").replace(':', " "));
        offprint(&data, &["export", "a", &out, "--at", at]).unwrap();
        assert_eq!(texts(&out).len(), notes, "{at}");
    }
    for (at, code) in [("8", "bad_argument"), ("2001-01-01T00:00:00Z", "gone")] {
        let error = offprint(&data, &["export", "a", &file(&data, "no.db"), "--at", at]).unwrap_err();
        assert!(error.starts_with(&format!("offprint: {code}: ")), "{error}");
    }
    assert_eq!(offprint(&data, &["verify"]).unwrap(), "a: ok\n1 ok, 0 not\n");
}

#[tokio::test]
async fn what_a_document_was_becomes_another_one() {
    let data = written(Some(WEEK), 3).await;
    let out = file(&data, "out.db");
    offprint(&data, &["export", "a", &out, "--at", "3"]).unwrap();
    offprint(&data, &["import", "b", &out]).unwrap();
    let server = serve(&data, Some(WEEK)).await;
    let mut copy = Copy::new("b", 1);
    let mut socket = copy.connect(server.address).await;
    assert_eq!(copy.query::<String>("SELECT text FROM note ORDER BY n"), ["1", "2"]);
    socket.send(&push([add(1, "other")])).await;
    copy.until(&mut socket, 1).await;
    drop(socket);
    server.stop().await;
    // Its own history begins with the import.
    let again = file(&data, "again.db");
    offprint(&data, &["export", "b", &again, "--at", "1"]).unwrap();
    assert_eq!(texts(&again), ["1", "2"]);
    assert_eq!(offprint(&data, &["verify"]).unwrap(), "a: ok\nb: ok\n2 ok, 0 not\n");
}

#[tokio::test]
async fn without_the_option_no_log_is_kept() {
    let data = written(None, 4).await;
    assert!(kept(&data).is_empty());
    assert!(!offprint(&data, &["inspect", "a"]).unwrap().contains("history"));
    let error = offprint(&data, &["export", "a", &file(&data, "no.db"), "--at", "2"]).unwrap_err();
    assert!(error.starts_with("offprint: gone: "), "{error}");
    assert_eq!(offprint(&data, &["verify"]).unwrap(), "a: ok\n1 ok, 0 not\n");
}

#[tokio::test]
async fn a_damaged_history_is_told_and_the_document_is_exported_all_the_same() {
    let data = written(Some(WEEK), 5).await;
    let first = kept(&data).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let told = offprint(&data, &["verify"]).unwrap_err();
    assert!(told.starts_with("a: corrupt: "), "{told}");
    let error = offprint(&data, &["export", "a", &file(&data, "no.db"), "--at", "1"]).unwrap_err();
    assert!(error.starts_with("offprint: corrupt: "), "{error}");
    let out = file(&data, "out.db");
    offprint(&data, &["export", "a", &out]).unwrap();
    assert_eq!(texts(&out).len(), 5);
}

#[tokio::test]
async fn what_is_older_than_asked_for_goes() {
    let mut kept_bytes = Vec::new();
    for history in [WEEK, Duration::ZERO] {
        let data = tempfile::tempdir().unwrap();
        let mut copy = Copy::new("a", 1);
        for seq in 1..=8 {
            let server = serve(&data, Some(history)).await;
            let mut socket = copy.connect(server.address).await;
            let noise: Vec<u8> = (0..600_000_u64)
                .map(|at| ((at + seq).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
                .collect();
            socket.send(&push([mutation(seq, "fill", &[("bytes", Value::Blob(noise))])])).await;
            copy.until(&mut socket, seq).await;
            drop(socket);
            server.stop().await;
        }
        let old = offprint(&data, &["export", "a", &file(&data, "old.db"), "--at", "2"]);
        assert_eq!(old.is_ok(), history == WEEK, "{old:?}");
        let out = file(&data, "new.db");
        offprint(&data, &["export", "a", &out, "--at", "9"]).unwrap();
        texts(&out);
        offprint(&data, &["verify"]).unwrap();
        let bytes = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
        kept_bytes.push(kept(&data).iter().map(bytes).sum::<u64>());
    }
    assert!(kept_bytes[0] > 2_000_000 && kept_bytes[1] < kept_bytes[0] / 2, "{kept_bytes:?}");
}
