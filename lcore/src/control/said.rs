//! What was said over RPC before the application started, in place of its options.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use core_reactor::net::{self, Selected};
use pool::DataPoolConfig;

use super::sockets::ImplOptions;
use crate::{AppHandle, NET_FEATURES, PoolOptions, linked};

/// In place of options.
pub(crate) struct Said {
    /// Whether the program brings a backend, whatever is linked.
    net_is_given: bool,
    net: OnceLock<Selected>,
    /// What sockets of backends are to be like, by names.
    options: Mutex<BTreeMap<&'static str, ImplOptions>>,
    /// The backend with that, from the start on.
    tuned: OnceLock<Selected>,
    pool: Mutex<PoolOptions>,
}

impl Said {
    pub(crate) fn new(net_is_given: bool) -> Self {
        Self { net_is_given, net: OnceLock::new(), options: Mutex::default(), tuned: OnceLock::new(), pool: Mutex::default() }
    }

    /// The backend.
    pub(crate) fn net(&self) -> Option<&Selected> {
        self.tuned.get().or_else(|| self.net.get())
    }

    /// What sockets of a backend are to be like.
    pub(super) fn options(&self, backend: &str) -> ImplOptions {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).get(backend).cloned().unwrap_or_default()
    }

    pub(super) fn set_options(&self, backend: &'static str, options: ImplOptions) {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).insert(backend, options);
    }

    /// The start-up phase of `app`, whose it is, is over: what was said of its sockets counts.
    pub(super) fn settle(&self, app: &AppHandle) {
        if !app.has_net() {
            return;
        }
        let Selected { backend, why, skipped } = app.selected();
        let options = self.options(backend.name());
        if options != ImplOptions::default() {
            // It ends but once.
            let _ = self.tuned.set(Selected { backend: options.tune(*backend), why: *why, skipped: skipped.clone() });
        }
    }

    /// The sizes of the pool, those that were said over `config`.
    pub(crate) fn pool(&self, config: DataPoolConfig) -> DataPoolConfig {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).over(config)
    }

    /// Has a pool that is made from now on be of these sizes, where they are given.
    pub(super) fn set_pool(&self, options: PoolOptions) {
        *self.pool.lock().unwrap_or_else(PoisonError::into_inner) = options;
    }

    /// Has `app`, whose it is, use another of the linked backends: once, since whoever has asked
    /// for the first may keep it.
    pub(super) fn set_net(&self, app: &AppHandle, name: &str) -> Result<(), String> {
        if app.net().name() == name {
            return Ok(());
        }
        if self.net_is_given {
            return Err(format!("the program brings its own backend, {}", app.net().name()));
        }
        let selected = net::select_from(&linked::net(), Some(name), NET_FEATURES).map_err(|why| why.to_string())?;
        self.net.set(selected).map_err(|_| format!("{} was chosen already", app.net().name()))
    }
}
