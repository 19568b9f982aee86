//! What goes to standard error: notices of every part, and the details of those that `-L` names.
//!
//! Nobody waits for whoever reads it: lines are queued, and a thread of its own writes them. Where
//! they come faster than they are read and the queue is full, lines are dropped, and a line in
//! their place says how many.

use std::io::{self, Write};
use std::panic;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use core_reactor::PlatformError;
use log::LevelFilter;
use platform_linux::Spool;

use crate::OptionsError;

/// The parts that `-L` knows, and the crate whose details each stands for. [`APP`] is beside them.
const FLAGS: &[(&str, &str)] = &[
    ("platform", "platform_linux"),
    ("pool", "pool"),
    ("posix", "net_impl_posix"),
    ("rdma", "transport_rdma"),
    ("reactor", "core_reactor"),
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

/// A logger that lets through what `flags` name, and notices.
fn filtered(flags: &[String]) -> env_logger::Builder {
    let level = |flag: &str| if flags.iter().any(|f| f == flag || f == "all") { LevelFilter::Debug } else { LevelFilter::Info };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level(APP));
    for (flag, target) in FLAGS {
        builder.filter_module(target, level(flag));
    }
    builder
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
    let mut builder = filtered(flags);
    builder.format(move |out, record| {
        let level = record.level().as_str().to_lowercase();
        writeln!(out, "{}{}", head(started, &shown, &level), record.args())
    });
    builder.target(env_logger::Target::Pipe(Box::new(Lines)));
    if builder.try_init().is_err() {
        log::debug!("{name} logs through the logger that the process has");
        return Ok(());
    }
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
    use log::{Level, Log, Metadata};

    use super::*;

    /// Which of these parts' details `flags` let through.
    fn details(flags: &[&str]) -> Vec<&'static str> {
        let crates = ["lcore", "hello_sock", "core_reactor", "net_impl_uring", "net_impl_smoltcp", "smoltcp", "transport_rdma", "pool"];
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        check(&flags).unwrap();
        let logger = filtered(&flags).build();
        let shows = |level, of: &str| logger.enabled(&Metadata::builder().level(level).target(&format!("{of}::a")).build());
        assert!(crates.iter().all(|of| shows(Level::Info, of)), "notices come from everywhere");
        crates.into_iter().filter(|of| shows(Level::Debug, of)).collect()
    }

    #[test]
    fn each_part_has_its_details_and_the_application_is_one() {
        assert_eq!(details(&[]), [""; 0]);
        assert_eq!(details(&["uring", "rdma"]), ["net_impl_uring", "transport_rdma"]);
        assert_eq!(details(&["smoltcp"]), ["net_impl_smoltcp"]);
        assert_eq!(details(&["app"]), ["lcore", "hello_sock", "smoltcp"]);
        assert_eq!(details(&["app", "pool", "reactor"]), ["lcore", "hello_sock", "core_reactor", "smoltcp", "pool"]);
        assert_eq!(details(&["all"]).len(), 8);
    }
}
