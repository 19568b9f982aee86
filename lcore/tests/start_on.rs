//! An application on reactors that the test turns: what it is given, what its end answers.

mod refusing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lcore::net::SockOptions;
use lcore::sim::Sim;
use lcore::{App, AppOptions, Cx, Failure, Polled, Schedule, ThreadLibOptions};
use refusing::Refusing;

/// A backend that is linked nowhere.
static OWN: Refusing = Refusing { name: "own", priority: 0, probed: || () };

#[test]
fn s118_the_backend_is_the_one_that_the_program_gives() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let start = move |_: &mut Cx<'_>, app: &lcore::AppHandle| {
        note.lock().unwrap().push((app.net().name(), app.cores().to_string()));
        app.net().listen("127.0.0.1:1".parse()?, &SockOptions::default())?;
        Ok(())
    };
    let mut sim = Sim::new(2);
    let app = App::new("test").network_over(&OWN).start_on(sim.lib(), start.clone()).expect("it starts");
    sim.settle();
    assert_eq!(app.finish(&[]).expect("nothing was printed"), 1, "its start failed");
    assert!(sim.lib().threads().is_empty());
    // On reactors of the machine as well.
    let mut options = AppOptions::default();
    options.net = Some("own".into());
    assert_eq!(App::new("test").options(options).network_over(&OWN).try_run(start).expect("it runs"), 1);
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0].clone(), seen[1].0), (("own", Sim::new(2).lib().reactors().to_string()), "own"));
}

#[test]
fn s118_another_name_than_the_given_backends_is_an_error() {
    let mut options = AppOptions::default();
    options.net = Some("posix".into());
    let sim = Sim::new(1);
    let why = App::new("test").options(options).network_over(&OWN).start_on(sim.lib(), |_, _| Ok(())).expect_err("it is no backend here");
    assert!(matches!(why, Failure::Net(_)) && why.to_string().contains("posix"), "{why}");
}

#[test]
fn s118_the_end_of_the_first_thread_ends_it_and_what_comes_last_is_called() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let mut sim = Sim::new(1);
    let app = App::new("test").on_stopped(move |_, stats| note.lock().unwrap().push(stats.len()));
    let app = app.start_on(sim.lib(), |cx, _| {
        cx.exit();
        Ok(())
    });
    let app = app.expect("it starts");
    sim.settle();
    assert!(sim.lib().is_stopping());
    let stats: Vec<_> = sim.reactors.iter().map(|reactor| reactor.stats()).collect();
    assert_eq!(app.finish(&stats).expect("nothing was printed"), 0);
    assert_eq!(*seen.lock().unwrap(), [1]);
}

#[test]
fn s118_the_bounds_of_threads_are_what_is_set() {
    let mut options = AppOptions::default();
    options.no_cpumask_locks = true;
    let bounds = ThreadLibOptions::default().mailbox(16).exit_limit(Duration::from_millis(20));
    let app = App::new("test").options(options).threads(bounds);
    let code = app.try_run(|cx, app| {
        assert_eq!(
            (cx.handle().mailbox_capacity(), app.lib().drain_limit()),
            (16, Duration::from_millis(20)),
            "no drain is longer than the exit"
        );
        // Never done, so that the exit is by force; with the usual limit this test would take five
        // seconds.
        cx.poller("endless", Schedule::WhenAwake, |_: &mut Cx<'_>| Polled::Idle);
        let app = app.clone();
        cx.after(Duration::from_millis(1), move |_| app.stop(4));
        Ok(())
    });
    assert_eq!(code.expect("it runs"), 4);
    let bad = ThreadLibOptions::default().mailbox(0);
    let why = App::new("test").threads(bad).try_run(|_, _| Ok(())).expect_err("no mailbox is so small");
    assert!(why.to_string().contains("ThreadLibOptions::mailbox is 0"), "{why}");
}

#[cfg(feature = "metrics")]
#[test]
fn s193_metrics_without_a_network_are_refused() {
    let mut options = AppOptions::default();
    options.metrics = "127.0.0.1:0".parse().ok();
    let why = App::new("test").options(options).try_run(|_, _| Ok(())).expect_err("it has no network");
    assert_eq!(
        (why.exit_code(), why.to_string().contains("--metrics 127.0.0.1:0") && why.to_string().contains("no network")),
        (2, true),
        "{why}"
    );
}
