//! How queues end, and those whose state does not last.

use std::time::Duration;

use core_reactor::Instant;
use core_reactor::transport::{QueueEvent, QueueEvents, TransportError};

use crate::group::Group;
use crate::member::{Link, Member, State};

/// Time for the peer to hear of the end, and for the device to flush; after it the queue pair is
/// destroyed as it is.
const LINGER: Duration = Duration::from_millis(500);

/// Time for the device to flush the receive that a queue pair may have taken for a message whose
/// end does not come, where it does not tell that it has. Linux 6.1's Soft-RoCE does not tell, and
/// flushes at once, but by a task of its own.
const FLUSH: Duration = Duration::from_millis(20);

/// Time for a group that is dropped to have its requests flushed.
const DRAIN: Duration = Duration::from_secs(1);

impl Group {
    /// Begins a queue's end, unless it has begun. The first error is why.
    pub(crate) fn end(&mut self, place: usize, why: Option<TransportError>) {
        let Some(Member::Queue(pair)) = self.members.at(place) else { return };
        pair.blame(why);
        match pair.state {
            State::Connecting | State::Accepting => {
                // There is nobody to be told but by the connection manager itself, when the id
                // goes.
                pair.until = Instant::ZERO;
                pair.disconnected = true;
                pair.state = State::Ending;
            }
            State::Open => {
                if let Link::Pair(queue) = &pair.link
                    && let Err(why) = queue.id().disconnect()
                {
                    log::debug!("the connection with {} was gone before its end (error {})", pair.peer, why.0);
                    pair.disconnected = true;
                }
                let now = self.platform.now();
                (pair.until, pair.flushed) = (now + LINGER, now + FLUSH);
                pair.state = State::Ending;
                self.unsettled.push(place);
            }
            State::Ending | State::Draining => {}
        }
    }

    /// The device is gone: nothing can be waited for.
    pub(crate) fn removed(&mut self, place: usize, why: TransportError) {
        self.end(place, Some(why));
        if let Some(pair) = self.queue_at(place) {
            (pair.disconnected, pair.until) = (true, Instant::ZERO);
        }
    }

    /// Looks after the queues whose state does not last. Tells whether the completion queues are to
    /// be seen empty before it can go on.
    pub(crate) fn settle(&mut self) -> bool {
        let now = self.platform.now();
        let mut drains = false;
        let mut next = 0;
        while let Some(&place) = self.unsettled.get(next) {
            drains |= self.advance(place, now);
            // Those that ended, or stand, have left the list, and another has this one's place.
            next += usize::from(self.unsettled.get(next) == Some(&place));
        }
        drains
    }

    /// Brings one of them on, if it is time. Tells whether it waits for its completion queue to be
    /// empty.
    fn advance(&mut self, place: usize, now: Instant) -> bool {
        let Some(Member::Queue(pair)) = self.members.at(place) else { return false };
        match pair.state {
            State::Connecting | State::Accepting if now >= pair.until => {
                self.end(place, Some(TransportError::TimedOut));
                self.advance(place, now)
            }
            State::Ending => {
                let busy = pair.queue_pair().is_some_and(|queue| queue.is_busy());
                if now < pair.until && (busy || !pair.disconnected || self.may_flush(place, now)) {
                    return false;
                }
                self.drain(place)
            }
            State::Draining => {
                if pair.queue_pair().is_some_and(|queue| !queue.is_drained()) {
                    return true;
                }
                self.finish(place);
                false
            }
            _ => false,
        }
    }

    /// Whether the device may still have a receive to flush: not when it has told that it has not,
    /// or time is up. What it then has is lost with the queue pair.
    fn may_flush(&mut self, place: usize, now: Instant) -> bool {
        let Some(Member::Queue(pair)) = self.members.at(place) else { return false };
        let (Link::Pair(queue), Some(port)) = (&pair.link, self.ports.get(pair.port)) else { return false };
        if now < pair.flushed && port.node.is_at_its_end(queue.number()) {
            pair.flushed = Instant::ZERO;
        }
        now < pair.flushed
    }

    /// Destroys the queue pair, so that the device lets go of what was posted.
    fn drain(&mut self, place: usize) -> bool {
        let Some(Member::Queue(pair)) = self.members.at(place) else { return false };
        let Link::Pair(queue) = &mut pair.link else {
            self.finish(place);
            return false;
        };
        if !queue.destroy() {
            log::error!("what was posted to {} is lost", pair.peer);
        }
        pair.state = State::Draining;
        true
    }

    /// Gives back what is left, and tells of the end.
    fn finish(&mut self, place: usize) {
        if let Some(queue) = self.queue_at(place).and_then(|pair| pair.queue_pair()) {
            queue.flush_rest();
        }
        self.take_finished(place);
        let Some(pair) = self.queue_at(place) else { return };
        let (id, exposed) = (pair.id, pair.exposed);
        if exposed > 0 {
            self.withdraw_all(id);
        }
        self.unsettled.retain(|unsettled| *unsettled != place);
        let Some(Member::Queue(pair)) = self.members.remove(place) else { return };
        self.operations -= pair.options.send_depth;
        if let Link::Pair(queue) = &pair.link {
            self.stats.receives_lost += self.ports[pair.port].forget(queue.number());
        }
        let why = pair.why.filter(|_| !pair.asked);
        self.ready.push_back(QueueEvent::Closed { id, token: pair.token, why });
    }

    /// When the earliest of them is to be looked at again.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        if self.unsettled.is_empty() {
            return None;
        }
        let (members, now) = (&mut self.members, self.platform.now());
        let until = |place: &usize| match members.at(*place) {
            // The device's word that it has flushed wakes nobody.
            Some(Member::Queue(pair)) if pair.state == State::Ending && pair.flushed > now => Some(pair.until.min(pair.flushed)),
            Some(Member::Queue(pair)) => Some(pair.until),
            _ => None,
        };
        self.unsettled.iter().filter_map(until).min()
    }

    /// Ends everything, and lets the device flush what it has.
    fn wind_up(&mut self) {
        let places: Vec<_> = self.members.taken().collect();
        for place in places {
            if let Some(pair) = self.queue_at(place) {
                pair.asked = true;
                self.end(place, None);
            }
            // Nobody is waited for but the device.
            if let Some(pair) = self.queue_at(place) {
                pair.disconnected = true;
            }
        }
        let end = self.platform.now() + DRAIN;
        let mut forgotten = QueueEvents::new(64);
        while !self.unsettled.is_empty() && self.platform.now() < end {
            if self.turn(&mut forgotten) == 0 {
                std::thread::yield_now();
            }
            forgotten.drain().for_each(drop);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.wind_up();
        if !self.unsettled.is_empty() {
            log::error!("{} queues of a group that has ended could not be drained", self.unsettled.len());
        }
    }
}
