//! One call as it was sent: its method, its parameters, its id.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A call, within the text that it came in.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Cow<'a, str>,
    /// An object or an array.
    pub(crate) params: Option<&'a RawValue>,
    /// A string or a number, as it came; nothing if no answer is wanted.
    pub(crate) id: Option<&'a str>,
}

/// It is JSON, and no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(default, borrow, deserialize_with = "given")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow)]
    method: &'a RawValue,
    #[serde(default, borrow, deserialize_with = "given")]
    params: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    id: Option<&'a RawValue>,
}

/// A value that is there, be it null.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

impl<'a> Request<'a> {
    /// Reads a value that is known to be JSON.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        // The parser would take an array for the fields in order.
        if first(text) != b'{' {
            return Err(Malformed);
        }
        let envelope: Envelope<'a> = serde_json::from_slice(text).map_err(|_| Malformed)?;
        if envelope.jsonrpc.is_some_and(|version| string(version).is_none_or(|version| version != "2.0")) {
            return Err(Malformed);
        }
        let present = |value: &&RawValue| value.get() != "null";
        let (params, id) = (envelope.params.filter(present), envelope.id.filter(present).map(RawValue::get));
        if params.is_some_and(|params| !matches!(first(params.get().as_bytes()), b'{' | b'['))
            || id.is_some_and(|id| !matches!(first(id.as_bytes()), b'"' | b'-' | b'0'..=b'9'))
        {
            return Err(Malformed);
        }
        Ok(Self { method: string(envelope.method).ok_or(Malformed)?, params, id })
    }
}

/// Whether a value is a request. For fuzzing.
///
/// ```
/// assert!(rpc::is_request(br#"{"jsonrpc": "2.0", "method": "rpc_get_methods", "id": 1}"#));
/// assert!(!rpc::is_request(b"[]"));
/// ```
pub fn is_request(text: &[u8]) -> bool {
    Request::read(text).is_ok()
}

/// The first byte that is no white space.
fn first(text: &[u8]) -> u8 {
    text.iter().copied().find(|byte| !byte.is_ascii_whitespace()).unwrap_or(b' ')
}

fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    /// A string, borrowed where it has no escapes.
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(value.get()).ok().map(|Borrowed(text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_with_their_ids_as_they_came() {
        for (text, method, params, id) in [
            (r#"{"method":"m"}"#, "m", None, None),
            (r#"{"jsonrpc":"2.0","id":1.50,"method":"m","params":{"a":1}}"#, "m", Some(r#"{"a":1}"#), Some("1.50")),
            (r#" { "id" : "\u0031" , "method" : "\u006d" , "params" : [ ] } "#, "m", Some("[ ]"), Some(r#""\u0031""#)),
            (r#"{"id":123456789012345678901234567890,"method":"m"}"#, "m", None, Some("123456789012345678901234567890")),
            (r#"{"id":null,"params":null,"method":"m"}"#, "m", None, None),
            (r#"{"jsonrpc":"\u0032.0","id":-1,"method":""}"#, "", None, Some("-1")),
        ] {
            let read = Request::read(text.as_bytes()).expect(text);
            assert_eq!((&*read.method, read.params.map(RawValue::get), read.id), (method, params, id), "{text}");
        }
    }

    #[test]
    fn whatever_else_is_json_is_no_request() {
        for text in [
            "{}",
            "5",
            "\"m\"",
            "null",
            r#"["2.0","m",{},1]"#,
            r#"{"method":1}"#,
            r#"{"method":null}"#,
            r#"{"method":"m","x":1}"#,
            r#"{"method":"m","method":"m"}"#,
            r#"{"method":"m","id":1,"id":1}"#,
            r#"{"method":"m","jsonrpc":"1.0"}"#,
            r#"{"method":"m","jsonrpc":2.0}"#,
            r#"{"method":"m","jsonrpc":null}"#,
            r#"{"method":"m","params":1}"#,
            r#"{"method":"m","params":"x"}"#,
            r#"{"method":"m","params":true}"#,
            r#"{"method":"m","id":true}"#,
            r#"{"method":"m","id":{}}"#,
            r#"{"method":"m","id":[1]}"#,
        ] {
            assert_eq!(Request::read(text.as_bytes()).err(), Some(Malformed), "{text}");
        }
    }
}
