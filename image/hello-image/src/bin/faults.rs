//! An image that goes wrong in the way that its command line names ("panic", "stack"): the checks
//! look at what it says, and how it ends.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]
#![allow(unused_crate_dependencies, reason = "those of the other program of this package")]

use core::hint::black_box;

use platform_x86::{Exit, Machine, entry, println};

entry!(main);

fn main(mut machine: Machine) -> Exit {
    let Some(devices) = machine.devices() else { return Exit::Setup };
    match devices.command_line().split_ascii_whitespace().next() {
        Some("panic") => panic!("as asked"),
        Some("stack") => println!("{}", deeper(1)),
        other => println!("the command line says {other:?}, and not panic or stack"),
    }
    Exit::Setup
}

/// Uses more stack than there is.
fn deeper(level: u64) -> u64 {
    let page = black_box([level; 128]);
    if black_box(level) == u64::MAX { level } else { deeper(level + 1) + black_box(page)[7] }
}
