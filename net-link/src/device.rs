//! The device under a host.

use core_reactor::WaitSource;
use smoltcp::phy::{Device, DeviceCapabilities};
use smoltcp::time::Instant;

/// A device of smoltcp's shape that can also wake a core.
///
/// The defaults are those of a device that tells nothing: a core that polls it never sleeps.
/// [`PollOnly`] makes one of any device.
///
/// Its functions, those of [`Device`] and of the tokens among them, are called with the host's lock
/// held: one that asks the host for anything waits for itself. One that unwinds costs the frame in
/// hand, and the host goes on.
pub trait NetDevice: Device {
    /// What becomes ready when a frame arrives: a descriptor, an interrupt.
    fn wait_source(&self) -> Option<WaitSource> {
        None
    }

    /// A core is about to sleep: from now on the wait source becomes ready for what arrives. False
    /// if something has arrived already.
    fn arm(&mut self) -> bool {
        self.wait_source().is_some()
    }

    /// The core is awake again: the device may be silent.
    fn disarm(&mut self) {}
}

/// A device that can only be polled.
#[derive(Debug)]
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
