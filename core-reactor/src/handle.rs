//! How anyone but its owner reaches a thread.
// UNSAFETY: the critical slot keeps a function as a pointer, since there is no atomic for
// functions.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::fmt;
use core::mem;
use core::ptr;
use core::task::Waker;

use crate::doorbell::Doorbells;
use crate::ring::{PushError, Ring};
use crate::sync::{AtomicBool, AtomicPtr, AtomicUsize, Mutex, Ordering};
use crate::{Cx, Msg, Name, Refused, sync};

/// A thread's number: unique in its [`ThreadLib`](crate::ThreadLib), growing in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub(crate) u64);

/// A handle to a thread, for any core and any flow of control. It does not keep the thread running;
/// sends to an ended thread are refused.
///
/// ```
/// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
/// # let mut sim = Sim::new(1);
/// let thread = sim.lib().spawn(ThreadConfig::new("worker"), |_: &mut Cx<'_>| {})?;
/// let there = thread.clone();
/// std::thread::spawn(move || there.send(|cx| println!("on core {}", cx.core())).is_ok());
/// thread.exit();
/// sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
#[derive(Clone)]
pub struct ThreadHandle(pub(crate) Arc<Shared>);

/// A function for [`ThreadHandle::send_critical`].
pub type Critical = fn(&mut Cx<'_>);

/// The part of a thread that others may touch.
pub(crate) struct Shared {
    pub(crate) id: ThreadId,
    pub(crate) name: Name,
    mailbox: sync::Arc<Ring<Msg>>,
    critical: AtomicPtr<()>,
    exit: AtomicBool,
    /// Whether a turn was asked for that has not begun.
    woken: AtomicBool,
    /// What found no room in the mailbox and must not be lost. See [`Shared::deliver`].
    late: Mutex<VecDeque<Msg>>,
    /// Messages in `late`, so that nobody locks it for nothing.
    late_len: AtomicUsize,
    /// The index of the core that turns this thread.
    core_index: AtomicUsize,
    doorbells: Arc<Doorbells>,
}

impl ThreadHandle {
    /// Has `f` run on the thread, after every message that this sender sent before. Never blocks
    /// (`spdk_thread_send_msg`).
    ///
    /// It may run on any core, long after its sender has returned: what it carries is `Send`, and
    /// its own.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadHandle};
    /// fn carries(to: &ThreadHandle, what: std::sync::Arc<u8>) {
    ///     let _ = to.send(move |_: &mut Cx<'_>| drop(what));
    /// }
    /// ```
    ///
    /// ```compile_fail,E0277
    /// # use core_reactor::{Cx, ThreadHandle};
    /// fn carries(to: &ThreadHandle, what: std::rc::Rc<u8>) {
    ///     let _ = to.send(move |_: &mut Cx<'_>| drop(what));
    /// }
    /// ```
    ///
    /// ```compile_fail,E0373
    /// # use core_reactor::{Cx, ThreadHandle};
    /// fn carries(to: &ThreadHandle) {
    ///     let local = 5;
    ///     let _ = to.send(|_: &mut Cx<'_>| assert_eq!(local, 5));
    /// }
    /// ```
    ///
    /// # Errors
    /// [`PushError::Full`]: the mailbox is; try again later. [`PushError::Closed`]: the thread has
    /// ended. The message comes back.
    #[inline]
    pub fn send<F: FnOnce(&mut Cx<'_>) + Send + 'static>(&self, f: F) -> Result<(), Refused<Msg, PushError>> {
        self.send_msg(Msg::new(f))
    }

    /// As [`send`](Self::send), for a message that is made already.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline(always)] // for the sake of `Ring::push`
    pub fn send_msg(&self, msg: Msg) -> Result<(), Refused<Msg, PushError>> {
        self.0.mailbox.push(msg)?;
        self.0.wake_core();
        Ok(())
    }

    /// Sends messages from the front of `msgs`, as many as fit, next to each other. Tells how many.
    ///
    /// ```
    /// # use core_reactor::{Cx, Msg, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # let thread = sim.lib().spawn(ThreadConfig::new("t"), |_: &mut Cx<'_>| {})?;
    /// let mut msgs: std::collections::VecDeque<Msg> = (0..3).map(|n| Msg::new(move |_| println!("{n}"))).collect();
    /// assert_eq!(thread.send_bulk(&mut msgs), Ok(3));
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send), where not one fits; all stay in `msgs`.
    pub fn send_bulk(&self, msgs: &mut VecDeque<Msg>) -> Result<usize, PushError> {
        let sent = self.0.mailbox.push_bulk(msgs)?;
        self.0.wake_core();
        Ok(sent)
    }

    /// Has `f` run at the start of the thread's next turn, before all messages; unless the thread
    /// is stopped by force, which forgets it. Callable from a signal handler
    /// (`spdk_thread_send_critical_msg`).
    ///
    /// ```
    /// # use core_reactor::{CriticalError, Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # let thread = sim.lib().spawn(ThreadConfig::new("t"), |_: &mut Cx<'_>| {})?;
    /// assert_eq!(thread.send_critical(|cx| cx.lib().stop()), Ok(()));
    /// assert_eq!(thread.send_critical(|_| {}), Err(CriticalError::Pending));
    /// sim.settle();
    /// assert!(sim.lib().is_stopping());
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// One is pending already, and comes first; or the thread has ended, or is just about to: one
    /// that is exiting may yet be kept by a message that comes in the same moment.
    pub fn send_critical(&self, f: Critical) -> Result<(), CriticalError> {
        let set = self.0.critical.compare_exchange(ptr::null_mut(), f as *mut (), Ordering::SeqCst, Ordering::Relaxed);
        set.map_err(|there| if there == ENDED { CriticalError::Closed } else { CriticalError::Pending })?;
        self.0.wake_core();
        Ok(())
    }

    /// Has the thread take a turn, also if its core sleeps: something that its pollers look at has
    /// changed. Callable from anywhere, a signal handler included.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # let thread = sim.lib().spawn(ThreadConfig::new("t"), |_: &mut Cx<'_>| {})?;
    /// // From another flow of control: what a poller of this thread looks at has changed.
    /// std::thread::spawn(move || thread.wake());
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn wake(&self) {
        self.0.nudge();
    }

    /// The same as a [`Waker`], for whoever wakes in the manner of futures (a [`pool::Request`] for
    /// one).
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # let thread = sim.lib().spawn(ThreadConfig::new("t"), |_: &mut Cx<'_>| {})?;
    /// use pool::{BufGroup, Class};
    ///
    /// let bufs = BufGroup::new(1, 16);
    /// let held = bufs.get();
    /// // The thread takes a turn when the buffer is there.
    /// let mut request = bufs.request(Class::Small, 1, 0, &thread.waker()).expect("room in the queue");
    /// drop(held);
    /// assert!(request.poll(0).is_some());
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn waker(&self) -> Waker {
        self.0.clone().into()
    }

    /// Asks the thread to end when its work has drained. Callable from anywhere, any number of
    /// times.
    ///
    /// ```
    /// # use core_reactor::{Cx, ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// # let thread = sim.lib().spawn(ThreadConfig::new("t"), |_: &mut Cx<'_>| {})?;
    /// thread.exit();
    /// sim.settle();
    /// assert!(thread.send(|_| {}).is_err(), "it has ended");
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn exit(&self) {
        self.0.request_exit();
    }

    /// The thread's number.
    ///
    /// ```
    /// # use core_reactor::{ThreadConfig, sim::Sim};
    /// # let sim = Sim::new(1);
    /// let first = sim.lib().spawn(ThreadConfig::new("a"), |_| {})?;
    /// let second = sim.lib().spawn(ThreadConfig::new("b"), |_| {})?;
    /// assert_eq!((first.id().number(), second.id().number()), (1, 2));
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn id(&self) -> ThreadId {
        self.0.id
    }

    /// The thread's name.
    ///
    /// ```
    /// # use core_reactor::{ThreadConfig, sim::Sim};
    /// # let sim = Sim::new(1);
    /// let thread = sim.lib().spawn(ThreadConfig::new("logger"), |_| {})?;
    /// assert_eq!(thread.name(), "logger");
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Messages that wait in its mailbox.
    ///
    /// ```
    /// # use core_reactor::{ThreadConfig, sim::Sim};
    /// # let mut sim = Sim::new(1);
    /// let thread = sim.lib().spawn(ThreadConfig::new("t"), |_| {})?;
    /// sim.settle();
    /// assert!(thread.send(|_| {}).is_ok());
    /// assert_eq!(thread.mailbox_depth(), 1);
    /// sim.settle();
    /// assert_eq!(thread.mailbox_depth(), 0);
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn mailbox_depth(&self) -> usize {
        self.0.mailbox.depth()
    }

    /// The most messages that were seen waiting in its mailbox.
    pub fn mailbox_high_water(&self) -> usize {
        self.0.mailbox.high_water()
    }

    /// Messages that its mailbox holds.
    pub fn mailbox_capacity(&self) -> usize {
        self.0.mailbox.capacity()
    }
}

/// Handles to one thread are equal.
impl PartialEq for ThreadHandle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ThreadHandle {}

impl fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} ({})", self.0.name, self.0.id.0)
    }
}

/// Why a thread does not take a critical message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CriticalError {
    /// There is one already; only one can be pending.
    #[error("a critical message is pending on this thread already")]
    Pending,
    /// The thread has ended.
    #[error("the thread has ended")]
    Closed,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.nudge();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.nudge();
    }
}

/// What an ended thread's critical slot holds; no function is there.
const ENDED: *mut () = ptr::without_provenance_mut(usize::MAX);

impl Shared {
    pub(crate) fn new(id: ThreadId, name: Name, mailbox: sync::Arc<Ring<Msg>>, core_index: usize, doorbells: Arc<Doorbells>) -> Self {
        let critical = AtomicPtr::new(ptr::null_mut());
        let (exit, woken, core_index) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(core_index));
        let (late, late_len) = (Mutex::new(VecDeque::new()), AtomicUsize::new(0));
        Self { id, name, mailbox, critical, exit, woken, late, late_len, core_index, doorbells }
    }

    /// Wakes the thread's core if it sleeps. After a claim in the mailbox, or a SeqCst store of
    /// whatever else the thread looks at before it sleeps.
    #[inline]
    fn wake_core(&self) {
        self.doorbells.ring(self.core_index.load(Ordering::SeqCst));
    }

    fn nudge(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.wake_core();
    }

    /// Whether a turn was asked for.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }

    /// A turn begins: whoever asks from now on asks for the next one.
    #[inline]
    pub(crate) fn begin_turn(&self) {
        if self.woken.load(Ordering::Relaxed) {
            // What was changed before it was set is seen by this turn.
            self.woken.swap(false, Ordering::Acquire);
            if self.has_late() {
                self.let_in();
            }
        }
    }

    /// Sends what nobody could try again to send: an answer, a visit on its way, the word at an
    /// end. Where the mailbox has no room it waits beside it. It is dropped where the thread has
    /// ended, and nowhere else.
    pub(crate) fn deliver(&self, msg: Msg) {
        // Once those that waited are let in, the mailbox has them in front of this.
        let msg = if self.has_late() {
            msg
        } else {
            match self.mailbox.push(msg) {
                Ok(()) => return self.wake_core(),
                Err(refused) => refused.item,
            }
        };
        let mut late = self.late.lock();
        // An end closes the mailbox first, and then takes what waits.
        if self.has_ended() {
            // A message that is dropped may send another, so not under the lock.
            drop(late);
            return drop(msg);
        }
        late.push_back(msg);
        self.late_len.store(late.len(), Ordering::Release);
        drop(late);
        self.nudge();
    }

    /// Whether something waits beside the mailbox.
    pub(crate) fn has_late(&self) -> bool {
        self.late_len.load(Ordering::Acquire) > 0
    }

    /// Moves what waits beside the mailbox into it, as far as there is room.
    #[cold]
    fn let_in(&self) {
        let mut late = self.late.lock();
        // Without room it is full, and this turn runs some of it.
        let _ = self.mailbox.push_bulk(&mut late);
        self.late_len.store(late.len(), Ordering::Release);
        if !late.is_empty() {
            self.woken.store(true, Ordering::SeqCst);
        }
    }

    /// Drops what waits beside the mailbox, which is closed.
    pub(crate) fn end_late(&self) {
        let rest = mem::take(&mut *self.late.lock());
        self.late_len.store(0, Ordering::Release);
        drop(rest);
    }

    pub(crate) fn mailbox(&self) -> &Ring<Msg> {
        &self.mailbox
    }

    /// Whether messages are refused for good, since the thread has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.mailbox.is_closed()
    }

    /// Has what wakes the thread wake the core of this index from now on.
    pub(crate) fn set_core_index(&self, core_index: usize) {
        self.core_index.store(core_index, Ordering::SeqCst);
    }

    pub(crate) fn request_exit(&self) {
        self.exit.store(true, Ordering::SeqCst);
        self.wake_core();
    }

    #[inline]
    pub(crate) fn exit_requested(&self) -> bool {
        self.exit.load(Ordering::SeqCst)
    }

    pub(crate) fn has_critical(&self) -> bool {
        !self.critical.load(Ordering::SeqCst).is_null()
    }

    #[inline]
    pub(crate) fn take_critical(&self) -> Option<Critical> {
        let f = self.critical.load(Ordering::Relaxed);
        if f.is_null() || f == ENDED {
            return None;
        }
        // Only the owner empties the slot, so `f` is still there.
        self.critical.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: the slot holds null, `ENDED` or what `send_critical` made of a `Critical`; the
        // first two were looked for.
        Some(unsafe { mem::transmute::<*mut (), Critical>(f) })
    }

    /// Refuses critical messages from now on; false, and nothing done, if one is pending.
    pub(crate) fn close_critical(&self) -> bool {
        self.critical.compare_exchange(ptr::null_mut(), ENDED, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Takes back [`close_critical`](Self::close_critical).
    pub(crate) fn open_critical(&self) {
        self.critical.store(ptr::null_mut(), Ordering::SeqCst);
    }

    /// Refuses critical messages from now on and forgets a pending one.
    pub(crate) fn end_critical(&self) {
        self.critical.store(ENDED, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimPlatform;
    use crate::{CoreId, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};

    #[test]
    fn an_ended_slot_holds_no_function() {
        let sim = SimPlatform::new(1);
        let lib = ThreadLib::new(sim.clone(), sim.cores(), &ThreadLibOptions::default());
        let thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
        let shared = thread.handle().0;
        assert!(shared.take_critical().is_none());
        shared.end_critical();
        assert!(shared.take_critical().is_none());
        shared.open_critical();
        assert_eq!(thread.handle().send_critical(|_| {}), Ok(()));
        assert!(!shared.close_critical() && shared.take_critical().is_some());
        assert!(shared.close_critical());
        assert_eq!(thread.handle().send_critical(|_| {}), Err(CriticalError::Closed));
    }
}
