//! The smallest program with a reactor: a platform, an arena for the set-up, one thread, one
//! poller. No network, no std, no libc.
//!
//! `docs/embedding.md` leads through it. It says what memory it took, and that running took none.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod arena;
mod machine;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use core_reactor::{
    CoreId, CpuSet, Cx, Instant, Platform, PlatformError, Polled, ReactorOptions, Reactors, Schedule, ThreadConfig, WaitSource,
};

const CORE: CoreId = CoreId(0);
/// Messages of the thread's mailbox, 64 bytes each.
const MAILBOX: usize = 4;
const RUNS: u32 = 100_000;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// One core that never sleeps: a machine with interrupts waits for one in `park`.
struct Board;

impl Platform for Board {
    fn now(&self) -> Instant {
        Instant::from_nanos(machine::nanos())
    }

    fn cores(&self) -> CpuSet {
        CpuSet::of(CORE)
    }

    fn start(&self, core: CoreId, _entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchCore { core, allowed: self.cores() })
    }

    fn join(&self, _core: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn adopt(&self, _core: CoreId) -> Result<(), PlatformError> {
        Ok(())
    }

    fn release(&self, _core: CoreId) {}

    fn park(&self, _core: CoreId, _until: Option<Instant>) {}

    fn unpark(&self, _core: CoreId) {}

    fn watch(&self, _core: CoreId, _source: WaitSource) -> Result<(), PlatformError> {
        Ok(())
    }

    fn unwatch(&self, _core: CoreId, _source: WaitSource) {}
}

extern "C" fn main() -> ! {
    let mut options = ReactorOptions::new(CpuSet::of(CORE));
    options.threads.mailbox = MAILBOX;
    let Ok(reactors) = Reactors::new(Arc::new(Board), &options) else { machine::exit(1) };
    let Some(mut reactor) = reactors.reactor(CORE) else { machine::exit(2) };
    let spawned = reactors.lib().spawn(ThreadConfig::new("main"), |cx| {
        cx.poller("count", Schedule::Always, |cx: &mut Cx<'_>| {
            if COUNT.fetch_add(1, Ordering::Relaxed) == RUNS {
                cx.lib().stop();
            }
            if cx.is_exiting() { Polled::Done } else { Polled::Busy }
        });
    });
    if spawned.is_err() {
        machine::exit(3);
    }
    while COUNT.load(Ordering::Relaxed) == 0 {
        reactor.turn();
    }
    let set_up = arena::used();
    while COUNT.load(Ordering::Relaxed) < RUNS {
        reactor.turn();
    }
    let ran = arena::used();
    reactor.run();
    tell("smallest example: bytes of its arena of ", arena::ARENA, " that set-up took: ", set_up);
    tell("smallest example: bytes that ", RUNS as usize, " runs of a poller took: ", ran - set_up);
    machine::exit(if ran == set_up { 0 } else { 4 })
}

fn tell(before: &str, first: usize, between: &str, second: usize) {
    machine::say(before);
    number(first);
    machine::say(between);
    number(second);
    machine::say("\n");
}

/// Says a number. `core::fmt` would be a third of the program.
fn number(mut n: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    machine::say(core::str::from_utf8(&digits[at..]).unwrap_or("?"));
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    machine::say("panic\n");
    machine::exit(101)
}
