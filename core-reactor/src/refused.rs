//! What is given back.

use alloc::boxed::Box;
use core::error::Error;
use core::fmt;

use crate::PushError;
use crate::net::NetError;
use crate::transport::TransportError;

/// What was handed over and could not be taken, with the reason.
///
/// `?` keeps the reason and drops the thing, in a function whose error is that reason or
/// `Box<dyn Error>`.
pub struct Refused<T, E> {
    /// The thing, unharmed.
    pub item: T,
    /// Why it was refused.
    pub why: E,
}

impl<T, E: fmt::Debug> fmt::Debug for Refused<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<T> From<Refused<T, NetError>> for NetError {
    fn from(refused: Refused<T, Self>) -> Self {
        refused.why
    }
}

impl<T> From<Refused<T, TransportError>> for TransportError {
    fn from(refused: Refused<T, Self>) -> Self {
        refused.why
    }
}

impl<T> From<Refused<T, PushError>> for PushError {
    fn from(refused: Refused<T, Self>) -> Self {
        refused.why
    }
}

impl<T, E: Error + Send + Sync + 'static> From<Refused<T, E>> for Box<dyn Error + Send + Sync> {
    fn from(refused: Refused<T, E>) -> Self {
        refused.why.into()
    }
}

impl<T, E: Error + 'static> From<Refused<T, E>> for Box<dyn Error> {
    fn from(refused: Refused<T, E>) -> Self {
        refused.why.into()
    }
}
