//! A SQLite value, as an argument of a mutator or a parameter of a query.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::{Decode, Encode, Reader, Writer, bad};
use crate::error::Error;

/// One of SQLite's five storage classes. In JavaScript: `null`, a number without fraction or a bigint, a number,
/// a string, a `Uint8Array`; `true` and `false` become 1 and 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// REAL
    Real(f64),
    /// TEXT
    Text(String),
    /// BLOB
    Blob(Vec<u8>),
}

impl Value {
    /// The bytes this value holds, as SQLite counts them.
    pub fn size(&self) -> usize {
        match self {
            Value::Null => 0,
            Value::Integer(_) | Value::Real(_) => 8,
            Value::Text(text) => text.len(),
            Value::Blob(bytes) => bytes.len(),
        }
    }
}

impl Encode for Value {
    fn encode(&self, out: &mut Writer) {
        match self {
            Value::Null => out.u8(0),
            Value::Integer(value) => out.u8(1).zigzag(*value),
            Value::Real(value) => out.u8(2).u64(value.to_bits()),
            Value::Text(text) => out.u8(3).str(text),
            Value::Blob(bytes) => out.u8(4).bytes(bytes),
        };
    }
}

impl Decode for Value {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match from.u8()? {
            0 => Value::Null,
            1 => Value::Integer(from.zigzag()?),
            2 => Value::Real(f64::from_bits(from.u64()?)),
            3 => Value::Text(from.str()?.to_owned()),
            4 => Value::Blob(from.bytes()?.to_owned()),
            _ => return Err(bad("an unknown kind of value")),
        })
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Integer(value) => serializer.serialize_i64(*value),
            Value::Real(value) => serializer.serialize_f64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Blob(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a number, a bigint of 64 bits, a string or a Uint8Array")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Integer(i64::from(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom("an integer exceeds 64 bits"))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        // JavaScript has one number type: one without a fraction is meant as an INTEGER.
        const SAFE: f64 = 9_007_199_254_740_991.0;
        if value.fract() == 0.0 && value.abs() <= SAFE && !(value == 0.0 && value.is_sign_negative()) {
            return Ok(Value::Integer(value as i64));
        }
        Ok(Value::Real(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Blob(value.to_owned()))
    }

    fn visit_byte_buf<E: de::Error>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Blob(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        let values = [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(-1),
            Value::Integer(i64::MAX),
            Value::Real(-0.0),
            Value::Real(f64::INFINITY),
            Value::Text("ü\0".into()),
            Value::Blob(vec![0, 255]),
        ];
        for value in values {
            assert_eq!(Value::from_bytes(&value.to_bytes()).unwrap(), value);
        }
    }
}
