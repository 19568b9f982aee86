//! What the filter follows of connections: how far each has sent, so that their acknowledgements
//! can be put right.
//!
//! - An acknowledgement that goes out carries the sequence number behind the last byte sent (RFC
//!   9293, 3.10.7.4: SND.NXT). smoltcp goes back to the first unacknowledged byte when it
//!   retransmits, and acknowledges with that; the peer finds such a segment outside of its window
//!   and ignores what it acknowledges. Where both sides retransmit at once, neither would ever go
//!   on.
//! - An acknowledgement of a peer that has sent past a window which is closed is moved to where the
//!   window ends. Windows of more than 64 KiB are told in units and rounded down, so that their end
//!   moves back by part of a unit as bytes arrive; a peer that had filled the last of it is past
//!   the end. smoltcp ignores what such a segment acknowledges, which RFC 9293, 3.10.7.4 asks to
//!   accept, and no other passes: nothing that we send would ever be acknowledged, and who reads
//!   only while answers are taken would never read again.
//! - An acknowledgement of all but our FIN is let through once for each time that we send. At the
//!   third in a row smoltcp would mean to send the FIN again at once, find no byte to send, and
//!   have no timer any more: the FIN is never repeated.

use alloc::boxed::Box;
use alloc::vec;
use core::mem;

use smoltcp::wire::TcpPacket;

use crate::frame::{self, Ends};

/// Connections that are followed: a power of two.
const CONNECTIONS: usize = 256;

/// Past the end of its window a peer has sent at most what the largest unit rounds off, 16 KiB less
/// one (RFC 7323, 2.3), and a FIN.
const MOST_PAST: u32 = 1 << 14;

/// Connections, found by a number made of their ends. Two with one number take turns in being
/// helped.
pub(crate) struct Tracker(Box<[Option<Sent>]>);

/// How far a connection has sent.
#[derive(Clone, Copy)]
struct Sent {
    ends: Ends,
    /// The sequence number behind the last byte, or behind the FIN.
    next: u32,
    fin: bool,
    /// All but the FIN has been acknowledged since the last segment went out.
    all_but_fin: bool,
    /// The sequence number at which the peer has been told to stop, while its window is closed.
    stop: Option<u32>,
}

/// What smoltcp is to see of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    Nothing,
    AsItIs,
    /// With this sequence number in place of its own.
    As(u32),
}

impl Tracker {
    pub(crate) fn new() -> Self {
        Self(vec![None; CONNECTIONS].into())
    }

    fn entry(&mut self, ends: Ends) -> &mut Option<Sent> {
        &mut self.0[ends.number() % CONNECTIONS]
    }

    /// Looks at a frame that goes out: follows what its connection has sent and told, and corrects
    /// an acknowledgement.
    pub(crate) fn outgoing(&mut self, frame: &mut [u8]) {
        let Some((ends, tcp)) = frame::segment(frame) else { return };
        let (seq, len, fin, opens) = (tcp.seq_number().0 as u32, tcp.segment_len() as u32, tcp.fin(), tcp.syn());
        let is_bare = len == 0 && !tcp.rst();
        let next = seq.wrapping_add(len);
        let stop = (tcp.ack() && tcp.window_len() == 0).then(|| tcp.ack_number().0 as u32);
        match self.entry(ends) {
            Some(sent) if sent.ends == ends && !opens => {
                sent.fin |= fin;
                sent.all_but_fin &= len == 0;
                sent.stop = stop;
                if (sent.next.wrapping_sub(next) as i32) <= 0 {
                    sent.next = next;
                } else if is_bare {
                    frame::set_sequence(frame, sent.next);
                }
            }
            entry => *entry = Some(Sent { ends, next, fin, all_but_fin: false, stop }),
        }
    }

    /// Looks at a segment that comes in. An acknowledgement without anything else is passed over if
    /// it acknowledges all but our FIN once more since we have sent anything, and put right if it
    /// is past a window that is closed.
    pub(crate) fn incoming(&mut self, Ends { from, to }: Ends, tcp: &TcpPacket<&[u8]>) -> Pass {
        let ends = Ends { from: to, to: from };
        if tcp.segment_len() > 0 || !tcp.ack() || tcp.rst() {
            return Pass::AsItIs;
        }
        let Some(sent) = self.entry(ends).as_mut().filter(|sent| sent.ends == ends) else { return Pass::AsItIs };
        let all_but_fin = sent.fin && sent.next.wrapping_sub(1) == tcp.ack_number().0 as u32;
        if all_but_fin && mem::replace(&mut sent.all_but_fin, true) {
            return Pass::Nothing;
        }
        let is_past = |end: &u32| (1..=MOST_PAST).contains(&(tcp.seq_number().0 as u32).wrapping_sub(*end));
        sent.stop.filter(is_past).map_or(Pass::AsItIs, Pass::As)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, IpRepr, Ipv4Address, TcpControl, TcpRepr, TcpSeqNumber};

    use super::*;

    const OWN: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
    const PEER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

    /// A segment with so many bytes, from us or from our peer.
    fn segment(of_peer: bool, control: TcpControl, (seq, bytes): (u32, usize), ack: u32, window_len: u16) -> Vec<u8> {
        let payload = vec![7; bytes];
        let (src, dst) = if of_peer { (PEER, OWN) } else { (OWN, PEER) };
        let tcp = TcpRepr {
            src_port: if of_peer { 7 } else { 9 },
            dst_port: if of_peer { 9 } else { 7 },
            control,
            seq_number: TcpSeqNumber(seq as i32),
            ack_number: Some(TcpSeqNumber(ack as i32)),
            window_len,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &payload,
        };
        let ip = IpRepr::new(src.into(), dst.into(), IpProtocol::Tcp, tcp.buffer_len(), 64);
        let mut bytes = vec![0; 14 + ip.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        frame.set_ethertype(EthernetProtocol::Ipv4);
        let sums = ChecksumCapabilities::default();
        ip.emit(frame.payload_mut(), &sums);
        tcp.emit(&mut TcpPacket::new_unchecked(&mut frame.payload_mut()[ip.header_len()..]), &src.into(), &dst.into(), &sums);
        bytes
    }

    /// Its sequence number, if its checksum is right.
    fn number(frame: &[u8]) -> Option<u32> {
        let (_, tcp) = frame::segment(frame)?;
        tcp.verify_checksum(&OWN.into(), &PEER.into()).then(|| tcp.seq_number().0 as u32)
    }

    fn sends(tracker: &mut Tracker, control: TcpControl, seq: (u32, usize), ack: u32, window: u16) -> Option<u32> {
        let mut frame = segment(false, control, seq, ack, window);
        tracker.outgoing(&mut frame);
        number(&frame)
    }

    fn hears(tracker: &mut Tracker, seq: (u32, usize), ack: u32) -> Pass {
        let frame = segment(true, TcpControl::None, seq, ack, 1000);
        let (ends, tcp) = frame::segment(&frame).expect("it is one");
        tracker.incoming(ends, &tcp)
    }

    #[test]
    fn s147_an_acknowledgement_after_a_retransmission_has_the_highest_number() {
        let (mut tracker, none) = (Tracker::new(), TcpControl::None);
        assert_eq!(sends(&mut tracker, TcpControl::Syn, (u32::MAX - 20, 0), 1, 1000), Some(u32::MAX - 20));
        assert_eq!(sends(&mut tracker, none, (u32::MAX - 19, 50), 1, 1000), Some(u32::MAX - 19));
        assert_eq!(sends(&mut tracker, none, (u32::MAX - 19, 20), 1, 1000), Some(u32::MAX - 19), "bytes stay where they are");
        assert_eq!(sends(&mut tracker, none, (u32::MAX - 19, 0), 90, 1000), Some(30));
        assert_eq!(sends(&mut tracker, none, (30, 0), 91, 1000), Some(30));
        // A new connection of the same ends begins anew.
        assert_eq!(sends(&mut tracker, TcpControl::Syn, (5, 0), 1, 1000), Some(5));
        assert_eq!(sends(&mut tracker, none, (6, 0), 1, 1000), Some(6));
    }

    #[test]
    fn s147_all_but_the_fin_is_acknowledged_once_for_each_time_that_we_send() {
        let mut tracker = Tracker::new();
        assert!(sends(&mut tracker, TcpControl::Fin, (100, 10), 1, 1000).is_some());
        for _ in 0..3 {
            assert!(hears(&mut tracker, (1, 0), 109) == Pass::AsItIs, "of less");
            assert!(hears(&mut tracker, (1, 0), 110) == Pass::AsItIs);
            assert!(hears(&mut tracker, (1, 0), 110) == Pass::Nothing);
            assert!(hears(&mut tracker, (1, 4), 110) == Pass::AsItIs, "it brings bytes");
            assert!(hears(&mut tracker, (1, 0), 111) == Pass::AsItIs, "of the FIN");
            assert!(sends(&mut tracker, TcpControl::Fin, (110, 0), 1, 1000).is_some());
        }
    }

    #[test]
    fn s147_who_is_past_a_closed_window_is_heard() {
        let mut tracker = Tracker::new();
        assert!(sends(&mut tracker, TcpControl::None, (100, 10), 5000, 0).is_some());
        assert!(hears(&mut tracker, (5000, 0), 110) == Pass::AsItIs, "where the window ends");
        for past in [1, MOST_PAST] {
            assert!(hears(&mut tracker, (5000 + past, 0), 110) == Pass::As(5000));
        }
        assert!(hears(&mut tracker, (5001 + MOST_PAST, 0), 110) == Pass::AsItIs, "further than any rounding");
        assert!(hears(&mut tracker, (5001, 1), 110) == Pass::AsItIs, "it brings bytes");
        assert!(sends(&mut tracker, TcpControl::None, (110, 0), 5000, 1).is_some());
        assert!(hears(&mut tracker, (5001, 0), 110) == Pass::AsItIs, "the window is open");
    }
}
