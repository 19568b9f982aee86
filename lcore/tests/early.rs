//! A signal that comes before there is a reactor is an orderly stop. A program of its own, as
//! without a handler it ends by the signal.

mod refusing;

use std::sync::atomic::{AtomicBool, Ordering};

use lcore::net;
use lcore::{App, AppOptions};
use refusing::Refusing;
use rustix::process::{Signal, getpid, kill_process};

// A backend whose probe is where the signal comes: what is made before the first reactor is made
// by then, or about to be.
net::register!(Refusing {
    name: "signalled",
    priority: u8::MAX,
    probed: || kill_process(getpid(), Signal::TERM).expect("this process may signal itself"),
});

#[test]
fn s51_a_signal_on_the_way_of_the_start_is_an_orderly_stop() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    let mut options = AppOptions::default();
    (options.no_cpumask_locks, options.net) = (true, Some("signalled".into()));
    let app = App::new("test").options(options).network().on_shutdown(|_, app| {
        assert!(STARTED.load(Ordering::SeqCst), "after the start, as ever");
        app.stop(7);
    });
    let code = app.try_run(|_, _| {
        STARTED.store(true, Ordering::SeqCst);
        Ok(())
    });
    assert_eq!(code.unwrap(), 7);
}
