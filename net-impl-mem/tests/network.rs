//! What is promised of the network itself, by hand and under simulated cores.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use core_reactor::net::{Events, GroupConfig, NetError, NetEvent, NetImpl, SockOptions, Socket, Token};
use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{
    CoreId, CpuSet, Cx, Idle, Instant, Platform, PlatformError, Polled, ReactorOptions, Reactors, Schedule, ThreadConfig, ThreadLib,
    WaitSource,
};
use net_impl_mem::{Faults, MemNet, MemSocket};
use pool::BufGroup;

const MS: Duration = Duration::from_millis(1);

/// A network with a clock that the test moves.
fn network(faults: Faults) -> (MemNet, Arc<SimPlatform>) {
    let (net, clock) = (MemNet::new(1, faults), SimPlatform::new(1));
    net.set_clock(clock.clone());
    (net, clock)
}

fn at(port: u16) -> SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, port).into()
}

/// Both sides of a connection without delay.
fn pair(net: &MemNet, options: &SockOptions) -> (MemSocket, MemSocket) {
    let listener = net.bind(at(0), options).expect("a free port");
    let near = net.dial(listener.local_addr().expect("its address"), options).expect("a free port");
    assert_eq!(near.connected(), Poll::Ready(Ok(())));
    (near, listener.accept().expect("it has arrived"))
}

fn read(socket: &MemSocket) -> Poll<Result<Vec<u8>, NetError>> {
    let mut bytes = vec![0; 100_000];
    socket.read(&mut bytes).map_ok(|len| bytes[..len].to_vec())
}

#[test]
fn s127_everything_takes_its_time_and_nothing_overtakes() {
    let (net, clock) = network(Faults { delay: MS, ..Faults::default() });
    let listener = net.bind(at(7), &SockOptions::default()).expect("it is free");
    let near = net.dial(at(7), &SockOptions::default()).expect("a free port");
    assert!(listener.accept().is_none(), "it is under way");
    clock.advance(MS);
    let far = listener.accept().expect("it has arrived");
    assert_eq!(near.connected(), Poll::Pending, "the answer is under way");
    clock.advance(MS);
    assert_eq!(near.connected(), Poll::Ready(Ok(())));
    assert_eq!(near.write(b"slow"), Poll::Ready(Ok(4)));
    net.set_faults(Faults::default());
    assert_eq!(near.write(b" and fast"), Poll::Ready(Ok(9)));
    near.finish();
    assert_eq!(read(&far), Poll::Pending, "what is fast now comes behind what was slow before");
    clock.advance(MS);
    assert_eq!(read(&far), Poll::Ready(Ok(b"slow and fast".to_vec())));
    assert_eq!(read(&far), Poll::Ready(Ok(vec![])), "the end");
}

#[test]
fn s128_a_reset_comes_behind_what_is_under_way_and_what_waits_is_lost() {
    let (net, clock) = network(Faults { window: 10, ..Faults::default() });
    let (near, far) = pair(&net, &SockOptions::default());
    net.set_faults(Faults { delay: MS, ..Faults::default() });
    assert_eq!(near.write(&[1; 25]), Poll::Ready(Ok(25)));
    near.reset();
    clock.advance(MS);
    assert_eq!(read(&far), Poll::Ready(Ok(vec![1; 10])));
    assert_eq!(read(&far), Poll::Ready(Err(NetError::Reset)));
    assert_eq!(far.write(b"?"), Poll::Ready(Err(NetError::Reset)));
}

#[test]
fn s128_who_writes_to_nobody_is_reset_and_unread_bytes_make_a_close_a_reset() {
    let (net, _clock) = network(Faults::default());
    let (near, far) = pair(&net, &SockOptions::default());
    drop(near);
    assert_eq!(read(&far), Poll::Ready(Ok(vec![])), "an orderly end");
    assert_eq!(far.write(b"are you there?"), Poll::Ready(Ok(14)));
    assert_eq!(far.write(b"?"), Poll::Ready(Err(NetError::Reset)));
    let (near, far) = pair(&net, &SockOptions::default());
    assert_eq!(near.write(b"unread"), Poll::Ready(Ok(6)));
    drop(far);
    assert_eq!(read(&near), Poll::Ready(Err(NetError::Reset)));
}

#[test]
fn s129_a_listener_without_room_is_tried_again_until_the_time_is_up() {
    let (net, clock) = network(Faults::default());
    let one = SockOptions { backlog: Some(1), ..SockOptions::default() };
    let listener = net.bind(at(7), &one).expect("it is free");
    let patient = |time| net.dial(at(7), &SockOptions { user_timeout: Some(time), ..SockOptions::default() }).expect("a free port");
    let (first, second, third) = (patient(MS), patient(1000 * MS), patient(300 * MS));
    assert_eq!((first.connected(), second.connected()), (Poll::Ready(Ok(())), Poll::Pending));
    clock.advance(300 * MS);
    assert_eq!((second.connected(), third.connected()), (Poll::Pending, Poll::Ready(Err(NetError::TimedOut))));
    assert!(listener.accept().is_some());
    clock.advance(100 * MS);
    assert_eq!(second.connected(), Poll::Ready(Ok(())));
    let last = patient(1000 * MS);
    drop(listener);
    clock.advance(100 * MS);
    assert_eq!(last.connected(), Poll::Ready(Err(NetError::ConnectRefused(at(7)))), "nobody listens any more");
    assert_eq!(read(&second), Poll::Ready(Err(NetError::Reset)), "nobody had accepted it");
}

#[test]
fn s130_a_side_holds_its_window_and_the_writers_buffer_and_no_more() {
    let (net, _clock) = network(Faults { window: 1000, ..Faults::default() });
    let options = SockOptions { send_buf: Some(5000), ..SockOptions::default() };
    let (near, far) = pair(&net, &options);
    assert_eq!(near.write(&[1; 9000]), Poll::Ready(Ok(6000)));
    assert_eq!(near.write(&[1; 9000]), Poll::Pending);
    assert_eq!(read(&far), Poll::Ready(Ok(vec![1; 1000])), "no more than the window has arrived");
    assert_eq!(near.write(&[1; 9000]), Poll::Ready(Ok(1000)));
    let mut left = 6000;
    while let Poll::Ready(done) = read(&far) {
        left -= done.expect("nobody resets it").len();
    }
    assert_eq!(left, 0);
}

#[test]
fn s130_addresses_are_one_hosts() {
    let (net, _clock) = network(Faults::default());
    let options = SockOptions::default();
    let bind = |at: &str| net.bind(at.parse().expect("an address"), &options);
    let any = bind("0.0.0.0:80").expect("it is free");
    assert_eq!(bind("127.0.0.1:80").err(), Some(NetError::AddressInUse(at(80))));
    let _other_family = bind("[::1]:80").expect("another family's");
    assert!(matches!(bind("10.0.0.1:80").err(), Some(NetError::AddressUnavailable(_))));
    let near = net.dial(at(80), &options).expect("a free port");
    let far = any.accept().expect("all addresses are its");
    assert_eq!((far.local_addr(), far.peer_addr()), (Ok(at(80)), near.local_addr().ok()));
    drop(any);
    let _again = bind("127.0.0.1:80").expect("it is free again");
    // Sockets of another network are no group's of this one.
    let mut sim = Sim::new(1);
    let (stranger, told) = (MemNet::new(1, Faults::default()), Arc::new(AtomicUsize::new(0)));
    let (mine, note) = (net.clone(), told.clone());
    let open = move |cx: &mut Cx<'_>| {
        let mut group = mine.group(cx, GroupConfig::new(BufGroup::new(4, 64))).expect("a group");
        let socket = stranger.listen(at(0), &SockOptions::default()).expect("a free port");
        let refused = group.attach(socket, Token(0)).expect_err("it is another network's");
        assert!(matches!(refused.why, NetError::Unusable(_)), "{}", refused.why);
        note.store(1, Ordering::Relaxed);
    };
    sim.lib().spawn(ThreadConfig::new("open"), open).expect("a thread");
    sim.settle();
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

/// A thread that counts the bytes that come to its listener.
fn count(lib: &ThreadLib, net: &MemNet, port: u16) -> Arc<AtomicUsize> {
    let (net, heard) = (net.clone(), Arc::new(AtomicUsize::new(0)));
    let told = heard.clone();
    let start = move |cx: &mut Cx<'_>| {
        let mut group = net.group(cx, GroupConfig::new(BufGroup::new(16, 64))).expect("a group");
        let listener = net.listen(at(port), &SockOptions::default()).expect("it is free");
        group.attach(listener, Token(0)).map_err(|refused| refused.why).expect("room");
        let mut events = Events::new(16);
        cx.local_poller("count", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            if cx.is_exiting() {
                return Polled::Done;
            }
            let found = group.poll(&mut events);
            for event in events.drain() {
                match event {
                    NetEvent::Accepted { socket, .. } => drop(group.attach(socket, Token(1)).map_err(|refused| refused.why).expect("room")),
                    NetEvent::Received { buf, .. } => drop(told.fetch_add(buf.len(), Ordering::Relaxed)),
                    _ => {}
                }
            }
            if found == 0 { Polled::Idle } else { Polled::Busy }
        });
    };
    lib.spawn(ThreadConfig::new("count"), start).expect("a thread");
    heard
}

#[test]
fn s127_who_has_news_is_due_now() {
    let (mut sim, net) = (Sim::new(1), MemNet::new(1, Faults::default()));
    let heard = count(sim.lib(), &net, 7);
    sim.settle();
    assert_eq!(sim.reactors[0].next_deadline(), None);
    let near = net.dial(at(7), &SockOptions::default()).expect("a free port");
    assert_eq!(near.write(b"news"), Poll::Ready(Ok(4)));
    assert_eq!(sim.reactors[0].next_deadline(), Some(Instant::ZERO));
    sim.run_for(Duration::ZERO);
    assert_eq!((heard.load(Ordering::Relaxed), sim.reactors[0].next_deadline()), (4, None));
}

#[test]
fn s126_chance_is_the_seeds() {
    let run = |seed| {
        let net = MemNet::new(seed, Faults { jitter: 100 * MS, refuse_per_mille: 500, ..Faults::default() });
        let clock = SimPlatform::new(1);
        net.set_clock(clock.clone());
        net.record();
        let _listener = net.bind(at(7), &SockOptions::default()).expect("it is free");
        let _connects: Vec<_> = (0..10).map(|_| net.dial(at(7), &SockOptions::default()).expect("a free port")).collect();
        clock.advance(1000 * MS);
        net.trace()
    };
    assert_eq!(run(1), run(1));
    assert!(run(1) != run(2) && run(1).contains("Failed(ConnectRefused") && run(1).contains("Connected"), "{}", run(1));
}

/// Simulated cores that do something where they would sleep.
struct Sleepless {
    machine: Arc<SimPlatform>,
    asleep: Mutex<Box<dyn FnMut(Option<Instant>) + Send>>,
}

impl Platform for Sleepless {
    fn now(&self) -> Instant {
        self.machine.now()
    }

    fn cores(&self) -> CpuSet {
        self.machine.cores()
    }

    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.machine.start(core, entry)
    }

    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        self.machine.join(core)
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.machine.adopt(core)
    }

    fn release(&self, core: CoreId) {
        self.machine.release(core);
    }

    fn park(&self, _: CoreId, until: Option<Instant>) {
        (self.asleep.lock().expect("nobody panics in here"))(until);
    }

    fn unpark(&self, core: CoreId) {
        self.machine.unpark(core);
    }

    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.machine.watch(core, source)
    }

    fn unwatch(&self, core: CoreId, source: WaitSource) {
        self.machine.unwatch(core, source);
    }
}

#[test]
fn s127_a_core_sleeps_until_something_arrives_and_is_woken_by_what_comes_before() {
    let (machine, core) = (SimPlatform::new(1), CoreId(0));
    let platform = Arc::new(Sleepless { machine: machine.clone(), asleep: Mutex::new(Box::new(|_| {})) });
    let mut options = ReactorOptions::new(machine.cores());
    options.idle = Idle::ParkAfter(Duration::ZERO);
    let set = Reactors::new(platform.clone(), &options).expect("one core");
    let net = MemNet::new(1, Faults::default());
    let heard = count(set.lib(), &net, 7);
    let (lib, told, mut near, mut sleeps) = (set.lib().clone(), heard.clone(), None, 0);
    *platform.asleep.lock().expect("nobody sleeps yet") = Box::new(move |until| {
        let (woken, heard) = (machine.unparks(core), told.load(Ordering::Relaxed));
        sleeps += 1;
        match sleeps {
            // What comes at once wakes it.
            1 => {
                assert_eq!(until, None, "nothing is under way");
                let socket = near.insert(net.dial(at(7), &SockOptions::default()).expect("a free port"));
                assert_eq!(socket.write(b"now"), Poll::Ready(Ok(3)));
                assert_eq!(machine.unparks(core), woken + 1);
            }
            // So does what is under way, for it must not sleep longer than that takes.
            2 => {
                assert_eq!((until, heard), (None, 3));
                net.set_faults(Faults { delay: 5 * MS, ..Faults::default() });
                assert_eq!(near.as_ref().expect("it was made").write(b"later"), Poll::Ready(Ok(5)));
                assert_eq!(machine.unparks(core), woken + 1);
            }
            3 => {
                assert_eq!((until, heard), (Some(Instant::ZERO + 5 * MS), 3));
                machine.advance(5 * MS);
            }
            _ => {
                assert_eq!((until, heard), (None, 8));
                lib.stop();
            }
        }
    });
    set.reactor(core).expect("it is the set's").run();
    assert_eq!(heard.load(Ordering::Relaxed), 8);
}
