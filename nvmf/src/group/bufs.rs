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

/// A command that waits for a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) queue: QueueKey,
    pub(crate) tag: Tag,
    /// How many bytes of data it has. A tag may be another command's by now.
    pub(crate) length: u32,
}

/// The buffers of a poll group's commands.
pub(crate) struct Bufs {
    group: BufGroup,
    waker: Waker,
    lines: [Line; 2],
}

/// Who waits for buffers of a class.
struct Line {
    class: Class,
    fits: usize,
    waiting: VecDeque<Waiter>,
    /// What was asked for, for the first of them.
    request: Option<Request>,
}

impl Bufs {
    pub(crate) fn new(group: BufGroup, waker: Waker) -> Self {
        let line = |class| Line { class, fits: fits(group.size_of(class)), waiting: VecDeque::new(), request: None };
        let lines = [line(Class::Small), line(Class::Large)];
        Self { group, waker, lines }
    }

    /// A buffer with room for `length` bytes of data, unless others wait for such a one.
    #[inline]
    pub(crate) fn get(&self, length: u32) -> Option<Buf> {
        let line = &self.lines[self.line_of(length)];
        if !line.waiting.is_empty() {
            return None;
        }
        self.group.get_class(line.class).map(with_headroom)
    }

    /// A small buffer for what is no data, past those who wait.
    pub(crate) fn get_control(&self) -> Option<Buf> {
        self.group.get_class(Class::Control).or_else(|| self.group.get())
    }

    /// A command waits for a buffer.
    pub(crate) fn wait(&mut self, waiter: Waiter) {
        let line = self.line_of(waiter.length);
        self.lines[line].waiting.push_back(waiter);
    }

    /// The first command that waits and for which there is a buffer now. `is_there` tells whether a
    /// command still waits.
    pub(crate) fn serve(&mut self, now: Instant, is_there: impl Fn(&Waiter) -> bool) -> Option<(Waiter, Buf)> {
        let Self { group, waker, lines } = self;
        lines.iter_mut().find_map(|line| line.serve(group, waker, now, &is_there))
    }

    /// Whether anybody waits.
    pub(crate) fn is_short(&self) -> bool {
        self.lines.iter().any(|line| !line.waiting.is_empty())
    }

    fn line_of(&self, length: u32) -> usize {
        usize::from(length as usize > self.lines[0].fits)
    }
}

impl Line {
    #[inline]
    fn serve(&mut self, group: &BufGroup, waker: &Waker, now: Instant, is_there: &impl Fn(&Waiter) -> bool) -> Option<(Waiter, Buf)> {
        while self.waiting.front().is_some_and(|waiter| !is_there(waiter)) {
            self.waiting.pop_front();
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

    fn waiter(place: u32) -> Waiter {
        Waiter { queue: QueueKey { place, generation: 0 }, tag: tag(), length: 512 }
    }

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

    #[test]
    fn s277_a_line_is_kept_and_who_has_left_it_is_passed_over() {
        let none = ClassConfig { count: 0, size: 0 };
        let small = ClassConfig { count: 1, size: 16 << 10 };
        let pool = DataPool::on_heap(DataPoolConfig::DEFAULT.small(small).large(none).control(none).waiters(4)).expect("a pool");
        let group = pool.group(ReserveConfig { small: 1, large: 0, control: 0 }).expect("a group");
        let mut bufs = Bufs::new(group, Waker::noop().clone());
        let only = bufs.get(512).expect("a buffer");
        assert!(bufs.get(512).is_none());
        for place in 0..3 {
            bufs.wait(waiter(place));
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
}
