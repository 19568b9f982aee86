//! Who runs on a core, and the core's parker.
#![forbid(unsafe_code)]

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use core_reactor::{CoreId, PlatformError};

use crate::error::os_error;
use crate::park::Parker;
use crate::thread::{AdoptedThread, spawn};

/// One core of a platform. Alone on its cache lines, as other cores write to its latch.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct CoreSlot {
    pub(crate) parker: Parker,
    occupant: Mutex<Occupant>,
    left: Condvar,
}

#[derive(Default)]
enum Occupant {
    #[default]
    Nobody,
    /// A thread of ours, perhaps at its end already.
    Started(JoinHandle<()>),
    /// Somebody waits for the thread.
    Joining(ThreadId),
    /// A thread that adopted the core.
    Adopted(ThreadId, Box<AdoptedThread>),
}

impl CoreSlot {
    /// As [`Platform::start`](core_reactor::Platform::start).
    pub(crate) fn start(&self, core: CoreId, pinned: bool, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.take(core, || Ok(Occupant::Started(spawn(core, pinned, entry)?)))
    }

    /// As [`Platform::adopt`](core_reactor::Platform::adopt).
    pub(crate) fn adopt(&self, core: CoreId, pinned: bool) -> Result<(), PlatformError> {
        self.take(core, || Ok(Occupant::Adopted(thread::current().id(), Box::new(AdoptedThread::adopt(core, pinned)?))))
    }

    fn take(&self, core: CoreId, occupy: impl FnOnce() -> Result<Occupant, PlatformError>) -> Result<(), PlatformError> {
        let mut occupant = self.lock();
        let by = match *occupant {
            Occupant::Nobody => {
                self.parker.open()?;
                *occupant = occupy()?;
                return Ok(());
            }
            Occupant::Started(_) | Occupant::Joining(_) => "an entry of this platform that has not been joined",
            Occupant::Adopted(..) => "a thread that adopted it and has not released it",
        };
        Err(PlatformError::CoreTaken { core, by: by.into() })
    }

    /// As [`Platform::join`](core_reactor::Platform::join). If several wait, the first to come is
    /// told of a panic.
    pub(crate) fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        let mut occupant = self.lock();
        loop {
            match &*occupant {
                Occupant::Nobody | Occupant::Adopted(..) => return Ok(()),
                Occupant::Started(thread) if thread.thread().id() == thread::current().id() => return Err(deadlock()),
                Occupant::Joining(thread) if *thread == thread::current().id() => return Err(deadlock()),
                Occupant::Joining(_) => occupant = self.left.wait(occupant).unwrap_or_else(PoisonError::into_inner),
                Occupant::Started(thread) => {
                    let joining = Occupant::Joining(thread.thread().id());
                    let Occupant::Started(thread) = core::mem::replace(&mut *occupant, joining) else { continue };
                    // Not under the lock: the entry may ask the platform for something before it
                    // ends.
                    drop(occupant);
                    let ended = thread.join();
                    *self.lock() = Occupant::Nobody;
                    self.left.notify_all();
                    return ended.map_err(|_| PlatformError::Panicked { core });
                }
            }
        }
    }

    /// As [`Platform::release`](core_reactor::Platform::release). Only the thread that adopted the
    /// core can give it back.
    pub(crate) fn release(&self, core: CoreId) {
        let mut occupant = self.lock();
        match core::mem::take(&mut *occupant) {
            Occupant::Adopted(thread, adopted) if thread == thread::current().id() => {
                if let Err(why) = adopted.restore() {
                    log::error!("the thread that ran core {core} stays pinned to it: {why}");
                }
            }
            other => {
                *occupant = other;
                log::error!("core {core} was released by a thread that had not adopted it");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Occupant> {
        self.occupant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deadlock() -> PlatformError {
    os_error("wait for the end of the entry that is waiting", &std::io::Error::from_raw_os_error(libc::EDEADLK))
}
