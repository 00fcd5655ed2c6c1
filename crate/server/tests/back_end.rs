//! HTTP for back ends: a mutation happens once, a query sees one state, a download is a SQLite file.
// Helpers are outside of #[test] functions, where clippy would allow it by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use offprint_server::{Auth, Limits};
use serde_json::{Value as Json, json};
use support::{Copy, Running, Socket, add, push, request, running};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HERE: &str = "Host: localhost\r\n";
const SECRET: &[u8] = b"a secret that is long enough: 32";

async fn post(address: SocketAddr, path: &str, headers: &str, body: &Json) -> (u16, Json) {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    let (status, answer) = request(address, "POST", path, &headers, body.to_string().as_bytes()).await;
    (status, serde_json::from_slice(&answer).unwrap_or(Json::Null))
}

async fn mutate(address: SocketAddr, body: Json) -> (u16, Json) {
    post(address, "/documents/a/mutations", "", &body).await
}

async fn query(address: SocketAddr, sql: &str) -> (u16, Json) {
    post(address, "/documents/a/query", "", &json!({ "sql": sql })).await
}

fn add_body(seq: Option<u64>, text: &str) -> Json {
    json!({ "client": "billing", "seq": seq, "name": "add", "args": { "text": text } })
}

#[tokio::test]
async fn a_mutation_with_a_number_happens_once_however_often_it_is_asked_for() {
    let (server, data) = running().await;
    let (status, first) = mutate(server.address, add_body(Some(1), "one")).await;
    assert_eq!((status, &first["status"], &first["seq"]), (200, &json!("confirmed"), &json!(1)));
    assert_eq!(mutate(server.address, add_body(Some(1), "one")).await, (200, first.clone()));
    let (status, rejected) = mutate(server.address, add_body(Some(2), "one")).await;
    assert_eq!(
        (status, &rejected["status"], &rejected["code"]),
        (422, &json!("rejected"), &json!("constraint"))
    );
    server.stop().await;
    let server = Running::start(data.path(), Limits::default()).await;
    let (status, again) = mutate(server.address, add_body(Some(2), "another")).await;
    assert_eq!((status, again), (422, rejected));
    let (status, gap) = mutate(server.address, add_body(Some(4), "four")).await;
    assert_eq!((status, &gap["code"]), (409, &json!("sequence_gap")));
    assert!(gap["message"].as_str().unwrap().contains("the next is 3"), "{gap}");
    let (status, third) = mutate(server.address, add_body(None, "three")).await;
    assert_eq!((status, &third["seq"]), (200, &json!(3)));
    // Who has gone on knew what became of what came before.
    let (status, second) = mutate(server.address, add_body(Some(2), "one")).await;
    assert_eq!((status, &second["status"]), (200, &json!("decided")));
    let (_, rows) = query(server.address, "SELECT n, text FROM note ORDER BY n").await;
    assert_eq!(rows["rows"], json!([[1, "one"], [2, "three"]]));
    assert_eq!(rows["lsn"], third["lsn"]);
}

#[tokio::test]
async fn back_ends_and_sessions_hear_of_each_other() {
    let (server, _data) = running().await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let address = server.address;
        tasks.spawn(async move {
            let body = json!({ "client": format!("job {n}"), "seq": 1, "name": "add", "args": { "text": format!("{n}") } });
            mutate(address, body).await
        });
    }
    socket.send(&push((1..=20).map(|seq| add(seq, &format!("session {seq}"))))).await;
    copy.until(&mut socket, 20).await;
    for (status, answer) in tasks.join_all().await {
        assert_eq!((status, &answer["status"]), (200, &json!("confirmed")));
        let lsn = answer["lsn"].as_u64().unwrap();
        while copy.lsn().0 < lsn {
            let message = socket.next().await.unwrap();
            copy.take(message);
        }
    }
    assert_eq!(copy.query::<i64>("SELECT count(*) FROM note"), [40]);
}

#[tokio::test]
async fn many_requests_of_one_client_at_once_are_numbered_by_the_server() {
    let (server, _data) = running().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100 {
        let address = server.address;
        tasks.spawn(async move { mutate(address, add_body(None, &n.to_string())).await });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|(_, answer)| answer["status"] == json!("confirmed")), "{answers:?}");
    let mut seqs: Vec<_> = answers.iter().map(|(_, answer)| answer["seq"].as_u64().unwrap()).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
    let (_, rows) = query(server.address, "SELECT count(*) FROM note").await;
    assert_eq!(rows["rows"], json!([[100]]));
}

#[tokio::test]
async fn a_query_reads_and_nothing_else() {
    let (server, _data) = running().await;
    mutate(server.address, add_body(None, "one")).await;
    let body = json!({ "sql": "SELECT ?, ?, text FROM note", "params": [7, { "blob": "AP8=" }] });
    let (status, answer) = post(server.address, "/documents/a/query", "", &body).await;
    assert_eq!((status, &answer["rows"]), (200, &json!([[7, { "blob": "AP8=" }, "one"]])));
    assert_eq!(answer["columns"][2], json!("text"));
    for (sql, code) in [
        ("DELETE FROM note", "forbidden"),
        ("PRAGMA user_version = 9", "forbidden"),
        ("ATTACH 'x' AS y", "forbidden"),
        ("SELECT 1; SELECT 2", "sql"),
        ("SELECT * FROM nothing", "sql"),
        ("SELECT ?", "bad_argument"),
        ("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n", "limit"),
    ] {
        let (status, answer) = query(server.address, sql).await;
        assert!(status >= 400 && answer["code"] == json!(code), "{sql}: {status} {answer}");
    }
    let (_, rows) = query(server.address, "SELECT text FROM note").await;
    assert_eq!(rows["rows"], json!([["one"]]));
}

#[tokio::test]
async fn a_download_is_the_document_at_one_position() {
    let (server, data) = running().await;
    let mut copy = Copy::new("a", 1);
    let mut socket = copy.connect(server.address).await;
    // More than is sent at once.
    let long = "x".repeat(900_000);
    socket.send(&push((1..=4).map(|seq| add(seq, &format!("{seq}{long}"))))).await;
    copy.until(&mut socket, 4).await;
    let (status, bytes) = request(server.address, "GET", "/documents/a/export.db", HERE, b"").await;
    assert_eq!(status, 200);
    let path = data.path().join("copy.db");
    std::fs::write(&path, &bytes).unwrap();
    let sqlite = rusqlite::Connection::open(&path).unwrap();
    let check: String = sqlite.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let count: i64 = sqlite.query_row("SELECT count(*) FROM note", [], |row| row.get(0)).unwrap();
    assert_eq!((check.as_str(), count), ("ok", 4));
    assert_eq!(bytes.len(), copy.page_count as usize * 4096);
}

#[tokio::test]
async fn a_query_may_name_the_state_that_it_reads() {
    let (server, _data) = running().await;
    let at = async |lsn: u64, journal: Option<&str>| {
        let mut body = json!({ "sql": "SELECT count(*) FROM note", "lsn": lsn });
        if let Some(journal) = journal {
            body["journal"] = journal.into();
        }
        post(server.address, "/documents/a/query", "", &body).await
    };
    let (_, one) = mutate(server.address, add_body(None, "one")).await;
    let (lsn, journal) = (one["lsn"].as_u64().unwrap(), one["journal"].as_str().unwrap());
    for journal in [None, Some(journal)] {
        let (status, answer) = at(lsn, journal).await;
        assert_eq!((status, &answer["rows"], &answer["lsn"]), (200, &json!([[1]]), &json!(lsn)));
    }
    let (status, early) = at(lsn + 1, Some(journal)).await;
    assert_eq!((status, &early["code"]), (400, &json!("bad_argument")));
    assert!(early["message"].as_str().unwrap().contains(&format!("the last is {lsn}")), "{early}");
    mutate(server.address, add_body(None, "two")).await;
    assert_eq!(at(lsn + 1, Some(journal)).await.1["rows"], json!([[2]]));
    for (lsn, journal) in [(lsn, None), (lsn + 1, Some("00".repeat(16))), (lsn + 2, Some("00".repeat(16)))] {
        let (status, answer) = at(lsn, journal.as_deref()).await;
        assert_eq!((status, &answer["code"]), (410, &json!("gone")));
    }
    for body in [
        json!({ "sql": "SELECT 1", "journal": journal }),
        json!({ "sql": "SELECT 1", "lsn": 1, "journal": "x" }),
    ] {
        let (status, answer) = post(server.address, "/documents/a/query", "", &body).await;
        assert_eq!((status, &answer["code"]), (400, &json!("bad_argument")));
    }
}

/// Each of its steps takes long, so that it does not run out of them.
const ENDLESS: &str = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) \
    SELECT count(*) FROM n WHERE randomblob(100000) IS NULL";

#[tokio::test]
async fn an_answer_is_bounded_as_it_is_sent() {
    let (server, _data) = running().await;
    mutate(server.address, add_body(None, "one")).await;
    // A control character is one byte in the result and six in the answer.
    let sql = |rows: u32| {
        format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT {rows}) \
             SELECT replace(hex(zeroblob(50000)), '0', char(1)) FROM n"
        )
    };
    let (status, answer) = query(server.address, &sql(20)).await;
    assert_eq!((status, answer["rows"].as_array().map(Vec::len)), (200, Some(20)));
    let (status, answer) = query(server.address, &sql(40)).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too_large")));
}

#[tokio::test]
async fn a_query_has_so_much_time() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { query_time: Duration::from_millis(100), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    mutate(server.address, add_body(None, "one")).await;
    let (status, answer) = query(server.address, ENDLESS).await;
    assert_eq!((status, &answer["code"]), (429, &json!("limit")));
}

#[tokio::test]
async fn a_query_ends_when_its_client_has_gone_or_the_server_stops() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { query_time: Duration::from_secs(100_000), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    mutate(server.address, add_body(None, "one")).await;
    let body = json!({ "sql": ENDLESS }).to_string();
    let head = format!(
        "POST /documents/a/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut gone = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        gone.push(stream);
    }
    // They have every place, until they have gone.
    drop(gone);
    assert_eq!(query(server.address, "SELECT 1").await.0, 200);
    let mut stays = TcpStream::connect(server.address).await.unwrap();
    stays.write_all(head.as_bytes()).await.unwrap();
    // It is under way once another that came later is answered.
    assert_eq!(query(server.address, "SELECT 1").await.0, 200);
    server.stop().await;
    let mut answer = String::new();
    stays.read_to_string(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.contains("\"code\":\"closed\""), "{answer}");
    // The runtime ends only when no query runs any more.
}

#[tokio::test]
async fn reading_makes_no_document() {
    let (server, data) = running().await;
    for path in ["/documents/b/query", "/documents/b/mutations"] {
        assert_eq!(post(server.address, path, "", &json!({ "sql": "SELECT 1" })).await.0 / 100, 4, "{path}");
    }
    assert_eq!(request(server.address, "GET", "/documents/b/export.db", HERE, b"").await.0, 404);
    assert_eq!(request(server.address, "GET", "/documents/..%2fb/export.db", HERE, b"").await.0, 404);
    assert!(!data.path().join("b.offprint").exists());
}

#[tokio::test]
async fn what_is_not_a_request_has_its_code() {
    let (server, _data) = running().await;
    let json_type = "Content-Type: application/json\r\n";
    for (headers, body, status, code) in [
        ("", "{}", 400, "bad_frame"),
        ("Content-Type: text/plain\r\n", "{}", 400, "bad_frame"),
        (json_type, "{", 400, "bad_frame"),
        (json_type, "{\"client\":\"a\",\"name\":\"add\",\"more\":1}", 400, "bad_frame"),
        (json_type, "{\"client\":\"\",\"name\":\"add\"}", 400, "bad_argument"),
        (json_type, "{\"client\":\"a\",\"seq\":0,\"name\":\"add\"}", 400, "bad_argument"),
        (json_type, "{\"client\":\"a\",\"seq\":-1,\"name\":\"add\"}", 400, "bad_frame"),
        (json_type, "{\"client\":\"a\",\"name\":\"add\",\"args\":{\"text\":[]}}", 400, "bad_argument"),
        (json_type, &"x".repeat((2 << 20) + 1), 413, "too_large"),
    ] {
        let (found, answer) =
            request(server.address, "POST", "/documents/a/mutations", headers, body.as_bytes()).await;
        let answer: Json = serde_json::from_slice(&answer).unwrap();
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{answer}");
    }
    let (status, answer) = mutate(server.address, json!({ "client": "a", "name": "unheard-of" })).await;
    assert_eq!((status, &answer["code"]), (422, &json!("unknown_mutator")));
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_out_whatever_name_they_give_this_machine() {
    let (server, _data) = running().await;
    let body = add_body(None, "evil");
    let (status, _) =
        post(server.address, "/documents/a/mutations", "Origin: https://evil.example\r\n", &body).await;
    assert_eq!(status, 401);
    let (status, _) =
        request(server.address, "GET", "/documents/a/export.db", "Host: evil.example\r\n", b"").await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { hello: Duration::from_secs(1), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /documents/a/mutations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(support::PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("\"code\":\"limit\""));
}

#[tokio::test]
async fn bodies_that_come_slowly_hold_up_no_other_request() {
    let data = tempfile::tempdir().unwrap();
    let limits = Limits { hello: Duration::from_secs(1000), ..Limits::default() };
    let server = Running::start(data.path(), limits).await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = "POST /documents/a/mutations HTTP/1.1\r\nHost: localhost\r\n\
            Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(mutate(server.address, add_body(Some(1), "one")).await.0, 200);
    assert_eq!(query(server.address, "SELECT 1").await.0, 200);
}

async fn guarded() -> (Running, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let source = format!("hs256={}", path.display()).parse().unwrap();
    let auth = Auth::load(&[source], None, None).unwrap();
    (Running::start_with(data.path(), Limits::default(), Some(auth)).await, data)
}

fn bearer(grants: &Json) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "exp": now + 3600, "offprint": grants });
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn requests_need_the_tokens_that_sessions_need() {
    let (server, _data) = guarded().await;
    let write = bearer(&json!([{ "doc": "a", "access": "write" }]));
    let read = bearer(&json!([{ "doc": "a", "access": "read" }]));
    let other = bearer(&json!([{ "doc": "b", "access": "write" }]));
    let body = add_body(None, "one");
    let select = json!({ "sql": "SELECT text FROM note" });
    for (headers, status) in
        [("", 401), ("Authorization: Bearer x\r\n", 401), (&read, 403), (&other, 403), (&write, 200)]
    {
        assert_eq!(
            post(server.address, "/documents/a/mutations", headers, &body).await.0,
            status,
            "{headers}"
        );
    }
    for (headers, status) in [("", 401), (&other, 403), (&read, 200), (&write, 200)] {
        assert_eq!(post(server.address, "/documents/a/query", headers, &select).await.0, status, "{headers}");
        let (found, _) = request(server.address, "GET", "/documents/a/export.db", headers, b"").await;
        assert_eq!(found, status, "{headers}");
    }
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_has_run() {
    let (server, data) = running().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let address = server.address;
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.ok()?;
            let body = json!({ "client": format!("{n}"), "seq": 1, "name": "add", "args": { "text": n.to_string() } });
            let body = body.to_string();
            let head = format!(
                "POST /documents/a/mutations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            answer.contains("\"confirmed\"").then(|| n.to_string())
        });
    }
    // Some are in, some are on the way, some come too late.
    let mut socket = Socket::open(server.address).await;
    server.stop().await;
    socket.ended().await;
    let confirmed: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let server = Running::start(data.path(), Limits::default()).await;
    mutate(server.address, add_body(None, "last")).await;
    let (_, rows) = query(server.address, "SELECT text FROM note").await;
    for text in confirmed {
        assert!(
            rows["rows"].as_array().unwrap().contains(&json!([text])),
            "{text} was confirmed and is lost"
        );
    }
}
