//! Between the device and smoltcp: what smoltcp would judge wrongly, or could not send.
//!
//! - A SYN is held until the stack has looked at it. smoltcp gives it to the first socket that
//!   could take it, which for a repeated SYN may be another one than that of its connection, and
//!   resets the peer where none listens at the moment.
//! - A frame of the host to itself is handed back to it; no device would.
//! - A reset is noted, because the socket that it ends does not say why it has ended; one that
//!   answers a challenge of ours is kept back (`proof`).
//! - Acknowledgements are put right (`track`).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use core_reactor::Instant;
use smoltcp::wire::{EthernetFrame, IpAddress, IpCidr};

use crate::frame::{self, Ends};
use crate::proof::Proofs;
use crate::track::{Pass, Tracker};
use crate::{addresses, time};

/// Frames to the host itself that may be under way.
const LOOPED: usize = 16;

/// What becomes of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the sockets.
    Admit,
    /// It is dropped, and its sender tries again.
    Drop,
    /// It is dropped, and its sender is asked to show that it is there.
    Challenge,
}

pub(crate) struct Filter {
    hardware: [u8; 6],
    own: Vec<IpAddress>,
    /// Frames that smoltcp takes before the device's.
    waiting: VecDeque<Stored>,
    /// Room for such frames.
    spare: VecDeque<Stored>,
    /// A SYN that is to be judged.
    held: Option<(Ends, Stored)>,
    /// The host has been asked to connect to itself: from then on what goes out is looked at.
    loops: bool,
    reset: bool,
    /// The time of the last frame.
    now: Instant,
    proofs: Proofs,
    /// Sockets that wanted to send and could not, because nobody has told yet where their neighbour
    /// is.
    unsent: u32,
    tracker: Tracker,
}

/// A frame, in room that is made once.
#[derive(Default)]
pub(crate) struct Stored {
    room: Box<[u8]>,
    len: usize,
    admitted: bool,
}

impl Stored {
    fn new(size: usize) -> Self {
        Self { room: vec![0; size].into(), len: 0, admitted: false }
    }

    /// It is a SYN that has been judged.
    pub(crate) fn is_admitted(&self) -> bool {
        self.admitted
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.len]
    }
}

impl Filter {
    pub(crate) fn new(hardware: [u8; 6], mtu: usize, seed: u64) -> Self {
        let [a, b, c, d, e, f] = hardware;
        Self {
            hardware,
            own: Vec::with_capacity(smoltcp::config::IFACE_MAX_ADDR_COUNT),
            waiting: VecDeque::with_capacity(LOOPED + 2),
            // With a SYN, and what is written.
            spare: (0..LOOPED + 2).map(|_| Stored::new(mtu)).collect(),
            held: None,
            loops: false,
            reset: false,
            now: Instant::ZERO,
            proofs: Proofs::new((seed, u64::from_be_bytes([0, 0, a, b, c, d, e, f]))),
            unsent: 0,
            tracker: Tracker::new(),
        }
    }

    /// From now on the host may send frames to itself.
    pub(crate) fn loop_back(&mut self) {
        self.loops = true;
    }

    pub(crate) fn set_own(&mut self, addresses: &[IpCidr]) {
        self.own.clear();
        self.own.extend(addresses.iter().map(IpCidr::address));
    }

    // ---- SYNs

    /// The SYN that is to be judged.
    pub(crate) fn syn(&self) -> Option<Ends> {
        self.held.as_ref().map(|(syn, _)| *syn)
    }

    /// Who has shown that they are there.
    pub(crate) fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Lets the SYN go on, or drops it.
    pub(crate) fn judge(&mut self, admit: bool) {
        let Some((_, mut frame)) = self.held.take() else { return };
        frame.admitted = admit;
        if admit { self.waiting.push_front(frame) } else { self.spare.push_back(frame) }
    }

    /// Writes a challenge to the sender of the SYN, to be sent in place of an answer; none to those
    /// whom no device would find. Tells its length.
    pub(crate) fn challenge(&mut self, to: &mut [u8; frame::MOST]) -> usize {
        let Some((syn, stored)) = &self.held else { return 0 };
        let Ok(asks) = EthernetFrame::new_checked(stored.bytes()) else { return 0 };
        let is_own = addresses::ip(syn.from.ip()).is_none_or(|from| self.own.contains(&from));
        if is_own || asks.dst_addr().0 != self.hardware || !asks.src_addr().is_unicast() {
            return 0;
        }
        let number = self.proofs.ask(*syn, self.now);
        frame::acknowledgement((self.hardware, asks.src_addr().0), (syn.to, syn.from), number, to)
    }

    /// Whether a reset has passed since the last time.
    pub(crate) fn take_reset(&mut self) -> bool {
        mem::take(&mut self.reset)
    }

    // ---- Frames of the host to itself, and those that are put back

    /// Whether there is a frame that is not the device's.
    pub(crate) fn has_frames(&self) -> bool {
        !self.waiting.is_empty() || self.held.is_some()
    }

    pub(crate) fn next_frame(&mut self) -> Option<Stored> {
        self.waiting.pop_front()
    }

    /// Takes back a frame, for smoltcp if it loops back.
    pub(crate) fn put_back(&mut self, mut frame: Stored, loops_back: bool) {
        frame.admitted = false;
        if loops_back { &mut self.waiting } else { &mut self.spare }.push_back(frame);
    }

    /// Room for a frame of this length; `None` if there is none.
    fn room(&mut self, len: usize) -> Option<Stored> {
        self.spare.front().filter(|spare| len <= spare.room.len())?;
        let mut frame = self.spare.pop_front()?;
        frame.len = len;
        Some(frame)
    }

    fn store(&mut self, frame: &[u8]) -> Option<Stored> {
        let mut stored = self.room(frame.len())?;
        stored.bytes_mut().copy_from_slice(frame);
        Some(stored)
    }

    /// Room for a frame whose way is not known yet; `None` where all go to the device.
    pub(crate) fn scratch(&mut self, len: usize) -> Option<Stored> {
        if self.loops { self.room(len) } else { None }
    }

    /// Whether a frame is for the host itself.
    pub(crate) fn is_own(&self, frame: &[u8]) -> bool {
        let Ok(frame) = EthernetFrame::new_checked(frame) else { return false };
        frame.dst_addr().0 == self.hardware || frame::asked_for(&frame).is_some_and(|who| self.own.contains(&who))
    }

    /// Takes a frame if it is for the host itself; whether it is.
    pub(crate) fn takes(&mut self, frame: &[u8]) -> bool {
        let is_own = self.loops && self.is_own(frame);
        if is_own && let Some(stored) = self.store(frame) {
            self.waiting.push_back(stored);
        }
        is_own
    }

    // ---- What passes

    /// smoltcp asks for a frame. Whether there is one that is not the device's.
    pub(crate) fn receive(&mut self, at: smoltcp::time::Instant) -> bool {
        self.now = time::from_smol(at);
        !self.waiting.is_empty()
    }

    /// A socket has something to send: whether there is room for it, whatever its way.
    pub(crate) fn begin_segment(&mut self) -> bool {
        // A SYN and an answer have room beside it.
        let has_room = self.spare.len() > 2;
        self.unsent += u32::from(has_room);
        has_room
    }

    /// It was sent, so its neighbour is known.
    pub(crate) fn end_segment(&mut self) {
        self.unsent -= 1;
    }

    /// Whether sockets have kept their segments since the last time, because their neighbour is not
    /// known.
    pub(crate) fn take_unsent(&mut self) -> bool {
        mem::take(&mut self.unsent) > 0
    }

    /// Looks at a frame before smoltcp does.
    pub(crate) fn incoming(&mut self, frame: &[u8]) -> Pass {
        let Some((ends, tcp)) = frame::segment(frame) else { return Pass::AsItIs };
        if tcp.rst() && self.proofs.answers(ends, tcp.seq_number().0 as u32, self.now) {
            return Pass::Nothing;
        }
        self.reset |= tcp.rst();
        // smoltcp passes over a SYN to somebody else.
        let opens = tcp.syn() && !tcp.ack() && !tcp.rst();
        if !opens || addresses::ip(ends.to.ip()).is_none_or(|to| !self.own.contains(&to)) {
            return self.tracker.incoming(ends, &tcp);
        }
        // No other is held: frames are not taken then. One too long for a frame of this device has
        // no business here.
        self.held = self.store(frame).map(|stored| (ends, stored));
        Pass::Nothing
    }

    /// Looks at a frame that goes out.
    pub(crate) fn outgoing(&mut self, frame: &mut [u8]) {
        self.tracker.outgoing(frame);
    }
}
