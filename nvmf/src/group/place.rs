//! A subsystem on one core: its namespaces with a channel each.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bdev::{BdevError, Channel, Request};
use core_reactor::{Cx, Instant, Refused};
use nvme::{Code, target};

use crate::{Namespace, Subsystem};

/// Requests that a device has at a time, of one core. More wait.
const DEPTH: usize = 512;

const NONE: u32 = u32::MAX;

/// A subsystem on one core.
pub(crate) struct Place {
    pub(crate) subsystem: Arc<Subsystem>,
    /// Queues that use it.
    pub(crate) users: usize,
    epoch: u32,
    pub(crate) devices: Vec<Device>,
    /// Where in `devices` a namespace is, by NSID less one.
    by_nsid: Vec<u32>,
    /// Namespaces whose devices cannot be used on this core now: it may be out of descriptors.
    unusable: Vec<u32>,
    /// Devices of namespaces that are gone, until all has come back.
    pub(crate) leaving: Vec<Device>,
}

/// A namespace on one core.
pub(crate) struct Device {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) shown: target::Namespace,
    pub(crate) channel: Channel,
    /// Requests for which the channel has no room.
    waiting: VecDeque<Request>,
}

impl Place {
    pub(crate) fn new(subsystem: Arc<Subsystem>) -> Self {
        // One behind, so that the first look is one.
        let epoch = subsystem.epoch().wrapping_sub(1);
        Self { subsystem, users: 0, epoch, devices: Vec::new(), by_nsid: Vec::new(), unusable: Vec::new(), leaving: Vec::new() }
    }

    /// The namespace with this NSID.
    ///
    /// # Errors
    /// What a host is told that asks for one that is not there, or cannot be used now.
    #[inline]
    pub(crate) fn device(&mut self, nsid: u32) -> Result<&mut Device, Code> {
        let at = self.by_nsid.get(nsid.wrapping_sub(1) as usize);
        let device = at.and_then(|at| self.devices.get_mut(*at as usize));
        device.ok_or_else(|| if self.unusable.contains(&nsid) { Code::NamespaceNotReady } else { Code::InvalidNamespace })
    }

    /// Whether a look is worth while: something has changed, or was not to be had the last time.
    pub(crate) fn wants_look(&self) -> bool {
        self.is_old() || self.is_short()
    }

    /// Whether a namespace cannot be used now.
    pub(crate) fn is_short(&self) -> bool {
        !self.unusable.is_empty()
    }

    #[inline]
    pub(crate) fn is_old(&self) -> bool {
        self.epoch != self.subsystem.epoch()
    }

    /// Looks which namespaces there are now. Those come back whose devices cannot be used, and
    /// could be until now.
    #[cold]
    pub(crate) fn refresh(&mut self, cx: &mut Cx<'_>) -> Vec<(Arc<Namespace>, BdevError)> {
        self.epoch = self.subsystem.epoch();
        let now = self.subsystem.namespaces();
        let (before, mut failed) = (core::mem::take(&mut self.unusable), Vec::new());
        let (stay, go): (Vec<_>, Vec<_>) = core::mem::take(&mut self.devices)
            .into_iter()
            .partition(|it| now.iter().any(|namespace| Arc::ptr_eq(namespace, &it.namespace)));
        self.devices = stay;
        self.leaving.extend(go);
        for namespace in now {
            match self.devices.iter_mut().find(|it| Arc::ptr_eq(&it.namespace, &namespace)) {
                Some(device) => device.shown = namespace.shown(),
                None => match namespace.device().channel(cx, DEPTH) {
                    Ok(channel) => {
                        let shown = namespace.shown();
                        self.devices.push(Device { namespace, shown, channel, waiting: VecDeque::new() });
                    }
                    Err(why) => {
                        self.unusable.push(namespace.nsid());
                        if !before.contains(&namespace.nsid()) {
                            failed.push((namespace, why));
                        }
                    }
                },
            }
        }
        self.by_nsid.clear();
        for (at, device) in self.devices.iter().enumerate() {
            let index = device.namespace.nsid() as usize - 1;
            if self.by_nsid.len() <= index {
                self.by_nsid.resize(index + 1, NONE);
            }
            self.by_nsid[index] = at as u32;
        }
        failed
    }

    /// Drops devices of namespaces that are gone once nothing of them is under way. Whether nothing
    /// is left at all.
    pub(crate) fn clear(&mut self) -> bool {
        self.leaving.retain(|device| device.under_way() > 0);
        self.users == 0 && self.leaving.is_empty() && self.devices.is_empty()
    }
}

impl Device {
    /// Hands a request in, or has it wait for room.
    ///
    /// # Errors
    /// It cannot be done.
    #[inline]
    pub(crate) fn submit(&mut self, now: Instant, request: Request) -> Result<(), Refused<Request, BdevError>> {
        if !self.waiting.is_empty() {
            self.waiting.push_back(request);
            return Ok(());
        }
        match self.channel.submit(now, request) {
            Err(Refused { item, why: BdevError::Full(_) }) => {
                self.waiting.push_back(item);
                Ok(())
            }
            other => other,
        }
    }

    /// Writes `bytes` if the device can do that here and now. Whether it has.
    #[inline]
    pub(crate) fn write_at_once(&mut self, now: Instant, block: u64, blocks: u64, bytes: &[u8]) -> bool {
        self.waiting.is_empty() && self.channel.write_at_once(now, block, blocks, bytes)
    }

    /// Hands in what waited for room. A request that cannot be done any more comes back.
    #[inline]
    pub(crate) fn resubmit(&mut self, now: Instant) -> Option<Refused<Request, BdevError>> {
        while let Some(request) = self.waiting.pop_front() {
            match self.channel.submit(now, request) {
                Ok(()) => {}
                Err(Refused { item, why: BdevError::Full(_) }) => {
                    self.waiting.push_front(item);
                    return None;
                }
                Err(refused) => return Some(refused),
            }
        }
        None
    }

    /// Takes back a request that waits for room.
    pub(crate) fn withdraw(&mut self, token: bdev::Token) -> Option<Request> {
        let at = self.waiting.iter().position(|request| request.token == token)?;
        self.waiting.remove(at)
    }

    /// Requests of which the outcome is to come.
    pub(crate) fn under_way(&self) -> usize {
        self.channel.under_way() + self.waiting.len()
    }
}
