//! What errors of completions say beyond what they do of any system call ([`net_sockets::whose`]): a
//! receive has a buffer chosen for it, and a send may be without a copy.

use net_sockets::Errno;

/// Whether a receive has failed because its group has no buffer ready: TCP has no other use for the error.
pub(crate) fn is_of_buffers(errno: Errno) -> bool {
    errno.0 == libc::ENOBUFS
}

/// Whether a send that failed without a copy may do with one: ENOMEM and ENOBUFS are the memory that
/// this user may lock (`ulimit -l`), the others a protocol or a device that cannot.
pub(crate) fn may_do_with_a_copy(errno: Errno) -> bool {
    matches!(errno.0, libc::ENOMEM | libc::ENOBUFS | libc::EOPNOTSUPP | libc::EINVAL)
}
