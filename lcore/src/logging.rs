//! What goes to standard error: notices of every part, and the details of those that `-L` names.

use std::io::Write;
use std::time::Instant;

use log::LevelFilter;

use crate::OptionsError;

/// The parts that `-L` knows, and the crate whose details each stands for.
const FLAGS: &[(&str, &str)] = &[
    ("app", "lcore"),
    ("platform", "platform_linux"),
    ("pool", "pool"),
    ("posix", "net_impl_posix"),
    ("reactor", "core_reactor"),
    ("uring", "net_impl_uring"),
];

/// Checks flags without switching anything on.
pub(crate) fn check(flags: &[String]) -> Result<(), OptionsError> {
    match flags.iter().find(|flag| *flag != "all" && !FLAGS.iter().any(|(name, _)| name == flag)) {
        Some(unknown) => Err(OptionsError::LogFlag { flag: unknown.clone(), known: known() }),
        None => Ok(()),
    }
}

/// The flags, for a help text.
pub(crate) fn known() -> String {
    FLAGS.iter().map(|(name, _)| *name).chain(["all"]).collect::<Vec<_>>().join(", ")
}

/// Starts logging for `name`. A second application in the process, or one with a logger of its own, keeps what is there.
pub(crate) fn start(name: &str, flags: &[String]) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(if flags.iter().any(|f| f == "all") { LevelFilter::Debug } else { LevelFilter::Info });
    for (flag, target) in FLAGS {
        if flags.iter().any(|f| f == flag) {
            builder.filter_module(target, LevelFilter::Debug);
        }
    }
    let (shown, started) = (name.to_owned(), Instant::now());
    builder.format(move |out, record| {
        let at = started.elapsed();
        let level = record.level().as_str().to_lowercase();
        writeln!(out, "[{:>5}.{:06}] {shown}: {level}: {}", at.as_secs(), at.subsec_micros(), record.args())
    });
    if builder.try_init().is_err() {
        log::debug!("{name} logs through the logger that the process has");
    }
}
