//! SQLite's values as JSON: null, a number, a string; a BLOB is `{"blob": "<base64>"}`, an infinity `{"real": "inf"}`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use offprint_protocol::{Argument, Code, Error, Reader, Value};
use serde_json::{Map, Value as Json, json};

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

/// A query's result (PROTOCOL.md, Rows) as `columns` and `rows`.
pub(crate) fn rows(bytes: &[u8]) -> Result<Map<String, Json>, Error> {
    let mut reader = Reader::new(bytes);
    let mut columns = Vec::new();
    for _ in 0..reader.varint()? {
        columns.push(Json::from(reader.str()?));
    }
    let mut rows = Vec::new();
    for _ in 0..reader.varint()? {
        let row = (0..columns.len()).map(|_| cell(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        rows.push(Json::Array(row));
    }
    reader.end()?;
    Ok(Map::from_iter([("columns".to_owned(), columns.into()), ("rows".to_owned(), rows.into())]))
}

fn cell(reader: &mut Reader<'_>) -> Result<Json, Error> {
    Ok(match reader.u8()? {
        0 => Json::Null,
        1 => reader.zigzag()?.into(),
        2 => match f64::from_bits(reader.u64()?) {
            real if real.is_finite() => real.into(),
            real => json!({ "real": if real > 0.0 { "inf" } else { "-inf" } }),
        },
        // SQLite does not see to it that TEXT is UTF-8.
        3 => String::from_utf8_lossy(reader.bytes()?).into(),
        _ => json!({ "blob": BASE64_STANDARD.encode(reader.bytes()?) }),
    })
}

#[cfg(test)]
mod tests {
    use offprint_protocol::Writer;

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

    #[test]
    fn rows_go_out_as_they_are() {
        let mut out = Writer::new();
        out.varint(2).str("a").str("b").varint(3);
        out.u8(0).u8(1).zigzag(i64::MAX);
        out.u8(2).u64(0.5f64.to_bits()).u8(2).u64(f64::INFINITY.to_bits());
        out.u8(3).bytes(b"x\xff").u8(4).bytes(&[0, 255]);
        let rows = Json::from(rows(&out.finish()).unwrap());
        let expected = json!({
            "columns": ["a", "b"],
            "rows": [[null, i64::MAX], [0.5, { "real": "inf" }], ["x\u{fffd}", { "blob": "AP8=" }]],
        });
        assert_eq!(rows, expected);
    }
}
