//! Hosts on a wire in memory, in a time that the test moves.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod host;
pub(crate) mod wire;

use std::net::SocketAddr;

use core_reactor::net::NetEvent;
use net_impl_smoltcp::smoltcp::phy::ChecksumCapabilities;
use net_impl_smoltcp::smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, IpRepr, Ipv4Address, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber,
};

/// A frame that asks for a connection.
pub(crate) fn syn(
    from: EthernetAddress,
    src_addr: Ipv4Address,
    src_port: u16,
    to: EthernetAddress,
    dst_addr: Ipv4Address,
    dst_port: u16,
) -> Vec<u8> {
    syn_between((from, (src_addr, src_port).into()), (to, (dst_addr, dst_port).into()))
}

/// The same over IPv4 or IPv6.
pub(crate) fn syn_between((from, src): (EthernetAddress, SocketAddr), (to, dst): (EthernetAddress, SocketAddr)) -> Vec<u8> {
    segment((from, src), (to, dst), TcpControl::Syn, 1000, None)
}

/// A segment without data.
pub(crate) fn segment(
    (from, src): (EthernetAddress, SocketAddr),
    (to, dst): (EthernetAddress, SocketAddr),
    control: TcpControl,
    seq: u32,
    ack: Option<u32>,
) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: src.port(),
        dst_port: dst.port(),
        control,
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
        window_len: 1000,
        window_scale: None,
        max_seg_size: (control == TcpControl::Syn).then_some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let (src_addr, dst_addr) = (src.ip().into(), dst.ip().into());
    let ip = IpRepr::new(src_addr, dst_addr, IpProtocol::Tcp, tcp.buffer_len(), 64);
    let ethertype = if src.is_ipv4() { EthernetProtocol::Ipv4 } else { EthernetProtocol::Ipv6 };
    let ethernet = EthernetRepr { src_addr: from, dst_addr: to, ethertype };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let sums = ChecksumCapabilities::default();
    ip.emit(frame.payload_mut(), &sums);
    tcp.emit(&mut TcpPacket::new_unchecked(&mut frame.payload_mut()[ip.header_len()..]), &src_addr, &dst_addr, &sums);
    bytes
}

/// An event for people.
pub(crate) fn name(event: &NetEvent) -> String {
    match event {
        NetEvent::Accepted { id, socket, .. } => format!("{id:?} Accepted {:?}", socket.peer_addr()),
        NetEvent::Connected { id, .. } => format!("{id:?} Connected"),
        NetEvent::Received { id, buf, .. } => format!("{id:?} Received {}", buf.len()),
        NetEvent::Sent { id, written, error, .. } => format!("{id:?} Sent {written} {error:?}"),
        NetEvent::PeerClosed { id, .. } => format!("{id:?} PeerClosed"),
        NetEvent::Closed { id, why, .. } => format!("{id:?} Closed {why:?}"),
        _ => "an event of a later version".to_owned(),
    }
}
