//! Ports of the processor.

// UNSAFETY: a port is a device; what a write to it does is the device's affair, so each caller
// answers for its own.
#![allow(unsafe_code)]

use core::arch::asm;

/// # Safety
/// The device does nothing to memory or the processor that safe code would notice.
pub(crate) unsafe fn out8(port: u16, value: u8) {
    // SAFETY: the caller's.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// # Safety
/// As [`out8`].
pub(crate) unsafe fn out16(port: u16, value: u16) {
    // SAFETY: the caller's.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) }
}

/// # Safety
/// As [`out8`].
pub(crate) unsafe fn out32(port: u16, value: u32) {
    // SAFETY: the caller's.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) }
}

/// # Safety
/// As [`out8`]: reading may have an effect, too.
pub(crate) unsafe fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: the caller's.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// # Safety
/// As [`in8`].
pub(crate) unsafe fn in32(port: u16) -> u32 {
    let value;
    // SAFETY: the caller's.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) }
    value
}
