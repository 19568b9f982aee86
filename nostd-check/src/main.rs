//! A program without std, libc and start files, which uses the no_std crates and ends with 0 if
//! they did as they should.
//!
//! `cargo xtask test --step no-std` builds and runs it. If a crate below pulls std in, it does not
//! compile (two panic handlers); if one calls a function of libc, it does not link.
#![no_std]
#![no_main]

extern crate alloc;

mod machine;

use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::task::Poll;
use core::time::Duration;

use bdev::{BdevEvent, Bdevs, Completions, Mode, Request};
use core_reactor::net::{self, NetImpl, SockOptions};
use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{CoreId, CpuSet, Cx, Instant, Platform, Polled, Schedule, ThreadConfig, ThreadLib, ThreadLibOptions};
use net_impl_mem::{Faults, MemNet};
use net_impl_smoltcp::smoltcp::phy::{Loopback, Medium};
use net_impl_smoltcp::{Addresses, PollOnly, SMOLTCP, StackConfig};
use pool::{BufGroup, Mempool, MempoolConfig};

#[global_allocator]
static HEAP: machine::Bump = machine::Bump::new();

/// The exit code: 0, or the number of the check that failed.
fn check() -> u8 {
    let checks: [fn() -> bool; 12] =
        [cpu_sets, wrong_cpu_sets, buffers, objects, turns, registry, host, memory, futures, blocks, nvme, target];
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

fn objects() -> bool {
    let config = MempoolConfig { objects: 2, caches: 1, cache_size: 2 };
    let Some(cache) = Mempool::new(config, |n| n).ok().and_then(|pool| pool.cache().ok()) else { return false };
    let (one, two) = (cache.get(), cache.get());
    one.is_some() && two.is_some() && cache.get().is_none()
}

/// A target on two simulated cores begins to listen, and answers a host's first PDU.
fn target() -> bool {
    let (mut sim, net) = (Sim::new(2), alloc::boxed::Box::leak(alloc::boxed::Box::new(MemNet::new(1, Faults::default()))));
    let target = nvmf::Target::new();
    let class = |count, size| pool::ClassConfig { count, size };
    let config = pool::DataPoolConfig::DEFAULT.small(class(16, 16 << 10)).large(class(4, 136 << 10)).control(class(8, 4096)).waiters(4);
    let Ok(buffers) = pool::DataPool::on_heap(config) else { return false };
    let (config, cores) = (nvmf::ServerConfig::new(net, target.clone(), buffers, 2), sim.lib().reactors());
    let server = nvmf::Server::start(sim.lib(), &cores, config, |_, _| {});
    sim.settle();
    let nqn = "nqn.2016-06.io.spdk:cnode1";
    let made = target.create_transport(nvmf::Transport::default()).is_ok() && target.add_subsystem(nvmf::SubsystemConfig::new(nqn)).is_ok();
    let Ok(at) = target.add_listener(nqn, SocketAddr::from(([127, 0, 0, 1], 0))) else { return false };
    let Ok(host) = net.dial(at, &SockOptions::default()) else { return false };
    sim.settle();
    let (_, hello) = nvme::host::Queue::new(nvme::host::Settings { shape: nvme::Shape::default(), commands: 1, in_capsule: 0 });
    let _ = host.write(&hello.parts().concat());
    sim.settle();
    made && server.is_ok() && matches!(host.read(&mut [0; 256]), Poll::Ready(Ok(128)))
}

/// A target's queue answers a host's first PDU, with a digest of its own.
fn nvme() -> bool {
    let shape = nvme::Shape { header_digest: true, ..nvme::Shape::default() };
    let (_, hello) = nvme::host::Queue::new(nvme::host::Settings { shape, commands: 1, in_capsule: 0 });
    let mut queue = nvme::target::Queue::new(nvme::target::Settings::default(), Duration::ZERO);
    matches!(queue.receive(&mut &hello.parts().concat()[..]), Ok(Some(nvme::target::Event::Reply(_))))
        && nvme::digest::digest(&[0; 32]) == [0xAA, 0x36, 0x91, 0x8A]
}

/// A reactor runs a thread's message, its poller and its timer.
fn turns() -> bool {
    let mut sim = Sim::new(1);
    let spawned = sim.lib().spawn(ThreadConfig::new("thread"), |cx| {
        cx.poller("timer", Schedule::Every(Duration::from_millis(1)), |cx: &mut Cx<'_>| {
            cx.exit();
            Polled::Done
        });
    });
    sim.settle();
    let lives = sim.lib().threads().len() == 1;
    sim.advance(Duration::from_millis(1));
    spawned.is_ok() && lives && sim.lib().threads().is_empty()
}

/// The backend that is linked is in the link-time slice, and not usable without a device.
fn registry() -> bool {
    let names: Vec<_> = net::linked().iter().map(|backend| backend.name()).collect();
    names == ["smoltcp"] && net::select(None, &[]).is_err()
}

/// A host gets its device and listens.
fn host() -> bool {
    let own = IpAddr::from([10, 0, 0, 1]);
    let config = StackConfig::new([2, 0, 0, 0, 0, 1], Addresses::one(own, 24, None));
    let started = SMOLTCP.start(PollOnly(Loopback::new(Medium::Ethernet)), &config);
    let listener = SMOLTCP.listen(SocketAddr::new(own, 0), &SockOptions::default());
    started.is_ok() && listener.is_ok_and(|listener| listener.local_addr().is_ok_and(|at| at.port() != 0))
}

/// A byte goes over a network in memory.
fn memory() -> bool {
    let (net, options) = (MemNet::new(1, Faults::default()), SockOptions::default());
    let Ok(listener) = net.bind(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0), &options) else { return false };
    let Some(near) = listener.local_addr().ok().and_then(|at| net.dial(at, &options).ok()) else { return false };
    let Some(far) = listener.accept() else { return false };
    let mut byte = [0];
    near.write(&[7]) == Poll::Ready(Ok(1)) && far.read(&mut byte) == Poll::Ready(Ok(1)) && byte == [7]
}

/// A task echoes a byte over a network in memory, after a sleep.
fn futures() -> bool {
    let (mut sim, net) = (Sim::new(1), alloc::boxed::Box::leak(alloc::boxed::Box::new(MemNet::new(1, Faults::default()))));
    let (net, at) = (&*net, SocketAddr::from(([127, 0, 0, 1], 7)));
    let start = move |cx: &mut Cx<'_>| {
        let config = lcore_async::Config::new().network(net, BufGroup::new(4, 64)).sockets(4).tasks(4);
        let Ok(runtime) = lcore_async::Runtime::new(cx, config) else { return };
        let Ok(mut listener) = lcore_async::TcpListener::bind(&runtime, at) else { return };
        let echo = async move {
            let (mut stream, _) = listener.accept().await.ok()?;
            let byte = stream.recv().await.ok()??;
            listener.runtime().sleep(Duration::from_millis(1)).await;
            stream.send(byte).await.ok()
        };
        drop(runtime.spawn_local(echo));
    };
    let spawned = sim.lib().spawn(ThreadConfig::new("futures"), start);
    sim.settle();
    let Ok(near) = net.dial(at, &SockOptions::default()) else { return false };
    sim.settle();
    let (written, mut byte) = (near.write(&[7]), [0]);
    sim.run_for(Duration::from_millis(1));
    spawned.is_ok() && written == Poll::Ready(Ok(1)) && near.read(&mut byte) == Poll::Ready(Ok(1)) && byte == [7]
}

/// A block is written to a device of memory, and read back.
fn blocks() -> bool {
    let bdevs = Bdevs::new(1);
    let opened = bdev_malloc::malloc(&bdevs, bdev_malloc::Config::new(512, 8).name("m")).and_then(|bdev| bdev.open(Mode::ReadWrite));
    let (platform, bufs) = (SimPlatform::new(1), BufGroup::new(2, 512));
    let lib = ThreadLib::new(platform.clone(), platform.cores(), &ThreadLibOptions::default());
    let Some(mut thread) = lib.create(ThreadConfig::new("thread"), CoreId(0)) else { return false };
    let Some(Ok(mut channel)) = opened.ok().map(|opened| thread.with(|cx| opened.channel(cx, 2))) else { return false };
    let (Some(mut one), Some(two)) = (bufs.get(), bufs.get()) else { return false };
    one.append(&[7; 512]);
    let taken = [Request::write(3, 1, one), Request::read(3, 1, two)].map(|request| channel.submit(Instant::ZERO, request).is_ok());
    let mut events = Completions::new(2);
    channel.poll(Instant::ZERO, &mut events);
    let is_seven = |event| matches!(event, BdevEvent::Done(done) if done.result.is_ok() && *done.request.data.parts()[0] == [7; 512]);
    taken == [true; 2] && events.len() == 2 && events.drain().all(is_seven)
}
