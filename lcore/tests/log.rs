//! The log of a whole process: `RUST_LOG`, formats, and loggers that the application has installed
//! before. Each test starts its own binary again, with itself as the only test.

use std::process::{Command, ExitCode, Output};

use lcore::{App, AppOptions, Cx, LogFormat, LogLevel, Polled, Schedule};

const ROLE: &str = "LCORE_TEST_CHILD";

lcore::log_part!("kv", "log::store");

/// Runs an application that logs, in a process of its own, after `before`; what it wrote on
/// standard error.
fn run(name: &str, rust_log: Option<&str>, before: impl FnOnce(&mut AppOptions)) -> String {
    if std::env::var_os(ROLE).is_some() {
        let mut options = AppOptions::default();
        options.no_cpumask_locks = true;
        before(&mut options);
        let code = App::new("test").options(options).run(|_, app| {
            log::info!("a notice");
            log::debug!(target: "log::store", "a detail of kv");
            log::debug!(target: "log::other", "a detail of the application");
            tracing::info!("an event");
            app.stop(0);
            Ok(())
        });
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
    let output = child(name, rust_log);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    said
}

/// The test of that name, in a process of its own.
fn child(name: &str, rust_log: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(ROLE, "1").env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.envs(rust_log.map(|text| ("RUST_LOG", text))).output().unwrap()
}

/// Which of the lines are there, each of which is at most once.
fn seen(said: &str) -> Vec<&'static str> {
    let lines = ["a notice", "a detail of kv", "a detail of the application", "an event"];
    assert!(lines.iter().all(|line| said.matches(line).count() <= 1), "{said}");
    lines.into_iter().filter(|line| said.contains(line)).collect()
}

#[test]
fn s206_an_applications_own_part_is_switched_on_like_others() {
    let said = run("s206_an_applications_own_part_is_switched_on_like_others", None, |options| options.log_flags = vec!["kv".into()]);
    assert_eq!(seen(&said), ["a notice", "a detail of kv", "an event"]);
}

#[test]
fn s209_rust_log_takes_the_place_of_notices_from_everywhere() {
    let said = run("s209_rust_log_takes_the_place_of_notices_from_everywhere", Some("warn,log::other=debug"), |options| {
        options.log_flags = vec!["kv".into()];
    });
    assert_eq!(seen(&said), ["a detail of kv", "a detail of the application"]);
}

#[test]
fn s209_a_log_level_is_above_rust_log() {
    let said = run("s209_a_log_level_is_above_rust_log", Some("trace"), |options| options.log_level = Some(LogLevel::Info));
    assert_eq!(seen(&said), ["a notice", "an event"]);
}

#[test]
fn s209_a_wrong_rust_log_is_said_and_ignored() {
    let said = run("s209_a_wrong_rust_log_is_said_and_ignored", Some("log=loud"), |_| {});
    assert_eq!(seen(&said), ["a notice", "an event"]);
    assert!(said.contains("warn: RUST_LOG is ignored: ") && said.contains("loud"), "{said}");
}

#[test]
fn s208_each_line_of_a_process_is_json() {
    let said = run("s208_each_line_of_a_process_is_json", None, |options| options.log_format = Some(LogFormat::Json));
    let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let notice = lines.iter().find(|line| line["message"] == "a notice").unwrap();
    assert!(notice["core"].is_u64() && notice["target"] == "log" && notice["part"] == "app", "{notice}");
}

#[test]
fn s208_a_panic_and_what_is_said_last_are_json_too() {
    const NAME: &str = "s208_a_panic_and_what_is_said_last_are_json_too";
    if std::env::var_os(ROLE).is_some() {
        let mut options = AppOptions::default();
        (options.no_cpumask_locks, options.log_format) = (true, Some(LogFormat::Json));
        let code = App::new("test").options(options).run(|cx, _| {
            cx.poller("bad", Schedule::Always, |_: &mut Cx<'_>| -> Polled { panic!("on purpose") });
            Ok(())
        });
        std::process::exit(if code == ExitCode::from(101) { 0 } else { 1 });
    }
    let output = child(NAME, None);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect();
    let message = |line: &serde_json::Value| line["message"].as_str().unwrap().to_owned();
    assert!(lines.iter().any(|line| message(line).contains("on purpose")), "{said}");
    let last = lines.last().unwrap();
    assert!(last["level"] == "ERROR" && message(last).contains("panicked"), "{said}");
}

/// Installed the usual way, it brings the bridge from `log` with it.
#[test]
fn s210_a_tracing_subscriber_gets_all_that_is_logged() {
    let said = run("s210_a_tracing_subscriber_gets_all_that_is_logged", Some("trace"), |options| {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
        options.log_flags = vec!["kv".into()];
    });
    assert_eq!(seen(&said), ["a notice", "an event"], "its level counts");
    assert!(said.contains("-L, --log-level and --log-format do nothing"), "{said}");
    assert!(!said.contains("] test: "), "none of the lines is ours: {said}");
}

/// A subscriber without the bridge has the events of `tracing` and leaves the log to us.
#[test]
fn s210_a_subscriber_without_the_bridge_leaves_the_log_to_lcore() {
    let said = run("s210_a_subscriber_without_the_bridge_leaves_the_log_to_lcore", None, |_| {
        let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    assert_eq!(seen(&said), ["a notice", "an event"]);
    assert!(said.contains("] test: info: a notice") && !said.contains("] test: info: an event"), "{said}");
}

/// Events of `tracing`, with its feature `log`, come to the log where nobody else takes them.
#[test]
fn s210_events_without_a_subscriber_come_to_the_log() {
    let said = run("s210_events_without_a_subscriber_come_to_the_log", None, |_| {});
    assert_eq!(seen(&said), ["a notice", "an event"]);
    assert!(said.contains("] test: info: an event"), "{said}");
}

/// Once lcore has the log, a subscriber can still have the events of `tracing`.
#[test]
fn s210_a_subscriber_that_comes_later_gets_the_events_alone() {
    let said = run("s210_a_subscriber_that_comes_later_gets_the_events_alone", None, |options| {
        let first = App::new("first").options(options.clone()).try_run(|_, app| {
            app.stop(0);
            Ok(())
        });
        assert_eq!(first.unwrap(), 0);
        assert!(log::set_logger(Box::leak(Box::new(Nobody))).is_err(), "the log is taken");
        let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    assert_eq!(seen(&said), ["a notice", "an event"]);
    assert!(said.contains("] first: info: a notice") && !said.contains("] first: info: an event"), "{said}");
}

struct Nobody;

impl log::Log for Nobody {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        false
    }
    fn log(&self, _: &log::Record<'_>) {}
    fn flush(&self) {}
}
