//! The log and the output of an application, and what of it panics, when nobody reads and when
//! somebody does. Each test starts its own binary again, with itself as the only test, as it is
//! about the end of a process.

use std::io::{PipeReader, Read, pipe};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lcore::{App, AppHandle, AppOptions, Cx, Polled, Schedule};

const ROLE: &str = "LCORE_TEST_CHILD";
/// Nothing that is waited for takes this long, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The child, which runs `f` in place of the test and ends with its code.
fn as_child(f: impl FnOnce() -> ExitCode) {
    if std::env::var_os(ROLE).is_some() {
        let code = f();
        // The harness would make its own of it.
        std::process::exit(if code == ExitCode::SUCCESS { 0 } else { code_of(code) });
    }
}

/// The number in an exit code, which the type hides.
fn code_of(code: ExitCode) -> i32 {
    (1..=255).find(|n| ExitCode::from(*n) == code).map_or(0, i32::from)
}

fn start(name: &str, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(ROLE, "1").env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap()
}

/// Its exit code; one that does not end is killed, and has none.
fn end(mut child: Child) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap().code()
}

fn text(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

fn app() -> App {
    let mut options = AppOptions::default();
    options.no_cpumask_locks = true;
    App::new("test").options(options)
}

/// Runs the child `name` with standard error in a pipe that is read.
fn run(name: &str) -> (Option<i32>, String) {
    let (reader, writer) = pipe().unwrap();
    let child = start(name, Stdio::null(), writer);
    let reading = thread::spawn(move || text(reader));
    (end(child), reading.join().unwrap())
}

#[test]
fn s50_a_panic_is_told_after_the_lines_before_it() {
    as_child(|| {
        app().run(|cx, _| {
            log::info!("before it");
            cx.poller("bad", Schedule::Always, |_: &mut Cx<'_>| panic!("of a poller"));
            Ok(())
        })
    });
    let (code, said) = run("s50_a_panic_is_told_after_the_lines_before_it");
    assert_eq!(code, Some(101), "{said}");
    let at = ["info: before it", "panicked at", "of a poller", "test: the application panicked"].map(|part| said.find(part));
    assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{at:?} in: {said}");
}

#[test]
fn s50_a_panic_ends_the_application_though_nobody_reads_what_it_says() {
    as_child(|| {
        app().run(|cx, _| {
            cx.poller("bad", Schedule::Always, |_: &mut Cx<'_>| panic!("unheard"));
            Ok(())
        })
    });
    let (reader, writer) = conformance::pipe::full();
    let child = start("s50_a_panic_ends_the_application_though_nobody_reads_what_it_says", Stdio::null(), writer);
    assert_eq!(end(child), Some(101));
    drop(reader);
}

#[test]
fn s50_the_last_lines_before_an_exit_are_written() {
    as_child(|| {
        app().run(|cx, app| {
            let app = app.clone();
            cx.poller("ends", Schedule::Always, move |_: &mut Cx<'_>| {
                app.println("of the output");
                for line in 0..1000 {
                    log::info!("line {line}.");
                }
                std::process::exit(3)
            });
            Ok(())
        })
    });
    let (code, said) = run("s50_the_last_lines_before_an_exit_are_written");
    assert_eq!(code, Some(3), "{said}");
    let lines: Vec<_> = said.lines().filter(|line| line.contains("info: line ")).collect();
    assert!(lines.iter().enumerate().all(|(n, line)| line.ends_with(&format!("line {n}."))), "{said}");
    assert_eq!(lines.len(), 1000);
}

#[test]
fn s50_what_is_printed_comes_whole_and_in_order_to_a_reader_that_is_late() {
    as_child(|| {
        app().run(|cx, app| {
            let (app, mut line) = (app.clone(), 0);
            cx.poller("prints", Schedule::Always, move |_: &mut Cx<'_>| {
                (line..line + 100).for_each(|line| app.println(format_args!("line {line:06}.")));
                line += 100;
                if line < 20_000 {
                    return Polled::Busy;
                }
                log::info!("all is printed");
                app.stop(0);
                Polled::Done
            });
            Ok(())
        })
    });
    let ((output, stdout), (log, stderr)) = (pipe().unwrap(), pipe().unwrap());
    let child = start("s50_what_is_printed_comes_whole_and_in_order_to_a_reader_that_is_late", stdout, stderr);
    // The application is through with it before anybody has read any of it.
    let mut log = std::io::BufReader::new(log);
    let printed = std::io::BufRead::lines(&mut log).map(Result::unwrap).any(|line| line.ends_with("all is printed"));
    assert!(printed, "the log ended before");
    let output = text(output);
    let numbers: Vec<_> = output.lines().filter_map(|line| line.split_once("line ")?.1.strip_suffix('.')?.parse::<u32>().ok()).collect();
    assert!(numbers.iter().copied().eq(0..20_000), "{} lines", numbers.len());
    assert_eq!(end(child), Some(0));
}

/// What cannot be formatted.
struct Bad;

impl std::fmt::Display for Bad {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("of a Display")
    }
}

/// All that an application hands over may unwind: that ends it with 101, and all it had is given
/// back, so that the next one runs.
#[test]
fn s54_whatever_of_an_application_panics_ends_it_and_gives_back_what_it_had() {
    as_child(|| {
        // `stop` with this code.
        let stop = |code| {
            move |_: &mut Cx<'_>, app: &AppHandle| {
                app.stop(code);
                Ok(())
            }
        };
        let again = || app().try_run(stop(7)).unwrap();
        let me = || {
            std::fs::read_to_string("/proc/thread-self/status")
                .unwrap()
                .lines()
                .filter(|l| l.starts_with("Cpus_allowed:"))
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let before = me();
        for place in ["shutdown", "last", "logged", "printed", "printed last"] {
            let outcome = match place {
                "shutdown" => app().on_shutdown(|_, _| panic!("at the shutdown")).try_run(|_, _| {
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)?;
                    Ok(())
                }),
                "last" => app().on_stopped(|_, _| panic!("at last")).try_run(stop(0)),
                "printed last" => app().on_stopped(|app, _| app.println(Bad)).try_run(stop(0)),
                "logged" => app().try_run(|_, _| {
                    log::info!("{Bad}");
                    Ok(())
                }),
                _ => app().try_run(|_, app| {
                    app.println(Bad);
                    Ok(())
                }),
            };
            assert_eq!(outcome.unwrap_err().exit_code(), 101, "{place}");
            assert_eq!((again(), me()), (7, before.clone()), "{place}");
        }
        log::info!("the log goes on");
        ExitCode::SUCCESS
    });
    let (code, said) = run("s54_whatever_of_an_application_panics_ends_it_and_gives_back_what_it_had");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the log goes on"), "{said}");
}
