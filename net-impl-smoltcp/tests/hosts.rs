//! What a host owes its network (ARP, ICMP, DHCP), many connections, and ends.

mod common;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use common::host::{Host, address, config, ended, hardware, pair, two, until};
use common::wire::{End, Rx, Tx, Weather, wire};
use core_reactor::WaitSource;
use core_reactor::net::{NetError, NetEvent, NetImpl, SockOptions, Token};
use core_reactor::sim::SimPlatform;
use net_impl_smoltcp::smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities};
use net_impl_smoltcp::smoltcp::time::Instant;
use net_impl_smoltcp::smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};
use net_impl_smoltcp::{Addresses, NetDevice, Network, Smoltcp, StackConfig};

const STRANGER: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 9]);
const STRANGER_IP: Ipv4Address = Ipv4Address::new(10, 0, 0, 9);
const HOST_IP: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);

/// An Ethernet frame from the stranger, its payload written by `fill`.
fn frame(to: EthernetAddress, ethertype: EthernetProtocol, len: usize, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let repr = EthernetRepr { src_addr: STRANGER, dst_addr: to, ethertype };
    let mut bytes = vec![0; repr.buffer_len() + len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    repr.emit(&mut frame);
    fill(frame.payload_mut());
    bytes
}

fn ask_for(who: Ipv4Address) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: STRANGER,
        source_protocol_addr: STRANGER_IP,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: who,
    };
    frame(EthernetAddress::BROADCAST, EthernetProtocol::Arp, arp.buffer_len(), |to| arp.emit(&mut ArpPacket::new_unchecked(to)))
}

fn ping(data: &[u8]) -> Vec<u8> {
    let icmp = Icmpv4Repr::EchoRequest { ident: 7, seq_no: 1, data };
    let ip =
        Ipv4Repr { src_addr: STRANGER_IP, dst_addr: HOST_IP, next_header: IpProtocol::Icmp, payload_len: icmp.buffer_len(), hop_limit: 64 };
    frame(EthernetAddress(hardware(1)), EthernetProtocol::Ipv4, ip.buffer_len() + icmp.buffer_len(), |to| {
        let sums = ChecksumCapabilities::default();
        let mut packet = Ipv4Packet::new_unchecked(to);
        ip.emit(&mut packet, &sums);
        icmp.emit(&mut Icmpv4Packet::new_unchecked(packet.payload_mut()), &sums);
    })
}

/// Whether the next frame tells the stranger where the host is.
fn is_told(far: &End) -> bool {
    far.take().is_some_and(|bytes| {
        let arp = EthernetFrame::new_checked(&bytes[..]).ok().and_then(|frame| ArpPacket::new_checked(frame.payload()).ok().map(|arp| ArpRepr::parse(&arp)));
        matches!(arp, Some(Ok(ArpRepr::EthernetIpv4 { operation: ArpOperation::Reply, source_protocol_addr: HOST_IP, source_hardware_addr, .. }))
            if source_hardware_addr.0 == hardware(1))
    })
}

#[test]
fn arp_and_icmp_echo_are_answered() {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let mut host = Host::new(&platform, near, &config(1));
    far.inject(&ask_for(HOST_IP));
    host.poll();
    assert!(is_told(&far));
    far.inject(&ask_for(STRANGER_IP));
    host.poll();
    assert_eq!(far.take(), None, "an address that is not its own");
    far.inject(&ping(b"are you there?"));
    host.poll();
    let answer = far.take().expect("an answer");
    let answer = EthernetFrame::new_checked(&answer[..]).expect("a frame");
    let ip = Ipv4Packet::new_checked(answer.payload()).expect("a packet");
    let icmp = Icmpv4Packet::new_checked(ip.payload()).expect("a message");
    let icmp = Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).expect("whole");
    assert_eq!(icmp, Icmpv4Repr::EchoReply { ident: 7, seq_no: 1, data: b"are you there?" });
}

/// A DHCP server that gives one address.
fn serve_dhcp(far: &End, seen: &mut Vec<DhcpMessageType>) {
    let (server, lease) = (STRANGER_IP, Ipv4Address::new(10, 0, 0, 77));
    let Some(bytes) = far.take() else { return };
    if bytes[12..14] == [8, 6] {
        // Whoever asks learns who is asked.
        return far.inject(&ask_for(lease));
    }
    let Some(asked) = EthernetFrame::new_checked(&bytes[..]).ok().and_then(|f| Ipv4Packet::new_checked(f.payload()).ok()) else { return };
    let Some(udp) = UdpPacket::new_checked(asked.payload()).ok().filter(|udp| udp.dst_port() == 67) else { return };
    let packet = DhcpPacket::new_checked(udp.payload()).expect("a DHCP packet");
    let request = DhcpRepr::parse(&packet).expect("a request");
    seen.push(request.message_type);
    let message_type = if request.message_type == DhcpMessageType::Discover { DhcpMessageType::Offer } else { DhcpMessageType::Ack };
    let dhcp = DhcpRepr {
        message_type,
        your_ip: lease,
        server_ip: server,
        router: Some(Ipv4Address::new(10, 0, 0, 254)),
        subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(server),
        parameter_request_list: None,
        max_size: None,
        lease_duration: Some(600),
        ..request
    };
    let (udp, to) = (UdpRepr { src_port: 67, dst_port: 68 }, Ipv4Address::BROADCAST);
    let len = udp.header_len() + dhcp.buffer_len();
    let ip = Ipv4Repr { src_addr: server, dst_addr: to, next_header: IpProtocol::Udp, payload_len: len, hop_limit: 64 };
    far.inject(&frame(EthernetAddress::BROADCAST, EthernetProtocol::Ipv4, ip.buffer_len() + len, |bytes| {
        let sums = ChecksumCapabilities::default();
        let mut packet = Ipv4Packet::new_unchecked(bytes);
        ip.emit(&mut packet, &sums);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        let write = |to: &mut [u8]| dhcp.emit(&mut DhcpPacket::new_unchecked(to)).expect("room");
        udp.emit(&mut datagram, &server.into(), &to.into(), dhcp.buffer_len(), write, &sums);
    }));
}

#[test]
fn a_lease_is_obtained_and_renewed() {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let mut host = Host::new(&platform, near, &StackConfig::new(hardware(1), Addresses::Dhcp));
    assert_eq!(host.net.addresses(), Addresses::default());
    let own = "10.0.0.77".parse().expect("an address");
    let before = host.net.listen((own, 7).into(), &SockOptions::default()).err();
    assert_eq!(before, Some(NetError::AddressUnavailable((own, 7).into())));
    let mut seen = Vec::new();
    let run = |host: &mut Host, millis: usize, seen: &mut Vec<_>| {
        for _ in 0..millis {
            host.poll();
            serve_dhcp(&far, seen);
            platform.advance(Duration::from_millis(10));
        }
    };
    run(&mut host, 2_000, &mut seen);
    assert_eq!(seen, [DhcpMessageType::Discover, DhcpMessageType::Request]);
    assert_eq!(host.net.addresses(), Addresses::one(own, 24, Some("10.0.0.254".parse().expect("an address"))));
    host.net.listen((own, 7).into(), &SockOptions::default()).expect("its own address by now");
    run(&mut host, 40_000, &mut seen);
    assert!(seen.len() > 2, "renewed before its time was over");
    assert_ne!(host.net.addresses(), Addresses::default(), "and kept");
}

/// Echoes whatever comes, and ends its side when the peer does.
fn serve(host: &mut Host) {
    for event in std::mem::take(&mut host.seen) {
        match event {
            NetEvent::Accepted { socket, .. } => drop(host.attach(socket, Token(3))),
            NetEvent::Received { id, buf, .. } => host.group.send(id, buf.into()).map_err(|refused| refused.why).expect("it is taken"),
            NetEvent::PeerClosed { id, .. } => host.group.shutdown(id).expect("it is there"),
            NetEvent::Closed { why, .. } => assert_eq!(why, None),
            other => panic!("{}", common::name(&other)),
        }
    }
}

#[test]
fn s16_200_quick_connections_in_a_row_are_all_answered() {
    let (platform, mut one, mut two) = two(Weather::CALM);
    two.listen(7);
    for round in 0..200 {
        let id = one.connect((address(2), 7).into(), Token(round));
        let (mut sent, mut heard) = (false, false);
        until(&platform, [&mut one, &mut two], Duration::from_secs(30), "an answer and an end", |one, two| {
            serve(two);
            for event in std::mem::take(&mut one.seen) {
                match event {
                    NetEvent::Connected { .. } => sent = true,
                    NetEvent::Received { buf, .. } => heard = *buf == *b"quick",
                    NetEvent::PeerClosed { .. } => {}
                    NetEvent::Closed { why, .. } => {
                        assert_eq!((why, heard), (None, true));
                        return true;
                    }
                    other => panic!("{}", common::name(&other)),
                }
            }
            if std::mem::take(&mut sent) {
                one.send(id, b"quick");
                one.group.shutdown(id).expect("it is there");
            }
            false
        });
    }
    assert_eq!(two.net.stats().expect("it has a device").half_open_ended, 0);
}

/// More at once than the backlog holds: those that find no place are asked to try again, and none
/// is refused.
#[test]
fn s16_more_connects_than_the_backlog_are_answered_in_the_end() {
    let (platform, mut one, mut two) = two(Weather::CALM);
    two.listen_with(7, &SockOptions::default().backlog(4));
    let mut open = (0..16).map(|n| one.connect((address(2), 7).into(), Token(n))).count();
    let mut accepted = 0;
    until(&platform, [&mut one, &mut two], Duration::from_secs(300), "every connection", |one, two| {
        open -= one.seen.drain(..).filter(|event| matches!(event, NetEvent::Connected { .. })).count();
        for event in std::mem::take(&mut two.seen) {
            let NetEvent::Accepted { socket, .. } = event else { panic!("only connections") };
            two.attach(socket, Token(3));
            accepted += 1;
        }
        open == 0 && accepted == 16
    });
    assert!(two.net.stats().expect("it has a device").syns_dropped > 0, "the backlog was full");
}

/// A peer that opens connections half cannot keep others out.
#[test]
fn half_open_connections_yield() {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let mut host = Host::new(&platform, near, &config(1));
    host.listen_with(7, &SockOptions::default().backlog(4));
    let free = host.net.stats().expect("it has a device").free;
    for round in 0..50u16 {
        for n in 0..20 {
            far.inject(&common::syn(STRANGER, STRANGER_IP, 1000 + round * 20 + n, EthernetAddress(hardware(1)), HOST_IP, 7));
        }
        host.poll();
        platform.advance(Duration::from_millis(300));
        while far.take().is_some() {}
    }
    let stats = host.net.stats().expect("it has a device");
    assert!(stats.half_open_ended > 0 && stats.syns_dropped > 0, "{stats:?}");
    assert_eq!(stats.free, free, "no socket beyond the backlog");
    for _ in 0..200 {
        platform.advance(Duration::from_millis(100));
        host.poll();
    }
    assert!(host.seen.is_empty());
}

/// A peer that begins and says no more holds its place for ten seconds, also when nobody else wants
/// it.
#[test]
fn half_open_connections_end() {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let mut host = Host::new(&platform, near, &config(1));
    host.listen(7);
    far.inject(&common::syn(STRANGER, STRANGER_IP, 1000, EthernetAddress(hardware(1)), HOST_IP, 7));
    let mut ended_after = |tenths: u32| {
        for _ in 0..tenths {
            host.poll();
            platform.advance(Duration::from_millis(100));
        }
        host.net.stats().expect("it has a device").half_open_ended
    };
    assert_eq!((ended_after(99), ended_after(3)), (0, 1));
}

fn v6(host: u16) -> IpAddr {
    [0xfd00, 0, 0, 0, 0, 0, 0, host].into()
}

/// Two hosts with addresses of both families.
fn two_of_both() -> (Arc<SimPlatform>, Host, Host) {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let both = |number: u8| {
        let own = [(address(number), 24), (v6(number.into()), 64)].map(|(address, prefix)| Network { address, prefix });
        StackConfig { addresses: Addresses::Static { own: own.into(), gateways: Vec::new() }, ..config(number) }
    };
    let (one, two) = (Host::new(&platform, near, &both(1)), Host::new(&platform, far, &both(2)));
    (platform, one, two)
}

/// smoltcp's unspecified address is of both families, so its sockets take connections for each
/// other.
#[test]
fn s14_a_port_can_have_a_listener_of_each_family_that_takes_what_is_its_own() {
    let (platform, mut one, mut two) = two_of_both();
    for (token, any) in [(4, IpAddr::from([0; 4])), (6, IpAddr::from([0u16; 8]))] {
        let listener = two.net.listen((any, 7).into(), &SockOptions::default()).expect("a port for each family");
        two.attach(listener, Token(token));
    }
    for (token, to) in [(6, v6(2)), (4, address(2)), (6, v6(2)), (4, address(2))] {
        one.connect((to, 7).into(), Token(1));
        let mut by = None;
        until(&platform, [&mut one, &mut two], Duration::from_secs(5), "a connection", |_, two| {
            by = two.pick(|event| match event {
                NetEvent::Accepted { token, .. } => Ok(token),
                other => Err(other),
            });
            by.is_some()
        });
        assert_eq!(by, Some(Token(token)), "{to}");
    }
}

/// The unspecified address of a family is that family's only, and a broadcast address is nobody's.
#[test]
fn s14_s15_addresses_of_nobody() {
    let (platform, mut one, mut two) = two_of_both();
    for (port, any) in [(4, IpAddr::from([0; 4])), (6, IpAddr::from([0u16; 8]))] {
        let listener = two.net.listen((any, port).into(), &SockOptions::default()).expect("a free port");
        two.attach(listener, Token(port.into()));
    }
    let wanted = [
        ((v6(2), 4).into(), Some(NetError::ConnectRefused((v6(2), 4).into()))),
        ((address(2), 6).into(), Some(NetError::ConnectRefused((address(2), 6).into()))),
        ((address(255), 4).into(), Some(NetError::Unreachable((address(255), 4).into()))),
    ];
    for (to, why) in wanted {
        let id = one.connect(to, Token(1));
        let mut end = None;
        until(&platform, [&mut one, &mut two], Duration::from_secs(5), "an end", |one, _| {
            end = ended(one, id);
            end.is_some()
        });
        assert_eq!(end, Some(why), "{to}");
    }
    assert!(two.seen.is_empty(), "nothing was accepted");
}

#[test]
fn s19_a_reset_closes_with_the_error_and_gives_queued_frames_back_in_order() {
    let (platform, mut one, mut two) = two(Weather::CALM);
    let (near, far) = pair(&platform, &mut one, &mut two);
    two.group.pause(far).expect("it is there");
    for n in 0..60 {
        let frame = one.frame(&[n; 2000]).expect("a buffer").tagged(n.into());
        one.group.send(near, frame).map_err(|refused| refused.why).expect("it is taken");
    }
    for _ in 0..50 {
        one.poll();
        two.poll();
        platform.advance(Duration::from_millis(1));
    }
    two.group.abort(far).expect("it is there");
    until(&platform, [&mut one, &mut two], Duration::from_secs(5), "the reset", |one, _| {
        one.seen.iter().any(|event| matches!(event, NetEvent::Closed { .. }))
    });
    let mut next = 0;
    let mut cancelled = 0;
    for event in std::mem::take(&mut one.seen) {
        match event {
            NetEvent::Sent { frame, error, .. } => {
                assert_eq!(frame.tag(), Some(next));
                next += 1;
                assert!(error.is_some() || cancelled == 0);
                cancelled += u32::from(error == Some(NetError::Cancelled));
            }
            NetEvent::Closed { why, .. } => assert_eq!((why, next), (Some(NetError::Reset), 60)),
            other => panic!("{}", common::name(&other)),
        }
    }
    assert!(cancelled > 0);
}

#[test]
fn s15_nobody_listens_and_nobody_is_there() {
    let (platform, mut one, mut two) = two(Weather::CALM);
    let nobody = (address(2), 99).into();
    let refused = one.connect(nobody, Token(1));
    let none: std::net::SocketAddr = "203.0.113.1:1".parse().expect("an address");
    let unreachable = one.connect(none, Token(2));
    let options = SockOptions::default().user_timeout(Duration::from_secs(3));
    let silent = one.net.connect(&[(address(77), 1).into()], &options).expect("a socket is free");
    let silent = one.attach(silent, Token(3));
    let mut ends = [None, None, None];
    until(&platform, [&mut one, &mut two], Duration::from_secs(10), "three ends", |one, _| {
        for (end, id) in ends.iter_mut().zip([refused, unreachable, silent]) {
            *end = end.take().or_else(|| ended(one, id));
        }
        ends.iter().all(Option::is_some)
    });
    let why = [NetError::ConnectRefused(nobody), NetError::Unreachable(none), NetError::TimedOut];
    assert_eq!(ends, why.map(|why| Some(Some(why))));
}

/// A peer that vanishes is noticed, by whoever has sent and by whoever has only ended its side,
/// however long it was quiet before.
#[test]
fn s23_the_user_timeout_counts_from_what_is_unanswered() {
    for quiet in [0, 100] {
        let (platform, mut one, mut two) = two(Weather::CALM);
        two.listen(7);
        let options = SockOptions::default().user_timeout(Duration::from_secs(5));
        let socket = one.net.connect(&[(address(2), 7).into()], &options).expect("a socket is free");
        let id = one.attach(socket, Token(1));
        until(&platform, [&mut one, &mut two], Duration::from_secs(5), "a connection", |one, _| !one.seen.is_empty());
        for _ in 0..quiet {
            platform.advance(Duration::from_secs(1));
            one.poll();
        }
        one.group.shutdown(id).expect("it is there");
        // Only one is polled from here on: the other has vanished.
        for _ in 0..40 {
            one.poll();
            assert!(ended(&mut one, id).is_none(), "not before its time");
            platform.advance(Duration::from_millis(100));
        }
        for _ in 0..20 {
            one.poll();
            platform.advance(Duration::from_millis(100));
        }
        assert_eq!(ended(&mut one, id), Some(Some(NetError::TimedOut)));
    }
}

/// A device that tells of each frame once, when it arrives.
struct Edge(End);

impl Device for Edge {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx;

    fn receive(&mut self, now: Instant) -> Option<(Rx, Tx)> {
        self.0.receive(now)
    }

    fn transmit(&mut self, now: Instant) -> Option<Tx> {
        self.0.transmit(now)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.capabilities()
    }
}

impl NetDevice for Edge {
    fn wait_source(&self) -> Option<WaitSource> {
        Some(WaitSource(0))
    }
}

/// A poll takes 64 frames, so that the sockets have their turn. Nothing tells of the rest again.
#[test]
fn s13_a_core_does_not_sleep_over_frames_that_a_poll_left_in_the_device() {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let mut one = Host::new(&platform, Edge(near), &config(1));
    let may_sleep = |one: &mut Host| {
        one.poll();
        (one.thread.before_sleep(), one.thread.next_deadline() != Some(core_reactor::Instant::ZERO))
    };
    while may_sleep(&mut one) != (true, true) {}
    (0..130).for_each(|_| far.inject(&ask_for(STRANGER_IP)));
    assert_eq!([(); 3].map(|()| may_sleep(&mut one)), [(false, false), (false, false), (true, true)]);
}

/// No device tells of frames that a host sends to itself, and no time has to pass for them.
#[test]
fn s13_a_core_does_not_sleep_over_frames_to_itself() {
    let platform = SimPlatform::new(1);
    let [near, _far] = wire(Weather::CALM);
    let mut one = Host::new(&platform, Edge(near), &config(1));
    one.listen(7);
    let wanted = one.connect((address(1), 7).into(), Token(1));
    let sleeps = |one: &mut Host| {
        one.poll();
        one.thread.before_sleep() && one.thread.next_deadline() != Some(core_reactor::Instant::ZERO)
    };
    while !sleeps(&mut one) {}
    assert!(
        one.seen.iter().any(|event| matches!(event, NetEvent::Connected { id, .. } if *id == wanted)),
        "it sleeps before it is connected"
    );
}

#[test]
fn s21_a_socket_of_another_stack_is_refused_and_comes_back() {
    let (_platform, mut one, two) = two(Weather::CALM);
    let socket = two.net.listen((address(2), 7).into(), &SockOptions::default()).expect("a free port");
    let refused = one.group.attach(socket, Token(1)).expect_err("its device is not there");
    assert!(refused.why.to_string().contains("another"), "{}", refused.why);
    assert_eq!(refused.item.local_addr(), Ok((address(2), 7).into()));
}

#[test]
fn s24_a_host_without_a_device_says_so() {
    let why = Smoltcp::new().probe().expect_err("it has no device").to_string();
    assert!(why.contains("no device") && why.contains("start"), "{why}");
    assert_eq!(core_reactor::net::linked().iter().filter(|backend| backend.name() == "smoltcp").count(), 1);
}

#[test]
fn s23_options_that_cannot_be_honoured_are_errors() {
    let (_platform, one, _two) = two(Weather::CALM);
    let usual = SockOptions::default;
    let cases = [
        ("priority", usual().priority(1)),
        ("zero_copy", usual().zero_copy(1)),
        ("busy_poll", usual().busy_poll(Duration::from_micros(1))),
        ("reuse_port", usual().reuse_port(true)),
        ("recv_buf", usual().recv_buf(1 << 20)),
        ("low_water", usual().low_water(10_000)),
        ("backlog", usual().backlog(65)),
    ];
    for (name, options) in cases {
        let why = one.net.listen((address(1), 0).into(), &options).err();
        assert!(matches!(why, Some(NetError::Option { option, .. }) if option == name), "{name}: {why:?}");
    }
}
