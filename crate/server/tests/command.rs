//! The program: what it says, how it ends, and what a kill cannot take.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]
#![cfg(unix)]

mod support;

use std::io::Read;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use offprint_protocol::{MutationSeq, Value};
use support::program::{Program, offprint, write_definition};
use support::{Copy, Ended, add, get, mutation, push, request};
use tokio_tungstenite::tungstenite::Message;

fn fails(command: &mut Command) -> String {
    let Output { status, stderr, stdout } = command.output().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(stdout, b"");
    String::from_utf8(stderr).unwrap()
}

#[test]
fn source_code_and_open_addresses_are_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let error = fails(offprint().args(["serve", "notes.ts"]));
    assert!(error.contains("npx offprint-definition notes.ts > notes.json"), "{error}");
    let definition = write_definition(dir.path());
    let mut open = offprint();
    open.arg("serve").arg(&definition).args(["--listen", "0.0.0.0:0", "--data"]).arg(dir.path().join("data"));
    let error = fails(&mut open);
    assert!(error.contains("without --auth"), "{error}");
    assert!(!dir.path().join("data").exists());
}

#[tokio::test]
async fn a_stop_signal_ends_it_with_0_and_a_word_to_the_clients() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut program = Program::start(&dir);
        let mut copy = Copy::new("a", 1);
        let mut socket = copy.connect(program.address).await;
        socket.send(&push([add(1, "one")])).await;
        copy.until(&mut socket, 1).await;
        program.signal(signal);
        assert_eq!(socket.ended().await, Ended::Closed(1001));
        assert_eq!(program.child.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        program.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "one line and no more");
    }
}

#[tokio::test]
async fn the_log_says_that_a_token_is_refused_and_nothing_of_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, key) = (b"a secret that is long enough: 32", dir.path().join("secret"));
    std::fs::write(&key, secret).unwrap();
    let program = Program::start_with(&dir, &["--auth", &format!("hs256={}", key.display())]);
    let mut copy = Copy::new("a", 1);
    let claims = serde_json::json!({ "exp": "claim-of-somebody", "offprint": [] });
    copy.hello.token = encode(&Header::default(), &claims, &EncodingKey::from_secret(secret)).unwrap();
    assert_eq!(copy.try_connect(program.address).await.err(), Some(Ended::Refused("unauthorized".into())));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("unauthorized"), "{log}");
    assert!(!log.contains("claim-of-somebody"), "{log}");
}

#[tokio::test]
async fn json_logs_are_an_object_per_line_and_hold_nothing_of_what_was_said() {
    const SECRET: &str = "marzipan";
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start_with(&dir, &["--log", "json"]);
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(program.address).await;
    socket.send(&push([add(1, SECRET), add(2, SECRET), mutation(3, SECRET, &[])])).await;
    copy.until(&mut socket, 3).await;
    assert_eq!(copy.rejections.len(), 2);
    for garbage in [Message::text(SECRET), Message::Binary(SECRET.into())] {
        let mut socket = copy.connect(program.address).await;
        socket.send_raw(garbage).await;
        socket.is_closed_with("bad_frame").await;
    }
    for sql in [format!("SELECT '{SECRET}'"), format!("SELECT {SECRET}"), format!("DELETE FROM {SECRET}")] {
        let body = format!(r#"{{"sql": "{sql}"}}"#);
        let headers = format!("Content-Type: application/json\r\nX-Secret: {SECRET}\r\n");
        let path = "/documents/a/query";
        let (status, answer) = request(program.address, "POST", path, &headers, body.as_bytes()).await;
        assert_eq!(status == 200, sql.contains('\''), "{sql}");
        assert!(String::from_utf8(answer).unwrap().contains(SECRET), "{sql}");
    }
    assert_eq!(get(program.address, &format!("/{SECRET}?{SECRET}"), "").await.0, 404);
    program.signal("TERM");
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let codes: Vec<_> = lines.iter().filter_map(|line| line["fields"]["code"].as_str()).collect();
    assert!(codes.contains(&"bad_frame") && codes.contains(&"sql"), "{log}");
    assert!(lines.iter().all(|line| line.is_object() && line["level"].is_string()), "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[tokio::test]
async fn a_kill_takes_nothing_that_was_confirmed_and_nothing_happens_twice() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut random = u64::from(seed) | 1;
    let dir = tempfile::tempdir().unwrap();
    let mut copy = Copy::new("a", 1);
    let mut made = 0;
    let see = |seq: u64| {
        let n = i64::try_from(seq).unwrap();
        mutation(seq, "see", &[("client", Value::Text("1".into())), ("n", Value::Integer(n))])
    };
    for _ in 0..6 {
        let program = Program::start(&dir);
        let confirmed = copy.through;
        let before = copy.hello.position;
        let mut socket = copy.connect(program.address).await;
        assert!(copy.through >= confirmed, "{} after {confirmed} was confirmed", copy.through);
        if let Some(before) = before {
            let after = copy.hello.position.unwrap();
            assert!(after.journal == before.journal && after.lsn >= before.lsn, "history was lost");
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis((random >> 33) % 80);
        let mut next = copy.through.0 + 1;
        let until = tokio::time::Instant::now() + wait;
        while tokio::time::Instant::now() < until {
            if !socket.try_send(&push((next..next + 5).map(see))).await {
                break;
            }
            next += 5;
            if next > copy.through.0 + 200 {
                copy.until(&mut socket, next - 150).await;
            }
        }
        made = made.max(next - 1);
        program.signal("KILL");
        while let Ok(message) = socket.next().await {
            copy.take(message);
        }
    }
    assert!(made > 0, "nothing was made before the kills");
    let program = Program::start(&dir);
    let mut socket = copy.connect(program.address).await;
    socket.send(&push((copy.through.0 + 1..=made).map(see))).await;
    copy.until(&mut socket, made).await;
    assert_eq!(copy.through, MutationSeq(made));
    let expected: Vec<i64> = (1..=i64::try_from(made).unwrap()).collect();
    assert_eq!(copy.query::<i64>("SELECT n FROM seen ORDER BY rowid"), expected);
    let mut fresh = Copy::new("a", 2);
    let mut socket = fresh.connect(program.address).await;
    fresh.until_equal(&mut socket, &copy).await;
}
