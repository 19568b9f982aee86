//! Looks for a network card: on the command line, where QEMU's microvm names its devices, then on
//! the first bus of PCI.

// UNSAFETY: a device's registers are found by address.
#![allow(unsafe_code)]

use alloc::rc::Rc;
use core::cell::RefCell;
use core::ptr::{NonNull, with_exposed_provenance_mut};

use platform_x86::Devices;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::{PciTransport, VirtioPciError, virtio_device_type};
use virtio_drivers::transport::{DeviceType, SomeTransport, Transport};

use crate::VirtioNet;
use crate::hal::Identity;

/// Places of each of the card's queues.
pub(crate) const QUEUE: usize = 64;

pub(crate) type Card = VirtIONetRaw<Identity, SomeTransport<'static>, QUEUE>;

/// Why there is no network card.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// None is there.
    #[error("no virtio network card: give the machine one (QEMU: -device virtio-net-device on microvm, -device virtio-net-pci elsewhere)")]
    None,
    /// One is there and does not answer as a card of PCI should.
    #[error("the network card on PCI: {0}")]
    Pci(VirtioPciError),
    /// One is there and cannot be set up.
    #[error("the network card: {0}")]
    Card(virtio_drivers::Error),
}

/// The machine's first network card, set up.
///
/// # Errors
/// There is none, or it cannot be used.
pub fn find(devices: Devices) -> Result<VirtioNet, FindError> {
    let named = first(on_command_line(devices.command_line()));
    // A machine without PCI is a microvm, which names its devices in ACPI's byte code if it is not
    // told to use the command line.
    let has_pci = devices.pci_read(0, 0, 0, 0) != u32::MAX;
    let (transport, line, bus) = match named.or_else(|| if has_pci { None } else { first(on_microvm()) }) {
        Some((transport, line)) => (SomeTransport::from(transport), Some(line), "virtio-mmio"),
        None => {
            let (transport, line) = on_pci(Bus(Rc::new(RefCell::new(devices))))?;
            (SomeTransport::from(transport), line, "virtio-pci")
        }
    };
    let card = Card::new(transport).map_err(FindError::Card)?;
    VirtioNet::new(card, line, bus).map_err(FindError::Card)
}

fn on_command_line(line: &str) -> impl Iterator<Item = Place> {
    line.split_ascii_whitespace().filter_map(|word| Place::parse(word.strip_prefix("virtio_mmio.device=")?))
}

/// The places of QEMU's microvm with ACPI: 24 of them, each with a pin of the second I/O APIC.
fn on_microvm() -> impl Iterator<Item = Place> {
    (0..24).map(|n| Place { size: 512, at: 0xfeb0_0000 + n as usize * 512, line: 24 + n })
}

/// The first of these places that has a network card, and its interrupt.
fn first(mut places: impl Iterator<Item = Place>) -> Option<(MmioTransport<'static>, u32)> {
    places.find_map(|place| Some((place.open()?, place.line)))
}

/// Where a device may be; as Linux' `virtio_mmio.device=` has it: `SIZE@ADDRESS:INTERRUPT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    size: usize,
    at: usize,
    line: u32,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (size, rest) = text.split_once('@')?;
        let (at, line) = rest.split_once(':')?;
        let at = usize::from_str_radix(at.strip_prefix("0x")?, 16).ok()?;
        Some(Self { size: size.parse().ok()?, at, line: line.split(':').next()?.parse().ok()? })
    }

    /// The device, if it is a network card.
    fn open(self) -> Option<MmioTransport<'static>> {
        let inside = self.at.checked_add(self.size).is_some_and(|end| end <= 1 << 32) && self.at.is_multiple_of(4);
        let header = NonNull::new(with_exposed_provenance_mut(self.at)).filter(|_| inside)?;
        // SAFETY: whoever started the machine says that a device may be there, and nobody else has
        // it; the first 4 GiB are mapped. A place without one reads as something else, and is not
        // written to.
        let transport = unsafe { MmioTransport::new(header, self.size) }.ok()?;
        (transport.device_type() == DeviceType::Network).then_some(transport)
    }
}

/// The first network card of bus 0, and its interrupt as the firmware has noted it.
fn on_pci(bus: Bus) -> Result<(PciTransport, Option<u32>), FindError> {
    let noted = bus.clone();
    let mut root = PciRoot::new(bus);
    let found = root.enumerate_bus(0).find(|(_, info)| virtio_device_type(info) == Some(DeviceType::Network));
    let (at, _) = found.ok_or(FindError::None)?;
    root.set_command(at, Command::MEMORY_SPACE | Command::BUS_MASTER);
    let transport = PciTransport::new::<Identity, _>(&mut root, at).map_err(FindError::Pci)?;
    // 0 and 255 are "none".
    let line = Some(noted.read_word(at, INTERRUPT_LINE) & 0xff).filter(|line| (1..255).contains(line));
    Ok((transport, line))
}

const INTERRUPT_LINE: u8 = 0x3c;

/// The bus as the driver wants it.
#[derive(Clone)]
struct Bus(Rc<RefCell<Devices>>);

impl ConfigurationAccess for Bus {
    fn read_word(&self, at: DeviceFunction, register: u8) -> u32 {
        self.0.borrow().pci_read(at.bus, at.device, at.function, register)
    }

    fn write_word(&mut self, at: DeviceFunction, register: u8, value: u32) {
        // SAFETY: the driver writes to the network card only: it asks for the sizes of its
        // registers, and turns it on. The card uses the queues' memory then.
        unsafe { self.0.borrow_mut().pci_write(at.bus, at.device, at.function, register, value) }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        self.clone()
    }
}
