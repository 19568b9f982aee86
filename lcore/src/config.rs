//! The file behind `-c`: the same options as JSON.

use std::fmt;
use std::path::Path;

use core_reactor::{CpuSet, CpuSetError};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{AppOptions, Balance, OptionsError, logging};

/// The file's content. A key that is none of these is an error that names it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    cpumask: Option<Cores>,
    #[serde(default)]
    logflags: Vec<LogFlag>,
    sock_impl: Option<String>,
    busy_poll: Option<bool>,
    idle_spin: Option<u64>,
    cpumask_locks: Option<bool>,
    balance: Option<Balance>,
    small_pool_count: Option<usize>,
    small_bufsize: Option<usize>,
    large_pool_count: Option<usize>,
    large_bufsize: Option<usize>,
}

/// Reads the file.
pub(crate) fn read(path: &Path) -> Result<Config, OptionsError> {
    let text = std::fs::read_to_string(path).map_err(|why| OptionsError::ConfigUnreadable { path: path.into(), why })?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let wrong = |key: String, why| OptionsError::ConfigWrong { path: path.into(), key, why };
    let config = serde_path_to_error::deserialize(&mut json).map_err(|why| {
        let key = why.path().to_string();
        wrong(if key == "." { "top level".into() } else { key }, why.into_inner())
    })?;
    json.end().map_err(|why| wrong("after the last brace".into(), why))?;
    Ok(config)
}

impl Config {
    /// Fills in what the command line left open.
    pub(crate) fn fill(self, options: &mut AppOptions) {
        options.cores = options.cores.or(self.cpumask.map(|cores| cores.0));
        if options.log_flags.is_empty() {
            options.log_flags = self.logflags.into_iter().map(|flag| flag.0).collect();
        }
        options.net = options.net.take().or(self.sock_impl);
        // Who asks for a spin on the command line wants no endless one.
        options.busy_poll |= options.idle_spin.is_none() && self.busy_poll.unwrap_or(false);
        options.idle_spin = options.idle_spin.or(self.idle_spin);
        options.balance = options.balance.or(self.balance);
        let pool = &mut options.pool;
        pool.small_pool_count = pool.small_pool_count.or(self.small_pool_count);
        pool.small_bufsize = pool.small_bufsize.or(self.small_bufsize);
        pool.large_pool_count = pool.large_pool_count.or(self.large_pool_count);
        pool.large_bufsize = pool.large_bufsize.or(self.large_bufsize);
        options.no_cpumask_locks |= !self.cpumask_locks.unwrap_or(true);
    }
}

/// A text that is checked where it is read, so that an error comes with its line.
struct Checked<T> {
    what: &'static str,
    check: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Checked<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.check)(text).map_err(E::custom)
    }
}

struct Cores(CpuSet);

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let check = |text: &str| text.parse().map(Self).map_err(|why: CpuSetError| why.to_string());
        from.deserialize_str(Checked { what: "a set of cores, as a string", check })
    }
}

struct LogFlag(String);

impl<'de> Deserialize<'de> for LogFlag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let check = |text: &str| logging::check(&[text.to_owned()]).map(|()| Self(text.into())).map_err(|why| why.to_string());
        from.deserialize_str(Checked { what: "a log flag, as a string", check })
    }
}
