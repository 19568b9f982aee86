//! Header and data digests: CRC32C (NVMe/TCP 1.0, 3.3.1.1; the same as iSCSI's, RFC 3720 B.4).

/// The digest of `bytes`, as it is on the wire.
///
/// ```
/// // The first example of RFC 3720, B.4.
/// assert_eq!(nvme::digest::digest(&[0; 32]), [0xAA, 0x36, 0x91, 0x8A]);
/// ```
pub fn digest(bytes: &[u8]) -> [u8; 4] {
    let mut digest = Digest::new();
    digest.add(bytes);
    digest.end()
}

/// The digest of data that comes in pieces.
///
/// ```
/// use nvme::digest::{Digest, digest};
///
/// let mut pieces = Digest::new();
/// pieces.add(b"one and ");
/// pieces.add(b"another");
/// assert_eq!(pieces.end(), digest(b"one and another"));
/// ```
#[derive(Clone)]
pub struct Digest(engine::State);

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(engine::new())
    }

    /// Takes in what comes next.
    pub fn add(&mut self, bytes: &[u8]) {
        engine::add(&mut self.0, bytes);
    }

    /// The digest of all that came, as it is on the wire.
    pub fn end(&self) -> [u8; 4] {
        engine::end(&self.0).to_le_bytes()
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Digest({:02x?})", self.end())
    }
}

/// The processor's instructions, or tables where it has none.
#[cfg(feature = "std")]
mod engine {
    pub(super) type State = u32;

    pub(super) fn new() -> State {
        0
    }

    pub(super) fn add(state: &mut State, bytes: &[u8]) {
        *state = crc32c::crc32c_append(*state, bytes);
    }

    pub(super) fn end(state: &State) -> u32 {
        *state
    }
}

/// Tables of 16 KiB.
#[cfg(not(feature = "std"))]
mod engine {
    use crc::{CRC_32_ISCSI, Crc, Digest, Table};

    static TABLES: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

    pub(super) type State = Digest<'static, u32, Table<16>>;

    pub(super) fn new() -> State {
        TABLES.digest()
    }

    pub(super) fn add(state: &mut State, bytes: &[u8]) {
        state.update(bytes);
    }

    pub(super) fn end(state: &State) -> u32 {
        state.clone().finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4.
    #[test]
    fn the_examples_of_iscsi() {
        let ascending: [u8; 32] = core::array::from_fn(|at| at as u8);
        let descending: [u8; 32] = core::array::from_fn(|at| 31 - at as u8);
        for (bytes, wanted) in [
            (&[0; 32], [0xAA, 0x36, 0x91, 0x8A]),
            (&[0xFF; 32], [0x43, 0xAB, 0xA8, 0x62]),
            (&ascending, [0x4E, 0x79, 0xDD, 0x46]),
            (&descending, [0x5C, 0xDB, 0x3F, 0x11]),
        ] {
            assert_eq!(digest(bytes), wanted);
        }
    }

    #[test]
    fn pieces_make_the_whole() {
        let bytes: [u8; 1000] = core::array::from_fn(|at| (at * 7) as u8);
        for cut in [0, 1, 4, 500, 999, 1000] {
            let mut pieces = Digest::new();
            pieces.add(&bytes[..cut]);
            pieces.add(&bytes[cut..]);
            assert_eq!(pieces.end(), digest(&bytes));
        }
    }
}
