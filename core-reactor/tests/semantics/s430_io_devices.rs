//! Statements 430 to 434: a device has one channel on each thread that uses it, which is shared
//! there and gone with the last who has it; visits of them, and the end of a device.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{
    CoreId, CpuSet, Cx, IoChannel, IoDevice, MoveError, Platform, Polled, ReactorOptions, Reactors, Registered, Schedule, Thread,
    ThreadConfig, ThreadHandle, ThreadLib, ThreadLibOptions, Unregistered,
};

use crate::machine::Machine;
use crate::record::{NoteDrop, Record, at, ms};
use crate::s08_exit::{listen, logged_about};

type Seen = Record<String>;

/// A device that notes what becomes of its channels.
struct Disk {
    seen: Seen,
    how: How,
    itself: OnceLock<Registered<Disk>>,
}

/// How its channels are opened.
#[derive(Clone, Copy)]
enum How {
    Well,
    /// Not.
    Failing,
    Panicking,
    /// With a channel of its own, got on the way of the first.
    Nested,
    /// Well, but they panic when they are closed.
    PanickingAtTheEnd,
}

/// What a disk has on a thread.
struct Part {
    thread: String,
    panics: bool,
    // Behind all else, so that it is noted last.
    _closed: NoteDrop<String>,
}

impl Drop for Part {
    fn drop(&mut self) {
        assert!(!self.panics, "on purpose");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Unregistered(String),
    Failed,
}

impl From<Unregistered> for Refusal {
    fn from(why: Unregistered) -> Self {
        Self::Unregistered(why.to_string())
    }
}

impl IoDevice for Disk {
    type Channel = Part;
    type Error = Refusal;

    fn open(&self, cx: &mut Cx<'_>) -> Result<Part, Refusal> {
        let thread = cx.handle().name().to_owned();
        self.seen.note(format!("open {thread}"));
        match self.how {
            How::Failing => return Err(Refusal::Failed),
            How::Panicking => panic!("on purpose"),
            How::Nested if cx.info().channels.is_empty() => {
                let itself = self.itself.get().expect("the test has set it");
                // Only the outer one has not entered the list yet.
                self.seen.note("again".into());
                cx.open_channel(());
                let own = itself.channel(cx)?;
                cx.close_channel::<()>();
                cx.open_channel(own);
            }
            _ => {}
        }
        let panics = matches!(self.how, How::PanickingAtTheEnd);
        let closed = NoteDrop(self.seen.clone(), format!("close {thread}"));
        Ok(Part { thread, panics, _closed: closed })
    }
}

fn disk(name: &str, seen: &Seen, how: How) -> Registered<Disk> {
    Registered::new(name, Disk { seen: seen.clone(), how, itself: OnceLock::new() })
}

/// Threads that the test turns itself, named a, b, c.
struct Hands {
    platform: Arc<SimPlatform>,
    threads: Vec<Option<Thread>>,
}

impl Hands {
    fn new(threads: usize) -> Self {
        let platform = SimPlatform::new(1);
        let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default().mailbox(2).exit_limit(ms(10)));
        let create = |name: &&str| lib.create(ThreadConfig::new(name), CoreId(0));
        Self { platform, threads: ["a", "b", "c"][..threads].iter().map(create).collect() }
    }

    fn cx<R>(&mut self, thread: usize, f: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        self.threads[thread].as_mut().expect("it is there").with(f)
    }

    fn open(&mut self, thread: usize, disk: &Registered<Disk>) -> IoChannel<Disk> {
        self.cx(thread, |cx| disk.channel(cx)).expect("it opens")
    }

    fn turn(&mut self, thread: usize) {
        let now = self.platform.now();
        self.threads[thread].as_mut().map(|thread| thread.turn(now));
    }

    fn settle(&mut self) {
        while self.threads.iter().flatten().any(Thread::has_work) {
            (0..self.threads.len()).for_each(|thread| self.turn(thread));
        }
    }

    /// A visit that notes whose channels it comes to, and where it is over.
    fn visit(&mut self, origin: usize, disk: &Registered<Disk>, seen: &Seen) {
        let (note, end) = (seen.clone(), seen.clone());
        let visit = move |part: &IoChannel<Disk>, cx: &mut Cx<'_>| {
            assert_eq!(cx.handle().name(), part.thread);
            note.note(format!("visit {}", part.thread));
        };
        let done = move |cx: &mut Cx<'_>| end.note(format!("done on {}", cx.handle().name()));
        self.cx(origin, |cx| disk.for_each(cx, visit, done));
    }

    /// Unregisters a disk and notes when it is gone.
    fn unregister(&mut self, origin: usize, disk: &Registered<Disk>, seen: &Seen) {
        let note = seen.clone();
        self.cx(origin, |cx| disk.unregister(cx, move |cx: &mut Cx<'_>| note.note(format!("gone, says {}", cx.handle().name()))));
    }

    /// The channels of a thread, as they are shown.
    fn shown(&mut self, thread: usize) -> Vec<(String, usize)> {
        self.cx(thread, |cx| cx.info()).channels.into_iter().map(|channel| (channel.name.into(), channel.refs)).collect()
    }
}

fn panics<R>(f: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "it panics on purpose");
}

#[test]
fn s430_a_thread_has_one_channel_of_each_device_which_is_shared_counted_and_gone_with_the_last() {
    let (mut hands, seen) = (Hands::new(2), Record::new());
    let [one, other] = ["one", "other"].map(|name| disk(name, &seen, How::Well));
    let (first, second) = (hands.open(0, &one), hands.open(0, &one));
    assert!(std::ptr::eq(&*first, &*second));
    assert_eq!(seen.take(), ["open a"]);
    let third = first.clone();
    let (elsewhere, of_other) = (hands.open(1, &one), hands.open(0, &other));
    assert!(!std::ptr::eq(&*first, &*elsewhere) && !std::ptr::eq(&*first, &*of_other));
    assert_eq!((first.device().name(), of_other.device().name()), ("one", "other"));
    assert_eq!(seen.take(), ["open b", "open a"]);
    assert_eq!(hands.shown(0), [("one".into(), 3), ("other".into(), 1)]);
    assert_eq!(hands.shown(1), [("one".into(), 1)]);
    drop((first, second));
    assert_eq!((seen.take(), hands.shown(0)), (vec![], vec![("one".into(), 1), ("other".into(), 1)]));
    drop(third);
    assert_eq!((seen.take(), hands.shown(0)), (vec!["close a".into()], vec![("other".into(), 1)]));
    let anew = hands.open(0, &one);
    assert_eq!((seen.take(), hands.shown(0)), (vec!["open a".into()], vec![("other".into(), 1), ("one".into(), 1)]));
    // The device lives with its channels.
    drop((one, other, anew));
    assert_eq!((seen.take(), elsewhere.device().name()), (vec!["close a".into()], "one"));
}

#[test]
fn s431_a_channel_keeps_its_thread_from_ending_until_it_is_closed() {
    let (mut hands, seen) = (Hands::new(1), Record::new());
    let part = hands.open(0, &disk("disk", &seen, How::Well));
    hands.cx(0, |cx| cx.exit());
    hands.turn(0);
    assert!(hands.threads[0].as_ref().is_some_and(|thread| !thread.is_exited()));
    drop(part);
    hands.turn(0);
    assert!(hands.threads[0].as_ref().is_some_and(Thread::is_exited));
}

#[test]
#[allow(clippy::mem_forget, reason = "what a leak does is the question")]
fn s431_a_channel_keeps_its_thread_on_its_core_and_one_that_is_closed_does_not() {
    let (mut sim, seen) = (Sim::new(2), Record::new());
    let device = disk("disk", &seen, How::Well);
    let start = move |cx: &mut Cx<'_>| {
        let part = device.channel(cx).expect("it opens");
        assert_eq!(cx.move_to(CoreId(1)), Err(MoveError::Pinned { core: CoreId(0) }));
        drop(part);
        cx.move_to(CoreId(1)).expect("nothing pins it");
        let there = move |cx: &mut Cx<'_>| {
            assert_eq!(cx.core(), CoreId(1));
            std::mem::forget(device.channel(cx).expect("it opens"));
            assert_eq!(cx.set_cpus(CpuSet::of(CoreId(0))), Err(MoveError::Pinned { core: CoreId(1) }));
        };
        cx.after(ms(1), there);
    };
    sim.lib().spawn(ThreadConfig::new("t"), start).expect("there is a reactor");
    sim.settle();
    assert_eq!(seen.take(), ["open t", "close t"]);
    sim.advance(ms(1));
    assert_eq!(seen.take(), ["open t"]);
}

#[test]
fn s431_a_thread_that_is_stopped_by_force_or_dropped_takes_its_channels_off_their_devices() {
    listen();
    for by_force in [true, false] {
        let (mut hands, seen) = (Hands::new(2), Record::new());
        let device = disk("a disk of a", &seen, How::Well);
        let part = hands.open(0, &device);
        let kept = hands.open(1, &device);
        hands.cx(1, |cx| cx.open_channel(kept.clone()));
        drop(kept);
        if by_force {
            hands.cx(0, |cx| cx.exit());
            hands.turn(0);
            hands.platform.advance(ms(10));
            hands.turn(0);
            assert!(logged_about("thread a").iter().any(|line| line.contains("channel a disk of a was left")));
        }
        hands.unregister(1, &device, &seen);
        hands.visit(1, &device, &seen);
        hands.threads[0] = None;
        hands.settle();
        assert_eq!(seen.take(), ["open a", "open b", "visit b", "done on b"], "by force: {by_force}");
        drop(hands.cx(1, |cx| cx.close_channel::<IoChannel<Disk>>()));
        hands.settle();
        assert_eq!(seen.take(), ["close b", "gone, says b"]);
        assert_eq!(part.thread, "a", "who has it still may look at it");
        drop(part);
        hands.settle();
        assert_eq!(seen.take(), ["close a"]);
    }
}

#[test]
fn s431_what_a_thread_keeps_itself_is_closed_before_anybody_is_told_of_its_end() {
    /// Opens channels that note, at their end, how much their watcher has been told.
    struct Watched(ThreadHandle, Record<usize>);
    struct Part(ThreadHandle, Record<usize>);
    impl Drop for Part {
        fn drop(&mut self) {
            self.1.note(self.0.mailbox_depth());
        }
    }
    impl IoDevice for Watched {
        type Channel = Part;
        type Error = Unregistered;

        fn open(&self, _: &mut Cx<'_>) -> Result<Part, Unregistered> {
            Ok(Part(self.0.clone(), self.1.clone()))
        }
    }
    let (mut hands, seen) = (Hands::new(2), Record::new());
    let watcher = hands.cx(1, |cx| cx.handle());
    let device = Registered::new("disk", Watched(watcher.clone(), seen.clone()));
    hands.cx(1, |cx| device.unregister(cx, |_: &mut Cx<'_>| {}));
    assert_eq!((seen.take(), watcher.mailbox_depth()), (vec![], 1), "it has none");
    hands.settle();
    let device = Registered::new("disk", Watched(watcher.clone(), seen.clone()));
    hands.cx(0, |cx| {
        let part = device.channel(cx).expect("it opens");
        cx.open_channel(part.clone());
        let has = move |_: &mut Cx<'_>| if part.device().name() == "disk" { Polled::Idle } else { Polled::Busy };
        cx.local_poller("has one too", Schedule::Every(ms(1)), has);
    });
    hands.cx(1, |cx| device.unregister(cx, |_: &mut Cx<'_>| {}));
    hands.threads[0] = None;
    assert_eq!((seen.take(), watcher.mailbox_depth()), (vec![0], 1));
}

#[test]
fn s432_threads_with_a_channel_are_visited_in_the_order_in_which_they_opened_it() {
    let (mut hands, seen) = (Hands::new(3), Record::new());
    let device = disk("disk", &seen, How::Well);
    hands.visit(0, &device, &seen);
    hands.settle();
    assert_eq!(seen.take(), ["done on a"], "nobody has one");
    let parts = [2, 0, 1].map(|thread| hands.open(thread, &device));
    seen.take();
    hands.visit(1, &device, &seen);
    hands.settle();
    assert_eq!(seen.take(), ["visit c", "visit a", "visit b", "done on b"]);
    drop(parts);
    assert_eq!(seen.take(), ["close c", "close a", "close b"]);
}

#[test]
fn s432_who_closes_before_the_visit_is_passed_over_and_who_opens_is_not_visited() {
    let (mut hands, seen) = (Hands::new(3), Record::new());
    let device = disk("disk", &seen, How::Well);
    let [a, b] = [0, 1].map(|thread| hands.open(thread, &device));
    hands.visit(0, &device, &seen);
    let c = hands.open(2, &device);
    hands.turn(0);
    assert_eq!(seen.take(), ["open a", "open b", "open c", "visit a"]);
    // The visit waits at "b" for one that is closed by then; what is opened there is another.
    drop(b);
    let b = hands.open(1, &device);
    hands.settle();
    assert_eq!(seen.take(), ["close b", "open b", "done on a"]);
    drop((a, b, c));
}

#[test]
fn s432_a_visit_outlives_the_threads_that_it_comes_to_and_ends_where_it_began() {
    for gone in 0..3 {
        let (mut hands, seen) = (Hands::new(3), Record::new());
        let device = disk("disk", &seen, How::Well);
        let parts = [0, 1, 2].map(|thread| hands.open(thread, &device));
        hands.visit(0, &device, &seen);
        seen.take();
        (0..gone).for_each(|thread| hands.turn(thread));
        hands.threads[gone] = None;
        hands.settle();
        let mut expected: Vec<_> = ["visit a", "visit b", "visit c", "done on a"].to_vec();
        match gone {
            // There is nobody to tell.
            0 => expected = vec!["visit b", "visit c"],
            _ => {
                expected.remove(gone);
            }
        }
        assert_eq!(seen.take(), expected, "thread {gone} is dropped with the visit in its mailbox");
        drop(parts);
    }
}

#[test]
fn s432_a_channel_stays_open_while_it_is_visited() {
    let (mut hands, seen) = (Hands::new(1), Record::new());
    let device = disk("disk", &seen, How::Well);
    hands.cx(0, |cx| {
        let part = device.channel(cx).expect("it opens");
        cx.open_channel(part);
    });
    let (note, end) = (seen.clone(), seen.clone());
    let visit = move |part: &IoChannel<Disk>, cx: &mut Cx<'_>| {
        drop(cx.close_channel::<IoChannel<Disk>>());
        note.note(format!("visit {}", part.thread));
    };
    hands.cx(0, |cx| device.for_each(cx, visit, move |_: &mut Cx<'_>| end.note("done".into())));
    hands.settle();
    assert_eq!(seen.take(), ["open a", "visit a", "close a", "done"]);
}

#[test]
fn s433_an_unregistered_device_refuses_new_channels_and_tells_when_the_last_is_gone() {
    let (mut hands, seen) = (Hands::new(2), Record::new());
    let device = disk("disk", &seen, How::Well);
    let [a, b] = [0, 1].map(|thread| hands.open(thread, &device));
    hands.unregister(0, &device, &seen);
    hands.unregister(1, &device, &seen);
    let refused = Refusal::Unregistered("device disk is unregistered and gives out no channels".into());
    for thread in [0, 1] {
        assert_eq!(hands.cx(thread, |cx| device.channel(cx)).err().as_ref(), Some(&refused));
    }
    let again = a.clone();
    drop((a, b));
    hands.settle();
    assert_eq!(seen.take(), ["open a", "open b", "close b"]);
    drop(again);
    assert_eq!(seen.take(), ["close a"], "what is told comes in a message");
    hands.settle();
    assert_eq!(seen.take(), ["gone, says a", "gone, says b"]);
    hands.unregister(1, &device, &seen);
    hands.settle();
    assert_eq!(seen.take(), ["gone, says b"], "at once");
    assert_eq!(hands.cx(0, |cx| device.channel(cx)).err(), Some(refused));
    assert!(seen.take().is_empty());
}

#[test]
fn s434_a_channel_that_cannot_be_opened_leaves_nothing() {
    for how in [How::Failing, How::Panicking] {
        let (mut hands, seen) = (Hands::new(1), Record::new());
        let device = disk("disk", &seen, how);
        match how {
            How::Failing => assert_eq!(hands.cx(0, |cx| device.channel(cx)).err(), Some(Refusal::Failed)),
            _ => panics(|| hands.cx(0, |cx| device.channel(cx))),
        }
        assert!(hands.shown(0).is_empty());
        hands.visit(0, &device, &seen);
        hands.unregister(0, &device, &seen);
        hands.settle();
        assert_eq!(seen.take(), ["open a", "done on a", "gone, says a"]);
        hands.cx(0, |cx| cx.exit());
        hands.turn(0);
        assert!(hands.threads[0].as_ref().is_some_and(Thread::is_exited));
    }
}

#[test]
fn s434_a_channel_that_panics_at_its_end_is_gone_all_the_same() {
    let (mut hands, seen) = (Hands::new(1), Record::new());
    let device = disk("disk", &seen, How::PanickingAtTheEnd);
    let part = hands.open(0, &device);
    hands.unregister(0, &device, &seen);
    panics(|| drop(part));
    assert!(hands.shown(0).is_empty());
    hands.settle();
    assert_eq!(seen.take(), ["open a", "close a", "gone, says a"]);
}

#[test]
fn s434_a_visit_goes_on_after_a_panic_in_it() {
    let (mut hands, seen) = (Hands::new(3), Record::new());
    let device = disk("disk", &seen, How::Well);
    let parts = [0, 1, 2].map(|thread| hands.open(thread, &device));
    seen.take();
    let (note, end) = (seen.clone(), seen.clone());
    let visit = move |part: &IoChannel<Disk>, _: &mut Cx<'_>| {
        note.note(format!("visit {}", part.thread));
        assert_ne!(part.thread, "b", "on purpose");
    };
    hands.cx(0, |cx| device.for_each(cx, visit, move |_: &mut Cx<'_>| end.note("done".into())));
    hands.turn(0);
    panics(|| hands.turn(1));
    hands.settle();
    assert_eq!(seen.take(), ["visit a", "visit b", "visit c", "done"]);
    drop(parts);
}

#[test]
fn s434_a_device_that_gets_its_own_channel_while_it_opens_one_has_one() {
    let (mut hands, seen) = (Hands::new(1), Record::new());
    let device = disk("disk", &seen, How::Nested);
    assert!(device.itself.set(device.clone()).is_ok());
    let part = hands.open(0, &device);
    assert_eq!(seen.take(), ["open a", "again", "open a", "close a"]);
    assert_eq!(hands.shown(0).last(), Some(&("disk".to_owned(), 2)));
    hands.visit(0, &device, &seen);
    hands.settle();
    assert_eq!(seen.take(), ["visit a", "done on a"]);
    drop(hands.cx(0, |cx| cx.close_channel::<IoChannel<Disk>>()));
    drop(part);
    assert_eq!(seen.take(), ["close a"]);
}

#[test]
fn s434_a_channel_need_not_be_send_and_what_is_told_has_any_size() {
    struct Local;
    impl IoDevice for Local {
        type Channel = Rc<u32>;
        type Error = Unregistered;

        fn open(&self, _: &mut Cx<'_>) -> Result<Rc<u32>, Unregistered> {
            Ok(Rc::new(5))
        }
    }
    let (mut hands, seen) = (Hands::new(1), Record::new());
    let device = Registered::new("local", Local);
    let part = hands.cx(0, |cx| device.channel(cx)).expect("it opens");
    let (big, note) = ([7_u64; 100], seen.clone());
    hands.cx(0, |cx| device.unregister(cx, move |cx: &mut Cx<'_>| note.note((big[99], cx.now()))));
    let kept = (*part).clone();
    drop(part);
    hands.settle();
    assert_eq!((seen.take(), kept), (vec![(7, at(0))], Rc::new(5)));
}

#[test]
fn s432_s433_visits_between_real_threads_come_to_their_ends_and_a_device_to_its_own() {
    const ROUNDS: usize = 500;
    struct Plain;
    impl IoDevice for Plain {
        type Channel = Cell<u32>;
        type Error = Unregistered;

        fn open(&self, _: &mut Cx<'_>) -> Result<Cell<u32>, Unregistered> {
            Ok(Cell::default())
        }
    }
    let mut options = ReactorOptions::new((0..3).map(CoreId).collect());
    options.threads.mailbox = 4;
    let set = Reactors::new(Machine::new(3), &options).expect("the machine has them");
    let (device, left) = (Registered::new("disk", Plain), Arc::new(AtomicUsize::new(3 * ROUNDS)));
    for core in 0..3 {
        let (device, left) = (device.clone(), left.clone());
        let start = move |cx: &mut Cx<'_>| {
            let (mut kept, mut rounds) = (None, 0);
            cx.local_poller("works", Schedule::Always, move |cx: &mut Cx<'_>| {
                // What is kept goes with the poller.
                let Ok(channel) = device.channel(cx) else { return Polled::Done };
                if rounds < ROUNDS {
                    let (device_too, left) = (device.clone(), left.clone());
                    let done = move |cx: &mut Cx<'_>| {
                        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                            device_too.unregister(cx, |cx: &mut Cx<'_>| cx.lib().stop());
                        }
                    };
                    device.for_each(cx, |visited: &IoChannel<Plain>, _: &mut Cx<'_>| visited.set(visited.get() + 1), done);
                }
                rounds += 1;
                drop(if rounds % 3 == 0 { kept.take() } else { kept.replace(channel) });
                Polled::Busy
            });
        };
        set.lib().spawn(ThreadConfig::new("t").cpus(CpuSet::of(CoreId(core))), start).expect("there is a reactor");
    }
    set.run().expect("they run");
    assert_eq!(left.load(Ordering::Relaxed), 0);
}
