//! A poll: from completions to events.

use std::rc::Rc;

use core_reactor::transport::{Op, QueueEvent, QueueEvents};
use pool::Class;

use crate::error::{posted, received};
use crate::group::{Group, READY};
use crate::member::{Link, Member, State};
use crate::verbs::{Completion, Finished, Status};

/// Polls between two looks at what can only be seen by entering the system, while nothing is being
/// connected or ended.
const NOW_AND_THEN: u32 = 256;

/// The same, while something is.
const OFTEN: u32 = 8;

impl Group {
    /// Polls once; if that finds nothing and the core may sleep, the sources are armed and looked
    /// at once more (statement 30).
    pub(crate) fn look(&mut self, out: &mut QueueEvents) -> usize {
        self.stats.polls += 1;
        self.hand_over();
        let mut found = self.turn(out);
        if found == 0 && self.sources.is_some() && self.arm() {
            found = self.turn(out);
        }
        if found == 0 {
            self.idle = self.idle.wrapping_add(1);
        } else {
            self.idle = 0;
            self.busy = self.busy.wrapping_add(1);
            self.stats.busy_polls += 1;
            self.stats.events += found as u64;
        }
        if self.view.asked().is_some() {
            self.show();
        }
        found
    }

    /// Looks at everything once. Tells how many events were appended.
    pub(crate) fn turn(&mut self, out: &mut QueueEvents) -> usize {
        let before = out.len();
        self.deliver(out);
        self.take_completions(out.room());
        if self.manager_is_due() {
            // Enters the system: seldom while connections only stand.
            self.hear_manager();
        }
        if !self.unsettled.is_empty() && self.settle() {
            // Once the queues were seen empty, these can end, and nothing else would wake a core
            // that sleeps before.
            self.take_completions(out.room());
            self.settle();
        }
        self.deliver(out);
        if out.len() == before || self.is_low() {
            self.refill();
        }
        out.len() - before
    }

    fn deliver(&mut self, out: &mut QueueEvents) {
        while out.room() > 0
            && let Some(event) = self.ready.pop_front()
        {
            let refused = out.push(event).is_err();
            debug_assert!(!refused, "there was room");
        }
    }

    /// Takes completions as long as there is room for their events.
    fn take_completions(&mut self, room: usize) {
        let ports = self.ports.len();
        // Each is the first in turn.
        let first = if ports > 1 { self.stats.polls as usize % ports } else { 0 };
        (first..ports).chain(0..first).for_each(|port| self.take_completions_of(port, room));
    }

    fn take_completions_of(&mut self, port: usize, room: usize) {
        let completions = Rc::clone(&self.ports[port].completions);
        let mut found = false;
        while self.ready.len() < room {
            let most = room - self.ready.len();
            let empty = completions.poll(most, |completion| {
                found = true;
                self.completed(port, completion);
            });
            if empty {
                break;
            }
        }
        if self.sources.is_some() {
            let anyway = self.idle % NOW_AND_THEN == NOW_AND_THEN - 1;
            let port = &mut self.ports[port];
            if found { port.found() } else { port.found_nothing(anyway) }
        }
    }

    fn completed(&mut self, port: usize, completion: Completion<'_>) {
        let Some(&place) = self.ports[port].places.get(&completion.pair) else {
            // Of a queue pair that was never made known: its buffer goes home.
            drop(self.ports[port].receive.take(completion, None));
            return;
        };
        if completion.is_receive() {
            self.received(port, place, completion);
            return;
        }
        if let Some(queue) = self.queue_at(place).and_then(|pair| pair.queue_pair()) {
            queue.complete(completion);
        }
        self.take_finished(place);
    }

    fn received(&mut self, port: usize, place: usize, completion: Completion<'_>) {
        let Some(Member::Queue(pair)) = self.members.at(place) else { return };
        let receive = &self.ports[port].receive;
        if completion.status != Status::Done {
            let why = received(completion.status, self.config.bufs.buf_size());
            receive.again(completion, pair.queue_pair().as_deref());
            if why.is_some() {
                self.end(place, why);
            }
            return;
        }
        if pair.state == State::Accepting {
            // A message may come before the event that says that the connection stands.
            self.establish(place, Box::default());
        }
        let Some(Member::Queue(pair)) = self.members.at(place) else { return };
        let (id, token, stood) = (pair.id, pair.token, pair.limits.is_some());
        let (imm, bytes, is_write) = (completion.imm, completion.bytes(), completion.is_write);
        let (receive, by) = (&self.ports[port].receive, pair.queue_pair());
        if !stood {
            return receive.again(completion, by.as_deref());
        }
        self.stats.receives += 1;
        if is_write {
            receive.again(completion, by.as_deref());
            let imm = imm.unwrap_or(0);
            self.ready.push_back(QueueEvent::Written { id, token, imm, bytes });
        } else if let Some(buf) = receive.take(completion, by.as_deref()) {
            self.stats.bytes_in += u64::from(bytes);
            self.ready.push_back(QueueEvent::Received { id, token, buf, imm });
        }
    }

    /// Tells of what has ended on a queue.
    pub(crate) fn take_finished(&mut self, place: usize) {
        let Some(Member::Queue(pair)) = self.members.at(place) else { return };
        let (id, token) = (pair.id, pair.token);
        let Link::Pair(queue) = &mut pair.link else { return };
        let mut failure = None;
        while let Some(Finished { work, status }) = queue.next_finished() {
            let error = posted(status, work.op);
            let (op, tag, frame) = (work.op, work.tag, work.frame);
            pair.reading -= u32::from(op == Op::Read);
            let stats = &mut self.stats;
            match (op, &error) {
                (_, Some(_)) => stats.errors += 1,
                (Op::Message, None) => (stats.sends, stats.bytes_out) = (stats.sends + 1, stats.bytes_out + frame.bytes() as u64),
                (Op::Write, None) => (stats.writes, stats.bytes_out) = (stats.writes + 1, stats.bytes_out + frame.bytes() as u64),
                (Op::Read, None) => stats.reads += 1,
            }
            if status != Status::Flushed && failure.is_none() {
                failure.clone_from(&error);
            }
            self.ready.push_back(QueueEvent::Done { id, token, tag, op, frame, error });
        }
        if failure.is_some() {
            self.end(place, failure);
        }
    }

    /// Whether it is time to ask the connection manager: at once while something is on its way and
    /// there is nothing better to do, or when that may be what has woken the core.
    fn manager_is_due(&self) -> bool {
        if self.ready.len() >= READY / 2 {
            // Peers ask faster than the application takes: what it has not taken must not grow.
            return false;
        }
        let quiet = self.ready.is_empty();
        let unsettled = !self.unsettled.is_empty();
        if quiet && (unsettled || self.sources.is_some() && self.idle.is_power_of_two()) {
            return true;
        }
        let polls = if quiet { self.idle } else { self.busy };
        let every = if unsettled { OFTEN } else { NOW_AND_THEN };
        polls % every == every - 1
    }

    /// Asks to be woken. Tells whether something has to be looked at once more.
    fn arm(&mut self) -> bool {
        let mut armed = false;
        for port in &mut self.ports {
            armed |= port.arm();
        }
        let until = self.next_deadline();
        let limit = until.map(|until| until.since(self.platform.now()));
        if let Some(sources) = &mut self.sources {
            sources.wake_after(limit);
        }
        self.ask_for_buffer();
        armed
    }

    fn is_low(&self) -> bool {
        self.ports.iter().any(|port| port.receive.missing() * 2 > self.config.receives as usize)
    }

    /// Posts receive buffers where they are missing, as long as there are any.
    pub(crate) fn refill(&mut self) {
        if self.wanted.is_some() {
            self.take_wanted();
        }
        let mut short = false;
        let now_and_then = self.stats.polls.is_multiple_of(u64::from(NOW_AND_THEN));
        for port in &mut self.ports {
            if port.doubts && now_and_then {
                self.stats.receives_lost += port.recover();
            }
            if port.receive.missing() == 0 {
                continue;
            }
            let bufs = &self.config.bufs;
            if let Err(why) = port.receive.refill(|| bufs.get()) {
                log::error!("device {} takes no receive buffers (error {})", port.node.name, why.0);
            }
            short |= port.receive.missing() > 0;
        }
        if short && !std::mem::replace(&mut self.short, short) {
            self.stats.buffer_waits += 1;
        }
        self.short = short;
    }

    /// Takes back the buffer that was asked for: home, to be posted as any other.
    fn take_wanted(&mut self) {
        let now = self.now_ns();
        if self.wanted.as_mut().is_some_and(|request| request.poll(now).is_some()) {
            self.wanted = None;
        }
    }

    /// If receive buffers are missing, the first one that comes home is to wake the core.
    fn ask_for_buffer(&mut self) {
        if !self.short || self.wanted.is_some() {
            return;
        }
        match self.config.bufs.request(Class::Small, 1, self.now_ns(), &self.waker) {
            Ok(request) => self.wanted = Some(request),
            // Others wait in such numbers that this one has to look again by itself.
            Err(_) => self.waker.wake_by_ref(),
        }
    }

    /// The time, for the pool's own counts. Read only while buffers are missing.
    fn now_ns(&self) -> u64 {
        self.platform.now().as_nanos()
    }
}
