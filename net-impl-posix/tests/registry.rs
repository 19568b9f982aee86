//! The backend in the link-time registry, beside one that does not work here (statement 24).

use std::net::SocketAddr;
use std::sync::Mutex;

use core_reactor::Cx;
use core_reactor::net::{self, GroupConfig, NetError, NetImpl, SelectError, SockGroup, SockOptions, Socket, Why, linked, select};
use net_impl_posix as _;

net::register!(Broken);

/// A backend of a higher rank whose probe fails.
struct Broken;

fn why() -> NetError {
    NetError::Unusable("this kernel has none of it".into())
}

impl NetImpl for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn priority(&self) -> u8 {
        200
    }

    fn probe(&self) -> Result<(), NetError> {
        Err(why())
    }

    fn listen(&self, _: SocketAddr, _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Err(why())
    }

    fn connect(&self, _: &[SocketAddr], _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Err(why())
    }

    fn group(&self, _: &mut Cx<'_>, _: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        Err(why())
    }
}

/// What was logged.
struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().expect("no test panics in here").push(format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

#[test]
fn s24_a_linked_backend_registers_itself_by_name_and_rank() {
    let all: Vec<_> = linked().iter().map(|backend| (backend.name(), backend.priority())).collect();
    assert_eq!(all, [("broken", 200), ("posix", 1)]);
}

#[test]
fn s24_one_that_fails_is_skipped_with_one_line_and_posix_is_taken() {
    log::set_logger(&LINES).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);
    let selected = select(None, &[]).expect("posix works on every Linux");
    assert_eq!((selected.backend.name(), selected.why), ("posix", Why::Priority));
    assert_eq!(
        *LINES.0.lock().expect("held for a push only"),
        ["WARN network backend broken is skipped: not usable here: this kernel has none of it"]
    );
}

#[test]
fn s24_asked_for_by_name_the_failure_is_the_error() {
    assert_eq!(select(Some("broken"), &[]).unwrap_err(), SelectError::Unusable { name: "broken", why: why() });
    assert_eq!(select(Some("posix"), &[]).expect("it works").why, Why::Name);
}
