//! Writing what is queued into the sockets of the stack, as far as they take it.

use crate::flag;
use crate::group::State;
use crate::stack::Stack;

impl State {
    /// Writes for every socket that has got frames since the last time.
    pub(crate) fn write_dirty(&mut self, stack: &mut Stack) {
        for i in 0..self.dirty.len() {
            let place = self.dirty[i] as usize;
            self.slab.hot(place).flags &= !flag::IN_DIRTY;
            self.write(stack, place);
        }
        self.dirty.clear();
    }

    /// Writes until the queue is empty or the stack takes no more.
    pub(crate) fn write(&mut self, stack: &mut Stack, place: usize) {
        let hot = self.slab.hot(place);
        if !hot.is(flag::STREAM) || hot.is(flag::FAILED | flag::FIN_SENT) || hot.queue.is_empty() {
            hot.flags &= !flag::BLOCKED;
            return self.after_write(stack, place);
        }
        let (number, mut skip, mut taken) = (hot.fd as u32, hot.written, 0);
        let limit = stack.places[number as usize].wants.send_buf;
        let socket = stack.tcp(number);
        let mut room = limit.saturating_sub(socket.send_queue());
        let mut blocked = false;
        for part in self.frames.parts(&hot.queue) {
            let gone = skip.min(part.len());
            skip -= gone;
            let rest = &part[gone..];
            // A connection that is gone takes nothing; what it sent before is read first.
            let n = socket.send_slice(&rest[..rest.len().min(room)]).unwrap_or(0);
            (taken, room) = (taken + n, room - n);
            if n < rest.len() {
                blocked = true;
                break;
            }
        }
        if blocked {
            hot.flags |= flag::BLOCKED;
        } else {
            hot.flags &= !flag::BLOCKED;
        }
        if taken > 0 {
            self.stats.bytes_out += taken as u64;
            stack.unsent = true;
        }
        self.frames.written(&self.limits, hot, hot.id, taken);
        self.after_write(stack, place);
    }

    fn after_write(&mut self, stack: &mut Stack, place: usize) {
        if self.slab.hot(place).is(flag::HELD) {
            self.end_hold(place);
        }
        self.end_sending(stack, place);
    }

    /// Sends FIN if it is wanted and nothing is queued before it.
    pub(crate) fn end_sending(&mut self, stack: &mut Stack, place: usize) {
        let hot = self.slab.hot(place);
        if !hot.is(flag::FIN_WANTED) || !hot.is(flag::STREAM) || !hot.queue.is_empty() {
            return;
        }
        hot.flags = hot.flags & !flag::FIN_WANTED | flag::FIN_SENT;
        let (peer_is_done, number) = (hot.is(flag::READ_EOF), hot.fd as u32);
        stack.tcp(number).close();
        stack.unsent = true;
        if let Some(socket) = self.slab.socket_mut(place) {
            socket.fin_sent = true;
        }
        if peer_is_done {
            self.finish(stack, place, None);
        }
    }
}
