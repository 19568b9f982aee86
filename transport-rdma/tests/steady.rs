//! Nothing is allocated per operation, and a core that sleeps is woken by time. A program of its
//! own, because its heap counts. Without a device it fails: `cargo xtask vm test` runs it in a
//! machine that has one.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{RDMA, host, platform};
use conformance::heap::{CountingHeap, Heap};
use core_reactor::transport::{
    Access, Op, QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueId, QueueOptions, RemoteMemory, Token, Transport,
    TransportError, Wait,
};
use core_reactor::{CpuSet, Platform, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};
use platform_linux::LinuxPlatform;
use pool::BufGroup;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap;

/// A group, and the thread that it is on.
struct End {
    group: Box<dyn QueueGroup>,
    events: QueueEvents,
    platform: Arc<LinuxPlatform>,
    _thread: Thread,
}

impl End {
    fn new(wait: Wait) -> Self {
        let platform = platform();
        let core = platform.cores().iter().next().expect("a core");
        let lib = ThreadLib::new(platform.clone(), CpuSet::of(core), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("end"), core).expect("the platform has this core");
        let mut config = QueueGroupConfig::new(BufGroup::new(128, 4096));
        (config.receives, config.wait) = (64, wait);
        let group = thread.with(|cx| RDMA.group(cx, config)).expect("a group");
        Self { group, events: QueueEvents::new(32), platform, _thread: thread }
    }

    fn poll(&mut self, mut each: impl FnMut(&mut dyn QueueGroup, QueueEvent)) {
        self.group.poll(&mut self.events);
        for event in self.events.drain() {
            each(&mut *self.group, event);
        }
    }

    fn message(&mut self, id: QueueId, bytes: &[u8]) {
        let mut buf = self.group.buffer().expect("a buffer");
        buf.append(bytes);
        self.group.send(id, buf.into(), None, 0).map_err(|refused| refused.why).expect("there is room");
    }
}

/// Two ends of a connection, the second with exposed memory.
fn connected(wait: Wait) -> (End, QueueId, End, RemoteMemory) {
    let (mut near, mut far) = (End::new(wait), End::new(wait));
    let listener = RDMA.listen((host(), 0).into(), &QueueOptions::default()).expect("a free port");
    let queue = RDMA.connect(listener.local_addr(), &QueueOptions::default()).expect("a queue");
    far.group.listen(listener, Token(0)).map_err(|refused| refused.why).expect("room");
    near.group.attach(queue, Token(1), &[]).map_err(|refused| refused.why).expect("room");
    let mut stand = [None; 2];
    while stand.contains(&None) {
        near.poll(|_, event| stand[0] = established(&event).or(stand[0]));
        far.poll(|group, event| match event {
            QueueEvent::Requested { queue, .. } => {
                group.attach(queue, Token(2), &[]).map_err(|refused| refused.why).expect("room");
            }
            event => stand[1] = established(&event).or(stand[1]),
        });
    }
    let [Some(id), Some(peer)] = stand else { unreachable!("both stand") };
    let mut buf = far.group.buffer().expect("a buffer");
    buf.grow(4096);
    let (memory, _) = far.group.expose(peer, buf, Access::ReadWrite).map_err(|refused| refused.why).expect("it is taken");
    (near, id, far, memory)
}

fn established(event: &QueueEvent) -> Option<QueueId> {
    match event {
        QueueEvent::Established { id, .. } => Some(*id),
        _ => None,
    }
}

/// A message there and back, a write and a read.
fn round(near: &mut End, id: QueueId, far: &mut End, memory: RemoteMemory) {
    near.message(id, &[7; 100]);
    let mut buf = near.group.buffer().expect("a buffer");
    buf.append(&[1; 200]);
    let part = memory.part(0, 200).expect("it lies inside");
    near.group.write(id, buf.into(), part, None, 1).map_err(|refused| refused.why).expect("there is room");
    let into = near.group.buffer().expect("a buffer");
    near.group.read(id, into.into(), part, 2).map_err(|refused| refused.why).expect("there is room");
    let (mut done, mut heard) = (0, 0);
    while done < 3 || heard < 1 {
        near.poll(|_, event| match event {
            QueueEvent::Done { error, op, frame, .. } => {
                assert_eq!(error, None);
                assert!(op != Op::Read || frame.bytes() == 200);
                done += 1;
            }
            QueueEvent::Received { buf, .. } => {
                assert_eq!(buf[..], [7; 100]);
                heard += 1;
            }
            _ => {}
        });
        far.poll(|group, event| {
            if let QueueEvent::Received { id, buf, .. } = event {
                group.send(id, buf.into(), None, 0).map_err(|refused| refused.why).expect("there is room");
            }
        });
    }
}

#[test]
fn s32_nothing_is_allocated_per_operation() {
    for wait in [Wait::Polled, Wait::Events] {
        let (mut near, id, mut far, memory) = connected(wait);
        for _ in 0..100 {
            round(&mut near, id, &mut far, memory);
        }
        let during = HEAP.during(|| {
            for _ in 0..1000 {
                round(&mut near, id, &mut far, memory);
            }
        });
        assert_eq!(during, Heap::default(), "{wait:?}");
    }
}

/// Nothing but the time that a connect may take wakes this core: the request is let lie.
#[test]
fn s30_the_end_of_a_connects_time_wakes_a_core() {
    let listener = RDMA.listen((host(), 0).into(), &QueueOptions::default()).expect("a free port");
    let mut end = End::new(Wait::Events);
    let options = QueueOptions::default().connect_timeout(Duration::from_millis(300));
    let queue = RDMA.connect(listener.local_addr(), &options).expect("a queue");
    end.group.attach(queue, Token(1), &[]).map_err(|refused| refused.why).expect("room");
    let mut closed = None;
    let start = end.platform.now();
    let (core, until) = (end.platform.cores().iter().next().expect("a core"), start + Duration::from_secs(60));
    while closed.is_none() {
        end.poll(|_, event| {
            if let QueueEvent::Closed { why, .. } = event {
                closed = Some(why);
            }
        });
        if closed.is_none() {
            end.platform.park(core, Some(until));
        }
    }
    assert_eq!(closed, Some(Some(TransportError::TimedOut)));
    let took = end.platform.now().since(start);
    assert!(took < Duration::from_secs(30), "it was woken after {took:?}");
}
