//! Statement 435: whatever is done to devices and their channels, in any order, on threads that
//! have little room and may end at any time, statements 430 to 434 hold.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use core_reactor::sim::SimPlatform;
use core_reactor::{
    CoreId, Cx, Instant, IoChannel, IoDevice, Platform, Registered, Thread, ThreadConfig, ThreadLib, ThreadLibOptions, Unregistered,
};
use proptest::prelude::*;

use crate::record::Record;

const THREADS: usize = 3;
const DEVICES: usize = 2;

/// Something done on a thread, with a device.
#[derive(Clone, Copy, Debug)]
enum Step {
    Get {
        thread: usize,
        device: usize,
        how: How,
    },
    /// Of those that are held, modulo how many there are.
    Clone(usize),
    Put(usize),
    /// Panics at the first channel that it comes to, or not.
    Visit {
        origin: usize,
        device: usize,
        panics: bool,
    },
    Unregister {
        origin: usize,
        device: usize,
    },
    Fill(usize),
    Turn(usize),
    Exit(usize),
    /// The thread is dropped by its owner.
    Kill(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Well,
    Failing,
    Panicking,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![6 => Just(How::Well), 1 => Just(How::Failing), 1 => Just(How::Panicking)];
    prop_oneof![
        8 => (0..THREADS, 0..DEVICES, how).prop_map(|(thread, device, how)| Step::Get { thread, device, how }),
        2 => any::<usize>().prop_map(Step::Clone),
        4 => any::<usize>().prop_map(Step::Put),
        4 => (0..THREADS, 0..DEVICES, prop::bool::weighted(0.2)).prop_map(|(origin, device, panics)| Step::Visit { origin, device, panics }),
        1 => (0..THREADS, 0..DEVICES).prop_map(|(origin, device)| Step::Unregister { origin, device }),
        1 => (0..THREADS).prop_map(Step::Fill),
        10 => (0..THREADS).prop_map(Step::Turn),
        1 => (0..THREADS).prop_map(Step::Exit),
        1 => (0..THREADS).prop_map(Step::Kill),
    ]
}

/// What happened. Channels are numbered in the order in which they were opened, visits and ends of
/// devices in the order in which they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Opened { channel: usize, device: usize, thread: usize },
    Closed { channel: usize },
    Killed { thread: usize },
    VisitBegan { visit: usize, device: usize },
    Visited { visit: usize, channel: usize },
    VisitDone { visit: usize },
    Unregistered { device: usize },
    Gone { end: usize, device: usize },
}

struct Disk {
    number: usize,
    how: Mutex<How>,
    next: Arc<AtomicUsize>,
    seen: Record<Event>,
    _alive: Arc<()>,
}

struct Part {
    channel: usize,
    seen: Record<Event>,
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Unregistered,
    Failed,
}

impl From<Unregistered> for Refusal {
    fn from(_: Unregistered) -> Self {
        Self::Unregistered
    }
}

impl IoDevice for Disk {
    type Channel = Part;
    type Error = Refusal;

    fn open(&self, cx: &mut Cx<'_>) -> Result<Part, Refusal> {
        let how = *self.how.lock().expect("it is set between two steps");
        match how {
            How::Well => {}
            How::Failing => return Err(Refusal::Failed),
            // A panic, but for its line on the standard error.
            How::Panicking => resume_unwind(Box::new("on purpose")),
        }
        let channel = self.next.fetch_add(1, Ordering::Relaxed);
        // Threads are numbered from 1.
        let thread = cx.handle().id().number() as usize - 1;
        self.seen.note(Event::Opened { channel, device: self.number, thread });
        Ok(Part { channel, seen: self.seen.clone() })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.seen.note(Event::Closed { channel: self.channel });
    }
}

struct World {
    platform: Arc<SimPlatform>,
    threads: Vec<Option<Thread>>,
    devices: Vec<Registered<Disk>>,
    unregistered: [bool; DEVICES],
    held: Vec<(usize, usize, IoChannel<Disk>)>,
    seen: Record<Event>,
    alive: Arc<()>,
    /// The threads that visits began on, and ends of devices were asked for on.
    visits: Vec<usize>,
    ends: Vec<(usize, usize)>,
}

impl World {
    fn new() -> Self {
        let (platform, seen, alive, next) = (SimPlatform::new(1), Record::new(), Arc::new(()), Arc::new(AtomicUsize::new(0)));
        let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default().mailbox(2).batch(1));
        let threads = (0..THREADS).map(|_| lib.create(ThreadConfig::new("t"), CoreId(0))).collect();
        let disk = |number: usize| {
            let (seen, next, _alive) = (seen.clone(), next.clone(), alive.clone());
            Registered::new(&number.to_string(), Disk { number, how: Mutex::new(How::Well), next, seen, _alive })
        };
        let devices = (0..DEVICES).map(disk).collect();
        let (visits, ends) = (Vec::new(), Vec::new());
        Self { platform, threads, devices, unregistered: [false; DEVICES], held: Vec::new(), seen, alive, visits, ends }
    }

    /// A thread that has not ended.
    fn living(&mut self, thread: usize) -> Option<&mut Thread> {
        self.threads[thread].as_mut().filter(|thread| !thread.is_exited())
    }

    fn refs(&self, thread: usize, device: usize) -> usize {
        self.held.iter().filter(|(on, of, _)| (*on, *of) == (thread, device)).count()
    }

    fn turn(&mut self, thread: usize) {
        let now: Instant = self.platform.now();
        if let Some(thread) = &mut self.threads[thread] {
            // A visit may panic.
            let _ = catch_unwind(AssertUnwindSafe(|| thread.turn(now)));
        }
    }

    fn get(&mut self, thread: usize, device: usize, how: How) {
        let (disk, refs) = (self.devices[device].clone(), self.refs(thread, device));
        let Some(on) = self.living(thread) else { return };
        *disk.how.lock().expect("no panic holds it") = how;
        let got = catch_unwind(AssertUnwindSafe(|| on.with(|cx| disk.channel(cx))));
        let expected = match how {
            _ if self.unregistered[device] => Some(Some(Refusal::Unregistered)),
            How::Well => Some(None),
            _ if refs > 0 => Some(None),
            How::Failing => Some(Some(Refusal::Failed)),
            How::Panicking => None,
        };
        assert_eq!(got.as_ref().ok().map(|got| got.as_ref().err()), expected.as_ref().map(Option::as_ref));
        if let Ok(Ok(channel)) = got {
            assert!(
                self.held
                    .iter()
                    .all(|(on, of, other)| ((*on, *of) == (thread, device)) == std::ptr::eq(&raw const **other, &raw const *channel))
            );
            self.held.push((thread, device, channel));
        }
    }

    fn visit(&mut self, origin: usize, device: usize, mut panics: bool) {
        let (disk, visit, seen, alive) = (self.devices[device].clone(), self.visits.len(), self.seen.clone(), self.alive.clone());
        let Some(on) = self.living(origin) else { return };
        seen.note(Event::VisitBegan { visit, device });
        let (note, end, alive_too) = (seen.clone(), seen, alive.clone());
        let each = move |part: &IoChannel<Disk>, _: &mut Cx<'_>| {
            let _alive = &alive;
            note.note(Event::Visited { visit, channel: part.channel });
            if std::mem::take(&mut panics) {
                resume_unwind(Box::new("on purpose"));
            }
        };
        let done = move |_: &mut Cx<'_>| {
            drop(alive_too);
            end.note(Event::VisitDone { visit });
        };
        on.with(|cx| disk.for_each(cx, each, done));
        self.visits.push(origin);
    }

    fn unregister(&mut self, origin: usize, device: usize) {
        let (disk, end, seen, alive) = (self.devices[device].clone(), self.ends.len(), self.seen.clone(), self.alive.clone());
        let Some(on) = self.living(origin) else { return };
        seen.note(Event::Unregistered { device });
        let gone = move |_: &mut Cx<'_>| {
            drop(alive);
            seen.note(Event::Gone { end, device });
        };
        on.with(|cx| disk.unregister(cx, gone));
        self.ends.push((origin, device));
        self.unregistered[device] = true;
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Get { thread, device, how } => self.get(thread, device, how),
            Step::Clone(which) if !self.held.is_empty() => {
                let (thread, device, channel) = &self.held[which % self.held.len()];
                self.held.push((*thread, *device, channel.clone()));
            }
            Step::Put(which) if !self.held.is_empty() => drop(self.held.swap_remove(which % self.held.len())),
            Step::Clone(_) | Step::Put(_) => {}
            Step::Visit { origin, device, panics } => self.visit(origin, device, panics),
            Step::Unregister { origin, device } => self.unregister(origin, device),
            Step::Fill(thread) => {
                let handle = self.living(thread).map(|thread| thread.handle());
                handle.into_iter().for_each(|handle| while handle.send(|_| {}).is_ok() {});
            }
            Step::Turn(thread) => self.turn(thread),
            Step::Exit(thread) => {
                self.living(thread).into_iter().for_each(|thread| thread.handle().exit());
            }
            Step::Kill(thread) => {
                if self.threads[thread].take().is_some() {
                    self.seen.note(Event::Killed { thread });
                }
            }
        }
        self.look();
    }

    /// Whether each thread shows the channels that it has.
    fn look(&mut self) {
        for thread in 0..THREADS {
            let mut refs: Vec<_> = (0..DEVICES).map(|device| (device.to_string(), self.refs(thread, device))).collect();
            refs.retain(|(_, refs)| *refs > 0);
            let Some(on) = self.living(thread) else { continue };
            let mut shown: Vec<_> =
                on.with(|cx| cx.info()).channels.into_iter().map(|channel| (channel.name.to_string(), channel.refs)).collect();
            shown.sort_unstable();
            assert_eq!(shown, refs, "thread {thread}");
        }
    }

    fn settle(&mut self) {
        while self.threads.iter().flatten().any(Thread::has_work) {
            (0..THREADS).for_each(|thread| self.turn(thread));
        }
    }

    /// Lets all threads run until nothing is left to do, before and after all channels are put, and
    /// looks at what happened.
    fn end(mut self) {
        self.settle();
        self.held.clear();
        self.settle();
        let lives: Vec<_> = (0..THREADS).map(|thread| self.living(thread).is_some()).collect();
        let Self { threads, devices, visits, ends, seen, alive, .. } = self;
        let seen = seen.take();
        for (visit, origin) in visits.iter().enumerate() {
            look_at_visit(&seen, visit, lives[*origin]);
        }
        for (end, (origin, device)) in ends.iter().enumerate() {
            let told: Vec<_> = seen.iter().enumerate().filter(|(_, event)| **event == Event::Gone { end, device: *device }).collect();
            assert!(told.len() == 1 || told.is_empty() && !lives[*origin], "{end} of {device} is told {told:?} in {seen:?}");
            told.iter().for_each(|(at, _)| assert_eq!(open(&seen[..*at], *device), [], "{seen:?}"));
        }
        drop((threads, devices));
        assert_eq!(Arc::strong_count(&alive), 1, "nothing is left of devices, visits and ends");
    }
}

/// The channels of a device that are open after these events, on threads that are there.
fn open(seen: &[Event], device: usize) -> Vec<usize> {
    let mut open = Vec::new();
    for event in seen {
        match *event {
            Event::Opened { channel, device: of, thread } if of == device => open.push((channel, thread)),
            Event::Closed { channel } => open.retain(|(other, _)| *other != channel),
            Event::Killed { thread } => open.retain(|(_, on)| *on != thread),
            _ => {}
        }
    }
    open.into_iter().map(|(channel, _)| channel).collect()
}

/// A visit comes to channels that were there when it began, in order and once; to all of those that
/// are there until its end; and its end is told once if somebody is there to hear of it.
fn look_at_visit(seen: &[Event], visit: usize, origin_lives: bool) {
    let began = seen.iter().position(|event| matches!(event, Event::VisitBegan { visit: one, .. } if *one == visit));
    let Some((began, Event::VisitBegan { device, .. })) = began.map(|at| (at, seen[at])) else { panic!("visit {visit} of {seen:?}") };
    let done: Vec<_> = (0..seen.len()).filter(|at| seen[*at] == Event::VisitDone { visit }).collect();
    assert!(done.len() == 1 || done.is_empty() && !origin_lives, "visit {visit} is done {} times in {seen:?}", done.len());
    let end = done.first().copied().unwrap_or(seen.len());
    let visited: Vec<_> = (0..seen.len())
        .filter_map(|at| match seen[at] {
            Event::Visited { visit: one, channel } if one == visit => {
                assert!(at < end && open(&seen[..at], device).contains(&channel), "visit {visit} of {seen:?}");
                Some(channel)
            }
            _ => None,
        })
        .collect();
    let at_first = open(&seen[..began], device);
    let in_order: Vec<_> = at_first.iter().copied().filter(|channel| visited.contains(channel)).collect();
    assert_eq!(visited, in_order, "visit {visit} of {seen:?}");
    let at_last = open(&seen[..end], device);
    let missed: Vec<_> = at_first.iter().filter(|channel| at_last.contains(channel) && !visited.contains(channel)).collect();
    assert!(missed.is_empty(), "visit {visit} missed {missed:?} of {seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s435_in_any_order_channels_visits_and_ends_of_devices_are_told_once_and_leave_nothing(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.end();
    }
}
