//! What goes to standard error: notices of every part, and the details of those that `-L` names.
//!
//! Nobody waits for whoever reads it: lines are queued, and a thread of its own writes them. Where
//! they come faster than they are read and the queue is full, lines are dropped, and a line in
//! their place says how many.

use std::io::{self, Write};
use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use core_reactor::PlatformError;
use log::{Level, LevelFilter, Log, Metadata, Record};
use platform_linux::Spool;

use crate::OptionsError;

/// The parts that `-L` knows, and the crate whose details each stands for. [`APP`] is beside them.
const FLAGS: &[(&str, &str)] = &[
    ("platform", "platform_linux"),
    ("pool", "pool"),
    ("posix", "net_impl_posix"),
    ("rdma", "transport_rdma"),
    ("reactor", "core_reactor"),
    #[cfg(feature = "rpc")]
    ("rpc", "rpc"),
    ("smoltcp", "net_impl_smoltcp"),
    ("uring", "net_impl_uring"),
];
/// The application, this crate, and whatever else is none of the parts.
const APP: &str = "app";

/// Checks flags without switching anything on.
pub(crate) fn check(flags: &[String]) -> Result<(), OptionsError> {
    let is_known = |flag: &str| flag == "all" || flag == APP || FLAGS.iter().any(|(name, _)| *name == flag);
    match flags.iter().find(|flag| !is_known(flag)) {
        Some(unknown) => Err(OptionsError::LogFlag { flag: unknown.clone(), known: known() }),
        None => Ok(()),
    }
}

/// The flags, for a help text.
pub(crate) fn known() -> String {
    [APP].into_iter().chain(FLAGS.iter().map(|(name, _)| *name)).chain(["all"]).collect::<Vec<_>>().join(", ")
}

/// Which parts' details are logged now, [`APP`]'s last.
static SWITCHES: [AtomicBool; FLAGS.len() + 1] = [const { AtomicBool::new(false) }; FLAGS.len() + 1];
/// The least urgent level that is printed, as a number: details by default, of the parts that are
/// switched on.
static PRINTED: AtomicUsize = AtomicUsize::new(Level::Debug as usize);
/// Whether the process logs through what is here, and not through a logger of its own.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// The parts by name, in order, and whether their details are logged.
#[cfg(feature = "rpc")]
pub(crate) fn switches() -> Vec<(&'static str, bool)> {
    let names = FLAGS.iter().map(|(name, _)| *name).chain([APP]);
    let mut switches: Vec<_> = names.zip(&SWITCHES).map(|(name, switch)| (name, switch.load(Ordering::Relaxed))).collect();
    switches.sort_unstable();
    switches
}

/// Switches the details of a part on or off, or of all; false if there is no part of that name.
pub(crate) fn switch(part: &str, on: bool) -> bool {
    let names = FLAGS.iter().map(|(name, _)| *name).chain([APP]);
    let meant = names.zip(&SWITCHES).filter(|(name, _)| part == "all" || part == *name);
    let switched = meant.map(|(_, switch)| switch.store(on, Ordering::Relaxed)).count();
    let_through();
    switched > 0
}

/// The least urgent level that is printed.
pub(crate) fn printed() -> LevelFilter {
    LevelFilter::iter().nth(PRINTED.load(Ordering::Relaxed)).unwrap_or(LevelFilter::Off)
}

/// Prints this level and more urgent ones. Those below `Info` are details.
#[cfg(feature = "rpc")]
pub(crate) fn print(level: LevelFilter) {
    PRINTED.store(level as usize, Ordering::Relaxed);
    let_through();
}

/// Has `log` drop what nobody will see where it is said, for the price of a comparison.
fn let_through() {
    let any = SWITCHES.iter().any(|switch| switch.load(Ordering::Relaxed));
    if IS_OURS.load(Ordering::Relaxed) {
        log::set_max_level(printed().min(if any { LevelFilter::Trace } else { LevelFilter::Info }));
    }
}

/// Whether something of that level from there is printed.
fn shows(level: Level, target: &str) -> bool {
    let of = target.split("::").next().unwrap_or_default();
    let part = FLAGS.iter().position(|(_, name)| *name == of).unwrap_or(FLAGS.len());
    level <= printed() && (level <= Level::Info || SWITCHES[part].load(Ordering::Relaxed))
}

/// A logger that lets through what is switched on, and notices.
struct Switched(env_logger::Logger);

impl Log for Switched {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        shows(of.level(), of.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Bytes of lines that wait for their reader. A pipe holds 64 KiB more.
const QUEUED: usize = 256 << 10;
/// How long the end of a program waits for the reader of its last lines.
const AT_END: Duration = Duration::from_secs(1);
/// How long a panic does: whatever runs on its core waits too.
const AT_PANIC: Duration = Duration::from_millis(200);

/// Standard error, behind its queue: one for the process.
static ERRORS: OnceLock<Spool> = OnceLock::new();

/// Starts logging for `name`. A second application in the process, or one with a logger of its own,
/// keeps what is there.
///
/// # Errors
/// There is no thread to be had for the writer.
pub(crate) fn start(name: &str, flags: &[String]) -> Result<(), PlatformError> {
    let started = Instant::now();
    if ERRORS.get().is_none() {
        let shown = name.to_owned();
        let notice =
            move |lost| format!("{}{lost} lines of the log were dropped here, as nobody read them\n", head(started, &shown, "warn"));
        // Of two that start at once, one ends without having written anything.
        let _ = ERRORS.set(Spool::start("log", io::stderr(), QUEUED, notice)?);
    }
    let shown = name.to_owned();
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Trace);
    builder.format(move |out, record| {
        let level = record.level().as_str().to_lowercase();
        writeln!(out, "{}{}", head(started, &shown, &level), record.args())
    });
    builder.target(env_logger::Target::Pipe(Box::new(Lines)));
    for flag in flags {
        switch(flag, true);
    }
    if log::set_boxed_logger(Box::new(Switched(builder.build()))).is_err() {
        let_through();
        log::debug!("{name} logs through the logger that the process has");
        return Ok(());
    }
    IS_OURS.store(true, Ordering::Relaxed);
    let_through();
    say_panics();
    Ok(())
}

/// What a line starts with.
fn head(started: Instant, name: &str, level: &str) -> String {
    let at = started.elapsed();
    format!("[{:>5}.{:06}] {name}: {level}: ", at.as_secs(), at.subsec_micros())
}

/// Says a last line when no reactor runs any more, after what was logged before; if nobody reads it
/// that ends after a while.
pub(crate) fn say(line: &str) {
    match ERRORS.get() {
        Some(errors) => {
            errors.push(format!("{line}\n").as_bytes());
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

/// The queue as what a logger writes to: one call for each line.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(errors) = ERRORS.get() {
            errors.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has a panic say itself as ever, after the lines before it. If standard error is stuck, its line
/// joins the queue: the hook would wait for the reader, and with it the panic that is to stop the
/// other reactors. (A backtrace longer than the room that is left does wait.)
fn say_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| match ERRORS.get() {
        Some(errors) => {
            let _ = errors.flush(AT_PANIC);
            if errors.is_clear() {
                before(info);
            } else {
                errors.push(format!("{info}\n").as_bytes());
            }
        }
        None => before(info),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these parts' details are let through.
    fn details() -> Vec<&'static str> {
        let crates = ["lcore", "hello_sock", "core_reactor", "net_impl_uring", "net_impl_smoltcp", "smoltcp", "transport_rdma", "pool"];
        let shows = |level, of: &str| shows(level, &format!("{of}::a"));
        assert!(crates.iter().all(|of| shows(Level::Info, of)), "notices come from everywhere");
        crates.into_iter().filter(|of| shows(Level::Debug, of)).collect()
    }

    /// One test: the switches are the process'.
    #[test]
    fn each_part_has_its_details_and_the_application_is_one() {
        let with = |flags: &[&str]| {
            assert!(flags.iter().all(|flag| switch(flag, true)));
            let shown = details();
            assert!(switch("all", false));
            shown
        };
        assert_eq!(with(&[]), [""; 0]);
        assert_eq!(with(&["uring", "rdma"]), ["net_impl_uring", "transport_rdma"]);
        assert_eq!(with(&["smoltcp"]), ["net_impl_smoltcp"]);
        assert_eq!(with(&["app"]), ["lcore", "hello_sock", "smoltcp"]);
        assert_eq!(with(&["app", "pool", "reactor"]), ["lcore", "hello_sock", "core_reactor", "smoltcp", "pool"]);
        assert_eq!(with(&["all"]).len(), 8);
        assert!(!switch("nobodys", true));
        #[cfg(feature = "rpc")]
        levels();
    }

    #[cfg(feature = "rpc")]
    fn levels() {
        assert!(switch("pool", true));
        assert_eq!(switches().into_iter().filter(|(_, on)| *on).collect::<Vec<_>>(), [("pool", true)]);
        assert!(switches().is_sorted() && switches().len() == FLAGS.len() + 1);
        let seen = |level| {
            print(level);
            [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(|level| shows(level, "pool"))
        };
        assert_eq!(seen(LevelFilter::Error), [true, false, false, false, false]);
        assert_eq!(seen(LevelFilter::Info), [true, true, true, false, false]);
        assert_eq!(seen(LevelFilter::Trace), [true; 5]);
        assert_eq!(seen(LevelFilter::Debug), [true, true, true, true, false]);
        assert!(switch("all", false));
    }
}
