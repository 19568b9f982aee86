//! What std and libc give a program elsewhere: an entry, an exit, a heap, the memory functions that
//! compiled code calls.
// UNSAFETY: entry and exit are machine code, a heap hands out raw memory, and the memory functions
// work on raw pointers by definition.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

const HEAP: usize = 16 << 20;

/// Memory that is handed out from the front on and never taken back: enough for a program that ends
/// soon.
pub struct Bump {
    memory: UnsafeCell<[u8; HEAP]>,
    used: AtomicUsize,
}

impl Bump {
    pub const fn new() -> Self {
        Self { memory: UnsafeCell::new([0; HEAP]), used: AtomicUsize::new(0) }
    }
}

// SAFETY: `used` gives each byte of `memory` to one caller only.
unsafe impl Sync for Bump {}

// SAFETY: blocks do not overlap (`used` only grows), are aligned, and stay for as long as the
// program.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.memory.get().cast::<u8>();
        let start = |used: usize| (base.addr() + used).next_multiple_of(layout.align()) - base.addr();
        let end = |used: usize| start(used).checked_add(layout.size()).filter(|end| *end <= HEAP);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end) {
            Ok(used) => base.wrapping_add(start(used)),
            Err(_) => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// Ends the process.
pub fn exit(code: u8) -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: exit_group (231) takes a code and does not return.
    unsafe {
        core::arch::asm!("syscall", in("rax") 231, in("rdi") u64::from(code), options(noreturn, nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: exit_group (94) takes a code and does not return.
    unsafe {
        core::arch::asm!("svc 0", in("x8") 94, in("x0") u64::from(code), options(noreturn, nostack));
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("this check needs the entry and the exit call of the host: add them for it");

/// Where the kernel starts the program, its stack aligned.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("xor ebp, ebp", "call {main}", "ud2", main = sym main);
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x29, xzr", "bl {main}", "udf #0", main = sym main);
}

extern "C" fn main() -> ! {
    exit(crate::check())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}

/// Named by the tables of the precompiled `core`; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {
    exit(102)
}

/// As [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(102)
}

// Compiled code calls these by name. Byte by byte and volatile, because the compiler turns a plain
// loop into a call of the same function.

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
    if to.cast_const() <= from {
        // SAFETY: the same contract, and copying from the front does not overwrite what is still to
        // be read.
        return unsafe { memcpy(to, from, count) };
    }
    for at in (0..count).rev() {
        // SAFETY: the caller answers for `count` bytes at both places.
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
