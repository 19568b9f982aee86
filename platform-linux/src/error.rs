//! From the system's errors to [`PlatformError`].
#![forbid(unsafe_code)]

use core::fmt::Write;
use std::io;
use std::path::Path;

use core_reactor::PlatformError;

/// What `errno` says about the call that just failed.
pub(crate) fn last_os_error(doing: &'static str) -> PlatformError {
    os_error(doing, &io::Error::last_os_error())
}

/// The error of one failed attempt.
pub(crate) fn os_error(doing: &'static str, error: &io::Error) -> PlatformError {
    PlatformError::Os { doing, code: code(error), text: short(format_args!("{}", words(error))) }
}

/// The error of one failed attempt on a file.
pub(crate) fn file_error(doing: &'static str, path: &Path, error: &io::Error) -> PlatformError {
    named_error(doing, path.display(), error)
}

/// The error of one failed attempt on something with a name.
pub(crate) fn named_error(doing: &'static str, name: impl core::fmt::Display, error: &io::Error) -> PlatformError {
    PlatformError::Os { doing, code: code(error), text: short(format_args!("{name}: {}", words(error))) }
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

/// As much of a text as an error can carry.
pub(crate) fn short<const N: usize>(words: core::fmt::Arguments<'_>) -> heapless::String<N> {
    struct Cut<const N: usize>(heapless::String<N>);
    impl<const N: usize> Write for Cut<N> {
        fn write_str(&mut self, part: &str) -> core::fmt::Result {
            part.chars().try_for_each(|c| self.0.push(c).map_err(|_| core::fmt::Error))
        }
    }
    let mut text = Cut(heapless::String::new());
    // The only failure is a full text, and a text cut short is what is wanted then.
    let _ = text.write_fmt(words);
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_said_once() {
        let error = os_error("open a door", &io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(error.to_string(), "open a door: No such file or directory (error 2)");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short::<5>(format_args!("ab{}{}", "cö", "de")).as_str(), "abcö");
    }
}
