//! Statement 11: what is a set of cores, and which character is to blame when a text is none.

use core_reactor::{CoreId, CpuSet, CpuSetError};
use proptest::prelude::*;

fn set(cores: impl IntoIterator<Item = u16>) -> CpuSet {
    cores.into_iter().map(CoreId).collect()
}

#[test]
fn s11_masks_lists_and_unions_are_sets() {
    let zeros = "0".repeat(300);
    let table: Vec<(String, CpuSet)> = vec![
        ("0xF".into(), set(0..4)),
        ("0Xf".into(), set(0..4)),
        ("0x1".into(), set([0])),
        ("0x10".into(), set([4])),
        ("0xaBcD".into(), set([0, 2, 3, 6, 7, 8, 9, 11, 13, 15])),
        (format!("0x{}", "f".repeat(256)), CpuSet::ALL),
        (format!("0x{zeros}5"), set([0, 2])),
        (format!("0x8{}", "0".repeat(255)), set([1023])),
        ("[0]".into(), set([0])),
        ("[0,2-4]".into(), set([0, 2, 3, 4])),
        ("[4,4,2-4]".into(), set([2, 3, 4])),
        ("[7-7]".into(), set([7])),
        ("[0-1023]".into(), CpuSet::ALL),
        ("[0007]".into(), set([7])),
        (format!("[{zeros}9]"), set([9])),
        ("0x3,[8-11]".into(), set([0, 1, 8, 9, 10, 11])),
        ("[8],0x1,0x2,[9]".into(), set([0, 1, 8, 9])),
        ("0x0,[5]".into(), set([5])),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
}

#[test]
fn s11_everything_else_is_an_error_that_points_at_the_character() {
    let digits = |n| "1".repeat(n);
    let past_limit = "a core past the limit of 1023";
    let table: Vec<(String, usize, &str)> = vec![
        ("".into(), 0, "nothing where a mask or list should be"),
        (" 0xF".into(), 0, "neither 0x nor ["),
        ("F".into(), 0, "neither 0x nor ["),
        ("0".into(), 0, "neither 0x nor ["),
        ("3".into(), 0, "neither 0x nor ["),
        ("é".into(), 0, "neither 0x nor ["),
        ("x1".into(), 0, "neither 0x nor ["),
        ("0x".into(), 2, "no hex digit after 0x"),
        ("0xg".into(), 2, "no hex digit after 0x"),
        ("0x,[1]".into(), 2, "no hex digit after 0x"),
        ("0x0".into(), 0, "the set is empty"),
        ("0x0,0x00".into(), 0, "the set is empty"),
        ("0x1g".into(), 3, "something follows the set"),
        ("0x1 ".into(), 3, "something follows the set"),
        ("0x1_0".into(), 3, "something follows the set"),
        ("0xFé".into(), 3, "something follows the set"),
        ("0x1[2]".into(), 3, "something follows the set"),
        ("[1]junk".into(), 3, "something follows the set"),
        ("[1]]".into(), 3, "something follows the set"),
        ("[1]\n".into(), 3, "something follows the set"),
        ("[1],".into(), 4, "nothing where a mask or list should be"),
        ("0x1,,0x2".into(), 4, "neither 0x nor ["),
        ("0x1, 0x2".into(), 4, "neither 0x nor ["),
        ("[".into(), 1, "no number where one should be"),
        ("[]".into(), 1, "no number where one should be"),
        ("[ 1]".into(), 1, "no number where one should be"),
        ("[-1]".into(), 1, "no number where one should be"),
        ("[,1]".into(), 1, "no number where one should be"),
        ("[0x1]".into(), 2, "neither a comma, a dash nor ]"),
        ("[1".into(), 2, "no ] at the end of the list"),
        ("[1,".into(), 3, "no number where one should be"),
        ("[1,]".into(), 3, "no number where one should be"),
        ("[1-".into(), 3, "no number where one should be"),
        ("[1-]".into(), 3, "no number where one should be"),
        ("[1--2]".into(), 3, "no number where one should be"),
        ("[1-2-3]".into(), 4, "neither a comma, a dash nor ]"),
        ("[1 ]".into(), 2, "neither a comma, a dash nor ]"),
        ("[1;2]".into(), 2, "neither a comma, a dash nor ]"),
        ("[4-2]".into(), 3, "a range that descends"),
        ("[0,10-9]".into(), 6, "a range that descends"),
        ("[1024]".into(), 1, past_limit),
        ("[0-1024]".into(), 3, past_limit),
        ("[1,2,99999999999999999999999999]".into(), 5, past_limit),
        (format!("[0,{}]", digits(300)), 3, past_limit),
        (format!("0x1{}", "0".repeat(256)), 2, past_limit),
        (format!("[0],0x{}", digits(257)), 6, past_limit),
        (format!("0x1{}", "0".repeat(20_000)), 2, past_limit),
    ];
    for (text, at, what) in table {
        let error = text.parse::<CpuSet>().expect_err(&text);
        assert_eq!(error, CpuSetError { at, what }, "{text}");
        assert!(error.to_string().contains(&format!("at character {at} ")), "{error}");
    }
}

#[test]
fn s11_a_core_past_the_limit_is_not_taken_silently() {
    let mut cores = CpuSet::EMPTY;
    assert!(cores.insert(CoreId(1023)) && !cores.insert(CoreId(1024)) && !cores.insert(CoreId(u16::MAX)));
    assert_eq!((cores.count(), cores.to_string().as_str()), (1, "[1023]"));
    assert!(!cores.contains(CoreId(1024)) && !cores.contains(CoreId(u16::MAX)));
}

/// Texts made of what sets are made of, most of them wrong somewhere.
fn almost_a_set() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("0x".to_string()),
        Just("[".to_string()),
        Just("]".to_string()),
        Just(",".to_string()),
        Just("-".to_string()),
        Just("é".to_string()),
        "[0-9]{1,5}",
        "[0-9a-fA-F]{1,300}",
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn s11_what_is_displayed_is_read_back(cores in prop::collection::btree_set(0u16..1024, 1..200)) {
        let written = set(cores.iter().copied());
        prop_assert_eq!(written.to_string().parse::<CpuSet>(), Ok(written));
        prop_assert_eq!(written.iter().map(|c| c.0).collect::<Vec<_>>(), cores.iter().copied().collect::<Vec<_>>());
    }

    #[test]
    fn s11_a_mask_is_read_as_the_bits_it_writes(cores in prop::collection::btree_set(0u16..1024, 1..50)) {
        let mut digits = vec![0u8; 256];
        for core in &cores {
            digits[255 - usize::from(core / 4)] |= 1 << (core % 4);
        }
        let text: String = digits.iter().map(|d| char::from_digit(u32::from(*d), 16).expect("four bits")).collect();
        prop_assert_eq!(format!("0x{text}").parse::<CpuSet>(), Ok(set(cores)));
    }

    #[test]
    fn s11_no_text_makes_it_panic_and_errors_point_into_it(text in prop_oneof![any::<String>(), almost_a_set()]) {
        match text.parse::<CpuSet>() {
            Ok(cores) => {
                prop_assert!(!cores.is_empty());
                prop_assert_eq!(cores.to_string().parse::<CpuSet>(), Ok(cores));
            }
            Err(error) => prop_assert!(error.at <= text.chars().count(), "{} in {:?}", error, text),
        }
    }

    #[test]
    fn s11_sets_are_sets(a in prop::collection::btree_set(0u16..1024, 0..64), b in prop::collection::btree_set(0u16..1024, 0..64)) {
        let (x, y) = (set(a.iter().copied()), set(b.iter().copied()));
        prop_assert_eq!(x.and(&y), set(a.intersection(&b).copied()));
        prop_assert_eq!(x.or(&y), set(a.union(&b).copied()));
        prop_assert_eq!(x.minus(&y), set(a.difference(&b).copied()));
        prop_assert_eq!((x.count(), x.is_empty()), (a.len(), a.is_empty()));
    }
}
