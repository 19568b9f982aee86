//! Names that are unique without asking anybody.

use core::fmt;
use core::str::FromStr;

use crate::BdevError;

/// A UUID (RFC 9562), as hosts see it: the same device, the same number.
///
/// ```
/// use bdev::Uuid;
///
/// let uuid: Uuid = "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11".parse()?;
/// assert_eq!(uuid.to_string(), "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11");
/// # Ok::<(), bdev::BdevError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub u128);

impl Uuid {
    /// One of version 8 (section 5.8: bits of the maker's own) out of a name and a seed. With
    /// another seed the same name has another.
    ///
    /// ```
    /// use bdev::Uuid;
    ///
    /// assert_eq!(Uuid::of_name("Malloc0", 7), Uuid::of_name("Malloc0", 7));
    /// assert_ne!(Uuid::of_name("Malloc0", 7), Uuid::of_name("Malloc0", 8), "another program's");
    /// ```
    pub fn of_name(name: &str, seed: u64) -> Self {
        let half = |seed| name.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)));
        let (high, low) = (half(seed), half(!seed));
        let bits = u128::from(high) << 64 | u128::from(low);
        // Section 4: version and variant.
        Self(bits & !(0xF << 76) & !(0b11 << 62) | 8 << 76 | 0b10 << 62)
    }
}

/// The finalizer of SplitMix64.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32, bits: u32| self.0 >> shift & ((1 << bits) - 1);
        write!(f, "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(96, 32), part(80, 16), part(64, 16), part(48, 16), part(0, 48))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = BdevError;

    fn from_str(text: &str) -> Result<Self, BdevError> {
        let wrong = || BdevError::invalid("uuid", alloc::format!("{text:?} is none, such as 0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11"));
        let places = [8, 13, 18, 23];
        let is_well_formed = text.len() == 36
            && text.bytes().enumerate().all(|(at, c)| if places.contains(&at) { c == b'-' } else { c.is_ascii_hexdigit() });
        if !is_well_formed {
            return Err(wrong());
        }
        let digits = text.chars().filter_map(|c| c.to_digit(16));
        Ok(Self(digits.fold(0, |bits, digit| bits << 4 | u128::from(digit))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_uuid_is_read_as_it_is_written_and_names_differ() {
        let uuid = Uuid::of_name("Malloc0", 7);
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
        assert_eq!(uuid, Uuid::of_name("Malloc0", 7));
        assert!(uuid != Uuid::of_name("Malloc1", 7) && uuid != Uuid::of_name("Malloc0", 8));
        let text = uuid.to_string();
        assert_eq!((&text[14..15], text.as_bytes()[19]), ("8", text.as_bytes()[19].clamp(b'8', b'b')));
        for wrong in
            ["", "x", "0d6dc05e1e8a4f2c9b4e2f0f2b9a8c11", "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c1g", "+d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11"]
        {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong:?}");
        }
    }
}
