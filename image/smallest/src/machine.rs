//! What differs from machine to machine: the entry, a counter, a way to say something, an end.
//! Replace this file by your board's.
//!
//! Here: a process of Linux that calls the kernel itself, so that the example can be run and
//! measured where it is built; and for other targets the places to fill in.

// UNSAFETY: entries and system calls are machine code.
#![allow(unsafe_code)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux {
    use core::arch::{asm, naked_asm};

    /// Where the kernel starts the program, its stack aligned.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    extern "C" fn _start() -> ! {
        naked_asm!("xor ebp, ebp", "call {main}", "ud2", main = sym crate::main);
    }

    fn call(number: usize, first: usize, second: usize, third: usize) {
        // SAFETY: only calls that read memory of ours, or write to what `second` points to.
        unsafe {
            asm!("syscall", inout("rax") number => _, in("rdi") first, in("rsi") second, in("rdx") third, out("rcx") _, out("r11") _, options(nostack));
        }
    }

    pub(crate) fn nanos() -> u64 {
        const CLOCK_GETTIME: usize = 228;
        const MONOTONIC: usize = 1;
        let mut time = [0_u64; 2];
        call(CLOCK_GETTIME, MONOTONIC, (&raw mut time).expose_provenance(), 0);
        time[0] * 1_000_000_000 + time[1]
    }

    pub(crate) fn say(text: &str) {
        call(1, 1, text.as_ptr().expose_provenance(), text.len());
    }

    pub(crate) fn exit(code: u8) -> ! {
        loop {
            call(231, usize::from(code), 0, 0);
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use linux::{exit, nanos, say};

#[cfg(target_os = "none")]
mod bare {
    use core::hint::spin_loop;
    use core::sync::atomic::{AtomicU32, Ordering};

    /// The entry: your start code sets up the stack and the statics before.
    #[unsafe(no_mangle)]
    extern "C" fn _start() -> ! {
        crate::main()
    }

    /// Milliseconds: your timer's interrupt adds to it. Without one the clock moves with every look
    /// at it, so that the example ends.
    static TICKS: AtomicU32 = AtomicU32::new(0);

    pub(crate) fn nanos() -> u64 {
        u64::from(TICKS.fetch_add(1, Ordering::Relaxed)) * 1_000_000
    }

    /// Your console.
    pub(crate) fn say(_: &str) {}

    pub(crate) fn exit(_: u8) -> ! {
        loop {
            spin_loop();
        }
    }
}

#[cfg(target_os = "none")]
pub(crate) use bare::{exit, nanos, say};

/// What compiled code calls by name where no C library and no `compiler_builtins` brings it: hosted
/// targets.
#[cfg(not(target_os = "none"))]
mod hosted {
    // Byte by byte and volatile, because the compiler turns a plain loop into a call of the same
    // function.

    /// # Safety
    /// As C says.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        for at in 0..count {
            // SAFETY: the caller answers for `count` bytes at both places.
            unsafe { to.add(at).write_volatile(from.add(at).read()) };
        }
        to
    }

    /// # Safety
    /// As C says.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        for step in 0..count {
            let at = if to.cast_const() <= from { step } else { count - 1 - step };
            // SAFETY: the caller answers for `count` bytes at both places; the order leaves unread
            // bytes alone.
            unsafe { to.add(at).write_volatile(from.add(at).read()) };
        }
        to
    }

    /// # Safety
    /// As C says.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
        for at in 0..count {
            // SAFETY: the caller answers for `count` bytes. C cuts the value to a byte.
            unsafe { to.add(at).write_volatile(byte as u8) };
        }
        to
    }

    /// # Safety
    /// As C says.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
        for at in 0..count {
            // SAFETY: the caller answers for `count` bytes at both places.
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

    /// Named by the tables of the precompiled `core`; nothing unwinds here.
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {}

    /// As [`rust_eh_personality`].
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() -> ! {
        super::exit(102)
    }
}
