//! A virtio network card (virtio 1.2, 5.1), over MMIO or PCI, as a device of `net-link`.
//!
//! [`find()`] looks for one. Its buffers are allocated then, and frames are read and written in
//! place; nothing is allocated later. While a core sleeps, a frame that arrives interrupts it
//! ([`NetDevice::arm`]).
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod buffers;
mod find;
mod hal;

use core::sync::atomic::{Ordering, fence};

use core_reactor::WaitSource;
use net_link::NetDevice;
use net_link::smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use net_link::smoltcp::time::Instant;

pub use find::{FindError, find};

use crate::buffers::{Receiver, Sender};
use crate::find::Card;

/// Bytes of an Ethernet frame without its check sum, which the card leaves out.
const FRAME: usize = 1514;

/// A network card.
pub struct VirtioNet {
    card: Card,
    receiver: Receiver,
    sender: Sender,
    /// The interrupt that it raises, if that can be known.
    line: Option<u32>,
    /// "virtio-mmio" or "virtio-pci".
    bus: &'static str,
}

impl VirtioNet {
    fn new(mut card: Card, line: Option<u32>, bus: &'static str) -> Result<Self, virtio_drivers::Error> {
        let receiver = Receiver::new(&mut card)?;
        Ok(Self { card, receiver, sender: Sender::new(), line, bus })
    }

    /// Its hardware address.
    pub fn hardware(&self) -> [u8; 6] {
        self.card.mac_address()
    }

    /// Where it was found: "virtio-mmio" or "virtio-pci".
    pub fn bus(&self) -> &'static str {
        self.bus
    }

    /// The interrupt that it raises; `None` if that cannot be known, and then it must be polled.
    pub fn line(&self) -> Option<u32> {
        self.line
    }
}

impl Device for VirtioNet {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        // Without room for the answer, an ARP request or an acknowledgement would be taken and not
        // answered.
        if !self.sender.has_room(&mut self.card) {
            return None;
        }
        let frame = self.receiver.take(&mut self.card)?;
        Some((RxToken(frame), TxToken { card: &mut self.card, sender: &mut self.sender }))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        let room = self.sender.has_room(&mut self.card);
        room.then_some(TxToken { card: &mut self.card, sender: &mut self.sender })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

impl NetDevice for VirtioNet {
    fn wait_source(&self) -> Option<WaitSource> {
        self.line.and_then(|line| i32::try_from(line).ok()).map(WaitSource)
    }

    fn arm(&mut self) -> bool {
        self.receiver.give_back(&mut self.card);
        self.card.enable_interrupts();
        // Lowers the line, so that the next frame raises it.
        self.card.ack_interrupt();
        // What was written for the card to see comes before the look (virtio 1.2, 2.7.7.1).
        fence(Ordering::SeqCst);
        self.line.is_some() && self.card.poll_receive().is_none()
    }

    fn disarm(&mut self) {
        self.card.disable_interrupts();
    }
}

/// A frame that has arrived.
pub struct RxToken<'a>(&'a [u8]);

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for a frame to send.
pub struct TxToken<'a> {
    card: &'a mut Card,
    sender: &'a mut Sender,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.sender.send(self.card, len, f)
    }
}
