//! Per-thread contexts, which messages and pollers of the thread can reach: one value of each type,
//! and one channel of each [device](crate::IoDevice).

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::rc::{Rc, Weak};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::any::{Any, TypeId};

use crate::Name;

#[derive(Default)]
pub(crate) struct Channels {
    values: Vec<Value>,
    /// One for each device that has a channel here. One that is gone leaves its entry until the
    /// next is opened, or the thread ends or moves.
    of_devices: OfDevices,
}

struct Value {
    kind: TypeId,
    name: &'static str,
    value: Box<dyn Any>,
}

#[derive(Default)]
struct OfDevices(Vec<OfDevice>);

struct OfDevice {
    /// The address of the device, which is nobody else's while the channel is there.
    device: usize,
    name: Name,
    channel: Weak<dyn OpenChannel>,
}

/// A device's channel, whatever its type.
pub(crate) trait OpenChannel: Any {
    /// Takes it off its device, if it is still there.
    fn leave(&self);
}

/// A thread's channel, for whoever watches from outside.
///
/// ```
/// use core_reactor::sim::Sim;
/// use core_reactor::ThreadConfig;
///
/// let mut sim = Sim::new(1);
/// let start = |cx: &mut core_reactor::Cx<'_>| {
///     cx.open_channel(5_u8);
///     let channels = cx.info().channels;
///     assert_eq!((&*channels[0].name, channels[0].refs), ("u8", 1));
/// };
/// sim.lib().spawn(ThreadConfig::new("t"), start)?;
/// sim.settle();
/// # Ok::<(), core_reactor::SpawnError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The name of its device, or of its type.
    pub name: Cow<'static, str>,
    /// How many have it.
    pub refs: usize,
}

impl Channels {
    pub(crate) fn open<C: 'static>(&mut self, value: C) -> Option<C> {
        let before = self.close::<C>();
        self.values.push(Value { kind: TypeId::of::<C>(), name: core::any::type_name::<C>(), value: Box::new(value) });
        before
    }

    #[inline]
    pub(crate) fn get<C: 'static>(&mut self) -> Option<&mut C> {
        // A thread has a handful at most, so a walk beats a map.
        self.values.iter_mut().find(|c| c.kind == TypeId::of::<C>())?.value.downcast_mut()
    }

    pub(crate) fn close<C: 'static>(&mut self) -> Option<C> {
        let at = self.values.iter().position(|c| c.kind == TypeId::of::<C>())?;
        self.values.remove(at).value.downcast().ok().map(|value| *value)
    }

    /// Keeps in mind the channel of the device at this address.
    pub(crate) fn add(&mut self, device: usize, name: Name, channel: Weak<dyn OpenChannel>) {
        self.drop_stale();
        self.of_devices.0.push(OfDevice { device, name, channel });
    }

    /// The channel of the device at this address.
    pub(crate) fn of_device(&self, device: usize) -> Option<Rc<dyn OpenChannel>> {
        self.of_devices.0.iter().filter(|c| c.device == device).find_map(|c| c.channel.upgrade())
    }

    pub(crate) fn drop_stale(&mut self) {
        self.of_devices.0.retain(|c| c.channel.strong_count() > 0);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.of_devices.0.iter().all(|c| c.channel.strong_count() == 0)
    }

    pub(crate) fn info(&self) -> impl Iterator<Item = ChannelInfo> {
        let values = self.values.iter().map(|c| ChannelInfo { name: c.name.into(), refs: 1 });
        let of_devices = self.of_devices.0.iter().map(|c| ChannelInfo { name: c.name.to_string().into(), refs: c.channel.strong_count() });
        values.chain(of_devices.filter(|c| c.refs > 0))
    }
}

impl Drop for OfDevices {
    fn drop(&mut self) {
        // Whoever has one still may keep it; its device must not wait for that.
        self.0.iter().filter_map(|c| c.channel.upgrade()).for_each(|channel| channel.leave());
    }
}
