//! Slots with generations: what a stale key names is not found.

use alloc::vec::Vec;
use core::fmt;

/// The values of a group that keys name ([`QueueId`](super::QueueId),
/// [`ExposedKey`](super::ExposedKey)): each has a slot, and each value of a slot a generation.
///
/// A key holds 24 bits of each. A slot whose generations are used up is never used again, and a
/// new one takes its part, so a key is not given twice before all 2^48 have been; that takes one
/// allocation in 2^24 values.
///
/// ```
/// use core_reactor::transport::Slab;
///
/// let mut queues = Slab::new(2);
/// let key = queues.next().ok_or("no room")?;
/// let slot = queues.insert("first")?;
/// assert_eq!(queues.find(slot, key.1), Some(&mut "first"));
/// assert_eq!(queues.remove(slot), Some("first"));
/// queues.insert("second")?;
/// assert_eq!(queues.find(slot, key.1), None, "the key is stale");
/// # Ok::<(), &str>(())
/// ```
pub struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    limit: u32,
    taken: usize,
}

impl<T> Slab<T> {
    /// The most slots that a key can name.
    pub const SLOTS: u32 = 1 << 24;

    /// The last generation that a key can hold.
    const LAST: u32 = 0xFF_FFFF;

    /// Room for so many values, at most [`SLOTS`](Self::SLOTS).
    pub fn new(limit: u32) -> Self {
        let limit = limit.min(Self::SLOTS);
        Self { slots: (0..limit).map(|_| (0, None)).collect(), free: (0..limit).rev().collect(), limit, taken: 0 }
    }

    /// How many values there may be.
    pub fn capacity(&self) -> usize {
        self.limit as usize
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// The slot and generation that the next value gets; `None` if there is no room.
    ///
    /// ```
    /// # use core_reactor::transport::Slab;
    /// let mut slab = Slab::new(1);
    /// assert!(slab.next().is_some());
    /// assert_eq!(slab.insert(()), Ok(0));
    /// assert_eq!(slab.next(), None);
    /// ```
    pub fn next(&self) -> Option<(u32, u32)> {
        let slot = *self.free.last()?;
        Some((slot, self.slots[slot as usize].0))
    }

    /// Puts a value at the [`next`](Self::next) slot.
    ///
    /// ```
    /// # use core_reactor::transport::Slab;
    /// let mut slab = Slab::new(1);
    /// assert_eq!((slab.insert('a'), slab.insert('b')), (Ok(0), Err('b')));
    /// ```
    ///
    /// # Errors
    /// There is no room; the value comes back.
    pub fn insert(&mut self, value: T) -> Result<usize, T> {
        let Some(slot) = self.free.pop() else { return Err(value) };
        self.slots[slot as usize].1 = Some(value);
        self.taken += 1;
        Ok(slot as usize)
    }

    /// The value at a slot, if it is of this generation.
    #[inline]
    pub fn find(&mut self, slot: usize, generation: u32) -> Option<&mut T> {
        let (now, value) = self.slots.get_mut(slot)?;
        value.as_mut().filter(|_| *now == generation)
    }

    /// As [`find`](Self::find), to look at.
    pub fn peek(&self, slot: usize, generation: u32) -> Option<&T> {
        let (now, value) = self.slots.get(slot)?;
        value.as_ref().filter(|_| *now == generation)
    }

    /// The value at a slot, whatever its generation.
    #[inline]
    pub fn at(&mut self, slot: usize) -> Option<&mut T> {
        self.slots.get_mut(slot)?.1.as_mut()
    }

    /// Empties a slot; keys to it are stale from here on.
    ///
    /// ```
    /// # use core_reactor::transport::Slab;
    /// let mut slab = Slab::new(4);
    /// assert_eq!(slab.insert("here"), Ok(0));
    /// assert_eq!((slab.remove(0), slab.remove(0)), (Some("here"), None));
    /// ```
    pub fn remove(&mut self, slot: usize) -> Option<T> {
        let (generation, value) = self.slots.get_mut(slot)?;
        let value = value.take()?;
        self.taken -= 1;
        if *generation < Self::LAST {
            *generation += 1;
            self.free.push(slot as u32);
        } else if self.slots.len() < Self::SLOTS as usize {
            self.free.push(self.slots.len() as u32);
            self.slots.push((0, None));
        }
        Some(value)
    }

    /// The slots that have a value.
    ///
    /// ```
    /// # use core_reactor::transport::Slab;
    /// let mut slab = Slab::new(4);
    /// assert!((0..3).all(|n| slab.insert(n).is_ok()));
    /// slab.remove(1);
    /// assert!(slab.taken().eq([0, 2]));
    /// ```
    pub fn taken(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.1.is_some()).map(|(slot, _)| slot)
    }
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("len", &self.len()).field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statement 90.
    #[test]
    fn s90_a_key_is_not_given_again_when_the_generations_of_its_place_are_used_up() {
        let mut slab = Slab::new(1);
        slab.slots[0].0 = Slab::<u8>::LAST - 2;
        let mut given = Vec::new();
        for n in 0..10_u8 {
            let (slot, generation) = slab.next().expect("there is room for one");
            assert!(slot < Slab::<u8>::SLOTS && generation <= Slab::<u8>::LAST, "a key can hold it");
            assert!(!given.contains(&(slot, generation)), "{slot} {generation}");
            given.push((slot, generation));
            assert_eq!(slab.insert(n), Ok(slot as usize));
            assert_eq!(slab.insert(n), Err(n), "there is room for one");
            for (stale, of) in &given[..n as usize] {
                assert_eq!(slab.find(*stale as usize, *of), None);
                assert_eq!(slab.peek(*stale as usize, *of), None);
            }
            assert_eq!((slab.peek(slot as usize, generation), slab.len(), slab.capacity()), (Some(&n), 1, 1));
            assert_eq!(slab.taken().collect::<Vec<_>>(), [slot as usize]);
            assert_eq!(slab.remove(slot as usize), Some(n));
            assert_eq!((slab.remove(slot as usize), slab.is_empty()), (None, true));
        }
        assert_eq!(given[..4], [(0, Slab::<u8>::LAST - 2), (0, Slab::<u8>::LAST - 1), (0, Slab::<u8>::LAST), (1, 0)]);
    }

    #[test]
    fn a_value_is_found_by_its_place_and_generation_until_it_is_removed() {
        let mut slab = Slab::new(3);
        assert_eq!((slab.capacity(), slab.len(), slab.is_empty()), (3, 0, true));
        for n in 0..3_u8 {
            assert_eq!((slab.next(), slab.insert(n)), (Some((u32::from(n), 0)), Ok(usize::from(n))));
        }
        assert_eq!((slab.next(), slab.len(), slab.is_empty()), (None, 3, false));
        *slab.find(1, 0).unwrap() += 10;
        *slab.at(1).unwrap() += 10;
        assert_eq!((slab.peek(1, 0), slab.peek(1, 1)), (Some(&21), None));
        for (slot, generation) in [(1, 1), (3, 0)] {
            assert_eq!(slab.find(slot, generation), None);
        }
        assert_eq!(slab.at(3), None);
        assert_eq!(slab.remove(3), None);
        assert_eq!((slab.remove(1), slab.len()), (Some(21), 2));
        assert_eq!(slab.at(1), None);
        assert!(slab.taken().eq([0, 2]));
        assert_eq!((slab.next(), slab.insert(5)), (Some((1, 1)), Ok(1)));
        assert_eq!(slab.find(1, 0), None);
        assert_eq!(slab.find(1, 1), Some(&mut 5));
    }
}
