//! SIGINT, SIGTERM and SIGHUP end the machine first and then us.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

struct State {
    /// No machine runs, so a signal does what it does to any program.
    idle: Arc<AtomicBool>,
    seen: Arc<AtomicBool>,
}

static STATE: OnceLock<State> = OnceLock::new();

/// While it lives signals are noted and do not end the process.
pub(super) struct Caught(());

impl Caught {
    pub(super) fn catch() -> Result<Self> {
        if STATE.get().is_none() {
            let state = State { idle: Arc::new(AtomicBool::new(true)), seen: Arc::new(AtomicBool::new(false)) };
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                flag::register_conditional_default(signal, Arc::clone(&state.idle)).context("could not wait for signals")?;
                flag::register(signal, Arc::clone(&state.seen)).context("could not wait for signals")?;
            }
            // Machines are started by one thread, so nobody was quicker.
            let _ = STATE.set(state);
        }
        set_idle(false);
        Ok(Self(()))
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        set_idle(true);
    }
}

/// Whether a signal has come.
pub(super) fn seen() -> bool {
    STATE.get().is_some_and(|state| state.seen.load(Ordering::Relaxed))
}

fn set_idle(idle: bool) {
    if let Some(state) = STATE.get() {
        state.idle.store(idle, Ordering::Relaxed);
    }
}
