//! Sets of cores, and the masks and lists that people write for them.

use core::fmt;

/// A core, by the number that the platform gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const WORDS: usize = 16;

/// A set of cores `0..1024` (the limit of SPDK's `spdk_cpuset`).
///
/// Written and read as a hex mask (`0xF`), a list (`[0,2-4]`) or a union of both (`0x3,[8-11]`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// Cores are numbered below this.
    pub const LIMIT: usize = WORDS * 64;
    /// No core.
    pub const EMPTY: Self = Self([0; WORDS]);
    /// Every core that can be named.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// The set of one core.
    pub fn of(core: CoreId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(core);
        set
    }

    /// Adds a core; false if its number is past the limit.
    pub fn insert(&mut self, core: CoreId) -> bool {
        let n = usize::from(core.0);
        if n >= Self::LIMIT {
            return false;
        }
        self.0[n / 64] |= 1 << (n % 64);
        true
    }

    /// Whether `core` is in the set.
    pub fn contains(&self, core: CoreId) -> bool {
        let n = usize::from(core.0);
        n < Self::LIMIT && self.0[n / 64] & (1 << (n % 64)) != 0
    }

    /// How many cores are in the set.
    pub fn count(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether no core is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }

    /// The cores, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = CoreId> + '_ {
        (0..Self::LIMIT as u16).map(CoreId).filter(|c| self.contains(*c))
    }

    /// The cores that are in both sets.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// The cores that are in either set.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// The cores that are in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & !other.0[i]))
    }
}

impl FromIterator<CoreId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CoreId>>(cores: I) -> Self {
        let mut set = Self::EMPTY;
        for core in cores {
            set.insert(core);
        }
        set
    }
}

/// A list, as `[0,2-4]`.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        let mut n = 0;
        let mut first = true;
        while n < Self::LIMIT as u16 {
            if !self.contains(CoreId(n)) {
                n += 1;
                continue;
            }
            let start = n;
            while self.contains(CoreId(n + 1)) {
                n += 1;
            }
            let comma = if first { "" } else { "," };
            first = false;
            match n - start {
                0 => write!(f, "{comma}{start}")?,
                _ => write!(f, "{comma}{start}-{n}")?,
            }
            n += 1;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no set of cores: what is wrong, and at which character (counted from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a set of cores: {what} at character {at} (write a hex mask like 0xF, a list like [0,2-4], or both joined by a comma)")]
pub struct CpuSetError {
    /// Index of the character, in characters from 0.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl core::str::FromStr for CpuSet {
    type Err = CpuSetError;

    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        let mut p = Parser { text: text.as_bytes(), at: 0 };
        let mut set = CpuSet::EMPTY;
        loop {
            set = set.or(&p.part()?);
            match p.peek() {
                None => break,
                Some(b',') => p.at += 1,
                Some(_) => return p.fail("something follows the set"),
            }
        }
        if set.is_empty() {
            return Err(CpuSetError { at: 0, what: "the set is empty" });
        }
        Ok(set)
    }
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

    fn part(&mut self) -> Result<CpuSet, CpuSetError> {
        match self.peek() {
            Some(b'[') => self.list(),
            Some(b'0') if matches!(self.text.get(self.at + 1), Some(b'x' | b'X')) => self.mask(),
            Some(_) => self.fail("neither 0x nor ["),
            None => self.fail("nothing where a mask or list should be"),
        }
    }

    fn mask(&mut self) -> Result<CpuSet, CpuSetError> {
        self.at += 2;
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
            self.at += 1;
        }
        if self.at == start {
            return self.fail("no hex digit after 0x");
        }
        let mut set = CpuSet::EMPTY;
        for (place, at) in (start..self.at).rev().enumerate() {
            let digit = match self.text[at] {
                c @ b'0'..=b'9' => c - b'0',
                c => (c | 0x20) - b'a' + 10,
            };
            for bit in (0..4).filter(|bit| digit & (1 << bit) != 0) {
                if !set.insert(CoreId(u16::try_from(place * 4 + bit).unwrap_or(u16::MAX))) {
                    return Err(CpuSetError { at, what: "a core past the limit of 1023" });
                }
            }
        }
        Ok(set)
    }

    fn list(&mut self) -> Result<CpuSet, CpuSetError> {
        self.at += 1;
        let mut set = CpuSet::EMPTY;
        loop {
            let first = self.number()?;
            let mut last = first;
            if self.peek() == Some(b'-') {
                self.at += 1;
                let start = self.at;
                last = self.number()?;
                if last < first {
                    return Err(CpuSetError { at: start, what: "a range that descends" });
                }
            }
            (first..=last).for_each(|n| {
                set.insert(CoreId(n));
            });
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                Some(_) => return self.fail("neither a comma, a dash nor ]"),
                None => return self.fail("no ] at the end of the list"),
            }
        }
        self.at += 1;
        Ok(set)
    }

    fn number(&mut self) -> Result<u16, CpuSetError> {
        let start = self.at;
        let mut n = 0usize;
        while let Some(c @ b'0'..=b'9') = self.peek() {
            n = n * 10 + usize::from(c - b'0');
            if n >= CpuSet::LIMIT {
                return Err(CpuSetError { at: start, what: "a core past the limit of 1023" });
            }
            self.at += 1;
        }
        if self.at == start {
            return self.fail("no number where one should be");
        }
        Ok(n as u16)
    }
}
