//! Ways to devices: the command line, and the configuration space of PCI through its two ports.

// UNSAFETY: the ports reach every device's configuration.
#![allow(unsafe_code)]

use heapless::String;

use crate::port::{in32, out32};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// The right to look for devices and to use them. There is one, so that no device gets two drivers.
pub struct Devices {
    command_line: String<1024>,
}

impl Devices {
    pub(crate) fn new(command_line: String<1024>) -> Self {
        Self { command_line }
    }

    /// The kernel's command line, on which QEMU's microvm names its devices.
    pub fn command_line(&self) -> &str {
        &self.command_line
    }

    /// The word at `register` (a multiple of 4) of a function. Ones, if there is no such function.
    pub fn pci_read(&self, bus: u8, device: u8, function: u8, register: u8) -> u32 {
        // SAFETY: reading configuration changes nothing.
        unsafe {
            out32(ADDRESS, address(bus, device, function, register));
            in32(DATA)
        }
    }

    /// Writes the word at `register` (a multiple of 4) of a function.
    ///
    /// # Safety
    /// It can tell a device to use memory: none that is anybody's.
    pub unsafe fn pci_write(&mut self, bus: u8, device: u8, function: u8, register: u8, value: u32) {
        // SAFETY: the caller's.
        unsafe {
            out32(ADDRESS, address(bus, device, function, register));
            out32(DATA, value);
        }
    }
}

fn address(bus: u8, device: u8, function: u8, register: u8) -> u32 {
    let place = u32::from(bus) << 16 | u32::from(device) << 11 | u32::from(function) << 8;
    1 << 31 | place | u32::from(register & 0xfc)
}
