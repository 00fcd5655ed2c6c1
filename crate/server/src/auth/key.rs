//! The keys that tokens are checked with, and the files they come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Header};

use crate::start_error::StartError;

/// The shortest secret (RFC 7518, 3.2) and RSA modulus (3.3), in bytes.
const SHORTEST: (usize, usize) = (32, 256);

/// A file with a key, as the command line names it: `hs256=FILE`, `eddsa=FILE`, `rs256=FILE` or `jwks=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    kind: Kind,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hs256,
    EdDsa,
    Rs256,
    Jwks,
}

/// A key and the one algorithm that it is used with.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
    id: Option<String>,
}

impl FromStr for KeySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "it has the form hs256=FILE, eddsa=FILE, rs256=FILE or jwks=FILE";
        let (kind, path) = text.split_once('=').ok_or(form)?;
        let kind = match kind {
            "hs256" => Kind::Hs256,
            "eddsa" => Kind::EdDsa,
            "rs256" => Kind::Rs256,
            "jwks" => Kind::Jwks,
            _ => return Err(form.into()),
        };
        Ok(Self { kind, path: path.into() })
    }
}

impl KeySource {
    /// Reads the file; gives at least one key.
    pub(crate) fn load(&self) -> Result<Vec<Key>, StartError> {
        let bad = |why: &str| StartError::BadKey { path: self.path.clone(), why: why.to_owned() };
        let bytes = fs::read(&self.path).map_err(|error| bad(&error.to_string()))?;
        let key = match self.kind {
            Kind::Hs256 => Key::secret(bytes.trim_ascii_end()),
            Kind::EdDsa => Key::public(Algorithm::EdDSA, &bytes),
            Kind::Rs256 => Key::public(Algorithm::RS256, &bytes),
            Kind::Jwks => return self.load_set(&bytes).map_err(|why| bad(&why)),
        };
        Ok(vec![key.map_err(|why| bad(&why))?])
    }

    fn load_set(&self, bytes: &[u8]) -> Result<Vec<Key>, String> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not a JWK set: {error}"))?;
        let mut keys = Vec::new();
        for (index, value) in set.keys.into_iter().enumerate() {
            // A set may hold keys that are for something else: one that cannot be used is passed over, as RFC 7517 says.
            match serde_json::from_value::<Jwk>(value)
                .map_err(|error| error.to_string())
                .and_then(Key::of_set)
            {
                Ok(key) => keys.push(key),
                Err(why) => say_skipped(&self.path, index, &why),
            }
        }
        if keys.is_empty() {
            return Err("none of its keys is for HS256, EdDSA or RS256 signatures".into());
        }
        Ok(keys)
    }
}

fn say_skipped(path: &Path, index: usize, why: &str) {
    tracing::warn!(file = %path.display(), key = index + 1, why, "a key of the set is not used");
}

impl Key {
    /// Whether a token with this header may be signed with this key.
    pub(crate) fn fits(&self, header: &Header) -> bool {
        let same_id = match (&self.id, &header.kid) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        self.algorithm == header.alg && same_id
    }

    fn secret(bytes: &[u8]) -> Result<Self, String> {
        Self { algorithm: Algorithm::HS256, key: DecodingKey::from_secret(bytes), id: None }.checked()
    }

    fn public(algorithm: Algorithm, pem: &[u8]) -> Result<Self, String> {
        if String::from_utf8_lossy(pem).contains("PRIVATE KEY") {
            return Err(
                "it is the private key, which the server must not have: give it the public one".into()
            );
        }
        let key = match algorithm {
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
            _ => DecodingKey::from_rsa_pem(pem),
        };
        let key = key.map_err(|_| format!("it is not the public key for {algorithm:?} as PEM"))?;
        Self { algorithm, key, id: None }.checked()
    }

    fn of_set(jwk: Jwk) -> Result<Self, String> {
        let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
            (AlgorithmParameters::OctetKey(_), None | Some(KeyAlgorithm::HS256)) => Algorithm::HS256,
            (AlgorithmParameters::OctetKeyPair(_), None | Some(KeyAlgorithm::EdDSA)) => Algorithm::EdDSA,
            (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
            _ => return Err("it is for another algorithm".into()),
        };
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            return Err("it is for encryption".into());
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
        Self { algorithm, key, id: jwk.common.key_id }.checked()
    }

    /// Refuses what anybody could guess or break.
    fn checked(self) -> Result<Self, String> {
        let (secret, modulus) = SHORTEST;
        match (self.algorithm, self.key.kind()) {
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(bytes)) if bytes.len() < secret => {
                Err(format!("a secret for HS256 has at least {secret} bytes, this one {}", bytes.len()))
            }
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(bytes)) if bytes.len() != 32 => {
                Err("it is not an Ed25519 key".into())
            }
            (
                Algorithm::RS256,
                DecodingKeyKind::SecretOrDer(bytes) | DecodingKeyKind::RsaModulusExponent { n: bytes, .. },
            ) if bytes.len() < modulus => {
                Err(format!("an RSA key for RS256 has at least {} bits", modulus * 8))
            }
            _ => Ok(self),
        }
    }
}
