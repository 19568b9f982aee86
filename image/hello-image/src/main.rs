//! An echo server as an image: hello-sock's, the module that runs on Linux, or one of tasks, on
//! another platform and another backend.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod description;
mod network;
#[cfg(feature = "pollers")]
mod pollers;
#[cfg(feature = "tasks")]
mod tasks;

use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use core_reactor::{Cx, Platform, Polled, ReactorOptions, Reactors, Schedule, ThreadConfig, ThreadLib, net};
use platform_x86::{Exit, Machine, entry, println};
use pool::{ClassConfig, DataPool, DataPoolConfig, ReserveConfig};

#[cfg(feature = "pollers")]
use self::pollers::Server;
#[cfg(feature = "tasks")]
use self::tasks::Server;
use crate::description::IMAGE;
use crate::network::Failure;

entry!(main);

/// How often the operator's ^C and a lease of DHCP are looked for: no wait for anybody, and nothing
/// to notice in an idle machine.
const LOOK: Duration = Duration::from_millis(100);

fn main(mut machine: Machine) -> Exit {
    platform_x86::log_to_serial(IMAGE.log);
    let (hz, by) = machine.clock();
    println!("lcore image      {}", IMAGE.name);
    println!("clock            {}.{:03} GHz, by {by}", hz / 1_000_000_000, hz / 1_000_000 % 1000);
    match run(&mut machine) {
        Ok(()) => Exit::Stopped,
        Err((how, why)) => {
            println!("image {}: {why}", IMAGE.name);
            how
        }
    }
}

fn run(machine: &mut Machine) -> Result<(), Failure> {
    let linked: Vec<&str> = net::linked().iter().map(|backend| backend.name()).collect();
    let names = if linked.is_empty() { "none".into() } else { linked.join(" ") };
    println!("backends linked  {names}");
    if linked.is_empty() {
        let why = "no network backend is linked: set `backend = \"smoltcp\"` in the image's description and build it again";
        return Err((Exit::NoBackend, why.into()));
    }
    network::start(machine)?;
    let selected = net::select(None, &["smoltcp"]).map_err(|why| (Exit::Setup, format!("{why}")))?;
    println!("chosen           {selected}");

    let platform = machine.platform();
    let mut options = ReactorOptions::new(platform.cores());
    options.threads.mailbox = IMAGE.mailbox;
    let reactors = Reactors::new(platform, &options).map_err(|why| (Exit::Setup, format!("{why}")))?;
    let server = Server::start(reactors.lib(), selected.backend, buffers()?)?;
    watch(reactors.lib())?;
    let heap = platform_x86::heap();
    let kib = |bytes: usize| bytes >> 10;
    println!(
        "memory           {} KiB: image {} KiB, heap {} KiB with {} KiB used",
        kib(machine.memory()),
        kib(machine.image()),
        kib(heap.size),
        kib(heap.used)
    );
    let tenths = machine.now().as_nanos() / 100_000;
    println!("booted in        {}.{} ms", tenths / 10, tenths % 10);
    let stats = reactors.run().map_err(|why| (Exit::Setup, format!("{why}")))?;
    server.report();
    report(&stats);
    Ok(())
}

/// Where the server listens: at whatever address the image gets, also later.
const AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IMAGE.port);

/// What is set aside for the server.
const RESERVE: ReserveConfig = ReserveConfig { small: IMAGE.reserve, large: 0, control: 0 };

/// The buffers of all connections.
fn buffers() -> Result<DataPool, Failure> {
    let none = |size| ClassConfig { count: 0, size };
    let small = ClassConfig { count: IMAGE.buffers, size: IMAGE.buffer_size };
    let pool = DataPool::on_heap(DataPoolConfig::DEFAULT.small(small).large(none(4096)).control(none(4096)).waiters(IMAGE.connections));
    pool.map_err(|why| (Exit::Setup, format!("{why}")))
}

/// Tells the image's address when it has one, and stops the image when the operator types ^C.
fn watch(lib: &ThreadLib) -> Result<(), Failure> {
    let started = lib.spawn(ThreadConfig::new("operator"), |cx| {
        let mut told = tell_address();
        cx.poller("look", Schedule::Every(LOOK), move |cx: &mut Cx<'_>| {
            if cx.is_exiting() {
                return Polled::Done;
            }
            told = told || tell_address();
            if platform_x86::interrupted() {
                println!("stopping: ^C on the console");
                cx.lib().stop();
            }
            Polled::Idle
        });
    });
    started.map(drop).map_err(|why| (Exit::Setup, format!("{why}")))
}

fn tell_address() -> bool {
    let address = network::address();
    if let Some(address) = &address {
        println!("address          {address}");
    }
    address.is_some()
}

/// What the reactors did, as hello-sock tells it on Linux.
fn report(reactors: &[core_reactor::ReactorStats]) {
    for reactor in reactors {
        // In thousandths: printing of floating-point numbers would be a twentieth of the image.
        let thousandth = ((reactor.busy_ns + reactor.idle_ns + reactor.parked_ns) / 1000).max(1);
        let (busy, parked) = (reactor.busy_ns / thousandth, reactor.parked_ns / thousandth);
        let messages = reactor.messages;
        println!(
            "reactor_{}: {}.{} % busy, {}.{} % parked, {messages} messages",
            reactor.core,
            busy / 10,
            busy % 10,
            parked / 10,
            parked % 10
        );
    }
    let heap = platform_x86::heap();
    println!("heap             {} KiB used, {} allocations", heap.used >> 10, heap.allocations);
}
