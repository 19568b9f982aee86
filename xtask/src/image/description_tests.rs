//! What people write into a description, right and wrong.

use super::*;

const GOOD: &str = include_str!("../../../image/images/hello.toml");

#[track_caller]
fn wrong(from: &str, to: &str, line: usize, why: &str) {
    let text = GOOD.replace(from, to);
    assert_ne!(text, GOOD, "{from:?} is not in the example");
    let (at, said) = Description::parse("x", &text).expect_err("refused");
    assert!(said.contains(why), "{said}");
    assert!(!said.contains('\n'), "{said}");
    assert_eq!(text[..at.start].matches('\n').count() + 1, line, "{said}");
}

#[test]
fn the_example_is_understood() {
    let image = Description::parse("hello", GOOD).expect("right");
    assert_eq!((image.port, image.memory, image.features().as_str()), (9999, 8 << 20, "smoltcp,pollers,log"));
    assert!(image.source().contains("Ipv4Addr::from_bits(167772687)), 24, Some("), "{}", image.source());
}

#[test]
fn the_build_takes_what_the_description_uses() {
    let features = |from: &str, to: &str| Description::parse("x", &GOOD.replace(from, to)).expect("right").features();
    assert_eq!(
        features("address = \"10.0.2.15/24\"    # or \"dhcp\"\nrouter = \"10.0.2.2\"\n", "address = \"dhcp\"\n"),
        "smoltcp,dhcp,pollers,log"
    );
    assert_eq!(
        features("10.0.2.15/24\"    # or \"dhcp\"\nrouter = \"10.0.2.2", "fd00::15/64\"\nrouter = \"fd00::2"),
        "smoltcp,ipv6,pollers,log"
    );
    assert_eq!(features("\"info\"", "\"defmt\""), "smoltcp,pollers,defmt");
    assert_eq!(features("\"smoltcp\"", "\"none\""), "pollers,log");
    assert_eq!(features("\"smoltcp\" ", "\"smoltcp\"\nserver = \"tasks\""), "smoltcp,tasks,log");
    assert_eq!(features("\"smoltcp\" ", "\"smoltcp\"\nserver = \"pollers\""), "smoltcp,pollers,log");
}

#[test]
fn each_description_of_the_repository_is_right() {
    for name in names().expect("listed") {
        Description::read(&name).expect("right");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    wrong("smoltcp", "posix", 2, "none of smoltcp, none");
    wrong("\"smoltcp\" ", "\"smoltcp\"\nserver = \"threads\"", 3, "none of pollers, tasks");
    wrong("10.0.2.15/24", "10.0.2.15", 3, "with its prefix");
    wrong("10.0.2.15/24", "10.0.2.15/33", 3, "with its prefix");
    wrong("10.0.2.15/24", "dhcp", 4, "what DHCP tells");
    wrong("\"10.0.2.2\"", "\"fe80::1\"", 4, "family");
    wrong("9999", "99999", 5, "not between 1 and 65535");
    wrong("9999", "\"x\"", 5, "invalid type");
    wrong("8M", "2M", 6, "no size between");
    wrong("8M", "8 MB", 6, "no size between");
    wrong("connections = 32", "connections = 300", 6, "is too little: the pools and the image take about");
    wrong("info", "loud", 7, "none of off, error");
    wrong("connections = 32", "connections = -1", 10, "not between 1 and 4096");
    wrong("reserve = 32", "reserve = 65", 14, "more than there are buffers (64)");
    wrong("mailbox", "mailboxes", 16, "unknown field `mailboxes`");
}

#[test]
fn a_file_that_is_not_there_is_a_wrong_command_line() {
    let why = Description::read("nope").expect_err("not there");
    assert!(why.is::<Usage>() && why.to_string().contains("nope.toml"), "{why}");
}
