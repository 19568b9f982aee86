//! What is promised of groups over the network, under simulated cores.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use core_reactor::net::{Events, GroupConfig, NetError, NetEvent, NetImpl, SockOptions, Token};
use core_reactor::sim::{Sim, SimPlatform};
use core_reactor::{
    CoreId, CpuSet, Cx, Idle, Instant, Platform, PlatformError, Polled, ReactorOptions, Reactors, Schedule, ThreadConfig, ThreadLib,
    WaitSource,
};
use net_impl_mem::{Faults, MemNet};
use pool::BufGroup;

const MS: Duration = Duration::from_millis(1);

fn at(port: u16) -> SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn s130_a_socket_of_another_network_is_no_groups_of_this_one() {
    let mut sim = Sim::new(1);
    let (mine, stranger, told) = (MemNet::new(1, Faults::default()), MemNet::new(1, Faults::default()), Arc::new(AtomicUsize::new(0)));
    let note = told.clone();
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
                assert_eq!(machine.unparks(core), woken + 1);
                assert_eq!(socket.write(b"now"), Poll::Ready(Ok(3)));
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
