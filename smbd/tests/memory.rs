//! Server and client on the transport in memory, on a simulated machine of two cores.

mod machine;

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use core_reactor::sim::Sim;
use core_reactor::transport::{Listener, Queue, QueueGroup, QueueGroupConfig, QueueOptions, Transport, TransportError, Wait};
use core_reactor::{CoreId, CpuSet, Cx};
use machine::Machine;
use pool::{Class, ClassConfig, DataPool};
use sha2::{Digest as _, Sha256};
use smb_direct::Settings;
use smbd::client::{ClientConfig, ClientError, Task};
use smbd::{Pattern, Server, ServerConfig, ServerError};
use transport_memory::{MemoryTransport, Weather};

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
    assert_eq!(held(&machine), 8, "as many pieces as one command may have under way");
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

/// A transport whose device has as many completions as Soft-RoCE.
struct Narrow(&'static dyn Transport);

impl Transport for Narrow {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn priority(&self) -> u8 {
        self.0.priority()
    }

    fn probe(&self) -> Result<(), TransportError> {
        self.0.probe()
    }

    fn listen(&self, at: SocketAddr, options: &QueueOptions) -> Result<Box<dyn Listener>, TransportError> {
        self.0.listen(at, options)
    }

    fn connect(&self, to: SocketAddr, options: &QueueOptions) -> Result<Box<dyn Queue>, TransportError> {
        self.0.connect(to, options)
    }

    fn group(&self, cx: &mut Cx<'_>, config: QueueGroupConfig) -> Result<Box<dyn QueueGroup>, TransportError> {
        let asked = u64::from(config.operations + config.receives);
        if asked > 32_767 {
            return Err(TransportError::Limit { what: "completions", asked, limit: 32_767 });
        }
        self.0.group(cx, config)
    }
}

/// What a server says that cannot be had.
fn refused(connections: u32, receives: u32) -> String {
    let (mut sim, transport) = (Sim::new(1), MemoryTransport::new(Weather::CALM).leak());
    let small = ClassConfig { count: 2 * receives as usize + 200, size: 2048 };
    let pool = DataPool::on_heap(machine::POOL.small(small)).expect("memory");
    let config = ServerConfig {
        transport: Box::leak(Box::new(Narrow(transport))),
        at: (Ipv4Addr::LOCALHOST, 0).into(),
        options: QueueOptions::default(),
        wait: Wait::Polled,
        settings: Settings::server(),
        connections,
        receives,
        echo: true,
        pool,
    };
    let said = Arc::new(Mutex::new(String::new()));
    let told = said.clone();
    let ready = move |_: &mut Cx<'_>, outcome: Result<SocketAddr, ServerError>| {
        *told.lock().unwrap() = outcome.map_or_else(|why| why.to_string(), |_| "it listens".into());
    };
    Server::start(sim.lib(), &CpuSet::of(CoreId(0)), config, ready).expect("a thread");
    (0..100).for_each(|_| _ = sim.turn());
    sim.lib().stop();
    (0..100).for_each(|_| _ = sim.turn());
    let said = said.lock().unwrap();
    said.clone()
}

/// Before the first client finds out.
#[test]
fn s89_more_connections_than_the_device_has_room_for_are_an_error_with_the_number_that_is_possible() {
    let receives = |connections: u32| 5 * connections + 384;
    let why = refused(1024, receives(1024));
    assert!(why.contains("1024 connections") && why.contains("which is 469") && why.contains("71040 asked for, 32767 possible"), "{why}");
    assert!(refused(470, receives(470)).contains("which is 469"));
    assert_eq!(refused(469, receives(469)), "it listens");
    assert!(refused(0, 384).contains("0 connections"));
    assert!(refused(100, 499).contains("499 receive buffers for 100 connections, which need 500"));
}

#[test]
fn s89_a_client_of_no_connections_is_an_error() {
    for connections in [0, ClientConfig::MOST + 1] {
        let mut machine = Machine::new(Weather::CALM, true);
        let (_, outcome) = machine.client(0, connections, Task::Negotiate);
        let why = machine.end_of(&outcome).expect_err("nobody can have so many").to_string();
        assert!(why.contains(&format!("{connections} connections, where 1 to 1024")), "{why}");
        machine.check_home();
    }
}

/// A server that moves no memory says so in its MaxReadWriteSize.
#[test]
fn a_server_that_moves_no_memory_is_told_from_one_that_fails() {
    let mut machine = Machine::with(Weather::CALM, true, Settings { max_read_write_size: 0, ..Settings::server() });
    let (_, outcome) = machine.client(0, 1, Task::Memory { read: true, write: true });
    let report = machine.end_of(&outcome).expect("a run").pop().expect("a connection");
    assert_eq!(report.outcome.unwrap_err().to_string(), "the server moves no memory: its MaxReadWriteSize is 0");
    machine.check_home();
}
