//! Whose an error of a system call is: the call's, the machine's, or what it was asked of.
//!
//! An error of a call that is taken for one of its connection leaves a peer waiting for an end that
//! nobody brings; one of a connection that is taken for the call's is asked for again for ever. So
//! this is the one place where they are told apart, for all backends over the kernel's sockets.
//!
//! | error | of | is whose | because |
//! |---|---|---|---|
//! | ECANCELED, EINTR | any | the call's | it was given up or interrupted, and another can be made |
//! | EAGAIN | any | the call's | it was not to wait, or the kernel could not (io_uring_enter(2)) |
//! | ENOMEM, ENOBUFS | any | the machine's | what it is short of may be there later |
//! | EMFILE, ENFILE | an accept | the machine's | the same |
//! | those of accept(2) | an accept | the call's | of a connection that had not been accepted yet |
//! | any other | any | the socket's | TCP tells an error of its own in no other way |
//!
//! A connect that the machine is too short for has failed, as any other that did not begin.

use crate::Errno;

/// Whose an error is.
///
/// ```
/// use net_sockets::{Errno, Whose, whose::of_connection};
///
/// assert_eq!(of_connection(Errno(libc::EINTR)), Whose::Call);
/// assert_eq!(of_connection(Errno(libc::ECONNRESET)), Whose::Socket);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Nothing is wrong: another call may follow.
    Call,
    /// Something is used up for now.
    Machine,
    /// The connection has ended, or the listener can do no more.
    Socket,
}

/// Whose the error of a call on a connection is.
pub fn of_connection(errno: Errno) -> Whose {
    match errno.0 {
        libc::ECANCELED | libc::EINTR | libc::EAGAIN => Whose::Call,
        libc::ENOMEM | libc::ENOBUFS => Whose::Machine,
        _ => Whose::Socket,
    }
}

/// Whose the error of an accept is.
pub fn of_accept(errno: Errno) -> Whose {
    match errno.0 {
        libc::EMFILE | libc::ENFILE => Whose::Machine,
        code if is_of_a_new_connection(code) => Whose::Call,
        _ => of_connection(errno),
    }
}

/// Errors of the connection that was accepted, not of the listener (accept(2)).
fn is_of_a_new_connection(code: i32) -> bool {
    matches!(
        code,
        libc::ECONNABORTED
            | libc::EPERM
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENONET
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s61_only_what_is_of_a_connection_ends_one() {
        for of in [of_connection, of_accept] {
            for code in [libc::ECANCELED, libc::EINTR, libc::EAGAIN] {
                assert_eq!(of(Errno(code)), Whose::Call, "{code}");
            }
            for code in [libc::ENOMEM, libc::ENOBUFS] {
                assert_eq!(of(Errno(code)), Whose::Machine, "{code}");
            }
            for code in [libc::EBADF, libc::ENOTSOCK, libc::EFAULT, libc::EINVAL] {
                assert_eq!(of(Errno(code)), Whose::Socket, "{code}");
            }
        }
        for code in [libc::ECONNRESET, libc::EPIPE, libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EMFILE] {
            assert_eq!(of_connection(Errno(code)), Whose::Socket, "{code}");
        }
        for code in [libc::EMFILE, libc::ENFILE] {
            assert_eq!(of_accept(Errno(code)), Whose::Machine, "{code}");
        }
        for code in [libc::ECONNABORTED, libc::EPERM, libc::EPROTO, libc::EHOSTUNREACH] {
            assert_eq!(of_accept(Errno(code)), Whose::Call, "{code}");
        }
    }
}
