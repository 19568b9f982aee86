//! The queues of a group, by their keys.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::queue::Queue;
use crate::association::QueueKey;

/// The queues of a group.
pub(crate) struct Queues {
    places: Vec<Place>,
    free: Vec<u32>,
    most: usize,
}

struct Place {
    generation: u32,
    queue: Option<Box<Queue>>,
}

impl Queues {
    /// Room for so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), most: most.min(1 << QueueKey::PLACE_BITS) }
    }

    /// A key for one more, if there is room. It stays free until [`put`](Self::put).
    pub(crate) fn vacant(&mut self) -> Option<QueueKey> {
        if self.free.is_empty() {
            if self.places.len() == self.most {
                return None;
            }
            self.free.push(self.places.len() as u32);
            self.places.push(Place { generation: 0, queue: None });
        }
        let place = *self.free.last()?;
        Some(QueueKey { place, generation: self.places[place as usize].generation })
    }

    /// Puts a queue where [`vacant`](Self::vacant) said.
    pub(crate) fn put(&mut self, key: QueueKey, queue: Queue) {
        self.free.pop();
        self.places[key.place as usize].queue = Some(Box::new(queue));
    }

    #[inline]
    pub(crate) fn get(&mut self, key: QueueKey) -> Option<&mut Queue> {
        let place = self.places.get_mut(key.place as usize).filter(|place| place.generation == key.generation)?;
        place.queue.as_deref_mut()
    }

    pub(crate) fn peek(&self, key: QueueKey) -> Option<&Queue> {
        let place = self.places.get(key.place as usize).filter(|place| place.generation == key.generation)?;
        place.queue.as_deref()
    }

    /// Takes a queue out; its key names none from now on.
    pub(crate) fn take(&mut self, key: QueueKey) -> Option<Box<Queue>> {
        let place = self.places.get_mut(key.place as usize).filter(|place| place.generation == key.generation)?;
        let queue = place.queue.take()?;
        place.generation = (place.generation + 1) & QueueKey::GENERATIONS;
        self.free.push(key.place);
        Some(queue)
    }

    pub(crate) fn iter(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.places.iter_mut().filter_map(|place| place.queue.as_deref_mut())
    }
}
