//! Per-thread contexts: one value of each type that messages and pollers of the thread can reach
//! (the role of SPDK's `io_channel`).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::{Any, TypeId};

#[derive(Default)]
pub(crate) struct Channels(Vec<Channel>);

struct Channel {
    kind: TypeId,
    name: &'static str,
    value: Box<dyn Any>,
}

impl Channels {
    pub(crate) fn open<C: 'static>(&mut self, value: C) -> Option<C> {
        let before = self.close::<C>();
        self.0.push(Channel { kind: TypeId::of::<C>(), name: core::any::type_name::<C>(), value: Box::new(value) });
        before
    }

    #[inline]
    pub(crate) fn get<C: 'static>(&mut self) -> Option<&mut C> {
        // A thread has a handful at most, so a walk beats a map.
        self.0.iter_mut().find(|c| c.kind == TypeId::of::<C>())?.value.downcast_mut()
    }

    pub(crate) fn close<C: 'static>(&mut self) -> Option<C> {
        let at = self.0.iter().position(|c| c.kind == TypeId::of::<C>())?;
        self.0.remove(at).value.downcast().ok().map(|value| *value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|c| c.name)
    }
}
