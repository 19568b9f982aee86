//! Sets of cores as text: SPDK's way to write them, and those of what people paste from.
//!
//! A text that two of these read differently is refused, and so is what none of them writes.

use super::{CoreId, CpuSet, CpuSetError};

const PAST_LIMIT: &str = "a core past the limit of 1023";
const NO_PART: &str = "nothing where a mask or list should be";
const NO_START: &str = "neither a digit, 0x nor [";
const FOLLOWS: &str = "something follows the set";
const SHORT_GROUP: &str = "one of several masks without its 8 digits";
const SECOND_MASK: &str = "a second mask";
const DIGITS: &str = "digits alone, which could be a mask (0x..) or a core ([..]),";
const NO_CORE: &str = "a mask without a core,";
const NO_CORE_OR_0: &str = "a mask without a core, or core 0 ([0]),";
const BINARY: &str = "0b, which could begin a binary number or be hex digits (0x0b..),";

/// Cores of one group in the kernel's masks.
const GROUP: usize = 32;
/// Its hex digits.
const GROUP_DIGITS: usize = 8;

/// How a text writes its set.
enum Form {
    /// SPDK's: masks behind 0x, lists in brackets.
    Union,
    /// What stands in a list's brackets, without them.
    List,
    /// Hex digits, or groups of them.
    Groups,
}

pub(super) fn parse(text: &str) -> Result<CpuSet, CpuSetError> {
    let mut p = Parser { text: text.trim_ascii_end().as_bytes(), at: 0 };
    p.skip_blanks();
    let start = p.at;
    let set = match p.form()? {
        Form::Union => p.union()?,
        Form::List => p.list(None)?,
        Form::Groups => p.groups()?,
    };
    if set.is_empty() {
        return Err(CpuSetError { at: start, what: NO_CORE });
    }
    Ok(set)
}

/// Reads one set from the front of its text on.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Everything before `at` is ASCII, so bytes are characters there.
    fn fail<T>(&self, what: &'static str) -> Result<T, CpuSetError> {
        Err(CpuSetError { at: self.at, what })
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Tells the notations apart by the whole text; what is wrong in it is found by reading it.
    fn form(&self) -> Result<Form, CpuSetError> {
        let rest = &self.text[self.at..];
        let words = || rest.split(|c| *c == b',').map(<[u8]>::trim_ascii);
        let digits = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        let one = words().nth(1).is_none();
        if rest.contains(&b'[') || one && has_0x(rest) {
            return Ok(Form::Union);
        }
        if words().any(has_0x) {
            return Ok(Form::Groups);
        }
        if rest.iter().any(|c| matches!(c, b'-' | b':')) {
            return Ok(Form::List);
        }
        match rest {
            _ if one && digits(rest) && rest.iter().all(|c| *c == b'0') => self.fail(NO_CORE_OR_0),
            _ if one && digits(rest) => self.fail(DIGITS),
            [b'0', b'b' | b'B', ..] if one => self.fail(BINARY),
            _ if one || words().skip(1).any(|word| word.len() == GROUP_DIGITS) => Ok(Form::Groups),
            _ if words().any(|word| word.iter().any(u8::is_ascii_alphabetic)) => Ok(Form::Groups),
            _ => Ok(Form::List),
        }
    }

    fn union(&mut self) -> Result<CpuSet, CpuSetError> {
        let (mut set, mut after_mask) = (CpuSet::EMPTY, false);
        loop {
            self.skip_blanks();
            let is_mask = has_0x(&self.text[self.at..]);
            let part = match self.peek() {
                Some(b'[') => {
                    self.at += 1;
                    let list = self.list(Some(b']'))?;
                    self.at += 1;
                    list
                }
                _ if is_mask && after_mask => return self.fail(SECOND_MASK),
                _ if is_mask => {
                    self.at += 2;
                    self.mask("no hex digit after 0x", 0)?
                }
                Some(_) => return self.fail("neither 0x nor ["),
                None => return self.fail(NO_PART),
            };
            (set, after_mask) = (set.or(&part), is_mask);
            self.skip_blanks();
            match self.peek() {
                None => return Ok(set),
                Some(b',') => self.at += 1,
                Some(_) => return self.fail(FOLLOWS),
            }
        }
    }

    /// Hex digits, the last of which stands for the cores from `first` on.
    fn mask(&mut self, none: &'static str, first: usize) -> Result<CpuSet, CpuSetError> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
            self.at += 1;
        }
        if self.at == start {
            return self.fail(none);
        }
        let mut set = CpuSet::EMPTY;
        for (place, at) in (start..self.at).rev().enumerate() {
            let digit = match self.text[at] {
                c @ b'0'..=b'9' => c - b'0',
                c => (c | 0x20) - b'a' + 10,
            };
            for bit in (0..4).filter(|bit| digit & (1 << bit) != 0) {
                if !set.insert(CoreId(u16::try_from(first + place * 4 + bit).unwrap_or(u16::MAX))) {
                    return Err(CpuSetError { at, what: PAST_LIMIT });
                }
            }
        }
        Ok(set)
    }

    /// Hex digits, or groups of eight with the highest cores first, as the kernel writes them (the
    /// first one may be shorter) and hwloc (behind 0x each; nothing for a group of zeros, 0x0 for
    /// the last one).
    fn groups(&mut self) -> Result<CpuSet, CpuSetError> {
        let mut left = self.text[self.at..].iter().filter(|c| **c == b',').count();
        let (several, hwloc) = (left > 0, has_0x(&self.text[self.at..]));
        let (mut set, mut is_first) = (CpuSet::EMPTY, true);
        loop {
            self.skip_blanks();
            let word = self.at;
            let is_0x = has_0x(&self.text[word..]);
            self.at += if is_0x { 2 } else { 0 };
            let digits = self.at;
            let is_left_out = hwloc && !is_first && left > 0 && self.peek() == Some(b',');
            if !is_left_out {
                let none = if self.at == self.text.len() { NO_PART } else { NO_START };
                set = set.or(&self.mask(none, left * GROUP)?);
                let zero = hwloc && is_0x && left == 0 && self.text[digits..self.at] == *b"0";
                let is_whole = is_0x == hwloc
                    && match self.at - digits {
                        GROUP_DIGITS => true,
                        n => zero || is_first && !hwloc && n < GROUP_DIGITS,
                    };
                if several && !is_whole {
                    return Err(CpuSetError { at: word, what: SHORT_GROUP });
                }
            }
            self.skip_blanks();
            match self.peek() {
                None => return Ok(set),
                Some(b',') => self.at += 1,
                Some(_) => return self.fail(FOLLOWS),
            }
            (left, is_first) = (left - 1, false);
        }
    }

    /// Cores and ranges up to `close`, or up to the end of the text.
    fn list(&mut self, close: Option<u8>) -> Result<CpuSet, CpuSetError> {
        let mut set = CpuSet::EMPTY;
        loop {
            set = set.or(&self.range()?);
            match self.peek() {
                Some(b',') => self.at += 1,
                c if c == close => return Ok(set),
                None => return self.fail("no ] at the end of the list"),
                Some(_) if close.is_some() => return self.fail("neither a comma, a dash nor ]"),
                Some(_) => return self.fail("neither a comma nor a dash"),
            }
        }
    }

    /// `3`, `0-7`, each second of them (`0-7:2`) or the first 2 of each 4 (`0-7:2/4`).
    fn range(&mut self) -> Result<CpuSet, CpuSetError> {
        let first = self.number(PAST_LIMIT)?;
        let (mut last, mut used, mut group) = (first, 1, 1);
        if self.peek() == Some(b'-') {
            let start = self.next_at();
            last = self.number(PAST_LIMIT)?;
            if last < first {
                return Err(CpuSetError { at: start, what: "a range that descends" });
            }
            if self.peek() == Some(b':') {
                let start = self.next_at();
                group = self.number("a step of more than 1023")?;
                if self.peek() == Some(b'/') {
                    self.next_at();
                    (used, group) = (group, self.number("a group of more than 1023")?);
                }
                if used == 0 || group < used {
                    return Err(CpuSetError { at: start, what: "a step of 0, or more cores of a group than it has," });
                }
            }
        }
        Ok((first..=last).filter(|n| (n - first) % group < used).map(CoreId).collect())
    }

    /// Where what follows this character begins, blanks aside.
    fn next_at(&mut self) -> usize {
        self.at += 1;
        self.skip_blanks();
        self.at
    }

    /// A number below the limit, and the blanks around it.
    fn number(&mut self, past_limit: &'static str) -> Result<u16, CpuSetError> {
        self.skip_blanks();
        let start = self.at;
        let mut n = 0usize;
        while let Some(c @ b'0'..=b'9') = self.peek() {
            n = n * 10 + usize::from(c - b'0');
            if n >= CpuSet::LIMIT {
                return Err(CpuSetError { at: start, what: past_limit });
            }
            self.at += 1;
        }
        if self.at == start {
            return self.fail("no number where one should be");
        }
        self.skip_blanks();
        Ok(n as u16)
    }
}

fn has_0x(text: &[u8]) -> bool {
    matches!(text, [b'0', b'x' | b'X', ..])
}
