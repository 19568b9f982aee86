//! Whose an error of a completion is: the request's, the machine's, or what it was asked of.
//!
//! An error of a request that is taken for one of its connection leaves a peer waiting for an end
//! that nobody brings; one of a connection that is taken for the request's is asked for again for
//! ever. So this is the one place where they are told apart.
//!
//! | error | of | is whose | because |
//! |---|---|---|---|
//! | ECANCELED, EINTR | any | the request's | it was given up or interrupted, and another can be made |
//! | EAGAIN | any | the request's | it was not to wait, or the kernel could not (io_uring_enter(2)) |
//! | ENOBUFS | a receive | the group's buffers' | none lies ready; TCP has no other use for it |
//! | ENOMEM, ENOBUFS | any other | the machine's | what it is short of may be there later |
//! | EMFILE, ENFILE | an accept | the machine's | the same |
//! | those of accept(2) | an accept | the request's | of a connection that had not been accepted yet |
//! | any other | any | the socket's | TCP tells an error of its own in no other way |
//!
//! A connect that the machine is too short for has failed, as any other that did not begin.

use net_sockets::Errno;

use crate::key::Op;

/// Whose an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Nothing is wrong: another request may follow.
    Request,
    /// The group has no buffer ready.
    Buffers,
    /// Something is used up for now.
    Machine,
    /// The connection has ended, or the listener can do no more.
    Socket,
}

/// Whose the error of a request is.
pub(crate) fn whose(op: Op, errno: Errno) -> Whose {
    match (op, errno.0) {
        (_, libc::ECANCELED | libc::EINTR | libc::EAGAIN) => Whose::Request,
        (Op::Recv, libc::ENOBUFS) => Whose::Buffers,
        (_, libc::ENOMEM | libc::ENOBUFS) | (Op::Accept, libc::EMFILE | libc::ENFILE) => Whose::Machine,
        (Op::Accept, code) if is_of_a_new_connection(code) => Whose::Request,
        _ => Whose::Socket,
    }
}

/// Whether a send that failed without a copy may do with one: ENOMEM and ENOBUFS are the memory that
/// this user may lock (`ulimit -l`), the others a protocol or a device that cannot.
pub(crate) fn may_do_with_a_copy(errno: Errno) -> bool {
    matches!(errno.0, libc::ENOMEM | libc::ENOBUFS | libc::EOPNOTSUPP | libc::EINVAL)
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
        for op in [Op::Recv, Op::Send, Op::SendMsg, Op::Accept, Op::Connect] {
            for code in [libc::ECANCELED, libc::EINTR, libc::EAGAIN] {
                assert_eq!(whose(op, Errno(code)), Whose::Request, "{op:?} {code}");
            }
            assert_eq!(whose(op, Errno(libc::ENOMEM)), Whose::Machine, "{op:?}");
            for code in [libc::EBADF, libc::ENOTSOCK, libc::EFAULT] {
                assert_eq!(whose(op, Errno(code)), Whose::Socket, "{op:?} {code}");
            }
        }
        for op in [Op::Recv, Op::Send, Op::SendMsg] {
            for code in [libc::ECONNRESET, libc::EPIPE, libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EMFILE] {
                assert_eq!(whose(op, Errno(code)), Whose::Socket, "{op:?} {code}");
            }
        }
        assert_eq!(whose(Op::Recv, Errno(libc::ENOBUFS)), Whose::Buffers);
        assert_eq!(whose(Op::Send, Errno(libc::ENOBUFS)), Whose::Machine);
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS] {
            assert_eq!(whose(Op::Accept, Errno(code)), Whose::Machine, "{code}");
        }
        assert_eq!(whose(Op::Accept, Errno(libc::ECONNABORTED)), Whose::Request);
        assert_eq!(whose(Op::Accept, Errno(libc::EINVAL)), Whose::Socket, "it listens no more");
    }
}
