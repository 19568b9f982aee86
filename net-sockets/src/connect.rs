//! Connects: to one address after the other until one answers.

use core_reactor::net::NetError;
use net_group::Connecting;

use crate::{Backend, Errno, Kind, Tcp};

/// Begins a connect, or looks how far it is; on to the next address for as long as they fail at
/// once. A socket that is under way is handed to `enrol`.
pub fn go_on<B: Backend>(socket: &mut Tcp<B>, mut enrol: impl FnMut(&Tcp<B>) -> Result<(), NetError>) -> Connecting {
    loop {
        let why = match &socket.kind {
            Kind::Connect(connect) if connect.under_way => match ask_again(socket).or_else(|| outcome(socket)) {
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

/// Connects once more where a Unix listener's queue was full: the error that comes of it.
fn ask_again<B: Backend>(socket: &mut Tcp<B>) -> Option<Result<(), NetError>> {
    if socket.is_to_ask_again() { start(socket).err().map(Err) } else { None }
}

/// A socket for the next address in place of the one that failed of `why`.
fn next_address<B: Backend>(socket: &mut Tcp<B>, why: NetError) -> Result<(), NetError> {
    let Kind::Connect(connect) = &mut socket.kind else { return Err(why) };
    let next = connect.advance().ok_or(why)??;
    socket.peer = connect.address();
    // The old socket is closed here, which takes it out of epoll.
    socket.socket = next;
    Ok(())
}

/// Has the system connect to the address that is next.
///
/// # Errors
/// It fails at once, or there is no address.
pub fn start<B: Backend>(socket: &mut Tcp<B>) -> Result<(), NetError> {
    let Kind::Connect(connect) = &mut socket.kind else { return Err(NetError::NotConnected) };
    let to = connect.name()?;
    connect.under_way = true;
    connect.is_full = false;
    match socket.socket.connect(&to).map_err(|e| Errno::of(&e)) {
        Ok(()) | Err(Errno(libc::EINPROGRESS | libc::EINTR)) => Ok(()),
        // No error of a Unix socket's: so many wait already to be accepted.
        Err(errno) if errno.would_block() && connect.unix.is_some() => {
            connect.is_full = true;
            Ok(())
        }
        Err(errno) => Err(connect.error(errno)),
    }
}

/// How the connect went; `None` if it is still going on.
pub fn outcome<B: Backend>(socket: &Tcp<B>) -> Option<Result<(), NetError>> {
    let Kind::Connect(connect) = &socket.kind else { return None };
    match socket.socket.take_error() {
        Ok(Some(e)) | Err(e) => Some(Err(connect.error(Errno::of(&e)))),
        // Writable without an error may also be the news of a socket that was here before.
        Ok(None) => socket.socket.peer_addr().ok().map(|_| Ok(())),
    }
}
