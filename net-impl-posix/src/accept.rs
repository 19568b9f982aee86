//! Listeners.

use std::net::SocketAddr;

use core_reactor::net::{Events, NetEvent};
use net_sockets::options::{self, Kept};
use net_sockets::{Errno, error};

use crate::group::Group;
use crate::{PosixSocket, flag, sys};

/// Connections that one listener may take in a poll before the others have their turn.
const ACCEPTS_A_TURN: usize = 16;

impl Group {
    /// Takes waiting connections. The caller has left room for an event.
    pub(crate) fn accept(&mut self, place: usize, out: &mut Events) {
        let hot = self.slab.hot(place);
        let (id, token, fd) = (hot.id, hot.token, hot.fd);
        if hot.is(flag::PAUSED) {
            return;
        }
        let Some(kept) = self.slab.socket(place).map(|listener| listener.kept) else { return };
        for _ in 0..ACCEPTS_A_TURN {
            if out.room() == 0 {
                break;
            }
            match sys::accept(fd) {
                Ok((socket, peer)) => {
                    self.stats.accepted += 1;
                    out.append(NetEvent::Accepted { id, token, socket: taken(socket, peer, kept) });
                }
                Err(errno) if errno.would_block() => {
                    self.no_fd_said = false;
                    self.slab.hot(place).flags &= !flag::READABLE;
                    return;
                }
                Err(Errno(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) => return self.no_descriptors(place),
                Err(errno) if is_the_connections(errno) => {}
                Err(errno) => return self.finish(place, Some(error::plain("accept4", errno))),
            }
        }
        self.enqueue(place);
    }

    /// A descriptor may be free: paused listeners try again.
    pub(crate) fn retry_accepts(&mut self) {
        while let Some(place) = self.no_fd.pop_front() {
            self.slab.hot(place as usize).flags &= !flag::IN_NO_FD;
            self.enqueue(place as usize);
        }
    }

    /// Pauses a listener until a descriptor may be free; its connections wait in the system. Said once, until all that wait have been taken.
    #[cold]
    fn no_descriptors(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_NO_FD) {
            self.no_fd.push_back(place as u32);
        }
        self.wake_later();
        if !self.no_fd_said {
            self.no_fd_said = true;
            self.stats.accept_pauses += 1;
            let at = self.slab.socket(place).and_then(|s| s.local().ok());
            let at = at.map_or_else(|| "a listener".to_owned(), |at| at.to_string());
            log::warn!("out of file descriptors: {at} accepts nothing until some are free (see ulimit -n)");
        }
    }
}

fn taken(socket: socket2::Socket, peer: Option<SocketAddr>, kept: Kept) -> Box<PosixSocket> {
    options::apply_to_accepted(&socket, &kept);
    Box::new(PosixSocket::accepted(socket, peer, kept))
}

/// Errors of the connection that accept4 would have given, not of the listener (accept(2)).
fn is_the_connections(errno: Errno) -> bool {
    matches!(
        errno.0,
        libc::ECONNABORTED
            | libc::EINTR
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
