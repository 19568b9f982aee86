//! Sets of cores, and the masks and lists that people write for them.

mod text;

use core::fmt;
use core::iter::FusedIterator;
use core::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, BitXor, BitXorAssign, Sub, SubAssign};

/// A core, by the number that the platform gives it.
///
/// ```
/// use core_reactor::CoreId;
///
/// assert_eq!(format!("core {}", CoreId(3)), "core 3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

impl From<u16> for CoreId {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const WORDS: usize = 16;

/// A set of cores `0..1024` (the limit of SPDK's `spdk_cpuset`).
///
/// Written as a list (`[0,2-4]`). Read as a hex mask (`0xF`), a list or a union of both
/// (`0x3,[8-11]`), and as those write sets from whom they are pasted:
///
/// | text | whose |
/// |---|---|
/// | `ff`, `[0, 1]` | SPDK's |
/// | `0-3,8`, `0-7:2`, `0-31:2/8` | `taskset -c`, `numactl`, cpusets, `Cpus_allowed_list` |
/// | `ff,ffffffff` | `Cpus_allowed`, `smp_affinity`: groups of 32 cores, the highest first |
/// | `0x00000001,,0x0` | hwloc's, likewise |
///
/// What two of them read differently is refused: `10` (a mask for SPDK, core 10 for `taskset -c`),
/// `0x1,0x2`, `0b11`. Blanks and an end of line around it are nothing.
///
/// ```
/// use core_reactor::{CoreId, CpuSet};
///
/// let mut cores: CpuSet = "[0-3]".parse()?;
/// cores -= CpuSet::of(CoreId(0));
/// cores |= CpuSet::from([CoreId(8), CoreId(9)]);
/// assert_eq!(cores.to_string(), "[1-3,8-9]");
/// for core in cores {
///     assert!(core != CoreId(0));
/// }
/// # Ok::<(), core_reactor::CpuSetError>(())
/// ```
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
    ///
    /// ```
    /// use core_reactor::{CoreId, CpuSet};
    ///
    /// assert!(CpuSet::of(CoreId(3)).iter().eq([CoreId(3)]));
    /// ```
    pub fn of(core: CoreId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(core);
        set
    }

    /// Adds a core; false if its number is past the limit.
    ///
    /// ```
    /// # use core_reactor::{CoreId, CpuSet};
    /// let mut set = CpuSet::EMPTY;
    /// assert!(set.insert(CoreId(2)));
    /// assert!(!set.insert(CoreId(CpuSet::LIMIT as u16)), "no core has this number");
    /// assert_eq!(set.count(), 1);
    /// ```
    pub fn insert(&mut self, core: CoreId) -> bool {
        let n = usize::from(core.0);
        if n >= Self::LIMIT {
            return false;
        }
        self.0[n / 64] |= 1 << (n % 64);
        true
    }

    /// Takes a core out; whether it was in the set.
    ///
    /// ```
    /// # use core_reactor::{CoreId, CpuSet};
    /// let mut set: CpuSet = "4-7".parse()?;
    /// assert!(set.remove(CoreId(5)) && !set.remove(CoreId(8)));
    /// assert_eq!(set.to_string(), "[4,6-7]");
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    pub fn remove(&mut self, core: CoreId) -> bool {
        let was_there = self.contains(core);
        if was_there {
            let n = usize::from(core.0);
            self.0[n / 64] &= !(1 << (n % 64));
        }
        was_there
    }

    /// Whether `core` is in the set.
    ///
    /// ```
    /// # use core_reactor::{CoreId, CpuSet};
    /// let set: CpuSet = "4-7".parse()?;
    /// assert!(set.contains(CoreId(5)) && !set.contains(CoreId(8)));
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    pub fn contains(&self, core: CoreId) -> bool {
        let n = usize::from(core.0);
        n < Self::LIMIT && self.0[n / 64] & (1 << (n % 64)) != 0
    }

    /// How many cores are in the set.
    ///
    /// ```
    /// # use core_reactor::CpuSet;
    /// assert_eq!("0xF0".parse::<CpuSet>()?.count(), 4);
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    pub fn count(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether no core is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }

    /// The cores, lowest first.
    ///
    /// ```
    /// use core_reactor::{CoreId, CpuSet};
    ///
    /// let set: CpuSet = "0,2-3".parse()?;
    /// assert!(set.iter().eq([CoreId(0), CoreId(2), CoreId(3)]));
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    pub fn iter(&self) -> Cores {
        Cores { left: *self, word: 0 }
    }

    /// The cores that are in both sets.
    ///
    /// ```
    /// # use core_reactor::CpuSet;
    /// let (wanted, allowed): (CpuSet, CpuSet) = ("0-3".parse()?, "2-5".parse()?);
    /// assert_eq!(wanted.and(&allowed), "2-3".parse()?);
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// The cores that are in either set.
    ///
    /// ```
    /// # use core_reactor::{CoreId, CpuSet};
    /// let both = CpuSet::of(CoreId(0)).or(&CpuSet::of(CoreId(9)));
    /// assert_eq!(both, "0,9".parse()?);
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// The cores that are in this set and not in the other.
    ///
    /// ```
    /// # use core_reactor::CpuSet;
    /// let (all, busy): (CpuSet, CpuSet) = ("0-3".parse()?, "0x2".parse()?);
    /// assert_eq!(all.minus(&busy), "0,2-3".parse()?);
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// The cores that are in one of the sets and not in both.
    ///
    /// ```
    /// # use core_reactor::CpuSet;
    /// let (before, after): (CpuSet, CpuSet) = ("0-3".parse()?, "2-5".parse()?);
    /// assert_eq!(before.xor(&after), "0-1,4-5".parse()?);
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    #[must_use]
    pub fn xor(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }

    /// Whether each core of this set is in the other.
    ///
    /// ```
    /// # use core_reactor::CpuSet;
    /// let (asked, allowed): (CpuSet, CpuSet) = ("0,2".parse()?, "0-3".parse()?);
    /// assert!(asked.is_subset(&allowed) && !allowed.is_subset(&asked));
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    pub fn is_subset(&self, of: &Self) -> bool {
        self.minus(of).is_empty()
    }

    /// Whether no core is in both sets.
    ///
    /// ```
    /// # use core_reactor::CpuSet;
    /// let (ours, theirs): (CpuSet, CpuSet) = ("0-3".parse()?, "4-7".parse()?);
    /// assert!(ours.is_disjoint(&theirs));
    /// # Ok::<(), core_reactor::CpuSetError>(())
    /// ```
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.and(other).is_empty()
    }
}

/// As [`CpuSet::and`].
impl BitAnd for CpuSet {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.and(&other)
    }
}

/// As [`CpuSet::or`].
impl BitOr for CpuSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(&other)
    }
}

/// As [`CpuSet::xor`].
impl BitXor for CpuSet {
    type Output = Self;

    fn bitxor(self, other: Self) -> Self {
        self.xor(&other)
    }
}

/// As [`CpuSet::minus`].
impl Sub for CpuSet {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.minus(&other)
    }
}

/// As [`CpuSet::and`].
impl BitAndAssign for CpuSet {
    fn bitand_assign(&mut self, other: Self) {
        *self = *self & other;
    }
}

/// As [`CpuSet::or`].
impl BitOrAssign for CpuSet {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// As [`CpuSet::xor`].
impl BitXorAssign for CpuSet {
    fn bitxor_assign(&mut self, other: Self) {
        *self = *self ^ other;
    }
}

/// As [`CpuSet::minus`].
impl SubAssign for CpuSet {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl FromIterator<CoreId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CoreId>>(cores: I) -> Self {
        let mut set = Self::EMPTY;
        set.extend(cores);
        set
    }
}

impl Extend<CoreId> for CpuSet {
    fn extend<I: IntoIterator<Item = CoreId>>(&mut self, cores: I) {
        for core in cores {
            self.insert(core);
        }
    }
}

impl From<CoreId> for CpuSet {
    fn from(core: CoreId) -> Self {
        Self::of(core)
    }
}

impl<const N: usize> From<[CoreId; N]> for CpuSet {
    fn from(cores: [CoreId; N]) -> Self {
        cores.into_iter().collect()
    }
}

/// The cores of a [`CpuSet`], lowest first.
#[derive(Clone, Debug)]
pub struct Cores {
    left: CpuSet,
    /// Those before are empty.
    word: usize,
}

impl Iterator for Cores {
    type Item = CoreId;

    fn next(&mut self) -> Option<CoreId> {
        while let Some(word) = self.left.0.get_mut(self.word) {
            if *word != 0 {
                let bit = word.trailing_zeros() as usize;
                *word &= *word - 1;
                return Some(CoreId((self.word * 64 + bit) as u16));
            }
            self.word += 1;
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left.count();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Cores {}
impl FusedIterator for Cores {}

impl IntoIterator for CpuSet {
    type Item = CoreId;
    type IntoIter = Cores;

    fn into_iter(self) -> Cores {
        self.iter()
    }
}

impl IntoIterator for &CpuSet {
    type Item = CoreId;
    type IntoIter = Cores;

    fn into_iter(self) -> Cores {
        self.iter()
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
///
/// ```
/// use core_reactor::CpuSet;
///
/// for wrong in ["", "3-1", "one"] {
///     assert!(wrong.parse::<CpuSet>().is_err(), "{wrong:?} is no set of cores");
/// }
/// ```
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
        text::parse(text)
    }
}
