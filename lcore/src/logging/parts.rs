//! The parts that `-L` knows, as they have registered themselves, and which lines are shown.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};

use env_filter::Filter;
use log::{Level, LevelFilter, Metadata, Record};

/// The application, this crate, and whatever else is none of the parts.
const APP: &str = "app";

struct Switch {
    name: &'static str,
    /// Whose details they are; nobody else's for [`APP`].
    target: &'static str,
    on: AtomicBool,
}

/// By name. Two parts may share one.
static SWITCHES: LazyLock<Box<[Switch]>> = LazyLock::new(|| {
    let parts = ::logging::LCORE_LOG_PARTS.iter().map(|part| (part.name, part.target));
    let mut parts: Vec<_> = parts.chain([(APP, "")]).collect();
    parts.sort_unstable();
    parts.into_iter().map(|(name, target)| Switch { name, target, on: AtomicBool::new(false) }).collect()
});
/// The least urgent level that is printed, as a number: details by default, of the parts that are
/// switched on.
static PRINTED: AtomicUsize = AtomicUsize::new(Level::Debug as usize);
/// What `RUST_LOG` asks for, in place of notices from everywhere.
static ASKED: OnceLock<Filter> = OnceLock::new();

/// Whether a flag can be switched.
pub(super) fn is_known(flag: &str) -> bool {
    flag == "all" || SWITCHES.iter().any(|switch| switch.name == flag)
}

/// The flags, for a help text.
pub(crate) fn known() -> String {
    let mut names: Vec<_> = switches().into_iter().map(|(name, _)| name).collect();
    names.push("all");
    names.join(", ")
}

/// The parts by name, in order, and whether their details are logged.
pub(crate) fn switches() -> Vec<(&'static str, bool)> {
    let mut switches: Vec<_> = SWITCHES.iter().map(|switch| (switch.name, switch.on.load(Ordering::Relaxed))).collect();
    switches.dedup_by_key(|(name, _)| *name);
    switches
}

/// Switches the details of a part on or off, or of all; false if there is no part of that name.
pub(super) fn set(part: &str, on: bool) -> bool {
    let meant = SWITCHES.iter().filter(|switch| part == "all" || part == switch.name);
    meant.map(|switch| switch.on.store(on, Ordering::Relaxed)).count() > 0
}

/// The least urgent level that is printed.
pub(crate) fn printed() -> LevelFilter {
    LevelFilter::iter().nth(PRINTED.load(Ordering::Relaxed)).unwrap_or(LevelFilter::Off)
}

pub(super) fn set_printed(level: LevelFilter) {
    PRINTED.store(level as usize, Ordering::Relaxed);
}

/// Has this text, as in `RUST_LOG`, say what is shown besides the details of parts. Of several the
/// first one counts.
///
/// # Errors
/// It is none, and changes nothing.
pub(super) fn ask(text: &str) -> Result<(), env_filter::ParseError> {
    let filter = env_filter::Builder::new().try_parse(text)?.build();
    if ASKED.set(filter).is_ok() {
        // Whoever asks for `trace` there means it.
        set_printed(LevelFilter::Trace);
    }
    Ok(())
}

/// The least urgent level of which something may be shown.
pub(super) fn least() -> LevelFilter {
    let any = SWITCHES.iter().any(|switch| switch.on.load(Ordering::Relaxed));
    let asked = ASKED.get().map_or(LevelFilter::Info, Filter::filter);
    printed().min(if any { LevelFilter::Trace } else { asked })
}

/// The part that a target belongs to: the one that names most of its path.
fn part(target: &str) -> &'static Switch {
    let belongs = |switch: &&Switch| target.strip_prefix(switch.target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let of = SWITCHES.iter().filter(belongs).max_by_key(|switch| switch.target.len());
    // The application's is always there.
    of.or_else(|| SWITCHES.iter().find(|switch| switch.target.is_empty())).unwrap_or(&SWITCHES[0])
}

/// The name of the part that a target belongs to.
pub(super) fn name_of(target: &str) -> &'static str {
    part(target).name
}

/// Whether something of that level from there may be shown.
pub(super) fn shows(of: &Metadata<'_>) -> bool {
    of.level() <= printed() && (ASKED.get().map_or(of.level() <= Level::Info, |asked| asked.enabled(of)) || is_on(of))
}

/// Whether this is shown, text and all: `RUST_LOG` can ask for one that holds a word.
pub(super) fn shows_record(record: &Record<'_>) -> bool {
    shows(record.metadata()) && (ASKED.get().is_none_or(|asked| asked.matches(record)) || is_on(record.metadata()))
}

fn is_on(of: &Metadata<'_>) -> bool {
    part(of.target()).on.load(Ordering::Relaxed)
}
