//! What a C library gives a program elsewhere: the memory functions that compiled code calls, and
//! names of the unwinder, which nothing uses.
//!
//! Written in the processor's own words for it, because the compiler turns a plain loop into a call
//! of the same function.

// UNSAFETY: they work on raw memory by definition.
#![allow(unsafe_code)]

use core::arch::asm;

/// # Safety
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller answers for `count` bytes at both places; eight at a time, then the rest.
    unsafe {
        asm!(
            "rep movsq", "mov ecx, {rest:e}", "rep movsb",
            rest = in(reg) count % 8, inout("rcx") count / 8 => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// # Safety
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: the same contract; copying from the front does not overwrite what is still to be
        // read.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller answers for `count` bytes at both places; backwards, the odd bytes first,
    // then eight at a time. The direction is set back.
    unsafe {
        asm!(
            "std",
            "lea rdi, [rdi + {count} - 1]", "lea rsi, [rsi + {count} - 1]", "rep movsb",
            "sub rdi, 7", "sub rsi, 7", "mov rcx, {count}", "shr rcx, 3", "rep movsq",
            "cld",
            count = in(reg) count, inout("rcx") count % 8 => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack),
        );
    }
    to
}

/// # Safety
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    let eight = u64::from(byte as u8) * 0x0101_0101_0101_0101;
    // SAFETY: the caller answers for `count` bytes.
    unsafe {
        asm!(
            "rep stosq", "mov ecx, {rest:e}", "rep stosb",
            rest = in(reg) count % 8, inout("rcx") count / 8 => _, inout("rdi") to => _, in("rax") eight,
            options(nostack, preserves_flags),
        );
    }
    to
}

/// # Safety
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for at in 0..count {
        // SAFETY: the caller answers for `count` bytes at both places. Volatile, so that this does
        // not become a call of itself.
        let (x, y) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// # Safety
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, count) }
}

/// # Safety
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: the caller answers for the bytes up to the zero.
    while unsafe { text.add(len).read_volatile() } != 0 {
        len += 1;
    }
    len
}

/// Named by the tables of the precompiled `core` of a hosted target; nothing unwinds here.
#[cfg(not(target_os = "none"))]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As [`rust_eh_personality`].
#[cfg(not(target_os = "none"))]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::fail(crate::Exit::Panic, format_args!("unwinding"))
}
