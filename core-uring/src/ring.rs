//! The ring of a flow of control, and how it wakes a core.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::atomic::{Ordering, fence};

use core_reactor::Bell;
use io_uring::{cqueue, squeue};

use crate::error::RingError;
use crate::io::Io;
use crate::sys::Eventfd;

/// Entries of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Requests that can be queued before the kernel is entered.
    pub submissions: u32,
    /// Completions that can lie there; the kernel keeps those beyond.
    pub completions: u32,
}

impl Sizes {
    /// Of the ring that all share: those who ask for other sizes have a ring of their own.
    pub const USUAL: Self = Self { submissions: 128, completions: 1024 };

    /// Bytes of a ring, about.
    fn bytes(self) -> u64 {
        u64::from(self.submissions) * size_of::<squeue::Entry>() as u64 + u64::from(self.completions) * size_of::<cqueue::Entry>() as u64
    }
}

/// A ring, as its members share it.
pub struct Ring {
    io: RefCell<Io>,
    /// Told by the kernel when there is something to run, but only while it is armed.
    eventfd: Eventfd,
    armed: Cell<bool>,
    sizes: Sizes,
}

thread_local! {
    /// The ring of this flow of control, while it has a member. Kept here because `SINGLE_ISSUER`
    /// binds a ring to what the system calls a thread, and because a group goes without a context
    /// that it could leave its ring in.
    static HERE: RefCell<Weak<Ring>> = const { RefCell::new(Weak::new()) };
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("sizes", &self.sizes).field("armed", &self.armed.get()).finish_non_exhaustive()
    }
}

impl Ring {
    /// The ring of this flow of control; made, if it has none of these sizes.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn here(sizes: Sizes) -> Result<Rc<Self>, RingError> {
        let there = HERE.with_borrow(Weak::upgrade).filter(|ring| ring.sizes == sizes);
        if let Some(ring) = there {
            return Ok(ring);
        }
        let ring = Rc::new(Self::new(sizes)?);
        HERE.set(Rc::downgrade(&ring));
        Ok(ring)
    }

    /// A ring of its own, for this flow of control.
    ///
    /// # Errors
    /// The kernel makes none: [`RingError::Os`], [`RingError::LockedMemory`].
    pub fn new(sizes: Sizes) -> Result<Self, RingError> {
        let eventfd = Eventfd::new().map_err(|why| RingError::os("eventfd", &why))?;
        let io = Io::new(sizes.submissions, sizes.completions);
        let mut io = io.map_err(|why| RingError::no_ring("io_uring_setup", &why, sizes.bytes()))?;
        io.tell(false);
        io.register(&eventfd).map_err(|why| RingError::os("io_uring_register(EVENTFD)", &why))?;
        Ok(Self { io: RefCell::new(io), eventfd, armed: Cell::new(false), sizes })
    }

    /// The rings, for a call of a member.
    ///
    /// # Panics
    /// If somebody has them, which a member does within one of its own calls only.
    #[inline]
    pub fn io(&self) -> RefMut<'_, Io> {
        self.io.borrow_mut()
    }

    /// A descriptor of its own for each member to watch: it becomes readable when there is
    /// something to run, if the ring was armed.
    ///
    /// # Errors
    /// There is no descriptor.
    pub fn bell(&self) -> Result<OwnedFd, RingError> {
        self.eventfd.again().map_err(|why| RingError::os("dup", &why))
    }
}

impl Bell for Ring {
    fn arm(&self) -> bool {
        let mut io = self.io.borrow_mut();
        // It may be the bell of several groups.
        if self.armed.replace(true) {
            return io.is_quiet();
        }
        io.tell(true);
        // What was left to do before it was armed has told nobody. It is run now, whatever the flag
        // says: the kernel sets that without an order to its look at the eventfd. What comes then
        // tells, unless the entry has left something: it runs a part of what it finds (20 in Linux
        // 6.18), and only the first that comes to nothing tells of all.
        fence(Ordering::SeqCst);
        io.enter_for_events();
        io.is_quiet()
    }

    fn disarm(&self) {
        if self.armed.replace(false) {
            self.io.borrow_mut().tell(false);
            self.eventfd.clear();
        }
    }
}
