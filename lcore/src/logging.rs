//! What goes to standard error: notices of every part, and the details of those that `-L` names.
//!
//! Nobody waits for whoever reads it: lines are queued, and a thread of its own writes them. Where
//! they come faster than they are read and the queue is full, lines are dropped, and a line in
//! their place says how many.

use std::io::{self, Write};
use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use core_reactor::{CoreId, PlatformError};
use log::{Level, LevelFilter, Log, Metadata, Record};
use platform_linux::Spool;

use self::line::Style;
use crate::{AppOptions, LogFormat, OptionsError};

mod line;
mod parts;

pub(crate) use parts::known;
#[cfg(feature = "rpc")]
pub(crate) use parts::{printed, switches};

/// Whether the process logs through what is here, and not through a logger of its own.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// Checks flags without switching anything on.
pub(crate) fn check(flags: &[String]) -> Result<(), OptionsError> {
    match flags.iter().find(|flag| !parts::is_known(flag)) {
        Some(unknown) => Err(OptionsError::LogFlag { flag: unknown.clone(), known: known() }),
        None => Ok(()),
    }
}

/// Switches the details of a part on or off, or of all; false if there is no part of that name.
pub(crate) fn switch(part: &str, on: bool) -> bool {
    let is_known = parts::set(part, on);
    let_through();
    is_known
}

/// Prints this level and more urgent ones. Those below `Info` are details.
pub(crate) fn print(level: LevelFilter) {
    parts::set_printed(level);
    let_through();
}

/// Has `log` drop what nobody will see where it is said, for the price of a comparison.
fn let_through() {
    if IS_OURS.load(Ordering::Relaxed) {
        log::set_max_level(parts::least());
    }
}

/// A logger that lets through what is switched on, and notices.
struct Switched;

impl Log for Switched {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        parts::shows(of)
    }

    fn log(&self, record: &Record<'_>) {
        if let (true, Some(style), Some(errors)) = (parts::shows_record(record), STYLE.get(), ERRORS.get()) {
            style.write(record, |line| {
                errors.push(line);
            });
        }
    }

    fn flush(&self) {
        flush();
    }
}

/// Bytes of each core's lines that wait for their reader. A pipe holds 64 KiB more.
const QUEUED: usize = 256 << 10;
/// How long the end of a program waits for the reader of its last lines.
const AT_END: Duration = Duration::from_secs(1);
/// How long a panic does: whatever runs on its core waits too.
const AT_PANIC: Duration = Duration::from_millis(200);

/// Standard error, behind its queue: one for the process.
static ERRORS: OnceLock<Spool> = OnceLock::new();

/// How its lines look; the first application's of the process.
static STYLE: OnceLock<Style> = OnceLock::new();

/// Starts logging for `name`. A second application in the process keeps the first one's log; one
/// whose process has a logger already, that of `tracing` for one, keeps that.
///
/// # Errors
/// There is no thread to be had for the writer.
pub(crate) fn start(name: &str, options: &AppOptions) -> Result<(), PlatformError> {
    let format = options.log_format.unwrap_or_default();
    let style = STYLE.get_or_init(|| Style { started: Instant::now(), name: name.to_owned(), format });
    if ERRORS.get().is_none() {
        // Of two that start at once, one ends without having written anything.
        let _ = ERRORS.set(Spool::start("log", io::stderr(), QUEUED, |gap| notice(style, gap.core, gap.pieces))?);
    }
    let asked = std::env::var_os("RUST_LOG").filter(|text| !text.is_empty()).map(|text| match text.to_str() {
        Some(text) => parts::ask(text).map_err(|why| why.to_string()),
        None => Err("it is not UTF-8".into()),
    });
    for flag in &options.log_flags {
        switch(flag, true);
    }
    if let Some(level) = options.log_level {
        print(level.into());
    }
    if log::set_logger(&Switched).is_ok() {
        IS_OURS.store(true, Ordering::Relaxed);
        let_through();
        say_panics();
    } else if !IS_OURS.load(Ordering::Relaxed) {
        log::debug!("{name} logs through the logger that the process has");
        if !options.log_flags.is_empty() || options.log_level.is_some() || options.log_format.is_some() {
            log::warn!(
                "the process has a logger of its own, and that decides what is logged and how: -L, --log-level and --log-format do nothing"
            );
        }
    }
    if let Some(Err(why)) = asked.filter(|_| IS_OURS.load(Ordering::Relaxed)) {
        log::warn!("RUST_LOG is ignored: {why}; it has to be like info,my_crate=debug");
    }
    Ok(())
}

/// What stands in place of lines that were dropped.
fn notice(style: &Style, core: Option<CoreId>, lines: u64) -> String {
    let mut notice = String::new();
    let of = core.map_or_else(|| "threads that are no reactors".to_owned(), |core| format!("core {core}"));
    let message = format_args!("{lines} lines of the log, of {of}, were dropped here, as nobody read them");
    style.write_as(Level::Warn, message, |line| notice = String::from_utf8_lossy(line).into_owned());
    notice
}

/// Says a last line when no reactor runs any more, after what was logged before; if nobody reads it
/// that ends after a while.
pub(crate) fn say(line: &str) {
    match ERRORS.get() {
        Some(errors) => {
            match STYLE.get().filter(|style| style.format == LogFormat::Json) {
                Some(style) => style.write_as(Level::Error, format_args!("{line}"), |line| {
                    errors.push(line);
                }),
                None => {
                    errors.push(format!("{line}\n").as_bytes());
                }
            }
            flush();
        }
        // Nobody may be left to read it, which is no reason for a panic.
        None => drop(writeln!(io::stderr(), "{line}")),
    }
}

/// Waits for the reader of what has been logged, for a while.
pub(crate) fn flush() {
    if let Some(errors) = ERRORS.get() {
        // What is lost then has nowhere to be told.
        let _ = errors.flush_last(AT_END);
    }
}

/// Has a panic say itself as ever, after the lines before it. If standard error is stuck, its line
/// joins the queue: the hook would wait for the reader, and with it the panic that is to stop the
/// other reactors. (A backtrace longer than the room that is left does wait.)
fn say_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| match (ERRORS.get(), STYLE.get()) {
        // Among lines of JSON there is one of it, and no text.
        (Some(errors), Some(style)) if style.format == LogFormat::Json => {
            style.write_as(Level::Error, format_args!("{info}"), |line| {
                errors.push(line);
            });
            let _ = errors.flush(AT_PANIC);
        }
        (Some(errors), _) => {
            if errors.is_clear(AT_PANIC) {
                before(info);
            } else {
                errors.push(format!("{info}\n").as_bytes());
            }
        }
        (None, _) => before(info),
    }));
}

#[cfg(test)]
#[path = "logging/tests.rs"]
mod tests;
