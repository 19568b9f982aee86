//! What keys a ClientHello offers (RFC 8446, 4.1.2 and 4.2.11).

/// A ClientHello names no more keys than this that are looked at.
const MOST: usize = 16;

/// The extension `pre_shared_key`.
const PRE_SHARED_KEY: u16 = 41;

/// The identities of the keys that a ClientHello, without its header, offers: those that are text,
/// as all of NVMe are.
pub(crate) fn identities(hello: &[u8]) -> Vec<&str> {
    read(hello).unwrap_or_default()
}

fn read(hello: &[u8]) -> Option<Vec<&str>> {
    // Version and random number.
    let mut rest = hello.get(34..)?;
    vector::<1>(&mut rest)?; // session
    vector::<2>(&mut rest)?; // cipher suites
    vector::<1>(&mut rest)?; // compression
    let mut extensions = vector::<2>(&mut rest)?;
    loop {
        let kind = number::<2>(&mut extensions)?;
        let mut extension = vector::<2>(&mut extensions)?;
        if kind == usize::from(PRE_SHARED_KEY) {
            let mut offered = vector::<2>(&mut extension)?;
            let mut found = Vec::new();
            while !offered.is_empty() && found.len() < MOST {
                let identity = vector::<2>(&mut offered)?;
                number::<4>(&mut offered)?; // age
                found.extend(core::str::from_utf8(identity));
            }
            return Some(found);
        }
    }
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<usize> {
    let (first, behind) = rest.split_at_checked(N)?;
    *rest = behind;
    Some(first.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// Bytes behind their length, which has `N` bytes.
fn vector<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number::<N>(rest)?;
    let (first, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(identities: &[&[u8]]) -> Vec<u8> {
        let sized = |bytes: Vec<u8>| [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
        let offered = identities.iter().flat_map(|it| [sized(it.to_vec()), vec![0; 4]].concat()).collect();
        let keys = [sized(offered), sized(vec![32; 33])].concat();
        let extensions = [vec![0, 43], sized(vec![2, 3, 4]), vec![0, 41], sized(keys)].concat();
        [vec![3; 34], vec![2, 7, 7], sized(vec![0x13, 1]), vec![1, 0], sized(extensions)].concat()
    }

    #[test]
    fn s366_identities_are_found_in_a_hello_and_nothing_is_where_it_is_cut() {
        let whole = hello(&[b"NVMe0R01 a b", &[0xFF, 0xFE], b"c"]);
        assert_eq!(identities(&whole), ["NVMe0R01 a b", "c"]);
        for cut in 0..whole.len() {
            let found = identities(&whole[..cut]);
            assert!(found.is_empty(), "{cut}: {found:?}");
        }
        let many: Vec<&[u8]> = vec![b"x"; 100];
        assert_eq!(identities(&hello(&many)).len(), MOST);
        assert!(identities(&hello(&[])).is_empty());
    }
}
