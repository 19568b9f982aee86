//! Server and client on the transport in memory, on a simulated machine of two cores.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use conformance::transport::memory::{MemoryTransport, Weather};
use core_reactor::CoreId;
use core_reactor::sim::Sim;
use core_reactor::transport::{QueueOptions, Transport, TransportError, Wait};
use pool::{Class, ClassConfig, DataPool, DataPoolConfig};
use sha2::{Digest as _, Sha256};
use smb_direct::Settings;
use smbd::client::{Client, ClientConfig, ClientError, Report, Task};
use smbd::{Pattern, Server, ServerConfig};

const POOL: DataPoolConfig = DataPoolConfig {
    small: ClassConfig { count: 4096, size: 8192 },
    large: ClassConfig { count: 32, size: 64 << 10 },
    control: ClassConfig { count: 0, size: 4096 },
    waiters: 16,
};

/// Turns after which nothing is waited for any more.
const PATIENCE: usize = 2_000_000;

/// A machine with a server.
struct Machine {
    sim: Sim,
    transport: &'static dyn Transport,
    server: Server,
    at: SocketAddr,
    pools: Vec<DataPool>,
}

/// What a client's `done` was called with.
type Outcome = Arc<Mutex<Option<Result<Vec<Report>, ClientError>>>>;

impl Machine {
    fn new(weather: Weather, echo: bool) -> Self {
        let (mut sim, transport) = (Sim::new(2), MemoryTransport::new(weather).leak());
        let pool = DataPool::on_heap(POOL).expect("memory");
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
        Self { sim, transport, server, at, pools: vec![pool] }
    }

    fn client(&mut self, core: u16, connections: u32, task: Task) -> (Client, Outcome) {
        let pool = DataPool::on_heap(ClientConfig::pool(connections, &task)).expect("memory");
        self.pools.push(pool.clone());
        let (transport, to, wait) = (self.transport, self.at, Wait::Polled);
        let config = ClientConfig { transport, to, wait, lenient_short_response: false, connections, task, pool };
        let outcome = Outcome::default();
        let told = outcome.clone();
        let done = move |_: &mut core_reactor::Cx<'_>, outcome| *told.lock().unwrap() = Some(outcome);
        (Client::start(self.sim.lib(), CoreId(core), config, done).expect("a thread"), outcome)
    }

    #[track_caller]
    fn turn_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..PATIENCE {
            self.sim.turn();
            if holds(self) {
                return;
            }
        }
        panic!("it never came to this: {what}");
    }

    /// Waits for a client's end.
    #[track_caller]
    fn end_of(&mut self, outcome: &Outcome) -> Result<Vec<Report>, ClientError> {
        self.turn_until("the client's end", |_| outcome.lock().unwrap().is_some());
        outcome.lock().unwrap().take().expect("it was there")
    }

    /// Stops everything and counts the buffers.
    fn check_home(mut self) {
        self.sim.lib().stop();
        for _ in 0..1000 {
            self.sim.turn();
        }
        drop(self.sim);
        for pool in &self.pools {
            assert_eq!((pool.stats(Class::Small).in_use, pool.stats(Class::Large).in_use), (0, 0), "every buffer is home");
        }
    }
}

/// SHA-256 of the first bytes of a pattern, made another way than the client does.
fn sha_of(seed: u64, bytes: usize) -> [u8; 32] {
    let mut all = vec![0; bytes];
    Pattern::new(seed).fill(&mut all);
    Sha256::digest(all).into()
}

#[test]
fn s33_64_mib_come_back_with_the_same_sha_256_through_fragmentation() {
    let mut machine = Machine::new(Weather::CALM, true);
    let (client, outcome) = machine.client(1, 1, Task::Bytes(64 << 20));
    let report = machine.end_of(&outcome).expect("a run").pop().expect("a connection");
    assert!(report.outcome.is_ok(), "{report:?}");
    assert_eq!((report.sent.bytes, report.sent.sha256), (64 << 20, sha_of(1, 64 << 20)));
    assert_eq!(report.back, report.sent);
    assert_eq!(client.bytes_back(), 64 << 20);
    machine.turn_until("the connection is gone", |machine| machine.server.connections() == [0, 0]);
    let server = machine.server.clone();
    machine.check_home();
    let messages: u64 = server.reports().iter().map(|(_, group)| group.messages).sum();
    assert!(messages > (64 << 20) / 8192, "{messages} messages, as each has a header as well");
}

#[test]
fn s33_an_input_of_any_length_goes_through_and_ends() {
    for length in [0, 1, 8168, 8169, 3_000_001] {
        let mut machine = Machine::new(Weather { seed: 3, delay: 3, shuffle: true, pad: true }, true);
        let mut bytes = vec![0; length];
        Pattern::new(9).fill(&mut bytes);
        let (_, outcome) = machine.client(0, 1, Task::Input(Box::new(io::Cursor::new(bytes))));
        let report = machine.end_of(&outcome).expect("a run").pop().expect("a connection");
        assert!(report.outcome.is_ok(), "{report:?}");
        assert_eq!((report.back.bytes, report.back.sha256), (length as u64, sha_of(9, length)));
        machine.check_home();
    }
}

#[test]
fn an_input_that_cannot_be_read_is_told() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("torn"))
        }
    }
    let mut machine = Machine::new(Weather::CALM, true);
    let (_, outcome) = machine.client(0, 1, Task::Input(Box::new(Broken)));
    let report = machine.end_of(&outcome).expect("a run").pop().expect("a connection");
    assert_eq!(report.outcome.unwrap_err().to_string(), "read the input: torn");
    machine.check_home();
}

#[test]
fn s33_memory_is_written_and_read_by_descriptor() {
    for (read, write) in [(true, false), (false, true), (true, true)] {
        let mut machine = Machine::new(Weather::CALM, false);
        let (_, outcome) = machine.client(1, 1, Task::Memory { read, write });
        let report = machine.end_of(&outcome).expect("a run").pop().expect("a connection");
        assert!(report.outcome.is_ok(), "{report:?}");
        let (reads, writes) = (u64::from(read) + u64::from(write), u64::from(write));
        assert_eq!((report.read, report.written), (reads << 20, writes << 20));
        machine.check_home();
    }
}

#[test]
fn s33_100_clients_at_once_over_two_cores() {
    for weather in [Weather::CALM, Weather { seed: 7, delay: 3, shuffle: true, pad: true }] {
        let mut machine = Machine::new(weather, true);
        let outcomes = [0, 1].map(|core| machine.client(core, 50, Task::Bytes(200_000)).1);
        machine.turn_until("each core has its half", |machine| machine.server.connections() == [50, 50]);
        for outcome in outcomes {
            let reports = machine.end_of(&outcome).expect("a run");
            assert_eq!(reports.len(), 50);
            for (seed, report) in (1..).zip(reports) {
                assert!(report.outcome.is_ok(), "{report:?}");
                assert_eq!((report.back.bytes, report.back.sha256), (200_000, sha_of(seed, 200_000)));
            }
        }
        machine.turn_until("all are gone", |machine| machine.server.connections() == [0, 0]);
        machine.check_home();
    }
}

#[test]
fn s33_a_client_dropped_in_mid_transfer_costs_no_buffer_and_nobody_else_anything() {
    let mut machine = Machine::new(Weather::CALM, true);
    let (dropped, its_outcome) = machine.client(0, 1, Task::Bytes(1 << 30));
    let (_, outcome) = machine.client(1, 1, Task::Bytes(8 << 20));
    machine.turn_until("it is in mid-transfer", |_| dropped.bytes_back() > 1 << 20);
    dropped.abort();
    assert!(matches!(machine.end_of(&its_outcome), Err(ClientError::Stopped)));
    let report = machine.end_of(&outcome).expect("a run").pop().expect("a connection");
    assert!(report.outcome.is_ok(), "{report:?}");
    machine.turn_until("both are gone", |machine| machine.server.connections() == [0, 0]);
    // It serves on.
    let (_, outcome) = machine.client(0, 1, Task::Memory { read: true, write: true });
    assert!(machine.end_of(&outcome).expect("a run")[0].outcome.is_ok());
    machine.check_home();
}

#[test]
fn s33_a_client_dropped_while_its_memory_is_moved_costs_no_buffer() {
    let mut machine = Machine::new(Weather { delay: 50, ..Weather::CALM }, true);
    let (dropped, outcome) = machine.client(0, 1, Task::Memory { read: false, write: true });
    let held = |machine: &Machine| machine.pools[0].stats(Class::Large).in_use;
    machine.turn_until("the server has begun to read", |machine| held(machine) > 0);
    dropped.abort();
    assert!(matches!(machine.end_of(&outcome), Err(ClientError::Stopped)));
    machine.turn_until("its connection is gone", |machine| machine.server.connections() == [0, 0] && held(machine) == 0);
    machine.check_home();
}

#[test]
fn s33_without_the_echo_data_ends_the_connection() {
    let mut machine = Machine::new(Weather::CALM, false);
    let (_, outcome) = machine.client(0, 1, Task::Bytes(100_000));
    let report = machine.end_of(&outcome).expect("a run").pop().expect("a connection");
    assert!(report.agreed.is_some() && report.outcome.is_err(), "{report:?}");
    assert_eq!(report.back.bytes, 0);
    machine.check_home();
}

#[test]
fn where_nothing_listens_each_connection_says_so() {
    let mut machine = Machine::new(Weather::CALM, true);
    machine.at.set_port(1);
    let (_, outcome) = machine.client(0, 3, Task::Negotiate);
    let reports = machine.end_of(&outcome).expect("a run");
    for report in &reports {
        assert!(
            matches!(report.outcome, Err(ClientError::Transport(TransportError::ConnectRefused(at))) if at == machine.at),
            "{report:?}"
        );
    }
    assert_eq!(reports.len(), 3);
    machine.check_home();
}
