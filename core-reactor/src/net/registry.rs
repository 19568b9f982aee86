//! Which of the linked backends to use (statement 24).
//!
//! [`select`] looks at the link-time slice; [`select_from`] is the same over a slice of the
//! caller's.

use alloc::vec::Vec;

use super::{LCORE_NET_IMPLS, NetError, NetImpl};
use crate::plugin::{self, Plugin, PluginError};

pub use crate::plugin::Why;

/// The backend to use, and why it is that one. Its `Display` is for the log.
pub type Selected = plugin::Selected<dyn NetImpl>;

/// Why no backend could be selected.
pub type SelectError = plugin::SelectError<NetError>;

/// The linked backends: highest priority first, equal ones by name. Nothing is probed.
pub fn linked() -> Vec<&'static dyn NetImpl> {
    plugin::ranked(&LCORE_NET_IMPLS)
}

/// The linked backend called `name`, or without a name the first of [`linked`] that probes well.
/// Each that does not is skipped with a warning.
///
/// `features` are the cargo features that bring backends, each called like its backend. They come
/// from the caller, who knows; they only serve the texts of errors.
///
/// # Errors
/// As [`SelectError`] says.
pub fn select(name: Option<&str>, features: &'static [&'static str]) -> Result<Selected, SelectError> {
    select_from(&LCORE_NET_IMPLS, name, features)
}

/// [`select`] among `impls` in place of the linked ones.
///
/// # Errors
/// As [`SelectError`] says.
pub fn select_from(impls: &[&'static dyn NetImpl], name: Option<&str>, features: &'static [&'static str]) -> Result<Selected, SelectError> {
    plugin::select_from(impls, name, features)
}

impl Plugin for dyn NetImpl {
    type Error = NetError;

    fn name(&self) -> &'static str {
        NetImpl::name(self)
    }

    fn priority(&self) -> u8 {
        NetImpl::priority(self)
    }

    fn probe(&self) -> Result<(), NetError> {
        NetImpl::probe(self)
    }
}

impl PluginError for NetError {
    const KIND: &'static str = "network backend";
    const TRAIT: &'static str = "NetImpl";
}

#[cfg(test)]
mod tests;
