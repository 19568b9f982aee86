//! What the ring says, in the words of sockets.

use core_reactor::net::NetError;
use core_uring::RingError;
use net_sockets::{Errno, error};

pub(crate) fn net_error(why: RingError) -> NetError {
    match why {
        RingError::Os { doing, code } => error::plain(doing, Errno(code)),
        RingError::LockedMemory { doing, needs, limit } => NetError::LockedMemory { doing, needs, limit },
        RingError::Members => NetError::Option { option: "GroupConfig", why: why.to_string().into() },
    }
}
