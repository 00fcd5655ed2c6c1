//! The first frame of a session: is it a hello that this server can answer?

use offprint_protocol::message::{ClientMessage, Hello, PROTOCOL_VERSION};
use offprint_protocol::{Code, DefinitionHash, Error};

/// The longest hello, in bytes: its token is most of it.
pub(crate) const LONGEST_HELLO: usize = 32 << 10;

/// Reads the hello, and of strangers nothing else; fails with the code that the session is refused with.
pub(crate) fn read_hello(frame: &[u8]) -> Result<Hello, Error> {
    if frame.len() > LONGEST_HELLO {
        return Err(Error::new(Code::Limit, format!("the first message exceeds {LONGEST_HELLO} bytes")));
    }
    if let Some((min, max)) = ClientMessage::hello_versions(frame)
        && !(min..=max).contains(&PROTOCOL_VERSION)
    {
        return Err(Error::new(
            Code::UnsupportedVersion,
            format!("the server speaks protocol version {PROTOCOL_VERSION}, the client {min} to {max}"),
        ));
    }
    ClientMessage::read_hello(frame)
}

/// Fails with `definition_mismatch` if the client has another definition than this.
pub(crate) fn check_served(hello: &Hello, name: &str, hash: &DefinitionHash) -> Result<(), Error> {
    if hello.definition != name {
        return Err(Error::new(
            Code::DefinitionMismatch,
            format!("the server serves the definition {name:?}, not the client's"),
        ));
    }
    if hello.hash != *hash {
        return Err(Error::new(
            Code::DefinitionMismatch,
            format!("the server serves another version of the definition {name:?}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use offprint_protocol::{ClientId, ClientSecret, DocumentId, Encode, Mark};

    use super::*;

    const HASH: DefinitionHash = DefinitionHash([7; 32]);

    fn hello() -> Hello {
        Hello {
            min_version: 1,
            max_version: 1,
            document: DocumentId::new("team-42").unwrap(),
            client: ClientId([1; 16]),
            secret: ClientSecret([2; 16]),
            definition: "todos".into(),
            hash: HASH,
            token: String::new(),
            position: None,
            local: false,
            fetches: false,
            confirmed: Mark::default(),
        }
    }

    fn code(frame: &[u8]) -> Code {
        let result = read_hello(frame).and_then(|hello| check_served(&hello, "todos", &HASH));
        result.unwrap_err().code
    }

    fn code_of(hello: Hello) -> Code {
        code(&ClientMessage::Hello(hello).to_bytes())
    }

    #[test]
    fn a_hello_that_fits_is_read() {
        let frame = ClientMessage::Hello(Hello { max_version: 9, ..hello() }).to_bytes();
        let hello = read_hello(&frame).unwrap();
        read_hello(&ClientMessage::Hello(Hello { token: "x".repeat(16 << 10), ..hello.clone() }).to_bytes())
            .unwrap();
        assert_eq!(hello.document.as_str(), "team-42");
        check_served(&hello, "todos", &HASH).unwrap();
    }

    #[test]
    fn a_hello_of_other_versions_is_named_even_if_the_rest_means_nothing_here() {
        assert_eq!(code(&[1, 2, 0, 3, 0, 0xff, 0xff]), Code::UnsupportedVersion);
        assert_eq!(code(&[1, 0, 0, 0, 0]), Code::UnsupportedVersion);
        assert_eq!(code(&[1, 1, 0, 0, 0]), Code::UnsupportedVersion);
    }

    #[test]
    fn each_thing_that_does_not_fit_has_its_code() {
        assert_eq!(code(b""), Code::BadFrame);
        assert_eq!(code(b"GET / HTTP/1.1"), Code::BadFrame);
        assert_eq!(code(&[1, 1, 0, 1, 0]), Code::BadFrame);
        assert_eq!(code(&[1, 1, 0, 1, 0, 3, b'a', b'/', b'b']), Code::BadDocumentId);
        assert_eq!(code(&ClientMessage::Push(vec![]).to_bytes()), Code::BadState);
        assert_eq!(code(&ClientMessage::Ping(1).to_bytes()), Code::BadState);
        assert_eq!(code(&[2, 0xff]), Code::BadState, "it is not looked into");
        assert_eq!(code(&[9]), Code::BadFrame);
        assert_eq!(code_of(Hello { token: "x".repeat(LONGEST_HELLO), ..hello() }), Code::Limit);
        assert_eq!(code(&vec![2; LONGEST_HELLO + 1]), Code::Limit);
        assert_eq!(code_of(Hello { definition: "other".into(), ..hello() }), Code::DefinitionMismatch);
        assert_eq!(code_of(Hello { hash: DefinitionHash([8; 32]), ..hello() }), Code::DefinitionMismatch);
    }
}
