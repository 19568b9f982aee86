//! The device under a host.

use core::cell::RefCell;

use core_reactor::WaitSource;
use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, TxToken};
use smoltcp::time::Instant;

use crate::frame;
use crate::gate::{Gate, Gated};

/// A device of smoltcp's shape that can also wake a core.
///
/// The defaults are those of a device that tells nothing: a core that polls it never sleeps. [`PollOnly`] makes one of any device.
///
/// Its functions, those of [`Device`] and of the tokens among them, are called with the host's lock held: one that asks the host for anything
/// waits for itself. One that unwinds costs the frame in hand, and the host goes on.
pub trait NetDevice: Device {
    /// What becomes ready when a frame arrives: a descriptor, an interrupt.
    fn wait_source(&self) -> Option<WaitSource> {
        None
    }

    /// A core is about to sleep: from now on the wait source becomes ready for what arrives. False if something has arrived already.
    fn arm(&mut self) -> bool {
        self.wait_source().is_some()
    }

    /// The core is awake again: the device may be silent.
    fn disarm(&mut self) {}
}

/// A device that can only be polled.
pub struct PollOnly<D>(pub D);

impl<D: Device> Device for PollOnly<D> {
    type RxToken<'a>
        = D::RxToken<'a>
    where
        D: 'a;
    type TxToken<'a>
        = D::TxToken<'a>
    where
        D: 'a;

    fn receive(&mut self, at: Instant) -> Option<(D::RxToken<'_>, D::TxToken<'_>)> {
        self.0.receive(at)
    }

    fn transmit(&mut self, at: Instant) -> Option<D::TxToken<'_>> {
        self.0.transmit(at)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.capabilities()
    }
}

impl<D: Device> NetDevice for PollOnly<D> {}

/// A device of any type with its gate, as the stack sees it.
pub(crate) trait Port: Send {
    /// Takes up to `most` frames into the sockets; ends early at a SYN, which the gate then holds.
    fn ingress(&mut self, most: usize, at: Instant, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> usize;
    /// Sends at most one segment of each socket; true if any went out.
    fn egress(&mut self, at: Instant, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> bool;
    /// Sends a frame that is not smoltcp's; false if there is no room for it.
    fn send(&mut self, at: Instant, frame: &[u8]) -> bool;
    /// Asks the sender of the SYN that is held to show that it is there.
    fn question(&mut self, at: Instant);
    fn gate(&mut self) -> &mut Gate;
    fn wait_source(&self) -> Option<WaitSource>;
    fn arm(&mut self) -> bool;
    fn disarm(&mut self);
}

/// The same, of a device of this type.
pub(crate) struct DevicePort<D> {
    device: D,
    gate: RefCell<Gate>,
}

impl<D: NetDevice> DevicePort<D> {
    /// `None` if it is no Ethernet device.
    pub(crate) fn new(device: D, hardware: [u8; 6], seed: u64) -> Option<Self> {
        let capabilities = device.capabilities();
        let ethernet = capabilities.medium == Medium::Ethernet;
        ethernet.then(|| Self { device, gate: RefCell::new(Gate::new(hardware, capabilities.max_transmission_unit, seed)) })
    }

    pub(crate) fn gated(&mut self) -> Gated<'_, D> {
        Gated::new(&mut self.device, &self.gate)
    }
}

impl<D: NetDevice + Send> Port for DevicePort<D> {
    fn ingress(&mut self, most: usize, at: Instant, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> usize {
        let mut taken = 0;
        while taken < most && self.gate.get_mut().syn().is_none() {
            if iface.poll_ingress_single(at, &mut self.gated(), sockets) == PollIngressSingleResult::None {
                break;
            }
            taken += 1;
        }
        taken
    }

    fn egress(&mut self, at: Instant, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> bool {
        iface.poll_egress(at, &mut self.gated(), sockets) == PollResult::SocketStateChanged
    }

    fn send(&mut self, at: Instant, frame: &[u8]) -> bool {
        let mut gated = self.gated();
        let Some(token) = gated.transmit(at) else { return false };
        token.consume(frame.len(), |to| to.copy_from_slice(frame));
        true
    }

    fn question(&mut self, at: Instant) {
        let mut frame = [0; frame::MOST];
        let len = self.gate.get_mut().question(&mut frame);
        // Past the gate, which follows what connections say, and this is none.
        if len > 0
            && let Some(token) = self.device.transmit(at)
        {
            token.consume(len, |to| to.copy_from_slice(&frame[..len]));
        }
    }

    fn gate(&mut self) -> &mut Gate {
        self.gate.get_mut()
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.device.wait_source()
    }

    fn arm(&mut self) -> bool {
        self.device.arm()
    }

    fn disarm(&mut self) {
        self.device.disarm();
    }
}
