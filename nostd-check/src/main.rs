//! A program without std, libc and start files, which uses the no_std crates and ends with 0 if they did as they should.
//!
//! `cargo xtask test --step no-std` builds and runs it. If a crate below pulls std in, it does not compile (two panic handlers); if one
//! calls a function of libc, it does not link.
#![no_std]
#![no_main]

extern crate alloc;

mod machine;

use alloc::string::ToString;
use core::mem::size_of_val;

use core_reactor::CpuSet;
use core_reactor::net::LCORE_NET_IMPLS;
use pool::BufGroup;

#[global_allocator]
static HEAP: machine::Bump = machine::Bump::new();

/// The exit code: 0, or the number of the check that failed.
fn check() -> u8 {
    let checks: [fn() -> bool; 4] = [cpu_sets, wrong_cpu_sets, buffers, registry];
    checks.iter().position(|holds| !holds()).map_or(0, |at| at as u8 + 1)
}

fn cpu_sets() -> bool {
    "0x3,[8-11]".parse::<CpuSet>().is_ok_and(|set| set.count() == 6 && set.to_string() == "[0-1,8-11]")
}

fn wrong_cpu_sets() -> bool {
    "[1]junk".parse::<CpuSet>().is_err_and(|e| e.at == 3)
}

fn buffers() -> bool {
    let group = BufGroup::new(2, 64);
    let (Some(mut one), Some(two)) = (group.get(), group.get()) else { return false };
    let filled = one.append(b"hello") == 5 && *one == *b"hello" && group.get().is_none();
    drop(two);
    filled && group.get().is_some()
}

/// The link-time slice is there, and empty: no backend is linked.
fn registry() -> bool {
    size_of_val(&LCORE_NET_IMPLS) > 0 && LCORE_NET_IMPLS.is_empty()
}
