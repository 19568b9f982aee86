//! What all queues of a poll group use: sockets, buffers, devices.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use core_reactor::net::{Frame, SockGroup, SockId};
use core_reactor::{Cx, Instant, Peers};
use nvme::Code;
use nvme::target::Settings;
use pool::Buf;

use super::Group;
use super::bufs::Bufs;
use super::place::{Device, Place};
use super::quiet::{Left, Watch};
#[cfg(feature = "tls")]
use super::secure::Secured;
use crate::association::QueueKey;
use crate::{GroupFigures, Subsystem, Target, Transport};

/// What all queues of a poll group use.
pub(crate) struct Base {
    pub(crate) peers: Peers<Group>,
    /// Which group this is.
    pub(crate) index: usize,
    pub(crate) target: Target,
    /// Once there is one, and so somebody to connect.
    pub(crate) transport: Option<Arc<Transport>>,
    pub(crate) settings: Settings,
    pub(crate) sock: Box<dyn SockGroup>,
    pub(crate) bufs: Bufs,
    /// Subsystems whose queues are here.
    pub(crate) places: Vec<Option<Place>>,
    /// Writes that devices have of queues that have ended.
    pub(crate) left: Vec<Left>,
    /// Who waits for their end, and how often somebody here has asked.
    pub(crate) watches: Vec<Watch>,
    /// When it is looked next for whom there is an answer, where many ask.
    pub(crate) answers_at: Instant,
    /// Polls of sockets.
    pub(crate) polls: u64,
    /// A poll of fewer events has left nothing unread.
    pub(crate) quiet_below: usize,
    /// In so many polls everybody is read from, however many there are.
    pub(crate) patience: u64,
    pub(crate) questions: u64,
    /// Queues that have something to send.
    pub(crate) dirty: Vec<QueueKey>,
    /// What queues need that are secured by TLS.
    #[cfg(feature = "tls")]
    pub(crate) secured: Secured,
    pub(crate) figures: Arc<GroupFigures>,
    /// The time of this poll.
    pub(crate) now: Instant,
    /// The end has been asked for.
    pub(crate) is_stopping: bool,
}

impl Base {
    /// The time of this poll, as the protocol takes it.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.now.as_nanos())
    }

    /// The transport, which is made before the first listener; settings are as it says from then
    /// on.
    pub(crate) fn transport(&mut self) -> Arc<Transport> {
        if let Some(transport) = &self.transport {
            return transport.clone();
        }
        let transport = Arc::new(self.target.transport().cloned().unwrap_or_default());
        let max_transfer = self.settings.max_transfer.min(transport.max_io_size);
        self.settings = Settings {
            maxh2cdata: max_transfer,
            admin_in_capsule: 8192.min(max_transfer),
            io_in_capsule: transport.in_capsule_data_size.min(max_transfer),
            max_transfer,
            ..self.settings
        };
        self.transport = Some(transport.clone());
        transport
    }

    /// Where the devices of a subsystem are, for one queue more.
    pub(crate) fn enter(&mut self, cx: &mut Cx<'_>, subsystem: &Arc<Subsystem>) -> usize {
        let is_it = |place: &Option<Place>| place.as_ref().is_some_and(|it| Arc::ptr_eq(&it.subsystem, subsystem));
        let at = self.places.iter().position(is_it).unwrap_or_else(|| {
            let at = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
            if at == self.places.len() {
                self.places.push(None);
            }
            self.places[at] = Some(Place::new(subsystem.clone()));
            at
        });
        if let Some(place) = &mut self.places[at] {
            place.users += 1;
        }
        self.refresh(cx, at);
        at
    }

    pub(crate) fn leave(&mut self, place: usize) {
        if let Some(Some(place)) = self.places.get_mut(place) {
            place.users -= 1;
        }
    }

    /// Looks at the namespaces of a subsystem, if they have changed.
    pub(crate) fn refresh(&mut self, cx: &mut Cx<'_>, at: usize) {
        let Some(Some(place)) = self.places.get_mut(at) else { return };
        if !place.wants_look() {
            return;
        }
        let failed = place.refresh(cx);
        let subsystem = place.subsystem.clone();
        for (namespace, why) in failed {
            if namespace.device().bdev().is_removed() {
                self.target.device_gone(&subsystem, &namespace);
            } else {
                let (nsid, why) = (namespace.nsid(), alloc::format!("{why}"));
                logging::error!("namespace {} of {} cannot be used on this core: {}", nsid, subsystem.nqn(), why.as_str());
            }
        }
    }

    /// A namespace, as it is now.
    #[inline]
    pub(crate) fn device(&mut self, cx: &mut Cx<'_>, place: usize, nsid: u32) -> Result<&mut Device, Code> {
        if self.places.get(place).and_then(Option::as_ref).is_some_and(Place::is_old) {
            self.refresh(cx, place);
        }
        self.places.get_mut(place).and_then(Option::as_mut).ok_or(Code::InvalidNamespace)?.device(nsid)
    }

    /// A device by where it is: among those that are left, if it is `leaving`.
    #[inline]
    pub(crate) fn device_at(&mut self, place: usize, leaving: bool, at: usize) -> Option<&mut Device> {
        let place = self.places.get_mut(place)?.as_mut()?;
        if leaving { &mut place.leaving } else { &mut place.devices }.get_mut(at)
    }

    /// Requests of which the outcome is to come.
    pub(crate) fn under_way(&self) -> usize {
        self.places.iter().flatten().flat_map(|place| place.devices.iter().chain(&place.leaving)).map(Device::under_way).sum()
    }

    /// Has all groups give up commands of hosts whose reservations were preempted.
    pub(crate) fn abort_of_hosts(&self, subsystem: &Arc<Subsystem>, nsid: u32, hosts: &Arc<[[u8; 16]]>) {
        for group in 0..self.peers.shards() {
            let (subsystem, hosts) = (subsystem.clone(), hosts.clone());
            self.peers.send(group, move |group, cx| group.abort_of_hosts(cx, &subsystem, nsid, &hosts));
        }
    }

    /// Queues a buffer to be sent. Whether it was taken; if not the connection is of no use.
    #[inline]
    pub(crate) fn send(&mut self, to: SockId, buf: Buf) -> bool {
        self.sock.send(to, Frame::from(buf)).is_ok()
    }
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// The listener's address.
    pub(crate) port: SocketAddr,
    /// Whether it has to be secured by TLS.
    pub(crate) is_secure: bool,
    /// The connection's own.
    pub(crate) local: SocketAddr,
    /// The host's.
    pub(crate) peer: Option<SocketAddr>,
}
