//! What stacks of their own, without a kernel, check of [`SockOptions`] (statement 23).

use alloc::boxed::Box;
use alloc::format;

use core_reactor::net::{NetError, SockOptions};

/// That an option cannot be had, and why.
///
/// # Errors
/// Always.
pub fn refuse<T>(option: &'static str, why: impl Into<Box<str>>) -> Result<T, NetError> {
    Err(NetError::Option { option, why: why.into() })
}

/// Checks those that mean the same in every stack: buffers of up to so many bytes, a low-water mark
/// of up to `low_water`, a time limit that is not rounded to none. Refuses what only a kernel has.
///
/// # Errors
/// The first that cannot be had.
pub fn check(asked: &SockOptions, recv_buf: usize, send_buf: usize, low_water: usize) -> Result<(), NetError> {
    let sizes = [
        ("recv_buf", asked.recv_buf, 1..=recv_buf),
        ("send_buf", asked.send_buf, 1..=send_buf),
        // 0 is 1, as it is to a kernel.
        ("low_water", asked.low_water, 0..=low_water),
    ];
    for (option, bytes, granted) in sizes {
        if let Some(bytes) = bytes.filter(|bytes| !granted.contains(bytes)) {
            let (least, most) = granted.into_inner();
            return refuse(option, format!("{bytes} bytes are not between {least} and {most}, the most that sockets of this stack have"));
        }
    }
    if let Some(time) = asked.user_timeout.filter(|time| time.as_millis() == 0) {
        return refuse("user_timeout", format!("{} ns is less than a millisecond", time.as_nanos()));
    }
    let of_kernels = [("zero_copy", asked.zero_copy.is_some()), ("busy_poll", asked.busy_poll.is_some()), ("reuse_port", asked.reuse_port)];
    match of_kernels.into_iter().find(|(_, asked)| *asked) {
        Some((option, _)) => refuse(option, "only sockets of a kernel have it"),
        None => Ok(()),
    }
}
