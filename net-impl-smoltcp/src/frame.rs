//! Frames that this crate makes itself: questions to neighbours and to those who want to connect.

use core::net::SocketAddr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, IpRepr,
    Ipv4Address, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
#[cfg(feature = "ipv6")]
use smoltcp::wire::{Icmpv6Packet, Icmpv6Repr, IpProtocol as Protocol, Ipv6Address, Ipv6Repr, NdiscRepr};

use crate::family;

/// Bytes of the largest: a neighbour solicitation.
pub(crate) const MOST: usize = 86;

type Hardware = [u8; 6];

/// The question who has this address of IPv4 (RFC 826).
pub(crate) fn who_has(hardware: Hardware, own: Ipv4Address, who: Ipv4Address, to: &mut [u8; MOST]) -> usize {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(hardware),
        source_protocol_addr: own,
        target_hardware_addr: EthernetAddress::BROADCAST,
        target_protocol_addr: who,
    };
    let payload = ethernet((hardware, EthernetAddress::BROADCAST.0), EthernetProtocol::Arp, to);
    arp.emit(&mut ArpPacket::new_unchecked(&mut payload[..arp.buffer_len()]));
    EthernetFrame::<&[u8]>::header_len() + arp.buffer_len()
}

/// The question who has this address of IPv6 (RFC 4861, 4.3).
#[cfg(feature = "ipv6")]
pub(crate) fn who_has_v6(hardware: Hardware, own: Ipv6Address, who: Ipv6Address, to: &mut [u8; MOST]) -> usize {
    let solicit = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: who, lladdr: Some(EthernetAddress(hardware).into()) });
    let [.., a, b, c] = who.octets();
    // The group of those whose addresses end so (RFC 4291, 2.7.1), and its hardware address (RFC 2464, 7).
    let group = Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let ip = Ipv6Repr { src_addr: own, dst_addr: group, next_header: Protocol::Icmpv6, payload_len: solicit.buffer_len(), hop_limit: 255 };
    let payload = ethernet((hardware, [0x33, 0x33, 0xff, a, b, c]), EthernetProtocol::Ipv6, to);
    let sums = ChecksumCapabilities::default();
    IpRepr::Ipv6(ip).emit(&mut *payload, &sums);
    solicit.emit(&own, &group, &mut Icmpv6Packet::new_unchecked(&mut payload[ip.buffer_len()..]), &sums);
    EthernetFrame::<&[u8]>::header_len() + ip.buffer_len() + solicit.buffer_len()
}

/// An acknowledgement of a number that its receiver has not sent.
pub(crate) fn acknowledgement(
    (hardware, to_hardware): (Hardware, Hardware),
    (from, to): (SocketAddr, SocketAddr),
    number: u32,
    bytes: &mut [u8; MOST],
) -> usize {
    let Some((src, dst)) = family::of(from.ip()).zip(family::of(to.ip())).filter(|(_, dst)| dst.is_unicast()) else { return 0 };
    let tcp = TcpRepr {
        src_port: from.port(),
        dst_port: to.port(),
        control: TcpControl::None,
        seq_number: TcpSeqNumber(0),
        ack_number: Some(TcpSeqNumber(number as i32)),
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = IpRepr::new(src, dst, IpProtocol::Tcp, tcp.buffer_len(), 64);
    let ethertype = match src {
        IpAddress::Ipv4(_) => EthernetProtocol::Ipv4,
        #[cfg(feature = "ipv6")]
        IpAddress::Ipv6(_) => EthernetProtocol::Ipv6,
    };
    let payload = ethernet((hardware, to_hardware), ethertype, bytes);
    let sums = ChecksumCapabilities::default();
    ip.emit(&mut *payload, &sums);
    tcp.emit(&mut TcpPacket::new_unchecked(&mut payload[ip.header_len()..ip.buffer_len()]), &src, &dst, &sums);
    EthernetFrame::<&[u8]>::header_len() + ip.buffer_len()
}

/// Writes the header of a frame; gives the rest of it.
fn ethernet((from, to): (Hardware, Hardware), ethertype: EthernetProtocol, bytes: &mut [u8; MOST]) -> &mut [u8] {
    let repr = EthernetRepr { src_addr: EthernetAddress(from), dst_addr: EthernetAddress(to), ethertype };
    repr.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
    &mut bytes[EthernetFrame::<&[u8]>::header_len()..]
}
