//! Who may do what: tokens that the operator's app signs, and the documents they name.

mod grant;
mod key;

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation, decode, decode_header};
use offprint_protocol::{Code, DocumentId, Error};
use serde::Deserialize;

use crate::auth::grant::Grant;
use crate::auth::key::Key;
use crate::start_error::StartError;

pub use crate::auth::grant::Access;
pub use crate::auth::key::KeySource;

/// How far the clock of who signs and ours may be apart.
const LEEWAY: Duration = Duration::from_secs(30);
/// The longest token that is looked at, in bytes.
const LONGEST: usize = 16 << 10;

/// Checks tokens: JSON Web Tokens (RFC 7519), signed with HS256, EdDSA (Ed25519) or RS256.
#[derive(Debug, Clone)]
pub struct Auth {
    keys: Vec<Key>,
    audience: Option<String>,
    issuer: Option<String>,
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pass {
    /// Absent where nobody needs a token.
    grants: Option<Vec<Grant>>,
    /// Since 1970.
    ends: Option<Duration>,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    #[serde(default)]
    offprint: Vec<Grant>,
}

impl Auth {
    /// Reads the keys; a token that one of them signed is accepted. With an audience or an issuer, a token has to
    /// name it.
    pub fn load(
        sources: &[KeySource],
        audience: Option<String>,
        issuer: Option<String>,
    ) -> Result<Self, StartError> {
        let mut keys = Vec::new();
        for source in sources {
            keys.extend(source.load()?);
        }
        Ok(Self { keys, audience, issuer })
    }

    /// What the token is good for at this time (since 1970), or `unauthorized`.
    pub(crate) fn check(&self, token: &str, now: Duration) -> Result<Pass, Error> {
        if token.is_empty() {
            return Err(unauthorized("the server asks for a token, and there is none"));
        }
        if token.len() > LONGEST {
            return Err(unauthorized("the token is too long"));
        }
        let header = decode_header(token)
            .map_err(|_| unauthorized("the token is not a signed JWT of an algorithm that is known here"))?;
        if header.crit.is_some() {
            return Err(unauthorized("the token has critical extensions, of which none is known here"));
        }
        let claims = self.claims(token, &header)?;
        let ends = seconds(claims.exp, "exp")?.saturating_add(LEEWAY);
        if ends <= now {
            return Err(expired());
        }
        if let Some(begins) = claims.nbf
            && seconds(begins, "nbf")? > now.saturating_add(LEEWAY)
        {
            return Err(unauthorized("the token is not valid yet"));
        }
        Ok(Pass { grants: Some(claims.offprint), ends: Some(ends) })
    }

    /// The claims, if one of our keys signed them.
    fn claims(&self, token: &str, header: &Header) -> Result<Claims, Error> {
        let mut result =
            Err(unauthorized("the token is signed with another algorithm or key than the server's"));
        // A key is for one algorithm: what a token says about itself never chooses how a key is used.
        for key in self.keys.iter().filter(|key| key.fits(header)) {
            let mut validation = Validation::new(key.algorithm);
            validation.validate_exp = false;
            validation.required_spec_claims.clear();
            if let Some(audience) = &self.audience {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".into());
            }
            if let Some(issuer) = &self.issuer {
                validation.set_issuer(&[issuer]);
                validation.required_spec_claims.insert("iss".into());
            }
            match decode(token, &key.key, &validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => match error.kind() {
                    ErrorKind::InvalidSignature => {}
                    ErrorKind::InvalidAudience => {
                        result = Err(unauthorized("the token is for another audience"))
                    }
                    ErrorKind::InvalidIssuer => result = Err(unauthorized("the token is of another issuer")),
                    ErrorKind::MissingRequiredClaim(name) => {
                        result = Err(unauthorized(&format!("the token has no claim {name:?}")));
                    }
                    ErrorKind::Json(error) => {
                        result =
                            Err(unauthorized(&format!("the token's claims are not understood: {error}")));
                    }
                    _ => {}
                },
            }
        }
        result
    }
}

impl Pass {
    /// Everything, for ever: where no token is asked for.
    pub(crate) fn for_anyone() -> Self {
        Self { grants: None, ends: None }
    }

    /// What may be done with a document; `forbidden` if that is nothing.
    pub(crate) fn access(&self, document: &DocumentId) -> Result<Access, Error> {
        let Some(grants) = &self.grants else { return Ok(Access::Write) };
        grants.iter().filter_map(|grant| grant.access(document)).max().ok_or_else(|| {
            Error::new(Code::Forbidden, "the token does not name this document in its claim \"offprint\"")
        })
    }

    /// How long it is still good for; without end, if it has none.
    pub(crate) fn remaining(&self, now: Duration) -> Option<Duration> {
        self.ends.map(|ends| ends.saturating_sub(now))
    }
}

/// What ends a session whose token has come to its end.
pub(crate) fn expired() -> Error {
    unauthorized("the token has expired")
}

/// What ends a session that may only read and pushes.
pub(crate) fn read_only() -> Error {
    Error::new(Code::Forbidden, "the token allows to read this document, not to change it")
}

fn unauthorized(what: &str) -> Error {
    Error::new(Code::Unauthorized, what)
}

fn seconds(claim: f64, name: &str) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(claim).map_err(|_| unauthorized(&format!("the token's {name} is not a time")))
}

#[cfg(test)]
mod tests;
