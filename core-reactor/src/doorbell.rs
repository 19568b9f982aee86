//! How a core is woken by others: whether it sleeps, and the platform that ends the sleep.

use alloc::boxed::Box;
use alloc::sync::Arc;
use crossbeam_utils::CachePadded;

use crate::observe::RungAt;
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
    rung: RungAt,
}

impl Doorbells {
    /// For those of `cores` that the platform has.
    pub(crate) fn new(platform: Arc<dyn Platform>, cores: CpuSet) -> Self {
        let cores = platform.cores().and(&cores);
        let list = cores.iter().map(|core| CachePadded::new(Doorbell { core, sleep: Sleep::new(), rung: RungAt::default() })).collect();
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
            bell.rung.note(&*self.platform);
            self.platform.unpark(bell.core);
        }
    }

    /// When a sleeping core's bell was rung.
    pub(crate) fn rung(&self, index: usize) -> &RungAt {
        &self.list[index].rung
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimPlatform;

    #[test]
    fn s13_a_doorbell_wakes_its_own_core_once_and_only_while_it_sleeps() {
        let sim = SimPlatform::new(3);
        let bells = Doorbells::new(sim.clone(), CpuSet::ALL - CpuSet::of(CoreId(0)));
        assert_eq!((bells.len(), bells.index_of(CoreId(0)), bells.index_of(CoreId(2))), (2, None, Some(1)));
        let woken = |index: usize| {
            bells.ring(index);
            [0, 1, 2].map(|core| sim.unparks(CoreId(core)))
        };
        assert_eq!(woken(1), [0, 0, 0], "it is awake");
        let asleep = bells.fall_asleep(1);
        assert_eq!(woken(0), [0, 0, 0], "the other one sleeps");
        assert_eq!((woken(1), woken(1)), ([0, 0, 1], [0, 0, 1]), "one caller is enough");
        drop(asleep);
        drop(bells.fall_asleep(1));
        assert_eq!(woken(1), [0, 0, 1], "it is awake again");
    }
}
