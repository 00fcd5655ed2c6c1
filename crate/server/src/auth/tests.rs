//! Which tokens are accepted, and what they are good for.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, encode};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a secret that is long enough: 32";
const NOW: u64 = 1_800_000_000;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

fn source(kind: &str, path: &std::path::Path) -> KeySource {
    format!("{kind}={}", path.display()).parse().unwrap()
}

fn load(sources: &[KeySource]) -> Result<Auth, StartError> {
    Auth::load(sources, None, None)
}

/// A key in a file of its own.
fn load_text(kind: &str, text: &[u8]) -> Result<Auth, StartError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, text).unwrap();
    load(&[source(kind, &path)])
}

fn hs256() -> Auth {
    load_text("hs256", SECRET).unwrap()
}

fn signer(algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&std::fs::read(file("ed25519.pem")).unwrap()).unwrap(),
        Algorithm::RS256 => EncodingKey::from_rsa_pem(&std::fs::read(file("rsa.pem")).unwrap()).unwrap(),
        _ => EncodingKey::from_secret(SECRET),
    }
}

fn claims() -> Value {
    json!({ "exp": NOW + 100, "offprint": [{ "doc": "a", "access": "write" }] })
}

fn token(algorithm: Algorithm, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &signer(algorithm)).unwrap()
}

fn refused_at(auth: &Auth, token: &str, now: u64) -> String {
    let error = auth.check(token, Duration::from_secs(now)).unwrap_err();
    assert_eq!(error.code, Code::Unauthorized);
    error.message
}

fn refused(auth: &Auth, token: &str) -> String {
    refused_at(auth, token, NOW)
}

fn check(auth: &Auth, token: &str) -> Pass {
    auth.check(token, Duration::from_secs(NOW)).unwrap()
}

fn id(text: &str) -> DocumentId {
    DocumentId::new(text).unwrap()
}

#[test]
fn tokens_of_each_algorithm_are_accepted_by_its_key_and_by_no_other() {
    let auths = [
        (Algorithm::HS256, hs256()),
        (Algorithm::EdDSA, load(&[source("eddsa", &file("ed25519.pub.pem"))]).unwrap()),
        (Algorithm::RS256, load(&[source("rs256", &file("rsa.pub.pem"))]).unwrap()),
    ];
    for (algorithm, auth) in &auths {
        for (other, _) in &auths {
            let token = token(*other, &claims());
            if other == algorithm {
                assert_eq!(check(auth, &token).access(&id("a")), Ok(Access::Write));
            } else {
                assert!(refused(auth, &token).contains("another algorithm or key"));
            }
        }
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let pem = std::fs::read(file("rsa.pub.pem")).unwrap();
    let auth = load(&[source("rs256", &file("rsa.pub.pem"))]).unwrap();
    let forged = encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(&pem)).unwrap();
    refused(&auth, &forged);
}

#[test]
fn unsigned_forged_and_mangled_tokens_are_refused() {
    let auth = hs256();
    let good = token(Algorithm::HS256, &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (_, body) = message.split_once('.').unwrap();
    // {"alg":"none"}, {"alg":"None"}, {"alg":"HS256","crit":["exp"]}
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0", "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiZXhwIl19"] {
        refused(&auth, &format!("{header}.{body}."));
        refused(&auth, &format!("{header}.{body}.{signature}"));
    }
    let wrong = encode(&Header::default(), &claims(), &EncodingKey::from_secret(&[7; 32])).unwrap();
    assert!(refused(&auth, &wrong).contains("another algorithm or key"));
    refused(&auth, &format!("{message}."));
    refused(&auth, &format!("{message}.{}", &signature[1..]));
    let other = token(Algorithm::HS256, &json!({ "exp": NOW + 100, "offprint": [] }));
    let (other, _) = other.rsplit_once('.').unwrap();
    refused(&auth, &format!("{other}.{signature}"));
    for garbage in ["", ".", "..", "a.b.c", "\0", "💥.💥.💥", &"x".repeat(LONGEST + 1), &".".repeat(LONGEST)]
    {
        refused(&auth, garbage);
    }
}

#[test]
fn a_token_is_good_from_nbf_to_exp_give_or_take_the_leeway() {
    let auth = hs256();
    let token = token(Algorithm::HS256, &json!({ "exp": NOW as f64 + 100.5, "nbf": NOW, "offprint": [] }));
    let leeway = LEEWAY.as_secs();
    assert!(refused_at(&auth, &token, NOW - leeway - 1).contains("not valid yet"));
    assert!(refused_at(&auth, &token, NOW + 101 + leeway).contains("expired"));
    for now in [NOW - leeway, NOW, NOW + 100 + leeway] {
        let now = Duration::from_secs(now);
        let left = auth.check(&token, now).unwrap().remaining(now).unwrap();
        assert_eq!(now + left, Duration::from_millis((NOW + 100 + leeway) * 1000 + 500));
    }
}

#[test]
fn a_token_without_an_end_or_with_nonsense_for_one_is_refused() {
    let auth = hs256();
    for exp in [Value::Null, json!("soon"), json!(-1), json!(1e300), json!([]), json!({})] {
        refused(&auth, &token(Algorithm::HS256, &json!({ "exp": exp, "offprint": [] })));
    }
    refused(&auth, &token(Algorithm::HS256, &json!({ "offprint": [] })));
    refused(&auth, &token(Algorithm::HS256, &json!({ "exp": NOW + 1, "nbf": "now", "offprint": [] })));
}

#[test]
fn a_pass_is_for_the_documents_that_it_names_and_the_most_of_what_it_says() {
    let auth = hs256();
    let grants = json!([
        { "doc": "team-42", "access": "write" },
        { "prefix": "user-7-", "access": "read" },
        { "doc": "user-7-notes", "access": "write" },
        { "doc": "user-7-notes", "access": "read" },
    ]);
    let pass = check(&auth, &token(Algorithm::HS256, &json!({ "exp": NOW + 1, "offprint": grants })));
    for (document, access) in [
        ("team-42", Some(Access::Write)),
        ("team-421", None),
        ("team-4", None),
        ("Team-42", None),
        ("user-7-", Some(Access::Read)),
        ("user-7-x", Some(Access::Read)),
        ("user-7-notes", Some(Access::Write)),
        ("user-7", None),
        ("user-77-x", None),
    ] {
        match access {
            Some(access) => assert_eq!(pass.access(&id(document)), Ok(access), "{document}"),
            None => assert_eq!(pass.access(&id(document)).unwrap_err().code, Code::Forbidden, "{document}"),
        }
    }
    let everything = json!([{ "prefix": "", "access": "read" }]);
    let pass = check(&auth, &token(Algorithm::HS256, &json!({ "exp": NOW + 1, "offprint": everything })));
    assert_eq!(pass.access(&id("any")), Ok(Access::Read));
    let pass = check(&auth, &token(Algorithm::HS256, &json!({ "exp": NOW + 1 })));
    assert_eq!(pass.access(&id("any")).unwrap_err().code, Code::Forbidden);
}

#[test]
fn a_claim_that_is_not_understood_gives_nothing() {
    let auth = hs256();
    for grant in [
        json!({ "access": "write" }),
        json!({ "doc": "a" }),
        json!({ "doc": "a", "access": "admin" }),
        json!({ "doc": "a", "prefix": "a", "access": "read" }),
        json!({ "doc": "a", "access": "read", "until": 1 }),
        json!({ "document": "a", "access": "read" }),
        json!("a"),
    ] {
        let token = token(Algorithm::HS256, &json!({ "exp": NOW + 1, "offprint": [grant] }));
        assert!(refused(&auth, &token).contains("claims"), "{grant}");
    }
    refused(&auth, &token(Algorithm::HS256, &json!({ "exp": NOW + 1, "offprint": "*" })));
}

#[test]
fn an_audience_and_an_issuer_have_to_be_named_if_the_server_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, SECRET).unwrap();
    let auth = Auth::load(&[source("hs256", &path)], Some("notes".into()), Some("https://id.example".into()))
        .unwrap();
    let token = |aud: Value, iss: Value| {
        token(Algorithm::HS256, &json!({ "exp": NOW + 1, "aud": aud, "iss": iss, "offprint": [] }))
    };
    let (aud, iss) = (json!("notes"), json!("https://id.example"));
    check(&auth, &token(aud.clone(), iss.clone()));
    check(&auth, &token(json!(["other", "notes"]), iss.clone()));
    for (aud, iss) in
        [(json!("other"), iss.clone()), (Value::Null, iss), (aud.clone(), json!("x")), (aud, Value::Null)]
    {
        refused(&auth, &token(aud, iss));
    }
    // A token for somebody else's audience is not for a server that has none.
    refused(&hs256(), &token(json!("other"), Value::Null));
}

#[test]
fn a_key_set_gives_each_usable_key_and_a_key_id_chooses_among_them() {
    let secret = |byte: &str| format!("{}A", byte.repeat(42));
    let set = json!({ "keys": [
        { "kty": "oct", "kid": "old", "k": secret("A") },
        { "kty": "oct", "kid": "new", "alg": "HS256", "k": secret("B") },
        { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
        { "kty": "RSA", "use": "enc", "n": "AQAB".repeat(90), "e": "AQAB" },
        { "kty": "RSA", "alg": "RS512", "n": "AQAB".repeat(90), "e": "AQAB" },
        { "kty": "new kind", "x": 1 },
        { "kty": "oct", "k": "c2hvcnQ" },
    ] });
    let auth = load_text("jwks", set.to_string().as_bytes()).unwrap();
    assert_eq!(auth.keys.len(), 3);
    let sign = |byte: &str, kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::default() };
        let key = EncodingKey::from_base64_secret(&format!("{}=", secret(byte)));
        encode(&header, &claims(), &key.unwrap()).unwrap()
    };
    check(&auth, &sign("A", Some("old")));
    check(&auth, &sign("B", Some("new")));
    check(&auth, &sign("B", None));
    for wrong in
        [sign("B", Some("old")), sign("C", None), sign("A", Some("unheard-of")), sign("A", Some("ed"))]
    {
        refused(&auth, &wrong);
    }
}

#[test]
fn a_key_that_anybody_could_guess_or_that_is_private_or_none_is_refused_at_the_start() {
    let weak = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOZ9P2RDnSIwxYnAqGk02OBqX3kz/d67\n\
        Ib0C5J+YNBBM3cHeKPhz8TcEFQ+h0YzZSsblG22r+cw4kkLKuJRyc/cCAwEAAQ==\n-----END PUBLIC KEY-----\n";
    for (kind, text, expected) in [
        ("hs256", "short\n", "at least 32 bytes"),
        ("hs256", "", "at least 32 bytes"),
        ("rs256", weak, "2048 bits"),
        ("rs256", "nonsense", "public key"),
        ("eddsa", "nonsense", "public key"),
        ("jwks", "nonsense", "JWK set"),
        ("jwks", "{\"keys\":[]}", "none of its keys"),
    ] {
        let error = load_text(kind, text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (kind, name) in [("eddsa", "ed25519.pem"), ("rs256", "rsa.pem")] {
        let error = load(&[source(kind, &file(name))]).unwrap_err().to_string();
        assert!(error.contains("private key"), "{error}");
    }
    assert!(load(&[source("eddsa", &file("rsa.pub.pem"))]).is_err());
    assert!(load(&[source("rs256", &file("ed25519.pub.pem"))]).is_err());
    assert!(load(&[source("hs256", &file("absent"))]).is_err());
    for text in ["hs256", "HS256=a", "none=a", "a"] {
        assert!(text.parse::<KeySource>().is_err());
    }
}
