//! The options of sockets in memory.

use alloc::format;

use core_reactor::net::{NetError, SockOptions};

/// Bytes that either side of a connection holds where nothing else is asked for.
const BUF: usize = 256 << 10;
/// Most bytes that can be asked for.
const MOST: usize = 16 << 20;

/// The options as they will be. Nothing is lost or late in memory unless it is asked to be, so most
/// are kept by doing nothing.
pub(crate) fn complete(asked: &SockOptions) -> Result<SockOptions, NetError> {
    let recv_buf = asked.recv_buf.unwrap_or(BUF);
    asked.check(MOST, MOST, recv_buf / 2)?;
    if let Some(count) = asked.backlog.filter(|count| *count == 0 || *count > u16::MAX.into()) {
        return Err(NetError::Option { option: "backlog", why: format!("{count} is not between 1 and {}", u16::MAX).into() });
    }
    Ok(asked
        .clone()
        .recv_buf(recv_buf)
        .send_buf(asked.send_buf.unwrap_or(BUF))
        .low_water(asked.low_water.unwrap_or(1).max(1))
        .priority(asked.priority.unwrap_or(0))
        .backlog(asked.backlog.unwrap_or(1024)))
}
