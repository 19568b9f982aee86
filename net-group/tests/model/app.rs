//! The application of the model, which does whatever it may and remembers what it was promised.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::{Wake, Waker};
use std::time::Duration;

use core_reactor::net::{Events, Frame, GroupConfig, GroupStats, NetError, NetEvent, SockGroup, SockId, Socket, Token};
use core_reactor::{Instant, Platform, Refused};
use net_group::Group;
use pool::{Buf, BufGroup, Class, Request};

use crate::choose::Chooser;
use crate::world::{Scripted, Shared, Sock, WireKind, World, lock};

/// Slots of the group, and its buffers.
const SLOTS: usize = 3;
const BUFFERS: usize = 10;
const BUFFER: usize = 5;

pub(crate) struct App {
    world: Shared,
    group: Group<Scripted>,
    bufs: BufGroup,
    woken: Arc<Woken>,
    live: Vec<Live>,
    /// Sockets in no group.
    loose: Vec<Box<dyn Socket>>,
    held: VecDeque<Buf>,
    frames: BTreeMap<u16, Sent>,
    next_frame: u16,
    /// It sends back what it receives, and nothing else.
    answers: bool,
    keeps: usize,
    /// The wires of which bytes were received, in order.
    heard: Vec<usize>,
    /// Of each wire, what was received and which frames were taken to be sent on it.
    wires: BTreeMap<usize, Ledger>,
}

#[derive(Default)]
struct Ledger {
    received: usize,
    /// Events that it was received in.
    pieces: usize,
    frames: Vec<u16>,
    /// `Connected` was told.
    connected: bool,
    /// Bytes of it went the way of what is closed.
    may_miss: bool,
}

/// A frame that was taken: its bytes, and what became of it.
struct Sent {
    id: SockId,
    bytes: Vec<u8>,
    tagged: bool,
    told: Option<(usize, bool)>,
}

struct Live {
    id: SockId,
    wire: usize,
    is: Is,
    is_connected: bool,
    paused: bool,
    refused: bool,
    cancelled: bool,
    fin: bool,
    peer_closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Here,
    Closing,
    Closed,
    Detached,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is the same for a whole run.
pub(crate) struct Settings {
    pub(crate) send_limit: usize,
    pub(crate) stall_limit: Option<Duration>,
    pub(crate) has_timer: bool,
    pub(crate) answers: bool,
    pub(crate) pushes: usize,
    /// Buffers that the application keeps at most.
    pub(crate) keeps: usize,
}

impl Settings {
    pub(crate) fn by(choose: &mut Chooser) -> Self {
        Self {
            send_limit: [12, 1000][choose.pick(2)],
            stall_limit: [None, Some(Duration::from_millis(50))][choose.pick(2)],
            has_timer: choose.pick(2) == 0,
            answers: choose.pick(2) == 1,
            pushes: choose.pick(3),
            keeps: 8,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { send_limit: 12, stall_limit: None, has_timer: true, answers: false, pushes: 0, keeps: 8 }
    }
}

impl App {
    pub(crate) fn new(choose: Chooser, how: Settings) -> Self {
        let Settings { send_limit, stall_limit, has_timer, answers, pushes, keeps } = how;
        let bufs = BufGroup::new(BUFFERS, BUFFER);
        let world = World::new(choose);
        (lock(&world).has_timer, lock(&world).pushes) = (has_timer, pushes);
        let backend = Scripted::new(&world, &bufs, SLOTS);
        let (woken, clock) = (Arc::new(Woken::default()), lock(&world).clock.clone());
        let config =
            GroupConfig::new(bufs.clone()).sockets(SLOTS).send_limit(send_limit).send_frames(4).hold_reads_at(8).stall_limit(stall_limit);
        let group = Group::with(woken.clone().into(), clock, config, backend);
        Self {
            world,
            group,
            bufs,
            woken,
            live: Vec::new(),
            loose: Vec::new(),
            held: VecDeque::new(),
            frames: BTreeMap::new(),
            next_frame: 0,
            answers,
            keeps,
            heard: Vec::new(),
            wires: BTreeMap::new(),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn pick(&self, of: usize) -> usize {
        lock(&self.world).choose.pick(of)
    }

    // ---- What it does

    /// A connection, connect or listener from nowhere, put into the group.
    pub(crate) fn begin(&mut self, kind: WireKind, window: usize) {
        let wire = lock(&self.world).add(kind, window);
        let socket: Box<dyn Socket> = Sock::new(&self.world, wire);
        self.loose.push(socket);
        self.attach();
    }

    pub(crate) fn attach(&mut self) {
        let Some(socket) = self.loose.pop() else { return };
        let wire = (&*socket as &dyn Any).downcast_ref::<Sock>().expect("all are the model's").wire;
        // A connect that is answered at once is told of in a poll.
        let is_connected = !matches!(lock(&self.world).wires[wire].kind, WireKind::Connect { .. });
        match self.group.attach(socket, Token(wire as u64)) {
            Ok(id) => {
                assert!(!self.live.iter().any(|live| live.id == id), "a key is given once");
                let fin = lock(&self.world).wires[wire].fin;
                self.live.push(Live {
                    id,
                    wire,
                    is: Is::Here,
                    is_connected,
                    paused: false,
                    refused: false,
                    cancelled: false,
                    fin,
                    peer_closed: false,
                });
            }
            // It is tried again.
            Err(Refused { item, why }) => {
                let is_full = matches!(why, NetError::GroupFull(_));
                assert!(!is_full || self.group.backend().is_stuck(), "who leaves makes room");
                self.loose.insert(0, item);
            }
        }
    }

    /// One thing that an application, its peers or the system may do.
    pub(crate) fn step(&mut self) {
        let wires = lock(&self.world).wires.len();
        let wire = self.pick(wires);
        match self.pick(20) {
            0 | 1 => self.poll(),
            2 => lock(&self.world).peer_sends(wire, 7),
            3 => self.send(),
            4 => lock(&self.world).peer_takes(wire, 4),
            5 => lock(&self.world).peer_ends(wire),
            6 => self.shutdown(),
            7 => self.close(),
            8 => lock(&self.world).peer_resets(wire),
            9 => self.on_one(|group, live| group.pause(live.id).map(|()| live.paused = true)),
            10 => self.on_one(|group, live| group.resume(live.id).map(|()| live.paused = false)),
            11 => self.detach(),
            12 => self.attach(),
            13 => self.on_one(|group, live| group.abort(live.id).map(|()| live.is = Is::Closing)),
            14 => drop(self.held.pop_front()),
            15 => {
                let yes = self.pick(3) > 0;
                lock(&self.world).peer_answers(wire, yes);
            }
            16 => lock(&self.world).peer_connects(wire),
            17 => self.flush(),
            18 => self.time_passes(),
            _ => {
                let mut world = lock(&self.world);
                world.descriptors = !world.descriptors;
            }
        }
    }

    pub(crate) fn shutdown(&mut self) {
        self.on_one(|group, live| group.shutdown(live.id).map(|()| live.fin = true));
    }

    pub(crate) fn close(&mut self) {
        self.on_one(|group, live| group.close(live.id).map(|()| live.is = Is::Closing));
    }

    /// No buffer is left.
    pub(crate) fn hold_all_buffers(&mut self) {
        self.hold_buffers(usize::MAX);
    }

    /// The application has so many more.
    pub(crate) fn hold_buffers(&mut self, count: usize) {
        self.held.extend(std::iter::from_fn(|| self.bufs.get()).take(count));
    }

    /// It has none any more.
    pub(crate) fn let_go(&mut self) {
        self.held.clear();
    }

    pub(crate) fn stats(&self) -> GroupStats {
        self.group.stats()
    }

    /// Whether its core was woken since the last poll began.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
    }

    /// No buffer is left, and who waits for one panics when woken.
    pub(crate) fn panics_when_a_buffer_comes_home(&mut self) -> Request {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("on purpose");
            }
        }
        self.hold_all_buffers();
        self.bufs.request(Class::Small, 1, 0, &Arc::new(Panics).into()).expect("one may wait")
    }

    pub(crate) fn flush(&mut self) {
        self.group.flush();
    }

    pub(crate) fn time_passes(&self) {
        lock(&self.world).clock.advance(Duration::from_millis(30));
    }

    fn one(&self) -> Option<usize> {
        let live = self.pick(self.live.len());
        (live < self.live.len()).then_some(live)
    }

    fn on_one(&mut self, act: impl Fn(&mut Group<Scripted>, &mut Live) -> Result<(), NetError>) {
        let Some(at) = self.one() else { return };
        let live = &mut self.live[at];
        let (is, id) = (live.is, live.id);
        let is_listener = matches!(lock(&self.world).wires[live.wire].kind, WireKind::Listener { .. });
        match act(&mut self.group, live) {
            Ok(()) => assert_eq!(is, Is::Here, "a stale key is refused"),
            Err(NetError::NotConnected) => assert!(is_listener),
            Err(why) => assert!(why == NetError::Stale && !(is == Is::Here && self.group.addresses(id).is_ok()), "{why}"),
        }
    }

    pub(crate) fn detach(&mut self) {
        let Some(at) = self.one() else { return };
        let live = &mut self.live[at];
        match self.group.detach(live.id) {
            Ok(socket) => {
                assert_eq!(live.is, Is::Here, "a stale key is refused");
                live.is = Is::Detached;
                self.loose.push(socket);
            }
            // Either it stays, or it is closed after all.
            Err(NetError::Unusable(_)) if self.group.addresses(live.id).is_err() => live.is = Is::Closing,
            Err(_) => {}
        }
    }

    pub(crate) fn send(&mut self) {
        if self.answers {
            return;
        }
        if let Some(at) = self.one() {
            self.send_on(at);
        }
    }

    /// Frames without bytes, which are told of when they are sent.
    pub(crate) fn send_tagged(&mut self, at: usize, count: usize) {
        for _ in 0..count {
            let number = self.next_frame;
            self.next_frame += 1;
            let sent = Sent { id: self.live[at].id, bytes: Vec::new(), tagged: true, told: None };
            self.hand_over(at, Frame::new().tagged(number.into()), sent, number);
        }
    }

    /// Polls into a list that holds something already.
    pub(crate) fn poll_behind(&mut self) -> usize {
        let mut events = Events::new(3);
        let first = self.group.poll(&mut events);
        let second = self.group.poll(&mut events);
        assert_eq!(events.len(), first + second);
        let events: Vec<NetEvent> = events.drain().collect();
        events.into_iter().for_each(|event| self.hear(event));
        second
    }

    pub(crate) fn send_on(&mut self, at: usize) {
        let number = self.next_frame;
        let by_chance = |of| lock(&self.world).choose.pick_by_chance(of);
        let (parts, more) = ([1, 2, 1, 0][by_chance(4)], 1 + by_chance(3));
        let tagged = parts == 0 || by_chance(2) == 1 || number % 3 == 2;
        let mut frame = Frame::new();
        let mut bytes = Vec::new();
        for part in 0..parts {
            let Some(mut buf) = self.group.buffer() else { return };
            self.is_nobodys(&buf);
            let content = if part == 0 { number.to_le_bytes().to_vec() } else { vec![number as u8; more] };
            buf.append(&content);
            bytes.extend(&content);
            assert!(frame.push(buf).is_ok(), "it has room for four");
        }
        let frame = if tagged { frame.tagged(number.into()) } else { frame };
        self.next_frame += 1;
        self.hand_over(at, frame, Sent { id: self.live[at].id, bytes, tagged, told: None }, number);
    }

    /// Sends one buffer without bytes and without a tag, of which nobody hears again.
    pub(crate) fn send_nothing(&mut self, at: usize) {
        let buf = self.group.buffer().expect("a buffer");
        let sent = self.group.send(self.live[at].id, buf.into());
        assert!(sent.is_ok(), "there is room");
    }

    fn hand_over(&mut self, at: usize, frame: Frame, sent: Sent, number: u16) {
        let live = &mut self.live[at];
        match self.group.send(live.id, frame) {
            Ok(()) => {
                assert!(live.is == Is::Here && !live.fin, "it was refused to {:?}", live.is);
                let ledger = self.wires.entry(live.wire).or_default();
                assert!(ledger.connected || !lock(&self.world).wires[live.wire].connects, "a connect has succeeded before");
                ledger.frames.push(number);
                self.frames.insert(number, sent);
            }
            Err(Refused { item, why }) => {
                assert_eq!(item.bytes(), sent.bytes.len(), "the frame comes back as it was");
                live.refused |= matches!(why, NetError::SendLimit { .. });
                assert!(!(self.answers && live.refused), "an answer to each buffer is taken: {why}");
            }
        }
    }

    /// A buffer that the system has is nobody else's.
    fn is_nobodys(&self, buf: &Buf) {
        let at = buf.as_ptr() as usize;
        assert!(!lock(&self.world).lent.iter().any(|lent| (at..at + BUFFER).contains(lent)), "the system has that buffer");
    }

    /// As many as the pool takes, of somebody else.
    pub(crate) fn all_requests(&self) -> Vec<Request> {
        std::iter::from_fn(|| self.bufs.request(Class::Small, 1, 0, Waker::noop()).ok()).collect()
    }

    pub(crate) fn backend_takes_a_buffer(&mut self) {
        let buf = self.bufs.get();
        self.group.backend_mut().lying = buf;
    }

    /// No buffer is left, until this wire has found none.
    pub(crate) fn two_come_home_when_there_is_none_for(&mut self, wire: usize) {
        self.hold_all_buffers();
        let two = self.held.drain(..2).collect();
        self.group.backend_mut().come_home = Some((wire, two));
    }

    pub(crate) fn gives_one_back(&mut self) {
        drop(self.held.pop_front());
    }

    // ---- What it hears

    /// The wires of which bytes were received, in order.
    pub(crate) fn heard(&self) -> &[usize] {
        &self.heard
    }

    /// Sockets that were accepted, and are in no group.
    pub(crate) fn accepted(&self) -> usize {
        self.loose.len()
    }

    /// Whether all sockets have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.live.iter().all(|live| live.is == Is::Closed)
    }

    pub(crate) fn poll(&mut self) {
        let room = 1 + self.pick(4);
        self.poll_with_room(room);
    }

    /// A poll with so much room. Tells what was heard, a letter for each event.
    pub(crate) fn poll_with_room(&mut self, room: usize) -> String {
        let mut events = Events::new(room);
        self.woken.0.store(false, Ordering::Relaxed);
        let found = self.group.poll(&mut events);
        assert!(found == events.len() && found <= room);
        let events: Vec<NetEvent> = events.drain().collect();
        let letter = |event: &NetEvent| match event {
            NetEvent::Received { .. } => 'R',
            NetEvent::Sent { .. } => 'S',
            NetEvent::PeerClosed { .. } => 'P',
            NetEvent::Closed { .. } => 'C',
            _ => '-',
        };
        let letters = events.iter().map(letter).collect();
        for event in events {
            self.hear(event);
        }
        let world = lock(&self.world);
        let is_told = |(wire, ledger): (&usize, &Ledger)| world.wires[*wire].acknowledged == wire % 2 * ledger.pieces;
        assert!(self.wires.iter().all(is_told), "who wants to know it is told of each piece");
        let paused = |live: &&Live| live.is == Is::Here && live.is_connected && live.paused;
        assert!(self.live.iter().filter(paused).all(|live| !world.wires[live.wire].reading), "of who is paused nothing is wanted");
        letters
    }

    fn live(&mut self, id: SockId) -> &mut Live {
        let live = self.live.iter_mut().find(|live| live.id == id).expect("a socket that there was");
        assert_ne!(live.is, Is::Closed, "nothing comes behind Closed");
        live
    }

    fn hear(&mut self, event: NetEvent) {
        match event {
            NetEvent::Accepted { id, socket, .. } => {
                assert_eq!(self.live(id).is, Is::Here);
                self.loose.push(socket);
            }
            NetEvent::Connected { id, .. } => {
                let live = self.live(id);
                assert_eq!(live.is, Is::Here);
                live.is_connected = true;
                let wire = live.wire;
                assert!(!std::mem::replace(&mut self.wires.entry(wire).or_default().connected, true), "a connect succeeds once");
            }
            NetEvent::Received { id, buf, .. } => self.received(id, buf),
            NetEvent::Sent { id, frame, written, error, .. } => self.answered(id, &frame, written, error),
            NetEvent::Writable { id, .. } => {
                let live = self.live(id);
                assert!(live.is == Is::Here && std::mem::take(&mut live.refused), "somebody was refused");
                assert!(!live.cancelled, "there is room where nothing can be sent any more");
            }
            NetEvent::PeerClosed { id, .. } => {
                let live = self.live(id);
                assert!(live.is == Is::Here && !std::mem::replace(&mut live.peer_closed, true), "an end is told once");
                let wire = live.wire;
                assert!(!lock(&self.world).wires[wire].send_failed, "a broken connection has no good end");
                self.all_received(wire);
            }
            NetEvent::Closed { id, why, .. } => self.closed(id, why),
            _ => panic!("an event that the model does not know"),
        }
    }

    fn received(&mut self, id: SockId, buf: Buf) {
        self.is_nobodys(&buf);
        let live = self.live(id);
        assert!(live.is == Is::Here && !live.paused && !live.peer_closed, "bytes are wanted, and before the end");
        let wire = live.wire;
        let ledger = self.wires.entry(wire).or_default();
        assert!(ledger.connected || !lock(&self.world).wires[wire].connects, "a connect has succeeded before");
        let from = ledger.received;
        let sent = lock(&self.world).wires[wire].sent[from..from + buf.len()].to_vec();
        assert_eq!(*buf, *sent, "each byte once and in order");
        assert!(!buf.is_empty());
        ledger.received += buf.len();
        self.heard.push(wire);
        ledger.pieces += 1;
        if self.answers {
            return self.answer(id, buf);
        }
        // Some are kept for a while, as by an application that works on them.
        self.held.push_back(buf);
        if self.held.len() > self.keeps {
            self.held.pop_front();
        }
    }

    fn answer(&mut self, id: SockId, buf: Buf) {
        let at = self.live.iter().position(|live| live.id == id).expect("it has just received");
        let (bytes, number) = (buf.to_vec(), self.next_frame);
        self.next_frame += 1;
        self.hand_over(at, Frame::from(buf).tagged(number.into()), Sent { id, bytes, tagged: true, told: None }, number);
    }

    fn answered(&mut self, id: SockId, frame: &Frame, written: usize, error: Option<NetError>) {
        self.live(id).cancelled |= error.is_some();
        frame.parts().iter().for_each(|part| self.is_nobodys(part));
        let bytes: Vec<u8> = frame.parts().iter().flat_map(|part| part.iter().copied()).collect();
        let number = frame.tag().map_or_else(|| u16::from_le_bytes([bytes[0], bytes[1]]), |tag| tag as u16);
        let sent = self.frames.get_mut(&number).expect("a frame that was taken");
        assert_eq!((sent.id, &sent.bytes), (id, &bytes), "it comes back as it was");
        assert!(sent.told.is_none(), "a frame is answered once");
        assert!(sent.tagged || error.is_some(), "without a tag only what was not sent comes back");
        assert!(written == bytes.len() || error == Some(NetError::Cancelled) && written < bytes.len().max(1));
        sent.told = Some((written, error.is_some()));
    }

    fn closed(&mut self, id: SockId, why: Option<NetError>) {
        let live = self.live(id);
        assert_ne!(live.is, Is::Detached, "a socket that was detached is not closed");
        let (by_itself, wire, peer_closed, fin) = (live.is == Is::Here, live.wire, live.peer_closed, live.fin);
        live.is = Is::Closed;
        let frames = self.frames.values().filter(|sent| sent.id == id && sent.told.is_none());
        assert!(frames.clone().all(|sent| !sent.tagged), "every frame is answered before Closed");
        if !by_itself {
            assert_eq!(why, None);
        } else if matches!(why, Some(NetError::Stalled { .. })) {
            self.wires.entry(wire).or_default().may_miss = true;
        } else {
            self.all_received(wire);
            let frames = self.frames.values().filter(|sent| sent.id == id);
            let all_sent = frames.clone().all(|sent| sent.told.is_none_or(|(_, cancelled)| !cancelled));
            let wire = &lock(&self.world).wires[wire];
            assert!(why.is_some() || peer_closed && (fin || wire.reset), "an orderly end has two sides");
            assert!(why.is_some() || all_sent || wire.reset, "before an orderly end everything is sent");
        }
    }

    fn all_received(&mut self, wire: usize) {
        let received = self.wires.entry(wire).or_default().received;
        assert_eq!(received, lock(&self.world).wires[wire].sent.len(), "all bytes come before the end");
    }

    // ---- The end

    /// From here on nothing extraordinary happens. What was under way goes on, and the core sleeps
    /// when it may.
    pub(crate) fn calm_down(&mut self) {
        lock(&self.world).choose.calm_down();
        for at in 0..self.live.len() {
            let live = &mut self.live[at];
            if live.is == Is::Here && self.group.resume(live.id).is_ok() {
                live.paused = false;
            }
        }
        let wires = {
            let mut world = lock(&self.world);
            world.descriptors = true;
            world.wires.len()
        };
        for wire in 0..wires {
            lock(&self.world).peer_takes(wire, 1 << 20);
            lock(&self.world).peer_answers(wire, true);
        }
        self.run_until_it_sleeps(true);
        // Buffers come home one by one, while the core sleeps: whoever waits for one has it woken.
        while self.held.pop_front().is_some() {
            self.run_until_it_sleeps(false);
        }
    }

    /// As long as a core would not sleep: the last poll found something, it was woken, or there is
    /// news. If it is to be woken at a time this comes, but not for ever.
    fn run_until_it_sleeps(&mut self, mut found: bool) {
        for _ in 0..10 {
            self.rest(found);
            if !self.sleep() {
                return;
            }
            found = false;
        }
        self.rest(false);
    }

    /// The same while no time passes.
    pub(crate) fn rest(&mut self, mut found: bool) {
        for _ in 0..10_000 {
            if !found && !self.woken.0.load(Ordering::Relaxed) && !self.group.backend().has_news() {
                return;
            }
            let before = self.group.stats().events;
            self.poll();
            found = self.group.stats().events > before;
        }
        panic!("the core does not come to rest");
    }

    pub(crate) fn now(&self) -> Duration {
        self.world().clock.now().since(Instant::ZERO)
    }

    /// Lets time pass until the core is woken, if it is.
    pub(crate) fn sleep(&self) -> bool {
        let World { clock, timer, .. } = &*lock(&self.world);
        timer.inspect(|at| clock.advance(at.since(clock.now()))).is_some()
    }

    /// A core that sleeps has left nothing undone.
    pub(crate) fn nothing_is_left(&self) {
        let world = lock(&self.world);
        for live in self.live.iter().filter(|live| live.is == Is::Here) {
            let wire = &world.wires[live.wire];
            let what = format!("wire {} fin {} reset {} peer {}", live.wire, live.fin, wire.reset, wire.peer_fin);
            assert!(!wire.reset && !wire.send_failed, "{what}: a reset is told");
            assert!(wire.arrived.is_empty() && wire.reading, "{what}: bytes are read");
            assert!(live.peer_closed == wire.peer_fin, "{what}: the end is told");
            assert!(!live.fin || wire.fin, "{what}: FIN goes out");
            assert!(!(live.fin && wire.peer_fin), "{what}: it is closed behind both ends");
            assert!(!live.refused || live.fin, "{what}: who was refused hears of room");
            match &wire.kind {
                WireKind::Listener { waiting } => assert!(waiting.is_empty(), "{what}: connections are taken"),
                WireKind::Connect { .. } => panic!("{what}: an answer is told"),
                WireKind::Stream => assert!(!wire.connects || self.wires[&live.wire].connected, "{what}: success is told"),
            }
        }
        assert!(self.live.iter().all(|live| live.is != Is::Closing), "Closed is told");
        assert_eq!(self.group.backend().keeps(), 0, "what was kept is handed out");
        assert_eq!(self.group.stats().unsent, 0, "everything is sent");
        assert!(self.frames.values().all(|sent| sent.told.is_some() || !sent.tagged), "every tagged frame is answered");
        drop(world);
        self.wires_have_what_was_sent();
    }

    /// What the system has taken is what was sent: frame for frame, and of those cancelled as much
    /// as was said.
    fn wires_have_what_was_sent(&self) {
        let world = lock(&self.world);
        for (wire, ledger) in &self.wires {
            let parts = ledger.frames.iter().map(|number| {
                let sent = &self.frames[number];
                &sent.bytes[..sent.told.map_or(sent.bytes.len(), |(written, _)| written)]
            });
            assert_eq!(world.wires[*wire].taken, parts.collect::<Vec<_>>().concat(), "wire {wire}: each byte once and in order");
        }
    }

    /// Closes everything: no slot stays taken, no buffer stays out.
    pub(crate) fn finish(mut self) -> Chooser {
        for at in 0..self.live.len() {
            let live = &mut self.live[at];
            if live.is == Is::Here {
                self.group.close(live.id).expect("it is here");
                live.is = Is::Closing;
            }
        }
        self.run_until_it_sleeps(true);
        assert!(self.live.iter().all(|live| matches!(live.is, Is::Closed | Is::Detached)), "Closed is told of each");
        self.wires_have_what_was_sent();
        assert_eq!(self.group.stats().sockets, 0, "no slot is leaked");
        self.loose.clear();
        for _ in 0..SLOTS {
            self.begin(WireKind::Stream, 0);
        }
        assert_eq!(self.group.stats().sockets, SLOTS, "all slots can be had again");
        drop(self.group);
        assert_eq!(self.bufs.available(Class::Small), BUFFERS, "all buffers are home");
        Self::is_back(&self.world)
    }

    /// Ends the group as it is.
    pub(crate) fn drop_group(self) -> Chooser {
        let Self { world, group, bufs, held, loose, .. } = self;
        drop((group, held, loose));
        assert_eq!(bufs.available(Class::Small), BUFFERS, "all buffers are home");
        Self::is_back(&world)
    }

    /// Ends the group as it is, over a system that gives nothing back: what that may still read
    /// stays where it is.
    pub(crate) fn lose_group(self) -> Chooser {
        lock(&self.world).keeps = true;
        let Self { world, group, bufs, held, loose, .. } = self;
        drop((group, held, loose));
        let mut world = lock(&world);
        assert!(world.lent.is_empty() || bufs.available(Class::Small) < BUFFERS, "the system has some");
        std::mem::replace(&mut world.choose, Chooser::of_seed(0))
    }

    fn is_back(world: &Shared) -> Chooser {
        let mut world = lock(world);
        assert!(world.all_is_back(), "all sockets are closed, and everything was waited for");
        std::mem::replace(&mut world.choose, Chooser::of_seed(0))
    }
}
