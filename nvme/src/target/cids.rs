//! Which slot of a queue has the command of an identifier.

use alloc::vec::Vec;

/// Identifiers of commands in flight, each with its slot. A host may choose any, so they are
/// hashed: by their low bits, since hosts count tags in them, and each place is then one command's.
/// All in one place, by a host that wants it so, are as many as the queue has entries.
#[derive(Debug)]
pub(super) struct Cids {
    /// The first slot of each place, or [`NONE`]; a power of two of them.
    places: Vec<u16>,
    slots: Vec<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    cid: u16,
    /// The next slot of the same place, or [`NONE`].
    next: u16,
}

/// No slot: a queue has 65,535 entries at most, so that the last is one less.
const NONE: u16 = u16::MAX;

impl Cids {
    /// None in flight, of a queue of so many slots.
    pub(super) fn new(slots: u16) -> Self {
        let slots = usize::from(slots);
        Self { places: alloc::vec![NONE; slots.next_power_of_two()], slots: alloc::vec![Link { cid: 0, next: NONE }; slots] }
    }

    /// The slot of the command that has this identifier.
    #[inline]
    pub(super) fn find(&self, cid: u16) -> Option<u16> {
        let mut at = self.places[self.place(cid)];
        while at != NONE {
            let link = self.slots[usize::from(at)];
            if link.cid == cid {
                return Some(at);
            }
            at = link.next;
        }
        None
    }

    /// A slot has a command whose identifier no other has.
    #[inline]
    pub(super) fn insert(&mut self, cid: u16, slot: u16) {
        let place = self.place(cid);
        self.slots[usize::from(slot)] = Link { cid, next: self.places[place] };
        self.places[place] = slot;
    }

    /// It has it no more.
    #[inline]
    pub(super) fn remove(&mut self, cid: u16, slot: u16) {
        let (place, next) = (self.place(cid), self.slots[usize::from(slot)].next);
        let mut at = self.places[place];
        if at == slot {
            self.places[place] = next;
            return;
        }
        while at != NONE {
            let link = &mut self.slots[usize::from(at)];
            if link.next == slot {
                link.next = next;
                return;
            }
            at = link.next;
        }
    }

    #[inline]
    fn place(&self, cid: u16) -> usize {
        usize::from(cid) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s346_any_identifiers_are_found_until_they_are_removed() {
        for slots in [1, 3, 16, 100] {
            let mut cids = Cids::new(slots);
            // Near each other, and all in one place.
            for step in [1, 7, 128, 4096] {
                let cid = |slot: u16| slot.wrapping_mul(step) ^ 0xA5A5;
                let distinct = (slots - 1) as usize * usize::from(step) < 1 << 16;
                let slots = if distinct { slots } else { 16 };
                for slot in 0..slots {
                    assert_eq!(cids.find(cid(slot)), None);
                    cids.insert(cid(slot), slot);
                }
                // First, last, and from the middle.
                let order = (0..slots).step_by(3).chain((0..slots).skip(1).step_by(3)).chain((0..slots).skip(2).step_by(3).rev());
                for (gone, slot) in order.enumerate() {
                    assert_eq!(cids.find(cid(slot)), Some(slot));
                    cids.remove(cid(slot), slot);
                    assert_eq!(cids.find(cid(slot)), None);
                    assert_eq!((0..slots).filter(|slot| cids.find(cid(*slot)).is_some()).count(), usize::from(slots) - gone - 1);
                }
                assert!(cids.places.iter().all(|place| *place == NONE));
            }
        }
    }
}
