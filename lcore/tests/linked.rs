//! What this program carries: the backends of the cargo features that it was built with, and no
//! other.

use lcore::{App, AppOptions};

#[test]
fn the_linked_backends_are_those_of_the_features() {
    let features = [(cfg!(feature = "uring"), "uring"), (cfg!(feature = "posix"), "posix")];
    let expected: Vec<_> = features.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    assert_eq!(lcore::net_backends(), expected);
    assert!(lcore::net_backends().iter().all(|name| lcore::NET_FEATURES.contains(name)), "each is called like its feature");
}

#[test]
fn the_linked_transports_are_those_of_the_features() {
    let expected: &[&str] = if cfg!(feature = "rdma") { &["rdma"] } else { &[] };
    assert_eq!(lcore::transports(), expected);
    assert!(expected.iter().all(|name| lcore::TRANSPORT_FEATURES.contains(name)), "each is called like its feature");
}

#[test]
#[cfg(all(feature = "posix", feature = "uring"))]
fn uring_is_chosen_by_priority_and_posix_by_name() {
    for (name, chosen, why) in [(None, "uring", "uring (highest priority)"), (Some("posix"), "posix", "posix (asked for by name)")] {
        let mut options = AppOptions::default();
        (options.net, options.no_cpumask_locks) = (name.map(Into::into), true);
        let code = App::new("test").options(options).network().try_run(move |_, app| {
            assert_eq!(app.net().name(), chosen);
            assert_eq!(app.selected().to_string(), why);
            app.stop(0);
            Ok(())
        });
        assert_eq!(code.unwrap(), 0);
    }
}

#[test]
fn an_unknown_backend_is_refused_with_those_that_are_there() {
    let mut options = AppOptions::default();
    (options.net, options.no_cpumask_locks) = (Some("nope".into()), true);
    let why = App::new("test").options(options).network().try_run(|_, _| unreachable!("it must not start")).unwrap_err();
    assert_eq!(why.exit_code(), 2);
    let text = why.to_string();
    if cfg!(feature = "posix") {
        assert!(text.contains("\"nope\"") && text.contains("has uring, posix; choose one of these"), "{text}");
    } else {
        assert!(text.contains("build with --features posix"), "{text}");
    }
}
