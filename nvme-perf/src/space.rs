//! The part of a namespace that one core uses, in units of one command each: what is next, and what
//! each unit holds.

use fastrand::Rng;

/// Units that are used, and what is known of them.
pub(crate) struct Space {
    first: u64,
    units: u64,
    /// Blocks of a unit.
    blocks: u64,
    /// Where the next one in order is.
    next: u64,
    /// Of each unit its generation and its flags; empty if nothing is verified.
    table: Vec<u32>,
}

/// A command is under way on the unit.
const BUSY: u32 = 1 << 31;
/// A write to it failed: nobody knows what it holds.
const UNKNOWN: u32 = 1 << 30;
/// Generations wrap within this; 0 is one that was never written.
const GENERATION: u32 = UNKNOWN - 1;

/// Bytes that a unit takes in the table.
pub(crate) const ENTRY: u64 = size_of::<u32>() as u64;

impl Space {
    /// `units` of `blocks` each from unit `first` on, remembered if they are to be verified.
    pub(crate) fn new(first: u64, units: u64, blocks: u64, verify: bool) -> Self {
        Self { first, units, blocks, next: 0, table: if verify { vec![0; units as usize] } else { Vec::new() } }
    }

    pub(crate) fn lba(&self, unit: u64) -> u64 {
        (self.first + unit) * self.blocks
    }

    /// From the first unit on again.
    pub(crate) fn rewind(&mut self) {
        self.next = 0;
    }

    /// The next unit in order, round and round, that is not busy. There are more units than
    /// commands.
    pub(crate) fn in_order(&mut self) -> u64 {
        loop {
            let unit = self.next;
            self.next = if unit + 1 == self.units { 0 } else { unit + 1 };
            if !self.is_busy(unit) {
                return unit;
            }
        }
    }

    /// Any unit that is not busy.
    pub(crate) fn any(&self, rng: &mut Rng) -> u64 {
        let mut unit = rng.u64(..self.units);
        while self.is_busy(unit) {
            unit = if unit + 1 == self.units { 0 } else { unit + 1 };
        }
        unit
    }

    /// The next unit in order, once.
    pub(crate) fn once(&mut self) -> Option<u64> {
        (self.next < self.units).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Whether [`once`](Self::once) has gone through all.
    pub(crate) fn is_through(&self) -> bool {
        self.next == self.units
    }

    fn is_busy(&self, unit: u64) -> bool {
        self.table.get(unit as usize).is_some_and(|entry| entry & BUSY != 0)
    }

    /// A command begins. Its generation: of a write the new one, of a read what it must find, 0 if
    /// that is not known.
    pub(crate) fn begin(&mut self, unit: u64, write: bool) -> u32 {
        let Some(entry) = self.table.get_mut(unit as usize) else { return 0 };
        let generation = *entry & GENERATION;
        let known = *entry & UNKNOWN == 0;
        *entry |= BUSY;
        match (write, known) {
            (true, _) => generation % GENERATION + 1,
            (false, true) => generation,
            (false, false) => 0,
        }
    }

    /// It has ended.
    pub(crate) fn end(&mut self, unit: u64, write: bool, generation: u32, good: bool) {
        let Some(entry) = self.table.get_mut(unit as usize) else { return };
        *entry = match (write, good) {
            (true, true) => generation,
            (true, false) => generation | UNKNOWN,
            (false, _) => *entry & !BUSY,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s308_units_under_way_are_left_alone() {
        let mut space = Space::new(10, 4, 8, true);
        let mut rng = Rng::with_seed(1);
        assert_eq!(space.lba(2), 96);
        let mut taken: Vec<u64> = (0..3)
            .map(|_| {
                let unit = space.any(&mut rng);
                space.begin(unit, true);
                unit
            })
            .collect();
        let left = space.in_order();
        assert_eq!((space.in_order(), space.any(&mut rng)), (left, left), "the only one that is not busy");
        taken.push(left);
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    #[test]
    fn s308_a_read_must_find_the_last_write_that_succeeded() {
        let mut space = Space::new(0, 2, 1, true);
        assert_eq!(space.begin(0, false), 0, "never written");
        space.end(0, false, 0, true);
        for generation in 1..4 {
            assert_eq!(space.begin(0, true), generation);
            space.end(0, true, generation, true);
            assert_eq!(space.begin(0, false), generation);
            space.end(0, false, generation, true);
        }
        assert_eq!(space.begin(0, true), 4);
        space.end(0, true, 4, false);
        assert_eq!(space.begin(0, false), 0, "old or new");
        space.end(0, false, 0, true);
        assert_eq!(space.begin(0, true), 5, "and no generation twice");
        space.end(0, true, 5, true);
        assert_eq!(space.begin(0, false), 5);
    }

    #[test]
    fn units_in_order_go_round_and_once_does_not() {
        let mut space = Space::new(0, 3, 1, false);
        assert_eq!([(); 4].map(|()| space.in_order()), [0, 1, 2, 0]);
        space.rewind();
        assert_eq!([(); 4].map(|()| space.once()), [Some(0), Some(1), Some(2), None]);
    }
}
