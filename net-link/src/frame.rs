//! Frames: those that this crate makes itself, which are questions to neighbours and to those who
//! want to connect; and what it reads in others, and changes.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, IpRepr,
    Ipv4Address, Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
#[cfg(feature = "ipv6")]
use smoltcp::wire::{Icmpv6Message, Icmpv6Packet, Icmpv6Repr, Ipv6Address, Ipv6Packet, Ipv6Repr, NdiscRepr};

use crate::addresses;

/// Bytes of the header of IPv6 without extensions (RFC 8200, 3).
const IPV6_HEADER_LEN: usize = 40;

/// Bytes of the largest that it makes: a neighbour solicitation.
pub(crate) const MOST: usize = 86;

/// Bytes of the longest frame with an acknowledgement and nothing else.
pub(crate) const MOST_BARE: usize = 14 + 60 + 60;

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
    // The group of those whose addresses end so (RFC 4291, 2.7.1), and its hardware address (RFC
    // 2464, 7).
    let group = Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let ip =
        Ipv6Repr { src_addr: own, dst_addr: group, next_header: IpProtocol::Icmpv6, payload_len: solicit.buffer_len(), hop_limit: 255 };
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
    let Some((src, dst)) = addresses::ip(from.ip()).zip(addresses::ip(to.ip())).filter(|(_, dst)| dst.is_unicast()) else { return 0 };
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

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
}

impl Ends {
    /// A number that connections seldom share: it need not be hard to guess, since all that a
    /// collision costs is a correction.
    pub(crate) fn number(&self) -> usize {
        let ip = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => v4.to_bits(),
            IpAddr::V6(v6) => v6.to_bits() as u32,
        };
        let ports = u32::from(self.from.port()) << 16 | u32::from(self.to.port());
        (ports ^ ip(self.to.ip()).rotate_left(7) ^ ip(self.from.ip())).wrapping_mul(0x9E37_79B1) as usize >> 20
    }
}

/// The address that an ARP request or a neighbour solicitation asks for.
pub(crate) fn asked_for(frame: &EthernetFrame<&[u8]>) -> Option<IpAddress> {
    match frame.ethertype() {
        EthernetProtocol::Arp => {
            let arp = ArpPacket::new_checked(frame.payload()).ok()?;
            let target = <[u8; 4]>::try_from(arp.target_protocol_addr()).ok()?;
            (arp.operation() == ArpOperation::Request).then(|| IpAddress::Ipv4(Ipv4Addr::from(target)))
        }
        #[cfg(feature = "ipv6")]
        EthernetProtocol::Ipv6 => {
            let icmp = Icmpv6Packet::new_checked(frame.payload().get(IPV6_HEADER_LEN..)?).ok()?;
            let solicits = Ipv6Packet::new_checked(frame.payload()).ok()?.next_header() == IpProtocol::Icmpv6;
            (solicits && icmp.msg_type() == Icmpv6Message::NeighborSolicit).then(|| IpAddress::Ipv6(icmp.target_addr()))
        }
        _ => None,
    }
}

/// The TCP segment in a frame, with who sent it to whom. What is no segment, or a broken one, is
/// nothing here: smoltcp knows what to do with it.
pub(crate) fn segment(frame: &[u8]) -> Option<(Ends, TcpPacket<&[u8]>)> {
    let frame = frame.get(14..).map(|payload| (EthernetFrame::new_unchecked(frame).ethertype(), payload))?;
    let (from, to, tcp): (IpAddr, IpAddr, &[u8]) = match frame {
        (EthernetProtocol::Ipv4, packet) => {
            let ip = Ipv4Packet::new_checked(packet).ok().filter(|ip| ip.next_header() == IpProtocol::Tcp)?;
            (ip.src_addr().into(), ip.dst_addr().into(), packet.get(usize::from(ip.header_len())..usize::from(ip.total_len()))?)
        }
        #[cfg(feature = "ipv6")]
        (EthernetProtocol::Ipv6, packet) => {
            let ip = Ipv6Packet::new_checked(packet).ok().filter(|ip| ip.next_header() == IpProtocol::Tcp)?;
            (ip.src_addr().into(), ip.dst_addr().into(), packet.get(IPV6_HEADER_LEN..ip.total_len())?)
        }
        _ => return None,
    };
    let tcp = TcpPacket::new_checked(tcp).ok()?;
    Some((Ends { from: SocketAddr::new(from, tcp.src_port()), to: SocketAddr::new(to, tcp.dst_port()) }, tcp))
}

/// Gives the segment in a frame another sequence number. Its checksum stays as right or wrong as it
/// is (RFC 1624): one that a device has looked at, or is to fill in, is neither.
pub(crate) fn set_sequence(frame: &mut [u8], seq: u32) {
    let is_v4 = EthernetFrame::new_unchecked(&*frame).ethertype() == EthernetProtocol::Ipv4;
    let ip = &mut frame[14..];
    let header = if is_v4 { usize::from(Ipv4Packet::new_unchecked(&*ip).header_len()) } else { IPV6_HEADER_LEN };
    let mut tcp = TcpPacket::new_unchecked(&mut ip[header..]);
    let halves = |number: u32| (number >> 16) + (number & 0xFFFF);
    let sum = u32::from(!tcp.checksum()) + halves(!(tcp.seq_number().0 as u32)) + halves(seq);
    tcp.set_seq_number(TcpSeqNumber(seq as i32));
    // Two carries at most.
    tcp.set_checksum(!(halves(halves(sum)) as u16));
}
