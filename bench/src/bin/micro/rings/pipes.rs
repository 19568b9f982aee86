//! The candidates, each behind the same two traits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use core_reactor::Ring;

/// A kind of ring for numbers.
pub(super) trait Pipe {
    const NAME: &'static str;
    type Tx: Tx;
    type Rx: Rx;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx);
}

/// A ring's sending side.
pub(super) trait Tx: Send + 'static {
    /// Sends a number, if there is room.
    fn send(&mut self, n: u64) -> bool;

    /// Sends up to `count` numbers that follow one another. Tells how many.
    fn send_bulk(&mut self, first: u64, count: u64) -> u64 {
        (0..count).take_while(|n| self.send(first + n)).count() as u64
    }
}

/// A ring's receiving side.
pub(super) trait Rx: Send + 'static {
    /// Takes a number, if there is one.
    fn receive(&mut self) -> Option<u64>;

    /// Takes up to `most` numbers, which are to be `first` and those that follow. Tells how many.
    fn receive_bulk(&mut self, first: u64, most: u64) -> u64 {
        (0..most).take_while(|n| self.receive().inspect(|got| assert_eq!(*got, first + n)).is_some()).count() as u64
    }
}

pub(super) struct Lcore;

pub(super) struct LcoreTx {
    ring: Arc<Ring<u64>>,
    bulk: VecDeque<u64>,
}

impl Pipe for Lcore {
    const NAME: &'static str = "lcore ring";
    type Tx = LcoreTx;
    type Rx = core_reactor::Receiver<u64>;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        let (ring, receiver) = Ring::new(capacity);
        (LcoreTx { ring, bulk: VecDeque::new() }, receiver)
    }
}

impl Tx for LcoreTx {
    #[inline]
    fn send(&mut self, n: u64) -> bool {
        self.ring.push(n).is_ok()
    }

    #[inline]
    fn send_bulk(&mut self, first: u64, count: u64) -> u64 {
        // What the ring had no room for last time is still at the front.
        let waiting = self.bulk.len() as u64;
        self.bulk.extend(first + waiting..first + count);
        self.ring.push_bulk(&mut self.bulk).unwrap_or(0) as u64
    }
}

impl Rx for core_reactor::Receiver<u64> {
    #[inline]
    fn receive(&mut self) -> Option<u64> {
        let n = self.pop()?;
        self.publish(1, usize::MAX);
        Some(n)
    }

    #[inline]
    fn receive_bulk(&mut self, first: u64, most: u64) -> u64 {
        let count = self.ready(most as usize);
        for n in first..first + count as u64 {
            assert_eq!(self.pop(), Some(n));
        }
        self.publish(count, usize::MAX);
        count as u64
    }
}

pub(super) struct ArrayQueue;

impl Pipe for ArrayQueue {
    const NAME: &'static str = "crossbeam ArrayQueue";
    type Tx = Arc<crossbeam_queue::ArrayQueue<u64>>;
    type Rx = Arc<crossbeam_queue::ArrayQueue<u64>>;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        let queue = Arc::new(crossbeam_queue::ArrayQueue::new(capacity));
        (queue.clone(), queue)
    }
}

impl Tx for Arc<crossbeam_queue::ArrayQueue<u64>> {
    #[inline]
    fn send(&mut self, n: u64) -> bool {
        self.push(n).is_ok()
    }
}

impl Rx for Arc<crossbeam_queue::ArrayQueue<u64>> {
    #[inline]
    fn receive(&mut self) -> Option<u64> {
        self.pop()
    }
}

pub(super) struct StdChannel;

impl Pipe for StdChannel {
    const NAME: &'static str = "std sync_channel";
    type Tx = SyncSender<u64>;
    type Rx = Receiver<u64>;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        sync_channel(capacity)
    }
}

impl Tx for SyncSender<u64> {
    #[inline]
    fn send(&mut self, n: u64) -> bool {
        self.try_send(n).is_ok()
    }
}

impl Rx for Receiver<u64> {
    #[inline]
    fn receive(&mut self) -> Option<u64> {
        self.try_recv().ok()
    }
}

pub(super) struct Rtrb;

impl Pipe for Rtrb {
    const NAME: &'static str = "rtrb (one sender)";
    type Tx = rtrb::Producer<u64>;
    type Rx = rtrb::Consumer<u64>;
    fn new(capacity: usize) -> (Self::Tx, Self::Rx) {
        rtrb::RingBuffer::new(capacity)
    }
}

impl Tx for rtrb::Producer<u64> {
    #[inline]
    fn send(&mut self, n: u64) -> bool {
        self.push(n).is_ok()
    }

    #[inline]
    fn send_bulk(&mut self, first: u64, count: u64) -> u64 {
        let count = count.min(self.slots() as u64);
        self.write_chunk_uninit(count as usize).map_or(0, |chunk| chunk.fill_from_iter(first..first + count) as u64)
    }
}

impl Rx for rtrb::Consumer<u64> {
    #[inline]
    fn receive(&mut self) -> Option<u64> {
        self.pop().ok()
    }

    #[inline]
    fn receive_bulk(&mut self, first: u64, most: u64) -> u64 {
        let count = most.min(self.slots() as u64);
        let Ok(chunk) = self.read_chunk(count as usize) else { return 0 };
        for (got, wanted) in chunk.into_iter().zip(first..) {
            assert_eq!(got, wanted);
        }
        count
    }
}

pub(super) struct HeaplessSpsc;

impl Pipe for HeaplessSpsc {
    const NAME: &'static str = "heapless spsc (one sender)";
    type Tx = heapless::spsc::Producer<'static, u64>;
    type Rx = heapless::spsc::Consumer<'static, u64>;
    fn new(_: usize) -> (Self::Tx, Self::Rx) {
        // Its ends are borrowed, so it stays for good.
        Box::leak(Box::new(heapless::spsc::Queue::<u64, { super::CAPACITY }>::new())).split()
    }
}

impl Tx for heapless::spsc::Producer<'static, u64> {
    #[inline]
    fn send(&mut self, n: u64) -> bool {
        self.enqueue(n).is_ok()
    }
}

impl Rx for heapless::spsc::Consumer<'static, u64> {
    #[inline]
    fn receive(&mut self) -> Option<u64> {
        self.dequeue()
    }
}
