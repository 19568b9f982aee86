//! Which of the linked transports to use (statement 24, for transports).
//!
//! [`select`] looks at the link-time slice; [`select_from`] is the same over a slice of the
//! caller's.

use alloc::vec::Vec;

use super::{LCORE_TRANSPORTS, Transport, TransportError};
use crate::plugin::{self, Plugin, PluginError};

pub use crate::plugin::Why;

/// The transport to use, and why it is that one. Its `Display` is for the log.
pub type Selected = plugin::Selected<dyn Transport>;

/// Why no transport could be selected.
pub type SelectError = plugin::SelectError<TransportError>;

/// The linked transports: highest priority first, equal ones by name. Nothing is probed.
pub fn linked() -> Vec<&'static dyn Transport> {
    plugin::ranked(&LCORE_TRANSPORTS)
}

/// The linked transport called `name`, or without a name the first of [`linked`] that probes well.
/// Each that does not is skipped with a warning.
///
/// `features` are the cargo features that bring transports, each called like its transport. They
/// come from the caller, who knows; they only serve the texts of errors.
///
/// # Errors
/// As [`SelectError`] says.
pub fn select(name: Option<&str>, features: &'static [&'static str]) -> Result<Selected, SelectError> {
    select_from(&LCORE_TRANSPORTS, name, features)
}

/// [`select`] among `transports` in place of the linked ones.
///
/// # Errors
/// As [`SelectError`] says.
pub fn select_from(
    transports: &[&'static dyn Transport],
    name: Option<&str>,
    features: &'static [&'static str],
) -> Result<Selected, SelectError> {
    plugin::select_from(transports, name, features)
}

impl Plugin for dyn Transport {
    type Error = TransportError;

    fn name(&self) -> &'static str {
        Transport::name(self)
    }

    fn priority(&self) -> u8 {
        Transport::priority(self)
    }

    fn probe(&self) -> Result<(), TransportError> {
        Transport::probe(self)
    }
}

impl PluginError for TransportError {
    const KIND: &'static str = "transport";
    const TRAIT: &'static str = "Transport";
}
