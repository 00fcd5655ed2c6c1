//! A request for a part of a body (RFC 9110, Range): one range, or the whole.

use axum::http::{HeaderMap, HeaderValue, header};

/// What is asked for of a body of so many bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ByteRange {
    Whole,
    /// From the first of these bytes up to, and without, the second.
    Part(u64, u64),
    /// None of the bytes that are asked for exist.
    Outside,
}

impl ByteRange {
    /// Reads Range and If-Range; what is not understood, or is for another body than that of `etag`, asks for the whole.
    pub(crate) fn of(headers: &HeaderMap, etag: &HeaderValue, length: u64) -> Self {
        let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
            return Self::Whole;
        };
        if headers.get(header::IF_RANGE).is_some_and(|wanted| wanted != etag) {
            return Self::Whole;
        }
        Self::parse(range, length).unwrap_or(Self::Whole)
    }

    fn parse(range: &str, length: u64) -> Option<Self> {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let (first, end) = match (first.trim(), last.trim()) {
            ("", "") => return None,
            ("", count) => (length.saturating_sub(count.parse().ok()?), length),
            (first, "") => (first.parse().ok()?, length),
            (first, last) => {
                let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                if last < first {
                    return None;
                }
                (first, last.saturating_add(1).min(length))
            }
        };
        Some(if first < end { Self::Part(first, end) } else { Self::Outside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &'static str, if_range: Option<&'static str>) -> ByteRange {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static(range));
        headers.extend(if_range.map(|etag| (header::IF_RANGE, HeaderValue::from_static(etag))));
        ByteRange::of(&headers, &HeaderValue::from_static("\"a\""), 100)
    }

    #[test]
    fn one_range_is_understood() {
        for (range, expected) in [
            ("bytes=0-", ByteRange::Part(0, 100)),
            ("bytes=99-", ByteRange::Part(99, 100)),
            ("bytes=10-19", ByteRange::Part(10, 20)),
            ("bytes=10-1000", ByteRange::Part(10, 100)),
            ("bytes=-10", ByteRange::Part(90, 100)),
            ("bytes=-1000", ByteRange::Part(0, 100)),
            ("bytes=100-", ByteRange::Outside),
            ("bytes=-0", ByteRange::Outside),
            ("bytes=200-300", ByteRange::Outside),
        ] {
            assert_eq!(of(range, None), expected, "{range}");
        }
    }

    #[test]
    fn anything_else_asks_for_the_whole() {
        for range in
            ["", "bytes=", "bytes=-", "bytes=a-", "bytes=5-4", "bytes=0-1,5-6", "pages=0-", "bytes=-1-"]
        {
            assert_eq!(of(range, None), ByteRange::Whole, "{range}");
        }
        assert_eq!(of("bytes=10-", Some("\"a\"")), ByteRange::Part(10, 100));
        assert_eq!(of("bytes=10-", Some("\"b\"")), ByteRange::Whole);
    }
}
