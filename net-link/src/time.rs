//! Our times and smoltcp's.

use core_reactor::Instant;
use smoltcp::time::Instant as SmolInstant;

pub(crate) fn to_smol(at: Instant) -> SmolInstant {
    SmolInstant::from_micros((at.as_nanos() / 1000) as i64)
}

/// Rounded up, so that a core that sleeps until then does not find that it is too early.
pub(crate) fn from_smol(at: SmolInstant) -> Instant {
    Instant::from_nanos((at.total_micros().max(0) as u64).saturating_mul(1000))
}
