//! The platform of an image: what an operating system gives a program elsewhere, for one virtual
//! x86-64 processor.
//!
//! An image names its entry with [`entry!`]; it is called with the [`Machine`] when the clock runs,
//! the heap is there and interrupts are set up. What it returns ends the machine ([`Exit`]).
//! Everything about QEMU's machines microvm, q35 and pc was tried there; see the README for what
//! else would be needed elsewhere.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod apic;
mod boot;
mod clock;
mod console;
mod devices;
#[cfg(feature = "defmt")]
mod frames;
mod heap;
mod interrupts;
mod mem;
mod platform;
mod port;
mod power;
mod serial;

use alloc::sync::Arc;
use core::panic::PanicInfo;

use core_reactor::{Instant, Platform};

pub use clock::RatesFrom;
pub use console::{interrupted, log_to_serial, print};
pub use devices::Devices;
pub use heap::{HeapStats, heap};
pub use platform::X86;
pub use power::{Exit, exit, fail};

/// What an image runs on.
pub struct Machine {
    platform: Arc<X86>,
    loaded: boot::Loaded,
    rates: clock::Rates,
}

impl Machine {
    /// The platform for its reactors.
    pub fn platform(&self) -> Arc<X86> {
        self.platform.clone()
    }

    /// The time since the image began to run.
    pub fn now(&self) -> Instant {
        self.platform.now()
    }

    /// The right to its devices; `None` the second time.
    pub fn devices(&mut self) -> Option<Devices> {
        self.loaded.command_line.take().map(Devices::new)
    }

    /// Bytes of memory that the machine has below 4 GiB.
    pub fn memory(&self) -> usize {
        self.loaded.memory
    }

    /// Bytes that the image takes, its stack and tables included.
    pub fn image(&self) -> usize {
        self.loaded.image
    }

    /// The clock's rate in Hz, and who said so.
    pub fn clock(&self) -> (u64, RatesFrom) {
        (self.rates.tsc, self.rates.from)
    }

    /// A number that differs from boot to boot, for sequence numbers; no secret.
    pub fn seed(&self) -> u64 {
        clock::tsc().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Names the function that an image runs: `entry!(main)` with `fn main(machine: Machine) -> Exit`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        fn lcore_image_main(machine: $crate::Machine) -> $crate::Exit {
            let main: fn($crate::Machine) -> $crate::Exit = $main;
            main(machine)
        }
    };
}

/// Brings the machine up and runs the image.
fn run(loaded: boot::Loaded) -> ! {
    // UNSAFETY: the image's entry is known by name only.
    #[allow(unsafe_code)]
    mod named {
        unsafe extern "Rust" {
            pub(super) safe fn lcore_image_main(machine: crate::Machine) -> crate::Exit;
        }
    }
    let start = clock::tsc();
    console::init();
    interrupts::init();
    apic::init();
    heap::init(&loaded.free);
    let rates = clock::Rates::find();
    let platform = Arc::new(X86::new(clock::Clock::new(rates.tsc, start), rates.apic));
    exit(named::lcore_image_main(Machine { platform, loaded, rates }))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(at) => fail(Exit::Panic, format_args!("panic at {at}: {}", info.message())),
        None => fail(Exit::Panic, format_args!("panic: {}", info.message())),
    }
}
