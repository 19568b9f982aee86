//! Sending what is queued: one request for each socket at a time, more only for more than it takes.
//!
//! UNSAFETY: a request names the bytes of frames. They stay where and as they are: a frame is in its socket's queue until the request's last completion
//! has taken `SENDING` away, and nobody takes a frame off the queue of a socket that is `SENDING`.
#![allow(unsafe_code)]

use std::net::Shutdown;

use net_sockets::whose::of_connection;
use net_sockets::{Errno, Whose, error};

use crate::flag;
use crate::gather::PARTS;
use crate::group::State;
use crate::key::{Key, Op};
use crate::ring::{Completion, Io};
use crate::socket::Seat;
use crate::whose::may_do_with_a_copy;

impl State {
    /// Sends for every socket that has got frames since the last time.
    #[inline]
    pub(crate) fn send_dirty(&mut self, io: &mut Io) {
        for i in 0..self.dirty.len() {
            let place = self.dirty[i] as usize;
            let hot = self.slab.hot(place);
            hot.flags &= !flag::IN_DIRTY;
            // One frame of one buffer without a tag is all that an echo sends.
            match hot.queue.single() {
                Some(bytes) if hot.written == 0 && hot.flags & !(flag::READING | flag::WATCHED) == flag::STREAM => {
                    hot.flags |= flag::SENDING;
                    self.in_flight += 1;
                    let key = Key::new(Op::Send, self.member, place, hot.generation());
                    // SAFETY: the bytes are those of a frame in the queue of a socket that is now SENDING.
                    unsafe { io.send(key, hot.fd, bytes, false) };
                }
                _ => self.send(io, place),
            }
        }
        self.dirty.clear();
    }

    /// Sends the queue of one socket, or as much of it as fits a request.
    fn send(&mut self, io: &mut Io, place: usize) {
        let hot = self.slab.hot(place);
        if hot.flags & (flag::STREAM | flag::SENDING | flag::FAILED | flag::LEAVING) != flag::STREAM || hot.queue.is_empty() {
            return;
        }
        let may_lend = hot.is(flag::ZERO_COPY);
        let lends_from = self.slab.socket(place).and_then(Seat::lends_from).filter(|_| may_lend);
        let Some(gather) = self.request(io, place, lends_from.unwrap_or(usize::MAX)) else {
            // Frames without bytes are sent without a request.
            return self.sent(place, 0);
        };
        if gather.is_some()
            && let Some(seat) = self.slab.socket_mut(place)
        {
            seat.gather = gather;
        }
        self.slab.hot(place).flags |= flag::SENDING;
        self.in_flight += 1;
    }

    /// Has the kernel send the bytes of a place's queue that it has not, without a copy from `lends_from` bytes on. Tells the gather list that the request uses, if
    /// it uses one; nothing if there are no bytes.
    fn request(&mut self, io: &mut Io, place: usize, lends_from: usize) -> Option<Option<u32>> {
        let hot = self.slab.hot(place);
        let (mut skip, fd, generation) = (hot.written, hot.fd, hot.generation());
        let mut rest = self.frames.parts(&hot.queue).filter_map(|part| {
            let gone = skip.min(part.len());
            skip -= gone;
            Some(&part[gone..]).filter(|rest| !rest.is_empty())
        });
        let first = rest.next()?;
        let Some(second) = rest.next() else {
            let key = Key::new(Op::Send, self.member, place, generation);
            // SAFETY: the bytes are those of a frame in the queue of a socket that the caller makes SENDING.
            unsafe { io.send(key, fd, first, first.len() >= lends_from) };
            return Some(None);
        };
        let number = self.gathers.claim();
        let gather = self.gathers.list(number);
        let bytes = gather.fill([first, second].into_iter().chain(rest).take(PARTS));
        let key = Key::new(Op::SendMsg, self.member, place, generation);
        // SAFETY: the slices are those of frames in the queue of a socket that the caller makes SENDING; the list is claimed as long, and does not move.
        unsafe { io.send_message(key, fd, gather.message(), bytes >= lends_from) };
        Some(Some(number))
    }

    /// A send was taken by the system, or was not.
    #[inline]
    pub(crate) fn on_send(&mut self, completion: Completion) {
        let (key, n) = (completion.key, completion.result);
        let Some(hot) = self.slab.hot_of(key.place(), key.generation()) else { return };
        // One frame of one buffer, sent as a whole.
        if hot.flags & !(flag::READING | flag::WATCHED) == flag::STREAM | flag::SENDING
            && let Some(bytes) = hot.queue.single()
            && (bytes.len(), hot.written) == (n as usize, 0)
        {
            hot.flags &= !flag::SENDING;
            self.in_flight -= 1;
            self.stats.bytes_out += n as u64;
            (hot.queued, hot.frames) = (0, hot.frames - 1);
            hot.queue.drop_single();
        } else {
            self.on_special_send(completion);
        }
    }

    #[inline(never)]
    fn on_special_send(&mut self, completion: Completion) {
        let place = completion.key.place();
        let Some(seat) = self.slab.socket_mut(place) else { return };
        if completion.more() {
            // Without a copy: the memory is the kernel's until the second completion.
            (seat.lent, seat.taken) = (true, completion.result);
            return;
        }
        seat.lent = false;
        let n = if completion.notif() { std::mem::take(&mut seat.taken) } else { completion.result };
        if let Some(number) = seat.gather.take() {
            self.gathers.release(number);
        }
        let hot = self.slab.hot(place);
        let lent = hot.is(flag::ZERO_COPY);
        if completion.was_copied() {
            // It copies on this way, so asking for more of it only costs.
            hot.flags &= !flag::ZERO_COPY;
        }
        hot.flags &= !flag::SENDING;
        self.in_flight -= 1;
        match usize::try_from(n) {
            Ok(n) => self.sent(place, n),
            Err(_) if lent && may_do_with_a_copy(Errno(-n)) => self.copy_instead(place, Errno(-n)),
            Err(_) => self.not_sent(place, Errno(-n)),
        }
    }

    /// A send failed, which need not be the end of the connection.
    #[cold]
    fn not_sent(&mut self, place: usize, errno: Errno) {
        match of_connection(errno) {
            Whose::Call => self.after_send(place),
            Whose::Machine if self.slab.hot(place).is(flag::LEAVING) => self.depart_if_done(place),
            Whose::Machine => self.fall_short(place),
            Whose::Socket => self.send_failed(place, errno),
        }
    }

    /// Sends with a copy what could not be sent without, and so from now on: what is short now will
    /// be short again, and each try costs two completions. Said once, as it is short for others too.
    #[cold]
    fn copy_instead(&mut self, place: usize, errno: Errno) {
        self.slab.hot(place).flags &= !flag::ZERO_COPY;
        self.after_send(place);
        if !std::mem::replace(&mut self.copies_said, true) {
            log::warn!("{}: it is sent with a copy (see ulimit -l, or switch zero_copy off)", error::plain("send without a copy", errno));
        }
    }

    /// The system has taken so many bytes.
    fn sent(&mut self, place: usize, n: usize) {
        self.stats.bytes_out += n as u64;
        let id = self.id_of(place);
        self.frames.written(&self.limits, self.slab.hot(place), id, n);
        self.after_send(place);
    }

    fn after_send(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        if hot.is(flag::LEAVING) {
            return self.depart_if_done(place);
        }
        if !hot.queue.is_empty() && hot.enlist(flag::IN_DIRTY) {
            self.dirty.push(place as u32);
        }
        if hot.is(flag::HELD) {
            self.end_hold(place);
        }
        if self.slab.hot(place).is(flag::FIN_WANTED) {
            self.end_sending(place);
        }
    }

    /// A frame was queued behind a send that the system has not taken. If that makes too much, nothing more is read.
    #[cold]
    pub(crate) fn sent_behind(&mut self, place: usize) {
        if self.is_full(place) {
            self.slab.hot(place).flags |= flag::HELD;
            self.look_at(place);
        }
    }

    /// Sends FIN if it is wanted and nothing is queued before it.
    pub(crate) fn end_sending(&mut self, place: usize) {
        let hot = self.slab.hot(place);
        if !hot.is(flag::STREAM) || !hot.queue.is_empty() {
            return;
        }
        hot.flags = hot.flags & !flag::FIN_WANTED | flag::FIN_SENT;
        let peer_is_done = hot.is(flag::READ_EOF);
        if let Some(seat) = self.slab.socket_mut(place) {
            seat.socket.fin_sent = true;
            // The only error is that the connection is gone, which reading tells.
            let _ = seat.socket.socket.shutdown(Shutdown::Write);
        }
        if peer_is_done {
            self.finish(place, None);
        }
    }

    /// The connection is gone. What had been received is still delivered, then `Closed`.
    #[cold]
    fn send_failed(&mut self, place: usize, errno: Errno) {
        let id = self.id_of(place);
        let hot = self.slab.hot(place);
        let (token, written) = (hot.token, hot.written);
        let mut queue = std::mem::take(&mut hot.queue);
        (hot.queued, hot.written) = (0, 0);
        hot.flags = hot.flags & !flag::FIN_WANTED | flag::FAILED;
        let (leaving, eof) = (hot.is(flag::LEAVING), hot.is(flag::READ_EOF));
        self.frames.cancel(&mut queue, id, token, written);
        let why = error::plain("send", errno);
        if leaving {
            self.depart_if_done(place);
        } else if eof {
            self.finish(place, Some(why));
        } else {
            if let Some(seat) = self.slab.socket_mut(place) {
                seat.socket.failed = Some(why);
            }
            let hot = self.slab.hot(place);
            hot.flags &= !flag::HELD;
            self.hung_up(place);
            self.go_on_reading(place);
        }
    }
}
