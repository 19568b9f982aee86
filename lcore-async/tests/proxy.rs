//! The example `async-proxy` on a simulated core and network: minutes of silence take no time.

#[allow(dead_code, reason = "its `main` is not run here")]
#[path = "../examples/proxy.rs"]
mod proxy;

use std::net::{Ipv4Addr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use lcore::net::{NetError, SockOptions};
use lcore::sim::Sim;
use lcore::{App, StartedApp};
use net_impl_mem::{Faults, MemNet, SimSocket};
use proxy::{DRAIN, IDLE};

const SECOND: Duration = Duration::from_secs(1);

/// A proxy, and whom it passes to.
struct World {
    sim: Sim,
    app: StartedApp,
    net: &'static MemNet,
    server: SimSocket,
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl World {
    fn new() -> Self {
        let faults = Faults { delay: Duration::from_millis(2), ..Faults::default() };
        let net: &'static MemNet = Box::leak(Box::new(MemNet::new(7, faults)));
        let mut sim = Sim::with(1, |options| options.threads = proxy::limits());
        let app = App::new("proxy").network_over(net);
        let app = app.start_on(sim.lib(), |cx, app| proxy::serve(cx, app.net(), at(7), at(9)).map(drop)).expect("it starts");
        sim.settle();
        let server = net.bind(at(9), &SockOptions::default()).expect("the port is free");
        Self { sim, app, net, server }
    }

    fn dial(&mut self) -> SimSocket {
        let client = self.net.dial(at(7), &SockOptions::default()).expect("a free port");
        self.sim.run_for(SECOND / 10);
        client
    }

    /// A connection through the proxy: both of its ends.
    fn connect(&mut self) -> (SimSocket, SimSocket) {
        let client = self.dial();
        assert_eq!(client.connected(), Poll::Ready(Ok(())));
        (client, self.server.accept().expect("the proxy has connected"))
    }

    fn write(&mut self, socket: &SimSocket, bytes: &[u8]) {
        assert_eq!(socket.write(bytes), Poll::Ready(Ok(bytes.len())));
        self.sim.run_for(SECOND / 10);
    }

    fn has_ended(&self) -> bool {
        self.sim.lib().threads().is_empty()
    }
}

/// What there is to be read, up to what does not come or is the end.
fn read(socket: &SimSocket) -> (Vec<u8>, Poll<Result<usize, NetError>>) {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match socket.read(&mut piece) {
            Poll::Ready(Ok(bytes)) if bytes > 0 => all.extend_from_slice(&piece[..bytes]),
            other => return (all, other),
        }
    }
}

#[test]
fn bytes_and_ends_are_passed_on_both_ways() {
    let mut world = World::new();
    let (client, server) = world.connect();
    client.write(b"hello").is_ready().then(|| client.finish()).expect("there is room");
    world.sim.run_for(SECOND);
    assert_eq!(read(&server), (b"hello".to_vec(), Poll::Ready(Ok(0))));
    world.write(&server, b"and back");
    assert_eq!(read(&client), (b"and back".to_vec(), Poll::Pending));
    server.finish();
    world.sim.run_for(SECOND);
    assert_eq!(client.read(&mut [0]), Poll::Ready(Ok(0)));
}

#[test]
fn who_does_not_read_holds_back_its_peer_and_loses_nothing() {
    let mut world = World::new();
    let (client, server) = world.connect();
    let mut written = 0;
    loop {
        let before = written;
        while let Poll::Ready(n) = client.write(&[7; 4096]) {
            written += n.expect("it is connected");
        }
        world.sim.run_for(SECOND / 10);
        if written == before {
            break;
        }
    }
    // Two windows and two buffers of the network's, and what a stream takes.
    assert!((512 << 10..2 << 20).contains(&written), "{written}");
    client.finish();
    let mut came = 0;
    while came < written {
        world.sim.run_for(SECOND / 10);
        came += read(&server).0.len();
        assert!(lcore::Platform::now(&*world.sim.platform) < lcore::Instant::ZERO + IDLE, "{came} of {written} have come");
    }
    world.sim.run_for(SECOND);
    assert_eq!(read(&server), (Vec::new(), Poll::Ready(Ok(0))));
}

#[test]
fn a_reset_is_passed_on_as_one() {
    let mut world = World::new();
    let (client, server) = world.connect();
    world.write(&client, b"half a mess");
    client.reset();
    world.sim.run_for(SECOND);
    assert_eq!(read(&server), (b"half a mess".to_vec(), Poll::Ready(Err(NetError::Reset))));
}

#[test]
fn who_cannot_be_passed_on_is_reset() {
    let mut world = World::new();
    world.server.close();
    let client = world.dial();
    assert!(client.error().is_some(), "nobody is behind the proxy");
}

#[test]
fn silence_ends_a_connection_and_a_byte_gives_it_time() {
    let mut world = World::new();
    let (client, server) = world.connect();
    world.sim.run_for(IDLE - SECOND);
    world.write(&client, b"!");
    world.sim.run_for(IDLE - SECOND);
    assert_eq!(client.read(&mut [0]), Poll::Pending);
    world.sim.run_for(2 * SECOND);
    assert_eq!(client.read(&mut [0]), Poll::Ready(Ok(0)));
    assert_eq!(read(&server), (b"!".to_vec(), Poll::Ready(Ok(0))));
}

#[test]
fn an_end_lets_nobody_in_and_waits_for_who_is_there() {
    let mut world = World::new();
    let (client, server) = world.connect();
    world.app.stop(0);
    world.sim.run_for(SECOND);
    let late = world.dial();
    assert!(matches!(late.connected(), Poll::Ready(Err(_))), "nobody is let in");
    world.write(&client, b"hello");
    client.finish();
    assert_eq!(read(&server).0, b"hello");
    server.finish();
    assert!(!world.has_ended());
    world.sim.run_for(SECOND);
    assert!(world.has_ended());
    assert_eq!(world.app.finish(&[]).expect("nothing failed"), 0);
}

#[test]
fn an_end_does_not_wait_longer_than_it_may() {
    let mut world = World::new();
    let (client, _server) = world.connect();
    world.app.stop(0);
    world.sim.run_for(DRAIN - SECOND);
    assert!(!world.has_ended() && client.read(&mut [0]).is_pending());
    world.sim.run_for(2 * SECOND);
    assert!(world.has_ended() && client.read(&mut [0]).is_ready());
}
