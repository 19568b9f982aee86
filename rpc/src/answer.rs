//! Answers: JSON in ASCII, in pieces that are never copied together.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};

use crate::Error;

/// Bytes at which a piece is full.
const PIECE: usize = 16 << 10;

/// JSON text of any length. What is long is in pieces, so that neither making nor sending it takes
/// long at a time.
///
/// ```
/// use rpc::Text;
///
/// // Values one by one, with what stands between them.
/// let mut text = Text::default();
/// text.push_str("[");
/// text.push(&1)?;
/// text.push_str("]");
/// assert!(!text.is_empty());
/// # Ok::<(), rpc::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Text {
    pieces: Vec<Vec<u8>>,
}

impl Text {
    /// A value as JSON.
    ///
    /// ```
    /// use rpc::Text;
    ///
    /// assert!(!Text::of(&["a", "b"])?.is_empty());
    /// // The keys of an object are strings.
    /// assert!(Text::of(&std::collections::BTreeMap::from([((1, 2), 3)])).is_err());
    /// # Ok::<(), rpc::Error>(())
    /// ```
    ///
    /// # Errors
    /// It is none: a map whose keys are no strings, for one.
    pub fn of(value: &impl Serialize) -> Result<Self, Error> {
        let mut text = Self::default();
        text.push(value)?;
        Ok(text)
    }

    /// Adds a value.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn push(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut to = serde_json::Serializer::with_formatter(self.last(), Ascii);
        value.serialize(&mut to).map_err(|why| Error::internal(format!("an answer that is no JSON: {why}")))
    }

    /// Adds what stands between values.
    pub fn push_str(&mut self, part: &str) {
        self.last().extend_from_slice(part.as_bytes());
    }

    /// Adds all of another.
    pub fn append(&mut self, mut other: Self) {
        match other.pieces.as_slice() {
            [piece] if piece.len() < PIECE / 4 => self.last().extend_from_slice(piece),
            _ => self.pieces.append(&mut other.pieces),
        }
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(Vec::is_empty)
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    pub(crate) fn into_pieces(self) -> impl Iterator<Item = Vec<u8>> {
        self.pieces.into_iter().filter(|piece| !piece.is_empty())
    }

    /// The piece that is written to.
    fn last(&mut self) -> &mut Vec<u8> {
        if self.pieces.last().is_none_or(|piece| piece.len() >= PIECE) {
            self.pieces.push(Vec::new());
        }
        let at = self.pieces.len() - 1;
        &mut self.pieces[at]
    }
}

/// An array that grows by an element at a time, on whichever cores know them.
///
/// ```
/// use rpc::List;
///
/// let mut cores = List::default();
/// for core in 0..4 {
///     cores.push(&core)?;
/// }
/// assert!(!cores.finish().is_empty());
/// # Ok::<(), rpc::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct List(Text);

impl List {
    /// Adds an element.
    ///
    /// # Errors
    /// As [`Text::of`].
    pub fn push(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.0.push_str(if self.0.is_empty() { "[" } else { "," });
        self.0.push(value)
    }

    /// The array.
    pub fn finish(mut self) -> Text {
        self.0.push_str(if self.0.is_empty() { "[]" } else { "]" });
        self.0
    }
}

/// A whole answer to the call of that id.
pub(crate) fn answer(id: &str, result: Result<Text, Error>) -> Text {
    let mut text = Text::default();
    text.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
    text.push_str(id);
    match result {
        Ok(result) => {
            text.push_str(",\"result\":");
            text.append(result);
        }
        Err(why) => {
            text.push_str(",\"error\":");
            // A number and a string are JSON.
            let _ = text.push(&why);
        }
    }
    text.push_str("}");
    text
}

/// Escapes what is not ASCII: clients decode what they read piece by piece, and may cut a character
/// in two.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, to: &mut W, part: &str) -> io::Result<()> {
        if part.is_ascii() {
            return to.write_all(part.as_bytes());
        }
        for c in part.chars() {
            let mut units = [0; 2];
            match c.is_ascii() {
                true => to.write_all(&[c as u8])?,
                false => c.encode_utf16(&mut units).iter().try_for_each(|unit| to.write_all(&escape(*unit)))?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, to: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(to, escape)
    }
}

/// A unit of UTF-16 as JSON escapes it. Formatting it by `write!` takes far longer, and an
/// answer may have thousands.
fn escape(unit: u16) -> [u8; 6] {
    let digit = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 0xf)];
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: Text) -> String {
        String::from_utf8(text.into_pieces().collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn answers_are_ascii_and_say_the_same() {
        let said = "a\"\\\n\u{1}\u{7f}ü€😀";
        let text = string(Text::of(&said).unwrap());
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), said);
    }

    #[test]
    fn long_lists_come_in_pieces() {
        let mut list = List::default();
        assert_eq!(string(list.clone().finish()), "[]");
        (0..10_000).for_each(|n| list.push(&n).unwrap());
        let text = list.finish();
        assert!(text.pieces.len() > 1 && text.pieces.iter().all(|piece| piece.len() < PIECE + 8));
        assert_eq!(serde_json::from_str::<Vec<u32>>(&string(text)).unwrap(), (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_answer_has_the_id_as_it_came_and_a_result_or_an_error() {
        assert_eq!(string(answer("1.50", Text::of(&true))), r#"{"jsonrpc":"2.0","id":1.50,"result":true}"#);
        let why = Error::params("no");
        assert_eq!(string(answer("null", Err(why))), r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no"}}"#);
    }
}
