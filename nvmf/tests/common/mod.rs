//! A target on simulated cores and a simulated network, by a clock that the test moves, and hosts
//! that a test leads by the hand.

#![allow(dead_code, reason = "each test uses a part")]

#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use bdev::{Bdevs, Mode};
use bdev_fault::Faults;
use bdev_malloc::Config;
use core_reactor::CpuSet;
use core_reactor::net::SockOptions;
use core_reactor::sim::Sim;
use net_impl_mem::{MemNet, SimSocket};
use nvme::command::Sqe;
use nvme::digest::digest;
use nvme::fabrics::{ConnectData, DISCOVERY_NQN};
use nvme::host::{Bringup, Event, Payload, Queue, Settings, Step};
use nvme::{Code, Shape, Status};
use nvmf::{NamespaceConfig, Server, ServerConfig, SubsystemConfig, Target, Transport};
use pool::{Class, ClassConfig, DataPool, DataPoolConfig};
use zerocopy::IntoBytes;

pub(crate) const NQN: &str = "nqn.2016-06.io.spdk:cnode1";
pub(crate) const HOSTNQN: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001";
pub(crate) const BLOCKS: u64 = 4096;
pub(crate) const BLOCK: usize = 512;

/// Turns of all cores after which what is waited for is not going to happen.
const TURNS: usize = 200_000;

/// A target that runs, with one subsystem of one namespace, Malloc0, for any host.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) net: &'static MemNet,
    pub(crate) target: Target,
    pub(crate) server: Server,
    pub(crate) bdevs: Bdevs,
    pub(crate) pool: DataPool,
    pub(crate) at: SocketAddr,
    /// The key that hosts offer from now on.
    #[cfg(feature = "tls")]
    pub(crate) offered: Option<nvme::auth::TlsPsk>,
}

/// What a world is to be.
pub(crate) struct Wishes {
    pub(crate) cores: u16,
    pub(crate) net: net_impl_mem::Faults,
    /// Faults of the device, which then is Fault0 on top of Malloc0.
    pub(crate) device: Option<Faults>,
    /// Small and large buffers.
    pub(crate) buffers: (usize, usize),
    pub(crate) ana: bool,
    pub(crate) any_host: bool,
    pub(crate) transport: Transport,
    /// That a core has room for.
    pub(crate) connections: usize,
}

impl Default for Wishes {
    fn default() -> Self {
        let net = net_impl_mem::Faults::default();
        Self {
            cores: 2,
            net,
            device: None,
            buffers: (256, 32),
            ana: false,
            any_host: true,
            transport: Transport::default(),
            connections: 1024,
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Wishes::default())
    }

    pub(crate) fn with(wishes: Wishes) -> Self {
        let net: &'static MemNet = Box::leak(Box::new(MemNet::new(1, wishes.net)));
        let mut sim = Sim::new(wishes.cores);
        net.set_clock(sim.platform.clone());
        let bdevs = Bdevs::new(1);
        bdev_malloc::malloc(&bdevs, Config::new(BLOCK as u32, BLOCKS).name("Malloc0")).expect("a device");
        let target = Target::new();
        let config = DataPoolConfig::DEFAULT
            .small(ClassConfig { count: wishes.buffers.0, size: 16 << 10 })
            .large(ClassConfig { count: wishes.buffers.1, size: 136 << 10 })
            .control(ClassConfig { count: 32, size: 4 << 10 })
            .waiters(16);
        let pool = DataPool::on_heap(config).expect("a pool");
        let mut config = ServerConfig::new(net, target.clone(), pool.clone(), wishes.cores.into());
        config.connections = wishes.connections;
        let cores: CpuSet = sim.lib().reactors();
        let server = Server::start(sim.lib(), &cores, config, |_, outcome| assert!(outcome.is_ok(), "{outcome:?}")).expect("it starts");
        sim.settle();
        target.create_transport(wishes.transport).expect("a transport");
        let mut subsystem = SubsystemConfig::new(NQN);
        (subsystem.allow_any_host, subsystem.ana_reporting) = (wishes.any_host, wishes.ana);
        target.add_subsystem(subsystem).expect("a subsystem");
        let name = match wishes.device {
            None => "Malloc0",
            Some(faults) => {
                bdev_fault::fault(&bdevs, "Fault0", "Malloc0", faults).expect("a device");
                "Fault0"
            }
        };
        let device = bdevs.get(name).and_then(|bdev| bdev.open(Mode::ReadWrite)).expect("it opens");
        assert_eq!(target.add_namespace(NQN, NamespaceConfig::new(device)).expect("a namespace"), 1);
        let at = target.add_listener(NQN, "127.0.0.1:0".parse().expect("an address")).expect("a listener");
        sim.settle();
        Self {
            sim,
            net,
            target,
            server,
            bdevs,
            pool,
            at,
            #[cfg(feature = "tls")]
            offered: None,
        }
    }

    /// What is in use now.
    pub(crate) fn counts(&self) -> Counts {
        let of = |class| self.pool.stats(class).in_use;
        let figure = |of: fn(&nvmf::GroupFigures) -> &std::sync::atomic::AtomicU64| {
            self.figure(|it| of(it).load(std::sync::atomic::Ordering::Relaxed))
        };
        Counts {
            buffers: [of(Class::Small), of(Class::Large), of(Class::Control)],
            connecting: figure(|it| &it.current_connecting),
            admin: figure(|it| &it.current_admin_queues),
            io: figure(|it| &it.current_io_queues),
            requests: figure(|it| &it.pending_io),
            queues: self
                .target
                .subsystem(NQN)
                .map_or_else(|_| Vec::new(), |it| it.controllers().iter().map(|it| it.queues().len()).collect()),
        }
    }

    /// Ends the target: everything is counted home.
    pub(crate) fn end(mut self) {
        self.sim.lib().stop();
        for turn in 0..TURNS {
            if self.sim.lib().threads().is_empty() {
                break;
            }
            let _ = self.sim.turn();
            // What waits for the end of its time is not made to wait in small steps.
            self.sim.platform.advance(Duration::from_micros(if turn < 2000 { 10 } else { 1000 }));
        }
        assert!(self.sim.lib().threads().is_empty(), "it ends");
        assert_eq!(self.counts(), Counts::default(), "everything is home");
    }

    /// Turns until something holds.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS {
            if holds(self) {
                return;
            }
            let _ = self.sim.turn();
            self.sim.platform.advance(Duration::from_nanos(100));
        }
        panic!("{what} does not come about");
    }

    pub(crate) fn figure(&self, of: impl Fn(&nvmf::GroupFigures) -> u64) -> u64 {
        self.server.figures().iter().map(|it| of(it)).sum()
    }
}

/// What a target has in use.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Small, large, and for answers.
    pub(crate) buffers: [usize; 3],
    /// Connections that are no queue yet, admin queues, I/O queues.
    pub(crate) connecting: u64,
    pub(crate) admin: u64,
    pub(crate) io: u64,
    /// Requests that devices have.
    pub(crate) requests: u64,
    /// Queues of each controller of the subsystem.
    pub(crate) queues: Vec<usize>,
}

/// Where a host goes away: after so many bytes that it has sent, or heard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Sent(usize),
    Heard(usize),
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) cid: u16,
    pub(crate) status: Status,
    pub(crate) result: u64,
    pub(crate) data: Vec<u8>,
}

impl Done {
    pub(crate) fn code(&self) -> Code {
        self.status.code().expect("a known status")
    }
}

/// A queue of a host.
pub(crate) struct Host {
    pub(crate) sock: SimSocket,
    pub(crate) queue: Queue,
    pub(crate) out: VecDeque<u8>,
    pub(crate) sends: Vec<Vec<u8>>,
    receives: Vec<Vec<u8>>,
    pub(crate) done: VecDeque<Done>,
    /// FES and FEI.
    pub(crate) terminated: Option<(u16, u32)>,
    pub(crate) is_closed: bool,
    /// Reads nothing.
    pub(crate) is_deaf: bool,
    /// Does not send what it is asked for.
    pub(crate) is_mute: bool,
    /// Commands that were asked for data while it was mute.
    pub(crate) asked: Vec<u16>,
    /// Damages the next data that is sent.
    pub(crate) damage: bool,
    /// Goes away there, by a reset or in order.
    pub(crate) cut: Option<Cut>,
    pub(crate) cut_resets: bool,
    /// Bytes that it has sent and heard.
    pub(crate) moved: (usize, usize),
    #[cfg(feature = "tls")]
    pub(crate) session: Option<nvme_tls::Session>,
}

impl Host {
    /// A connection, initialized.
    pub(crate) fn new(world: &mut World, shape: Shape, commands: u16) -> Self {
        let mut host = Self::half_open(world, shape, commands);
        world.until("ICResp", |_| {
            host.pump();
            host.queue.is_ready()
        });
        host
    }

    /// A connection on which nothing was said.
    pub(crate) fn half_open(world: &mut World, shape: Shape, commands: u16) -> Self {
        // Whatever is not read yet waits here.
        let sock = world.net.dial(world.at, &SockOptions::default().send_buf(4 << 20)).expect("a free port");
        world.until("a connection", |_| matches!(sock.connected(), Poll::Ready(Ok(()))));
        let (queue, hello) = Queue::new(Settings { shape, commands, in_capsule: 8192 });
        let many = || vec![Vec::new(); commands.into()];
        Self {
            sock,
            queue,
            out: hello.parts().concat().into(),
            sends: many(),
            receives: many(),
            done: VecDeque::new(),
            terminated: None,
            is_closed: false,
            is_deaf: false,
            is_mute: false,
            asked: Vec::new(),
            damage: false,
            cut: None,
            cut_resets: false,
            moved: (0, 0),
            #[cfg(feature = "tls")]
            session: world.offered.as_ref().map(|key| nvme_tls::Session::client(std::slice::from_ref(key)).expect("a session")),
        }
    }

    /// An admin queue whose controller is ready.
    pub(crate) fn admin(world: &mut World) -> (Self, Bringup) {
        Self::admin_of(world, Shape::default(), NQN, HOSTNQN, 15_000)
    }

    pub(crate) fn admin_of(world: &mut World, shape: Shape, nqn: &str, hostnqn: &str, kato: u32) -> (Self, Bringup) {
        let mut host = Self::new(world, shape, 31);
        let data = ConnectData::new(id_of(hostnqn), 0, nqn, hostnqn).expect("names");
        let mut bringup = Bringup::new(data, 32, kato, if nqn == DISCOVERY_NQN { 0 } else { 8 });
        while let Step::Submit(sqe, payload) = bringup.step() {
            let sends = if matches!(payload, Payload::Send(_)) { bringup.data().as_bytes().to_vec() } else { Vec::new() };
            let done = host.call(world, sqe, payload, &sends);
            bringup.done(done.status, done.result, &done.data).expect("a controller that comes up");
        }
        (host, bringup)
    }

    /// An I/O queue of that controller.
    pub(crate) fn io(world: &mut World, bringup: &Bringup, qid: u16) -> Self {
        Self::io_of(world, Shape::default(), NQN, HOSTNQN, bringup, qid)
    }

    pub(crate) fn io_of(world: &mut World, shape: Shape, nqn: &str, hostnqn: &str, bringup: &Bringup, qid: u16) -> Self {
        let (host, done) = Self::try_io(world, shape, nqn, hostnqn, bringup, qid);
        assert!(done.status.is_success(), "{done:?}");
        host
    }

    pub(crate) fn try_io(world: &mut World, shape: Shape, nqn: &str, hostnqn: &str, bringup: &Bringup, qid: u16) -> (Self, Done) {
        let mut host = Self::new(world, shape, 31);
        let data = ConnectData::new(id_of(hostnqn), bringup.cntlid(), nqn, hostnqn).expect("names");
        let done = host.call(world, Sqe::connect(qid, 32, 0), Payload::Send(1024), data.as_bytes());
        host.queue.set_in_capsule(bringup.in_capsule());
        (host, done)
    }

    pub(crate) fn submit(&mut self, sqe: Sqe, payload: Payload, data: &[u8]) -> u16 {
        let command = self.queue.submit(sqe, payload).expect("room for a command");
        self.out.extend(command.head.parts().concat());
        if command.with_data {
            self.put_data(data);
        }
        self.sends[usize::from(command.cid)] = data.to_vec();
        self.receives[usize::from(command.cid)] =
            if let Payload::Receive(length) = payload { vec![0xEE; length as usize] } else { Vec::new() };
        command.cid
    }

    fn put_data(&mut self, data: &[u8]) {
        self.out.extend(data);
        if self.queue.shape().data_digest {
            self.out.extend(digest(data));
        }
        if std::mem::take(&mut self.damage) {
            *self.out.back_mut().expect("data") ^= 1;
        }
    }

    /// Moves what can be moved.
    pub(crate) fn pump(&mut self) {
        #[cfg(feature = "tls")]
        if self.pump_secured() {
            return;
        }
        while !self.out.is_empty() && !self.is_closed {
            let most = match self.cut {
                Some(Cut::Sent(most)) => most - self.moved.0,
                _ => usize::MAX,
            };
            let some = most.min(self.out.len());
            match if some == 0 { return self.vanish() } else { self.sock.write(&self.out.make_contiguous()[..some]) } {
                Poll::Ready(Ok(n)) => {
                    self.moved.0 += n;
                    drop(self.out.drain(..n));
                }
                Poll::Ready(Err(_)) => {
                    self.is_closed = true;
                    self.out.clear();
                }
                Poll::Pending => break,
            }
        }
        let mut buf = [0; 65536];
        while !self.is_deaf && !self.is_closed {
            let most = match self.cut {
                Some(Cut::Heard(most)) => most - self.moved.1,
                _ => usize::MAX,
            };
            let some = most.min(buf.len());
            match if some == 0 { return self.vanish() } else { self.sock.read(&mut buf[..some]) } {
                Poll::Ready(Ok(0) | Err(_)) => self.is_closed = true,
                Poll::Ready(Ok(n)) => {
                    self.moved.1 += n;
                    self.feed(&buf[..n]);
                }
                Poll::Pending => break,
            }
        }
    }

    /// Goes away.
    fn vanish(&mut self) {
        self.is_closed = true;
        if self.cut_resets {
            self.sock.reset();
        } else {
            self.sock.close();
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(event) = self.queue.receive(&mut bytes).expect("a right answer") {
            match event {
                Event::Ready => {}
                Event::Data { cid, offset, bytes } => {
                    self.receives[usize::from(cid)][offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
                }
                Event::Wanted { cid } if self.is_mute => self.asked.push(cid),
                Event::Wanted { cid } => self.send_wanted(cid),
                Event::Completed { cid, status, result } => {
                    let data = std::mem::take(&mut self.receives[usize::from(cid)]);
                    self.done.push_back(Done { cid, status, result, data });
                }
                Event::Terminated { fes, fei } => self.terminated = Some((fes, fei)),
            }
        }
    }

    pub(crate) fn send_wanted(&mut self, cid: u16) {
        while let Some(piece) = self.queue.next_piece(cid) {
            let begin = piece.offset as usize;
            let data = self.sends[usize::from(cid)][begin..begin + piece.length as usize].to_vec();
            self.out.extend(piece.head.parts().concat());
            self.put_data(&data);
        }
    }

    pub(crate) fn call(&mut self, world: &mut World, sqe: Sqe, payload: Payload, data: &[u8]) -> Done {
        let cid = self.submit(sqe, payload, data);
        self.wait(world, cid)
    }

    pub(crate) fn wait(&mut self, world: &mut World, cid: u16) -> Done {
        let mut found = None;
        world.until("an answer", |_| {
            self.pump();
            found = self.done.iter().position(|done| done.cid == cid);
            assert!(found.is_some() || !self.is_closed, "the target has closed the connection");
            found.is_some()
        });
        found.and_then(|at| self.done.remove(at)).expect("it was found")
    }

    pub(crate) fn write(&mut self, world: &mut World, slba: u64, data: &[u8]) -> Done {
        let blocks = (data.len() / BLOCK) as u32;
        self.call(world, Sqe::blocks(nvme::command::io::WRITE, 1, slba, blocks, 0), Payload::Send(data.len() as u32), data)
    }

    pub(crate) fn read(&mut self, world: &mut World, slba: u64, blocks: u32) -> Done {
        let length = blocks * BLOCK as u32;
        self.call(world, Sqe::blocks(nvme::command::io::READ, 1, slba, blocks, 0), Payload::Receive(length), &[])
    }

    /// Ends with FIN.
    pub(crate) fn close(self) {
        self.sock.close();
    }

    /// Ends with RST.
    pub(crate) fn reset(self) {
        self.sock.reset();
    }

    /// Until the target has closed it.
    pub(crate) fn closed(&mut self, world: &mut World) {
        world.until("the end of a connection", |_| {
            self.pump();
            self.is_closed
        });
    }
}

/// A host's identifier, by its name.
pub(crate) fn id_of(hostnqn: &str) -> [u8; 16] {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&(hostnqn.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte))).to_le_bytes());
    id
}

pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}
