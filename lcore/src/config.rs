//! The file behind `-c`: the same options as JSON.

use std::path::Path;
use std::str::FromStr;

use core_reactor::CpuSet;
use serde::{Deserialize, Deserializer, de};

use crate::{AppOptions, Balance, OptionsError, logging};

/// The file's content. A key that is none of these is an error that names it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default, deserialize_with = "cores")]
    cpumask: Option<CpuSet>,
    #[serde(default, deserialize_with = "flags")]
    logflags: Vec<String>,
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
        options.cores = options.cores.or(self.cpumask);
        if options.log_flags.is_empty() {
            options.log_flags = self.logflags;
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

/// Checked while it is read, so that an error comes with its line.
fn cores<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CpuSet>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| CpuSet::from_str(&text).map_err(de::Error::custom)).transpose()
}

/// As [`cores`].
fn flags<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let flags = Vec::deserialize(from)?;
    logging::check(&flags).map_err(de::Error::custom)?;
    Ok(flags)
}
