//! What the processor does when it is interrupted: a device or the timer ends a sleep, a fault ends
//! the image.
//!
//! Interrupts are off except in [`halt`], and the handler leaves them off, so no code of the image
//! is ever interrupted. Both kinds switch to a stack of their own: precompiled code of `core` keeps
//! data below the stack pointer (the red zone), which faults would write over, and an overflowed
//! stack cannot take a fault.

// UNSAFETY: descriptor tables and interrupt handlers are known to the processor by address; faults
// are reported from the frame that it pushes.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm, naked_asm};
use core::cell::UnsafeCell;

use crate::Exit;

/// The vector of everything that ends a sleep.
pub(crate) const WAKE: u8 = 0x20;
pub(crate) const SPURIOUS: u8 = 0xff;

const FAULTS: usize = 32;
const CODE: u16 = 8;
const TSS: u16 = 24;

/// An entry of the interrupt descriptor table (Intel SDM 3A, 6.14.1).
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate([u64; 2]);

impl Gate {
    /// An interrupt gate that switches to the first stack of the TSS.
    fn to(handler: usize) -> Self {
        let at = handler as u64;
        let low = at & 0xffff | u64::from(CODE) << 16 | 1 << 32 | 0x8e << 40 | (at >> 16 & 0xffff) << 48;
        Self([low, at >> 32])
    }
}

/// 104 bytes, of which only the stack for interrupts matters (Intel SDM 3A, 8.7).
#[repr(C, packed(4))]
struct TaskState {
    _stacks: [u32; 9],
    interrupts: u64,
    _rest: [u32; 15],
}

#[repr(C, align(16))]
struct Tables {
    stack: [u8; 8 << 10],
    gates: [Gate; 256],
    descriptors: [u64; 5],
    state: TaskState,
}

struct Global(UnsafeCell<Tables>);

// SAFETY: written by `init` before there is anything else, and read by the processor from then on.
unsafe impl Sync for Global {}

static TABLES: Global = Global(UnsafeCell::new(Tables {
    stack: [0; 8 << 10],
    gates: [Gate([0; 2]); 256],
    descriptors: [0; 5],
    state: TaskState { _stacks: [0; 9], interrupts: 0, _rest: [0; 15] },
}));

/// A table register's operand.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

impl Pointer {
    fn to<T>(table: *const T) -> Self {
        Self { limit: (size_of::<T>() - 1) as u16, base: table.addr() as u64 }
    }
}

unsafe extern "C" {
    static lcore_faults: [[u8; 16]; FAULTS];
}

// One stub of 16 bytes for each fault: it remembers the vector, and the frame is where the stack
// pointer is.
global_asm!(
    r#"
    .section .text.lcore_faults, "ax", @progbits
    .balign 16
    .globl lcore_faults
lcore_faults:
    .set vector, 0
    .rept {faults}
    .balign 16
    push vector
    jmp 2f
    .set vector, vector + 1
    .endr
2:  pop rdi
    mov rsi, rsp
    and rsp, -16
    call {fault}
    ud2
    "#,
    faults = const FAULTS,
    fault = sym fault,
);

/// Ends a sleep: tells the APIC that it was heard, and leaves interrupts off.
#[unsafe(naked)]
extern "C" fn wake() {
    naked_asm!(
        "push rax",
        "mov eax, 0xfee000b0", // end of interrupt
        "mov dword ptr [rax], 0",
        "and dword ptr [rsp + 24], 0xfffffdff", // the flag IF, in the flags to return to
        "pop rax",
        "iretq",
    )
}

/// An interrupt that was withdrawn; the APIC wants to hear nothing of it.
#[unsafe(naked)]
extern "C" fn spurious() {
    naked_asm!("and dword ptr [rsp + 16], 0xfffffdff", "iretq")
}

/// Sets up the tables. Once, and before interrupts come.
pub(crate) fn init() {
    let tables = TABLES.0.get();
    // SAFETY: nothing else refers to the tables now. The descriptors are the boot's code and data
    // again, and the task state; all stay where they are.
    unsafe {
        let tables = &mut *tables;
        tables.state.interrupts = (&raw const tables.stack).addr() as u64 + size_of_val(&tables.stack) as u64;
        let state = (&raw const tables.state).addr() as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        let low = limit | (state & 0xff_ffff) << 16 | 0x89 << 40 | (state >> 24 & 0xff) << 56;
        tables.descriptors = [0, 0x00af_9a00_0000_ffff, 0x00cf_9200_0000_ffff, low, state >> 32];
        for (vector, stub) in lcore_faults.iter().enumerate() {
            tables.gates[vector] = Gate::to(stub.as_ptr().addr());
        }
        tables.gates[usize::from(WAKE)] = Gate::to(wake as *const () as usize);
        tables.gates[usize::from(SPURIOUS)] = Gate::to(spurious as *const () as usize);
        asm!(
            "lgdt [{gdt}]", "lidt [{idt}]", "ltr {tss:x}",
            gdt = in(reg) &Pointer::to(&raw const tables.descriptors),
            idt = in(reg) &Pointer::to(&raw const tables.gates),
            tss = in(reg) TSS,
            options(nostack),
        );
    }
}

/// Sleeps until an interrupt, also one that came before.
pub(crate) fn halt() {
    // SAFETY: `sti` takes effect behind the next instruction, so an interrupt that is due wakes the
    // halt; the handlers keep all registers and leave interrupts off.
    unsafe { asm!("sti", "hlt", options(nostack)) }
}

/// Stops for good.
pub(crate) fn halt_forever() -> ! {
    loop {
        // SAFETY: with interrupts off nothing comes after.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

const NAMES: [&str; 15] = [
    "division by zero",
    "debug trap",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound exceeded",
    "invalid instruction",
    "no x87",
    "double fault",
    "x87 overrun",
    "bad task state",
    "segment not there",
    "stack segment fault",
    "protection fault",
    "page fault",
];

/// Reports a fault and ends the image. `frame` is what the processor pushed: for some vectors an
/// error code, then the instruction's address.
extern "C" fn fault(vector: usize, frame: *const u64) -> ! {
    let has_code = matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30);
    // SAFETY: the processor has pushed at least six words from there on.
    let (code, at) = unsafe { if has_code { (*frame, *frame.add(1)) } else { (0, *frame) } };
    let address: u64;
    // SAFETY: reads the address of the last page fault.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    let name = NAMES.get(vector).copied().unwrap_or("fault");
    if vector == 14 {
        let why = if crate::boot::is_guard(address as usize) { " (the stack is full)" } else { "" };
        crate::fail(Exit::Fault, format_args!("{name} at {at:#x}: address {address:#x}, code {code:#x}{why}"));
    }
    crate::fail(Exit::Fault, format_args!("{name} (vector {vector}) at {at:#x}, code {code:#x}"))
}
