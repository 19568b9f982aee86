//! A system in a few hundred bytes: connections whose other side is the test, and a backend that
//! answers with everything that is legal.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use core_reactor::net::{NetError, Placement, SockId, SockOptions, Socket};
use core_reactor::sim::SimPlatform;
use core_reactor::{Instant, Platform, Refused};
use net_group::{
    Accept, Backend, Bufs, Connecting, Happened, Kind, Opened, Outgoing, PerSlot, Ready, Recv, Release, Released, Sending, Slot,
};
use pool::{Buf, BufGroup};

use crate::choose::Chooser;

/// Any bit but those of a plain read or write.
const SPECIAL: u32 = 1 << 13;

/// Everything that is not the group's.
pub(crate) struct World {
    pub(crate) choose: Chooser,
    pub(crate) wires: Vec<Wire>,
    pub(crate) descriptors: bool,
    pub(crate) clock: Arc<SimPlatform>,
    /// The backend can have the core woken, and when it is to be.
    pub(crate) has_timer: bool,
    pub(crate) timer: Option<Instant>,
    /// How bytes are told of: 0 as they are asked for, 1 by themselves, 2 now so and now so.
    pub(crate) pushes: usize,
    /// So many more connect, each when all that were before are taken.
    pub(crate) to_come: usize,
    /// So many connections are gone before they are accepted.
    pub(crate) gone: usize,
    /// The system gives nothing back, whatever is done.
    pub(crate) keeps: bool,
    /// How often it was told that there are no descriptors.
    pub(crate) told_out: usize,
    /// Buffers are low.
    pub(crate) low: bool,
    /// Addresses of bytes that the system has where they lie.
    pub(crate) lent: Vec<usize>,
}

pub(crate) type Shared = Arc<Mutex<World>>;

/// The world, also after a panic, which would else be a second one in every destructor.
pub(crate) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection or a listener.
pub(crate) struct Wire {
    pub(crate) kind: WireKind,
    /// It was begun from this side.
    pub(crate) connects: bool,
    /// The engine wants to read of it.
    pub(crate) reading: bool,
    /// What it was called last.
    number: i32,
    /// How often it was told that bytes were handed out.
    pub(crate) acknowledged: usize,
    /// All that the peer has sent, and what of it nobody has read.
    pub(crate) sent: Vec<u8>,
    pub(crate) arrived: VecDeque<u8>,
    pub(crate) peer_fin: bool,
    pub(crate) reset: bool,
    /// All that the system has taken of this side, and how much more it takes.
    pub(crate) taken: Vec<u8>,
    pub(crate) window: usize,
    pub(crate) fin: bool,
    /// Bits that are to be told.
    pub(crate) news: u32,
    /// `Blocked` was the answer, and `WRITE` was not told since.
    pub(crate) blocked: bool,
    /// A send is pending, with these bytes, which the system has already or has not.
    pub(crate) pending: Option<Pending>,
    /// The end was told by `recv`.
    pub(crate) end_told: bool,
    pub(crate) send_failed: bool,
    /// Sockets of it that there are.
    pub(crate) holders: usize,
    pub(crate) aborted: bool,
}

pub(crate) struct Pending {
    bytes: Vec<u8>,
    addresses: Vec<usize>,
    is_taken: bool,
}

pub(crate) enum WireKind {
    Listener {
        waiting: VecDeque<usize>,
    },
    /// To be connected: `None` while nobody has answered.
    Connect {
        begun: bool,
        answer: Option<bool>,
    },
    Stream,
}

impl World {
    pub(crate) fn new(choose: Chooser) -> Shared {
        Arc::new(Mutex::new(Self {
            choose,
            wires: Vec::new(),
            descriptors: true,
            clock: SimPlatform::new(1),
            has_timer: true,
            timer: None,
            pushes: 0,
            to_come: 0,
            gone: 0,
            keeps: false,
            told_out: 0,
            low: false,
            lent: Vec::new(),
        }))
    }

    /// A new wire, and how it is called.
    pub(crate) fn add(&mut self, kind: WireKind, window: usize) -> usize {
        self.wires.push(Wire {
            connects: matches!(kind, WireKind::Connect { .. }),
            kind,
            reading: true,
            number: 0,
            acknowledged: 0,
            sent: Vec::new(),
            arrived: VecDeque::new(),
            peer_fin: false,
            reset: false,
            taken: Vec::new(),
            window,
            fin: false,
            news: 0,
            blocked: false,
            pending: None,
            end_told: false,
            send_failed: false,
            holders: 0,
            aborted: false,
        });
        self.wires.len() - 1
    }

    pub(crate) fn peer_sends(&mut self, at: usize, n: usize) {
        let wire = &mut self.wires[at];
        if wire.peer_fin || wire.reset || wire.send_failed || !wire.is_connected() {
            return;
        }
        for _ in 0..n {
            // A byte that tells where in the stream it is.
            let byte = (wire.sent.len() * 7 + at * 31) as u8;
            wire.sent.push(byte);
            wire.arrived.push_back(byte);
        }
        wire.news |= Ready::READ.0;
    }

    pub(crate) fn peer_ends(&mut self, at: usize) {
        let wire = &mut self.wires[at];
        if wire.is_connected() && !wire.reset && !wire.send_failed {
            wire.peer_fin = true;
            wire.news |= Ready::READ.0 | SPECIAL;
        }
    }

    pub(crate) fn peer_resets(&mut self, at: usize) {
        let writable = [Ready::WRITE.0, 0][self.choose.pick(2)];
        let wire = &mut self.wires[at];
        if wire.is_connected() {
            wire.reset = true;
            wire.news |= Ready::READ.0 | writable | Ready::OVER.0;
        }
    }

    /// The system tells that a connection is over, which it is not.
    pub(crate) fn seems_over(&mut self, at: usize) {
        self.wires[at].news |= Ready::READ.0 | Ready::OVER.0;
    }

    pub(crate) fn peer_takes(&mut self, at: usize, n: usize) {
        let wire = &mut self.wires[at];
        wire.window += n;
        if wire.blocked {
            wire.news |= Ready::WRITE.0;
        }
    }

    /// Has the core woken in so many milliseconds, unless it is to be before, if that can be.
    fn wake_in(&mut self, millis: u32) -> bool {
        let at = self.clock.now() + Duration::from_millis(millis.into());
        self.timer = self.has_timer.then_some(self.timer.map_or(at, |before| before.min(at)));
        self.has_timer
    }

    fn is_time(&self) -> bool {
        self.timer.is_some_and(|at| at <= self.clock.now())
    }

    /// Whether nobody has a socket any more, nor the system anything of one, and the engine has
    /// waited for it.
    pub(crate) fn all_is_back(&self) -> bool {
        self.lent.is_empty() && self.wires.iter().all(|wire| wire.holders == 0)
    }

    pub(crate) fn peer_answers(&mut self, at: usize, yes: bool) {
        if let Wire { kind: WireKind::Connect { begun: true, answer: answer @ None }, news, .. } = &mut self.wires[at] {
            *answer = Some(yes);
            *news |= Ready::WRITE.0;
        }
    }

    pub(crate) fn peer_connects(&mut self, listener: usize) {
        let new = self.add(WireKind::Stream, 3);
        if let Wire { kind: WireKind::Listener { waiting }, news, .. } = &mut self.wires[listener] {
            waiting.push_back(new);
            *news |= Ready::READ.0;
        }
    }

    /// What becomes of bytes that were lent: how many are the system's.
    fn give_back(&mut self, at: usize, pending: Pending) -> Option<usize> {
        self.lent.retain(|address| !pending.addresses.contains(address));
        if pending.is_taken {
            return Some(pending.bytes.len());
        }
        if self.wires[at].reset {
            return None;
        }
        let least = usize::from(self.choose.is_calm()) * pending.bytes.len();
        let n = (pending.bytes.len() - self.choose.pick(pending.bytes.len() + 1)).max(least);
        self.wires[at].taken.extend(&pending.bytes[..n]);
        Some(n)
    }
}

/// What became of a send that was pending.
fn sent(id: SockId, taken: Option<usize>) -> Happened<Sock> {
    taken.map_or(Happened::SendFailed(id), |n| Happened::Sent(id, n))
}

impl World {
    /// What has happened on a wire, if anything has.
    fn on_wire(&mut self, id: SockId, at: usize, room: usize, bufs: &BufGroup) -> Option<Happened<Sock>> {
        // Other news may come first: a reset behind bytes that are not back yet.
        if !self.choose.rarely(4)
            && let Some(pending) = self.wires[at].pending.take()
        {
            let taken = self.give_back(at, pending);
            self.wires[at].send_failed |= taken.is_none();
            return Some(sent(id, taken));
        }
        let wire = &self.wires[at];
        let has_bytes = matches!(wire.kind, WireKind::Stream) && !wire.arrived.is_empty() && !wire.end_told;
        let pushes = self.pushes == 1 || self.pushes == 2 && self.choose.pick(2) == 1;
        if has_bytes
            && room > 0
            && pushes
            && let Some(mut buf) = bufs.get()
        {
            let wire = &mut self.wires[at];
            let n = buf.spare_capacity().min(wire.arrived.len());
            let bytes: Vec<u8> = wire.arrived.drain(..n).collect();
            buf.append(&bytes);
            if self.pushes == 1 && !wire.has_something() {
                // Nothing else is told of them.
                wire.news &= !Ready::READ.0;
            }
            return Some(Happened::Bytes(id, buf));
        }
        let wire = &mut self.wires[at];
        let news = std::mem::take(&mut wire.news);
        if news & (Ready::WRITE.0 | Ready::OVER.0) != 0 {
            wire.blocked = false;
        }
        (news != 0).then_some(Happened::Ready(id, Ready(news)))
    }
}

impl Wire {
    pub(crate) fn is_connected(&self) -> bool {
        match self.kind {
            WireKind::Listener { .. } => false,
            WireKind::Connect { answer, .. } => answer == Some(true),
            WireKind::Stream => true,
        }
    }

    fn has_something(&self) -> bool {
        !self.arrived.is_empty() || self.peer_fin || self.reset
    }
}

/// A socket of the model's.
pub(crate) struct Sock {
    pub(crate) world: Shared,
    pub(crate) wire: usize,
}

impl Sock {
    pub(crate) fn new(world: &Shared, wire: usize) -> Box<Self> {
        lock(world).wires[wire].holders += 1;
        Box::new(Self { world: world.clone(), wire })
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        lock(&self.world).wires[self.wire].holders -= 1;
    }
}

impl Socket for Sock {
    fn local_addr(&self) -> Result<SocketAddr, NetError> {
        Ok(([127, 0, 0, 1], self.wire as u16).into())
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn options(&self) -> Result<SockOptions, NetError> {
        Ok(SockOptions::default())
    }

    fn placement(&self) -> Placement {
        Placement::default()
    }

    fn backend(&self) -> &'static str {
        "scripted"
    }
}

/// A socket that was released, and what the system has of it.
struct Later {
    id: SockId,
    socket: Box<Sock>,
    pending: Option<Pending>,
    /// It does not come back for being urged.
    is_stuck: bool,
}

/// The backend that does whatever is legal.
pub(crate) struct Scripted {
    world: Shared,
    bufs: BufGroup,
    open: PerSlot<(SockId, Box<Sock>)>,
    kept: PerSlot<VecDeque<Buf>>,
    /// Released, and not given back yet.
    later: Vec<Later>,
    slots: usize,
    /// Keys of sockets that are gone: telling of them is no fault.
    stale: Vec<SockId>,
    /// What is told before anything else is.
    quiet: VecDeque<Happened<Sock>>,
    /// It lies ready to be received into.
    pub(crate) lying: Option<Buf>,
    /// From another core, when this wire has found none.
    pub(crate) come_home: Option<(usize, Vec<Buf>)>,
}

impl Scripted {
    pub(crate) fn new(world: &Shared, bufs: &BufGroup, slots: usize) -> Self {
        Self {
            world: world.clone(),
            bufs: bufs.clone(),
            open: PerSlot::of(slots),
            kept: PerSlot::of(slots),
            later: Vec::new(),
            slots,
            stale: Vec::new(),
            quiet: VecDeque::new(),
            lying: None,
            come_home: None,
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn wire_of(&self, slot: Slot) -> usize {
        self.open.get(slot.index()).filter(|(id, _)| *id == slot.id()).expect("the engine names sockets that are open").1.wire
    }

    /// Whether the core would be woken: there is something to be told.
    pub(crate) fn has_news(&self) -> bool {
        let world = self.world();
        let news =
            |i| self.open.get(i).is_some_and(|(_, sock)| world.wires[sock.wire].news != 0 || world.wires[sock.wire].pending.is_some());
        world.is_time() || !self.quiet.is_empty() || !self.later.is_empty() || (0..self.slots).any(news)
    }

    /// Bytes that were told of and kept.
    pub(crate) fn keeps(&self) -> usize {
        (0..self.slots).filter_map(|i| self.kept.get(i)).flatten().map(|buf| buf.len()).sum()
    }

    /// Whether of those that were released none comes back for being urged.
    pub(crate) fn is_stuck(&self) -> bool {
        self.later.iter().all(|later| later.is_stuck)
    }

    /// One of those that were released comes back: first what became of its send.
    fn give_back_one(&mut self, which: usize) {
        let Later { id, socket, pending, .. } = self.later.remove(which);
        if let Some(pending) = pending {
            let taken = self.world().give_back(socket.wire, pending);
            self.quiet.push_back(sent(id, taken));
        }
        self.quiet.push_back(Happened::Released(id, socket));
    }

    fn put_back_kept(&mut self, slot: Slot, wire: usize) {
        let kept = self.kept.take(slot.index()).unwrap_or_default();
        let mut world = self.world();
        for buf in kept.iter().rev() {
            for byte in buf.iter().rev() {
                world.wires[wire].arrived.push_front(*byte);
            }
        }
    }
}

impl Backend for Scripted {
    type Socket = Sock;

    const NAME: &'static str = "scripted";

    fn open(&mut self, slot: Slot, socket: Box<Sock>) -> Result<Opened, Refused<Box<Sock>, NetError>> {
        let mut world = self.world();
        if world.choose.by_chance(30) {
            drop(world);
            return Err(Refused { item: socket, why: NetError::NoDescriptors });
        }
        let wire = &mut world.wires[socket.wire];
        let kind = match wire.kind {
            WireKind::Listener { .. } => Kind::Listener,
            WireKind::Connect { begun: false, .. } => Kind::Connect,
            WireKind::Connect { .. } => Kind::Connecting,
            WireKind::Stream if wire.send_failed => Kind::Broken,
            WireKind::Stream if wire.fin => Kind::Finished,
            WireKind::Stream => Kind::Stream,
        };
        // What is so when a socket joins is told as news.
        (wire.end_told, wire.blocked, wire.reading) = (false, false, true);
        wire.news = match kind {
            // It is read on without any.
            Kind::Broken => 0,
            _ => Ready::READ.0 | Ready::WRITE.0 | if wire.reset { Ready::OVER.0 } else { 0 },
        };
        wire.number = 5;
        drop(world);
        let acknowledge = socket.wire % 2 == 1;
        self.open.set(slot.index(), Some((slot.id(), socket)));
        Ok(Opened { kind, number: 5, acknowledge })
    }

    fn release(&mut self, slot: Slot, how: Release) -> Released<Sock> {
        let wire = self.wire_of(slot);
        let mut world = self.world();
        if how == Release::Detach && world.choose.by_chance(20) {
            return Released::Stays(NetError::Unusable("not now".into()));
        }
        let pending = world.wires[wire].pending.take();
        let later = pending.is_some() || world.choose.rarely(6);
        world.wires[wire].aborted |= how == Release::Abort;
        drop(world);
        self.put_back_kept(slot, wire);
        let Some((id, socket)) = self.open.take(slot.index()) else { unreachable!("it was looked up above") };
        self.stale.push(id);
        if later {
            let is_stuck = self.world().choose.rarely(3) || self.world().keeps;
            self.later.push(Later { id, socket, pending, is_stuck });
            return Released::Later;
        }
        Released::Now(socket)
    }

    fn socket(&self, slot: Slot) -> Option<&Sock> {
        self.open.get(slot.index()).map(|(_, socket)| &**socket)
    }

    fn recv(&mut self, slot: Slot, bufs: &mut Bufs<'_>) -> Recv {
        let at = self.wire_of(slot);
        let kept = self.kept.get_mut(slot.index()).and_then(VecDeque::pop_front);
        let keeps_more = self.kept.get(slot.index()).is_some_and(|kept| !kept.is_empty());
        let mut world = lock(&self.world);
        let world = &mut *world;
        let wire = &mut world.wires[at];
        assert!(wire.is_connected(), "only connections are read");
        assert!(!wire.end_told, "behind the end nothing is asked for");
        assert!(!world.low || bufs.at_once(usize::MAX) <= net_group::SPARING, "while buffers are low little is read at a time");
        if let Some(buf) = kept {
            return Recv::Bytes(buf, keeps_more || wire.has_something());
        }
        if wire.has_something() && !wire.send_failed && world.choose.rarely(8) {
            // It only seemed so, and is told again.
            wire.news |= Ready::READ.0 | if wire.reset { Ready::OVER.0 } else { 0 };
            return Recv::Empty;
        }
        if wire.arrived.is_empty() {
            let how = world.choose.pick(3);
            wire.end_told = wire.reset || wire.peer_fin || wire.send_failed;
            return match () {
                // The send has taken the error, and what is left to tell is an end or nothing.
                () if wire.send_failed && how > 0 => [Recv::Eof, Recv::Empty].into_iter().nth(how - 1).unwrap_or(Recv::Empty),
                // A reset may come behind the end, and hide it.
                () if wire.peer_fin && (!wire.reset || how > 0) => Recv::Eof,
                () if wire.reset || wire.send_failed => Recv::Failed(NetError::Reset),
                () => Recv::Empty,
            };
        }
        let Some(mut buf) = bufs.take() else {
            self.come_home.take_if(|(wire, _)| *wire == at);
            return Recv::NoBuffer;
        };
        let most = bufs.at_once(buf.spare_capacity()).min(wire.arrived.len());
        let n = most - world.choose.pick(most);
        let bytes: Vec<u8> = wire.arrived.drain(..n).collect();
        assert_eq!(buf.append(&bytes), n);
        let more = wire.has_something();
        if more && world.choose.pick(3) == 1 {
            // Told again instead.
            wire.news |= Ready::READ.0;
            return Recv::Bytes(buf, false);
        }
        Recv::Bytes(buf, more || world.choose.pick(4) == 1)
    }

    fn accept(&mut self, slot: Slot) -> Accept<Sock> {
        let at = self.wire_of(slot);
        let mut world = self.world();
        let gone = world.gone > 0 || world.choose.rarely(5);
        world.gone = world.gone.saturating_sub(1);
        let descriptors = world.descriptors;
        let WireKind::Listener { waiting } = &mut world.wires[at].kind else { panic!("only listeners accept") };
        match waiting.front().copied() {
            None => {
                if let Some(less) = world.to_come.checked_sub(1) {
                    world.to_come = less;
                    world.peer_connects(at);
                }
                Accept::Empty
            }
            Some(_) if !descriptors => Accept::NoDescriptor,
            Some(_) if gone => {
                waiting.pop_front();
                Accept::Gone
            }
            Some(wire) => {
                waiting.pop_front();
                drop(world);
                Accept::Taken(Sock::new(&self.world, wire))
            }
        }
    }

    fn connect(&mut self, slot: Slot) -> Connecting {
        let at = self.wire_of(slot);
        let mut world = self.world();
        let at_once = world.choose.pick(5);
        let Wire { kind, news, number, .. } = &mut world.wires[at];
        let WireKind::Connect { begun, answer } = kind else { panic!("its outcome was told") };
        let begins = !std::mem::replace(begun, true);
        if begins && at_once > 2 {
            *answer = Some(at_once == 3);
            *news |= Ready::WRITE.0;
        }
        match answer {
            Some(false) => Connecting::Failed(NetError::TimedOut),
            Some(true) if !begins => {
                *kind = WireKind::Stream;
                Connecting::Connected
            }
            _ => {
                *number = 6;
                Connecting::UnderWay(6)
            }
        }
    }

    fn send(&mut self, slot: Slot, out: Outgoing<'_>) -> Sending {
        let at = self.wire_of(slot);
        let mut world = self.world();
        let pieces: Vec<&[u8]> = out.iter().collect();
        assert!(!pieces.is_empty() && pieces.iter().all(|piece| !piece.is_empty()), "there is something to send");
        let bytes = pieces.concat();
        let how = world.choose.pick(5);
        let dies = world.choose.rarely(25);
        let wire = &mut world.wires[at];
        assert!(wire.is_connected() && !wire.fin && !wire.send_failed, "a connection that sends");
        assert_eq!(slot.number(), wire.number, "it comes along");
        assert!(!wire.blocked && wire.pending.is_none(), "it is not asked before there is room");
        if wire.reset || dies {
            // Of itself, where nobody has reset it: then nothing is told of it but here.
            wire.send_failed = true;
            return Sending::Failed;
        }
        if how == 4 {
            let addresses: Vec<usize> = pieces.iter().map(|piece| piece.as_ptr() as usize).collect();
            world.lent.extend(&addresses);
            world.wires[at].pending = Some(Pending { bytes, addresses, is_taken: false });
            return Sending::Pending;
        }
        let most = bytes.len().min(wire.window);
        let n = if how == 1 || how == 2 { most.div_ceil(2) } else { most };
        wire.taken.extend(&bytes[..n]);
        wire.window -= n;
        if n > 0 && how != 2 && (n < most || n == bytes.len()) {
            return Sending::Taken(n);
        }
        wire.blocked = true;
        if wire.window > 0 {
            wire.news |= Ready::WRITE.0;
        }
        Sending::Blocked(n)
    }

    fn fin(&mut self, slot: Slot) {
        let at = self.wire_of(slot);
        let wire = &mut self.world().wires[at];
        assert!(wire.is_connected() && wire.pending.is_none(), "everything before the end is the system's");
        assert!(!std::mem::replace(&mut wire.fin, true), "a side ends once");
    }

    fn next(&mut self, room: usize) -> Option<Happened<Sock>> {
        if let Some(quiet) = self.quiet.pop_front() {
            return Some(quiet);
        }
        let mut guard = lock(&self.world);
        let world = &mut *guard;
        // Each place where something may have happened, from a chosen one on.
        let places = self.slots + self.later.len() + 2;
        let from = world.choose.pick_by_chance(places);
        let mut given_back = None;
        for place in (0..places).map(|place| (from + place) % places) {
            if world.choose.by_chance(7) {
                // It happens a little later.
                continue;
            }
            if place == places - 1 {
                if world.is_time() {
                    world.timer = None;
                    return Some(Happened::Time);
                }
            } else if place == places - 2 {
                if world.choose.rarely(9)
                    && let Some(id) = self.stale.pop()
                {
                    return Some(Happened::Ready(id, Ready(Ready::READ.0 | Ready::WRITE.0)));
                }
            } else if place >= self.slots {
                given_back = Some(place - self.slots);
                break;
            } else if let Some((id, sock)) = self.open.get(place)
                && let Some(happened) = world.on_wire(*id, sock.wire, room, &self.bufs)
            {
                return Some(happened);
            }
        }
        drop(guard);
        self.give_back_one(given_back?);
        self.quiet.pop_front()
    }

    fn want(&mut self, slot: Slot, reading: bool) {
        let at = self.wire_of(slot);
        let was = std::mem::replace(&mut self.world().wires[at].reading, reading);
        assert_ne!(was, reading, "it is told when it changes");
    }

    fn keep(&mut self, slot: Slot, buf: Buf) {
        if self.kept.get(slot.index()).is_none() {
            self.kept.set(slot.index(), Some(VecDeque::new()));
        }
        self.kept.get_mut(slot.index()).expect("it was put there").push_back(buf);
    }

    fn error(&mut self, slot: Slot) -> Option<NetError> {
        let at = self.wire_of(slot);
        let wire = &self.world().wires[at];
        (wire.reset || wire.send_failed).then_some(NetError::Reset)
    }

    fn out_of_descriptors(&mut self, _: Slot) {
        self.world().told_out += 1;
    }

    fn acknowledge(&mut self, slot: Slot) {
        let at = self.wire_of(slot);
        self.world().wires[at].acknowledged += 1;
    }

    fn set_low(&mut self, low: bool) {
        assert_ne!(std::mem::replace(&mut self.world().low, low), low, "it is told when it changes");
    }

    fn has_room(&mut self, slot: Slot) -> bool {
        let at = self.wire_of(slot);
        let wire = &mut self.world().wires[at];
        let has = wire.window > 0 || wire.reset;
        wire.blocked |= !has;
        has
    }

    fn has_much(&mut self, slot: Slot) -> bool {
        let at = self.wire_of(slot);
        self.world().wires[at].arrived.len() > net_group::SPARING
    }

    fn lying(&self) -> usize {
        self.lying.iter().count()
    }

    fn retract(&mut self) -> Option<Buf> {
        self.lying.take()
    }

    fn wake_later(&mut self) -> bool {
        self.world().wake_in(10)
    }

    fn wake_for_look(&mut self, millis: u32) -> bool {
        assert!(millis > 0, "a time that is to come");
        self.world().wake_in(millis)
    }

    fn urge(&mut self) -> bool {
        let is_calm = self.world().choose.is_calm();
        let Some(which) = self.later.iter().position(|later| is_calm || !later.is_stuck) else { return false };
        self.give_back_one(which);
        true
    }

    fn abandon(&mut self) {
        assert!(!self.later.is_empty() && self.is_stuck() && !self.world().choose.is_calm(), "what comes back is waited for");
        let keeps = self.world().keeps;
        self.later.iter_mut().for_each(|later| later.is_stuck = keeps);
    }

    fn next_quiet(&mut self) -> Option<Happened<Sock>> {
        self.quiet.pop_front()
    }

    fn detach_now(&mut self, slot: Slot) -> Result<Box<Sock>, NetError> {
        let Self { later, world, .. } = self;
        let later = later.iter_mut().find(|later| later.id == slot.id()).expect("it was released");
        assert!(later.is_stuck, "what comes back is waited for");
        let mut guard = lock(world);
        let at = later.socket.wire;
        if guard.choose.rarely(2) || guard.wires[at].reset {
            return Err(NetError::Unusable("not at all".into()));
        }
        // What was lent is the system's, but for its memory.
        if let Some(pending) = &mut later.pending {
            pending.is_taken = true;
            guard.wires[at].taken.extend(&pending.bytes);
        }
        drop(guard);
        Ok(Sock::new(world, at))
    }
}
