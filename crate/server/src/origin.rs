//! Which pages may connect: a browser tells the page's origin, and a page of another site must not reach this server.

use axum::http::{HeaderValue, Uri};
use offprint_protocol::{Code, Error};

use crate::start_error::StartError;

/// The origins that are let in.
#[derive(Debug)]
pub(crate) struct Origins {
    named: Vec<String>,
}

impl Origins {
    /// The pages of this machine, and these.
    pub(crate) fn new(named: &[String]) -> Result<Self, StartError> {
        let normal = |text: &String| {
            let bad = || StartError::BadOrigin(text.clone());
            let uri: Uri = text.parse().map_err(|_| bad())?;
            match (uri.scheme_str(), uri.authority(), uri.path_and_query().map(|path| path.as_str())) {
                (Some("http" | "https"), Some(authority), None | Some("/"))
                    if !authority.as_str().contains('@') =>
                {
                    Ok(text.trim_end_matches('/').to_ascii_lowercase())
                }
                _ => Err(bad()),
            }
        };
        Ok(Self { named: named.iter().map(normal).collect::<Result<_, _>>()? })
    }

    /// Fails with `unauthorized` if the page may not connect. Programs that are not browsers name no origin.
    pub(crate) fn check(&self, origin: Option<&HeaderValue>) -> Result<(), Error> {
        let Some(origin) = origin else { return Ok(()) };
        let text = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
        if self.named.contains(&text) || is_of_this_machine(&text) {
            return Ok(());
        }
        Err(Error::new(
            Code::Unauthorized,
            "pages of this origin may not connect; the server's operator allows more with --origin",
        ))
    }
}

/// Fails with `unauthorized` if the request was meant for another host: a page of another site can make its own name
/// resolve to this machine. Only where no tokens are asked for does it matter.
pub(crate) fn check_host(host: Option<&HeaderValue>) -> Result<(), Error> {
    let text = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_of_this_machine(&format!("http://{}", text.to_ascii_lowercase())) {
        return Ok(());
    }
    Err(Error::new(Code::Unauthorized, "without --auth, requests name this machine as their host"))
}

fn is_of_this_machine(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_in(origins: &Origins, origin: &str) -> bool {
        origins.check(Some(&HeaderValue::from_str(origin).unwrap())).is_ok()
    }

    #[test]
    fn pages_of_this_machine_and_named_ones_are_let_in() {
        let origins = Origins::new(&["https://App.example.com/".into()]).unwrap();
        for good in [
            "http://localhost:5173",
            "https://localhost",
            "http://127.0.0.1:1",
            "http://[::1]:5173",
            "https://app.example.com",
        ] {
            assert!(lets_in(&origins, good), "{good}");
        }
        assert!(origins.check(None).is_ok());
    }

    #[test]
    fn other_pages_are_kept_out() {
        let origins = Origins::new(&["https://app.example.com".into()]).unwrap();
        for bad in [
            "null",
            "",
            "https://evil.example",
            "http://app.example.com",
            "https://app.example.com:8443",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "http://evil@localhost",
            "file://localhost",
        ] {
            assert!(!lets_in(&origins, bad), "{bad}");
        }
    }

    #[test]
    fn what_is_not_an_origin_is_not_taken_for_one() {
        for bad in ["example.com", "https://example.com/app", "ftp://example.com", "https://a@b", "*"] {
            assert!(matches!(Origins::new(&[bad.into()]), Err(StartError::BadOrigin(_))), "{bad}");
        }
    }
}
