//! The file behind `-c`: the same options as JSON.

use std::path::Path;

use serde::Deserialize;

use crate::{AppOptions, Balance, OptionsError};

/// The file's content. A key that is none of these is an error that names it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    cpumask: Option<String>,
    #[serde(default)]
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
    let config = serde_path_to_error::deserialize(&mut json).map_err(|why| wrong(why.path().to_string(), why.into_inner()))?;
    json.end().map_err(|why| wrong("after the last brace".into(), why))?;
    Ok(config)
}

impl Config {
    /// Fills in what the command line left open.
    pub(crate) fn fill(self, path: &Path, options: &mut AppOptions) -> Result<(), OptionsError> {
        if let (None, Some(mask)) = (options.cores, self.cpumask) {
            options.cores = Some(mask.parse().map_err(|why| OptionsError::ConfigMask { path: path.into(), why })?);
        }
        if options.log_flags.is_empty() {
            options.log_flags = self.logflags;
        }
        options.net = options.net.take().or(self.sock_impl);
        options.busy_poll |= self.busy_poll.unwrap_or(false);
        options.idle_spin = options.idle_spin.or(self.idle_spin);
        options.balance = options.balance.or(self.balance);
        let pool = &mut options.pool;
        pool.small_pool_count = pool.small_pool_count.or(self.small_pool_count);
        pool.small_bufsize = pool.small_bufsize.or(self.small_bufsize);
        pool.large_pool_count = pool.large_pool_count.or(self.large_pool_count);
        pool.large_bufsize = pool.large_bufsize.or(self.large_bufsize);
        options.no_cpumask_locks |= !self.cpumask_locks.unwrap_or(true);
        Ok(())
    }
}
