//! Sets of cores as SPDK's methods write them.

use core_reactor::{CoreId, CpuSet};

/// As hexadecimal digits without 0x and without zeros in front.
pub(super) fn to_hex(cpus: &CpuSet) -> String {
    let highest = cpus.iter().last().map_or(0, |core| core.0);
    let digit = |low: u16| (0..4).filter(|bit| cpus.contains(CoreId(low + bit))).fold(0, |digit, bit| digit | 1 << bit);
    (0..=highest / 4).rev().filter_map(|place| char::from_digit(digit(place * 4), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_hexadecimal_without_a_prefix() {
        let hex = |cores: &[u16]| to_hex(&cores.iter().map(|core| CoreId(*core)).collect());
        assert_eq!(hex(&[]), "0");
        assert_eq!(hex(&[0]), "1");
        assert_eq!(hex(&[0, 1]), "3");
        assert_eq!(hex(&[1, 4, 11]), "812");
        assert_eq!(hex(&[64]), format!("1{}", "0".repeat(16)));
    }
}
