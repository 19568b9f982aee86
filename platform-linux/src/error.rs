//! From the system's errors to [`PlatformError`].
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use core_reactor::PlatformError;

/// What `errno` says about the call that just failed.
pub(crate) fn last_os_error(doing: &'static str) -> PlatformError {
    os_error(doing, &io::Error::last_os_error())
}

/// The error of one failed attempt.
pub(crate) fn os_error(doing: &'static str, error: &io::Error) -> PlatformError {
    PlatformError::Os { doing, code: code(error), text: words(error).into() }
}

/// The error of one failed attempt on a file.
pub(crate) fn file_error(doing: &'static str, path: &Path, error: &io::Error) -> PlatformError {
    named_error(doing, path.display(), error)
}

/// The error of one failed attempt on something with a name.
pub(crate) fn named_error(doing: &'static str, name: impl core::fmt::Display, error: &io::Error) -> PlatformError {
    PlatformError::Os { doing, code: code(error), text: format!("{name}: {}", words(error)).into() }
}

fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// The error without its number.
fn words(error: &io::Error) -> String {
    let mut words = error.to_string();
    if let Some(end) = words.rfind(" (os error ") {
        words.truncate(end);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_said_once() {
        let error = os_error("open a door", &io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(error.to_string(), "open a door: No such file or directory (error 2)");
    }
}
