//! The world of one test: two stacks, the wire between them, and the thread that polls both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use conformance::net::Env;
use conformance::platform::{CORE, self_driven};
use core_reactor::net::{Events, GroupConfig, NetImpl};
use core_reactor::{CpuSet, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
use net_impl_smoltcp::{Addresses, Network, Smoltcp, StackConfig, smoltcp};
use pool::BufGroup;

use crate::peers::{Far, Jobs, StackPeers};
use crate::wire::{Weather, wire};

/// The addresses of the peers and of the stack under test.
type Ends = (IpAddr, IpAddr);

pub(crate) const V4: Ends = (v4(1), v4(2));
pub(crate) const V6: Ends = (v6(1), v6(2));

const fn v4(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))
}

const fn v6(host: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host as u16))
}

/// Bad weather, of another seed in each test.
pub(crate) fn storm() -> Weather {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let seed = SEED.fetch_add(1, Ordering::Relaxed);
    let weather =
        Weather { seed, loss: 8, duplication: 20, reordering: 20, delay: smoltcp::time::Duration::from_micros(200), narrow: None };
    println!("{weather:?}");
    weather
}

pub(crate) fn env((peer, host): Ends, weather: Weather) -> Env {
    let [near, far] = wire(weather);
    let backend = stack(2, near);
    let jobs = Jobs::default();
    let peers = Arc::new(StackPeers::new(stack(1, far), jobs.clone()));
    let platform = self_driven();
    let driven = Driven::new(backend, peers.net(), platform.clone(), jobs);
    Env { backend, host, peer, peers, platform, world: Some(Arc::new(driven)) }
}

/// As much as the suite asks of a kernel: a thousand connections, 200,000 bytes that wait in a
/// paused one, a backlog of a hundred.
fn stack(number: u8, device: crate::wire::End) -> &'static Smoltcp {
    let own = [(v4(number), 24), (v6(number), 64)].map(|(address, prefix)| Network { address, prefix });
    let addresses = Addresses::Static { own: own.into(), gateways: Vec::new() };
    let config = StackConfig::new([2, 0, 0, 0, 0, number], addresses);
    let config = StackConfig { seed: number.into(), sockets: 1200, recv_buf: 256 << 10, send_buf: 128 << 10, backlog: 128, ..config };
    let net: &'static Smoltcp = Box::leak(Box::new(Smoltcp::new()));
    net.start(device, &config).expect("a device and a configuration that go together");
    net
}

/// A thread that polls both stacks as other cores would, because the test's own blocks in calls of
/// its peers, which wait for the stacks.
struct Driven {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Driven {
    fn new(backend: &'static Smoltcp, far: &'static Smoltcp, platform: Arc<dyn Platform>, jobs: Jobs) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || drive(backend, far, platform, jobs, &stopped));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let done = self.thread.take().expect("it is joined once").join();
        assert!(done.is_ok() || std::thread::panicking(), "the stacks' thread has failed");
    }
}

/// Nothing tells the thread of frames on the wire, so it looks often.
const TICK: Duration = Duration::from_micros(100);

fn drive(backend: &Smoltcp, far: &Smoltcp, platform: Arc<dyn Platform>, jobs: Jobs, stop: &AtomicBool) {
    let lib = ThreadLib::new(platform, CpuSet::of(CORE), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("stacks"), CORE).expect("the platform has this core");
    let mut near = thread.with(|cx| backend.group(cx, GroupConfig::new(BufGroup::new(1, 64)))).expect("a group");
    let config = GroupConfig::new(BufGroup::new(4096, 4096)).sockets(1200).hold_reads_at(usize::MAX);
    let mut far = Far::new(thread.with(|cx| far.group(cx, config)).expect("a group"), jobs);
    let mut events = Events::new(1);
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(near.poll(&mut events), 0, "it has no sockets");
        if !far.turn() {
            std::thread::park_timeout(TICK);
        }
    }
}
