//! The server against clients on the transport in memory, all on a simulated machine of two cores.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conformance::transport::memory::{MemoryTransport, Weather};
use core_reactor::sim::Sim;
use core_reactor::transport::{QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueOptions, Token, Transport, Wait};
use core_reactor::{CoreId, CpuSet, Cx, Polled, Schedule, ThreadConfig};
use pool::{Class, ClassConfig, DataPool, DataPoolConfig, ReserveConfig};
use smb_direct::wire::DATA_OFFSET;
use smb_direct::{Connection, Received, Settings};
use smbd::{Pattern, Server, ServerConfig, Session};

const POOL: DataPoolConfig = DataPoolConfig {
    small: ClassConfig { count: 8192, size: 2048 },
    large: ClassConfig { count: 16, size: 64 << 10 },
    control: ClassConfig { count: 0, size: 4096 },
    waiters: 16,
};

fn serve(sim: &mut Sim, transport: &'static dyn Transport, pool: &DataPool, echo: bool) -> (Server, SocketAddr) {
    let config = ServerConfig {
        transport,
        at: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        options: QueueOptions::default(),
        wait: Wait::Polled,
        settings: Settings::server(),
        connections: 64,
        receives: 512,
        echo,
        pool: pool.clone(),
    };
    let cores = [CoreId(0), CoreId(1)].into_iter().collect();
    let server = Server::start(sim.lib(), &cores, config, |_, _, outcome| assert!(outcome.is_ok(), "{outcome:?}")).expect("a thread");
    for _ in 0..100 {
        sim.turn();
    }
    let at = server.local_addr().expect("it listens");
    (server, at)
}

/// What a client is to send, what came back, and whether it is at its end.
#[derive(Default)]
struct Stream {
    sizes: VecDeque<usize>,
    sent: u64,
    got: u64,
    wrong: bool,
    closed: bool,
    stop: bool,
}

struct Client {
    group: Box<dyn QueueGroup>,
    session: Option<Session>,
    stream: Arc<Mutex<Stream>>,
    seed: u64,
    left: usize,
}

impl Client {
    fn start(
        sim: &Sim,
        transport: &'static dyn Transport,
        pool: &DataPool,
        at: SocketAddr,
        seed: u64,
        sizes: &[usize],
    ) -> Arc<Mutex<Stream>> {
        let stream = Arc::new(Mutex::new(Stream { sizes: sizes.iter().copied().collect(), ..Stream::default() }));
        let (shared, pool) = (stream.clone(), pool.clone());
        let config = ThreadConfig::new("client").cpus(CpuSet::of(CoreId((seed % 2) as u16)));
        let open = move |cx: &mut Cx<'_>| {
            let bufs = pool.group(ReserveConfig { small: 80, large: 0, control: 0 }).expect("buffers");
            let mut config = QueueGroupConfig::new(bufs);
            (config.queues, config.receives, config.exposures) = (1, 33, 1);
            let mut group = transport.group(cx, config).expect("a group");
            let queue = transport.connect(at, &QueueOptions::default()).expect("a queue");
            group.attach(queue, Token(0), &[]).map_err(|refused| refused.why).expect("room");
            let mut client = Self { group, session: None, stream: shared, seed, left: 0 };
            let mut events = QueueEvents::new(32);
            cx.local_poller("client", Schedule::Always, move |cx: &mut Cx<'_>| {
                client.poll(&mut events, Duration::from_nanos(cx.now().as_nanos()))
            });
        };
        sim.lib().spawn(config, open).expect("a thread");
        stream
    }

    fn poll(&mut self, events: &mut QueueEvents, now: Duration) -> Polled {
        let stream = self.stream.clone();
        let mut stream = stream.lock().expect("no test has failed in it");
        if stream.stop || stream.closed {
            return Polled::Done;
        }
        self.group.poll(events);
        for event in events.drain() {
            match event {
                QueueEvent::Established { id, .. } => {
                    let settings = Settings { credits: 32, preferred_send_size: 2048, max_receive_size: 2048, ..Settings::client() };
                    self.session = Some(Session::new(id, Connection::client(settings, now).expect("settings"), 64));
                }
                QueueEvent::Closed { .. } => stream.closed = true,
                QueueEvent::Received { buf, .. } => {
                    let session = self.session.as_mut().expect("it is established");
                    let open = session.conn().agreed().is_some();
                    if let Received::Fragment { bytes, .. } = session.conn().on_message(now, &buf) {
                        stream.wrong |= !Pattern::new(self.seed).from(stream.got).matches(&buf[bytes.clone()]);
                        stream.got += bytes.len() as u64;
                    }
                    session.conn().receives_freed(u16::from(open));
                }
                QueueEvent::Done { tag, .. } => drop(self.session.as_mut().map(|session| session.on_done(&mut *self.group, tag))),
                _ => {}
            }
        }
        if let Some(session) = &mut self.session {
            while session.waiting() < 4 && session.conn().agreed().is_some() {
                let first = self.left == 0;
                if first {
                    let Some(size) = stream.sizes.pop_front() else { break };
                    self.left = size;
                }
                let Some(mut buf) = self.group.buffer() else { break };
                let length = self.left.min(2048 - DATA_OFFSET);
                buf.grow(DATA_OFFSET + length);
                Pattern::new(self.seed).from(stream.sent).fill(&mut buf[DATA_OFFSET..]);
                stream.sent += length as u64;
                session.push(buf, first.then_some(self.left));
                self.left -= length;
            }
            session.pump(&mut *self.group, now);
        }
        Polled::Busy
    }
}

fn check_home(mut sim: Sim, pool: &DataPool) {
    sim.lib().stop();
    for _ in 0..1000 {
        sim.turn();
    }
    drop(sim);
    assert_eq!((pool.stats(Class::Small).in_use, pool.stats(Class::Large).in_use), (0, 0), "every buffer is home");
}

#[test]
fn s33_streams_of_many_clients_are_echoed_through_fragmentation_on_two_cores() {
    for weather in [Weather::CALM, Weather { seed: 3, delay: 3, shuffle: true, pad: true }] {
        let (mut sim, transport) = (Sim::new(2), MemoryTransport::new(weather).leak());
        let pool = DataPool::on_heap(POOL).expect("memory");
        let (server, at) = serve(&mut sim, transport, &pool, true);
        let sizes = [1, 2024, 2025, 1 << 20, 131_072, 7];
        let clients: Vec<_> = (0..20).map(|seed| Client::start(&sim, transport, &pool, at, seed, &sizes)).collect();
        let total = sizes.iter().sum::<usize>() as u64;
        for _ in 0..200_000 {
            sim.turn();
            if clients.iter().all(|client| client.lock().unwrap().got == total) {
                break;
            }
        }
        for client in &clients {
            let client = client.lock().unwrap();
            assert_eq!((client.got, client.wrong, client.closed), (total, false, false));
        }
        assert_eq!(server.connections(), [10, 10], "each core has its half");
        for client in &clients {
            client.lock().unwrap().stop = true;
        }
        for _ in 0..1000 {
            sim.turn();
        }
        assert_eq!(server.connections(), [0, 0], "all are gone");
        check_home(sim, &pool);
    }
}

#[test]
fn s33_a_client_that_vanishes_in_mid_transfer_costs_no_buffer_and_nobody_else_anything() {
    let (mut sim, transport) = (Sim::new(2), MemoryTransport::new(Weather::CALM).leak());
    let pool = DataPool::on_heap(POOL).expect("memory");
    let (server, at) = serve(&mut sim, transport, &pool, true);
    let [killed, other] = [1, 2].map(|seed| Client::start(&sim, transport, &pool, at, seed, &[1 << 20; 4]));
    for _ in 0..100_000 {
        sim.turn();
        if killed.lock().unwrap().got > 100_000 {
            break;
        }
    }
    assert!((100_000..4 << 20).contains(&killed.lock().unwrap().got), "it is in mid-transfer");
    killed.lock().unwrap().stop = true;
    for _ in 0..200_000 {
        sim.turn();
        if other.lock().unwrap().got == 4 << 20 {
            break;
        }
    }
    let other = other.lock().unwrap();
    assert_eq!((other.got, other.wrong), (4 << 20, false));
    drop(other);
    assert_eq!(server.connections().iter().sum::<usize>(), 1);
    check_home(sim, &pool);
}

#[test]
fn s33_without_the_echo_data_ends_the_connection() {
    let (mut sim, transport) = (Sim::new(2), MemoryTransport::new(Weather::CALM).leak());
    let pool = DataPool::on_heap(POOL).expect("memory");
    let (_server, at) = serve(&mut sim, transport, &pool, false);
    let client = Client::start(&sim, transport, &pool, at, 1, &[10]);
    for _ in 0..10_000 {
        sim.turn();
    }
    assert!(client.lock().unwrap().closed);
    assert_eq!(client.lock().unwrap().got, 0);
    check_home(sim, &pool);
}
