//! What the filter follows of connections: how far each has sent, so that their acknowledgements
//! can be put right.
//!
//! - An acknowledgement that goes out carries the sequence number behind the last byte sent (RFC
//!   9293, 3.10.7.4: SND.NXT). smoltcp goes back to the first unacknowledged byte when it
//!   retransmits, and acknowledges with that; the peer finds such a segment outside of its window
//!   and ignores what it acknowledges. Where both sides retransmit at once, neither would ever go on.
//! - An acknowledgement of a peer that has sent past a window which is closed is moved to where the
//!   window ends. Windows of more than 64 KiB are told in units and rounded down, so that their end
//!   moves back by part of a unit as bytes arrive; a peer that had filled the last of it is past the
//!   end. smoltcp ignores what such a segment acknowledges, which RFC 9293, 3.10.7.4 asks to accept,
//!   and no other passes: nothing that we send would ever be acknowledged, and who reads only while
//!   answers are taken would never read again.
//! - An acknowledgement of all but our FIN is let through once for each time that we send. At the
//!   third in a row smoltcp would mean to send the FIN again at once, find no byte to send, and have
//!   no timer any more: the FIN is never repeated.

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
    /// it acknowledges all but our FIN once more since we have sent anything, and put right if it is
    /// past a window that is closed.
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
