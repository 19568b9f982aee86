//! Tasks: futures that their thread polls when something has woken them.
//!
//! ```text
//!           spawn, its number is queued        taken off the queue
//!  ──────────────────────────────────► Waiting ──────────────────► Running ──► gone: ready,
//!                                         ▲        put back: Pending  │        aborted, panicked
//!                                         └───────────────────────────┘
//! ```
//!
//! A waker belongs to one task, may go anywhere, and allocates nothing: it puts the number of its
//! task into a ring that has a place for each, at most once. So a task costs what it costs when it
//! is spawned: its future, its waker, and what its handle looks at.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::mem;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

use core_reactor::{Receiver, Refused, Ring, ThreadHandle};
use pin_project_lite::pin_project;

use crate::Runtime;

/// Tasks that run in a turn of their thread, so that the turn ends; the others are next.
const MOST_A_TURN: usize = 128;
/// Tasks that a runtime can have: what the ring holds, less those of a turn, whose places it gives
/// back at the turn's end.
pub(crate) const MOST_TASKS: usize = (1 << 16) - MOST_A_TURN;

/// The tasks of one thread.
pub(crate) struct Tasks {
    queue: Arc<Queue>,
    woken: RefCell<Receiver<u32>>,
    table: RefCell<Table>,
}

/// What wakers of any core reach.
struct Queue {
    ring: Arc<Ring<u32>>,
    /// The thread is at it, and looks once more before its core sleeps: it need not be woken.
    is_turning: AtomicBool,
    thread: ThreadHandle,
}

/// What a task is woken by.
struct TaskWaker {
    queue: Arc<Queue>,
    number: u32,
    /// Its number is in the ring; of a task that is gone always, so that it is never put in again.
    is_queued: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        // There is a place for each task.
        let _ = self.queue.ring.push(self.number);
        // SeqCst, behind the claim in the ring: either this sees that the turn has ended, or the
        // core sees the number when it looks before it sleeps.
        if !self.queue.is_turning.load(Ordering::SeqCst) {
            self.queue.thread.wake();
        }
    }
}

/// A future that is not running.
struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    wake: Arc<TaskWaker>,
    waker: Waker,
}

struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    limit: usize,
    is_closed: bool,
    spawned: u64,
}

struct Slot {
    /// Which of all tasks it is, so that a handle does not abort another.
    serial: u64,
    state: State,
}

enum State {
    Free,
    Waiting(Task),
    Running,
    /// To be dropped when its run is over.
    Aborted,
    /// It is gone, and its number still in the ring.
    Ended,
}

/// Why a task was not spawned.
///
/// ```
/// # use core::time::Duration;
/// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
/// # use lcore_async::{Config, Runtime, SpawnError};
/// # let mut sim = Sim::new(1);
/// # let start = move |cx: &mut lcore::Cx<'_>| {
/// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
/// #     let (spawner, lib) = (runtime.clone(), cx.lib());
/// #     let task = async move {
/// let mut tasks = Vec::new();
/// let why = loop {
///     match runtime.spawn_local(core::future::pending::<()>()) {
///         Ok(task) => tasks.push(task),
///         Err(refused) => break refused.why, // with the future, to be tried again
///     }
/// };
/// assert_eq!(why, SpawnError::Full(2048));
/// #         lib.stop();
/// #         Ok::<(), NetError>(())
/// #     };
/// #     drop(spawner.spawn_local(task));
/// # };
/// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
/// # sim.run_for(Duration::from_secs(60));
/// # assert!(sim.lib().is_stopping(), "the task has come to its end");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// As many tasks are there as the runtime was made for.
    #[error("the runtime has {0} tasks, as many as it was made for (Config::tasks)")]
    Full(usize),
    /// Its thread has ended, or is just about to.
    #[error("the runtime has ended with its thread")]
    Ended,
}

impl Tasks {
    pub(crate) fn new(thread: ThreadHandle, limit: usize) -> Self {
        let (ring, woken) = Ring::new(limit + MOST_A_TURN);
        let table = Table { slots: Vec::with_capacity(limit), free: Vec::with_capacity(limit), limit, is_closed: false, spawned: 0 };
        let queue = Arc::new(Queue { ring, is_turning: AtomicBool::new(false), thread });
        Self { queue, woken: RefCell::new(woken), table: RefCell::new(table) }
    }

    /// A turn of the thread begins: who wakes a task from now on need not wake the thread.
    pub(crate) fn begin_turn(&self) {
        self.queue.is_turning.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end_turn(&self) {
        self.queue.is_turning.store(false, Ordering::SeqCst);
    }

    /// Whether no task waits to be run. Looked at before the core sleeps.
    pub(crate) fn are_idle(&self) -> bool {
        self.woken.borrow().is_empty()
    }

    /// Runs the tasks that are woken now. Tells how many.
    pub(crate) fn run_woken(&self) -> usize {
        let ready = self.woken.borrow().ready(MOST_A_TURN);
        for _ in 0..ready {
            let number = self.woken.borrow_mut().pop();
            if let Some(number) = number {
                self.run(number);
            }
        }
        if ready > 0 {
            self.woken.borrow_mut().publish(ready, MOST_A_TURN);
        }
        ready
    }

    fn run(&self, number: u32) {
        let Some(task) = self.table.borrow_mut().begin(number) else { return };
        let mut running = Running { tasks: self, number, task: Some(task) };
        if let Some(task) = &mut running.task {
            // Who wakes it from now on wants another run; this one sees what was done before.
            task.wake.is_queued.swap(false, Ordering::AcqRel);
            let polled = task.future.as_mut().poll(&mut Context::from_waker(&task.waker));
            if polled.is_pending()
                && let Some(task) = running.task.take()
            {
                running.task = self.table.borrow_mut().put_back(number, task);
            }
        }
    }

    /// Adds a task, which first runs in the turn after, or later in this one.
    fn add(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> (u32, u64) {
        let mut table = self.table.borrow_mut();
        let number = table.free.pop().unwrap_or_else(|| {
            table.slots.push(Slot { serial: 0, state: State::Free });
            (table.slots.len() - 1) as u32
        });
        let wake = Arc::new(TaskWaker { queue: self.queue.clone(), number, is_queued: AtomicBool::new(false) });
        table.spawned += 1;
        let serial = table.spawned;
        let task = Task { future, waker: wake.clone().into(), wake: wake.clone() };
        table.slots[number as usize] = Slot { serial, state: State::Waiting(task) };
        drop(table);
        wake.wake_by_ref();
        (number, serial)
    }

    /// Whether one more is taken.
    fn check(&self) -> Result<(), SpawnError> {
        let table = self.table.borrow();
        match () {
            () if table.is_closed => Err(SpawnError::Ended),
            () if table.free.is_empty() && table.slots.len() == table.limit => Err(SpawnError::Full(table.limit)),
            () => Ok(()),
        }
    }

    /// Drops a task; one that runs when its run is over.
    fn abort(&self, number: u32, serial: u64) {
        let aborted = self.table.borrow_mut().abort(number, serial);
        if let Some(task) = aborted {
            drop(Running { tasks: self, number, task: Some(task) });
        }
    }

    /// Drops all tasks, and takes no more.
    pub(crate) fn end_all(&self) {
        self.table.borrow_mut().is_closed = true;
        let slots = self.table.borrow().slots.len();
        for number in 0..slots as u32 {
            let serial = self.table.borrow().slots[number as usize].serial;
            self.abort(number, serial);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        let table = self.table.borrow();
        table.slots.len() - table.free.len()
    }
}

impl Table {
    /// Takes a task whose number was in the ring, to run it.
    fn begin(&mut self, number: u32) -> Option<Task> {
        let slot = self.slots.get_mut(number as usize)?;
        match mem::replace(&mut slot.state, State::Running) {
            State::Waiting(task) => Some(task),
            State::Ended => {
                slot.state = State::Free;
                self.free.push(number);
                None
            }
            other => {
                slot.state = other;
                None
            }
        }
    }

    /// Puts a task back that waits for something. One that was aborted meanwhile comes back.
    fn put_back(&mut self, number: u32, task: Task) -> Option<Task> {
        match self.slots.get_mut(number as usize) {
            Some(slot) if matches!(slot.state, State::Running) => {
                slot.state = State::Waiting(task);
                None
            }
            _ => Some(task),
        }
    }

    fn abort(&mut self, number: u32, serial: u64) -> Option<Task> {
        let slot = self.slots.get_mut(number as usize).filter(|slot| slot.serial == serial)?;
        match mem::replace(&mut slot.state, State::Aborted) {
            State::Waiting(task) => Some(task),
            State::Running => None,
            other => {
                slot.state = other;
                None
            }
        }
    }

    /// A task is over.
    fn end(&mut self, number: u32, is_queued: bool) {
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        slot.state = if is_queued { State::Ended } else { State::Free };
        if !is_queued {
            self.free.push(number);
        }
    }
}

/// A task out of its slot. Dropped with it, the task is over: also where its run has panicked.
struct Running<'a> {
    tasks: &'a Tasks,
    number: u32,
    task: Option<Task>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let is_queued = task.wake.is_queued.swap(true, Ordering::AcqRel);
            self.tasks.table.borrow_mut().end(self.number, is_queued);
            // Last, with nothing borrowed: what it holds may spawn, abort and wake.
            drop(task);
        }
    }
}

// ---- Handles

pin_project! {
    /// A task's future, with whom its outcome is told.
    struct Told<F: Future> {
        #[pin]
        future: F,
        teller: Teller<F::Output>,
    }
}

impl<F: Future> Future for Told<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.future.poll(cx).map(|outcome| this.teller.tell(Outcome::Done(outcome)))
    }
}

enum Outcome<T> {
    NotYet,
    Done(T),
    Aborted,
}

/// What a task and its handle share.
struct End<T> {
    outcome: RefCell<Outcome<T>>,
    waker: RefCell<Option<Waker>>,
}

struct Teller<T>(Rc<End<T>>);

impl<T> Teller<T> {
    fn tell(&self, outcome: Outcome<T>) {
        if matches!(*self.0.outcome.borrow(), Outcome::NotYet) {
            self.0.outcome.replace(outcome);
            let waker = self.0.waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        self.tell(Outcome::Aborted);
    }
}

/// What becomes of a task: awaited, it is what the task's future was ready with. Dropped, the task
/// goes on by itself.
pub struct JoinHandle<T> {
    runtime: Runtime,
    number: u32,
    serial: u64,
    end: Rc<End<T>>,
}

/// The task was aborted, or ended with its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task was aborted, or ended with its thread")]
pub struct Aborted;

impl<T> JoinHandle<T> {
    /// Drops the task's future, now; if it is the one that is running, when its run is over. Does
    /// nothing to a task that is done.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Aborted, Config, Runtime};
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let task = runtime.spawn_local(core::future::pending::<()>()).ok().expect("there is room for a task");
    /// task.abort();
    /// assert_eq!(task.await, Err(Aborted));
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub fn abort(&self) {
        self.runtime.tasks().abort(self.number, self.serial);
    }

    /// Whether the task is over.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, yield_now};
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let task = runtime.spawn_local(async {}).ok().expect("there is room for a task");
    /// assert!(!task.is_finished(), "it has not begun");
    /// yield_now().await;
    /// assert!(task.is_finished());
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub fn is_finished(&self) -> bool {
        !matches!(*self.end.outcome.borrow(), Outcome::NotYet)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Aborted>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = mem::replace(&mut *self.end.outcome.borrow_mut(), Outcome::Aborted);
        match outcome {
            Outcome::Done(outcome) => Poll::Ready(Ok(outcome)),
            Outcome::Aborted => Poll::Ready(Err(Aborted)),
            Outcome::NotYet => {
                self.end.outcome.replace(Outcome::NotYet);
                let waker = self.end.waker.replace(Some(cx.waker().clone()));
                drop(waker);
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("task", &self.serial).field("is_finished", &self.is_finished()).finish()
    }
}

impl Runtime {
    /// Runs a future beside the others on this thread. It need not be `Send`. It is first polled
    /// later in this turn of the thread, or in the next; then whenever something has woken it.
    ///
    /// When the thread is asked to exit all tasks are dropped (see
    /// [`hold_exit`](Self::hold_exit)). A panic in a task is a panic of its thread, as in a poller:
    /// the task is gone, whoever awaits it hears of it, and the application ends.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime};
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// // Nothing in a task need be Send.
    /// let shared = std::rc::Rc::new(std::cell::Cell::new(1));
    /// let task = runtime.spawn_local({
    ///     let shared = shared.clone();
    ///     async move {
    ///         shared.set(2);
    ///         "done"
    ///     }
    /// });
    /// let task = task.map_err(|refused| refused.why).expect("there is room for a task");
    /// assert_eq!((task.await, shared.get()), (Ok("done"), 2));
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    ///
    /// # Errors
    /// As many tasks are there as [`Config::tasks`](crate::Config::tasks) says, or the runtime has
    /// ended; the future comes back.
    pub fn spawn_local<F>(&self, future: F) -> Result<JoinHandle<F::Output>, Refused<F, SpawnError>>
    where
        F: Future + 'static,
    {
        if let Err(why) = self.tasks().check() {
            return Err(Refused { item: future, why });
        }
        let end = Rc::new(End { outcome: RefCell::new(Outcome::NotYet), waker: RefCell::new(None) });
        let future = Box::pin(Told { future, teller: Teller(end.clone()) });
        let (number, serial) = self.tasks().add(future);
        Ok(JoinHandle { runtime: self.clone(), number, serial, end })
    }
}

/// Lets the thread's other tasks, and what comes to its sockets, have their turn before what
/// follows goes on.
///
/// ```
/// # use core::time::Duration;
/// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
/// # use lcore_async::{Config, Runtime, yield_now};
/// # let mut sim = Sim::new(1);
/// # let start = move |cx: &mut lcore::Cx<'_>| {
/// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
/// #     let (spawner, lib) = (runtime.clone(), cx.lib());
/// #     let task = async move {
/// let turns = std::rc::Rc::new(std::cell::Cell::new(0));
/// let counted = turns.clone();
/// drop(runtime.spawn_local(async move { counted.set(counted.get() + 1) }));
/// assert_eq!(turns.get(), 0);
/// yield_now().await;
/// assert_eq!(turns.get(), 1, "the other has had its turn");
/// #         lib.stop();
/// #         Ok::<(), NetError>(())
/// #     };
/// #     drop(spawner.spawn_local(task));
/// # };
/// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
/// # sim.run_for(Duration::from_secs(60));
/// # assert!(sim.lib().is_stopping(), "the task has come to its end");
/// ```
pub async fn yield_now() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
