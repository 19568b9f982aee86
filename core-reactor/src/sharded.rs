//! One service on each core: a thread and a shard of the service there, messages and questions
//! between the shards, their reports, an orderly end.
//!
//! A service says what one shard of it is (the trait [`Shard`]); [`Sharded`] makes them, polls
//! them, and reaches each from anywhere. A shard itself has [`Peers`], by which it knows which one
//! it is.
//!
//! ```text
//!          start          all open            exit asked for            nothing unsent, or the drain limit is over
//! (none) ───────► opening ────────► open ───────────────────► draining ────────────────────────────────────────────► gone
//! ```
//!
//! Whatever is sent to a shard that is opening, or whose mailbox is full, waits for it in a queue
//! beside the mailbox; what is sent to one that is gone is dropped. The messages of one sender to
//! one shard keep their order in either case.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::ops::Deref;
use core::time::Duration;

use crate::ask::{Asker, question};
use crate::setters::setters;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::{CoreId, CpuSet, Cx, Gone, Instant, Msg, Polled, Schedule, SpawnError, ThreadConfig, ThreadHandle, ThreadLib};

/// What a service is on one core. It stays there, so it need not be `Send`.
///
/// ```
/// use core_reactor::{Cx, Peers, Polled, Shard, SpawnError};
///
/// /// Counts, on each core apart.
/// struct Counter {
///     count: u64,
///     peers: Peers<Self>,
/// }
///
/// impl Shard for Counter {
///     type Common = ();
///     type Report = u64;
///     type Error = SpawnError;
///
///     fn open(_: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, SpawnError> {
///         Ok(Self { count: 0, peers })
///     }
///
///     fn poll(&mut self, _: &mut Cx<'_>) -> Polled {
///         Polled::Idle
///     }
///
///     fn report(&self) -> u64 {
///         self.count
///     }
/// }
/// # let _ = |counter: Counter| counter.peers;
/// ```
pub trait Shard: Sized + 'static {
    /// What all shards see: the configuration, counters.
    type Common: Send + Sync + 'static;
    /// What a shard has done.
    type Report: Clone + Default + Send + 'static;
    /// Why a shard could not be opened.
    type Error: From<SpawnError> + 'static;

    /// Makes the shard of this thread. The first shard is opened before the others, and without it
    /// they are not tried.
    ///
    /// # Errors
    /// It cannot be made. Then it is gone from the beginning.
    fn open(cx: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, Self::Error>;

    /// One poll, as of a [`Poller`](crate::Poller) that is never done. It goes on while the shard
    /// drains.
    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled;

    /// Bytes that it has taken on and that are still to go out. The end waits for them, up to
    /// [`ThreadLibOptions::drain_limit`](crate::ThreadLibOptions::drain_limit).
    fn unsent(&self) -> u64 {
        0
    }

    /// What it has done by now; asked for at its end. In between it may tell by [`Peers::publish`].
    fn report(&self) -> Self::Report;
}

/// What a service is to be like on each of its cores.
///
/// ```
/// use core::time::Duration;
/// use core_reactor::{CoreId, CpuSet, Schedule, ShardConfig};
///
/// // Shards that do something each second, in place of whenever their core is awake.
/// let config = ShardConfig::new("reporter", &CpuSet::of(CoreId(0))).schedule(Schedule::Every(Duration::from_secs(1)));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardConfig {
    /// The threads' name, which the number of the shard follows.
    pub name: &'static str,
    /// The cores that get a shard.
    pub cores: CpuSet,
    /// When a shard is polled.
    pub schedule: Schedule,
}

impl ShardConfig {
    setters! {
        schedule: Schedule,
    }

    /// Shards that are polled while their cores are awake: what gives them work wakes the cores.
    pub fn new(name: &'static str, cores: &CpuSet) -> Self {
        Self { name, cores: *cores, schedule: Schedule::WhenAwake }
    }
}

/// A service with a shard on each core, for any thread.
///
/// ```
/// use core_reactor::{CoreId, Cx, Peers, Polled, Shard, ShardConfig, Sharded, SpawnError, sim::Sim};
///
/// /// Counts, on each core apart.
/// struct Counter {
///     count: u64,
///     peers: Peers<Self>,
/// }
///
/// impl Shard for Counter {
///     type Common = ();
///     type Report = u64;
///     type Error = SpawnError;
///
///     fn open(_: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, SpawnError> {
///         Ok(Self { count: 0, peers })
///     }
///
///     fn poll(&mut self, _: &mut Cx<'_>) -> Polled {
///         Polled::Idle
///     }
///
///     fn report(&self) -> u64 {
///         self.count
///     }
/// }
///
/// let mut sim = Sim::new(2);
/// let counters = Sharded::<Counter>::start(sim.lib(), ShardConfig::new("counter", &sim.lib().reactors()), (), |_, _| {})?;
/// counters.send(1, |counter, _| counter.count += 5);
/// sim.settle();
/// sim.lib().stop();
/// sim.settle();
/// assert_eq!(counters.reports(), [(CoreId(0), 0), (CoreId(1), 5)]);
/// # Ok::<(), SpawnError>(())
/// ```
pub struct Sharded<S: Shard>(Arc<Service<S>>);

struct Service<S: Shard> {
    config: ShardConfig,
    common: S::Common,
    slots: Box<[Slot<S::Report>]>,
    /// Shards that have not opened.
    missing: AtomicUsize,
}

/// What others see of one shard.
struct Slot<R> {
    core: CoreId,
    load: AtomicUsize,
    gone: AtomicBool,
    /// Its thread, from its opening on.
    thread: spin::Once<ThreadHandle>,
    queue: Mutex<Queue>,
    /// Messages in `queue`, so that nobody locks it for nothing.
    queued: AtomicUsize,
    report: Mutex<R>,
}

/// What found no room in a shard's mailbox.
#[derive(Default)]
struct Queue {
    msgs: VecDeque<Msg>,
    gone: bool,
}

/// A service as one of its shards sees it.
pub struct Peers<S: Shard> {
    service: Sharded<S>,
    index: usize,
}

type Ready<S> = dyn Fn(&mut Cx<'_>, Result<&Sharded<S>, <S as Shard>::Error>) + Send + Sync;

impl<S: Shard> Sharded<S> {
    /// Starts a service: opens the shard on the first core, then the others, and calls `ready` on a
    /// shard's thread: with the service once all are open, and with the reason for each that could
    /// not be opened. The others do not wait for such a one: whether the service goes on without it
    /// is for `ready` to say.
    ///
    /// # Errors
    /// The first thread cannot be made.
    pub fn start<F>(lib: &ThreadLib, config: ShardConfig, common: S::Common, ready: F) -> Result<Self, SpawnError>
    where
        F: Fn(&mut Cx<'_>, Result<&Self, S::Error>) + Send + Sync + 'static,
    {
        let slots: Box<[_]> = config.cores.iter().map(Slot::new).collect();
        let missing = AtomicUsize::new(slots.len());
        let service = Self(Arc::new(Service { config, common, slots, missing }));
        service.spawn(lib, 0, Arc::new(ready))?;
        Ok(service)
    }

    /// Makes the thread of one shard; the first one makes the others when it is open.
    fn spawn(&self, lib: &ThreadLib, index: usize, ready: Arc<Ready<S>>) -> Result<(), SpawnError> {
        let Some(slot) = self.0.slots.get(index) else {
            return Err(SpawnError::NoReactor { wanted: CpuSet::EMPTY, reactors: lib.reactors() });
        };
        let config = ThreadConfig::new(&format!("{}_{index}", self.0.config.name)).cpus(CpuSet::of(slot.core));
        let service = self.clone();
        lib.spawn(config, move |cx| service.open(cx, index, ready)).map(drop).inspect_err(|_| slot.end())
    }

    fn open(&self, cx: &mut Cx<'_>, index: usize, ready: Arc<Ready<S>>) {
        let peers = Peers { service: self.clone(), index };
        match S::open(cx, peers.clone()) {
            Ok(shard) => Running { shard, peers, drain_limit: cx.lib().drain_limit() }.begin(cx),
            Err(why) => {
                // Without the first one the others are not made.
                let gone = if index == 0 { 0..self.shards() } else { index..index + 1 };
                self.0.slots[gone].iter().for_each(Slot::end);
                ready(cx, Err(why));
                return cx.exit();
            }
        }
        if self.0.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            ready(cx, Ok(self));
        }
        for other in 1..if index == 0 { self.shards() } else { 0 } {
            // A stop that comes this early is no failure.
            if let Err(why) = self.spawn(&cx.lib(), other, ready.clone())
                && why != SpawnError::Stopping
            {
                ready(cx, Err(why.into()));
            }
        }
    }

    /// What all shards see.
    pub fn common(&self) -> &S::Common {
        &self.0.common
    }

    /// How many shards there are, those that are gone included.
    pub fn shards(&self) -> usize {
        self.0.slots.len()
    }

    /// The cores of the shards, in order.
    pub fn cores(&self) -> impl Iterator<Item = CoreId> + '_ {
        self.0.slots.iter().map(|slot| slot.core)
    }

    /// Has `f` run on a shard, after everything that this sender sent to it before. Never blocks
    /// and is never refused: what finds no room in the mailbox waits for some. If the shard is gone
    /// `f` is dropped, with what it carries (48 bytes, as a [`Msg`]).
    ///
    /// # Panics
    /// There is no such shard.
    pub fn send<F: FnOnce(&mut S, &mut Cx<'_>) + Send + 'static>(&self, to: usize, f: F) {
        self.0.slots[to].send(Msg::new(move |cx: &mut Cx<'_>| Self::here(cx, f).unwrap_or_default()));
    }

    /// Runs `f` with the shard of this thread; `None` if there is none, or if it is being run. For
    /// its pollers and timers:
    ///
    /// ```
    /// # use core_reactor::{Cx, Polled, Schedule, Shard, Sharded};
    /// # use core::time::Duration;
    /// fn tick<S: Shard>(cx: &mut Cx<'_>) {
    ///     let tick = |cx: &mut Cx<'_>| Sharded::<S>::here(cx, |shard, cx| shard.poll(cx)).unwrap_or(Polled::Done);
    ///     cx.local_poller("tick", Schedule::Every(Duration::from_millis(1)), tick);
    /// }
    /// ```
    pub fn here<R>(cx: &mut Cx<'_>, f: impl FnOnce(&mut S, &mut Cx<'_>) -> R) -> Option<R> {
        let running = cx.channel::<Here<S>>()?.0.clone();
        let mut running = running.try_borrow_mut().ok()?;
        Some(f(&mut running.shard, cx))
    }

    /// Whether a shard could not be opened or has ended.
    pub fn is_gone(&self, shard: usize) -> bool {
        self.0.slots[shard].gone.load(Ordering::Relaxed)
    }

    /// How much a shard has to do, in whatever the service counts by [`add_load`](Self::add_load):
    /// connections for one. Of one that is gone, more than anybody has.
    pub fn load(&self, shard: usize) -> usize {
        if self.is_gone(shard) { usize::MAX } else { self.0.slots[shard].load.load(Ordering::Relaxed) }
    }

    /// Counts one thing more that a shard has, or that is on its way to it.
    pub fn add_load(&self, shard: usize) {
        self.0.slots[shard].load.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one thing less.
    pub fn take_load(&self, shard: usize) {
        self.0.slots[shard].load.fetch_sub(1, Ordering::Relaxed);
    }

    /// The shard that has the least to do.
    pub fn least_loaded(&self) -> usize {
        (0..self.shards()).min_by_key(|shard| self.load(*shard)).unwrap_or(0)
    }

    /// Each shard's core and what it has done: what it published last, or what it had done at its
    /// end.
    pub fn reports(&self) -> Vec<(CoreId, S::Report)> {
        self.0.slots.iter().map(|slot| (slot.core, slot.report.lock().clone())).collect()
    }
}

impl<S: Shard> Peers<S> {
    /// Which of the shards this one is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Runs `ask` on a shard and then `answered` here, with what came of it; with [`Gone`] if that
    /// shard is gone, or if `ask` panics. If this one is gone by then `answered` is dropped. Both
    /// closures together have 24 bytes for what they capture, the answer and `answered` 48.
    ///
    /// ```
    /// # use core_reactor::{Cx, Peers, Polled, Shard, ShardConfig, Sharded, SpawnError, sim::Sim};
    /// #
    /// # /// Counts, on each core apart.
    /// # struct Counter {
    /// #     count: u64,
    /// #     peers: Peers<Self>,
    /// # }
    /// #
    /// # impl Shard for Counter {
    /// #     type Common = ();
    /// #     type Report = u64;
    /// #     type Error = SpawnError;
    /// #
    /// #     fn open(_: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, SpawnError> {
    /// #         Ok(Self { count: 0, peers })
    /// #     }
    /// #
    /// #     fn poll(&mut self, _: &mut Cx<'_>) -> Polled {
    /// #         Polled::Idle
    /// #     }
    /// #
    /// #     fn report(&self) -> u64 {
    /// #         self.count
    /// #     }
    /// # }
    /// # let mut sim = Sim::new(2);
    /// # let counters = Sharded::<Counter>::start(sim.lib(), ShardConfig::new("counter", &sim.lib().reactors()), (), |_, _| {})?;
    /// counters.send(0, |here, _| {
    ///     // The other core's count, and one more.
    ///     here.peers.ask(1, |there, _| there.count + 1, |here, _, answer| here.count = answer.unwrap_or(0));
    /// });
    /// sim.settle();
    /// # counters.send(0, |here, _| assert_eq!(here.count, 1));
    /// # sim.settle();
    /// # Ok::<(), SpawnError>(())
    /// ```
    ///
    /// # Panics
    /// There is no such shard.
    pub fn ask<R, A, D>(&self, to: usize, ask: A, answered: D)
    where
        R: Send + 'static,
        A: FnOnce(&mut S, &mut Cx<'_>) -> R + Send + 'static,
        D: FnOnce(&mut S, &mut Cx<'_>, Result<R, Gone>) + Send + 'static,
    {
        let ask = move |cx: &mut Cx<'_>| Sharded::<S>::here(cx, ask);
        let answered = move |cx: &mut Cx<'_>, answer: Result<R, Gone>| {
            Sharded::<S>::here(cx, |shard, cx| answered(shard, cx, answer)).unwrap_or_default();
        };
        self.service.0.slots[to].send(question(self.clone(), ask, answered));
    }

    /// Tells what this shard has done by now.
    pub fn publish(&self, report: S::Report) {
        *self.service.0.slots[self.index].report.lock() = report;
    }
}

impl<S: Shard> Asker for Peers<S> {
    fn tell(&self, answer: Msg) {
        self.service.0.slots[self.index].send(answer);
    }
}

impl<R: Default> Slot<R> {
    fn new(core: CoreId) -> Self {
        Self {
            core,
            load: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            thread: spin::Once::new(),
            queue: Mutex::new(Queue::default()),
            queued: AtomicUsize::new(0),
            report: Mutex::new(R::default()),
        }
    }
}

impl<R> Slot<R> {
    /// Sends into the mailbox; where that does not do, or others wait already, into the queue.
    fn send(&self, msg: Msg) {
        let msg = match self.thread.get() {
            // Once the shard has let in what this sender had queued, the mailbox has it, in front
            // of this.
            Some(thread) if self.queued.load(Ordering::Acquire) == 0 => match thread.send_msg(msg) {
                Ok(()) => return,
                Err(refused) => refused.item,
            },
            _ => msg,
        };
        let mut queue = self.queue.lock();
        if queue.gone {
            // A message that is dropped may send another, so not under the lock.
            drop(queue);
            return drop(msg);
        }
        queue.msgs.push_back(msg);
        self.queued.store(queue.msgs.len(), Ordering::Release);
        drop(queue);
        // Its core may have run all that filled the mailbox, and sleep. One that is not open looks
        // when it is.
        if let Some(thread) = self.thread.get() {
            thread.wake();
        }
    }

    /// Moves what waits into the mailbox, as far as there is room: by the shard's own core, which
    /// is back here while the mailbox has something.
    #[cold]
    fn let_in(&self) {
        let Some(thread) = self.thread.get() else { return };
        let mut queue = self.queue.lock();
        // Without room it is full, and this turn or the next one runs some of it.
        let _ = thread.send_bulk(&mut queue.msgs);
        self.queued.store(queue.msgs.len(), Ordering::Release);
    }

    /// Drops what waits, and whatever comes.
    fn end(&self) {
        self.gone.store(true, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        queue.gone = true;
        let rest = core::mem::take(&mut queue.msgs);
        self.queued.store(0, Ordering::Release);
        drop(queue);
        drop(rest);
    }
}

/// An open shard. It is its thread's channel, so that messages find it.
struct Running<S: Shard> {
    shard: S,
    peers: Peers<S>,
    drain_limit: Duration,
}

struct Here<S: Shard>(Rc<RefCell<Running<S>>>);

impl<S: Shard> Running<S> {
    /// Has this thread run the shard from now on.
    fn begin(self, cx: &mut Cx<'_>) {
        let (service, index) = (self.peers.service.clone(), self.peers.index);
        let schedule = service.0.config.schedule;
        let running = Rc::new(RefCell::new(self));
        cx.open_channel(Here(running.clone()));
        let slot = &service.0.slots[index];
        slot.thread.call_once(|| cx.handle());
        slot.let_in();
        let mut leave_by = None;
        cx.local_poller("shard", schedule, move |cx: &mut Cx<'_>| {
            let slot = &service.0.slots[index];
            if slot.queued.load(Ordering::Acquire) > 0 {
                slot.let_in();
            }
            let mut running = running.borrow_mut();
            if !cx.is_exiting() {
                return running.shard.poll(cx);
            }
            if running.has_drained(cx, &mut leave_by) {
                cx.close_channel::<Here<S>>();
                return Polled::Done;
            }
            let _ = running.shard.poll(cx);
            // Nothing would wake this core at the end of the wait.
            Polled::Busy
        });
    }

    /// Whether all has gone out that was to, or has had the time to.
    fn has_drained(&self, cx: &Cx<'_>, leave_by: &mut Option<Instant>) -> bool {
        let by = *leave_by.get_or_insert(cx.now() + self.drain_limit);
        cx.now() >= by || self.shard.unsent() == 0
    }
}

impl<S: Shard> Drop for Running<S> {
    fn drop(&mut self) {
        let slot = &self.peers.service.0.slots[self.peers.index];
        let unsent = self.shard.unsent();
        if unsent > 0
            && let Some(thread) = slot.thread.get()
        {
            let ms = self.drain_limit.as_millis() as u64;
            logging::warn!("{}: {} bytes were dropped, which their peers had not read after {} ms", thread.name(), unsent, ms);
        }
        self.peers.publish(self.shard.report());
        slot.end();
    }
}

impl<S: Shard> Clone for Sharded<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Shard> Clone for Peers<S> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), index: self.index }
    }
}

impl<S: Shard> Deref for Peers<S> {
    type Target = Sharded<S>;

    fn deref(&self) -> &Sharded<S> {
        &self.service
    }
}

impl<S: Shard> fmt::Debug for Sharded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sharded").field(&self.0.config).finish()
    }
}

impl<S: Shard> fmt::Debug for Peers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("service", &self.service).field("index", &self.index).finish()
    }
}
