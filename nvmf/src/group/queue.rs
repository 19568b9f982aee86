//! A connection, which is one queue of a host.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bdev::Token;
use core_reactor::net::SockId;
use core_reactor::{Cx, Instant};
use nvme::auth::REQUIRED;
use nvme::command::{FABRICS, Sqe};
use nvme::digest::digest;
use nvme::fabrics::{ConnectData, accepted};
use nvme::target::{self, Event, Fuse, Fused, Request, Tag, Transfer};
use nvme::{Code, Fault, Head, Status, Wrong};
use pool::Buf;

use super::auth::{Auth, is_authentication};
use super::base::{Base, Way};
use super::bufs::Waiter;
use super::quiet::{Behind, Of, Then, Waiting};
use super::secure::Secure;
use crate::Association;
use crate::association::{QueueInfo, QueueKey};
use crate::atomic::{bump, drop_by};
use crate::connect::{Found, check};

/// How long a host may take to close its side once its queue has ended.
const LINGER: Duration = Duration::from_secs(2);

/// How long a host may take to send the data of a command; while others wait for buffers, less.
const DATA_LIMIT: Duration = Duration::from_secs(30);
const DATA_LIMIT_SHORT: Duration = Duration::from_secs(5);

/// How long a command may keep a buffer while its queue is held back, again and again or at once.
const KEEP_LIMIT: Duration = Duration::from_secs(60);

/// How long a host may take nothing of what is sent to it while others wait for buffers.
const STALL_LIMIT: Duration = Duration::from_secs(2);

/// How long it may take, once a queue is read from whose socket was full, until all has come that
/// its host's system had no room to send before: several times the way there and back.
const SETTLES: Duration = Duration::from_millis(200);

/// A socket of which so many polls ago not all was read may have been full until now.
const LATELY: u64 = 8;

/// A connection.
pub(crate) struct Queue {
    pub(crate) key: QueueKey,
    pub(crate) sock: SockId,
    pub(super) way: Way,
    /// A read that went well is answered by a flag.
    succeeds: bool,
    pub(super) proto: target::Queue,
    pub(super) role: Role,
    /// How its host shows who it is, if it has to.
    pub(super) auth: Option<Auth>,
    /// By tag.
    pub(super) commands: Vec<Option<Command>>,
    /// Commands whose data is coming.
    receiving: u32,
    pub(super) fused: Fused,
    /// Commands that wait for the end of older writes.
    pub(super) waiting: Vec<Waiting>,
    /// Heads to be sent: all of a poll go out together.
    pub(super) out: Vec<u8>,
    is_dirty: bool,
    /// Bytes that wait behind a command for whose data there is no buffer.
    backlog: Vec<u8>,
    stalled: Option<Stall>,
    /// Commands that have begun, and the last poll in which as many bytes came as fill a buffer.
    begun: u64,
    filled: u64,
    /// Bytes that were handed to the socket; those of them that the host had taken when that was
    /// last looked at, and since when it has taken no more.
    sent: u64,
    taken: (u64, Duration),
    /// It has ended, and is closed at this moment at the latest.
    pub(super) ending: Option<Duration>,
    /// What secures it.
    pub(super) secure: Option<Box<Secure>>,
}

/// Nothing more is read: a command waits for a buffer, and its data is what comes next.
struct Stall {
    /// The first so many bytes that wait are that data, if it came with the command.
    whole: usize,
    since: Instant,
}

/// What a connection is.
pub(crate) enum Role {
    /// It has not said yet; and what has come of the data of its Connect. Strangers have no buffer
    /// of those that others need.
    New(Vec<u8>),
    /// The admin queue of a controller.
    Admin(Arc<Association>),
    /// An I/O queue.
    Io {
        association: Arc<Association>,
        qid: u16,
        /// Where its devices are.
        place: usize,
    },
    /// One of a host that has not shown yet who it is: nothing is done for it until it has.
    Unproven(Box<Role>),
    /// None any more.
    Over,
}

/// A command in flight.
pub(crate) struct Command {
    pub(super) tag: Tag,
    pub(super) sqe: Sqe,
    pub(super) transfer: Transfer,
    pub(super) length: u32,
    pub(super) fuse: Fuse,
    pub(super) buf: Option<Buf>,
    pub(super) state: State,
    /// Requests of devices of which the outcome is to come.
    pub(super) left: u32,
    /// Of those that have come.
    pub(super) outcome: Code,
    /// By which it is known in a line for buffers.
    ticket: u64,
    /// Abort has named it while a device had it.
    pub(super) is_named: bool,
    /// When its data was asked for, or had come.
    pub(super) since: Instant,
    /// When it came, or got its buffer: no time is taken off that.
    began: Instant,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for a buffer.
    Waits,
    /// Its data is coming.
    Receives,
    /// All is there.
    Ready,
    /// A device has it.
    InDevice,
    /// The controller keeps it, or another core looks after it.
    Held,
}

impl Role {
    /// What it is, or will be once its host has shown who it is.
    pub(super) fn proven(&self) -> &Self {
        if let Self::Unproven(role) = self { role } else { self }
    }

    fn association(&self) -> Option<&Arc<Association>> {
        match self.proven() {
            Self::Admin(association) | Self::Io { association, .. } => Some(association),
            _ => None,
        }
    }
}

impl Queue {
    pub(crate) fn new(key: QueueKey, sock: SockId, way: Way, base: &mut Base) -> Self {
        bump(&base.figures.current_connecting, 1);
        Self {
            key,
            sock,
            way,
            succeeds: base.transport().c2h_success,
            proto: target::Queue::new(base.settings, base.time()),
            role: Role::New(Vec::new()),
            auth: None,
            commands: Vec::new(),
            receiving: 0,
            fused: Fused::default(),
            waiting: Vec::new(),
            out: Vec::new(),
            is_dirty: false,
            backlog: Vec::new(),
            stalled: None,
            begun: 0,
            filled: 0,
            sent: 0,
            taken: (0, Duration::ZERO),
            ending: None,
            secure: None,
        }
    }

    /// The controller that it belongs to.
    pub(crate) fn association(&self) -> Option<&Arc<Association>> {
        self.role.association()
    }

    pub(crate) fn is_admin(&self) -> bool {
        matches!(self.role.proven(), Role::Admin(_))
    }

    /// Whether it has ended, and only its connection is left.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.role, Role::Over)
    }

    /// Whether all that comes waits for a buffer.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// What a command is called at its devices.
    pub(super) fn token(&self, tag: Tag) -> Token {
        Token(self.key.token().0 | (tag.index() as u64) << QueueKey::PLACE_BITS)
    }

    /// Whether a command still waits for a buffer, and not another that has its tag by now.
    pub(crate) fn waits(&self, waiter: &Waiter) -> bool {
        let command = self.commands.get(waiter.tag.index());
        matches!(command, Some(Some(Command { state: State::Waits, ticket, .. })) if *ticket == waiter.ticket)
    }

    /// Something may be unread that has been sent by now.
    pub(super) fn behind(&self, base: &Base) -> Behind {
        Behind { queue: self.key, bound: self.begun + self.proto.entries() as u64 + 1, since: base.polls, settled_at: None }
    }

    /// Whether it may be so still. In a quiet poll everybody was read from who had something to
    /// say, and in so many polls whoever waits for a turn has one.
    pub(super) fn is_behind(&self, behind: &mut Behind, base: &Base, is_quiet: bool) -> bool {
        if self.is_over() || self.begun >= behind.bound {
            return false;
        }
        if self.is_stalled() || behind.settled_at.is_none() && self.filled + LATELY > behind.since {
            behind.settled_at = Some(base.now + SETTLES);
        }
        let had_a_turn = is_quiet || base.polls >= behind.since + base.patience;
        !had_a_turn || behind.settled_at.is_some_and(|at| base.now < at)
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, base: &mut Base, cx: &mut Cx<'_>, buf: &Buf) {
        if buf.spare_capacity() == 0 {
            self.filled = base.polls;
        }
        self.note(base);
        if self.way.is_secure { self.decrypt(base, cx, buf) } else { self.plain(base, cx, buf) }
    }

    /// The host lives: what somebody says on an I/O queue of whom it is not known who it is does
    /// not count.
    #[inline]
    fn note(&self, base: &Base) {
        match &self.role {
            Role::Admin(association) | Role::Io { association, .. } => association.hear(base.time()),
            Role::Unproven(role) => {
                if let Role::Admin(association) = &**role {
                    association.hear(base.time());
                }
            }
            Role::New(_) | Role::Over => {}
        }
    }

    /// Bytes as the host meant them.
    #[inline]
    pub(super) fn plain(&mut self, base: &mut Base, cx: &mut Cx<'_>, bytes: &[u8]) {
        if self.is_stalled() {
            self.backlog.extend_from_slice(bytes);
            return;
        }
        self.feed(base, cx, bytes);
    }

    fn feed(&mut self, base: &mut Base, cx: &mut Cx<'_>, mut bytes: &[u8]) {
        while self.ending.is_none() {
            match self.proto.receive(&mut bytes) {
                Ok(None) => return,
                Ok(Some(event)) => self.event(base, cx, event),
                Err(fault) => return self.fault(base, fault),
            }
            if self.is_stalled() {
                // The host is held back; what it has sent already waits here.
                self.backlog.extend_from_slice(bytes);
                let _ = base.sock.pause(self.sock);
                return;
            }
        }
    }

    fn event(&mut self, base: &mut Base, cx: &mut Cx<'_>, event: Event<'_>) {
        match event {
            Event::Reply(head) => self.put(base, &head),
            Event::Command { tag, sqe, data, whole } => self.command(base, cx, (tag, sqe, data), whole),
            Event::Data { tag, bytes, .. } => {
                if let Some(Some(Command { buf: Some(buf), .. })) = self.commands.get_mut(tag.index()) {
                    buf.append(bytes);
                } else if let Role::New(said) = &mut self.role {
                    // More than that is never read.
                    let room = size_of::<ConnectData>() - said.len();
                    said.extend_from_slice(&bytes[..room.min(bytes.len())]);
                }
            }
            // All is asked for at once.
            Event::Asked { .. } => {}
            Event::Ready { tag, intact } => {
                self.receiving -= 1;
                if let Some(Some(command)) = self.commands.get_mut(tag.index()) {
                    command.state = State::Ready;
                }
                if intact { self.run(base, cx, tag) } else { self.complete(base, tag, Code::TransientTransportError.into(), 0) }
            }
            Event::Refused { head, opcode, cid, why } => {
                let (opcode, cid) = (u32::from(opcode), u32::from(cid));
                logging::debug!("command {:#06x}, opcode {:#04x}, was refused: {}", cid, opcode, alloc::format!("{why}").as_str());
                self.put(base, &head);
                if let Some(left) = self.fused.interrupt() {
                    self.complete(base, left, Code::MissingFused.into(), 0);
                }
            }
            Event::Terminated { fes, fei } => {
                let (fes, fei) = (u32::from(fes), fei);
                logging::warn!(
                    "{} ends its connection: we broke the protocol, it says, FES {:#x}, FEI {:#x}",
                    self.name().as_str(),
                    fes,
                    fei
                );
                self.end(base);
            }
        }
    }

    /// A command came, and all of its data or none.
    fn command(&mut self, base: &mut Base, cx: &mut Cx<'_>, (tag, sqe, transfer): (Tag, Sqe, Transfer), whole: &[u8]) {
        let length = match transfer {
            Transfer::None => 0,
            Transfer::InCapsule(length) | Transfer::OnRequest(length) | Transfer::ToHost(length) => length,
        };
        let fuse = if matches!(self.role, Role::Io { .. }) && sqe.opcode != FABRICS {
            let (fuse, left) = self.fused.next(tag, &sqe);
            if let Some(left) = left {
                self.complete(base, left, Code::MissingFused.into(), 0);
            }
            fuse
        } else {
            // Before it has any memory.
            if let Err(why) = self.let_through(&sqe, length) {
                return self.complete(base, tag, why.into(), 0);
            }
            Fuse::Single
        };
        self.begun += 1;
        if fuse == Fuse::Single && !whole.is_empty() && self.write_at_once(base, cx, &sqe, whole) {
            return self.complete(base, tag, Status::SUCCESS, 0);
        }
        let command = Command {
            tag,
            sqe,
            transfer,
            length,
            fuse,
            buf: None,
            state: State::Waits,
            left: 0,
            outcome: Code::Success,
            ticket: 0,
            is_named: false,
            since: base.now,
            began: base.now,
        };
        // The lowest tags are used again first: so it is as long as there were ever commands at a
        // time, whatever the queue has entries.
        if self.commands.len() <= tag.index() {
            self.commands.resize_with(tag.index() + 1, || None);
        }
        self.commands[tag.index()] = Some(command);
        if length == 0 {
            return self.run(base, cx, tag);
        }
        if matches!(self.role, Role::New(_)) {
            return self.hear_stranger(base, cx, tag, whole);
        }
        match base.bufs.get(length) {
            Some(mut buf) => {
                buf.append(whole);
                self.granted(base, cx, tag, buf);
            }
            None => self.want_of_a_buffer(base, tag, whole),
        }
    }

    /// A command finds no buffer. Where its data is what comes next nothing else can be read until
    /// there is one.
    #[cold]
    fn want_of_a_buffer(&mut self, base: &mut Base, tag: Tag, whole: &[u8]) {
        let Some(Some(command)) = self.commands.get_mut(tag.index()) else { return };
        let in_capsule = matches!(command.transfer, Transfer::InCapsule(_));
        bump(&base.figures.buffer_waits, 1);
        command.ticket = base.bufs.wait(self.key, tag, command.length, in_capsule);
        if in_capsule {
            self.stalled = Some(Stall { whole: whole.len(), since: base.now });
            self.backlog.extend_from_slice(whole);
        }
    }

    /// A command with data of a host that is not connected, whose queue has one entry until then.
    fn hear_stranger(&mut self, base: &mut Base, cx: &mut Cx<'_>, tag: Tag, whole: &[u8]) {
        self.role = Role::New(whole[..whole.len().min(size_of::<ConnectData>())].to_vec());
        self.begin(base, cx, tag, !whole.is_empty());
    }

    /// There is a buffer for a command, with its data if that has come already.
    #[inline]
    pub(crate) fn granted(&mut self, base: &mut Base, cx: &mut Cx<'_>, tag: Tag, buf: Buf) {
        let Some(Some(command)) = self.commands.get_mut(tag.index()) else { return };
        if self.stalled.is_some() && matches!(command.transfer, Transfer::InCapsule(_)) {
            return self.go_on(base, cx, tag, buf);
        }
        let has_come = buf.len() == command.length as usize;
        command.buf = Some(buf);
        (command.since, command.began) = (base.now, base.now);
        self.begin(base, cx, tag, has_come);
    }

    /// There is a place for the data of a command, or the data itself.
    #[inline]
    fn begin(&mut self, base: &mut Base, cx: &mut Cx<'_>, tag: Tag, has_come: bool) {
        let Some(Some(command)) = self.commands.get_mut(tag.index()) else { return };
        let length = command.length;
        match command.transfer {
            Transfer::ToHost(_) | Transfer::None => self.run(base, cx, tag),
            Transfer::InCapsule(_) if has_come => self.run(base, cx, tag),
            Transfer::InCapsule(_) => {
                command.state = State::Receives;
                self.receiving += 1;
            }
            Transfer::OnRequest(_) => {
                command.state = State::Receives;
                self.receiving += 1;
                if let Ok(head) = self.proto.ask(tag, length) {
                    self.put(base, &head);
                }
            }
        }
    }

    /// There is a buffer for the command behind which all waited.
    #[cold]
    fn go_on(&mut self, base: &mut Base, cx: &mut Cx<'_>, tag: Tag, mut buf: Buf) {
        let Some(Stall { whole, since }) = self.stalled.take() else { return };
        self.excuse(base.now - since);
        let backlog = core::mem::take(&mut self.backlog);
        let (data, rest) = backlog.split_at(whole);
        buf.append(data);
        self.granted(base, cx, tag, buf);
        self.feed(base, cx, rest);
        if !self.is_stalled() && !base.is_stopping {
            let _ = base.sock.resume(self.sock);
        }
    }

    /// It was held back for so long: that is none of its host's time.
    fn excuse(&mut self, time: Duration) {
        for command in self.commands.iter_mut().flatten().filter(|it| it.state == State::Receives) {
            command.since += time;
        }
        if let Some(auth) = &mut self.auth {
            auth.excuse(time);
        }
    }

    /// Does a command, all of whose data has come.
    #[inline]
    pub(super) fn run(&mut self, base: &mut Base, cx: &mut Cx<'_>, tag: Tag) {
        let Some(Some(command)) = self.commands.get_mut(tag.index()) else { return };
        // Where there was nothing to wait for.
        command.state = State::Ready;
        command.since = base.now;
        match &self.role {
            Role::Io { place, .. } if command.sqe.opcode != FABRICS => {
                let place = *place;
                self.io(base, cx, place, tag);
            }
            // It was let through before its host lost what it had proved.
            Role::Unproven(_) if !is_authentication(&command.sqe) => self.complete(base, tag, Code::AuthenticationRequired.into(), 0),
            Role::Io { .. } | Role::Admin(_) | Role::Unproven(_) => self.admin(base, tag),
            Role::New(_) => self.connect(base, cx, tag, false),
            Role::Over => {}
        }
    }

    /// Does Connect, when no older write of the same host is with a device.
    pub(super) fn connect(&mut self, base: &mut Base, cx: &mut Cx<'_>, tag: Tag, is_quiet: bool) {
        let Some(command) = self.commands.get_mut(tag.index()).and_then(Option::take) else { return };
        let Role::New(data) = core::mem::replace(&mut self.role, Role::New(Vec::new())) else { return };
        let (transport, most, port) = (base.transport(), base.settings.max_transfer, self.way.port);
        let names = self.secure.as_ref().map(|secure| secure.names());
        let request = Request::read(&command.sqe, &data, transport.max_queue_depth);
        let found = request.and_then(|request| Ok((check(&base.target, port, names, &request)?, request)));
        // Nobody is asked on behalf of one that is not let in.
        if !is_quiet && let Some(of) = found.as_ref().ok().and_then(|(found, request)| older_writes(found, request)) {
            self.commands[tag.index()] = Some(command);
            self.role = Role::New(data);
            return self.wait_for(base, tag, &of, Then::Connect);
        }
        let outcome = found.and_then(|(found, request)| {
            let association = found.connect(&transport, most, &request, base.time())?;
            Ok((request, association))
        });
        match outcome {
            Ok((request, association)) => self.connected(base, cx, tag, &request, association),
            Err(refusal) => {
                let name = self.name();
                logging::info!("{} is refused: {}", name.as_str(), alloc::format!("{}", refusal.status).as_str());
                self.complete(base, tag, refusal.status, refusal.result);
            }
        }
    }

    fn connected(&mut self, base: &mut Base, cx: &mut Cx<'_>, tag: Tag, request: &Request<'_>, association: Arc<Association>) {
        let auth = base.target.authentication(&association.subsystem, request.hostnqn);
        let wanted = if auth.is_some() { REQUIRED } else { 0 };
        let Ok(head) = self.proto.open(tag, request, accepted(association.cntlid(), wanted)) else { return };
        self.put(base, &head);
        let info = QueueInfo {
            qid: request.qid,
            group: base.index,
            key: self.key,
            entries: request.entries,
            local: self.way.local,
            peer: self.way.peer,
        };
        association.entered(info);
        let figures = &base.figures;
        drop_by(&figures.current_connecting, 1);
        let (qid, cntlid) = (u32::from(request.qid), u32::from(association.cntlid()));
        let (subsystem, hostnqn) = (association.subsystem.clone(), request.hostnqn);
        if request.qid == 0 {
            bump(&figures.admin_queues, 1);
            bump(&figures.current_admin_queues, 1);
            self.role = Role::Admin(association);
            logging::info!("{} has connected to {} as controller {}", hostnqn, subsystem.nqn(), cntlid);
        } else {
            bump(&figures.io_queues, 1);
            bump(&figures.current_io_queues, 1);
            let place = base.enter(cx, &subsystem);
            self.role = Role::Io { association, qid: request.qid, place };
            logging::debug!("queue {} of controller {} of {} is connected", qid, cntlid, subsystem.nqn());
        }
        if let Some(auth) = auth {
            self.has_to_prove(base, auth);
        }
        // It may have ended while this was on its way.
        if self.association().is_some_and(|it| it.is_over()) {
            self.end(base);
        }
    }

    /// Sends what a command has read, which is in its buffer, and its response.
    pub(super) fn respond(&mut self, base: &mut Base, tag: Tag, result: u64) {
        let Some(command) = self.commands.get_mut(tag.index()).and_then(Option::take) else { return };
        let Some(mut buf) = command.buf else { return self.complete(base, tag, Code::InternalError.into(), 0) };
        let succeeds = result == 0 && self.succeeds;
        let head = if succeeds { self.proto.data_and_success(tag, command.length) } else { self.proto.data(tag, command.length) };
        let Ok(head) = head else { return self.complete(base, tag, Code::InternalError.into(), 0) };
        let sum = self.proto.shape().data_digest.then(|| digest(&buf));
        let [first, padding] = head.parts();
        buf.prepend(padding);
        buf.prepend(first);
        if let Some(sum) = sum {
            buf.append(&sum);
        }
        if !self.send(base, buf) {
            return self.end(base);
        }
        if succeeds {
            bump(&base.figures.commands, 1);
        } else {
            self.complete(base, tag, Status::SUCCESS, result);
        }
    }

    /// Answers a command.
    pub(super) fn complete(&mut self, base: &mut Base, tag: Tag, status: Status, result: u64) {
        let mut other_half = None;
        if let Some(Some(command)) = self.commands.get_mut(tag.index()).map(Option::take) {
            if command.state == State::Receives {
                self.receiving -= 1;
            }
            if !status.is_success() {
                other_half = self.other_half(&command);
            }
        }
        bump(&base.figures.commands, 1);
        // Where data is still under way, the answer comes behind it.
        if let Ok(Some(head)) = self.proto.complete(tag, status, result) {
            self.put(base, &head);
        }
        if let Some(other) = other_half {
            // Its own other half is this, which is answered.
            if let Some(Some(other)) = self.commands.get_mut(other.index()) {
                other.fuse = Fuse::Single;
            }
            self.complete(base, other, Code::FailedFused.into(), 0);
        }
    }

    /// Queues a head, to go out at the end of this poll.
    #[inline]
    pub(super) fn put(&mut self, base: &mut Base, head: &Head) {
        for part in head.parts() {
            self.out.extend_from_slice(part);
        }
        self.soil(base);
    }

    /// Sends a buffer. Whether it was taken.
    #[inline]
    fn send(&mut self, base: &mut Base, mut buf: Buf) -> bool {
        if self.way.is_secure && !self.encrypt(base, &mut buf) {
            return false;
        }
        self.sent += buf.len() as u64;
        base.send(self.sock, buf)
    }

    /// Has what is queued sent at the end of this poll.
    #[inline]
    pub(super) fn soil(&mut self, base: &mut Base) {
        if !self.is_dirty {
            self.is_dirty = true;
            base.dirty.push(self.key);
        }
    }

    /// Sends what is queued. Whether all of it went.
    pub(crate) fn flush(&mut self, base: &mut Base) -> bool {
        loop {
            let out = self.outgoing();
            if out.is_empty() {
                break;
            }
            let Some(mut buf) = base.bufs.get_control() else { return false };
            let taken = buf.append(out);
            out.drain(..taken);
            self.sent += taken as u64;
            if !base.send(self.sock, buf) {
                self.outgoing().clear();
                self.is_dirty = false;
                self.end(base);
                return true;
            }
        }
        self.is_dirty = false;
        true
    }

    fn fault(&mut self, base: &mut Base, fault: Fault) {
        // The first byte of a handshake.
        let hint = if fault.why == Wrong::Kind(0x16) { "; it may speak TLS, which this port does not take" } else { "" };
        logging::warn!("{}: {}{}", self.name().as_str(), alloc::format!("{fault}").as_str(), hint);
        bump(&base.figures.faults, 1);
        if let Some(last) = self.proto.term_req() {
            self.out.extend_from_slice(&last);
        }
        self.end(base);
    }

    /// Ends it: what is queued still goes out, then FIN.
    pub(crate) fn end(&mut self, base: &mut Base) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(base.time().saturating_add(LINGER));
        self.proto.end();
        self.forget(base);
        self.say_goodbye();
        let _ = self.flush(base);
        let _ = base.sock.shutdown(self.sock);
        // So that its end is seen.
        let _ = base.sock.resume(self.sock);
    }

    /// Gives up all commands, and leaves the controller. Buffers go home as devices give them back.
    pub(crate) fn forget(&mut self, base: &mut Base) {
        self.backlog = Vec::new();
        self.stalled = None;
        self.receiving = 0;
        self.waiting.clear();
        self.give_up_devices(base);
        self.leave_writes(base);
        self.commands.clear();
        let key = self.key;
        self.auth = None;
        let role = match core::mem::replace(&mut self.role, Role::Over) {
            Role::Unproven(role) => *role,
            role => role,
        };
        match role {
            Role::New(_) => drop_by(&base.figures.current_connecting, 1),
            Role::Admin(association) => {
                drop_by(&base.figures.current_admin_queues, 1);
                association.left(base.index, key);
                let (hostnqn, cntlid) = (association.hostnqn(), u32::from(association.cntlid()));
                logging::info!("controller {} of {} has ended", cntlid, hostnqn);
                base.target.close(&association);
            }
            Role::Io { association, qid, place } => {
                drop_by(&base.figures.current_io_queues, 1);
                association.left(base.index, key);
                association.controller.lock().disconnected(qid);
                base.leave(place);
            }
            Role::Unproven(_) | Role::Over => {}
        }
    }

    /// Looks what takes too long.
    pub(crate) fn on_time(&mut self, base: &mut Base) {
        let now = base.time();
        if let Some(by) = self.ending {
            if now >= by {
                let _ = base.sock.close(self.sock);
            }
            return;
        }
        if !self.waiting.is_empty() {
            self.look_for_unquiet(base);
        }
        let limit = if base.bufs.is_short() { DATA_LIMIT_SHORT } else { DATA_LIMIT };
        self.look_for_lone_first(base, limit);
        if self.keeps_for_too_long(base) {
            logging::warn!("{} is closed: a command of it has kept a buffer for {} s", self.name().as_str(), KEEP_LIMIT.as_secs());
            bump(&base.figures.late, 1);
            return self.end(base);
        }
        // What its host has said waits here: none of its times runs, nor does that of its
        // controller, whose other queues are not held back.
        if self.is_stalled() {
            return self.note(base);
        }
        let is_late = |command: &Command| command.state == State::Receives && base.now >= command.since + limit;
        // A Connect that waits has come in time.
        let connects_late = self.proto.is_late(now) && self.waiting.is_empty();
        if connects_late || (self.receiving > 0 && self.commands.iter().flatten().any(is_late)) {
            let what = match &self.secure {
                _ if self.proto.is_open() => "data that it was asked for",
                Some(secure) if !secure.is_open() => "TLS handshake",
                _ => "Connect",
            };
            logging::warn!("{} is closed: its {} did not come in time", self.name().as_str(), what);
            bump(&base.figures.late, 1);
            return self.end(base);
        }
        self.look_who_is_unproven(base);
        if let Role::Admin(association) = &self.role
            && association.is_gone(now)
        {
            let association = association.clone();
            logging::warn!("controller {} of {}: its keep alive timer has expired", u32::from(association.cntlid()), association.hostnqn());
            bump(&base.figures.expired, 1);
            self.end(base);
        }
    }

    /// The first of two fused commands has a buffer, and its second may never come.
    fn look_for_lone_first(&mut self, base: &mut Base, limit: Duration) {
        let Some(tag) = self.fused.lone() else { return };
        let is_old = |it: &Command| it.state == State::Ready && base.now >= it.since + limit;
        if self.commands.get(tag.index()).is_some_and(|it| it.as_ref().is_some_and(is_old)) {
            self.complete(base, tag, Code::MissingFused.into(), 0);
        }
    }

    /// Whether a command whose data does not come, or whose second half finds no buffer, has one
    /// for longer than anybody is excused.
    fn keeps_for_too_long(&self, base: &Base) -> bool {
        let keeps = |it: &&Command| it.state == State::Receives || it.state == State::Waits && matches!(it.fuse, Fuse::Both { .. });
        let is_possible = self.receiving > 0 || base.bufs.is_short();
        is_possible && self.commands.iter().flatten().filter(keeps).any(|it| base.now >= it.began + KEEP_LIMIT)
    }

    /// While others wait for buffers: so many bytes are still with the socket. A host that has
    /// taken nothing for long is ended.
    pub(crate) fn has_unsent(&mut self, base: &mut Base, unsent: u64) {
        let (now, taken) = (base.time(), self.sent.saturating_sub(unsent));
        if unsent == 0 || taken != self.taken.0 {
            self.taken = (taken, now);
        } else if now >= self.taken.1.saturating_add(STALL_LIMIT) {
            logging::warn!("{} is reset: it takes nothing of {} bytes, and others wait for the buffers", self.name().as_str(), unsent);
            bump(&base.figures.late, 1);
            let _ = base.sock.abort(self.sock);
        }
    }

    /// What to call it in the log.
    pub(super) fn name(&self) -> alloc::string::String {
        let peer = self.way.peer.map_or_else(|| "a host".into(), |peer| alloc::format!("{peer}"));
        match self.association() {
            Some(association) => alloc::format!("{peer} ({})", association.hostnqn()),
            None => peer,
        }
    }
}

/// The writes that are to be over before a Connect is answered.
fn older_writes(found: &Found, request: &Request<'_>) -> Option<Of> {
    let subsystem = found.subsystem.clone();
    (!subsystem.is_discovery()).then(|| Of::Host { subsystem, nqn: request.hostnqn.into(), alive: request.qid == 0 })
}
