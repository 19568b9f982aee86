//! A host and a target on a simulated link, which cuts bytes as a seed says, with a disk in memory.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use nvme::command::{FABRICS, Sqe};
use nvme::digest::digest;
use nvme::fabrics::{self, ConnectData, Parameter};
use nvme::host::{self, Payload};
use nvme::log::{AnaState, DiscoveryEntry};
use nvme::target::{
    self, Config, Controller, Effect, Fuse, Fused, Io, Namespace, Refusal, Request, Role, Subsystem, Tag, Transfer, Verdict,
};
use nvme::{Code, Fault, Head, Shape, Status};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) const SUBNQN: &str = "nqn.2024-01.example:disk";
pub(crate) const HOSTNQN: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001";
pub(crate) const NOW: Duration = Duration::from_secs(5);
pub(crate) const SHIFT: u8 = 9;
pub(crate) const BLOCKS: u64 = 512;

/// What the target serves.
pub(crate) struct Disk {
    pub(crate) namespace: Namespace,
    pub(crate) bytes: Vec<u8>,
    pub(crate) generation: u64,
    pub(crate) entries: Vec<DiscoveryEntry>,
    pub(crate) ana: bool,
    pub(crate) flushes: usize,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let namespace = Namespace {
            blocks: BLOCKS,
            shift: SHIFT,
            nguid: [7; 16],
            eui64: [0; 8],
            uuid: [9; 16],
            read_only: false,
            shared: true,
            zeroes: true,
            boundary: 0,
            group: 1,
            reservations: 0,
            persists: false,
        };
        Self { namespace, bytes: vec![0; (BLOCKS as usize) << SHIFT], generation: 1, entries: Vec::new(), ana: true, flushes: 0 }
    }
}

impl Subsystem for Disk {
    fn nqn(&self) -> &str {
        SUBNQN
    }

    fn serial(&self) -> &str {
        "S1"
    }

    fn model(&self) -> &str {
        "lcore"
    }

    fn largest(&self) -> u32 {
        4
    }

    fn namespace(&self, nsid: u32) -> Option<Namespace> {
        (nsid == 1).then_some(self.namespace)
    }

    fn after(&self, nsid: u32) -> Option<u32> {
        (nsid == 0).then_some(1)
    }

    fn group(&self, index: u32) -> Option<(u32, AnaState, u64)> {
        (index < 2).then_some((index + 1, AnaState::Optimized, 3))
    }

    fn has_ana(&self) -> bool {
        self.ana
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn discovered(&self, index: u64) -> Option<DiscoveryEntry> {
        self.entries.get(index as usize).copied()
    }
}

/// What all queues of the target have in common.
pub(crate) struct World {
    pub(crate) disk: Disk,
    pub(crate) role: Role,
    pub(crate) controller: Option<Controller>,
    /// Answers commands in the place of what comes after; `None` lets one pass.
    pub(crate) gate: Option<Gate>,
    /// AUTHREQ.
    pub(crate) authreq: u16,
}

pub(crate) type Gate = Box<dyn FnMut(&Sqe, &mut [u8]) -> Option<Result<(), Code>> + Send>;

impl World {
    pub(crate) fn new(role: Role) -> Self {
        Self { disk: Disk::new(), role, controller: None, gate: None, authreq: 0 }
    }

    fn config(&self) -> Config {
        Config { role: self.role, cntlid: 3, queues: 4, entries: 32, mdts: 5, in_capsule: 4096, fused: 8, reservations: false }
    }
}

struct Op {
    sqe: Sqe,
    data: Vec<u8>,
    transfer: Transfer,
    asked: u32,
    fuse: Fuse,
    ready: bool,
}

/// The target's end of a connection, with buffers for its commands.
pub(crate) struct Target {
    pub(crate) queue: target::Queue,
    pub(crate) out: Vec<u8>,
    ops: Vec<Option<Op>>,
    todo: Vec<Todo>,
    fused: Fused,
    qid: Option<u16>,
    pub(crate) refused: Vec<Code>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) terminated: Option<u16>,
    pub(crate) success_flag: bool,
    /// One R2T for all of the data, rather than several.
    pub(crate) asks_for_all: bool,
}

#[derive(Clone, Copy)]
enum Todo {
    Ask(Tag),
    Do(Tag),
}

impl Target {
    pub(crate) fn new() -> Self {
        Self::with(target::Settings { io_in_capsule: 4096, ..target::Settings::default() })
    }

    pub(crate) fn with(settings: target::Settings) -> Self {
        Self {
            queue: target::Queue::new(settings, NOW),
            out: Vec::new(),
            ops: Vec::new(),
            todo: Vec::new(),
            fused: Fused::default(),
            qid: None,
            refused: Vec::new(),
            effects: Vec::new(),
            terminated: None,
            success_flag: true,
            asks_for_all: false,
        }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        loop {
            match self.queue.receive(&mut bytes) {
                Ok(Some(event)) => self.event(event),
                Ok(None) => return Ok(()),
                Err(fault) => {
                    self.out.extend_from_slice(&self.queue.term_req().expect("something to say"));
                    return Err(fault);
                }
            }
        }
    }

    fn event(&mut self, event: target::Event<'_>) {
        match event {
            target::Event::Reply(head) => self.out.extend(head.parts().concat()),
            target::Event::Refused { head, why, .. } => {
                self.refused.push(why);
                if let Some(left) = self.fused.interrupt() {
                    self.complete(left, Code::MissingFused.into(), 0);
                }
                self.out.extend(head.parts().concat());
            }
            target::Event::Command { tag, sqe, data, whole } => {
                let (fuse, left) = self.fused.next(tag, &sqe);
                if let Some(left) = left {
                    self.complete(left, Code::MissingFused.into(), 0);
                }
                let length = match data {
                    Transfer::None => 0,
                    Transfer::InCapsule(length) | Transfer::OnRequest(length) | Transfer::ToHost(length) => length,
                };
                if self.ops.len() <= tag.index() {
                    self.ops.resize_with(tag.index() + 1, || None);
                }
                let mut bytes = vec![0; length as usize];
                bytes[..whole.len()].copy_from_slice(whole);
                let before = self.ops[tag.index()].replace(Op { sqe, data: bytes, transfer: data, asked: 0, fuse, ready: false });
                assert!(before.is_none(), "a tag is one command's");
                match data {
                    Transfer::None | Transfer::ToHost(_) => self.todo.push(Todo::Do(tag)),
                    Transfer::OnRequest(_) => self.todo.push(Todo::Ask(tag)),
                    Transfer::InCapsule(_) if !whole.is_empty() => {
                        assert_eq!(whole.len(), length as usize, "all or nothing");
                        self.todo.push(Todo::Do(tag));
                    }
                    Transfer::InCapsule(_) => {}
                }
            }
            target::Event::Data { tag, offset, bytes } => {
                let op = self.ops[tag.index()].as_mut().expect("data of a command");
                op.data[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
            }
            target::Event::Asked { tag } => self.todo.push(Todo::Ask(tag)),
            target::Event::Ready { tag, intact: true } => self.todo.push(Todo::Do(tag)),
            target::Event::Ready { tag, intact: false } => self.complete(tag, Code::TransientTransportError.into(), 0),
            target::Event::Terminated { fes, .. } => self.terminated = Some(fes),
        }
    }

    /// Does one thing that is to be done, whichever.
    pub(crate) fn work(&mut self, world: &mut World, rng: &mut Rng) -> bool {
        if let Some((tag, result)) = self.qid.filter(|qid| *qid == 0).and_then(|_| world.controller.as_mut()?.next_event()) {
            self.complete(tag, Status::SUCCESS, result);
            return true;
        }
        if self.todo.is_empty() {
            return false;
        }
        match self.todo.swap_remove(rng.usize(..self.todo.len())) {
            Todo::Ask(tag) => {
                let Some(op) = &self.ops[tag.index()] else { panic!("an unknown command") };
                let whole = op.data.len() as u32;
                let left = whole - op.asked;
                // All that is left, or a part.
                let length = if self.asks_for_all || left < 4 || rng.bool() { left } else { 4 * rng.u32(1..=left / 4) };
                let head = self.queue.ask(tag, length).expect("data that has not come");
                self.ops[tag.index()].as_mut().expect("a command").asked += length;
                self.out.extend(head.parts().concat());
            }
            Todo::Do(tag) => self.run(tag, world, rng),
        }
        true
    }

    pub(crate) fn complete(&mut self, tag: Tag, status: Status, result: u64) {
        self.ops[tag.index()] = None;
        self.todo.retain(|(Todo::Ask(it) | Todo::Do(it))| *it != tag);
        if let Some(head) = self.queue.complete(tag, status, result).expect("a command") {
            self.out.extend(head.parts().concat());
        }
    }

    fn run(&mut self, tag: Tag, world: &mut World, rng: &mut Rng) {
        let Some(op) = self.ops[tag.index()].as_mut() else { return };
        op.ready = true;
        match op.fuse {
            Fuse::Single => {}
            Fuse::Missing => return self.complete(tag, Code::MissingFused.into(), 0),
            Fuse::Failed => return self.complete(tag, Code::FailedFused.into(), 0),
            Fuse::First | Fuse::Both { .. } => return self.run_fused(world),
        }
        let sqe = op.sqe;
        let mut data = std::mem::take(&mut op.data);
        match (self.qid, sqe.opcode) {
            (None, _) => match connect(world, &sqe, &data) {
                Ok((request, result)) => {
                    self.ops[tag.index()] = None;
                    self.qid = Some(request.qid);
                    self.out.extend(self.queue.open(tag, &request, result).expect("a Connect").parts().concat());
                }
                Err(refusal) => self.complete(tag, refusal.status, refusal.result),
            },
            (Some(0), _) | (_, FABRICS) => self.admin(tag, &sqe, &mut data, world, rng),
            _ => {
                let length = data.len() as u32;
                let (namespace, disk) = (world.disk.namespace, &mut world.disk);
                let found = if sqe.nsid.get() == 1 { Ok(()) } else { Err(Code::InvalidNamespace) };
                match found.and_then(|()| Io::read(&sqe, &namespace, length)).and_then(|io| perform(disk, io, &mut data)) {
                    Ok(()) => self.succeed(tag, &data, 0, rng),
                    Err(code) => self.complete(tag, code.into(), 0),
                }
            }
        }
    }

    /// Does each two fused commands whose data is there.
    fn run_fused(&mut self, world: &mut World) {
        let ready = |op: &Option<Op>| op.as_ref().is_some_and(|op| op.ready);
        let found = self.queue.in_flight().find_map(|tag| match self.ops.get(tag.index())?.as_ref()? {
            Op { fuse: Fuse::Both { first, compare }, ready: true, sqe, .. } if ready(&self.ops[first.index()]) => {
                Some((*first, tag, *compare, *sqe))
            }
            _ => None,
        });
        let Some((first, second, compare, write)) = found else { return };
        let data = [first, second].map(|tag| self.ops[tag.index()].take().expect("a command").data);
        let length = [data[0].len() as u32, data[1].len() as u32];
        let disk = &mut world.disk;
        let done = target::compare_and_write(&compare, &write, &disk.namespace, length).and_then(|(slba, blocks, _)| {
            let range = (slba as usize) << SHIFT..((slba + u64::from(blocks)) as usize) << SHIFT;
            if disk.bytes[range.clone()] != data[0] {
                return Err([Code::CompareFailure, Code::FailedFused]);
            }
            disk.bytes[range].copy_from_slice(&data[1]);
            Ok(())
        });
        let codes = done.map_or_else(|codes| codes, |()| [Code::Success; 2]);
        self.complete(first, codes[0].into(), 0);
        self.complete(second, codes[1].into(), 0);
    }

    fn admin(&mut self, tag: Tag, sqe: &Sqe, data: &mut [u8], world: &mut World, rng: &mut Rng) {
        if let Some(answer) = world.gate.as_mut().and_then(|gate| gate(sqe, data)) {
            return match answer {
                Ok(()) => self.succeed(tag, data, 0, rng),
                Err(code) => self.complete(tag, code.into(), 0),
            };
        }
        let controller = world.controller.as_mut().expect("connected");
        let sent = data.to_vec();
        let verdict =
            if self.qid == Some(0) { controller.admin(NOW, tag, sqe, &sent, data, &world.disk) } else { controller.io_fabrics(sqe) };
        match verdict {
            Verdict::Done { status, result, effect } => {
                self.effects.push(effect);
                if status.is_success() { self.succeed(tag, data, result, rng) } else { self.complete(tag, status, result) }
            }
            Verdict::Held => {}
            // This disk has no reservations.
            Verdict::Persist { .. } => self.complete(tag, Code::InvalidField.into(), 0),
            Verdict::Abort { qid, cid } => {
                let held = self.queue.find(cid).filter(|held| qid == 0 && controller.take_request(*held));
                if let Some(held) = held {
                    self.complete(held, Code::AbortRequested.into(), 0);
                }
                self.succeed(tag, &[], u64::from(held.is_none()), rng);
            }
        }
    }

    fn succeed(&mut self, tag: Tag, data: &[u8], result: u64, rng: &mut Rng) {
        let transfer = self.ops[tag.index()].as_ref().expect("a command").transfer;
        if !matches!(transfer, Transfer::ToHost(_)) {
            return self.complete(tag, Status::SUCCESS, result);
        }
        let mut left = data;
        while !left.is_empty() {
            let dwords = left.len() / 4;
            let length = if rng.bool() || dwords < 2 { left.len() } else { 4 * rng.usize(1..=dwords) };
            let (piece, rest) = left.split_at(length);
            left = rest;
            let length = length as u32;
            let succeeds = rest.is_empty() && result == 0 && self.success_flag && rng.bool();
            let head =
                if succeeds { self.queue.data_and_success(tag, length) } else { self.queue.data(tag, length) }.expect("data to send");
            put(&mut self.out, &head, piece, self.queue.shape());
            if succeeds {
                self.ops[tag.index()] = None;
                return;
            }
        }
        self.complete(tag, Status::SUCCESS, result);
    }
}

/// A head, its data, and the digest.
pub(crate) fn put(out: &mut Vec<u8>, head: &Head, data: &[u8], shape: Shape) {
    out.extend(head.parts().concat());
    out.extend_from_slice(data);
    if shape.data_digest && !data.is_empty() {
        out.extend_from_slice(&digest(data));
    }
}

fn connect<'a>(world: &mut World, sqe: &Sqe, data: &'a [u8]) -> Result<(Request<'a>, u64), Refusal> {
    let config = world.config();
    let request = Request::read(sqe, data, config.entries)?;
    let subnqn = if world.role == Role::Discovery { fabrics::DISCOVERY_NQN } else { SUBNQN };
    if request.subnqn != subnqn {
        return Err(Parameter::SUBNQN.into());
    }
    if request.qid == 0 {
        world.controller = Some(Controller::new(config, &request, NOW));
    } else {
        world.controller.as_mut().ok_or(Refusal::from(Parameter::CNTLID))?.connect(&request)?;
    }
    Ok((request, fabrics::accepted(config.cntlid, world.authreq)))
}

fn perform(disk: &mut Disk, io: Io, data: &mut [u8]) -> Result<(), Code> {
    let range = |slba: u64, blocks: u32| (slba as usize) << SHIFT..((slba + u64::from(blocks)) as usize) << SHIFT;
    match io {
        Io::Read { slba, blocks } => data.copy_from_slice(&disk.bytes[range(slba, blocks)]),
        Io::Write { slba, blocks, .. } => disk.bytes[range(slba, blocks)].copy_from_slice(data),
        Io::Compare { slba, blocks } if disk.bytes[range(slba, blocks)] == *data => {}
        Io::Compare { .. } => return Err(Code::CompareFailure),
        Io::WriteZeroes { slba, blocks, .. } => disk.bytes[range(slba, blocks)].fill(0),
        Io::Flush => disk.flushes += 1,
        Io::Deallocate { ranges } => {
            for (slba, blocks) in target::ranges(data, ranges, &disk.namespace)? {
                disk.bytes[range(slba, blocks)].fill(0);
            }
        }
        Io::Nothing => {}
    }
    Ok(())
}

/// A command that is done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) cid: u16,
    pub(crate) status: Status,
    pub(crate) result: u64,
    pub(crate) data: Vec<u8>,
}

/// The host's end of a connection.
pub(crate) struct Host {
    pub(crate) queue: host::Queue,
    pub(crate) out: Vec<u8>,
    sends: Vec<Vec<u8>>,
    receives: Vec<Vec<u8>>,
    pub(crate) done: VecDeque<Done>,
    pub(crate) terminated: Option<(u16, u32)>,
    /// Damages the next data that is sent, to see what becomes of it.
    pub(crate) damage: bool,
}

impl Host {
    pub(crate) fn new(shape: Shape, commands: u16, in_capsule: u32) -> Self {
        let (queue, hello) = host::Queue::new(host::Settings { shape, commands, in_capsule });
        let many = || vec![Vec::new(); commands.into()];
        Self { queue, out: hello.parts().concat(), sends: many(), receives: many(), done: VecDeque::new(), terminated: None, damage: false }
    }

    pub(crate) fn submit(&mut self, sqe: Sqe, payload: Payload, data: &[u8]) -> u16 {
        let command = self.queue.submit(sqe, payload).expect("room for a command");
        let cid = usize::from(command.cid);
        if command.with_data {
            self.put(&command.head, data)
        } else {
            self.out.extend(command.head.parts().concat())
        }
        self.sends[cid] = data.to_vec();
        self.receives[cid] = if let Payload::Receive(length) = payload { vec![0xEE; length as usize] } else { Vec::new() };
        command.cid
    }

    fn put(&mut self, head: &Head, data: &[u8]) {
        put(&mut self.out, head, data, self.queue.shape());
        if std::mem::take(&mut self.damage) {
            *self.out.last_mut().expect("data") ^= 1;
        }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        loop {
            match self.queue.receive(&mut bytes)? {
                None => return Ok(()),
                Some(host::Event::Ready) => {}
                Some(host::Event::Data { cid, offset, bytes }) => {
                    let offset = offset as usize;
                    self.receives[usize::from(cid)][offset..offset + bytes.len()].copy_from_slice(bytes);
                }
                Some(host::Event::Wanted { cid }) => {
                    while let Some(piece) = self.queue.next_piece(cid) {
                        let begin = piece.offset as usize;
                        let data = self.sends[usize::from(cid)][begin..begin + piece.length as usize].to_vec();
                        self.put(&piece.head, &data);
                    }
                }
                Some(host::Event::Completed { cid, status, result }) => {
                    let data = std::mem::take(&mut self.receives[usize::from(cid)]);
                    self.done.push_back(Done { cid, status, result, data });
                }
                Some(host::Event::Terminated { fes, fei }) => self.terminated = Some((fes, fei)),
            }
        }
    }
}

/// A host and a target, and the link between them.
pub(crate) struct Pair {
    pub(crate) host: Host,
    pub(crate) target: Target,
    pub(crate) rng: Rng,
}

impl Pair {
    pub(crate) fn new(seed: u64, shape: Shape, commands: u16, in_capsule: u32) -> Self {
        Self { host: Host::new(shape, commands, in_capsule), target: Target::new(), rng: Rng::with_seed(seed) }
    }

    /// Moves some bytes one way, or has the target do something; whether there was anything.
    pub(crate) fn step(&mut self, world: &mut World) -> Result<bool, Fault> {
        let way = self.rng.u8(..3);
        for way in (way..3).chain(0..way) {
            match way {
                0 if !self.host.out.is_empty() => {
                    let bytes = cut(&mut self.host.out, &mut self.rng);
                    self.target.feed(&bytes)?;
                }
                1 if !self.target.out.is_empty() => {
                    let bytes = cut(&mut self.target.out, &mut self.rng);
                    self.host.feed(&bytes)?;
                }
                2 if self.target.work(world, &mut self.rng) => {}
                _ => continue,
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Until nothing moves.
    pub(crate) fn settle(&mut self, world: &mut World) {
        while self.step(world).expect("a right conversation") {}
    }

    /// One command from its submission to its completion.
    pub(crate) fn call(&mut self, world: &mut World, sqe: Sqe, payload: Payload, data: &[u8]) -> Done {
        let cid = self.host.submit(sqe, payload, data);
        self.settle(world);
        let done = self.host.done.pop_front().expect("an answer");
        assert_eq!(done.cid, cid);
        done
    }

    /// An admin queue whose controller is ready.
    pub(crate) fn admin(seed: u64, shape: Shape, world: &mut World) -> (Self, host::Bringup) {
        let mut pair = Self::new(seed, shape, 31, 8192);
        pair.settle(world);
        let subnqn = if world.role == Role::Discovery { fabrics::DISCOVERY_NQN } else { SUBNQN };
        let data = ConnectData::new([5; 16], 0, subnqn, HOSTNQN).expect("names");
        let queues = if world.role == Role::Discovery { 0 } else { 8 };
        let mut bringup = host::Bringup::new(data, 32, 5000, queues);
        while let host::Step::Submit(sqe, payload) = bringup.step() {
            let sends = if matches!(payload, Payload::Send(_)) { bringup.data().as_bytes().to_vec() } else { Vec::new() };
            let done = pair.call(world, sqe, payload, &sends);
            bringup.done(done.status, done.result, &done.data).expect("a controller that comes up");
        }
        (pair, bringup)
    }

    /// An I/O queue of a controller that is ready.
    pub(crate) fn io(seed: u64, shape: Shape, world: &mut World, qid: u16) -> Self {
        let (_, bringup) = match &world.controller {
            None => Self::admin(seed, shape, world),
            Some(_) => return Self::io_of(seed, shape, world, qid, 3, 4096),
        };
        Self::io_of(seed, shape, world, qid, bringup.cntlid(), bringup.in_capsule())
    }

    fn io_of(seed: u64, shape: Shape, world: &mut World, qid: u16, cntlid: u16, in_capsule: u32) -> Self {
        let mut pair = Self::new(seed, shape, 31, 8192);
        pair.settle(world);
        let data = ConnectData::new([5; 16], cntlid, SUBNQN, HOSTNQN).expect("names");
        let done = pair.call(world, Sqe::connect(qid, 32, 0), Payload::Send(1024), data.as_bytes());
        assert!(done.status.is_success(), "{done:?}");
        pair.host.queue.set_in_capsule(in_capsule);
        pair
    }
}

fn cut(out: &mut Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    let most = out.len();
    let length = match rng.u8(..4) {
        0 => rng.usize(1..=most.min(16)),
        1 => rng.usize(1..=most),
        _ => most,
    };
    out.drain(..length).collect()
}

/// An entry of a discovery log.
pub(crate) fn entry(port: &str) -> DiscoveryEntry {
    let mut entry = DiscoveryEntry { trtype: 3, adrfam: 1, subtype: 2, cntlid: 0xFFFF.into(), ..DiscoveryEntry::new_zeroed() };
    entry.trsvcid = nvme::identify::text(port);
    entry.traddr = nvme::identify::text("127.0.0.1");
    entry
}

/// A PDU of `header` and `data` in `shape`.
pub(crate) fn pdu(header: &[u8], data: &[u8], shape: Shape) -> Vec<u8> {
    let mut bytes = header.to_vec();
    let kind = nvme::pdu::Kind::of(bytes[0]).unwrap();
    let digests = kind.has_digests();
    let mut plen = bytes.len();
    if shape.header_digest && digests {
        bytes[1] |= nvme::pdu::HEADER_DIGEST;
        plen += 4;
    }
    let mut pdo = 0;
    if !data.is_empty() {
        pdo = plen.next_multiple_of((usize::from(shape.alignment) + 1) * 4);
        plen = pdo + data.len();
        if shape.data_digest && digests {
            bytes[1] |= nvme::pdu::DATA_DIGEST;
            plen += 4;
        }
    }
    bytes[3] = pdo as u8;
    bytes[4..8].copy_from_slice(&(plen as u32).to_le_bytes());
    seal(&mut bytes, header.len(), shape.header_digest && digests);
    if !data.is_empty() {
        bytes.resize(pdo, 0);
        bytes.extend_from_slice(data);
        if shape.data_digest && digests {
            bytes.extend_from_slice(&digest(data));
        }
    }
    bytes
}

fn seal(bytes: &mut Vec<u8>, header: usize, digested: bool) {
    if digested {
        let sum = digest(&bytes[..header]);
        bytes.truncate(header);
        bytes.extend_from_slice(&sum);
    }
}
