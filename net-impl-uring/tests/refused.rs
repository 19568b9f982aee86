//! A sandbox that refuses io_uring (statement 24).
//!
//! A filter binds the calling thread only, for good, so each test runs on one of its own.

use std::sync::Mutex;
use std::thread::ThreadId;

use conformance::sandbox;
use core_reactor::net::{NetError, SelectError, Why, linked, select};
use net_impl_posix as _;
use net_impl_uring as _;

/// Runs `f` where a system call fails with `errno`.
fn without<T: Send + 'static>(call: libc::c_long, errno: i32, f: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        sandbox::refuse(call, errno).expect("a thread may bind itself");
        f()
    })
    .join()
    .expect("the thread is content")
}

/// What was logged.
struct Lines(Mutex<Vec<(ThreadId, String)>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().expect("no test panics in here").push((std::thread::current().id(), line));
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

fn unusable(doing: &str, errno: i32) -> NetError {
    let text = std::io::Error::from_raw_os_error(errno).to_string().split(" (os").next().expect("a part").to_owned();
    NetError::Unusable(format!("{doing}: {text} (error {errno})").into())
}

#[test]
fn s24_uring_is_linked_and_ranks_above_posix() {
    let names: Vec<_> = linked().iter().map(|backend| backend.name()).collect();
    assert_eq!(names, ["uring", "posix"]);
    let selected = select(None, &[]).expect("io_uring works here");
    assert_eq!((selected.backend.name(), selected.why), ("uring", Why::Priority));
    assert!(selected.skipped.is_empty());
}

#[test]
fn s24_where_io_uring_is_refused_posix_is_chosen_with_one_line() {
    log::set_logger(&LINES).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);
    let (selected, lines) = without(libc::SYS_io_uring_setup, libc::EPERM, || {
        let selected = select(None, &[]).expect("posix works on every Linux");
        let lines = LINES.0.lock().expect("held for a moment");
        let mine = lines.iter().filter(|(thread, _)| *thread == std::thread::current().id());
        (selected, mine.map(|(_, line)| line.clone()).collect::<Vec<_>>())
    });
    assert_eq!((selected.backend.name(), selected.why), ("posix", Why::Priority));
    assert_eq!(selected.skipped, [("uring", unusable("io_uring_setup", libc::EPERM))]);
    let line = "WARN network backend uring is skipped: not usable here: io_uring_setup: Operation not permitted (error 1)";
    assert_eq!(lines, [line]);
}

#[test]
fn s24_asked_for_by_name_the_refusal_is_the_error() {
    let why = without(libc::SYS_io_uring_setup, libc::EACCES, || select(Some("uring"), &[]).unwrap_err());
    assert_eq!(why, SelectError::Unusable { name: "uring", why: unusable("io_uring_setup", libc::EACCES) });
}

#[test]
fn s24_any_errno_of_any_call_means_not_usable() {
    for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::ENOMEM, libc::EOPNOTSUPP] {
        let why = without(libc::SYS_io_uring_setup, errno, || linked()[0].probe());
        if errno == libc::ENOMEM {
            // That of the user's limit is not told apart from any other.
            assert!(why.unwrap_err().to_string().starts_with("not usable here: io_uring_setup: "));
        } else {
            assert_eq!(why, Err(unusable("io_uring_setup", errno)));
        }
        let why = without(libc::SYS_io_uring_register, errno, || linked()[0].probe());
        assert_eq!(why, Err(unusable("io_uring_register(EVENTFD)", errno)));
        let why = without(libc::SYS_io_uring_enter, errno, || linked()[0].probe());
        assert_eq!(why, Err(unusable("io_uring_enter", errno)));
    }
}
