//! Places with generations: what a stale key names is not found.

/// The most places that a key can name.
pub(crate) const PLACES: u32 = 1 << 24;

/// The bits of a generation that a key holds.
const GENERATION: u32 = 0xFF_FFFF;

/// The values that keys name.
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new(places: u32) -> Self {
        Self { places: (0..places).map(|_| (0, None)).collect(), free: (0..places).rev().collect() }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The place and generation that the next value gets.
    pub(crate) fn next(&self) -> Option<(u32, u32)> {
        let place = *self.free.last()?;
        Some((place, self.places[place as usize].0))
    }

    /// Puts a value at the [`next`](Self::next) place.
    pub(crate) fn insert(&mut self, value: T) -> Result<usize, T> {
        let Some(place) = self.free.pop() else { return Err(value) };
        self.places[place as usize].1 = Some(value);
        Ok(place as usize)
    }

    /// The value at a place, if it is of this generation.
    #[inline]
    pub(crate) fn find(&mut self, place: usize, generation: u32) -> Option<&mut T> {
        let (now, value) = self.places.get_mut(place)?;
        value.as_mut().filter(|_| (*now ^ generation) & GENERATION == 0)
    }

    /// As [`find`](Self::find), to look at.
    pub(crate) fn peek(&self, place: usize, generation: u32) -> Option<&T> {
        let (now, value) = self.places.get(place)?;
        value.as_ref().filter(|_| (now ^ generation) & GENERATION == 0)
    }

    #[inline]
    pub(crate) fn at(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.1.as_mut()
    }

    /// Empties a place; keys to it are stale from here on.
    pub(crate) fn remove(&mut self, place: usize) -> Option<T> {
        let (generation, value) = self.places.get_mut(place)?;
        let value = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(place as u32);
        Some(value)
    }

    /// The places that have a value.
    pub(crate) fn taken(&self) -> impl Iterator<Item = usize> + '_ {
        self.places.iter().enumerate().filter(|(_, place)| place.1.is_some()).map(|(place, _)| place)
    }
}
