//! Interrupt controllers: the processor's APIC with its timer, and the I/O APICs through which
//! devices come.

// UNSAFETY: registers that are memory at fixed addresses, mapped by `boot` and used by nothing
// else.
#![allow(unsafe_code)]

use core::ptr::with_exposed_provenance_mut;

use crate::interrupts::{SPURIOUS, WAKE};
use crate::port::out8;

const LOCAL: usize = 0xfee0_0000;
const ID: usize = 0x20;
const SPURIOUS_VECTOR: usize = 0xf0;
const TIMER: usize = 0x320;
const LINT0: usize = 0x350;
const LINT1: usize = 0x360;
const INITIAL_COUNT: usize = 0x380;
const CURRENT_COUNT: usize = 0x390;
const DIVIDE: usize = 0x3e0;
const MASKED: u32 = 1 << 16;

/// What the timer's input is divided by, so that 32 bits last for more than a minute at 1 GHz.
pub(crate) const DIVIDE_BY: u32 = 16;
const DIVIDE_CODE: u32 = 3;

/// The I/O APICs of QEMU's machines: pins of each, from this global interrupt on. The second is
/// microvm's.
const IO_APICS: [(u32, usize); 2] = [(0, 0xfec0_0000), (24, 0xfec1_0000)];
const PINS: u32 = 24;

fn local(register: usize) -> *mut u32 {
    with_exposed_provenance_mut(LOCAL + register)
}

fn read(register: usize) -> u32 {
    // SAFETY: a register of the local APIC.
    unsafe { local(register).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: a register of the local APIC; none of those used here touches memory, and the vectors
    // have their handlers.
    unsafe { local(register).write_volatile(value) }
}

/// Turns the old controllers off and the local APIC on.
pub(crate) fn init() {
    for port in [0x21, 0xa1] {
        // SAFETY: masks every line of a 8259.
        unsafe { out8(port, 0xff) };
    }
    write(LINT0, MASKED);
    write(LINT1, MASKED);
    write(DIVIDE, DIVIDE_CODE);
    write(TIMER, MASKED | u32::from(WAKE));
    write(SPURIOUS_VECTOR, 0x100 | u32::from(SPURIOUS));
}

/// Lets the timer count down from the top, interrupting nobody.
pub(crate) fn count_down() {
    write(INITIAL_COUNT, u32::MAX);
}

pub(crate) fn timer_count() -> u32 {
    read(CURRENT_COUNT)
}

/// Interrupts once in so many counts.
pub(crate) fn alarm(counts: u32) {
    write(TIMER, u32::from(WAKE));
    write(INITIAL_COUNT, counts.max(1));
}

/// Takes the alarm back.
pub(crate) fn no_alarm() {
    write(INITIAL_COUNT, 0);
}

/// Lets the global interrupt `line` wake this processor, or no more. False if there is no such
/// line.
pub(crate) fn route(line: u32, on: bool) -> bool {
    let Some((first, base)) = IO_APICS.into_iter().find(|(first, _)| (*first..first + PINS).contains(&line)) else { return false };
    let (select, window) = (with_exposed_provenance_mut::<u32>(base), with_exposed_provenance_mut::<u32>(base + 0x10));
    let entry = 0x10 + (line - first) * 2;
    let to = read(ID) & 0xff00_0000;
    // On an edge: whoever sleeps has told the device before that it has seen all, which lowers the
    // line.
    let how = u32::from(WAKE) | if on { 0 } else { MASKED };
    // SAFETY: the register of one pin; the vector has its handler. Reading an I/O APIC that is not
    // there gives ones.
    unsafe {
        select.write_volatile(1); // version and number of pins
        let pins = (window.read_volatile() >> 16 & 0xff) + 1;
        if pins <= line - first || pins > 240 {
            return false;
        }
        select.write_volatile(entry + 1);
        window.write_volatile(to);
        select.write_volatile(entry);
        window.write_volatile(how);
    }
    true
}
