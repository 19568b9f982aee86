//! The host of one test: a stack on a TAP device, and the kernel on the other end.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use conformance::net::{Env, Plain};
use conformance::platform::{CORE, self_driven};
use core_reactor::net::{Events, GroupConfig, NetImpl};
use core_reactor::{CpuSet, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
use net_impl_smoltcp::{Addresses, Network, Smoltcp, StackConfig};
use pool::BufGroup;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::device::{self, Tap};

/// The addresses of the kernel and of the stack.
type Ends = (IpAddr, IpAddr);

pub(crate) const V4: Ends = (IpAddr::V4(Ipv4Addr::new(10, 88, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 88, 0, 2)));
pub(crate) const V6: Ends =
    (IpAddr::V6(Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, 2)));

/// A namespace, a device and a host for the calling thread, in which the test then runs.
pub(crate) fn env((peer, host): Ends) -> Env {
    device::enter_namespace();
    let tap = Tap::new();
    configure();
    let handle = tap.handle();
    let net: &'static Smoltcp = Box::leak(Box::new(Smoltcp::new()));
    net.start(tap, &config()).expect("a device and a configuration that go together");
    let platform = self_driven();
    let driver = Driven::new(net, platform.clone(), handle);
    Env { backend: net, host, peer, peers: Arc::new(Plain), platform, world: Some(Arc::new(driver)) }
}

/// As much as the suite asks of a kernel: a thousand connections, 200,000 bytes that wait in a
/// paused one, a backlog of a hundred.
fn config() -> StackConfig {
    let own = [(V4.1, 24), (V6.1, 64)].map(|(address, prefix)| Network { address, prefix });
    let addresses = Addresses::Static { own: own.into(), gateways: Vec::new() };
    let config = StackConfig::new([2, 0, 0, 0, 0, 2], addresses);
    StackConfig { seed: 88, sockets: 1200, recv_buf: 256 << 10, send_buf: 128 << 10, backlog: 128, ..config }
}

/// Gives the kernel's end its addresses.
fn configure() {
    let commands = format!(
        "link set lo up\naddress add {}/24 dev {name}\naddress add {}/64 dev {name} nodad\nlink set {name} up\n",
        V4.0,
        V6.0,
        name = device::NAME
    );
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("`ip` (iproute2) is installed");
    ip.stdin.take().expect("it was piped").write_all(commands.as_bytes()).expect("ip reads");
    assert!(ip.wait().expect("ip runs").success(), "the TAP device cannot be configured: run this test as root");
}

/// A thread that polls the stack as another core of the machine would, because the test's own
/// blocks in calls of its peers, which wait for the stack.
struct Driven {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Driven {
    fn new(net: &'static Smoltcp, platform: Arc<dyn Platform>, device: File) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || drive(net, platform, &device, &stopped));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let done = self.thread.take().expect("it is joined once").join();
        assert!(done.is_ok() || std::thread::panicking(), "the stack's thread has failed");
    }
}

/// Polls when a frame has come, and every millisecond for the protocol's timers.
fn drive(net: &Smoltcp, platform: Arc<dyn Platform>, device: &File, stop: &AtomicBool) {
    let lib = ThreadLib::new(platform, CpuSet::of(CORE), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("stack"), CORE).expect("the platform has this core");
    let mut group = thread.with(|cx| net.group(cx, GroupConfig::new(BufGroup::new(1, 64)))).expect("a group");
    let mut events = Events::new(1);
    let tick = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(group.poll(&mut events), 0, "it has no sockets");
        poll(&mut [PollFd::new(device, PollFlags::IN)], Some(&tick)).expect("a descriptor can be waited for");
    }
}
