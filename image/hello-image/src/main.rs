#![no_std]
#![no_main]
use platform_x86::{Exit, Machine, println, entry};
entry!(main);
fn main(m: Machine) -> Exit {
    println!("hello {} {:?} image {} mem {}", m.command_line(), m.clock(), m.image(), m.memory());
    println!("{:?} {:?}", m.now(), platform_x86::heap());
    Exit::Stopped
}
