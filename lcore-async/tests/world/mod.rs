//! One simulated core with a runtime, a network in memory, and a clock that is moved by hand.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use lcore::net::SockOptions;
use lcore::pool::BufGroup;
use lcore::sim::Sim;
use lcore::{ThreadConfig, ThreadHandle};
use lcore_async::{Config, Runtime, TcpListener};
use net_impl_mem::{Faults, MemNet, SimSocket};

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) net: &'static MemNet,
    pub(crate) thread: ThreadHandle,
}

/// What tasks have to tell, for the test to look at.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn say(&self, what: impl ToString) {
        self.0.lock().expect("nobody panics with it").push(what.to_string());
    }

    /// What was said since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics with it"))
    }
}

pub(crate) fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A listener, of whose connections the network itself keeps no more than a kilobyte.
pub(crate) fn listen(runtime: &Runtime, port: u16) -> TcpListener {
    TcpListener::bind_with(runtime, at(port), &SockOptions::default().send_buf(1000)).expect("the port is free")
}

impl World {
    pub(crate) fn new(start: impl FnOnce(&Runtime) + Send + 'static) -> Self {
        Self::with(Faults::default(), |config| config, start)
    }

    /// Over a network with faults, and a configuration that is changed.
    pub(crate) fn with(
        faults: Faults,
        change: impl FnOnce(Config) -> Config + Send + 'static,
        start: impl FnOnce(&Runtime) + Send + 'static,
    ) -> Self {
        Self::over(faults, (64, 1024), change, start)
    }

    /// Over so many buffers of such a size besides.
    pub(crate) fn over(
        faults: Faults,
        (count, size): (usize, usize),
        change: impl FnOnce(Config) -> Config + Send + 'static,
        start: impl FnOnce(&Runtime) + Send + 'static,
    ) -> Self {
        let net: &'static MemNet = Box::leak(Box::new(MemNet::new(7, faults)));
        let mut sim = Sim::new(1);
        let begin = move |cx: &mut lcore::Cx<'_>| {
            let config = change(Config::new().network(net, BufGroup::new(count, size)));
            start(&Runtime::new(cx, config).expect("a runtime"));
        };
        let thread = sim.lib().spawn(ThreadConfig::new("async"), begin).expect("a thread");
        sim.settle();
        Self { sim, net, thread }
    }

    /// A connection to a port here, which a test reads and writes by hand.
    pub(crate) fn dial(&mut self, port: u16) -> SimSocket {
        let socket = self.net.dial(at(port), &SockOptions::default()).expect("a free port");
        self.sim.settle();
        socket
    }

    /// Writes all of it, and lets everything happen that follows.
    pub(crate) fn write(&mut self, socket: &SimSocket, bytes: &[u8]) {
        assert_eq!(socket.write(bytes), Poll::Ready(Ok(bytes.len())));
        self.sim.settle();
    }

    /// Reads what there is and what comes of that; whether the end has come.
    pub(crate) fn read(&mut self, socket: &SimSocket) -> (Vec<u8>, bool) {
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            match socket.read(&mut piece) {
                Poll::Pending => return (all, false),
                Poll::Ready(Ok(0)) => return (all, true),
                Poll::Ready(Ok(bytes)) => all.extend_from_slice(&piece[..bytes]),
                Poll::Ready(Err(why)) => panic!("{why}"),
            }
            self.sim.settle();
        }
    }

    /// Asks the thread to exit, and gives it so long.
    pub(crate) fn exit(&mut self, time: Duration) {
        self.thread.exit();
        self.sim.run_for(time);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.sim.lib().threads().is_empty()
    }
}

/// Numbered bytes, so that one in the wrong place is seen.
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|n| (n % 251) as u8).collect()
}
