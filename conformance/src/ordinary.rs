//! A process of an ordinary user, who may lock little memory.

use std::process::Command;

use rustix::process::{Resource, Rlimit, Uid, geteuid, getrlimit, setrlimit};
use rustix::thread::set_thread_res_uid;

use crate::net::beside_others;

/// Says to a process that it is the one for the test, and how many bytes it may lock.
const LIMIT: &str = "LCORE_TEST_LOCKED_BYTES";
/// Users from here on have no account. Each process is one of them, since what is locked is counted
/// by user.
const USERS: u32 = 1_000_000;

/// Runs `test` in a process of its own, where it may lock `limit` bytes of memory. `name` is the
/// full name of the test that calls this.
///
/// # Panics
/// The test does not pass there.
pub fn with_locked_memory(name: &str, limit: u64, test: impl FnOnce()) {
    if std::env::var(LIMIT).is_ok_and(|told| told == limit.to_string()) {
        become_ordinary(limit);
        return test();
    }
    if std::env::var_os(LIMIT).is_some() {
        // Another call of this test is meant.
        return;
    }
    // It has descriptors meanwhile, which others may count.
    let _company = beside_others();
    let program = std::env::current_exe().expect("a program knows where it is");
    let run = Command::new(program).args([name, "--exact", "--nocapture"]).env(LIMIT, limit.to_string()).output().expect("it starts again");
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && told.contains("1 passed"),
        "with {limit} bytes to lock: {told}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// From now on this process may lock so many bytes, of those that [`with_locked_memory`] gave it.
///
/// # Panics
/// These are more.
pub fn may_lock(bytes: u64) {
    let maximum = getrlimit(Resource::Memlock).maximum;
    setrlimit(Resource::Memlock, Rlimit { current: Some(bytes), maximum }).expect("it is within the limit");
}

/// Whether this flow of control's user has no other process, so that what may be locked is its own.
/// The superuser's tests see to that.
pub fn is_sole() -> bool {
    geteuid() == user()
}

fn user() -> Uid {
    Uid::from_raw(USERS + std::process::id())
}

/// Only this flow of control, and those that it starts, lose what the superuser may.
fn become_ordinary(limit: u64) {
    setrlimit(Resource::Memlock, Rlimit { current: Some(limit), maximum: Some(limit) }).expect("a lower limit is allowed");
    if geteuid().is_root() {
        set_thread_res_uid(user(), user(), user()).expect("the superuser may be anybody");
    }
}
