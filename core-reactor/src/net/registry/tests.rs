//! The choice among backends, over backends that do nothing.

use alloc::boxed::Box;
use alloc::string::ToString;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::Cx;
use crate::net::{GroupConfig, SockGroup, SockOptions, Socket};

struct Fake {
    name: &'static str,
    priority: u8,
    works: bool,
    probes: AtomicUsize,
}

impl Fake {
    /// A backend for the rest of the test program, as a link-time one is.
    fn new(name: &'static str, priority: u8, works: bool) -> &'static Self {
        Box::leak(Box::new(Self { name, priority, works, probes: AtomicUsize::new(0) }))
    }
}

fn broken() -> NetError {
    NetError::Unusable("io_uring_setup: Function not implemented".into())
}

impl NetImpl for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn priority(&self) -> u8 {
        self.priority
    }

    fn probe(&self) -> Result<(), NetError> {
        self.probes.fetch_add(1, Ordering::Relaxed);
        if self.works { Ok(()) } else { Err(broken()) }
    }

    fn listen(&self, _: SocketAddr, _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Err(broken())
    }

    fn connect(&self, _: &[SocketAddr], _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Err(broken())
    }

    fn group(&self, _: &mut Cx<'_>, _: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        Err(broken())
    }
}

const FEATURES: &[&str] = &["posix", "uring"];

#[test]
fn s24_the_highest_priority_that_probes_well_wins() {
    let (low, high, mid) = (Fake::new("low", 1, true), Fake::new("high", 9, true), Fake::new("mid", 5, true));
    let selected = select_from(&[low, high, mid], None, FEATURES).unwrap();
    assert_eq!((selected.backend.name(), selected.why), ("high", Why::Priority));
    assert_eq!(selected.to_string(), "high (highest priority)");
    assert_eq!(low.probes.load(Ordering::Relaxed) + mid.probes.load(Ordering::Relaxed), 0, "probing may cost: not without need");
}

#[test]
fn s24_ties_go_to_the_first_name_whatever_the_order_of_the_slice() {
    let (a, b) = (Fake::new("alpha", 3, true), Fake::new("beta", 3, true));
    assert_eq!(select_from(&[a, b], None, FEATURES).unwrap().backend.name(), "alpha");
    assert_eq!(select_from(&[b, a], None, FEATURES).unwrap().backend.name(), "alpha");
}

#[test]
fn s24_a_backend_whose_probe_fails_is_skipped_and_says_why() {
    let (good, bad) = (Fake::new("posix", 1, true), Fake::new("uring", 2, false));
    let selected = select_from(&[good, bad], None, FEATURES).unwrap();
    assert_eq!(selected.backend.name(), "posix");
    assert_eq!(selected.skipped, [("uring", broken())]);
    assert_eq!(selected.to_string(), "posix (highest priority that works here)");
}

#[test]
fn s24_asked_for_by_name_a_failed_probe_is_the_error() {
    let (good, bad) = (Fake::new("posix", 1, true), Fake::new("uring", 2, false));
    let error = select_from(&[good, bad], Some("uring"), FEATURES).unwrap_err();
    assert_eq!(error, SelectError::Unusable { name: "uring", why: broken() });
    assert!(error.to_string().contains("Function not implemented"), "{error}");
}

#[test]
fn s24_a_name_beats_priority() {
    let (low, high) = (Fake::new("low", 1, true), Fake::new("high", 9, true));
    let selected = select_from(&[high, low], Some("low"), FEATURES).unwrap();
    assert_eq!((selected.backend.name(), selected.why), ("low", Why::Name));
}

#[test]
fn s24_two_backends_of_one_name_are_refused() {
    let (one, other, third) = (Fake::new("posix", 1, true), Fake::new("posix", 2, true), Fake::new("uring", 3, true));
    for name in [None, Some("uring"), Some("posix")] {
        assert_eq!(select_from(&[one, third, other], name, FEATURES).unwrap_err(), SelectError::SameName { name: "posix" });
    }
}

#[test]
fn s24_an_unknown_name_lists_what_is_linked_and_the_feature_to_switch_on() {
    let posix = Fake::new("posix", 1, true);
    let error = select_from(&[posix], Some("uring"), FEATURES).unwrap_err().to_string();
    assert!(error.contains("\"uring\"") && error.contains("has posix"), "{error}");
    assert!(error.ends_with("build with --features uring"), "{error}");
    let error = select_from(&[posix], Some("typo"), FEATURES).unwrap_err().to_string();
    assert!(error.ends_with("choose one of these, or build with --features uring"), "what is linked needs no feature: {error}");
}

#[test]
fn s24_an_empty_registry_names_the_features_to_switch_on() {
    for name in [None, Some("posix")] {
        let error = select_from(&[], name, FEATURES).unwrap_err();
        assert_eq!(error, SelectError::Empty { features: FEATURES });
        assert!(error.to_string().ends_with("build with --features posix or --features uring"), "{error}");
    }
}

#[test]
fn s24_none_that_works_lists_each_reason() {
    let (a, b) = (Fake::new("a", 1, false), Fake::new("b", 2, false));
    let error = select_from(&[a, b], None, FEATURES).unwrap_err();
    assert_eq!(error, SelectError::NoneUsable { skipped: alloc::vec![("b", broken()), ("a", broken())] });
}

#[test]
fn the_slice_of_a_program_without_backends_is_empty() {
    assert!(linked().is_empty());
    assert!(matches!(select(None, FEATURES), Err(SelectError::Empty { .. })));
}
