//! A poll: asks the kernel for what is wanted, enters it once if there is reason to, and handles what it has done. If that tells the application nothing but leaves
//! something to ask, it submits that too: the core may fall asleep.

use core_reactor::net::Events;

use crate::flag;
use crate::group::State;
use crate::key::Op;
use crate::ring::{Completion, Io, Next};
use crate::timers::Which;

/// Nanoseconds after which a group tries again what waits for descriptors or memory that others hold. Their return is not announced, and the core may be asleep.
const RETRY: u64 = 10_000_000;

impl State {
    /// One poll. An idle one is a few loads.
    pub(crate) fn poll(&mut self, io: &mut Io, out: &mut Events) -> usize {
        let before = out.len();
        self.stats.polls += 1;
        self.turns.begin();
        if self.supply.may_be_low(self.buffers.len()) {
            self.mind_supply();
        }
        self.ask(io);
        if self.frames.has_reports() {
            // Half of the room, rounded now up and now down: a sender that always has more to hear of leaves room for what arrives.
            self.report((out.room() + (self.stats.polls & 1) as usize) / 2, out);
        }
        if io.wants_entry() {
            self.lay_out_buffers();
            io.enter(self.member);
        }
        if !self.ready.is_empty() {
            self.deliver_early(out);
        }
        if out.room() > 0 {
            io.each(self.member, |completion| self.on(completion, out));
        }
        if (self.no_fd_said || !self.starved.is_empty()) && out.room() > 0 {
            self.all_is_handled(io);
        }
        if self.frames.has_reports() {
            self.report(out.room(), out);
        }
        if out.len() == before {
            self.finish_idle(io, out);
        }
        let found = out.len() - before;
        if found > 0 {
            self.stats.busy_polls += 1;
            self.stats.events += found as u64;
        }
        found
    }

    /// Sends what is queued, without handing out events.
    pub(crate) fn flush(&mut self, io: &mut Io) {
        if self.dirty.is_empty() {
            return;
        }
        self.send_dirty(io);
        io.submit();
        io.sift(self.member, |completion| self.on_out_of_turn(completion));
    }

    /// After a poll that found nothing the core may fall asleep, so what its completions have made possible cannot wait for the next one: the rest of a send that
    /// was taken in part, and what was kept while that was held up.
    #[inline]
    fn finish_idle(&mut self, io: &mut Io, out: &mut Events) {
        if !self.ready.is_empty() {
            self.deliver_early(out);
        }
        self.ask(io);
        io.submit();
        if self.frames.has_reports() {
            self.report(out.room(), out);
        }
    }

    /// Asks the kernel for all that is wanted now.
    #[inline]
    fn ask(&mut self, io: &mut Io) {
        if !self.dirty.is_empty() {
            self.send_dirty(io);
        }
        if !self.todo.is_empty() {
            self.look_after(io);
        }
        if self.timers.are_wanted() {
            self.in_flight += self.timers.start(io, self.member);
        }
    }

    /// No completion is left, so what they told is known: how many buffers lie ready, and whether there are descriptors.
    #[cold]
    fn all_is_handled(&mut self, io: &mut Io) {
        if !self.starved.is_empty() {
            // What this poll has handed out may come back as what peers do not take.
            if self.supply.may_be_low(self.buffers.len()) {
                self.mind_supply();
            }
            self.feed(io);
        }
        // A listener that has been asked again and did not complain has taken all that waited.
        if self.no_fd.is_empty() && self.todo.is_empty() {
            self.no_fd_said = false;
        }
    }

    /// Puts buffers of the pool in the place of those that were received into. The pool hands out the one that came home last, so a quiet group
    /// lives in few.
    #[inline]
    fn lay_out_buffers(&mut self) {
        let wanted = self.depth.fill(self.buffers.len());
        while self.buffers.len() < wanted
            && let Some(buf) = self.bufs.get()
        {
            // There is room, since fewer lie there than may.
            let _ = self.buffers.provide(buf);
        }
    }

    #[inline]
    fn on(&mut self, completion: Completion, out: &mut Events) -> Next {
        match completion.key.op() {
            Op::Recv => self.on_receive(completion, out),
            Op::Send => self.on_send(completion),
            _ => self.on_rare(completion, out),
        }
        if out.room() > 0 { Next::Go } else { Next::Stop }
    }

    #[inline(never)]
    fn on_rare(&mut self, completion: Completion, out: &mut Events) {
        match completion.key.op() {
            Op::SendMsg => self.on_send(completion),
            Op::Accept => self.on_accept(completion, out),
            Op::Connect => self.on_connect(completion, out),
            Op::Writable => self.on_writable(completion, out),
            Op::Gone => self.on_gone(completion),
            Op::Timer => self.on_timer(completion),
            Op::Cancel | Op::Recv | Op::Send => {}
        }
    }

    /// Handles a completion before those that came earlier, if that does no harm: it tells the application nothing, or its socket is leaving. Tells whether it
    /// was handled.
    pub(crate) fn on_out_of_turn(&mut self, completion: Completion) -> bool {
        let key = completion.key;
        match key.op() {
            Op::Cancel => {}
            Op::Send | Op::SendMsg => self.on_send(completion),
            Op::Timer => self.on_timer(completion),
            _ => match self.slab.hot_of(key.place(), key.generation()) {
                Some(hot) if hot.is(flag::LEAVING) => self.on_leaving(completion),
                _ => return false,
            },
        }
        true
    }

    fn on_timer(&mut self, completion: Completion) {
        self.in_flight -= 1;
        match self.timers.ended(completion.key) {
            Which::Retry => {
                self.retry_accepts();
                self.retry_short();
            }
            // This poll has looked before it heard of the timer, and wants the next one.
            Which::Look => self.wake_for_look(),
        }
    }

    /// Has a connection wait until the machine may have again what it was short of.
    #[cold]
    pub(crate) fn fall_short(&mut self, place: usize) {
        if self.slab.hot(place).enlist(flag::IN_SHORT) {
            self.short.push(place as u32);
        }
        self.wake_later();
    }

    /// Asks again for what the machine was short of.
    fn retry_short(&mut self) {
        for place in std::mem::take(&mut self.short) {
            let hot = self.slab.hot(place as usize);
            hot.flags &= !flag::IN_SHORT;
            if !hot.queue.is_empty() && hot.enlist(flag::IN_DIRTY) {
                self.dirty.push(place);
            }
            self.look_at(place as usize);
        }
    }

    /// Hands out at most `most` reports.
    fn report(&mut self, most: usize, out: &mut Events) {
        for _ in 0..most {
            let Some((event, shorter)) = self.frames.next_report(&self.limits, &mut self.slab) else { return };
            if let Some(place) = shorter
                && self.slab.hot(place).is(flag::HELD)
            {
                self.end_hold(place);
            }
            out.append(event);
        }
    }

    /// Has a poll soon, also on a sleeping core.
    pub(crate) fn wake_later(&mut self) {
        self.timers.want(Which::Retry, RETRY);
    }
}
