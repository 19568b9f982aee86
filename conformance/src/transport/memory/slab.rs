//! Places with generations: what a stale key names is not found.

/// The most places that a key can name.
pub(super) const PLACES: u32 = 1 << 24;

/// The values of type `T` that keys name.
pub(super) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new(places: u32) -> Self {
        Self { places: (0..places).map(|_| (0, None)).collect(), free: (0..places).rev().collect() }
    }

    pub(super) fn capacity(&self) -> usize {
        self.places.len()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a place: its index and generation are handed to who makes the value.
    pub(super) fn insert(&mut self, make: impl FnOnce(u32, u32) -> T) -> Option<u32> {
        let index = self.free.pop()?;
        let (generation, value) = &mut self.places[index as usize];
        *value = Some(make(index, *generation));
        Some(index)
    }

    /// The value at a place, if it is of this generation. Only so many bits of it are compared as a key holds.
    pub(super) fn find(&self, index: usize, generation: u32, bits: u32) -> Option<&T> {
        let (now, value) = self.places.get(index)?;
        value.as_ref().filter(|_| (now ^ generation) << (32 - bits) == 0)
    }

    pub(super) fn at(&mut self, index: usize) -> Option<&mut T> {
        self.places.get_mut(index)?.1.as_mut()
    }

    /// Empties a place; keys to it are stale from here on.
    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        let (generation, value) = self.places.get_mut(index)?;
        let value = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(index as u32);
        Some(value)
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.places.iter().enumerate().filter(|(_, place)| place.1.is_some()).map(|(index, _)| index)
    }
}
