//! Hosts on a wire in memory, in a time that the test moves.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod host;
pub(crate) mod wire;

use core_reactor::net::NetEvent;
use net_impl_smoltcp::smoltcp::phy::ChecksumCapabilities;
use net_impl_smoltcp::smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket,
    TcpRepr, TcpSeqNumber,
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
    let tcp = TcpRepr {
        src_port,
        dst_port,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1000),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = Ipv4Repr { src_addr, dst_addr, next_header: IpProtocol::Tcp, payload_len: tcp.buffer_len(), hop_limit: 64 };
    let ethernet = EthernetRepr { src_addr: from, dst_addr: to, ethertype: EthernetProtocol::Ipv4 };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + tcp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let sums = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &sums);
    tcp.emit(&mut TcpPacket::new_unchecked(packet.payload_mut()), &src_addr.into(), &dst_addr.into(), &sums);
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
