//! Connects: to one address after the other until one answers.

use core_reactor::net::{Events, NetError, NetEvent};
use net_sockets::{Errno, Kind, error};

use crate::group::Group;
use crate::{PosixSocket, flag};

impl Group {
    /// Starts to connect the socket that there is; on to the next address for as long as they fail at once.
    pub(crate) fn connect(&mut self, place: usize) {
        loop {
            let Some(socket) = self.slab.socket_mut(place) else { return };
            let why = match start(socket) {
                Ok(()) => match self.enrol(place) {
                    Ok(()) => return,
                    Err(why) => why,
                },
                Err(why) => why,
            };
            if !self.next_address(place, why) {
                return;
            }
        }
    }

    /// Something happened to a connect: it is done, or on to the next address. The caller has left room for an event.
    pub(crate) fn connected(&mut self, place: usize, out: &mut Events) {
        let Some(socket) = self.slab.socket_mut(place) else { return };
        match outcome(socket) {
            None => self.slab.hot(place).flags &= !flag::READABLE,
            Some(Err(why)) => {
                if self.next_address(place, why) {
                    self.connect(place);
                }
            }
            Some(Ok(())) => {
                socket.kind = Kind::Stream;
                let hot = self.slab.hot(place);
                hot.flags = hot.flags & !flag::CONNECTING | flag::STREAM;
                let (id, token) = (hot.id, hot.token);
                out.append(NetEvent::Connected { id, token });
                self.end_sending_if_wanted(place);
            }
        }
    }

    /// The application may have asked for FIN before there was a connection. What has arrived meanwhile is read in the rotation.
    fn end_sending_if_wanted(&mut self, place: usize) {
        if self.slab.hot(place).is(flag::FIN_WANTED) {
            self.end_sending(place);
        }
        self.enqueue(place);
    }

    /// A socket for the next address in place of the one that failed; false if there is none and the connect is over.
    fn next_address(&mut self, place: usize, mut why: NetError) -> bool {
        let Some(socket) = self.slab.socket_mut(place) else { return false };
        let Kind::Connect(connect) = &mut socket.kind else { return false };
        match connect.advance() {
            Some(Ok(next)) => {
                socket.peer = connect.address();
                // The old socket is closed here, which takes it out of epoll.
                socket.socket = next;
                let fd = socket.fd();
                let hot = self.slab.hot(place);
                hot.fd = fd;
                hot.flags &= !(flag::READABLE | flag::DRAIN | flag::ENDED);
                return true;
            }
            Some(Err(error)) => why = error,
            None => {}
        }
        self.finish(place, Some(why));
        false
    }
}

fn start(socket: &mut PosixSocket) -> Result<(), NetError> {
    let Kind::Connect(connect) = &mut socket.kind else { return Err(NetError::NotConnected) };
    let to = connect.address().ok_or(NetError::NoAddress)?;
    connect.under_way = true;
    match socket.socket.connect(&to.into()).map_err(|e| Errno::of(&e)) {
        Ok(()) | Err(Errno(libc::EINPROGRESS | libc::EINTR)) => Ok(()),
        Err(errno) => Err(error::at("connect", errno, to)),
    }
}

/// How the connect went; `None` if it is still going on.
fn outcome(socket: &PosixSocket) -> Option<Result<(), NetError>> {
    let Kind::Connect(connect) = &socket.kind else { return None };
    let to = connect.address()?;
    match socket.socket.take_error() {
        Ok(Some(e)) | Err(e) => Some(Err(error::at("connect", Errno::of(&e), to))),
        // Writable without an error may also be the news of a socket that was here before.
        Ok(None) => socket.socket.peer_addr().ok().map(|_| Ok(())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use conformance::net::{Peers, Plain};
    use core_reactor::net::SockOptions;

    use super::*;

    /// What epoll tells may be the news of a socket that was in this place before, so it is the socket that is asked.
    #[test]
    fn s15_a_connect_that_nobody_has_answered_is_not_decided() {
        let (silent, _guard) = Plain.silent(Ipv4Addr::LOCALHOST.into());
        let mut socket = PosixSocket::connect(&[silent], &SockOptions::default()).expect("a socket");
        start(&mut socket).expect("it is under way");
        assert_eq!(outcome(&socket), None);
    }

    #[test]
    fn s15_a_connect_is_decided_by_an_answer() {
        let listener = Plain.listen(Ipv4Addr::LOCALHOST.into()).expect("a free port");
        let mut socket = PosixSocket::connect(&[listener.local_addr().expect("its address")], &SockOptions::default()).expect("a socket");
        start(&mut socket).expect("over loopback it succeeds at once");
        assert_eq!(outcome(&socket), Some(Ok(())));
    }
}
