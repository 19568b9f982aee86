//! What a group spends in a steady state: no allocation per I/O, and little memory for a connection
//! that does nothing. For test programs of their own, because the heap is counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use core_reactor::net::{Events, Frame, GroupConfig, NetEvent, SockGroup, SockOptions, Token};
use core_reactor::{CpuSet, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::BufGroup;

use super::Env;
use super::limits::need_descriptors;
use crate::heap::CountingHeap;
use crate::platform::CORE;

/// Echoes of many kinds allocate nothing, once each kind has been seen.
pub fn s17_s18_nothing_is_allocated_per_echo(env: &Env, heap: &CountingHeap) {
    let mut echo = Echo::new(env, 16, 64);
    (0..200).for_each(|round| echo.round(round));
    let spent = heap.during(|| (0..200).for_each(|round| echo.round(round)));
    assert_eq!(spent.allocations, 0, "{spent:?}");
    assert!(echo.tagged > 0 && echo.echoes > 3000);
}

/// A connection that does nothing costs less than 2 KiB, its share of the group included (buffers
/// are the pool's).
pub fn s26_an_idle_connection_is_small(env: &Env, heap: &CountingHeap) {
    const COUNT: usize = 500;
    need_descriptors(2 * COUNT as u64 + 100);
    let mut peers = Vec::with_capacity(COUNT);
    let mut echo = None;
    let spent = heap.during(|| {
        let made = echo.insert(Echo::new(env, 0, COUNT + 1));
        while peers.len() < COUNT {
            peers.push(made.accept());
        }
    });
    assert!(spent.bytes < 2048 * COUNT as u64, "{} bytes for each connection", spent.bytes / COUNT as u64);
}

/// A group's room costs what is said of it, so that a program can compare that with what there is.
pub fn s99_room_for_a_socket_costs_what_is_said(env: &Env, heap: &CountingHeap) {
    let spent = |sockets| heap.during(|| drop(Echo::new(env, 0, sockets))).bytes;
    let each = (spent(20_000) - spent(10_000)) as usize / 10_000;
    let said = GroupConfig::BYTES_OF_A_SOCKET;
    assert!(said / 2 < each && each <= said, "{each} bytes for each socket, and {said} are said");
}

/// A server that echoes and its clients, on one thread, without a list that could grow.
struct Echo {
    group: Box<dyn SockGroup>,
    events: Events,
    at: SocketAddr,
    peers: Vec<TcpStream>,
    /// Frames that came back with a tag.
    tagged: usize,
    echoes: usize,
    accepted: usize,
    _thread: Thread,
}

impl Echo {
    fn new(env: &Env, peers: usize, sockets: usize) -> Self {
        let lib = ThreadLib::new(env.platform.clone(), CpuSet::of(CORE), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("echo"), CORE).expect("the platform has this core");
        let mut config = GroupConfig::new(BufGroup::new(64, 256));
        config.sockets = sockets;
        let mut group = thread.with(|cx| env.backend.group(cx, config)).expect("a group");
        let listener = env.backend.listen((env.host, 0).into(), &SockOptions::default()).expect("a free port");
        let at = listener.local_addr().expect("its address");
        group.attach(listener, Token(0)).map_err(|refused| refused.why).expect("room");
        let events = Events::new(24);
        let mut echo = Self { group, events, at, peers: Vec::new(), tagged: 0, echoes: 0, accepted: 0, _thread: thread };
        echo.peers = (0..peers).map(|_| echo.accept()).collect();
        echo
    }

    /// A client, connected.
    fn accept(&mut self) -> TcpStream {
        let peer = TcpStream::connect(self.at).expect("it waits");
        super::plain::patient(&peer);
        let before = self.accepted;
        while self.accepted == before {
            self.turn();
        }
        peer
    }

    /// Every client sends and hears one echo, some of them longer than a buffer.
    fn round(&mut self, round: usize) {
        let mut bytes = [0; 700];
        for (n, peer) in self.peers.iter_mut().enumerate() {
            let len = 1 + (n * 47 + round * 13) % bytes.len();
            peer.write_all(&bytes[..len]).expect("sent");
        }
        for n in 0..self.peers.len() {
            let mut left = 1 + (n * 47 + round * 13) % bytes.len();
            self.peers[n].set_nonblocking(true).expect("allowed");
            while left > 0 {
                match self.peers[n].read(&mut bytes[..left]) {
                    Ok(some) => left -= some,
                    Err(_) => self.turn(),
                }
            }
            self.peers[n].set_nonblocking(false).expect("allowed");
            self.echoes += 1;
        }
    }

    fn turn(&mut self) {
        self.group.poll(&mut self.events);
        for event in self.events.drain() {
            match event {
                NetEvent::Accepted { socket, .. } => {
                    self.group.attach(socket, Token(1)).map_err(|refused| refused.why).expect("room");
                    self.accepted += 1;
                }
                NetEvent::Received { id, buf, .. } => {
                    let tagged = buf.len() % 2 == 0;
                    let frame = Frame::from(buf);
                    let frame = if tagged { frame.tagged(1) } else { frame };
                    self.group.send(id, frame).map_err(|refused| refused.why).expect("taken");
                }
                NetEvent::Sent { .. } => self.tagged += 1,
                other => panic!("{}", super::driver::name(&other)),
            }
        }
    }
}
