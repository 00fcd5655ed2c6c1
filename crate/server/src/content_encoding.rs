//! How a body is compressed: chosen by what its receiver accepts, done part by part in bounded memory.

use std::io::{self, Write};

use axum::http::{HeaderMap, header};
use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

/// zstd's own default: several times faster than a network.
const ZSTD: i32 = 3;
/// Brotli's quality and the power of two of its window: as fast as gzip, and smaller.
const BROTLI: (u32, u32) = (5, 20);

/// A content coding, as HTTP calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentEncoding {
    Zstd,
    Brotli,
    Gzip,
    Identity,
}

impl ContentEncoding {
    /// The best one first.
    const ALL: [Self; 4] = [Self::Zstd, Self::Brotli, Self::Gzip, Self::Identity];

    /// The best that the request's Accept-Encoding allows; bytes as they are if it says nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepted =
            headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let accepted: Vec<_> = accepted.flat_map(|text| text.split(',')).filter_map(allowed).collect();
        let is_allowed =
            |encoding: &Self| accepted.iter().any(|name| name.eq_ignore_ascii_case(encoding.name()));
        Self::ALL.into_iter().find(is_allowed).unwrap_or(Self::Identity)
    }

    /// Its name in HTTP.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }
}

/// The coding that one item of Accept-Encoding names, unless its weight is 0.
fn allowed(item: &str) -> Option<&str> {
    let mut fields = item.split(';').map(str::trim);
    let name = fields.next()?;
    let weight = fields.find_map(|field| field.strip_prefix("q="));
    let is_zero = weight.is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0));
    (!is_zero).then_some(name)
}

/// Compresses a body as its parts come; what it gives for one may be empty.
pub(crate) enum Encoder {
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
    Identity,
}

impl Encoder {
    pub(crate) fn new(encoding: ContentEncoding) -> io::Result<Self> {
        Ok(match encoding {
            ContentEncoding::Zstd => Self::Zstd(ZstdEncoder::new(Vec::new(), ZSTD)?),
            ContentEncoding::Brotli => {
                let (quality, window) = BROTLI;
                Self::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4096, quality, window)))
            }
            ContentEncoding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            ContentEncoding::Identity => Self::Identity,
        })
    }

    /// The bytes that this part adds.
    pub(crate) fn encode(&mut self, part: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.write_all(&part).map(|()| std::mem::take(encoder.get_mut())),
            Self::Brotli(encoder) => encoder.write_all(&part).map(|()| std::mem::take(encoder.get_mut())),
            Self::Gzip(encoder) => encoder.write_all(&part).map(|()| std::mem::take(encoder.get_mut())),
            Self::Identity => Ok(part),
        }
    }

    /// The bytes that end the body.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Identity => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_best_that_is_accepted_is_chosen() {
        for (accepted, chosen) in [
            ("gzip, deflate, br, zstd", ContentEncoding::Zstd),
            ("gzip, deflate, br", ContentEncoding::Brotli),
            ("GZIP", ContentEncoding::Gzip),
            ("zstd;q=0, br; q=0.0, gzip;q=0.5", ContentEncoding::Gzip),
            ("identity", ContentEncoding::Identity),
            ("*", ContentEncoding::Identity),
            ("", ContentEncoding::Identity),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(ContentEncoding::of(&headers), chosen, "{accepted}");
        }
        assert_eq!(ContentEncoding::of(&HeaderMap::new()), ContentEncoding::Identity);
    }
}
