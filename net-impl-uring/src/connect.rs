//! Connects: to one address after the other until one answers.
//!
//! UNSAFETY: a request names the address to connect to, which lies in the socket's seat until the request's last completion.
#![allow(unsafe_code)]

use core_reactor::net::{Events, NetError, NetEvent};
use net_sockets::whose::of_connection;
use net_sockets::{Errno, Kind, Whose, error};

use crate::flag;
use crate::group::State;
use crate::key::{Key, Op};
use crate::ring::{Completion, Io};
use crate::socket::{How, Luggage};

impl State {
    /// Asks for a connection to the address that is next, or for news of a connect that began in another group.
    pub(crate) fn connect(&mut self, io: &mut Io, place: usize) {
        let Some(seat) = self.slab.socket_mut(place) else { return };
        if let Some(why) = seat.socket.failed.take() {
            return self.finish(place, Some(why));
        }
        let Kind::Connect(connect) = &mut seat.socket.kind else { return };
        let Some(address) = connect.address() else { return self.finish(place, Some(NetError::NoAddress)) };
        seat.to = (!connect.under_way).then(|| address.into());
        connect.under_way = true;
        let key = self.connecting_key(place);
        let hot = self.slab.hot(place);
        hot.flags |= flag::READING;
        self.in_flight += 1;
        let fd = hot.fd;
        match self.slab.socket(place).and_then(|seat| seat.to.as_ref()) {
            // SAFETY: the address is in a box of the seat's, which changes it only here, and is asked to go on only after the last completion; the seat
            // is kept until then.
            Some(to) => unsafe { io.connect(key, fd, to) },
            None => io.watch(key, fd, libc::POLLOUT, false),
        }
    }

    /// The key of the request that connects.
    pub(crate) fn connecting_key(&mut self, place: usize) -> Key {
        let asked = self.slab.socket(place).is_some_and(|seat| seat.to.is_some());
        self.key(if asked { Op::Connect } else { Op::Writable }, place)
    }

    /// A connect is done. The caller has left room for an event.
    pub(crate) fn on_connect(&mut self, completion: Completion, out: &mut Events) {
        let (place, generation) = (completion.key.place(), completion.key.generation());
        match self.slab.hot_of(place, generation) {
            None => {}
            Some(hot) if hot.is(flag::LEAVING) => self.on_leaving(completion),
            Some(_) => {
                self.reading_ended(place);
                match completion.result {
                    0 => self.connected(place, out),
                    // It goes on, and what becomes of it is watched for.
                    n if of_connection(Errno(-n)) == Whose::Call => {}
                    n => self.connect_failed(place, Errno(-n)),
                }
            }
        }
    }

    /// A connect that began in another group is decided. The caller has left room for an event.
    pub(crate) fn on_writable(&mut self, completion: Completion, out: &mut Events) {
        let (place, generation) = (completion.key.place(), completion.key.generation());
        match self.slab.hot_of(place, generation) {
            None => {}
            Some(hot) if hot.is(flag::LEAVING) => self.on_leaving(completion),
            Some(_) => {
                self.reading_ended(place);
                // Without an answer it is asked for again.
                if completion.result >= 0 {
                    self.decided(place, out);
                }
            }
        }
    }

    fn decided(&mut self, place: usize, out: &mut Events) {
        let Some(socket) = self.slab.socket(place).map(|seat| &seat.socket.socket) else { return };
        // A socket that never began to connect, or whose error somebody took, is writable as well.
        match socket.take_error().and_then(|error| error.map_or_else(|| socket.peer_addr().map(drop), Err)) {
            Ok(()) => self.connected(place, out),
            Err(why) => self.connect_failed(place, Errno::of(&why)),
        }
    }

    fn connected(&mut self, place: usize, out: &mut Events) {
        let Some(seat) = self.slab.socket_mut(place) else { return };
        seat.socket.kind = Kind::Stream;
        seat.socket.mind_loopback();
        let flags = seat.socket.flags();
        let hot = self.slab.hot(place);
        hot.flags = hot.flags & !flag::CONNECTING | flags;
        let (id, token) = (hot.id, hot.token);
        out.append(NetEvent::Connected { id, token });
        if hot.is(flag::FIN_WANTED) {
            self.end_sending(place);
        }
        self.look_at(place);
    }

    fn connect_failed(&mut self, place: usize, errno: Errno) {
        if let Err(why) = self.next_address(place, errno) {
            self.finish(place, Some(why));
        }
    }

    /// A connect that was given up for a detach: if it failed all the same, the next group goes on with the next address.
    pub(crate) fn connect_left(&mut self, completion: Completion) {
        let place = completion.key.place();
        self.reading_ended(place);
        let detached =
            self.slab.socket(place).and_then(|seat| seat.leaving.as_ref()).is_some_and(|leaving| matches!(leaving.how, How::Detached));
        if !detached || completion.result == 0 || of_connection(Errno(-completion.result)) == Whose::Call {
            return;
        }
        if let Err(why) = self.next_address(place, Errno(-completion.result))
            && let Some(seat) = self.slab.socket_mut(place)
        {
            seat.socket.failed = Some(why);
        }
    }

    /// A socket for the next address in the place of the one that failed.
    fn next_address(&mut self, place: usize, errno: Errno) -> Result<(), NetError> {
        let Some(seat) = self.slab.socket_mut(place) else { return Err(NetError::Stale) };
        let Kind::Connect(connect) = &mut seat.socket.kind else { return Err(NetError::NotConnected) };
        let why = connect.address().map_or_else(|| error::plain("connect", errno), |to| error::at("connect", errno, to));
        match connect.advance() {
            None => Err(why),
            Some(next) => {
                let (next, peer) = (next?, connect.address());
                seat.socket.peer = peer;
                seat.socket.socket = next;
                let fd = seat.socket.fd();
                self.slab.hot(place).fd = fd;
                Ok(())
            }
        }
    }
}
