//! A host with one group, and the time of a test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use core_reactor::net::{Events, Frame, GroupConfig, NetError, NetEvent, NetImpl, SockGroup, SockId, SockOptions, Socket, Token};
use core_reactor::sim::SimPlatform;
use core_reactor::{CoreId, CpuSet, Platform, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};
use net_impl_smoltcp::{Addresses, NetDevice, Smoltcp, StackConfig};
use pool::BufGroup;

/// The address of the host with this number.
pub(crate) fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

/// The hardware address of the host with this number.
pub(crate) fn hardware(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

/// The usual configuration of the host with this number.
pub(crate) fn config(number: u8) -> StackConfig {
    StackConfig { seed: u64::from(number), ..StackConfig::new(hardware(number), Addresses::one(address(number), 24, None)) }
}

pub(crate) struct Host {
    pub(crate) net: &'static Smoltcp,
    pub(crate) group: Box<dyn SockGroup>,
    pub(crate) events: Events,
    pub(crate) number: u8,
    /// What was found and not asked for yet.
    pub(crate) seen: Vec<NetEvent>,
    pub(crate) thread: Thread,
}

impl Host {
    /// A host on a device, with buffers of its own.
    pub(crate) fn new<D: NetDevice + Send + 'static>(platform: &Arc<SimPlatform>, device: D, config: &StackConfig) -> Self {
        Self::with(platform, device, config, |_| {})
    }

    pub(crate) fn with<D: NetDevice + Send + 'static>(
        platform: &Arc<SimPlatform>,
        device: D,
        config: &StackConfig,
        change: impl FnOnce(&mut GroupConfig),
    ) -> Self {
        let net: &'static Smoltcp = Box::leak(Box::new(Smoltcp::new()));
        net.start(device, config).expect("a device and a configuration that go together");
        let platform: Arc<dyn Platform> = platform.clone();
        let lib = ThreadLib::new(platform, CpuSet::of(CoreId(0)), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("host"), CoreId(0)).expect("the platform has this core");
        let mut of_group = GroupConfig::new(BufGroup::new(256, 2048));
        // Each side of a test sends as it likes: both would wait for the other to read.
        of_group.hold_reads_at = usize::MAX;
        change(&mut of_group);
        let group = thread.with(|cx| net.group(cx, of_group)).expect("a group");
        Self { net, group, events: Events::new(64), number: config.hardware[5], seen: Vec::new(), thread }
    }

    pub(crate) fn listen(&mut self, port: u16) -> SockId {
        self.listen_with(port, &SockOptions::default())
    }

    pub(crate) fn listen_with(&mut self, port: u16, options: &SockOptions) -> SockId {
        let socket = self.net.listen((address(self.number), port).into(), options).expect("it can listen");
        self.attach(socket, Token(u64::MAX))
    }

    pub(crate) fn connect(&mut self, to: SocketAddr, token: Token) -> SockId {
        let socket = self.net.connect(&[to], &SockOptions::default()).expect("a socket is free");
        self.attach(socket, token)
    }

    pub(crate) fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> SockId {
        self.group.attach(socket, token).map_err(|refused| refused.why).expect("room in the group")
    }

    /// A frame of these bytes; `None` when the buffers are out.
    pub(crate) fn frame(&mut self, bytes: &[u8]) -> Option<Frame> {
        let mut buf = self.group.buffer()?;
        assert_eq!(buf.append(bytes), bytes.len());
        Some(buf.into())
    }

    pub(crate) fn send(&mut self, id: SockId, bytes: &[u8]) {
        let frame = self.frame(bytes).expect("a buffer");
        self.group.send(id, frame).map_err(|refused| refused.why).expect("it is taken");
    }

    pub(crate) fn poll(&mut self) -> usize {
        let found = self.group.poll(&mut self.events);
        self.seen.extend(self.events.drain());
        found
    }

    /// Takes the first event that `pick` wants; the others stay.
    pub(crate) fn pick<T>(&mut self, mut pick: impl FnMut(NetEvent) -> Result<T, NetEvent>) -> Option<T> {
        for at in 0..self.seen.len() {
            match pick(self.seen.remove(at)) {
                Ok(found) => return Some(found),
                Err(event) => self.seen.insert(at, event),
            }
        }
        None
    }
}

/// Polls both hosts, and moves the clock by a millisecond when neither finds anything, until
/// `done`. Fails when the test's time has passed.
pub(crate) fn until(
    platform: &SimPlatform,
    hosts: [&mut Host; 2],
    limit: Duration,
    what: &str,
    mut done: impl FnMut(&mut Host, &mut Host) -> bool,
) {
    let [one, other] = hosts;
    let end = platform.now() + limit;
    while !done(one, other) {
        assert!(platform.now() < end, "{what} did not come in {limit:?}: {:?} and {:?}", one.net.stats(), other.net.stats());
        if one.poll() + other.poll() == 0 {
            platform.advance(Duration::from_millis(1));
        }
    }
}

/// Two hosts, 1 and 2, on the ends of a wire.
pub(crate) fn two(weather: super::wire::Weather) -> (Arc<SimPlatform>, Host, Host) {
    let platform = SimPlatform::new(1);
    let [near, far] = super::wire::wire(weather);
    let one = Host::new(&platform, near, &config(1));
    let two = Host::new(&platform, far, &config(2));
    (platform, one, two)
}

/// Connects host 1 to a listener of host 2. Gives both ends.
pub(crate) fn pair(platform: &SimPlatform, one: &mut Host, two: &mut Host) -> (SockId, SockId) {
    let listener = two.listen(7);
    let near = one.connect((address(2), 7).into(), Token(1));
    let mut far = None;
    until(platform, [&mut *one, &mut *two], Duration::from_secs(60), "a connection", |one, two| {
        if far.is_none() {
            far = two.pick(|event| match event {
                NetEvent::Accepted { socket, .. } => Ok(socket),
                other => Err(other),
            });
        }
        far.is_some() && one.seen.iter().any(|event| matches!(event, NetEvent::Connected { .. }))
    });
    one.seen.clear();
    let far = two.attach(far.expect("it was accepted"), Token(2));
    two.group.close(listener).expect("it is there");
    (near, far)
}

/// Whether the events say that a socket has ended, and how.
pub(crate) fn ended(host: &mut Host, of: SockId) -> Option<Option<NetError>> {
    host.pick(|event| match event {
        NetEvent::Closed { id, why, .. } if id == of => Ok(why),
        other => Err(other),
    })
}
