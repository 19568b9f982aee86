//! A listener that is flooded with SYNs of invented senders still takes those who are there
//! (statement 80).

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::host::{Host, address, config, hardware};
use common::wire::{End, Weather, wire};
use core_reactor::Platform;
use core_reactor::net::{NetEvent, NetImpl, SockOptions, Token};
use core_reactor::sim::SimPlatform;
use net_impl_smoltcp::smoltcp::time::Duration as SmolDuration;
use net_impl_smoltcp::smoltcp::wire::{EthernetAddress, TcpControl};
use net_impl_smoltcp::{Addresses, Network, StackConfig, StackStats};

const STRANGER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);
const PORT: u16 = 7;

/// A client, a server that listens, and somebody between them who invents senders.
struct World {
    platform: Arc<SimPlatform>,
    client: Host,
    server: Host,
    /// The server's address.
    to: IpAddr,
    /// Where the flood comes from.
    flood: End,
    lot: u64,
    /// SYNs in a second, and thousandths of one that are due.
    rate: u64,
    due: u64,
}

fn v6(host: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into()
}

fn both(number: u8) -> StackConfig {
    let own = [Network { address: address(number), prefix: 24 }, Network { address: v6(number.into()), prefix: 64 }];
    StackConfig { addresses: Addresses::Static { own: own.into(), gateways: Vec::new() }, ..config(number) }
}

impl World {
    fn new(seed: u64, rate: u64, delay: u64, to: IpAddr, backlog: u32) -> Self {
        println!("seed {seed}, {rate} SYNs in a second, {delay} ms each way, {to}");
        let platform = SimPlatform::new(1);
        let [near, far] = wire(Weather { seed, delay: SmolDuration::from_millis(delay), ..Weather::CALM });
        let flood = near.clone();
        // As many as a flood has under way: it is no test of the wire.
        flood.set_room(1 << 14);
        let client = Host::new(&platform, near, &StackConfig { seed, ..both(1) });
        let mut server = Host::new(&platform, far, &StackConfig { seed: seed + 100, ..both(2) });
        let listener = server.net.listen((to, PORT).into(), &SockOptions::default().backlog(backlog));
        server.attach(listener.expect("it can listen"), Token(u64::MAX));
        Self { platform, client, server, to, flood, lot: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, rate, due: 0 }
    }

    fn draw(&mut self) -> u64 {
        self.lot ^= self.lot << 13;
        self.lot ^= self.lot >> 7;
        self.lot ^= self.lot << 17;
        self.lot >> 16
    }

    /// A millisecond: its part of the flood, and what both hosts do.
    fn step(&mut self) {
        self.due += self.rate;
        while self.due >= 1000 {
            self.due -= 1000;
            let (host, port) = (100 + self.draw() % 100, 1024 + self.draw() % 60_000);
            let from: SocketAddr = match self.to {
                IpAddr::V4(_) => (address(host as u8), port as u16).into(),
                IpAddr::V6(_) => (v6(host as u16), port as u16).into(),
            };
            self.flood.inject(&common::syn_between((STRANGER, from), (EthernetAddress(hardware(2)), (self.to, PORT).into())));
        }
        for _ in 0..8 {
            if self.client.poll() + self.server.poll() == 0 {
                break;
            }
        }
        self.platform.advance(Duration::from_millis(1));
    }

    fn run(&mut self, time: Duration) {
        let end = self.platform.now() + time;
        while self.platform.now() < end {
            self.step();
        }
    }

    fn stats(&self) -> StackStats {
        self.server.net.stats().expect("it has a device")
    }

    /// How long a new connection takes until the client has an echo.
    fn echo(&mut self) -> Duration {
        let began = self.platform.now();
        let id = self.client.connect((self.to, PORT).into(), Token(1));
        loop {
            assert!(self.platform.now() < began + Duration::from_secs(60), "no echo in a minute: {:?}", self.stats());
            self.step();
            for event in std::mem::take(&mut self.server.seen) {
                match event {
                    NetEvent::Accepted { socket, .. } => drop(self.server.attach(socket, Token(2))),
                    NetEvent::Received { id, buf, .. } => self.server.group.send(id, buf.into()).map_err(|r| r.why).expect("it is taken"),
                    _ => {}
                }
            }
            for event in std::mem::take(&mut self.client.seen) {
                match event {
                    NetEvent::Connected { .. } => self.client.send(id, b"hello"),
                    NetEvent::Received { buf, .. } if *buf == *b"hello" => {
                        self.client.group.close(id).expect("it is there");
                        return Duration::from_nanos(self.platform.now().as_nanos() - began.as_nanos());
                    }
                    // The end of the one before.
                    NetEvent::Closed { id: of, .. } if of != id => {}
                    other => panic!("{}", common::name(&other)),
                }
            }
        }
    }
}

/// Each connect gets through, most of them at the second SYN, one second after the first; over
/// distances at which a place that is given to whoever asks would be lost many times before the
/// client's answer arrives. What the flood holds is the backlog.
fn gets_through(seed: u64, rate: u64, delay: u64, to: IpAddr, (backlog, connects): (u32, usize)) {
    let mut world = World::new(seed, rate, delay, to, backlog);
    world.run(Duration::from_secs(1));
    let free = world.stats().free;
    for _ in 0..connects {
        let took = world.echo();
        assert!(took < Duration::from_secs(3) + 8 * Duration::from_millis(delay), "{took:?}");
    }
    let stats = world.stats();
    assert!(rate < 50 || stats.syns_dropped > 0, "{stats:?}");
    assert!(stats.free + connects >= free, "{free} sockets were free: {stats:?}");
    assert_eq!(world.server.group.stats().sockets, 1 + connects);
}

#[test]
fn s80_a_client_gets_through_a_flood_of_syns() {
    for (seed, rate) in [20, 50, 1000].into_iter().enumerate() {
        for delay in [0, 1, 20, 100] {
            gets_through(seed as u64, rate, delay, address(2), (16, 4));
            gets_through(seed as u64, rate, delay, v6(2), (16, 4));
        }
    }
}

#[test]
fn s80_ten_thousand_syns_in_a_second_keep_nobody_out() {
    gets_through(1, 10_000, 1, address(2), (16, 2));
    gets_through(2, 10_000, 50, v6(2), (16, 2));
}

/// The answer of a client that has shown that it is there takes longer than the flood's half-open
/// connections have.
#[test]
fn s80_who_is_there_keeps_its_place_over_a_long_way() {
    for backlog in [1, 16] {
        gets_through(1, 500, 700, address(2), (backlog, 2));
    }
}

/// A client that is silent to what it did not ask for, as some firewalls make it, has its chance at
/// each place that gets free; also one that asks once a second, which is how often a flood would
/// take all places if they got free together.
#[test]
fn s80_who_does_not_answer_has_a_chance_at_every_try() {
    let mut world = World::new(1, 50, 0, address(2), 16);
    let (from, to) = ((STRANGER, SocketAddr::from((address(99), 5000))), (EthernetAddress(hardware(2)), (address(2), PORT).into()));
    for _ in 0..200 {
        for _ in 0..2 {
            world.flood.inject(&common::syn_between(from, to));
            world.run(Duration::from_millis(5));
        }
        world.run(Duration::from_millis(990));
    }
    let taken = world.stats().syns_repeated;
    assert!(taken >= 6, "{taken} of 200 SYNs were let in");
}

/// Resets that answer nothing, and numbers that were told to somebody else, open no place.
#[test]
fn s80_who_guesses_does_not_get_through() {
    let mut world = World::new(1, 2000, 0, address(2), 16);
    world.run(Duration::from_secs(1));
    let before = world.stats();
    let to = (EthernetAddress(hardware(2)), SocketAddr::from((address(2), PORT)));
    for port in 2000..3000 {
        let from = (STRANGER, SocketAddr::from((address(98), port)));
        world.flood.inject(&common::segment(from, to, TcpControl::Rst, u32::from(port) << 16, None));
        world.flood.inject(&common::syn_between(from, to));
        world.step();
    }
    let after = world.stats();
    // In the second that has passed each place was given away once.
    assert!(after.half_open_ended <= before.half_open_ended + 32, "{before:?}, {after:?}");
}

/// A SYN for the address of another host, which a switch may send to all, makes no room for itself.
#[test]
fn syns_for_others_take_no_place() {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let mut server = Host::new(&platform, far, &config(2));
    let listener = server.net.listen((IpAddr::from([0, 0, 0, 0]), PORT).into(), &SockOptions::default()).expect("it can listen");
    server.attach(listener, Token(1));
    for second in 0..20 {
        for port in 0..32 {
            let (from, to) = (address(100), [address(2), address(3)][second.min(1)]);
            let from = (STRANGER, SocketAddr::from((from, 1024 + port)));
            near.inject(&common::syn_between(from, (EthernetAddress(hardware(2)), (to, PORT).into())));
        }
        server.poll();
        platform.advance(Duration::from_millis(400));
    }
    let stats = server.net.stats().expect("it has a device");
    assert_eq!(stats.half_open_ended, 0, "{stats:?}");
}
