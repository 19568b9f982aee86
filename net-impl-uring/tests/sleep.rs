//! A core that sleeps while its group has nothing to do (statement 13), on the real machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use core_reactor::net::{Events, Frame, GroupConfig, NetEvent, NetImpl, SockGroup, SockOptions, Token};
use core_reactor::{Cx, Idle, Platform, Polled, ReactorOptions, ReactorStats, Reactors, Schedule, ThreadConfig, ThreadLib};
use net_impl_uring::Uring;
use platform_linux::LinuxPlatform;
use pool::BufGroup;

static URING: Uring = Uring::new();

/// Time after which what does not come is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// An echo server in `groups` threads of one reactor, each with a listener.
struct Server {
    lib: ThreadLib,
    at: Vec<SocketAddr>,
    reactor: std::thread::JoinHandle<Vec<ReactorStats>>,
}

impl Server {
    fn start(idle: Idle, groups: usize) -> Self {
        let platform: Arc<dyn Platform> = Arc::new(LinuxPlatform::new().expect("Linux"));
        let core = platform.cores().iter().next().expect("a core");
        let mut options = ReactorOptions::new(core_reactor::CpuSet::of(core));
        options.idle = idle;
        let reactors = Reactors::new(platform, &options).expect("one core");
        let lib = reactors.lib().clone();
        let (tell, told) = mpsc::channel();
        for _ in 0..groups {
            let tell = tell.clone();
            lib.spawn(ThreadConfig::new("echo"), move |cx| tell.send(echo(cx)).expect("the test waits")).expect("a reactor");
        }
        let reactor = std::thread::spawn(|| reactors.run().expect("it runs"));
        let at = (0..groups).map(|_| told.recv_timeout(PATIENCE).expect("an address")).collect();
        Self { lib, at, reactor }
    }

    fn stop(self) -> ReactorStats {
        self.lib.stop();
        self.reactor.join().expect("it ends")[0]
    }
}

/// A group that echoes, until its thread is to end. Tells where it listens.
fn echo(cx: &mut Cx<'_>) -> SocketAddr {
    let mut group = URING.group(cx, GroupConfig::new(BufGroup::new(64, 2048))).expect("a group");
    let listener = URING.listen((Ipv4Addr::LOCALHOST, 0).into(), &SockOptions::default()).expect("a free port");
    let at = listener.local_addr().expect("its address");
    group.attach(listener, Token(0)).map_err(|refused| refused.why).expect("room");
    let mut events = Events::new(16);
    let mut group = Some(group);
    cx.local_poller("group", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
        if cx.is_exiting() {
            group = None;
        }
        group.as_mut().map_or(Polled::Done, |group| turn(&mut **group, &mut events))
    });
    at
}

fn turn(group: &mut dyn SockGroup, events: &mut Events) -> Polled {
    if group.poll(events) == 0 {
        return Polled::Idle;
    }
    for event in events.drain() {
        match event {
            NetEvent::Accepted { socket, .. } => drop(group.attach(socket, Token(1)).map_err(|refused| refused.why).expect("room")),
            NetEvent::Received { id, buf, .. } => group.send(id, Frame::from(buf)).map_err(|refused| refused.why).expect("taken"),
            NetEvent::PeerClosed { id, .. } => group.shutdown(id).expect("it is there"),
            _ => {}
        }
    }
    Polled::Busy
}

fn connect(at: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(at).expect("somebody listens");
    peer.set_read_timeout(Some(PATIENCE)).expect("allowed");
    peer.set_nodelay(true).expect("allowed");
    peer
}

fn ask(peer: &mut TcpStream, n: u32) {
    let mut answer = [0; 4];
    peer.write_all(&n.to_le_bytes()).expect("sent");
    peer.read_exact(&mut answer).expect("the sleeper wakes");
    assert_eq!(u32::from_le_bytes(answer), n);
}

/// A core that sleeps after every idle turn misses nothing, whoever wakes it: two groups share the
/// ring, and messages come in between.
#[test]
fn s13_a_core_that_sleeps_at_once_misses_nothing() {
    let server = Server::start(Idle::ParkAfter(Duration::ZERO), 2);
    let mut peers: Vec<_> = server.at.iter().chain(&server.at).map(|at| connect(*at)).collect();
    let woken = Arc::new(Mutex::new(0));
    for round in 0..3000 {
        // Now it has the time to fall asleep, now it is met on its way.
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        ask(&mut peers[round % 4], round as u32);
        if round % 7 == 0 {
            let woken = woken.clone();
            let thread = &server.lib.threads()[round % 2];
            thread
                .send(move |_: &mut Cx<'_>| *woken.lock().expect("held for a moment") += 1)
                .map_err(|refused| refused.why)
                .expect("taken");
        }
    }
    drop(peers);
    let stats = server.stop();
    assert!(stats.parks > 500, "it slept {} times only", stats.parks);
    assert_eq!(*woken.lock().expect("held for a moment"), 3000usize.div_ceil(7));
}

/// Bytes that come while it falls asleep, at all moments of that.
#[test]
fn s13_what_comes_while_falling_asleep_is_seen() {
    let server = Server::start(Idle::ParkAfter(Duration::from_micros(20)), 1);
    let mut peer = connect(server.at[0]);
    for round in 0..2000u32 {
        let until = Instant::now() + Duration::from_nanos(u64::from(round % 100) * 500);
        while Instant::now() < until {}
        ask(&mut peer, round);
    }
    drop(peer);
    server.stop();
}

/// With connections open and nothing to do, it sleeps.
#[test]
fn s13_an_idle_core_sleeps_with_connections_open() {
    let server = Server::start(Idle::ParkAfter(Duration::from_micros(20)), 1);
    let mut peers: Vec<_> = (0..10).map(|_| connect(server.at[0])).collect();
    peers.iter_mut().enumerate().for_each(|(n, peer)| ask(peer, n as u32));
    std::thread::sleep(Duration::from_millis(500));
    ask(&mut peers[3], 7);
    drop(peers);
    let stats = server.stop();
    assert!(stats.parked_ns > 400_000_000, "it slept {} ns of 500 ms", stats.parked_ns);
}
