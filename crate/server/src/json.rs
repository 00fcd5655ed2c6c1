//! SQLite's values as JSON: null, a number, a string; a BLOB is `{"blob": "<base64>"}`, an infinity `{"real": "inf"}`.

use std::io::{self, Write};

use base64::Engine;
use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;
use offprint_protocol::{Argument, Code, Error, Position, Reader, Value};
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// A mutation's arguments, in ascending order of their names.
pub(crate) fn arguments(args: Map<String, Json>) -> Result<Vec<Argument>, Error> {
    let mut arguments = Vec::with_capacity(args.len());
    for (name, json) in args {
        arguments.push(Argument { value: value(json, &name)?, name });
    }
    arguments.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(arguments)
}

/// The values of a query's `?`.
pub(crate) fn params(params: Vec<Json>) -> Result<Vec<Value>, Error> {
    (1..).zip(params).map(|(index, json)| value(json, &index.to_string())).collect()
}

fn value(json: Json, name: &str) -> Result<Value, Error> {
    let bad = || Error::new(Code::BadArgument, format!("the value of {name:?} is none that SQLite can hold"));
    match json {
        Json::Object(object) => match (object.len(), object.get("blob"), object.get("real")) {
            (1, Some(Json::String(text)), _) => {
                BASE64_STANDARD.decode(text).map(Value::Blob).map_err(|_| bad())
            }
            (1, _, Some(Json::String(text))) => match text.as_str() {
                "inf" => Ok(Value::Real(f64::INFINITY)),
                "-inf" => Ok(Value::Real(f64::NEG_INFINITY)),
                _ => Err(bad()),
            },
            _ => Err(bad()),
        },
        other => serde_json::from_value(other).map_err(|_| bad()),
    }
}

/// The text of a query's result (PROTOCOL.md, Rows) and the state that it is of; `too_large` if it exceeds `most` bytes.
/// It is written as it is read: a tree of it would take many times as much.
pub(crate) fn selected(rows: &[u8], position: &Position, most: usize) -> Result<Vec<u8>, Error> {
    let mut reader = Reader::new(rows);
    let mut out = Text { bytes: Vec::new(), most };
    let columns = reader.varint()?;
    out.raw("{\"columns\":[")?;
    for column in 0..columns {
        out.separate(column)?;
        out.value(reader.str()?)?;
    }
    out.raw("],\"rows\":[")?;
    for row in 0..reader.varint()? {
        out.separate(row)?;
        out.raw("[")?;
        for column in 0..columns {
            out.separate(column)?;
            out.cell(&mut reader)?;
        }
        out.raw("]")?;
    }
    reader.end()?;
    out.raw("],\"lsn\":")?;
    out.value(&position.lsn.0)?;
    out.raw(",\"journal\":")?;
    out.value(&hex(&position.journal.0))?;
    out.raw("}")?;
    Ok(out.bytes)
}

/// JSON that is being written, up to so many bytes.
struct Text {
    bytes: Vec<u8>,
    most: usize,
}

impl Text {
    fn raw(&mut self, text: &str) -> Result<(), Error> {
        self.write_all(text.as_bytes()).map_err(|_| self.too_large())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut *self, value).map_err(|_| self.too_large())
    }

    fn separate(&mut self, index: u64) -> Result<(), Error> {
        if index > 0 { self.raw(",") } else { Ok(()) }
    }

    fn cell(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        match reader.u8()? {
            0 => self.raw("null"),
            1 => self.value(&reader.zigzag()?),
            2 => match f64::from_bits(reader.u64()?) {
                real if real.is_finite() => self.value(&real),
                real if real > 0.0 => self.raw("{\"real\":\"inf\"}"),
                _ => self.raw("{\"real\":\"-inf\"}"),
            },
            // SQLite does not see to it that TEXT is UTF-8.
            3 => self.value(&String::from_utf8_lossy(reader.bytes()?)),
            _ => {
                let blob = Base64Display::new(reader.bytes()?, &BASE64_STANDARD);
                write!(self, "{{\"blob\":\"{blob}\"}}").map_err(|_| self.too_large())
            }
        }
    }

    fn too_large(&self) -> Error {
        Error::new(Code::TooLarge, format!("the answer exceeds {} bytes", self.most))
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use offprint_protocol::{CommitHash, JournalId, Lsn, Writer};
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_in_as_sqlite_holds_them() {
        let given = json!([null, true, 7, -9_223_372_036_854_775_808i64, 0.5, "ü", { "blob": "AP8=" }, { "real": "-inf" }]);
        let Json::Array(given) = given else { panic!("it is an array") };
        let expected = [
            Value::Null,
            Value::Integer(1),
            Value::Integer(7),
            Value::Integer(i64::MIN),
            Value::Real(0.5),
            Value::Text("ü".into()),
            Value::Blob(vec![0, 255]),
            Value::Real(f64::NEG_INFINITY),
        ];
        assert_eq!(params(given).unwrap(), expected);
    }

    #[test]
    fn what_sqlite_cannot_hold_is_a_bad_argument() {
        for bad in [
            json!([1]),
            json!({}),
            json!({ "blob": "no base64!" }),
            json!({ "blob": 1 }),
            json!({ "blob": "", "real": "inf" }),
            json!({ "real": "1" }),
            json!(18_446_744_073_709_551_615u64),
        ] {
            assert_eq!(params(vec![bad.clone()]).unwrap_err().code, Code::BadArgument, "{bad}");
        }
    }

    const AT: Position = Position { journal: JournalId([0x1f; 16]), lsn: Lsn(7), hash: CommitHash([0; 32]) };

    #[test]
    fn rows_go_out_as_they_are() {
        let mut out = Writer::new();
        out.varint(2).str("a").str("\"b\"").varint(3);
        out.u8(0).u8(1).zigzag(i64::MAX);
        out.u8(2).u64(0.5f64.to_bits()).u8(2).u64(f64::INFINITY.to_bits());
        out.u8(3).bytes(b"x\xff\n").u8(4).bytes(&[0, 255]);
        let text = selected(&out.finish(), &AT, 1000).unwrap();
        let expected = json!({
            "columns": ["a", "\"b\""],
            "rows": [[null, i64::MAX], [0.5, { "real": "inf" }], ["x\u{fffd}\n", { "blob": "AP8=" }]],
            "lsn": 7,
            "journal": "1f".repeat(16),
        });
        assert_eq!(serde_json::from_slice::<Json>(&text).unwrap(), expected);
    }

    #[test]
    fn an_answer_is_as_long_as_it_may_be_and_no_longer() {
        for cell in [&b"\0"[..], b"\x03\x01\0", b"\x04\x011"] {
            let mut out = Writer::new();
            out.varint(1).str("a").varint(1000).raw(&cell.repeat(1000));
            let rows = out.finish();
            let length = selected(&rows, &AT, 100_000).unwrap().len();
            assert_eq!(selected(&rows, &AT, length).unwrap().len(), length);
            for most in [0, 1, length / 2, length - 1] {
                assert_eq!(selected(&rows, &AT, most).unwrap_err().code, Code::TooLarge);
            }
        }
    }
}
