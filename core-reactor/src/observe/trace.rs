//! What a core did last, for a viewer: a ring of events for each core, once it is asked for.
//!
//! The ring is words without a lock: its core writes, anybody reads, and what was overwritten
//! meanwhile is left out.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use core::time::Duration;

use crossbeam_utils::CachePadded;

use super::{CoreObserver, Label};
use crate::handle::ThreadId;
use crate::net::{GroupStats, NetError, NetEvent};
use crate::{CoreId, Cx, Instant, Name, ThreadLib};

/// Events of a core that are kept, the newest. They take 1 MiB.
const EVENTS: u64 = 1 << 15;

/// Tracepoints that are switched on together. A tracepoint's bit in the group's mask is its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceGroup {
    /// Its name.
    pub name: &'static str,
    /// Its tracepoints.
    pub points: &'static [&'static str],
}

/// All groups.
pub const TRACE_GROUPS: [TraceGroup; 4] = [
    TraceGroup { name: "reactor", points: &["turn", "sleep", "events"] },
    TraceGroup { name: "thread", points: &["poller", "messages"] },
    TraceGroup { name: "app", points: &["app"] },
    TraceGroup { name: "sock", points: &["accept", "connect", "receive", "send", "close", "stall"] },
];

/// A tracepoint, by its bit in the word of a core: eight for each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point(u32);

impl Point {
    pub(super) const TURN: Self = Self(0);
    pub(super) const SLEEP: Self = Self(1);
    pub(super) const EVENTS: Self = Self(2);
    pub(super) const POLLER: Self = Self(8);
    pub(super) const MESSAGES: Self = Self(9);
    pub(super) const APP: Self = Self(16);
    const ACCEPT: Self = Self(24);
    const CONNECT: Self = Self(25);
    const RECEIVE: Self = Self(26);
    const SEND: Self = Self(27);
    const CLOSE: Self = Self(28);
    const STALL: Self = Self(29);

    pub(super) const fn bit(self) -> u64 {
        1 << self.0
    }

    fn group(self) -> &'static TraceGroup {
        &TRACE_GROUPS[(self.0 / 8) as usize]
    }
}

/// Something that an application traces, by name (see [`ThreadLib::tracepoint`]).
#[derive(Clone, Copy, Debug)]
pub struct Tracepoint(Label);

/// What a core did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// When it began.
    pub start: Instant,
    /// How long it took; zero for what an application told by [`Cx::trace`].
    pub duration: Duration,
    /// The group that it is of.
    pub group: &'static str,
    /// The tracepoint.
    pub point: &'static str,
    /// What it was: the name of a poller or of an application's tracepoint; empty if the tracepoint
    /// says all.
    pub name: Name,
    /// The thread; empty for what is the reactor's own.
    pub thread: Name,
    /// Messages that ran, or events of the reactor; how late a sleep ended, nanoseconds; bytes that
    /// a socket received or a group sent, and else of sockets the token; or what the application
    /// said.
    pub value: u64,
}

/// What one core did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CoreTrace {
    /// Its number.
    pub core: CoreId,
    /// In the order in which they began; what holds others comes before them.
    pub events: Vec<TraceEvent>,
    /// How many were there, and had to make room for these.
    pub lost: u64,
}

/// The events of a core. Position `p` lies in slot `p % EVENTS`.
pub(super) struct Ring {
    /// How many were written.
    head: AtomicU64,
    /// Those before it were cleared.
    from: AtomicU64,
    slots: Box<[[AtomicU64; 4]]>,
}

/// An event as it lies in the ring.
#[derive(Clone, Copy)]
pub(super) struct Raw {
    pub(super) point: Point,
    pub(super) label: Label,
    pub(super) thread: ThreadId,
    pub(super) start: Instant,
    pub(super) end: Instant,
    pub(super) value: u64,
}

impl Raw {
    /// The thread's number has 40 bits.
    fn to_words(self) -> [u64; 4] {
        let what = u64::from(self.point.0) | u64::from(self.label.0) << 8 | self.thread.0 << 24;
        [self.start.as_nanos(), self.end.as_nanos(), what, self.value]
    }

    fn of_words([start, end, what, value]: [u64; 4]) -> Self {
        Self {
            point: Point((what & 0xff) as u32),
            label: Label((what >> 8) as u16),
            thread: ThreadId(what >> 24),
            start: Instant::from_nanos(start),
            end: Instant::from_nanos(end),
            value,
        }
    }
}

impl Ring {
    pub(super) fn new() -> Self {
        let slots = (0..EVENTS).map(|_| [const { AtomicU64::new(0) }; 4]).collect();
        Self { head: AtomicU64::new(0), from: AtomicU64::new(0), slots }
    }

    /// By its core alone.
    pub(super) fn push(&self, event: Raw) {
        let head = self.head.load(Ordering::Relaxed);
        // A reader that sees what is written from here on sees this position as well, and takes
        // nothing from the slot.
        fence(Ordering::Release);
        let slot = &self.slots[(head % EVENTS) as usize];
        slot.iter().zip(event.to_words()).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        self.head.store(head + 1, Ordering::Release);
    }

    fn clear(&self) {
        self.from.store(self.head.load(Ordering::Acquire), Ordering::Relaxed);
    }

    /// Those that are there, and how many are not any more.
    fn read(&self) -> (Vec<Raw>, u64) {
        let (from, head) = (self.from.load(Ordering::Relaxed), self.head.load(Ordering::Acquire));
        let first = from.max(head.saturating_sub(EVENTS));
        let words = |at: u64| {
            let slot = &self.slots[(at % EVENTS) as usize];
            [0, 1, 2, 3].map(|word| slot[word].load(Ordering::Relaxed))
        };
        let mut events: Vec<_> = (first..head).map(|at| Raw::of_words(words(at))).collect();
        fence(Ordering::Acquire);
        // What has been overwritten since, and what may be being so.
        let whole = (self.head.load(Ordering::Relaxed) + 1).saturating_sub(EVENTS).clamp(first, head);
        events.drain(..(whole - first) as usize);
        (events, whole - from)
    }
}

impl CoreObserver {
    #[inline(always)]
    pub(super) fn traces(&self, point: Point) -> bool {
        self.traced.load(Ordering::Relaxed) & point.bit() != 0
    }

    #[cold]
    pub(super) fn trace(&self, event: Raw) {
        if let Some(ring) = self.ring.get() {
            ring.push(event);
        }
    }

    /// Traces these from now on. The ring is made by whoever asks, and stays.
    fn set_traced(&self, mask: u64) {
        if mask != 0 {
            self.ring.call_once(Ring::new);
        }
        // While threads are traced the clock is read after each poller, or a busy one would begin
        // where the idle ones before it did.
        let closely = if mask & (Point::POLLER.bit() | Point::MESSAGES.bit()) != 0 { u64::MAX } else { 0 };
        self.closely_until.store(closely, Ordering::Relaxed);
        self.traced.store(mask, Ordering::Relaxed);
    }
}

/// Traces what becomes of a group's sockets: a look at a word of the core for each of its polls,
/// and nothing for a socket while the group `sock` is off.
pub struct SocketTrace {
    core: Arc<CachePadded<CoreObserver>>,
    thread: ThreadId,
    /// The poll that was traced last, and what had been sent by then.
    last: (u64, u64),
}

impl fmt::Debug for SocketTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketTrace").finish_non_exhaustive()
    }
}

impl SocketTrace {
    /// For a group on the core and thread of `cx`, which it pins.
    pub fn new(cx: &Cx<'_>) -> Self {
        Self { core: cx.thread.observer.core.clone(), thread: cx.thread.shared.id, last: (0, 0) }
    }

    /// For a group without a reactor.
    pub fn nowhere() -> Self {
        Self { core: Arc::new(CachePadded::new(CoreObserver::new(CoreId(0)))), thread: ThreadId(0), last: (0, 0) }
    }

    /// Whether anything of sockets is traced.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.core.traced.load(Ordering::Relaxed) >> Point::ACCEPT.0 != 0
    }

    /// Traces a poll: its events, and how many bytes the system has taken since the poll before.
    #[cold]
    pub fn polled<'a>(&mut self, events: impl Iterator<Item = &'a NetEvent>, stats: &GroupStats, now: Instant) {
        for event in events {
            match event {
                NetEvent::Accepted { token, .. } => self.note(Point::ACCEPT, token.0, now),
                NetEvent::Connected { token, .. } => self.note(Point::CONNECT, token.0, now),
                NetEvent::Received { buf, .. } => self.note(Point::RECEIVE, buf.len() as u64, now),
                NetEvent::Closed { token, why: Some(NetError::Stalled { .. }), .. } => self.note(Point::STALL, token.0, now),
                NetEvent::Closed { token, .. } => self.note(Point::CLOSE, token.0, now),
                _ => {}
            }
        }
        // What was sent while nothing was traced is none of this poll's.
        let (poll, before) = core::mem::replace(&mut self.last, (stats.polls, stats.bytes_out));
        if poll + 1 == stats.polls && stats.bytes_out > before {
            self.note(Point::SEND, stats.bytes_out - before, now);
        }
    }

    fn note(&self, point: Point, value: u64, now: Instant) {
        if self.core.traces(point) {
            self.core.trace(Raw { point, label: Label::OTHERS, thread: self.thread, start: now, end: now, value });
        }
    }
}

impl ThreadLib {
    /// The tracepoints of a group that are switched on.
    ///
    /// # Panics
    /// There is no such group: `group` is a place in [`TRACE_GROUPS`].
    pub fn traced(&self, group: usize) -> u8 {
        assert!(group < TRACE_GROUPS.len(), "there is no group {group}");
        let mask = *self.set.observer.traced.lock();
        (mask >> (group * 8)) as u8
    }

    /// Switches the tracepoints of a group on whose bits are set, and the others off. What was
    /// traced stays there. The first time it takes 1 MiB for each core, and a while: not for
    /// reactors.
    ///
    /// # Panics
    /// As [`traced`](Self::traced).
    pub fn set_traced(&self, group: usize, points: u8) {
        assert!(group < TRACE_GROUPS.len(), "there is no group {group}");
        let known = u8::MAX >> (8 - TRACE_GROUPS[group].points.len());
        let mut mask = self.set.observer.traced.lock();
        *mask = *mask & !(0xff << (group * 8)) | u64::from(points & known) << (group * 8);
        // Under the lock, so that no core keeps what another caller has changed.
        self.set.observer.cores.iter().for_each(|core| core.set_traced(*mask));
    }

    /// Forgets what was traced.
    pub fn clear_trace(&self) {
        self.set.observer.cores.iter().filter_map(|core| core.ring.get()).for_each(Ring::clear);
    }

    /// What was traced, of each core the newest 32,768 events. It takes a while: not for reactors.
    pub fn trace(&self) -> Vec<CoreTrace> {
        let cores = self.set.observer.cores.iter().filter_map(|core| Some((core.core, core.ring.get()?.read())));
        let labels = || self.set.observer.labels.lock();
        let mut threads = BTreeMap::new();
        let mut name = |thread: ThreadId| {
            let found = || self.set.thread_name(thread).unwrap_or_default();
            threads.entry(thread).or_insert_with(found).clone()
        };
        let told = cores.map(|(core, (mut raw, lost))| {
            raw.sort_by_key(|event| (event.start, Reverse(event.end), event.point.0));
            let event = |raw: Raw| TraceEvent {
                start: raw.start,
                duration: raw.end.since(raw.start),
                group: raw.point.group().name,
                point: raw.point.group().points[(raw.point.0 % 8) as usize],
                name: if matches!(raw.point, Point::POLLER | Point::APP) { labels().name(raw.label) } else { Name::new() },
                thread: if raw.thread == ThreadId(0) { Name::new() } else { name(raw.thread) },
                value: raw.value,
            };
            CoreTrace { core, events: raw.into_iter().map(event).collect(), lost }
        });
        told.collect()
    }

    /// A tracepoint of the application's group `app`. The same name is the same tracepoint; there
    /// are 4,000 different names, of pollers and these, and those beyond are called `(others)`.
    pub fn tracepoint(&self, name: &str) -> Tracepoint {
        Tracepoint(self.set.observer.label(&crate::Name::from(name)))
    }
}

impl Cx<'_> {
    /// Notes that something happens now, with a number that says more of it. One branch while the
    /// group `app` is off.
    ///
    /// ```
    /// # use core_reactor::{Cx, Tracepoint};
    /// fn look_up(cx: &Cx<'_>, missed: Tracepoint, block: u64) {
    ///     cx.trace(missed, block);
    /// }
    /// ```
    #[inline]
    pub fn trace(&self, what: Tracepoint, value: u64) {
        if self.thread.observer.core.traces(Point::APP) {
            let now = self.clock();
            self.note(what, value, now, now);
        }
    }

    /// Does something, and notes how long it takes.
    #[inline]
    pub fn traced<R>(&mut self, what: Tracepoint, value: u64, f: impl FnOnce(&mut Self) -> R) -> R {
        if !self.thread.observer.core.traces(Point::APP) {
            return f(self);
        }
        let start = self.clock();
        let result = f(self);
        self.note(what, value, start, self.clock());
        result
    }

    fn note(&self, what: Tracepoint, value: u64, start: Instant, end: Instant) {
        let thread = self.thread.shared.id;
        self.thread.observer.core.trace(Raw { point: Point::APP, label: what.0, thread, start, end, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64) -> Raw {
        let at = Instant::from_nanos(at);
        Raw {
            point: Point::MESSAGES,
            label: Label(4095),
            thread: ThreadId((1 << 40) - 1),
            start: at,
            end: at.plus_nanos(1),
            value: u64::MAX,
        }
    }

    #[test]
    fn s185_a_ring_that_wraps_keeps_the_newest() {
        let ring = Ring::new();
        let starts = |ring: &Ring| {
            let (events, lost) = ring.read();
            (events.first().map(|e| e.start.as_nanos()), events.last().map(|e| e.start.as_nanos()), events.len() as u64, lost)
        };
        assert_eq!(starts(&ring), (None, None, 0, 0));
        (0..10).for_each(|at| ring.push(event(at)));
        assert_eq!(starts(&ring), (Some(0), Some(9), 10, 0));
        (10..EVENTS + 10).for_each(|at| ring.push(event(at)));
        // The one that may be being overwritten is left out.
        assert_eq!(starts(&ring), (Some(11), Some(EVENTS + 9), EVENTS - 1, 11));
        ring.clear();
        ring.push(event(7));
        assert_eq!(starts(&ring), (Some(7), Some(7), 1, 0));
    }

    #[test]
    fn s185_an_event_comes_out_of_its_words_as_it_went_in() {
        let raw = event(u64::MAX - 1);
        let out = Raw::of_words(raw.to_words());
        assert_eq!((out.point, out.label, out.thread, out.value), (raw.point, raw.label, raw.thread, raw.value));
        assert_eq!((out.start, out.end), (raw.start, raw.end));
    }

    /// Words of an event belong together: what is torn is not told.
    #[test]
    fn s185_what_is_read_while_it_is_written_is_whole() {
        extern crate std;
        let ring = Ring::new();
        let done = core::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for at in 1..EVENTS * 8 {
                    let start = Instant::from_nanos(at);
                    ring.push(Raw { start, end: start.plus_nanos(at), value: at, ..event(0) });
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let (events, _) = ring.read();
                let whole = |e: &Raw| e.value == e.start.as_nanos() && e.end.nanos_since(e.start) == e.value;
                assert!(events.iter().all(whole));
                assert!(events.windows(2).all(|pair| pair[0].value + 1 == pair[1].value));
            }
        });
    }
}
