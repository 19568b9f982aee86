//! Between the device and smoltcp: what smoltcp would judge wrongly, or could not send.
//!
//! - A SYN is held until the stack has looked at it. smoltcp gives it to the first socket that could take it, which for a repeated SYN may be another one than
//!   that of its connection, and resets the peer where none listens at the moment.
//! - A frame of the host to itself is handed back to it; no device would.
//! - An acknowledgement that goes out carries the sequence number behind the last byte sent (RFC 9293, 3.10.7.4: SND.NXT). smoltcp goes back to the first
//!   unacknowledged byte when it retransmits, and acknowledges with that; the peer finds such a segment outside of its window and ignores what it
//!   acknowledges. Where both sides retransmit at once, neither would ever go on.
//! - An acknowledgement of a peer that has sent past a window which is closed is moved to where the window ends. Windows of more than 64 KiB are told in
//!   units and rounded down, so that their end moves back by part of a unit as bytes arrive; a peer that had filled the last of it is past the end. smoltcp
//!   ignores what such a segment acknowledges, which RFC 9293, 3.10.7.4 asks to accept, and no other passes: nothing that we send would ever be acknowledged,
//!   and who reads only while answers are taken would never read again.
//! - An acknowledgement of all but our FIN is let through once for each time that we send. At the third in a row smoltcp would mean to send the FIN again at once, find
//!   no byte to send, and have no timer any more: the FIN is never repeated.
//! - A reset is noted, because the socket that it ends does not say why it has ended; one that answers a question of ours is kept back (`proof`).

use alloc::boxed::Box;
use alloc::vec;
use core::cell::RefCell;

use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetFrame, IpAddress, IpCidr, TcpPacket};

use crate::convert;
use crate::frame::{self, Ends};
use crate::proof::Proofs;

/// Frames to the host itself that may be under way.
const LOOPED: usize = 16;

/// Connections whose sequence numbers are followed: a power of two.
const CONNECTIONS: usize = 256;

pub(crate) struct Gate {
    hardware: [u8; 6],
    own: [Option<IpAddress>; smoltcp::config::IFACE_MAX_ADDR_COUNT],
    /// Frames that smoltcp takes before the device's: a ring.
    frames: Box<[Frame]>,
    first: usize,
    waiting: usize,
    held: Held,
    /// The host has been asked to connect to itself: from then on what goes out is looked at.
    loops: bool,
    /// Where a frame is written whose way is not known yet.
    scratch: Frame,
    reset: bool,
    /// The time of the last frame.
    now: core_reactor::Instant,
    proofs: Proofs,
    /// Sockets that wanted to send and could not, because nobody has told yet where their neighbour is.
    unsent: u32,
    /// How far connections have sent, found by a number made of their ends. Two with one number take turns in being helped.
    highest: Box<[Option<Sent>]>,
}

/// A frame of the host to itself, or a SYN.
#[derive(Default)]
struct Frame {
    bytes: Box<[u8]>,
    len: usize,
}

impl Frame {
    fn new(size: usize) -> Self {
        Self { bytes: vec![0; size].into(), len: 0 }
    }

    fn fill(&mut self, from: &[u8]) -> bool {
        let Some(room) = self.bytes.get_mut(..from.len()) else { return false };
        room.copy_from_slice(from);
        self.len = from.len();
        true
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

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

/// Past the end of its window a peer has sent at most what the largest unit rounds off, 16 KiB less one (RFC 7323, 2.3), and a FIN.
const MOST_PAST: u32 = 1 << 14;

/// The longest frame with an acknowledgement and no bytes.
const MOST_BARE: usize = 14 + 60 + 60;

/// What smoltcp is to see of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Nothing,
    AsItIs,
    /// With this sequence number in place of its own.
    As(u32),
}

/// The SYN that was read last.
struct Held {
    frame: Frame,
    syn: Option<Ends>,
    admitted: bool,
}

impl Gate {
    pub(crate) fn new(hardware: [u8; 6], mtu: usize, seed: u64) -> Self {
        let [a, b, c, d, e, f] = hardware;
        Self {
            hardware,
            own: [None; smoltcp::config::IFACE_MAX_ADDR_COUNT],
            frames: (0..LOOPED).map(|_| Frame::new(mtu)).collect(),
            first: 0,
            waiting: 0,
            held: Held { frame: Frame::new(mtu), syn: None, admitted: false },
            loops: false,
            scratch: Frame::new(mtu),
            reset: false,
            now: core_reactor::Instant::ZERO,
            proofs: Proofs::new((seed, u64::from_be_bytes([0, 0, a, b, c, d, e, f]))),
            unsent: 0,
            highest: vec![None; CONNECTIONS].into(),
        }
    }

    /// From now on the host may send frames to itself.
    pub(crate) fn loop_back(&mut self) {
        self.loops = true;
    }

    pub(crate) fn set_own(&mut self, addresses: &[IpCidr]) {
        for (at, own) in self.own.iter_mut().enumerate() {
            *own = addresses.get(at).map(|cidr| cidr.address());
        }
    }

    /// The SYN that is held, to be judged.
    pub(crate) fn syn(&self) -> Option<Ends> {
        self.held.syn.filter(|_| !self.held.admitted)
    }

    /// Who has shown that they are there.
    pub(crate) fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Lets the SYN go on, or drops it.
    pub(crate) fn judge(&mut self, admit: bool) {
        self.held.admitted = admit;
        if !admit {
            self.held.syn = None;
        }
    }

    /// A question to the sender of the SYN that is held, to be sent in place of an answer; none to those whom no device would find.
    pub(crate) fn question(&mut self, to: &mut [u8; frame::MOST]) -> usize {
        let Some((syn, held)) = self.held.syn.zip(EthernetFrame::new_checked(self.held.frame.bytes()).ok()) else { return 0 };
        let is_own = convert::ip(syn.from.ip()).is_none_or(|from| self.own.contains(&Some(from)));
        if is_own || held.dst_addr().0 != self.hardware || !held.src_addr().is_unicast() {
            return 0;
        }
        let number = self.proofs.ask(syn, self.now);
        frame::acknowledgement((self.hardware, held.src_addr().0), (syn.to, syn.from), number, to)
    }

    /// Whether sockets have kept their segments since the last time, because their neighbour is not known.
    pub(crate) fn take_unsent(&mut self) -> bool {
        core::mem::take(&mut self.unsent) > 0
    }

    /// Whether a reset has passed since the last time.
    pub(crate) fn take_reset(&mut self) -> bool {
        core::mem::take(&mut self.reset)
    }

    /// Whether there is a frame that is not the device's.
    pub(crate) fn has_frames(&self) -> bool {
        self.waiting > 0 || self.held.syn.is_some()
    }

    fn has_room(&self) -> bool {
        self.waiting < self.frames.len()
    }

    fn next_frame(&self) -> Option<Next> {
        if self.held.syn.is_some() { Some(Next::Admitted) } else { (self.waiting > 0).then_some(Next::Looped) }
    }

    fn take(&mut self, next: Next) -> Frame {
        match next {
            Next::Admitted => {
                self.held.syn = None;
                core::mem::take(&mut self.held.frame)
            }
            Next::Looped => core::mem::take(&mut self.frames[self.first]),
            Next::Written => core::mem::take(&mut self.scratch),
        }
    }

    fn put_back(&mut self, next: Next, frame: Frame) {
        match next {
            Next::Admitted => self.held.frame = frame,
            Next::Looped => {
                self.frames[self.first] = frame;
                self.first = (self.first + 1) % self.frames.len();
                self.waiting -= 1;
            }
            Next::Written => self.scratch = frame,
        }
    }

    /// Looks at a frame before smoltcp does.
    fn pass(&mut self, frame: &[u8]) -> Pass {
        let Some((syn, tcp)) = frame::segment(frame) else { return Pass::AsItIs };
        if tcp.rst() && self.proofs.answers(syn, tcp.seq_number().0 as u32, self.now) {
            return Pass::Nothing;
        }
        self.reset |= tcp.rst();
        if !tcp.syn() || tcp.ack() || tcp.rst() {
            return self.pass_bare(syn, &tcp);
        }
        // One too long for a frame of this device has no business here.
        if self.held.frame.fill(frame) {
            self.held.syn = Some(syn);
            self.held.admitted = false;
        }
        Pass::Nothing
    }

    /// Whether a frame that goes out is for the host itself.
    fn is_own(&self, frame: &[u8]) -> bool {
        let Ok(frame) = EthernetFrame::new_checked(frame) else { return false };
        frame.dst_addr().0 == self.hardware || frame::asked_for(&frame).is_some_and(|who| self.own.contains(&Some(who)))
    }

    /// Looks at a frame that goes out: follows what its connection has sent and told, and corrects an acknowledgement.
    fn see_off(&mut self, frame: &mut [u8]) {
        let Some((ends, tcp)) = frame::segment(frame) else { return };
        let (seq, len, plain) = (tcp.seq_number().0 as u32, tcp.segment_len() as u32, !tcp.syn() && !tcp.fin() && !tcp.rst());
        let (next, opens) = (seq.wrapping_add(len), tcp.syn());
        let fin = tcp.fin();
        let stop = (tcp.ack() && tcp.window_len() == 0).then(|| tcp.ack_number().0 as u32);
        let entry = &mut self.highest[ends.number() % CONNECTIONS];
        match entry {
            Some(sent) if sent.ends == ends && !opens => {
                sent.fin |= fin;
                sent.all_but_fin &= len == 0;
                sent.stop = stop;
                let behind = (sent.next.wrapping_sub(next) as i32) > 0;
                if !behind {
                    sent.next = next;
                } else if plain && len == 0 {
                    let highest = sent.next;
                    frame::set_sequence(frame, highest);
                }
            }
            _ => *entry = Some(Sent { ends, next, fin, all_but_fin: false, stop }),
        }
    }

    /// Looks at an acknowledgement without anything else: it is passed over if it acknowledges all but our FIN once more since we have sent anything, and put
    /// right if it is past a window that is closed.
    fn pass_bare(&mut self, Ends { from, to }: Ends, tcp: &TcpPacket<&[u8]>) -> Pass {
        if tcp.segment_len() > 0 || !tcp.ack() || tcp.rst() {
            return Pass::AsItIs;
        }
        let ends = Ends { from: to, to: from };
        let Some(sent) = self.highest[ends.number() % CONNECTIONS].as_mut().filter(|sent| sent.ends == ends) else { return Pass::AsItIs };
        let all_but_fin = sent.fin && sent.next.wrapping_sub(1) == tcp.ack_number().0 as u32;
        if all_but_fin && core::mem::replace(&mut sent.all_but_fin, true) {
            return Pass::Nothing;
        }
        let is_past = |end: &u32| (1..=MOST_PAST).contains(&(tcp.seq_number().0 as u32).wrapping_sub(*end));
        sent.stop.filter(is_past).map_or(Pass::AsItIs, Pass::As)
    }

    fn keep(&mut self, frame: &[u8]) {
        let at = (self.first + self.waiting) % self.frames.len();
        if self.waiting < self.frames.len() && self.frames[at].fill(frame) {
            self.waiting += 1;
        }
    }
}

/// A device behind its gate, as smoltcp sees it.
pub(crate) struct Gated<'a, D> {
    device: &'a mut D,
    gate: &'a RefCell<Gate>,
}

impl<'a, D> Gated<'a, D> {
    pub(crate) fn new(device: &'a mut D, gate: &'a RefCell<Gate>) -> Self {
        Self { device, gate }
    }
}

impl<D: Device> Device for Gated<'_, D> {
    type RxToken<'b>
        = GatedRx<'b, D::RxToken<'b>>
    where
        Self: 'b;
    type TxToken<'b>
        = GatedTx<'b, D::TxToken<'b>>
    where
        Self: 'b;

    fn receive(&mut self, at: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let gate = self.gate;
        gate.borrow_mut().now = convert::from_instant(at);
        let (from, token) = match gate.borrow_mut().next_frame() {
            Some(next) => (From::Gate(next), self.device.transmit(at)?),
            None => {
                let (rx, tx) = self.device.receive(at)?;
                (From::Device(rx), tx)
            }
        };
        Some((GatedRx { from, gate }, GatedTx { token, gate, of_socket: false }))
    }

    fn transmit(&mut self, at: Instant) -> Option<Self::TxToken<'_>> {
        let gate = self.gate;
        let room = gate.borrow().has_room();
        let token = self.device.transmit(at).filter(|_| room)?;
        gate.borrow_mut().unsent += 1;
        Some(GatedTx { token, gate, of_socket: true })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

/// Where a frame comes from.
enum From<R> {
    Device(R),
    Gate(Next),
}

/// One of the gate's frames.
#[derive(Clone, Copy)]
enum Next {
    Admitted,
    Looped,
    /// The one that is written to find out where it goes.
    Written,
}

/// A frame that is out of the gate while others need the gate too. It goes back also when a device unwinds.
struct Out<'a> {
    gate: &'a RefCell<Gate>,
    which: Next,
    frame: Frame,
}

impl<'a> Out<'a> {
    fn new(gate: &'a RefCell<Gate>, which: Next) -> Self {
        let frame = gate.borrow_mut().take(which);
        Self { gate, which, frame }
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.gate.borrow_mut().put_back(self.which, core::mem::take(&mut self.frame));
    }
}

pub(crate) struct GatedRx<'a, R> {
    from: From<R>,
    gate: &'a RefCell<Gate>,
}

impl<R: RxToken> RxToken for GatedRx<'_, R> {
    /// smoltcp passes over a frame without bytes, as which it sees one that is held.
    fn consume<T, F: FnOnce(&[u8]) -> T>(self, f: F) -> T {
        let gate = self.gate;
        match self.from {
            From::Device(token) => token.consume(|frame| {
                let pass = gate.borrow_mut().pass(frame);
                show(frame, pass, f)
            }),
            From::Gate(next) => {
                // The answer, which is given inside `f`, needs the gate too.
                let out = Out::new(gate, next);
                let pass = if matches!(next, Next::Admitted) { Pass::AsItIs } else { gate.borrow_mut().pass(out.frame.bytes()) };
                show(out.frame.bytes(), pass, f)
            }
        }
    }

    fn meta(&self) -> PacketMeta {
        match &self.from {
            From::Device(token) => token.meta(),
            From::Gate(_) => PacketMeta::default(),
        }
    }
}

/// Shows smoltcp what it is to see of a frame. `f` is most of smoltcp, so it is called at one place.
#[inline]
fn show<T>(frame: &[u8], pass: Pass, f: impl FnOnce(&[u8]) -> T) -> T {
    let mut copy = None;
    f(match pass {
        Pass::Nothing => &[],
        Pass::AsItIs => frame,
        Pass::As(seq) => amended(frame, seq, &mut copy),
    })
}

/// A bare acknowledgement with another sequence number.
#[cold]
fn amended<'a>(frame: &[u8], seq: u32, copy: &'a mut Option<[u8; MOST_BARE]>) -> &'a [u8] {
    // What is more than the longest is behind the end of the packet.
    let copy = &mut copy.insert([0; MOST_BARE])[..frame.len().min(MOST_BARE)];
    copy.copy_from_slice(&frame[..copy.len()]);
    frame::set_sequence(copy, seq);
    copy
}

pub(crate) struct GatedTx<'a, T> {
    token: T,
    gate: &'a RefCell<Gate>,
    /// A socket has asked for it, which it does only with something to send.
    of_socket: bool,
}

impl<T: TxToken> TxToken for GatedTx<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.gate.borrow_mut().unsent -= u32::from(self.of_socket);
        if !self.gate.borrow().loops || len > self.gate.borrow().scratch.bytes.len() {
            let gate = self.gate;
            return self.token.consume(len, |frame| {
                let done = f(frame);
                gate.borrow_mut().see_off(frame);
                done
            });
        }
        let mut out = Out::new(self.gate, Next::Written);
        out.frame.len = len;
        let done = f(&mut out.frame.bytes[..len]);
        self.gate.borrow_mut().see_off(&mut out.frame.bytes[..len]);
        if self.gate.borrow().is_own(out.frame.bytes()) {
            self.gate.borrow_mut().keep(out.frame.bytes());
        } else {
            self.token.consume(len, |to| to.copy_from_slice(out.frame.bytes()));
        }
        done
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.token.set_meta(meta);
    }
}
