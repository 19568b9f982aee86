//! How an image ends, and how its machine tells.

// UNSAFETY: ports that end the machine.
#![allow(unsafe_code)]

use core::fmt;

use crate::interrupts;
use crate::port::{out8, out16};

/// QEMU's `-device isa-debug-exit,iobase=0xf4,iosize=1`: a value v written there ends QEMU with
/// status 2 v + 1.
const DEBUG_EXIT: u16 = 0xf4;
/// The power register of q35 (ACPI PM1a control), and "off".
const ACPI_POWER: u16 = 0x604;
const ACPI_OFF: u16 = 0x2000;

/// Why an image ends. QEMU's exit status is `2 * code + 1`, so none is mistaken for an error of
/// QEMU itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Exit {
    /// It was stopped and has ended in order. Status 33.
    Stopped = 0x10,
    /// No network backend is linked. Status 35.
    NoBackend = 0x11,
    /// There is no network device. Status 37.
    NoDevice = 0x12,
    /// The set-up failed: an address, a pool, a listener. Status 39.
    Setup = 0x13,
    /// A panic. Status 41.
    Panic = 0x14,
    /// A fault of the processor, or a machine that is not as expected. Status 43.
    Fault = 0x15,
}

/// Ends the machine: by QEMU's exit device where it has one, else by switching it off, else by
/// stopping for good.
pub fn exit(how: Exit) -> ! {
    // SAFETY: nothing runs after it, or nothing happens because no device is there.
    unsafe {
        out8(DEBUG_EXIT, how as u8);
        out16(ACPI_POWER, ACPI_OFF);
    }
    interrupts::halt_forever()
}

/// Says why on the console, and ends the machine.
pub fn fail(how: Exit, why: fmt::Arguments<'_>) -> ! {
    crate::console::print(format_args!("image: {why}\n"));
    exit(how)
}
