//! Finds where a JSON value ends, however it is cut into pieces.
//!
//! Clients send values back to back, with nothing between them that says how long one is. What is
//! found here to be a value is one by all of JSON's rules, so nothing of it needs to be looked at
//! before all of it has come, and no batch is begun that has a mistake at its end.

use std::ops::Range;
use std::str;

/// Arrays and objects within each other.
pub const DEPTH: usize = 64;
/// Elements of an array on the outside, which is a batch of calls.
pub const ELEMENTS: usize = 8192;

/// What cannot become a value of JSON, or of the size that is allowed. Where the next value begins
/// is not known then.
///
/// ```
/// use rpc::scan::{Bad, DEPTH, Scanner};
///
/// assert_eq!(Scanner::default().feed(b"{]"), Err(Bad::Syntax { at: 1 }));
/// assert_eq!(Scanner::default().feed(&[b'['; DEPTH + 1]), Err(Bad::Deep));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// A byte that no value has in this place.
    #[error("no JSON at byte {at} of a value")]
    Syntax {
        /// How many bytes of the value are before it.
        at: usize,
    },
    /// More than [`DEPTH`] arrays and objects within each other.
    #[error("more than {DEPTH} arrays and objects within each other")]
    Deep,
    /// A batch of more than [`ELEMENTS`].
    #[error("a batch of more than {ELEMENTS} calls")]
    Many,
}

/// Looks at the bytes of one value as they come.
///
/// ```
/// use rpc::scan::Scanner;
///
/// // Two values, back to back and cut anywhere.
/// let mut scanner = Scanner::default();
/// assert_eq!(scanner.feed(br#"{"id": 1, "met"#), Ok((14, false)));
/// assert_eq!(scanner.feed(br#"hod": "a"}{"id": 2}"#), Ok((10, true)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    state: State,
    /// What is open: a bit for each level, set for an object.
    objects: u64,
    depth: usize,
    /// Bytes of the value so far.
    position: usize,
    is_batch: bool,
    /// Where the element that has begun does.
    element: usize,
    elements: Vec<Range<usize>>,
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A value, nothing of which has come.
    #[default]
    Value,
    /// A value, or the end of an array.
    FirstElement,
    /// A key, or the end of an object.
    FirstKey,
    /// A key.
    Key,
    /// The colon behind a key.
    Colon,
    /// A comma, or the end of what is open.
    Next,
    /// The rest of a string.
    Text { key: bool },
    /// What is behind a backslash.
    Escape { key: bool },
    /// So many digits of `\uXXXX`.
    Hex { key: bool, left: u8 },
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// A number, and where in it.
    Number(Number),
    /// Nothing: it is whole.
    Done,
}

/// Where in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// Behind the minus.
    Minus,
    /// Behind a 0 in front.
    Zero,
    /// In the digits before a point.
    Whole,
    /// Behind the point.
    Point,
    /// In the digits behind the point.
    Fraction,
    /// Behind the `e`.
    Exponent,
    /// Behind its sign.
    Sign,
    /// In its digits.
    Digits,
}

impl Scanner {
    /// Looks at the next bytes: how many it has taken, and whether the value is whole with them.
    /// All are taken that belong to the value, but for the beginning of a character that goes on
    /// behind `bytes`.
    ///
    /// # Errors
    /// They make no value.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), Bad> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            let taken = match self.state {
                State::Text { key } => self.text(&bytes[at..], key)?,
                _ => usize::from(self.step(bytes[at])?),
            };
            if taken == 0 && matches!(self.state, State::Text { .. }) {
                return Ok((at, false));
            }
            at += taken;
            self.position += taken;
        }
        Ok((at, self.state == State::Done))
    }

    /// No more will come: whether that makes the value whole. It does for a number on the outside.
    ///
    /// ```
    /// use rpc::scan::Scanner;
    ///
    /// let mut scanner = Scanner::default();
    /// assert_eq!(scanner.feed(b"12"), Ok((2, false)), "more digits may come");
    /// assert!(scanner.finish());
    /// ```
    pub fn finish(&mut self) -> bool {
        if self.depth == 0 && self.ends_number() {
            self.state = State::Done;
        }
        self.state == State::Done
    }

    /// Whether nothing has come but white space.
    pub fn is_blank(&self) -> bool {
        self.state == State::Value && self.depth == 0
    }

    /// Where the elements of a batch are, counted from the value's first byte; nothing if it is no
    /// array on the outside.
    ///
    /// ```
    /// use rpc::scan::Scanner;
    ///
    /// let mut scanner = Scanner::default();
    /// assert_eq!(scanner.feed(b"[{}, {}]"), Ok((8, true)));
    /// assert_eq!(scanner.batch(), Some(vec![1..3, 5..7]));
    /// ```
    pub fn batch(&mut self) -> Option<Vec<Range<usize>>> {
        self.is_batch.then(|| std::mem::take(&mut self.elements))
    }

    fn wrong<T>(&self) -> Result<T, Bad> {
        Err(Bad::Syntax { at: self.position })
    }

    /// Looks at one byte; false if it is not of the value's, or is to be looked at again.
    fn step(&mut self, byte: u8) -> Result<bool, Bad> {
        if let State::Number(place) = self.state {
            return self.number(place, byte);
        }
        if let State::Word([first, rest @ ..]) = self.state {
            return if byte == *first { self.word(rest) } else { self.wrong() };
        }
        match (self.state, byte) {
            (State::Escape { key }, _) => self.escaped(key, byte)?,
            (State::Hex { key, left }, _) if byte.is_ascii_hexdigit() => {
                self.state = if left == 1 { State::Text { key } } else { State::Hex { key, left: left - 1 } };
            }
            (State::Hex { .. }, _) => return self.wrong(),
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (State::FirstElement, b']') => self.close(false)?,
            (State::FirstKey, b'}') => self.close(true)?,
            (State::Value | State::FirstElement, _) => self.begin(byte)?,
            (State::FirstKey | State::Key, b'"') => self.state = State::Text { key: true },
            (State::Colon, b':') => self.state = State::Value,
            (State::Next, b',') => self.state = if self.in_object() { State::Key } else { State::Value },
            (State::Next, b']') => self.close(false)?,
            (State::Next, b'}') => self.close(true)?,
            _ => return self.wrong(),
        }
        Ok(true)
    }

    /// A value begins.
    fn begin(&mut self, byte: u8) -> Result<(), Bad> {
        if self.depth == 1 && self.is_batch {
            self.element = self.position;
        }
        self.state = match byte {
            b'{' | b'[' => return self.open(byte == b'{'),
            b'"' => State::Text { key: false },
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Whole),
            _ => return self.wrong(),
        };
        Ok(())
    }

    fn open(&mut self, object: bool) -> Result<(), Bad> {
        if self.depth == DEPTH {
            return Err(Bad::Deep);
        }
        self.is_batch |= self.depth == 0 && !object;
        self.objects = self.objects << 1 | u64::from(object);
        self.depth += 1;
        self.state = if object { State::FirstKey } else { State::FirstElement };
        Ok(())
    }

    fn close(&mut self, object: bool) -> Result<(), Bad> {
        if self.in_object() != object {
            return self.wrong();
        }
        self.objects >>= 1;
        self.depth -= 1;
        self.ended(self.position + 1)
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// A value has ended before byte `end`.
    fn ended(&mut self, end: usize) -> Result<(), Bad> {
        self.state = if self.depth == 0 { State::Done } else { State::Next };
        if self.depth == 1 && self.is_batch {
            if self.elements.len() == ELEMENTS {
                return Err(Bad::Many);
            }
            self.elements.push(self.element..end);
        }
        Ok(())
    }

    /// The rest of a string, as far as it has come. Takes nothing where only the beginning of a
    /// character is there.
    fn text(&mut self, bytes: &[u8], key: bool) -> Result<usize, Bad> {
        let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20));
        let plain = &bytes[..end.unwrap_or(bytes.len())];
        if let Err(why) = str::from_utf8(plain) {
            let good = why.valid_up_to();
            let goes_on = why.error_len().is_none() && end.is_none();
            return if goes_on { Ok(good) } else { Err(Bad::Syntax { at: self.position + good }) };
        }
        let Some(end) = end else { return Ok(plain.len()) };
        match bytes[end] {
            b'\\' => self.state = State::Escape { key },
            b'"' if key => self.state = State::Colon,
            b'"' => self.ended(self.position + end + 1)?,
            _ => return Err(Bad::Syntax { at: self.position + end }),
        }
        Ok(end + 1)
    }

    fn escaped(&mut self, key: bool, byte: u8) -> Result<(), Bad> {
        self.state = match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text { key },
            b'u' => State::Hex { key, left: 4 },
            _ => return self.wrong(),
        };
        Ok(())
    }

    fn word(&mut self, rest: &'static [u8]) -> Result<bool, Bad> {
        self.state = State::Word(rest);
        if rest.is_empty() {
            self.ended(self.position + 1)?;
        }
        Ok(true)
    }

    fn number(&mut self, place: Number, byte: u8) -> Result<bool, Bad> {
        let next = match (place, byte) {
            (Number::Minus, b'0') => Number::Zero,
            (Number::Minus, b'1'..=b'9') | (Number::Whole, b'0'..=b'9') => Number::Whole,
            (Number::Zero | Number::Whole, b'.') => Number::Point,
            (Number::Point | Number::Fraction, b'0'..=b'9') => Number::Fraction,
            (Number::Zero | Number::Whole | Number::Fraction, b'e' | b'E') => Number::Exponent,
            (Number::Exponent, b'+' | b'-') => Number::Sign,
            (Number::Exponent | Number::Sign | Number::Digits, b'0'..=b'9') => Number::Digits,
            // A second digit behind a 0 in front.
            (Number::Zero, b'0'..=b'9') => return self.wrong(),
            _ if self.ends_number() => {
                self.ended(self.position)?;
                return Ok(false);
            }
            _ => return self.wrong(),
        };
        self.state = State::Number(next);
        Ok(true)
    }

    /// Whether a number may end here.
    fn ends_number(&self) -> bool {
        use Number::{Digits, Fraction, Whole, Zero};
        matches!(self.state, State::Number(Zero | Whole | Fraction | Digits))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// The ends of the values in `text`, fed in pieces that end at `cuts`.
    fn ends(text: &[u8], cuts: &[usize]) -> Result<Vec<usize>, Bad> {
        let (mut ends, mut scanner, mut at) = (Vec::new(), Scanner::default(), 0);
        for cut in cuts.iter().map(|cut| cut % (text.len() + 1)).chain([text.len()]) {
            while at < cut {
                let (taken, whole) = scanner.feed(&text[at..cut])?;
                at += taken;
                if whole {
                    ends.push(at);
                    scanner = Scanner::default();
                } else {
                    break;
                }
            }
        }
        if scanner.finish() {
            ends.push(at);
        }
        Ok(ends)
    }

    #[test]
    fn values_back_to_back_are_told_apart_whatever_is_between_them() {
        for (text, expected) in [
            (r#"{"a":1}{"b":[{}]}"#, vec![7, 17]),
            (" {} \n[1,2]\t\"a\\\"}\" 12 true", vec![3, 10, 17, 20, 25]),
            ("1.5e-3{}", vec![6, 8]),
            ("nullnull", vec![4, 8]),
            ("{\"ü€😀\":\"\\u00fc\"}", vec![22]),
            ("[", vec![]),
            ("-", vec![]),
            ("7", vec![1]),
        ] {
            for cut in 0..=text.len() {
                assert_eq!(ends(text.as_bytes(), &[cut]), Ok(expected.clone()), "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_bad_at_its_byte() {
        for (text, at) in [
            (&b"{\"a\":1,}"[..], 7),
            (b"[1,]", 3),
            (b"{a:1}", 1),
            (b"[1 2]", 3),
            (b"[1}", 2),
            (b"{\"a\" 1}", 5),
            (b"{\"a\":}", 5),
            (b"]", 0),
            (b"01", 1),
            (b"[-]", 2),
            (b"[1.]", 3),
            (b"[1e]", 3),
            (b"trux", 3),
            (b"/* c */ {}", 0),
            (b"# c", 0),
            (b"\xef\xbb\xbf{}", 0),
            (b"\"a\x01\"", 2),
            (b"\"\\x\"", 2),
            (b"\"\\u00g0\"", 5),
            (b"\"a\xff\"", 2),
            (b"\"\xe2\x82\"", 1),
            (b"\x00", 0),
        ] {
            let why = Bad::Syntax { at };
            for cut in 0..text.len() {
                assert_eq!(ends(text, &[cut]), Err(why), "{:?} cut at {cut}", String::from_utf8_lossy(text));
            }
        }
    }

    #[test]
    fn levels_are_limited() {
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        assert_eq!(ends(nested(DEPTH).as_bytes(), &[]), Ok(vec![2 * DEPTH]));
        assert_eq!(ends(nested(DEPTH + 1).as_bytes(), &[]), Err(Bad::Deep));
        assert_eq!(ends("[".repeat(256 << 10).as_bytes(), &[]), Err(Bad::Deep));
    }

    #[test]
    fn elements_of_a_batch_are_found_and_limited() {
        let text = r#" [ {"a":[1,2]} , 5, [], "x" ,-1]"#;
        let mut scanner = Scanner::default();
        assert_eq!(scanner.feed(text.as_bytes()), Ok((text.len(), true)));
        let elements = scanner.batch().expect("it is one");
        assert_eq!(elements.iter().map(|at| &text[at.clone()]).collect::<Vec<_>>(), [r#"{"a":[1,2]}"#, "5", "[]", "\"x\"", "-1"]);
        let many = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        let mut scanner = Scanner::default();
        assert!(matches!(scanner.feed(many(ELEMENTS).as_bytes()), Ok((_, true))));
        assert_eq!(scanner.batch().map(|elements| elements.len()), Some(ELEMENTS));
        assert_eq!(Scanner::default().feed(many(ELEMENTS + 1).as_bytes()), Err(Bad::Many));
        let mut scanner = Scanner::default();
        assert_eq!(scanner.feed(b"{\"a\":[1]}"), Ok((9, true)));
        assert_eq!(scanner.batch(), None);
    }

    /// Text that is nearly JSON.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let pieces = [
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"", "\\", "\\u12", "0", "1", "-", ".", "e", "+", "true", "nul", "null", " ", "\n",
            "é", "\"b\":",
        ];
        let byte = prop::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec());
        let any = any::<u8>().prop_map(|byte| vec![byte]);
        prop::collection::vec(prop_oneof![12 => byte, 1 => any], 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// What is a value, and where it ends, is what the parser says that reads it afterwards.
        #[test]
        fn it_agrees_with_the_parser_however_the_bytes_are_cut(text in nearly(), cuts in prop::collection::vec(any::<usize>(), 0..4)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % (text.len() + 1)).collect();
            cuts.sort_unstable();
            let whole = ends(&text, &[]);
            prop_assert_eq!(&ends(&text, &cuts), &whole);
            let one = serde_json::from_slice::<IgnoredAny>(&text);
            let valid = one.is_ok() && std::str::from_utf8(&text).is_ok();
            prop_assert_eq!(valid, whole.as_ref().is_ok_and(|ends| ends.len() == 1 && text[ends[0]..].is_empty() || {
                ends.len() == 1 && text[ends[0]..].iter().all(u8::is_ascii_whitespace)
            }), "{:?}", String::from_utf8_lossy(&text));
        }
    }
}
