//! Connects: to one address after the other until one answers.

use core_reactor::net::NetError;
use net_group::Connecting;
use net_sockets::{Errno, Kind, error};

use crate::PosixSocket;

/// Begins a connect, or looks how far it is; on to the next address for as long as they fail at once. A socket that is under way is
/// handed to `enrol`.
pub(crate) fn go_on(socket: &mut PosixSocket, mut enrol: impl FnMut(&PosixSocket) -> Result<(), NetError>) -> Connecting {
    loop {
        let why = match &socket.kind {
            Kind::Connect(connect) if connect.under_way => match outcome(socket) {
                None => return Connecting::UnderWay(socket.fd()),
                Some(Ok(())) => {
                    socket.kind = Kind::Stream;
                    return Connecting::Connected;
                }
                Some(Err(why)) => why,
            },
            Kind::Connect(_) => match start(socket).and_then(|()| enrol(socket)) {
                Ok(()) => return Connecting::UnderWay(socket.fd()),
                Err(why) => why,
            },
            Kind::Stream | Kind::Listener => return Connecting::Connected,
        };
        if let Err(why) = next_address(socket, why) {
            return Connecting::Failed(why);
        }
    }
}

/// A socket for the next address in place of the one that failed of `why`.
fn next_address(socket: &mut PosixSocket, why: NetError) -> Result<(), NetError> {
    let Kind::Connect(connect) = &mut socket.kind else { return Err(why) };
    let next = connect.advance().ok_or(why)??;
    socket.peer = connect.address();
    // The old socket is closed here, which takes it out of epoll.
    socket.socket = next;
    Ok(())
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
