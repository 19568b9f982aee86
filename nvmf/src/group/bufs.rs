//! Buffers of commands, and which commands wait for one.
//!
//! Data that goes to a host has its header put in front of it, and its digest behind, in the same
//! buffer: so a read is one piece to send. Commands wait in the order in which they came, and no
//! later one goes past them.

use alloc::collections::VecDeque;
use core::task::Waker;

use core_reactor::Instant;
use nvme::target::Tag;
use pool::{Buf, BufGroup, Class, Request};

use crate::association::QueueKey;

/// Bytes in front of data: a page, so that the data is aligned as any device may ask.
pub(crate) const HEADROOM: usize = 4096;

/// Behind it: the digest.
const TAIL: usize = 4;

/// Buffers that a group has for in-capsule data alone. One is enough to go on; a few are as many
/// writes as a disk may have of queues that were held back.
pub(crate) const CAPSULES: usize = 4;

/// Commands that have left a line are taken out of it once so many may be there.
const MANY: usize = 64;

/// A command that waits for a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) queue: QueueKey,
    pub(crate) tag: Tag,
    /// No other has the same. A tag may be another command's by now.
    pub(crate) ticket: u64,
}

/// The buffers of a poll group's commands.
///
/// Data in a capsule has come already, or is what comes next: until there is a buffer for it
/// nothing behind it can be read, and what is behind it may be the data of commands that have all
/// other buffers. So there are a few for such data alone.
pub(crate) struct Bufs {
    shared: BufGroup,
    waker: Waker,
    lines: [Line; 2],
    capsules: BufGroup,
    /// Commands with data in their capsules. They are in one of `lines`, too.
    of_capsules: Line,
    tickets: u64,
}

/// Who waits for buffers of a class.
struct Line {
    class: Class,
    fits: usize,
    waiting: VecDeque<Waiter>,
    /// When there are so many it is looked who has left.
    many: usize,
    /// What was asked for, for the first of them.
    request: Option<Request>,
}

impl Bufs {
    /// Of the `shared` buffers of a group, and a few for data in `capsules` that hold the most
    /// data.
    pub(crate) fn new(shared: BufGroup, capsules: BufGroup, waker: Waker) -> Self {
        let lines = [Line::new(&shared, Class::Small), Line::new(&shared, Class::Large)];
        let of_capsules = Line::new(&capsules, Class::Small);
        Self { shared, waker, lines, capsules, of_capsules, tickets: 0 }
    }

    /// A buffer with room for `length` bytes of data, unless others wait for such a one.
    #[inline]
    pub(crate) fn get(&self, length: u32) -> Option<Buf> {
        let line = &self.lines[self.line_of(length)];
        if !line.waiting.is_empty() {
            return None;
        }
        self.shared.get_class(line.class).map(with_headroom)
    }

    /// A small buffer for what is no data, past those who wait.
    pub(crate) fn get_control(&self) -> Option<Buf> {
        self.shared.get_class(Class::Control).or_else(|| self.shared.get())
    }

    /// A command waits for a buffer for `length` bytes, which come in its capsule or not. Its
    /// ticket.
    pub(crate) fn wait(&mut self, queue: QueueKey, tag: Tag, length: u32, in_capsule: bool) -> u64 {
        self.tickets += 1;
        let waiter = Waiter { queue, tag, ticket: self.tickets };
        let line = self.line_of(length);
        self.lines[line].waiting.push_back(waiter);
        if in_capsule {
            self.of_capsules.waiting.push_back(waiter);
        }
        self.tickets
    }

    /// The first command that waits and for which there is a buffer now. `is_there` tells whether a
    /// command still waits.
    pub(crate) fn serve(&mut self, now: Instant, is_there: impl Fn(&Waiter) -> bool) -> Option<(Waiter, Buf)> {
        let Self { shared, waker, lines, capsules, of_capsules, .. } = self;
        let served = lines.iter_mut().find_map(|line| line.serve(shared, waker, now, &is_there));
        served.or_else(|| of_capsules.serve(capsules, waker, now, &is_there))
    }

    /// Whether anybody waits.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        let [small, large] = &self.lines;
        [small, large, &self.of_capsules].iter().any(|line| !line.waiting.is_empty())
    }

    fn line_of(&self, length: u32) -> usize {
        usize::from(length as usize > self.lines[0].fits)
    }
}

impl Line {
    fn new(group: &BufGroup, class: Class) -> Self {
        Self { class, fits: fits(group.size_of(class)), waiting: VecDeque::new(), many: MANY, request: None }
    }

    #[inline]
    fn serve(&mut self, group: &BufGroup, waker: &Waker, now: Instant, is_there: &impl Fn(&Waiter) -> bool) -> Option<(Waiter, Buf)> {
        while self.waiting.front().is_some_and(|waiter| !is_there(waiter)) {
            self.waiting.pop_front();
        }
        if self.waiting.len() >= self.many {
            // A host may have commands aborted that wait, and send others, as often as it likes.
            self.waiting.retain(is_there);
            self.many = MANY + 2 * self.waiting.len();
        }
        if self.waiting.is_empty() {
            // What was granted meanwhile passes to others.
            self.request = None;
            return None;
        }
        if self.request.is_none() {
            // A queue that is full of other groups' requests is tried again with the next poll.
            self.request = group.request(self.class, 1, now.as_nanos(), waker).ok();
        }
        let buf = self.request.as_mut()?.poll(now.as_nanos())?.next()?;
        self.request = None;
        self.waiting.pop_front().map(|waiter| (waiter, with_headroom(buf)))
    }
}

fn with_headroom(mut buf: Buf) -> Buf {
    buf.grow(HEADROOM);
    buf.advance(HEADROOM);
    buf
}

/// Bytes of data that fit into a buffer of `size`.
pub(crate) fn fits(size: usize) -> usize {
    size.saturating_sub(HEADROOM + TAIL)
}

#[cfg(test)]
mod tests {

    use nvme::command::Sqe;
    use nvme::fabrics::CONNECT;
    use nvme::target::{Event, Queue, Settings};
    use pool::{ClassConfig, DataPool, DataPoolConfig, ReserveConfig};

    use super::*;

    /// Some tag: those are given by a queue alone.
    fn tag() -> Tag {
        let mut queue = Queue::new(Settings::default(), Default::default());
        let (mut host, hello) = nvme::host::Queue::new(nvme::host::Settings { shape: Default::default(), commands: 1, in_capsule: 8192 });
        let hello = hello.parts().concat();
        let Ok(Some(Event::Reply(head))) = queue.receive(&mut &hello[..]) else { panic!("no answer") };
        let _ = host.receive(&mut &head.parts().concat()[..]);
        let command = host.submit(Sqe::fabrics(CONNECT), nvme::host::Payload::None).expect("room");
        let bytes = command.head.parts().concat();
        match queue.receive(&mut &bytes[..]) {
            Ok(Some(Event::Command { tag, .. })) => tag,
            other => panic!("{other:?}"),
        }
    }

    fn key(place: u32) -> QueueKey {
        QueueKey { place, generation: 0 }
    }

    /// One small buffer, and one for data in capsules.
    fn bufs() -> Bufs {
        let none = ClassConfig { count: 0, size: 0 };
        let small = ClassConfig { count: 1, size: 16 << 10 };
        let one = || {
            let pool = DataPool::on_heap(DataPoolConfig::DEFAULT.small(small).large(none).control(none).waiters(4)).expect("a pool");
            pool.group(ReserveConfig { small: 1, large: 0, control: 0 }).expect("a group")
        };
        Bufs::new(one(), one(), Waker::noop().clone())
    }

    #[test]
    fn s277_a_line_is_kept_and_who_has_left_it_is_passed_over() {
        let mut bufs = bufs();
        let only = bufs.get(512).expect("a buffer");
        assert!(bufs.get(512).is_none());
        for place in 0..3 {
            bufs.wait(key(place), tag(), 512, false);
        }
        drop(only);
        assert!(bufs.get(512).is_none(), "nobody goes past who waits");
        let now = Instant::ZERO;
        // The first has left the line.
        let (next, buf) = bufs.serve(now, |it| it.queue.place != 0).expect("a buffer");
        assert_eq!((next.queue.place, buf.len()), (1, 0));
        assert!(bufs.serve(now, |_| true).is_none());
        drop(buf);
        // The last has left it, too: nobody waits, and the buffer is anybody's.
        assert!(bufs.serve(now, |_| false).is_none() && !bufs.is_short());
        assert!(bufs.get(512).is_some());
    }

    #[test]
    fn s394_data_in_capsules_has_buffers_that_nothing_else_takes() {
        let mut bufs = bufs();
        let _shared = bufs.get(512).expect("a buffer");
        bufs.wait(key(0), tag(), 512, false);
        let first = bufs.wait(key(1), tag(), 512, true);
        bufs.wait(key(2), tag(), 512, true);
        let (next, own) = bufs.serve(Instant::ZERO, |_| true).expect("a buffer");
        assert_eq!((next.queue.place, next.ticket), (1, first), "past the one whose data is not in its capsule");
        assert!(bufs.serve(Instant::ZERO, |it| it.ticket != first).is_none());
        drop(own);
        let (next, _own) = bufs.serve(Instant::ZERO, |it| it.ticket != first).expect("a buffer");
        assert_eq!(next.queue.place, 2);
    }

    #[test]
    fn s395_who_has_left_a_line_takes_no_room_in_it() {
        let mut bufs = bufs();
        let _shared = bufs.get(512).expect("a buffer");
        bufs.wait(key(2), tag(), 512, true);
        let _own = bufs.serve(Instant::ZERO, |_| true).expect("another");
        let first = bufs.wait(key(0), tag(), 512, true);
        for _ in 0..10_000 {
            let last = bufs.wait(key(1), tag(), 512, true);
            assert!(bufs.serve(Instant::ZERO, |it| [first, last].contains(&it.ticket)).is_none());
        }
        let longest = bufs.lines.iter().chain([&bufs.of_capsules]).map(|line| line.waiting.len()).max();
        assert!(longest.is_some_and(|longest| longest < 2 * MANY), "{longest:?}");
    }
}
