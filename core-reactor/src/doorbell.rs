//! How a core is woken by others: whether it sleeps, and the platform that ends the sleep.

use alloc::boxed::Box;
use alloc::sync::Arc;
use crossbeam_utils::CachePadded;

use crate::sleep::Sleep;
use crate::{CoreId, CpuSet, Platform};

/// The doorbells of a set, one for each core. Whoever has something for a core puts it there and
/// rings.
pub(crate) struct Doorbells {
    pub(crate) platform: Arc<dyn Platform>,
    /// Each on a line of its own: every sender reads it, and it is rarely written.
    list: Box<[CachePadded<Doorbell>]>,
}

struct Doorbell {
    core: CoreId,
    sleep: Sleep,
}

impl Doorbells {
    /// For those of `cores` that the platform has.
    pub(crate) fn new(platform: Arc<dyn Platform>, cores: CpuSet) -> Self {
        let cores = platform.cores().and(&cores);
        let list = cores.iter().map(|core| CachePadded::new(Doorbell { core, sleep: Sleep::new() })).collect();
        Self { platform, list }
    }

    /// How many cores there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The core of this index.
    pub(crate) fn core(&self, index: usize) -> CoreId {
        self.list[index].core
    }

    /// The cores, in the order of their indices.
    pub(crate) fn cores(&self) -> impl Iterator<Item = CoreId> {
        self.list.iter().map(|bell| bell.core)
    }

    /// The index of `core`; `None` if it is none of the set's.
    pub(crate) fn index_of(&self, core: CoreId) -> Option<usize> {
        self.cores().position(|other| other == core)
    }

    /// Wakes the core if it sleeps.
    #[inline]
    pub(crate) fn ring(&self, index: usize) {
        let bell = &self.list[index];
        if bell.sleep.wake() {
            self.platform.unpark(bell.core);
        }
    }

    /// Says that the core is about to sleep, until what comes back is dropped; also by a bell or a
    /// platform that panics.
    pub(crate) fn fall_asleep(&self, index: usize) -> Asleep<'_> {
        let sleep = &self.list[index].sleep;
        sleep.fall_asleep();
        Asleep(sleep)
    }
}

/// A core that sleeps, or is about to.
pub(crate) struct Asleep<'a>(&'a Sleep);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.wake_up();
    }
}
