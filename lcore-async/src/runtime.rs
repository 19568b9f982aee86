//! The runtime of one thread: the poller that runs its futures, and the handle to it.

use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell, RefMut};
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use core_reactor::net::{Events, NetError, NetImpl};
use core_reactor::{Bell, Cx, Instant, Platform, Polled, Poller, Schedule, Watch};
use pin_project_lite::pin_project;
use pool::BufGroup;

#[cfg(any(feature = "files", feature = "names"))]
use crate::aside::Aside;
#[cfg(feature = "files")]
use crate::file;
#[cfg(feature = "names")]
use crate::names;
use crate::net::{self, Net};
use crate::task::{MOST_TASKS, Tasks};
use crate::timers::Timers;
use crate::waiters::Waiters;

/// Events of a turn.
const EVENTS: usize = 64;

/// The futures of one lcore thread: a handle, which its clones share. It stays on its thread, as
/// all that is made with it: tasks, timers, sockets.
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
/// // Handles of one runtime, for other tasks.
/// let other = runtime.clone();
/// let task = other.spawn_local({
///     let runtime = runtime.clone();
///     async move { runtime.sleep(Duration::from_secs(1)).await }
/// });
/// assert!(task.ok().expect("there is room for a task").await.is_ok());
/// #         lib.stop();
/// #         Ok::<(), NetError>(())
/// #     };
/// #     drop(spawner.spawn_local(task));
/// # };
/// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
/// # sim.run_for(Duration::from_secs(60));
/// # assert!(sim.lib().is_stopping(), "the task has come to its end");
/// ```
#[derive(Clone)]
pub struct Runtime(pub(crate) Rc<Inner>);

pub(crate) struct Inner {
    tasks: Tasks,
    timers: RefCell<Timers>,
    net: RefCell<Option<Net>>,
    #[cfg(feature = "names")]
    names: Aside,
    #[cfg(feature = "files")]
    files: Aside,
    /// The time at which the turn began, or the last one.
    now: Cell<Instant>,
    /// The driver runs.
    in_turn: Cell<bool>,
    /// Whose clock it is, for those who ask between turns.
    platform: Arc<dyn Platform>,
    exiting: Cell<bool>,
    exit_waiters: RefCell<Waiters>,
    exit_holds: Cell<usize>,
    /// When the end waits for nothing any more.
    exit_by: Cell<Option<Instant>>,
}

/// The size of a [`Runtime`], and its network. What it needs is allocated when it is made.
///
/// ```
/// # use core::time::Duration;
/// # use lcore::{AppHandle, Cx, pool::BufGroup};
/// # use lcore_async::{Config, Runtime};
/// # fn start(cx: &mut Cx<'_>, app: &AppHandle) -> Result<(), lcore::net::NetError> {
/// let config = Config::new().network(app.net(), BufGroup::new(1024, 16 << 10)).sockets(256).tasks(512);
/// let runtime = Runtime::new(cx, config)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    network: Option<(&'static dyn NetImpl, BufGroup)>,
    tasks: usize,
    sockets: usize,
    send_limit: usize,
    linger: Duration,
    stall_limit: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// The defaults: no network.
    pub fn new() -> Self {
        Self {
            network: None,
            tasks: 2048,
            sockets: 1024,
            send_limit: 64 << 10,
            linger: Duration::from_secs(30),
            stall_limit: Some(Duration::from_secs(2)),
        }
    }

    /// Sockets over this backend, whose bytes go through these buffers. A connection that is read
    /// as fast as it brings something needs one or two, one that sends to a slow peer as many as
    /// [`send_limit`](Self::send_limit) says.
    #[must_use]
    pub fn network(mut self, backend: &'static dyn NetImpl, bufs: BufGroup) -> Self {
        self.network = Some((backend, bufs));
        self
    }

    /// Tasks that there can be at a time: 1 to 65,408. Default 2048.
    #[must_use]
    pub fn tasks(mut self, tasks: usize) -> Self {
        self.tasks = tasks;
        self
    }

    /// Sockets that there can be at a time, listeners among them. While there are so many a
    /// listener takes no further connection, and a connect is refused. Default 1024.
    #[must_use]
    pub fn sockets(mut self, sockets: usize) -> Self {
        self.sockets = sockets;
        self
    }

    /// Bytes that a stream takes beyond what the system does, before a write waits; it goes on when
    /// half of them are out. Default 64 KiB. 16 writes that are smaller than a buffer are as much.
    #[must_use]
    pub fn send_limit(mut self, bytes: usize) -> Self {
        self.send_limit = bytes;
        self
    }

    /// How long a stream that was dropped goes on sending what it had taken. Then it is reset, so
    /// that its peer does not take a part for all. Default 30 s.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// As [`GroupConfig::stall_limit`](core_reactor::net::GroupConfig::stall_limit): for how long a
    /// peer may take nothing while buffers are short. Default 2 s.
    #[must_use]
    pub fn stall_limit(mut self, time: Option<Duration>) -> Self {
        self.stall_limit = time;
        self
    }
}

impl Runtime {
    /// The runtime of the thread of `cx`, which it keeps on its core. It is there until the thread
    /// is asked to exit.
    ///
    /// # Errors
    /// A size that cannot work, or the network refuses.
    pub fn new(cx: &mut Cx<'_>, config: Config) -> Result<Self, NetError> {
        let Config { network, tasks, sockets, send_limit, linger, stall_limit } = config;
        if tasks == 0 || tasks > MOST_TASKS {
            let why = alloc::format!("{tasks} is not between 1 and {MOST_TASKS}");
            return Err(NetError::Option { option: "Config::tasks", why: why.into() });
        }
        let net = match network {
            Some((backend, bufs)) => Some(Net::new(cx, backend, net::group_config(&bufs, sockets, send_limit, stall_limit), linger)?),
            None => None,
        };
        let runtime = Self(Rc::new(Inner {
            tasks: Tasks::new(cx.handle(), tasks),
            timers: RefCell::default(),
            net: RefCell::new(net),
            #[cfg(feature = "names")]
            names: Aside::new("names", names::AT_A_TIME),
            #[cfg(feature = "files")]
            files: Aside::new("files", file::AT_A_TIME),
            now: Cell::new(cx.now()),
            in_turn: Cell::new(false),
            platform: cx.platform(),
            exiting: Cell::new(false),
            exit_waiters: RefCell::default(),
            exit_holds: Cell::new(0),
            exit_by: Cell::new(None),
        }));
        let alarm = cx.bell(Rc::new(Alarm(runtime.clone())));
        let driver = Driver { runtime: runtime.clone(), events: Events::new(EVENTS), _alarm: alarm };
        cx.local_poller("async", Schedule::WhenAwake, driver);
        Ok(runtime)
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn timers(&self) -> RefMut<'_, Timers> {
        self.0.timers.borrow_mut()
    }

    /// Does something with the sockets, if there are any.
    pub(crate) fn net<R>(&self, f: impl FnOnce(&mut Net) -> R) -> Result<R, NetError> {
        self.0.net.borrow_mut().as_mut().map(f).ok_or_else(net::no_network)
    }

    /// Where names are looked up.
    #[cfg(feature = "names")]
    pub(crate) fn names(&self) -> &Aside {
        &self.0.names
    }

    /// Where files are read and written.
    #[cfg(feature = "files")]
    pub(crate) fn files(&self) -> &Aside {
        &self.0.files
    }

    /// Tasks that there are.
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
    /// drop(runtime.spawn_local(core::future::pending::<()>()));
    /// assert_eq!(runtime.task_count(), 2, "that one, and this");
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub fn task_count(&self) -> usize {
        self.tasks().count()
    }

    /// Whether the thread was asked to exit.
    pub fn is_exiting(&self) -> bool {
        self.0.exiting.get()
    }

    /// Ready when the thread is asked to exit: for a task that takes on nothing new from then on.
    /// It needs [`hold_exit`](Self::hold_exit) to have time for what it has.
    pub fn exiting(&self) -> Exiting {
        Exiting { runtime: self.clone(), key: None }
    }

    /// `future`, or `None` when the thread is asked to exit, which is looked at first: for what
    /// waits for something new, such as a loop that accepts.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime, TcpListener};
    /// # let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Default::default())));
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new().network(net, lcore::pool::BufGroup::new(64, 4096))).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// # let mut listener = TcpListener::bind(&runtime, "127.0.0.1:7".parse().expect("an address"))?;
    /// # lib.stop();
    /// let hold = runtime.hold_exit();
    /// while let Some(accepted) = runtime.until_exit(listener.accept()).await {
    ///     let (_stream, _peer) = accepted?;
    /// }
    /// drop(listener); // nobody comes any more, and what there is goes on
    /// # runtime.sleep(Duration::from_millis(500)).await;
    /// drop(hold);
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_millis(499));
    /// # assert!(!sim.lib().threads().is_empty(), "it is held");
    /// # sim.run_for(Duration::from_millis(1));
    /// # assert!(sim.lib().threads().is_empty(), "the task has come to its end");
    /// ```
    pub fn until_exit<F: Future>(&self, future: F) -> UntilExit<F> {
        UntilExit { future, exiting: self.exiting() }
    }

    /// Has the thread's exit wait until what comes back is dropped: tasks run on until then, or
    /// until the thread library's `drain_limit` is over. Where nothing is held the tasks are
    /// dropped in the turn after the one that sees the exit asked for. What streams had taken to be
    /// sent goes out in either case, within the same limit.
    ///
    /// ```
    /// # async fn finish_the_request() {}
    /// # async fn f(runtime: lcore_async::Runtime) {
    /// let busy = runtime.hold_exit();
    /// finish_the_request().await;
    /// drop(busy);
    /// # }
    /// ```
    pub fn hold_exit(&self) -> ExitHold {
        self.0.exit_holds.update(|holds| holds + 1);
        ExitHold(self.clone())
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("tasks", &self.task_count()).field("is_exiting", &self.is_exiting()).finish_non_exhaustive()
    }
}

/// Has the exit wait. See [`Runtime::hold_exit`].
#[derive(Debug)]
#[must_use = "dropped, it holds nothing"]
pub struct ExitHold(Runtime);

impl Drop for ExitHold {
    fn drop(&mut self) {
        self.0.0.exit_holds.update(|holds| holds - 1);
    }
}

/// Ready when the thread is asked to exit. See [`Runtime::exiting`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Exiting {
    runtime: Runtime,
    key: Option<u32>,
}

impl Future for Exiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.runtime.is_exiting() {
            return Poll::Ready(());
        }
        let runtime = self.runtime.clone();
        let mut waiters = runtime.0.exit_waiters.borrow_mut();
        let before = match self.key {
            Some(key) => waiters.set_waker(key, cx.waker()),
            None => {
                self.key = Some(waiters.insert(cx.waker()));
                None
            }
        };
        drop(waiters);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Exiting {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.runtime.0.exit_waiters.borrow_mut().remove(key);
            drop(waker);
        }
    }
}

pin_project! {
    /// A future, or the exit of its thread. See [`Runtime::until_exit`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct UntilExit<F> {
        #[pin]
        future: F,
        exiting: Exiting,
    }
}

impl<F: Future> Future for UntilExit<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match Pin::new(this.exiting).poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => this.future.poll(cx).map(Some),
        }
    }
}

impl Inner {
    /// The time of this turn. A message or another poller has none, and its core may have slept
    /// since the last: it is told what the clock says.
    pub(crate) fn now(&self) -> Instant {
        let turn = self.now.get();
        if self.in_turn.get() { turn } else { turn.max(self.platform.now()) }
    }

    /// Hears what has happened to sockets. Tells how many events there were.
    fn hear(&self, events: &mut Events) -> usize {
        let now = self.now();
        let found = self.net.borrow_mut().as_mut().map_or(0, |net| net.poll(now, events));
        for event in events.drain() {
            let woken = self.net.borrow_mut().as_mut().map(|net| net.on(event));
            // With nothing borrowed, as a waker may be anybody's.
            woken.into_iter().flatten().flatten().for_each(|waker| waker.wake());
        }
        let mut fed = 0;
        while let Some(waker) = self.next_fed(fed) {
            waker.wake();
            fed += 1;
        }
        found + fed
    }

    fn next_fed(&self, fed: usize) -> Option<Waker> {
        self.net.borrow_mut().as_mut()?.next_fed(fed, self.now())
    }

    /// Wakes those whose time has come. Tells how many.
    fn let_timers_go_off(&self) -> usize {
        let mut gone_off = 0;
        loop {
            let next = self.timers.borrow_mut().go_off(self.now());
            let Some(waker) = next else { return gone_off };
            waker.wake();
            gone_off += 1;
        }
    }

    /// A turn after the thread was asked to exit.
    fn exit_turn(&self, drain_limit: Duration) -> Polled {
        let Some(by) = self.exit_by.get() else {
            self.exit_by.set(Some(self.now() + drain_limit));
            self.exiting.set(true);
            self.wake_exit_waiters();
            // Who waited for it has the next turn.
            return Polled::Busy;
        };
        let is_late = self.now() >= by;
        if self.exit_holds.get() > 0 && !is_late {
            return Polled::Idle;
        }
        let had_tasks = self.tasks.count() > 0;
        self.tasks.end_all();
        let leaving = self.net.borrow().as_ref().map_or(0, Net::leaving);
        match () {
            () if is_late || leaving == 0 => Polled::Done,
            () if had_tasks => Polled::Busy,
            () => Polled::Idle,
        }
    }

    fn wake_exit_waiters(&self) {
        let waiters = self.exit_waiters.borrow_mut().take_all();
        // With nothing borrowed, as a waker may be anybody's.
        waiters.into_iter().for_each(Waker::wake);
    }

    /// The end of everything: tasks first, whose drops may still use the rest.
    fn end(&self, events: &mut Events) {
        self.exiting.set(true);
        self.tasks.end_all();
        let net = self.net.borrow_mut().take();
        if let Some(mut net) = net {
            let waiters = net.take_waiters();
            net.cut_off_all(events);
            drop(net);
            waiters.into_iter().for_each(Waker::wake);
        }
    }
}

/// What the thread runs.
struct Driver {
    runtime: Runtime,
    events: Events,
    /// Pins the thread, and has its core sleep no longer than nothing happens.
    _alarm: Watch,
}

impl Poller for Driver {
    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        let inner = &*self.runtime.0;
        inner.now.set(cx.now());
        inner.in_turn.set(true);
        inner.tasks.begin_turn();
        let happened = inner.hear(&mut self.events) + inner.let_timers_go_off();
        let done = happened + inner.tasks.run_woken();
        if let Some(net) = inner.net.borrow_mut().as_mut() {
            net.hold_back();
        }
        let exit = if cx.is_exiting() { inner.exit_turn(cx.lib().drain_limit()) } else { Polled::Idle };
        inner.tasks.end_turn();
        inner.in_turn.set(false);
        if done > 0 && exit == Polled::Idle { Polled::Busy } else { exit }
    }
}

impl Drop for Driver {
    /// Also when the thread is stopped by force, or has panicked.
    fn drop(&mut self) {
        self.runtime.0.end(&mut self.events);
    }
}

/// What the core asks before it sleeps.
struct Alarm(Runtime);

impl Bell for Alarm {
    fn arm(&self) -> bool {
        self.0.tasks().are_idle()
    }

    fn disarm(&self) {}

    fn due(&self) -> Option<Instant> {
        let inner = &*self.0.0;
        let sockets = inner.net.borrow().as_ref().and_then(Net::next_look);
        [inner.timers.borrow().first(), sockets, inner.exit_by.get()].into_iter().flatten().min()
    }
}
