//! The serial port COM1, by looking: text out, and what the operator types.

// UNSAFETY: the registers of a UART 16550 are ports.
#![allow(unsafe_code)]

use core::fmt;

use crate::port::{in8, out8};

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;

/// Looks at a busy transmitter so often. A port that is not there reads as ready.
const PATIENCE: u32 = 1_000_000;

/// 115200 baud, 8 bits, no parity; FIFO on, interrupts off.
pub(crate) fn init() {
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 0x03), (2, 0xc7), (4, 0x0b)] {
        // SAFETY: a UART touches no memory.
        unsafe { out8(COM1 + register, value) };
    }
}

fn status() -> u8 {
    // SAFETY: reading it clears error bits, of which nobody makes use.
    unsafe { in8(LINE_STATUS) }
}

fn send(byte: u8) {
    let mut looks = 0;
    while status() & 0x20 == 0 && looks < PATIENCE {
        looks += 1;
    }
    // SAFETY: a UART touches no memory.
    unsafe { out8(COM1, byte) };
}

/// The next byte that was typed.
pub(crate) fn typed() -> Option<u8> {
    let status = status();
    // Without a port all bits are set.
    let there = status & 1 != 0 && status != 0xff;
    // SAFETY: takes the byte out of the UART, and touches nothing else.
    there.then(|| unsafe { in8(COM1) })
}

/// Text for whoever reads the port; lines end as terminals want it.
pub(crate) struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                send(b'\r');
            }
            send(byte);
        }
        Ok(())
    }
}
