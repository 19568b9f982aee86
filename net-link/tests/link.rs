//! The link by hand: a device whose frames the test makes and sees.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use core_reactor::Instant;
use net_link::smoltcp::iface::{SocketHandle, SocketSet};
use net_link::smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use net_link::smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use net_link::smoltcp::time::Instant as SmolInstant;
use net_link::smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpEndpoint, IpProtocol, IpRepr, Ipv4Packet, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber,
};
use net_link::{Addresses, Ends, Link, NetDevice, Verdict};

const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEERS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// A card with frames in and out.
#[derive(Clone, Default)]
struct Card(Arc<Mutex<[VecDeque<Vec<u8>>; 2]>>);

struct Token(Card, Vec<u8>);

impl Card {
    fn deliver(&self, frame: Vec<u8>) {
        self.0.lock().expect("nobody panics in here")[0].push_back(frame);
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        self.0.lock().expect("nobody panics in here")[1].drain(..).collect()
    }
}

impl Device for Card {
    type RxToken<'a> = Token;
    type TxToken<'a> = Token;

    fn receive(&mut self, _: SmolInstant) -> Option<(Token, Token)> {
        let frame = self.0.lock().expect("nobody panics in here")[0].pop_front()?;
        Some((Token(self.clone(), frame), Token(self.clone(), vec![])))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Token> {
        Some(Token(self.clone(), vec![]))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = (Medium::Ethernet, 1514);
        capabilities
    }
}

impl NetDevice for Card {}

impl RxToken for Token {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.1)
    }
}

impl TxToken for Token {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let done = f(&mut frame);
        self.0.0.lock().expect("nobody panics in here")[1].push_back(frame);
        done
    }
}

fn segment(to: Ipv4Addr, control: TcpControl, seq: u32) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: 1000,
        dst_port: 7,
        control,
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = IpRepr::new(PEER.into(), to.into(), IpProtocol::Tcp, tcp.buffer_len(), 64);
    let ethernet =
        EthernetRepr { src_addr: EthernetAddress(PEERS), dst_addr: EthernetAddress(HARDWARE), ethertype: EthernetProtocol::Ipv4 };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let sums = ChecksumCapabilities::default();
    ip.emit(frame.payload_mut(), &sums);
    tcp.emit(&mut TcpPacket::new_unchecked(&mut frame.payload_mut()[ip.header_len()..]), &PEER.into(), &to.into(), &sums);
    bytes
}

/// The number that a frame to the peer acknowledges.
fn acknowledged(frame: &[u8]) -> u32 {
    let frame = EthernetFrame::new_checked(frame).expect("a frame");
    assert_eq!(frame.dst_addr(), EthernetAddress(PEERS));
    let ip = Ipv4Packet::new_checked(frame.payload()).expect("a packet");
    let tcp = TcpPacket::new_checked(ip.payload()).expect("a segment");
    assert!(tcp.ack() && !tcp.syn() && !tcp.rst() && tcp.verify_checksum(&OWN.into(), &PEER.into()));
    tcp.ack_number().0 as u32
}

struct Host {
    card: Card,
    link: Link,
    sockets: SocketSet<'static>,
    listener: SocketHandle,
    spare: [SocketHandle; 2],
}

impl Host {
    fn new() -> Self {
        let (card, mut sockets) = (Card::default(), SocketSet::new(vec![]));
        let buffer = || SocketBuffer::new(vec![0; 4096]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.listen(7).expect("it is closed");
        let listener = sockets.add(socket);
        let spare = [(); 2].map(|()| sockets.add(Socket::new(buffer(), buffer())));
        let addresses = Addresses::one(OWN.into(), 24, None);
        let link = Link::new(card.clone(), HARDWARE, &addresses, 1, &mut sockets).expect("it is an Ethernet device");
        Self { card, link, sockets, listener, spare }
    }

    fn ingress(&mut self) -> usize {
        self.link.ingress(64, Instant::ZERO, &mut self.sockets)
    }

    fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.listener).state()
    }
}

fn ends() -> Ends {
    Ends { from: (PEER, 1000).into(), to: (OWN, 7).into() }
}

#[test]
fn s145_a_syn_reaches_a_socket_when_it_is_admitted() {
    for verdict in [Verdict::Drop, Verdict::Admit] {
        let mut host = Host::new();
        host.card.deliver(segment(OWN, TcpControl::Syn, 100));
        host.card.deliver(segment(OWN, TcpControl::Syn, 100));
        host.ingress();
        assert_eq!((host.link.syn(), host.state(), host.link.has_frames()), (Some(ends()), State::Listen, true));
        assert_eq!(host.ingress(), 0, "nothing passes one that is held");
        host.link.judge(verdict, Instant::ZERO);
        assert_eq!(host.link.syn(), None);
        host.ingress();
        let admitted = verdict == Verdict::Admit;
        assert_eq!(host.state() == State::SynReceived, admitted);
        assert_eq!(host.link.syn(), Some(ends()), "the other one is next");
        assert!(host.card.sent().is_empty());
    }
}

#[test]
fn s145_a_syn_to_somebody_else_is_not_held() {
    let mut host = Host::new();
    host.card.deliver(segment(Ipv4Addr::new(10, 0, 0, 9), TcpControl::Syn, 100));
    assert_eq!((host.ingress(), host.link.syn(), host.state()), (1, None, State::Listen));
}

#[test]
fn s145_who_answers_a_challenge_has_shown_itself() {
    let mut host = Host::new();
    host.card.deliver(segment(OWN, TcpControl::Syn, 100));
    host.ingress();
    host.link.judge(Verdict::Challenge, Instant::ZERO);
    let sent = host.card.sent();
    let number = acknowledged(&sent[0]);
    assert_eq!((sent.len(), host.ingress(), host.state()), (1, 0, State::Listen));
    let mut answers = |number| {
        host.card.deliver(segment(OWN, TcpControl::Rst, number));
        host.ingress();
        (host.link.take_reset(), host.link.proofs().has(ends(), Instant::ZERO))
    };
    assert_eq!(answers(number.wrapping_add(1)), (true, false), "a reset like any other");
    assert_eq!(answers(number), (false, true));
    let later = Instant::ZERO + Duration::from_secs(64);
    assert!(!host.link.proofs().has(ends(), later), "it holds for a time");
}

#[test]
fn s145_nobody_is_challenged_whom_no_device_finds() {
    let mut host = Host::new();
    let mut from_itself = segment(OWN, TcpControl::Syn, 100);
    from_itself[6] |= 1;
    host.card.deliver(from_itself);
    host.ingress();
    host.link.judge(Verdict::Challenge, Instant::ZERO);
    assert!(host.card.sent().is_empty(), "its hardware address is a group's");
}

#[test]
fn s146_frames_of_a_host_to_itself_come_back() {
    let mut host = Host::new();
    let buffer = || SocketBuffer::new(vec![0; 4096]);
    // More rounds than there is room for frames: what has come back leaves its room.
    for round in 0..40 {
        let mut socket = Socket::new(buffer(), buffer());
        let way = host.link.way_to(OWN.into()).expect("it has the address");
        socket.connect(way, IpEndpoint::new(OWN.into(), 7), 2000 + round).expect("it is closed");
        let near = host.sockets.add(socket);
        for turn in 0..40 {
            let now = Instant::ZERO + Duration::from_secs(turn);
            host.link.egress(now, &mut host.sockets);
            host.link.ingress(64, now, &mut host.sockets);
            if let Some(syn) = host.link.syn() {
                assert_eq!(syn.to, SocketAddr::from((OWN, 7)));
                host.link.judge(Verdict::Admit, now);
            }
        }
        assert_eq!((host.state(), host.sockets.get::<Socket<'_>>(near).state()), (State::Established, State::Established), "{round}");
        assert!(host.card.sent().is_empty() && !host.link.has_frames());
        host.sockets.remove(near);
        let listener = host.sockets.get_mut::<Socket<'_>>(host.listener);
        listener.abort();
        host.link.egress(Instant::ZERO, &mut host.sockets);
        while host.link.has_frames() {
            host.ingress();
        }
        host.card.sent();
        let listener = host.sockets.get_mut::<Socket<'_>>(host.listener);
        listener.listen(7).expect("it is closed");
    }
}

#[test]
fn s81_all_neighbours_that_are_missed_are_asked_for_once_a_second() {
    let mut host = Host::new();
    let absent = [2, 3].map(|last| Ipv4Addr::new(10, 0, 0, last));
    for (at, peer) in absent.into_iter().enumerate() {
        let way = host.link.way_to(peer.into()).expect("it is in the network");
        let socket = host.sockets.get_mut::<Socket<'_>>(host.spare[at]);
        socket.connect(way, IpEndpoint::new(peer.into(), 7), 2000).expect("it is closed");
    }
    let mut asked = |millis| {
        let now = Instant::ZERO + Duration::from_millis(millis);
        host.link.egress(now, &mut host.sockets);
        // smoltcp asks for the first only.
        let by_smoltcp = host.card.sent().len();
        host.link.seek_neighbours(absent.into_iter().map(IpAddress::from).enumerate(), now);
        (by_smoltcp, host.card.sent().len())
    };
    assert_eq!([asked(1), asked(500), asked(1100)], [(1, 2), (0, 0), (1, 2)]);
    host.link.seek_neighbours(absent.into_iter().map(IpAddress::from).enumerate(), Instant::ZERO + Duration::from_secs(9));
    assert!(host.card.sent().is_empty(), "no segment was kept since");
    assert!(host.link.way_to(Ipv4Addr::new(10, 0, 1, 1).into()).is_none(), "no router is there");
}
