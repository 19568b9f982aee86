//! From the first instruction to Rust: PVH's entry in 32-bit mode, page tables, 64-bit mode, a
//! stack.
//!
//! PVH (Xen's "x86/HVM direct boot ABI") starts an image with the address of a `hvm_start_info` in
//! `ebx`, paging off, interrupts off.

// UNSAFETY: the first instructions of a machine, its page tables, and the loader's structures,
// which are there by the loader's word only.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::ptr;

use heapless::{String, Vec};
use pvh::start_info::MemmapType;
use pvh::start_info::reader::StartInfoReader;

/// Bytes of the stack.
pub(crate) const STACK: usize = 64 << 10;
const PAGE: usize = 4096;

pvh::xen_elfnote_phys32_entry!(lcore_pvh_start);

unsafe extern "C" {
    fn lcore_pvh_start() -> !;
    static __image_start: u8;
    static __image_end: u8;
    static mut lcore_guard: [u8; PAGE];
    static mut lcore_directory: [u64; 512];
}

global_asm!(
    r#"
    .section .bss.stack, "aw", @nobits
    .balign 4096
    .globl lcore_guard
lcore_guard:
    .skip 4096
    .skip {stack}
lcore_stack_top:
    .section .bss.tables, "aw", @nobits
    .balign 4096
lcore_top:
    .skip 4096
lcore_pointers:
    .skip 4096
    .globl lcore_directory
lcore_directory:
    .skip 4 * 4096

    .section .rodata.gdt, "a", @progbits
    .balign 8
lcore_boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff    // code, 64 bit
    .quad 0x00cf92000000ffff    // data
lcore_boot_gdt_end:
lcore_boot_gdtr:
    .word lcore_boot_gdt_end - lcore_boot_gdt - 1
    .long lcore_boot_gdt

    .section .boot, "ax", @progbits
    .code32
    .globl lcore_pvh_start
lcore_pvh_start:
    cli
    cld
    mov edi, ebx
    mov esp, offset lcore_stack_top

    // The first 4 GiB where they are, in pages of 2 MiB; the last of them is devices, so not
    // cached.
    mov eax, offset lcore_pointers + 3
    mov [lcore_top], eax
    mov eax, offset lcore_directory + 3
    xor ecx, ecx
2:  mov [lcore_pointers + ecx * 8], eax
    add eax, 4096
    inc ecx
    cmp ecx, 4
    jne 2b
    xor ecx, ecx
3:  mov eax, ecx
    shl eax, 21
    or eax, 0x83                // present, writable, 2 MiB
    cmp ecx, 3 * 512
    jb 4f
    or eax, 0x18                // write-through, not cached
4:  mov [lcore_directory + ecx * 8], eax
    inc ecx
    cmp ecx, 4 * 512
    jne 3b

    mov eax, offset lcore_top
    mov cr3, eax
    mov eax, cr4
    or eax, 0x620               // PAE; SSE is there and its exceptions are known
    mov cr4, eax
    mov ecx, 0xc0000080         // EFER
    rdmsr
    or eax, 0x100               // long mode
    wrmsr
    mov eax, cr0
    and eax, 0xfffffffb         // no emulated x87
    or eax, 0x80010003          // paging, write protection, protected mode, x87
    mov cr0, eax
    lgdt [lcore_boot_gdtr]
    push 8
    mov eax, offset lcore_long_mode
    push eax
    retf
    .code64
lcore_long_mode:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov edi, edi
    xor ebp, ebp
    call {start}
    ud2
    "#,
    stack = const STACK,
    start = sym start,
);

extern "C" fn start(info: u32) -> ! {
    let loaded = Loaded::read(info);
    // Behind the reading: some loaders leave their structures in the first page.
    guard();
    crate::run(loaded)
}

/// Takes the first page, to which null points, and the page below the stack out of the map, so that
/// using either is a fault.
fn guard() {
    static mut FIRST: Table = Table([0; 512]);
    #[repr(align(4096))]
    struct Table([u64; 512]);
    let stack = (&raw const lcore_guard).addr() / PAGE;
    assert!(stack < 512, "the stack lies beyond 2 MiB, where its guard would need another table");
    // SAFETY: nothing else knows of the table yet, and the directory is read by the processor only.
    // The pages that stay are mapped as before; those that go hold nothing that is used.
    unsafe {
        let first = &raw mut FIRST.0;
        for page in 0..512 {
            let here = if page == 0 || page == stack { 0 } else { (page * PAGE) as u64 | 3 };
            (&raw mut (*first)[page]).write(here);
        }
        (&raw mut lcore_directory[0]).write_volatile(first.addr() as u64 | 3);
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack));
    }
}

/// Whether an address lies in the page below the stack.
pub(crate) fn is_guard(address: usize) -> bool {
    address / PAGE == (&raw const lcore_guard).addr() / PAGE
}

/// What the loader left.
pub(crate) struct Loaded {
    /// The kernel's command line, until someone takes it.
    pub(crate) command_line: Option<String<1024>>,
    /// The memory behind the image, from its first page on.
    pub(crate) free: Free,
    /// Bytes that the image takes, stack and statics included.
    pub(crate) image: usize,
    /// Bytes of memory that the machine has below 4 GiB.
    pub(crate) memory: usize,
}

/// Memory that is nobody's.
pub(crate) struct Free {
    pub(crate) base: *mut u8,
    pub(crate) len: usize,
}

impl Loaded {
    /// Copies what is of use, because the loader's structures lie in memory that is handed out
    /// later.
    fn read(info: u32) -> Self {
        let (start, end) = ((&raw const __image_start).addr(), (&raw const __image_end).addr());
        // SAFETY: `info` is what the loader passed, and memory is mapped where it is.
        let Some(info) = (unsafe { StartInfoReader::from_paddr_identity(info) }) else {
            crate::fail(crate::Exit::Fault, format_args!("the loader passed no start info of PVH"));
        };
        let mut command_line = String::new();
        for c in info.cmdline().and_then(|line| line.to_str().ok()).unwrap_or_default().chars() {
            // Devices named behind the limit are not found, which is said when one is looked for.
            if command_line.push(c).is_err() {
                break;
            }
        }
        let ram = |entry: &&pvh::start_info::MemmapTableEntry| entry.ty() == MemmapType::Ram && entry.addr < 1 << 32;
        let ranges = info.memmap().iter().filter(ram).map(|entry| (entry.addr as usize, entry.size as usize));
        let ranges: Vec<(usize, usize), 32> = ranges.take(32).collect();
        let memory = ranges.iter().map(|(_, size)| size).sum();
        let around = ranges.iter().find(|(at, size)| (*at..at + size).contains(&end));
        let len = around.map_or(0, |(at, size)| (at + size).min(1 << 32) - end);
        Self {
            command_line: Some(command_line),
            free: Free { base: ptr::with_exposed_provenance_mut(end), len },
            image: end - start,
            memory,
        }
    }
}
