//! What is promised of the network, by hand.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::task::Wake;
use std::time::Duration;

use core_reactor::Instant;
use core_reactor::net::{NetError, SockOptions};
use core_reactor::sim::SimPlatform;
use sim_net::{Faults, Readiness, Role, SimNet, SimSocket, Watcher};

const MS: Duration = Duration::from_millis(1);

/// A network with a clock that the test moves.
fn network(faults: Faults) -> (SimNet, Arc<SimPlatform>) {
    let (net, clock) = (SimNet::new(1, faults), SimPlatform::new(1));
    net.set_clock(clock.clone());
    (net, clock)
}

fn at(port: u16) -> SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, port).into()
}

/// Both sides of a connection without delay.
fn pair(net: &SimNet, options: &SockOptions) -> (SimSocket, SimSocket) {
    let listener = net.bind(at(0), options).expect("a free port");
    let near = net.dial(listener.local_addr().expect("its address"), options).expect("a free port");
    assert_eq!(near.connected(), Poll::Ready(Ok(())));
    (near, listener.accept().expect("it has arrived"))
}

fn read(socket: &SimSocket) -> Poll<Result<Vec<u8>, NetError>> {
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
    let one = SockOptions::default().backlog(1);
    let listener = net.bind(at(7), &one).expect("it is free");
    let patient = |time| net.dial(at(7), &SockOptions::default().user_timeout(time)).expect("a free port");
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
    let options = SockOptions::default().send_buf(5000);
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
}

#[test]
fn s126_chance_is_the_seeds() {
    let run = |seed| {
        let net = SimNet::new(seed, Faults { jitter: 100 * MS, refuse_per_mille: 500, ..Faults::default() });
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

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn news(watcher: &Watcher) -> Vec<(u64, Readiness)> {
    let mut news = VecDeque::new();
    watcher.take_news(&mut news);
    news.into()
}

#[test]
fn s148_a_watcher_is_told_each_thing_once_and_only_of_what_it_watches() {
    let (net, clock) = network(Faults::default());
    let woken = Arc::new(Woken::default());
    let watcher = net.watcher(clock.clone(), woken.clone().into());
    let (near, far) = pair(&net, &SockOptions::default());
    assert_eq!((watcher.watch(&far, 5), watcher.has_news()), (Ok(Role::Stream), true));
    let (read, write) = (true, true);
    let room = Readiness { write, ..Readiness::default() };
    assert_eq!((watcher.due(), news(&watcher)), (Some(Instant::ZERO), vec![(5, room)]));
    assert_eq!((watcher.due(), watcher.has_news(), woken.0.load(Ordering::Relaxed)), (None, false, 1));
    // What is under way is due when it arrives, and is told then.
    net.set_faults(Faults { delay: MS, ..Faults::default() });
    assert_eq!(near.write(b"one"), Poll::Ready(Ok(3)));
    assert_eq!((watcher.due(), woken.0.load(Ordering::Relaxed)), (Some(Instant::ZERO + MS), 2));
    assert_eq!(near.write(b"two"), Poll::Ready(Ok(3)));
    assert_eq!((woken.0.load(Ordering::Relaxed), news(&watcher)), (2, vec![]), "it looks again before that");
    clock.advance(MS);
    assert_eq!((watcher.now(), news(&watcher)), (Instant::ZERO + MS, vec![(5, Readiness { read, ..room })]));
    assert_eq!((far.unread(), far.unread_and_under_way(), read_all(&far)), (6, 6, b"onetwo".to_vec()));
    // Nor is it told of what it has forgotten, or of another network's.
    watcher.forget(&far);
    near.reset();
    clock.advance(MS);
    assert_eq!((news(&watcher), far.error()), (vec![], Some(NetError::Reset)));
    let stranger = SimNet::new(1, Faults::default()).bind(at(7), &SockOptions::default()).expect("it is free");
    assert!(matches!(watcher.watch(&stranger, 6), Err(NetError::Unusable(_))));
}

fn read_all(socket: &SimSocket) -> Vec<u8> {
    match read(socket) {
        Poll::Ready(Ok(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}
