//! Statements 26 to 28 under load: cores that take, send, return and wait for buffers at random,
//! and every buffer home at the end.
#![cfg(not(loom))]

use std::sync::Barrier;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use pool::{Buf, BufGroup, Class, ClassConfig, DataPool, DataPoolConfig, ReserveConfig, SendBuf};

const CORES: usize = 4;
const ROUNDS: u32 = 20_000;
const CLASSES: [Class; 2] = [Class::Small, Class::Large];

/// A core's share of the work: its group, what it holds, and the other cores.
struct Core {
    group: BufGroup,
    held: Vec<Buf>,
    inbox: Receiver<SendBuf>,
    others: Vec<Sender<SendBuf>>,
    random: u32,
}

impl Core {
    fn run(mut self) {
        for _ in 0..ROUNDS {
            match self.random(8) {
                0..=2 => self.take(),
                3 => self.wait(),
                4 => self.send(),
                5 => self.receive(),
                _ => self.put(),
            }
        }
        self.held.clear();
        self.others.clear();
        // Until the last core has stopped: the others may wait for what lies in this inbox.
        while let Ok(buf) = self.inbox.recv() {
            check(&buf);
        }
    }

    fn take(&mut self) {
        let class = CLASSES[self.random(2) as usize];
        let Some(buf) = self.group.get_class(class) else { return };
        self.keep(buf);
    }

    /// Asks for several and waits, holding nothing.
    fn wait(&mut self) {
        self.held.clear();
        let (class, count) = (CLASSES[self.random(2) as usize], 1 + self.random(6) as usize);
        let mut request = self.group.request(class, count, 0, Waker::noop()).unwrap();
        if self.random(4) == 0 {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        let granted = loop {
            match request.poll(0) {
                Some(granted) => break granted,
                None => assert!(Instant::now() < deadline, "{count} {class:?} never came: {:?}", self.group),
            }
            self.receive();
            self.held.clear();
            thread::yield_now();
        };
        assert_eq!(granted.len(), count);
        let some = self.random(7) as usize;
        for buf in granted.take(some) {
            self.keep(buf);
        }
    }

    fn send(&mut self) {
        let Some(buf) = self.held.pop() else { return };
        let to = self.random(self.others.len() as u32) as usize;
        self.others[to].send(buf.into_send()).unwrap();
    }

    fn receive(&mut self) {
        while let Ok(buf) = self.inbox.try_recv() {
            check(&buf);
            if self.random(2) == 0 {
                self.held.push(buf.into_local(&self.group));
            }
        }
    }

    fn put(&mut self) {
        if !self.held.is_empty() {
            let at = self.random(self.held.len() as u32) as usize;
            check(&self.held.swap_remove(at));
        }
    }

    /// Writes who it is into a buffer: a second holder of it would be noticed.
    fn keep(&mut self, mut buf: Buf) {
        assert!(buf.is_empty());
        let stamp = self.random(u32::MAX).to_ne_bytes();
        while buf.spare_capacity() > 0 {
            buf.append(&stamp);
        }
        self.held.push(buf);
    }

    fn random(&mut self, below: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % below
    }
}

/// All of a buffer is as one holder wrote it.
fn check(buf: &[u8]) {
    assert!(buf.chunks_exact(4).all(|stamp| stamp == &buf[..4]), "two cores had one buffer");
}

fn data_pool() -> DataPool {
    let (small, large) = (ClassConfig { count: 22, size: 64 }, ClassConfig { count: 12, size: 256 });
    let config = DataPoolConfig::DEFAULT.small(small).large(large).control(ClassConfig { count: 0, size: 0 }).waiters(CORES);
    DataPool::on_heap(config).unwrap()
}

#[test]
fn s27_s28_every_buffer_is_home_at_the_end() {
    let pool = data_pool();
    let all_made = Barrier::new(CORES);
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..CORES).map(|_| mpsc::channel()).unzip();
    thread::scope(|scope| {
        for (number, inbox) in inboxes.into_iter().enumerate() {
            let (pool, all_made, others) = (&pool, &all_made, senders.clone());
            scope.spawn(move || {
                let group = pool.group(ReserveConfig { small: 4, large: 2, control: 0 }).unwrap();
                all_made.wait();
                Core { group, held: Vec::new(), inbox, others, random: 0x9E37_79B9 + number as u32 }.run();
            });
        }
        drop(senders);
    });
    for class in CLASSES {
        let stats = pool.stats(class);
        assert_eq!((stats.free, stats.reserved, stats.in_use, stats.waiting), (stats.count, 0, 0, 0), "{class:?}");
        assert!(stats.waits > 0 && stats.from_shared > 0 && stats.from_reserve > 0, "{class:?} was under load: {stats:?}");
    }
    let group = pool.group(ReserveConfig { small: 0, large: 0, control: 0 }).unwrap();
    let mut out: Vec<_> = CLASSES.into_iter().flat_map(|class| std::iter::from_fn(|| group.get_class(class)).collect::<Vec<_>>()).collect();
    out.sort_by_key(Buf::index);
    assert!(out.iter().map(|buf| buf.index() as usize).eq(0..34), "each once");
}
