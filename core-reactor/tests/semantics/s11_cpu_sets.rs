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
        ("[8],0x1,[9],0x2".into(), set([0, 1, 8, 9])),
        ("0x0,[5]".into(), set([5])),
        (" 0x3, [8-11]\n".into(), set([0, 1, 8, 9, 10, 11])),
        // SPDK's.
        ("[0, 1]".into(), set([0, 1])),
        ("[ 0 - 2 , 5 ]".into(), set([0, 1, 2, 5])),
        ("ff".into(), set(0..8)),
        ("F".into(), set(0..4)),
        ("1e0".into(), set(5..9)),
        // taskset -c, numactl, cpusets, Cpus_allowed_list.
        ("0-3,8".into(), set([0, 1, 2, 3, 8])),
        ("0-3,8\n".into(), set([0, 1, 2, 3, 8])),
        ("0,2".into(), set([0, 2])),
        ("0,10,12".into(), set([0, 10, 12])),
        ("5-5".into(), set([5])),
        ("0-7:2".into(), set([0, 2, 4, 6])),
        ("1-8:3,20".into(), set([1, 4, 7, 20])),
        ("[0-7:2]".into(), set([0, 2, 4, 6])),
        ("0-31:2/8".into(), set([0, 1, 8, 9, 16, 17, 24, 25])),
        // Cpus_allowed, smp_affinity.
        ("ff,ffffffff".into(), set(0..40)),
        ("00000001,00000000".into(), set([32])),
        ("1,00000000".into(), set([32])),
        ("80000000,00000000,00000010".into(), set([4, 95])),
        (format!("{}ffffffff", "ffffffff,".repeat(31)), CpuSet::ALL),
        (format!("00000000,{}00000001", "00000000,".repeat(31)), set([0])),
        // hwloc's.
        ("0x00000001,0x00000000".into(), set([32])),
        ("0x00000001,0x0".into(), set([32])),
        ("0x80000000,,0x0".into(), set([95])),
        ("0x00000001,,0x00000002".into(), set([1, 64])),
        ("0x00000001, 0x00000003".into(), set([0, 1, 32])),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
}

#[test]
fn s11_everything_else_is_an_error_that_points_at_the_character() {
    let digits = |n| "1".repeat(n);
    let past_limit = "a core past the limit of 1023";
    let (no_part, no_start) = ("nothing where a mask or list should be", "neither a digit, 0x nor [");
    let (follows, short) = ("something follows the set", "one of several masks without its 8 digits");
    let digits_alone = "digits alone, which could be a mask (0x..) or a core ([..]),";
    let no_core = "a mask without a core,";
    let step = "a step of 0, or more cores of a group than it has,";
    let table: Vec<(String, usize, &str)> = vec![
        ("".into(), 0, no_part),
        ("\n".into(), 0, no_part),
        ("é".into(), 0, no_start),
        (" é".into(), 1, no_start),
        ("x1".into(), 0, no_start),
        ("+0,1".into(), 0, "no number where one should be"),
        ("all".into(), 1, follows),
        ("0x".into(), 2, "no hex digit after 0x"),
        ("0xg".into(), 2, "no hex digit after 0x"),
        ("0x,[1]".into(), 2, "no hex digit after 0x"),
        ("0x0".into(), 0, no_core),
        ("0x00000000,0x00000000".into(), 0, no_core),
        ("00000000,00000000".into(), 0, no_core),
        ("0x1g".into(), 3, follows),
        ("0x1 2".into(), 4, follows),
        ("0x1_0".into(), 3, follows),
        ("0x3-5".into(), 3, follows),
        ("0xFé".into(), 3, follows),
        ("0xf...f,0x00000001".into(), 0, short),
        ("ffh".into(), 2, follows),
        ("0x1[2]".into(), 3, follows),
        ("[1]junk".into(), 3, follows),
        ("[1]]".into(), 3, follows),
        ("[1]\n2".into(), 4, follows),
        ("[1],".into(), 4, no_part),
        ("[1],3".into(), 4, "neither 0x nor ["),
        ("[1],ff".into(), 4, "neither 0x nor ["),
        // What two notations read differently.
        ("0".into(), 0, "a mask without a core, or core 0 ([0]),"),
        ("00\n".into(), 0, "a mask without a core, or core 0 ([0]),"),
        ("3".into(), 0, digits_alone),
        ("10\n".into(), 0, digits_alone),
        ("00000003".into(), 0, digits_alone),
        ("0b11".into(), 0, "0b, which could begin a binary number or be hex digits (0x0b..),"),
        ("0x1,0x2".into(), 0, short),
        ("0x1, 0x2".into(), 0, short),
        ("0x1,,0x2".into(), 0, short),
        ("0x1,0x0".into(), 0, short),
        ("0x1,0x00000000".into(), 0, short),
        ("0x00000001,0x2".into(), 11, short),
        ("0x00000001,00000002".into(), 11, short),
        ("0x00000001,0x000000002".into(), 11, short),
        ("0x00000001,0x0,0x00000001".into(), 11, short),
        ("00000001,0x00000002".into(), 9, short),
        ("0x00000001,".into(), 11, no_part),
        (",0x00000001".into(), 0, no_start),
        ("ff,".into(), 3, no_part),
        ("ff,ff".into(), 3, short),
        ("0,a".into(), 2, short),
        ("00000001,,00000000".into(), 9, no_start),
        ("000000001,00000000".into(), 0, short),
        ("[8],0x1,0x2".into(), 8, "a second mask"),
        ("0x1,0x2,[8]".into(), 4, "a second mask"),
        // Lists without brackets.
        ("0-3,".into(), 4, "no number where one should be"),
        ("0-3;8".into(), 3, "neither a comma nor a dash"),
        ("0-3 8".into(), 4, "neither a comma nor a dash"),
        ("0-3]".into(), 3, "neither a comma nor a dash"),
        ("8,9,a-c".into(), 4, "no number where one should be"),
        ("0,^2".into(), 2, "no number where one should be"),
        ("3:2,0-4".into(), 1, "neither a comma nor a dash"),
        ("3-1,8".into(), 2, "a range that descends"),
        ("0-7:0".into(), 4, step),
        ("0-7:0/4".into(), 4, step),
        ("0-7:5/4".into(), 4, step),
        ("0-7:2/0".into(), 4, step),
        ("0-7:".into(), 4, "no number where one should be"),
        ("0-7:1024".into(), 4, "a step of more than 1023"),
        ("0-7:2/1024".into(), 6, "a group of more than 1023"),
        ("0,1024".into(), 2, past_limit),
        (format!("1,{}00000000", "00000000,".repeat(31)), 0, past_limit),
        ("[".into(), 1, "no number where one should be"),
        ("[]".into(), 1, "no number where one should be"),
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
        ("[1 2]".into(), 3, "neither a comma, a dash nor ]"),
        ("[1;2]".into(), 2, "neither a comma, a dash nor ]"),
        ("[4-2]".into(), 3, "a range that descends"),
        ("[0,10-9]".into(), 6, "a range that descends"),
        ("[1024]".into(), 1, past_limit),
        ("[0-1024]".into(), 3, past_limit),
        ("[1,2,99999999999999999999999999]".into(), 5, past_limit),
        (format!("[0,{}]", digits(300)), 3, past_limit),
        (format!("0x1{}", "0".repeat(256)), 2, past_limit),
        (format!("[0],0x{}", digits(257)), 6, past_limit),
        (digits(256) + "f", 0, past_limit),
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

#[test]
fn s11_what_sets_are_made_of_goes_in_and_out_and_is_compared() {
    let mut cores = CpuSet::from([CoreId(0), CoreId(63), CoreId(64), CoreId(1023)]);
    assert!(cores.remove(CoreId(63)) && !cores.remove(CoreId(63)), "it was there, and then was not");
    assert!(!cores.remove(CoreId(1)) && !cores.remove(CoreId(1024)) && !cores.remove(CoreId(u16::MAX)));
    assert_eq!(cores, CpuSet::from([CoreId(0), CoreId(64), CoreId(1023)]));

    let (low, high, middle) = ("0-64".parse::<CpuSet>(), "65-99".parse::<CpuSet>(), "60-70".parse::<CpuSet>());
    let (low, high, middle) = (low.expect("a list"), high.expect("a list"), middle.expect("a list"));
    assert!(low.is_disjoint(&high) && !low.is_disjoint(&middle) && CpuSet::EMPTY.is_disjoint(&CpuSet::EMPTY));
    assert!("60-64".parse::<CpuSet>().expect("a list").is_subset(&low) && !middle.is_subset(&low));
    assert!(CpuSet::EMPTY.is_subset(&low) && low.is_subset(&low) && !low.is_subset(&CpuSet::EMPTY));
    let either = "0-59,65-70".parse().expect("a list");
    assert_eq!((low.xor(&middle), low ^ low), (either, CpuSet::EMPTY));
    let mut changed = low;
    changed ^= middle;
    assert_eq!(changed, either);
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
        Just(" ".to_string()),
        Just(":".to_string()),
        Just("/".to_string()),
        "[0-9a-f]{8}",
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

    /// As `bitmap_print_to_pagebuf` and hwloc's `hwloc_bitmap_snprintf` write it.
    #[test]
    fn s55_groups_of_a_mask_are_read_as_the_kernel_and_hwloc_write_them(cores in prop::collection::btree_set(0u16..1024, 1..50), width in 0u16..1024) {
        let count = usize::from(width.max(*cores.last().expect("one at least")) / 32 + 1);
        let mut groups = vec![0u32; count.max(2)];
        for core in &cores {
            groups[usize::from(core / 32)] |= 1 << (core % 32);
        }
        groups.reverse();
        let written = |group: &dyn Fn(usize, u32) -> String| {
            groups.iter().enumerate().map(|(at, bits)| group(at, *bits)).collect::<Vec<_>>().join(",")
        };
        let kernel = written(&|at, bits| if at == 0 { format!("{bits:x}") } else { format!("{bits:08x}") });
        prop_assert_eq!(kernel.parse::<CpuSet>(), Ok(set(cores.iter().copied())), "{}", kernel);
        let last = groups.len() - 1;
        let hwloc = written(&|at, bits| match bits {
            0 if at == last => "0x0".into(),
            0 if at > 0 => String::new(),
            _ => format!("0x{bits:08x}"),
        });
        prop_assert_eq!(hwloc.parse::<CpuSet>(), Ok(set(cores.iter().copied())), "{}", hwloc);
    }

    /// As `Cpus_allowed_list` writes it, with an end of line: a core alone has no brackets and is
    /// refused.
    #[test]
    fn s55_a_list_is_read_without_its_brackets(cores in prop::collection::btree_set(0u16..1024, 2..200)) {
        let written = set(cores);
        let text = written.to_string();
        prop_assert_eq!(format!("{}\n", &text[1..text.len() - 1]).parse::<CpuSet>(), Ok(written));
    }

    #[test]
    fn s55_a_step_takes_the_first_cores_of_each_group(first in 0u16..1024, length in 0u16..1024, used in 1u16..40, more in 0u16..40) {
        let (last, group) = ((first + length).min(1023), used + more);
        let expected = set((first..=last).filter(|core| (core - first) % group < used));
        prop_assert_eq!(format!("{first}-{last}:{used}/{group}").parse::<CpuSet>(), Ok(expected));
        let expected = set((first..=last).step_by(usize::from(group)));
        prop_assert_eq!(format!("{first}-{last}:{group}").parse::<CpuSet>(), Ok(expected));
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
