//! The standard streams, unless they were closed when the program started.
//!
//! The standard library opens `/dev/null` in place of each that is, before `main`: what is printed
//! then is lost, and no write tells. So this looks earlier, while the program is being loaded.
// UNSAFETY: a function runs before `main`, where the linker puts it, and asks for descriptors.

use std::io::{self, Stdin, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use core_reactor::PlatformError;

use crate::error::os_error;

/// Whether standard input and output were closed.
static CLOSED: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// Standard input.
///
/// # Errors
/// It was closed when the program started, so that an empty one would be read in its place.
pub fn stdin() -> Result<Stdin, PlatformError> {
    unless_closed(libc::STDIN_FILENO, "read standard input", io::stdin())
}

/// Standard output.
///
/// # Errors
/// It was closed when the program started, so that all that is written would be lost.
pub fn stdout() -> Result<Stdout, PlatformError> {
    unless_closed(libc::STDOUT_FILENO, "write standard output", io::stdout())
}

fn unless_closed<T>(fd: i32, doing: &'static str, stream: T) -> Result<T, PlatformError> {
    match CLOSED[fd as usize].load(Ordering::Relaxed) {
        false => Ok(stream),
        true => Err(os_error(doing, &io::Error::from_raw_os_error(libc::EBADF))),
    }
}

// SAFETY: the section holds addresses of functions, which the loader calls before `main`; `look`
// needs nothing that is not there yet.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for (fd, closed) in (0..).zip(&CLOSED) {
        // SAFETY: passes numbers.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        closed.store(flags < 0, Ordering::Relaxed);
    }
}
