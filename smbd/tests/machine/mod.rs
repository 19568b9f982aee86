//! Server and clients on the transport in memory, on a simulated machine of two cores.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use core_reactor::CoreId;
use core_reactor::sim::Sim;
use core_reactor::transport::{QueueOptions, Transport, Wait};
use pool::{Class, ClassConfig, DataPool, DataPoolConfig};
use smb_direct::Settings;
use smbd::client::{Client, ClientConfig, ClientError, Report, Task};
use smbd::{Server, ServerConfig};
use transport_memory::{MemoryTransport, Weather};

pub(crate) const POOL: DataPoolConfig = DataPoolConfig::DEFAULT
    .small(ClassConfig { count: 4096, size: 8192 })
    .large(ClassConfig { count: 32, size: 64 << 10 })
    .control(ClassConfig { count: 0, size: 4096 })
    .waiters(16);

/// Turns after which nothing is waited for any more.
const PATIENCE: usize = 2_000_000;

/// A machine with a server.
pub(crate) struct Machine {
    pub(crate) sim: Sim,
    pub(crate) transport: &'static dyn Transport,
    pub(crate) server: Server,
    pub(crate) at: SocketAddr,
    pub(crate) pools: Vec<DataPool>,
}

/// What a client's `done` was called with.
pub(crate) type Outcome = Arc<Mutex<Option<Result<Vec<Report>, ClientError>>>>;

impl Machine {
    pub(crate) fn new(weather: Weather, echo: bool) -> Self {
        Self::with(weather, echo, Settings::server())
    }

    pub(crate) fn with(weather: Weather, echo: bool, settings: Settings) -> Self {
        let (mut sim, transport) = (Sim::new(2), MemoryTransport::new(weather).leak());
        let pool = DataPool::on_heap(POOL).expect("memory");
        let config = ServerConfig {
            transport,
            at: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            options: QueueOptions::default(),
            wait: Wait::Polled,
            settings,
            connections: 64,
            receives: 512,
            echo,
            pool: pool.clone(),
        };
        let cores = [CoreId(0), CoreId(1)].into_iter().collect();
        let server = Server::start(sim.lib(), &cores, config, |_, outcome| assert!(outcome.is_ok(), "{outcome:?}")).expect("a thread");
        for _ in 0..100 {
            sim.turn();
        }
        let at = server.local_addr().expect("it listens");
        Self { sim, transport, server, at, pools: vec![pool] }
    }

    pub(crate) fn client(&mut self, core: u16, connections: u32, task: Task) -> (Client, Outcome) {
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
    pub(crate) fn turn_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
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
    pub(crate) fn end_of(&mut self, outcome: &Outcome) -> Result<Vec<Report>, ClientError> {
        self.turn_until("the client's end", |_| outcome.lock().unwrap().is_some());
        outcome.lock().unwrap().take().expect("it was there")
    }

    /// Stops everything and counts the buffers.
    pub(crate) fn check_home(mut self) {
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
