//! Messages as defmt frames, on QEMU's debug console (`-debugcon file:log -global
//! isa-debugcon.iobase=0xe9`), for `defmt-print -e IMAGE < log`.

// UNSAFETY: a logger of defmt promises that its frames do not mix; the debug console is a port.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;

use defmt::Encoder;

use crate::port::out8;

const DEBUG_CONSOLE: u16 = 0xe9;

#[defmt::global_logger]
struct Frames;

struct Shared(UnsafeCell<Encoder>);

// SAFETY: there is one core, and nothing logs while it is interrupted.
unsafe impl Sync for Shared {}

static ENCODER: Shared = Shared(UnsafeCell::new(Encoder::new()));

fn send(bytes: &[u8]) {
    for byte in bytes {
        // SAFETY: the port takes bytes and touches no memory.
        unsafe { out8(DEBUG_CONSOLE, *byte) };
    }
}

fn encoder() -> &'static mut Encoder {
    // SAFETY: defmt calls the logger's functions one at a time between `acquire` and `release`, and
    // there is one core.
    unsafe { &mut *ENCODER.0.get() }
}

// SAFETY: one core that nothing interrupts has one frame at a time.
unsafe impl defmt::Logger for Frames {
    fn acquire() {
        encoder().start_frame(send);
    }

    unsafe fn flush() {}

    unsafe fn release() {
        encoder().end_frame(send);
    }

    unsafe fn write(bytes: &[u8]) {
        encoder().write(bytes, send);
    }
}
