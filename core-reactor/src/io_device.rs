//! Devices that have a part of their own on each thread that uses them (`spdk_io_device`,
//! `spdk_io_channel`).
//!
//! A device is whatever several threads share: a disk, an accelerator, a cache. What it has on one
//! thread, its channel, is reached there without a lock: a queue, a ring, counters. The trait
//! [`IoDevice`] says how one is made, [`Registered`] gives them out, and an [`IoChannel`] is held
//! by whoever uses one.
//!
//! ```text
//!                channel()                    the last IoChannel is dropped
//! not there ───────────────► IoDevice::open ──────────────────────────────► not there
//!                           ▲               │
//!                           └─ channel(), clone: the same, counted
//! ```
//!
//! A channel keeps its thread on its core, and from ending. A thread that ends all the same (by
//! force, or dropped by its owner) takes its channels off their devices, those included that
//! somebody still has.

use alloc::boxed::Box;
use alloc::rc::{Rc, Weak};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;
use core::mem;
use core::ops::Deref;

use crate::channels::OpenChannel;
use crate::for_each::{Route, visit_threads};
use crate::handle::Shared;
use crate::sync::Mutex;
use crate::{Cx, Msg, Name, ThreadHandle};

/// Something that several threads share, and that has a part of its own on each of them.
///
/// ```
/// use core::cell::Cell;
/// use core_reactor::sim::Sim;
/// use core_reactor::{Cx, IoDevice, Registered, ThreadConfig, Unregistered};
///
/// struct Disk;
///
/// /// What a disk has on one thread.
/// #[derive(Default)]
/// struct Queue {
///     reads: Cell<u64>,
/// }
///
/// impl IoDevice for Disk {
///     type Channel = Queue;
///     type Error = Unregistered;
///
///     fn open(&self, _: &mut Cx<'_>) -> Result<Queue, Unregistered> {
///         Ok(Queue::default())
///     }
/// }
///
/// let disk = Registered::new("disk0", Disk);
/// let mut sim = Sim::new(1);
/// let start = move |cx: &mut Cx<'_>| {
///     let [one, other] = [(); 2].map(|()| disk.channel(cx).expect("it is registered"));
///     one.reads.set(5);
///     assert_eq!(other.reads.get(), 5, "a thread has one, which is shared");
/// };
/// sim.lib().spawn(ThreadConfig::new("reads"), start)?;
/// sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
pub trait IoDevice: Sized + Send + Sync + 'static {
    /// Its part on one thread. It stays there, so it need not be `Send`. Whoever has it on that
    /// thread shares it.
    type Channel: 'static;
    /// Why a channel could not be opened. A device that can always open one has [`Unregistered`].
    type Error: From<Unregistered>;

    /// Makes its part on the thread of `cx`.
    ///
    /// # Errors
    /// What it needs on a thread cannot be had. Then nothing is left of it.
    fn open(&self, cx: &mut Cx<'_>) -> Result<Self::Channel, Self::Error>;
}

/// A device that gives out channels (`spdk_io_device_register`), for any thread. Clones are the
/// same device. It is dropped with the last of them and of its channels.
///
/// ```
/// use core_reactor::sim::Sim;
/// use core_reactor::{Cx, IoDevice, Registered, ThreadConfig, Unregistered};
///
/// struct Disk {
///     blocks: u64,
/// }
///
/// #[derive(Debug)]
/// enum NoQueue {
///     Unregistered,
///     Empty,
/// }
///
/// impl From<Unregistered> for NoQueue {
///     fn from(_: Unregistered) -> Self {
///         Self::Unregistered
///     }
/// }
///
/// impl IoDevice for Disk {
///     type Channel = Vec<u64>;
///     type Error = NoQueue;
///
///     fn open(&self, _: &mut Cx<'_>) -> Result<Vec<u64>, NoQueue> {
///         if self.blocks == 0 { Err(NoQueue::Empty) } else { Ok(Vec::new()) }
///     }
/// }
///
/// let mut sim = Sim::new(1);
/// let start = |cx: &mut Cx<'_>| {
///     let disk = Registered::new("disk0", Disk { blocks: 0 });
///     assert_eq!((disk.name(), disk.blocks), ("disk0", 0));
///     assert!(matches!(disk.channel(cx), Err(NoQueue::Empty)));
///     disk.unregister(cx, |cx: &mut Cx<'_>| cx.exit());
///     assert!(matches!(disk.channel(cx), Err(NoQueue::Unregistered)));
/// };
/// sim.lib().spawn(ThreadConfig::new("t"), start)?;
/// sim.settle();
/// assert!(sim.lib().threads().is_empty(), "the end of the device was told");
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
pub struct Registered<D: IoDevice>(Arc<Device<D>>);

struct Device<D> {
    name: Name,
    device: D,
    users: Mutex<Users>,
}

/// Who has channels. The lock is never held while anything else runs.
#[derive(Default)]
struct Users {
    /// The threads that have one or are opening one, in order, by numbers from 1.
    threads: Vec<(u64, ThreadHandle)>,
    last: u64,
    is_unregistered: bool,
    /// Whom to tell that the last is gone.
    waiting: Vec<(ThreadHandle, Msg)>,
}

/// A device's part on this thread (`spdk_io_channel`). Clones are the same one
/// (`spdk_io_channel_ref`). Dropping the last closes it (`spdk_put_io_channel`).
///
/// It stays on its core:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// fn channel<D: core_reactor::IoDevice>(channel: core_reactor::IoChannel<D>) {
///     send(channel);
/// }
/// ```
///
/// ```
/// use core_reactor::sim::Sim;
/// use core_reactor::{Cx, IoChannel, IoDevice, Polled, Registered, Schedule, ThreadConfig, Unregistered};
///
/// struct Clock;
///
/// impl IoDevice for Clock {
///     type Channel = u64;
///     type Error = Unregistered;
///
///     fn open(&self, cx: &mut Cx<'_>) -> Result<u64, Unregistered> {
///         Ok(cx.now().as_nanos())
///     }
/// }
///
/// let mut sim = Sim::new(1);
/// sim.lib().spawn(ThreadConfig::new("t"), |cx: &mut Cx<'_>| {
///     let opened_at: IoChannel<Clock> = Registered::new("clock", Clock).channel(cx).expect("it is registered");
///     // It goes with the poller that has it.
///     cx.local_poller("age", Schedule::Always, move |cx: &mut Cx<'_>| {
///         assert!(cx.now().as_nanos() >= *opened_at && opened_at.device().name() == "clock");
///         Polled::Done
///     });
/// })?;
/// sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
pub struct IoChannel<D: IoDevice>(Rc<Opened<D>>);

struct Opened<D: IoDevice> {
    channel: D::Channel,
    // Behind the channel, so that nobody is told of its end before it.
    user: User<D>,
}

/// A thread among a device's users, from before its channel is opened until after it is closed.
struct User<D: IoDevice> {
    device: Registered<D>,
    number: u64,
}

/// A device gives out no channels any more.
///
/// ```
/// use core_reactor::sim::Sim;
/// use core_reactor::{Cx, IoDevice, Registered, ThreadConfig, Unregistered};
///
/// struct Disk;
///
/// impl IoDevice for Disk {
///     type Channel = ();
///     type Error = Unregistered;
///
///     fn open(&self, _: &mut Cx<'_>) -> Result<(), Unregistered> {
///         Ok(())
///     }
/// }
///
/// let mut sim = Sim::new(1);
/// let start = |cx: &mut Cx<'_>| {
///     let disk = Registered::new("disk0", Disk);
///     disk.unregister(cx, |_: &mut Cx<'_>| {});
///     let why = disk.channel(cx).unwrap_err();
///     assert_eq!((&*why.device, why.to_string()), ("disk0", "device disk0 is unregistered and gives out no channels".into()));
/// };
/// sim.lib().spawn(ThreadConfig::new("t"), start)?;
/// sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device {device} is unregistered and gives out no channels")]
#[non_exhaustive]
pub struct Unregistered {
    /// The device's name.
    pub device: Name,
}

impl<D: IoDevice> Registered<D> {
    /// Registers a device by a name (cut to 32 bytes), by which its channels are shown. Nothing is
    /// looked up by it.
    pub fn new(name: &str, device: D) -> Self {
        Self(Arc::new(Device { name: name.into(), device, users: Mutex::new(Users::default()) }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The device's channel on this thread (`spdk_get_io_channel`). The first call opens it, others
    /// share it. It is looked up, so whoever uses it often keeps it.
    ///
    /// # Errors
    /// [`Unregistered`], or the device cannot open one.
    pub fn channel(&self, cx: &mut Cx<'_>) -> Result<IoChannel<D>, D::Error> {
        if let Some(shared) = self.opened(cx) {
            self.0.check(&self.0.users.lock())?;
            return Ok(shared);
        }
        let user = User::enter(self, cx)?;
        let channel = self.0.device.open(cx)?;
        // A device may have got its own channel on the way.
        if let Some(shared) = self.opened(cx) {
            return Ok(shared);
        }
        let opened = Rc::new(Opened { channel, user });
        let weak: Weak<Opened<D>> = Rc::downgrade(&opened);
        cx.thread.channels.add(self.address(), self.0.name.clone(), weak);
        Ok(IoChannel(opened))
    }

    /// Runs `visit` on each thread that has a channel, the first opened first and one at a time,
    /// and `done` here when the last has run it (`spdk_for_each_channel`). Threads that end, or
    /// close theirs, before their turn are passed over; those that open one meanwhile are not
    /// visited.
    ///
    /// ```
    /// # use core::cell::Cell;
    /// # use core_reactor::{Cx, IoChannel, IoDevice, Registered, Unregistered};
    /// # struct Disk;
    /// # impl IoDevice for Disk {
    /// #     type Channel = Cell<u64>;
    /// #     type Error = Unregistered;
    /// #     fn open(&self, _: &mut Cx<'_>) -> Result<Cell<u64>, Unregistered> {
    /// #         Ok(Cell::default())
    /// #     }
    /// # }
    /// fn count_from_zero(cx: &mut Cx<'_>, disk: &Registered<Disk>) {
    ///     let zero = |reads: &IoChannel<Disk>, _: &mut Cx<'_>| reads.set(0);
    ///     disk.for_each(cx, zero, |cx: &mut Cx<'_>| println!("{} knows", cx.handle().name()));
    /// }
    /// # let mut sim = core_reactor::sim::Sim::new(1);
    /// # let start = |cx: &mut Cx<'_>| count_from_zero(cx, &Registered::new("disk0", Disk));
    /// # sim.lib().spawn(core_reactor::ThreadConfig::new("t"), start)?;
    /// # sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    pub fn for_each<V, F>(&self, cx: &mut Cx<'_>, mut visit: V, done: F)
    where
        V: FnMut(&IoChannel<D>, &mut Cx<'_>) + Send + 'static,
        F: FnOnce(&mut Cx<'_>) + Send + 'static,
    {
        let (device, end) = (self.clone(), self.0.users.lock().last + 1);
        let visit = move |cx: &mut Cx<'_>, number| {
            if let Some(channel) = device.opened(cx).filter(|channel| channel.0.user.number == number) {
                visit(&channel, cx);
            }
        };
        visit_threads(cx, self.clone(), end, Box::new(visit), Box::new(done));
    }

    /// Has the device give out no channels any more, and runs `gone` here when the last is closed
    /// (`spdk_io_device_unregister`). Those that are there are used until then. Whoever calls it
    /// once more is told as well.
    pub fn unregister(&self, cx: &mut Cx<'_>, gone: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
        let gone: Box<dyn FnOnce(&mut Cx<'_>) + Send> = Box::new(gone);
        self.0.change(|users| {
            users.is_unregistered = true;
            users.waiting.push((cx.handle(), Msg::new(gone)));
        });
    }

    /// The channel that is open on this thread.
    fn opened(&self, cx: &Cx<'_>) -> Option<IoChannel<D>> {
        let channel: Rc<dyn Any> = cx.thread.channels.of_device(self.address())?;
        channel.downcast().ok().map(IoChannel)
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl<D> Device<D> {
    fn check(&self, users: &Users) -> Result<(), Unregistered> {
        if users.is_unregistered { Err(Unregistered { device: self.name.clone() }) } else { Ok(()) }
    }

    /// Changes who uses it, and tells who waits for the end if that was it.
    fn change<R>(&self, f: impl FnOnce(&mut Users) -> R) -> R {
        let mut users = self.users.lock();
        let result = f(&mut users);
        let is_over = users.is_unregistered && users.threads.is_empty();
        let told = if is_over { mem::take(&mut users.waiting) } else { Vec::new() };
        drop(users);
        told.into_iter().for_each(|(thread, gone)| thread.0.deliver(gone));
        result
    }
}

impl<D: IoDevice> User<D> {
    fn enter(device: &Registered<D>, cx: &Cx<'_>) -> Result<Self, Unregistered> {
        let mut users = device.0.users.lock();
        device.0.check(&users)?;
        users.last += 1;
        let number = users.last;
        users.threads.push((number, cx.handle()));
        Ok(Self { device: device.clone(), number })
    }

    fn leave(&self) {
        // The handle is dropped when the lock is given back.
        let _left = self.device.0.change(|users| {
            let at = users.threads.iter().position(|(number, _)| *number == self.number)?;
            Some(users.threads.remove(at))
        });
    }
}

impl<D: IoDevice> Drop for User<D> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<D: IoDevice> OpenChannel for Opened<D> {
    fn leave(&self) {
        self.user.leave();
    }
}

impl<D: IoDevice> Route for Registered<D> {
    fn next(&self, last: u64, end: u64) -> Option<(u64, Arc<Shared>)> {
        let users = self.0.users.lock();
        let (number, thread) = users.threads.iter().find(|(number, _)| *number > last)?;
        (*number < end).then(|| (*number, thread.0.clone()))
    }
}

impl<D: IoDevice> IoChannel<D> {
    /// The device that it belongs to (`spdk_io_channel_get_io_device`).
    pub fn device(&self) -> &Registered<D> {
        &self.0.user.device
    }
}

impl<D: IoDevice> Deref for IoChannel<D> {
    type Target = D::Channel;

    #[inline]
    fn deref(&self) -> &D::Channel {
        &self.0.channel
    }
}

impl<D: IoDevice> Clone for IoChannel<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: IoDevice> Deref for Registered<D> {
    type Target = D;

    #[inline]
    fn deref(&self) -> &D {
        &self.0.device
    }
}

impl<D: IoDevice> Clone for Registered<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: IoDevice> fmt::Debug for Registered<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registered").field(&self.name()).finish()
    }
}

impl<D: IoDevice> fmt::Debug for IoChannel<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IoChannel").field(&self.device().name()).finish()
    }
}
