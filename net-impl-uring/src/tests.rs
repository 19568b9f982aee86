//! Tests that need to see inside: rings at their limits, and sends without a copy.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Wake;
use std::time::{Duration, Instant};

use conformance::net::{beside_others, need_descriptors};
use conformance::ordinary;
use conformance::platform::{CORE, self_driven};
use core_reactor::net::{Events, Frame, GroupConfig, NetError, NetEvent, SockGroup, SockId, SockOptions, Token};
use core_reactor::{Bell, CpuSet, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};
use core_uring::{Completion, Ring, Sizes};
use pool::{BufGroup, Class};
use socket2::{Domain, Socket, Type};

use crate::key::Op;
use crate::ringed::Ringed;
use crate::slot::SlotData;
use crate::timers::Which;
use crate::{NetImpl, Uring};

type Group = net_group::Group<Ringed>;

/// A ring that overflows all the time: its two requests and four completions are the fewest that
/// the kernel makes.
static TINY: Uring = Uring { sizes: Sizes { submissions: 2, completions: 4 }, buffers: 2 };

/// The whole suite over rings at their limits: nothing is lost when completions find no room, and
/// buffers that lie ready run out all the time.
mod tiny {
    use super::{TINY, self_driven};

    conformance::net_suite!(&TINY, self_driven());
}

/// A group of these buffers, and its thread.
fn group(bufs: BufGroup) -> (Thread, Group) {
    group_of(GroupConfig::new(bufs), &Uring::new())
}

/// The same, of this kind.
fn group_of(config: GroupConfig, uring: &Uring) -> (Thread, Group) {
    try_group_of(config, uring).expect("a ring")
}

/// The same, if there is memory to lock.
fn try_group_of(config: GroupConfig, uring: &Uring) -> Result<(Thread, Group), NetError> {
    let lib = ThreadLib::new(self_driven(), CpuSet::of(CORE), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("test"), CORE).expect("the platform has this core");
    let group = thread.with(|cx| {
        let ringed = Ringed::new(cx, &config, uring.sizes, uring.buffers)?;
        Ok::<_, NetError>(Group::new(cx, config, ringed))
    })?;
    Ok((thread, group))
}

/// What its backend knows of a socket.
fn of(group: &mut Group, id: SockId) -> &mut SlotData {
    group.backend_mut().at(id.index())
}

/// Whether a request receives for a socket, again and again.
fn is_receiving(group: &mut Group, id: SockId) -> bool {
    of(group, id).reader().is_receiving()
}

/// The ring of a group.
fn ring(group: &mut Group) -> Rc<Ring> {
    group.backend_mut().ring()
}

/// Polls until the socket of a connect is a connection.
fn connected(group: &mut Group) {
    let mut events = Events::new(1);
    while group.poll(&mut events) == 0 {}
    assert!(matches!(events.drain().next(), Some(NetEvent::Connected { .. })));
}

/// A connection of a group, and its peer.
fn pair(group: &mut Group, options: &SockOptions, token: Token) -> (SockId, TcpStream) {
    let far = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).expect("a free port");
    let socket = Uring::new().connect(&[far.local_addr().expect("its address")], options).expect("a socket");
    let id = group.attach(socket, token).map_err(|refused| refused.why).expect("room");
    let (peer, _) = far.accept().expect("a connection");
    connected(group);
    (id, peer)
}

/// How long a core that nothing wakes is taken to be asleep for good.
const ASLEEP: Duration = Duration::from_millis(500);
/// The same where something is to wake it, on a machine that has other things to do.
const AWAKE: Duration = Duration::from_secs(30);

/// What a group has on a core that sleeps whenever it may: its next event, or `None` if it sleeps
/// and nothing wakes it.
fn next_awake(thread: &mut Thread, group: &mut Group, patience: Duration) -> Option<NetEvent> {
    let mut events = Events::new(1);
    // Of the whole call: while buffers are short the group looks now and then for who takes
    // nothing, and each look would start it anew.
    let until = Instant::now() + patience;
    loop {
        if thread.has_work() {
            thread.turn(self_driven().now());
        }
        if group.poll(&mut events) > 0 {
            return events.drain().next();
        }
        while !thread.has_work() && thread.before_sleep() {
            thread.after_sleep();
            if Instant::now() > until {
                return None;
            }
            std::thread::yield_now();
        }
        thread.after_sleep();
    }
}

/// A buffer that comes home is offered to those that wait for one in turn, also if those in front
/// have no use for it yet, and also if nothing else happens.
#[test]
fn s17_s13_a_core_does_not_sleep_while_a_socket_with_bytes_waits_behind_others_without() {
    let _company = beside_others();
    let (mut thread, mut group) = group(BufGroup::new(4, 1024));
    let mut peers: Vec<_> = (0..40).map(|n| pair(&mut group, &SockOptions::default(), Token(n))).collect();
    for (_, peer) in &mut peers {
        peer.write_all(b"first").expect("sent");
        assert!(matches!(next_awake(&mut thread, &mut group, AWAKE), Some(NetEvent::Received { .. })));
    }
    // With every buffer taken, the first socket waits for one with bytes, and those behind it
    // without, but for the last.
    let mut taken: Vec<_> = std::iter::from_fn(|| group.buffer()).collect();
    peers[0].1.write_all(b"front").expect("sent");
    assert!(next_awake(&mut thread, &mut group, ASLEEP).is_none(), "there is no buffer");
    for (id, _) in &peers[1..] {
        group.pause(*id).expect("it is there");
    }
    assert!(next_awake(&mut thread, &mut group, ASLEEP).is_none(), "nothing came for the others");
    for (id, _) in &peers[1..] {
        group.resume(*id).expect("it is there");
    }
    peers[39].1.write_all(b"last").expect("sent");
    assert!(next_awake(&mut thread, &mut group, ASLEEP).is_none(), "there is no buffer");
    for (token, bytes) in [(0, &b"front"[..]), (39, b"last")] {
        drop(taken.pop().expect("all were taken"));
        match next_awake(&mut thread, &mut group, AWAKE) {
            Some(NetEvent::Received { token: of, buf, .. }) => {
                assert_eq!((of, &buf[..]), (Token(token), bytes));
                taken.insert(0, buf);
            }
            Some(_) => panic!("only bytes"),
            None => panic!("the core sleeps while there is a buffer for connection {token}, which has bytes"),
        }
    }
}

/// Beside any number of peers that send all they can, who asks little waits for one buffer at the
/// most, also who comes last; and those go on.
#[test]
fn s64_who_asks_little_does_not_wait_for_all_who_send_much() {
    const MANY: u64 = 30;
    let _company = beside_others();
    let (mut thread, mut group) = group(BufGroup::new(4, 8192));
    let mut peers: Vec<_> = (0..MANY + 3).map(|n| pair(&mut group, &SockOptions::default(), Token(n))).collect();
    let mut taken: Vec<_> = std::iter::from_fn(|| group.buffer()).collect();
    for (n, (_, peer)) in peers.iter_mut().enumerate() {
        peer.write_all(if n < MANY as usize { &[1; 32 << 10] } else { b"a question" }).expect("sent");
        while group.stats().buffer_waits <= n as u64 {
            assert_eq!(group.poll(&mut Events::new(1)), 0, "there is no buffer");
        }
    }
    let mut order = vec![];
    for _ in 0..MANY {
        drop(taken.pop().expect("all were taken"));
        let Some(NetEvent::Received { token, buf, .. }) = next_awake(&mut thread, &mut group, AWAKE) else { panic!("only bytes") };
        order.push(token.0);
        taken.push(buf);
    }
    assert_eq!(order[..6], [0, MANY, 1, MANY + 1, 2, MANY + 2]);
    assert_eq!(order[6..], (3..MANY - 3).collect::<Vec<_>>(), "the others have theirs, in order");
}

/// A listener on which more wait than a poll has room for leaves some to who is connected already.
#[test]
fn s20_s65_a_storm_of_connections_holds_up_nobody() {
    const STORM: usize = 60;
    let _company = beside_others();
    let bufs = BufGroup::new(8, 1024);
    let (_thread, mut group) = group(bufs.clone());
    let (_, mut peer) = pair(&mut group, &SockOptions::default(), Token(1));
    let listener = Uring::new().listen((Ipv4Addr::LOCALHOST, 0).into(), &SockOptions::default()).expect("a free port");
    let at = listener.local_addr().expect("its address");
    group.attach(listener, Token(0)).map_err(|refused| refused.why).expect("room");
    let mut events = Events::new(64);
    (0..3).for_each(|_| assert_eq!(group.poll(&mut events), 0, "nothing came"));
    // Also while buffers are low.
    let _taken: Vec<_> = std::iter::from_fn(|| bufs.get()).take(6).collect();
    let _storm: Vec<_> = (0..STORM).map(|_| TcpStream::connect(at).expect("it waits")).collect();
    peer.write_all(b"hear me").expect("sent");
    let (mut accepted, mut before, mut most) = (0, None, 0);
    while accepted < STORM {
        let now = group.poll(&mut events);
        assert!(now <= 17, "{now} in one poll");
        most = most.max(now);
        for event in events.drain() {
            match event {
                NetEvent::Accepted { .. } => accepted += 1,
                NetEvent::Received { .. } => before = Some(accepted),
                _ => panic!("only connections, and bytes"),
            }
        }
    }
    assert!(before.expect("it is heard") <= 32, "{before:?} connections came before it");
    assert!(most >= 16, "{most} in one poll");
}

/// What is done before Linux 6.8, whatever kernel this is: buffers that lie ready come back but for
/// the one that was received into, and who receives goes on when there are buffers again.
#[test]
fn s17_buffers_recalled_from_the_kernel_take_no_bytes_with_them() {
    let _company = beside_others();
    let bufs = BufGroup::new(8, 1024);
    let (_thread, mut group) = group(bufs.clone());
    let mut peers: Vec<_> = (0..4).map(|n| pair(&mut group, &SockOptions::default(), Token(n))).collect();
    for round in 0..3 {
        let mut got = vec![Vec::new(); peers.len()];
        assert_eq!(heard(&mut group, &mut got, 10), 0, "nothing was sent");
        peers[0].1.write_all(b"early").expect("sent");
        let taken: Vec<_> = std::iter::from_fn(|| group.buffer()).collect();
        assert_eq!(taken.len(), 7, "round {round}: all but the one that was received into");
        for (_, peer) in &mut peers {
            peer.write_all(b"later").expect("sent");
        }
        while got[0].len() < 10 {
            // The buffer of the early bytes is back then, and goes from one to the next.
            heard(&mut group, &mut got, 1);
        }
        drop(taken);
        while got.iter().map(Vec::len).sum::<usize>() < 25 {
            heard(&mut group, &mut got, 1);
        }
        assert_eq!(got[0], b"earlylater");
        assert!(got[1..].iter().all(|bytes| bytes == b"later"), "round {round}: {got:?}");
    }
}

/// Where the ring of buffers may not be locked again, what comes is read all the same.
#[test]
fn s17_s61_without_its_ring_of_buffers_a_group_reads_on() {
    const LIMIT: u64 = 8 << 20;
    ordinary::with_locked_memory("tests::s17_s61_without_its_ring_of_buffers_a_group_reads_on", LIMIT, || {
        let (_thread, mut group) = group(BufGroup::new(8, 1024));
        let mut peers: Vec<_> = (0..2).map(|n| pair(&mut group, &SockOptions::default(), Token(n))).collect();
        let mut got = vec![Vec::new(); 2];
        for limit in [0, LIMIT] {
            assert_eq!(heard(&mut group, &mut got, 10), 0, "nothing was sent");
            ordinary::may_lock(limit);
            let taken: Vec<_> = std::iter::from_fn(|| group.buffer()).collect();
            assert_eq!(taken.len(), 8);
            drop(taken);
            for word in ["one", "two"] {
                peers.iter_mut().for_each(|(_, peer)| peer.write_all(word.as_bytes()).expect("sent"));
                while got.iter().any(|bytes| !bytes.ends_with(word.as_bytes())) {
                    heard(&mut group, &mut got, 1);
                }
            }
        }
        assert!(got.iter().all(|bytes| bytes == b"onetwoonetwo"), "{got:?}");
    });
}

/// As many receives are given up for that as the group has connections, in as many entries as it
/// takes: over a ring at its limits, four at a time.
#[test]
fn s17_buffers_are_recalled_from_any_number_of_receives() {
    const COUNT: usize = 800;
    let _company = beside_others();
    need_descriptors(2 * COUNT as u64 + 100);
    let bufs = BufGroup::new(2, 1024);
    let config = GroupConfig::new(bufs.clone()).sockets(COUNT);
    let (_thread, mut group) = group_of(config, &TINY);
    let mut peers: Vec<_> = (0..COUNT).map(|n| pair(&mut group, &SockOptions::default(), Token(n as u64))).collect();
    while peers.iter().any(|(id, _)| !is_receiving(&mut group, *id)) {
        assert_eq!(group.poll(&mut Events::new(1)), 0, "nothing was sent");
    }
    let free: Vec<_> = std::iter::from_fn(|| bufs.get()).collect();
    assert!(free.len() < 2, "one lies ready");
    let recalled = group.buffer().expect("it is recalled");
    assert!(peers.iter().all(|(id, _)| !is_receiving(&mut group, *id)), "nobody receives into it");
    drop((free, recalled));
    peers[COUNT - 1].1.write_all(b"later").expect("sent");
    let mut got = vec![Vec::new(); COUNT];
    while heard(&mut group, &mut got, 1) == 0 {}
    assert_eq!(got[COUNT - 1], b"later");
}

/// No receive is given up for buffers that all have bytes.
#[test]
fn s17_buffers_with_bytes_are_not_recalled() {
    let _company = beside_others();
    let (_thread, mut group) = group(BufGroup::new(1, 1024));
    let (id, mut peer) = pair(&mut group, &SockOptions::default(), Token(0));
    let mut got = [Vec::new()];
    assert_eq!(heard(&mut group, &mut got, 10), 0, "nothing was sent");
    peer.write_all(b"bytes").expect("sent");
    assert!(group.buffer().is_none(), "it has bytes");
    assert_eq!(of(&mut group, id).reader().stop(), Some(Op::Recv), "nothing was given up");
    while heard(&mut group, &mut got, 1) == 0 {}
    assert_eq!(got[0], b"bytes");
}

/// A connect that has failed when its socket is detached goes on with the next address in the next
/// group, or tells there of what it has failed.
#[test]
fn s15_a_connect_that_fails_during_a_detach_goes_on_or_says_why() {
    let _company = beside_others();
    let (_thread, mut group) = group(BufGroup::new(8, 1024));
    let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    nobody.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    let refused = nobody.local_addr().ok().and_then(|at| at.as_socket()).expect("its address");
    let far = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).expect("a free port");
    let listened = far.local_addr().expect("its address");
    for addresses in [&[refused][..], &[refused, listened]] {
        let socket = Uring::new().connect(addresses, &SockOptions::default()).expect("a socket");
        let id = group.attach(socket, Token(1)).map_err(|refused| refused.why).expect("room");
        ring(&mut group).io().enter_for_events();
        let socket = group.detach(id).map_err(|why| why.to_string()).expect("it is given back");
        group.attach(socket, Token(2)).map_err(|refused| refused.why).expect("room");
        let mut events = Events::new(1);
        while group.poll(&mut events) == 0 {}
        match events.drain().next() {
            Some(NetEvent::Connected { token, .. }) => assert_eq!((token, addresses.len()), (Token(2), 2)),
            Some(NetEvent::Closed { token, why, .. }) => {
                assert_eq!((token, addresses.len()), (Token(2), 1));
                let why = why.expect("it has failed").to_string();
                assert!(why.contains("refused") && why.contains(&refused.to_string()), "{why}");
            }
            _ => panic!("connected, or failed"),
        }
    }
}

/// A connection that was taken for over, and is not, waits for bytes again.
#[test]
fn s13_s60_a_connection_that_is_not_over_is_not_read_for_ever() {
    let _company = beside_others();
    let (mut thread, mut group) = group(BufGroup::new(8, 1024));
    let (id, mut peer) = pair(&mut group, &SockOptions::default(), Token(0));
    while !is_receiving(&mut group, id) {
        assert_eq!(group.poll(&mut Events::new(1)), 0, "nothing was sent");
    }
    of(&mut group, id).is_over();
    group.backend_mut().changed(id.index());
    (0..100).for_each(|_| assert_eq!(group.poll(&mut Events::new(1)), 0, "nothing was sent"));
    assert!(is_receiving(&mut group, id), "there is nothing to read");
    peer.write_all(b"bytes").expect("sent");
    match next_awake(&mut thread, &mut group, AWAKE) {
        Some(NetEvent::Received { buf, .. }) => assert_eq!(&buf[..], b"bytes"),
        _ => panic!("only bytes"),
    }
}

/// Polls, and adds what each connection has received to its bytes; tells how often that was.
fn heard(group: &mut Group, got: &mut [Vec<u8>], polls: usize) -> usize {
    let mut events = Events::new(8);
    let mut times = 0;
    for _ in 0..polls {
        group.poll(&mut events);
        for event in events.drain() {
            let NetEvent::Received { token, buf, .. } = event else { panic!("only bytes") };
            got[token.0 as usize].extend_from_slice(&buf);
            times += 1;
        }
    }
    times
}

/// A group and a connection of it whose long frames are sent without a copy, though it is over
/// loopback; and its peer.
fn lending() -> (Thread, Group, SockId, TcpStream) {
    let (thread, mut group) = group(BufGroup::new(64, 16 << 10));
    let options = SockOptions::default().zero_copy(1000);
    let (id, peer) = pair(&mut group, &options, Token(1));
    (thread, group, id, peer)
}

fn lend(group: &mut Group, id: SockId) {
    of(group, id).writer().lend_from(1000);
}

/// Sends without a copy come back only when the kernel has let go of their memory; on loopback it
/// copies after all, and then none of it is asked for.
#[test]
fn s18_a_send_without_a_copy_keeps_its_frame_until_the_kernel_is_done() {
    let _company = beside_others();
    let (_thread, mut group, id, mut peer) = lending();
    assert!(!of(&mut group, id).writer().lends(), "never on loopback");
    let mut events = Events::new(16);
    for (round, parts) in [1, 1, 4, 2, 1, 4].into_iter().enumerate() {
        lend(&mut group, id);
        let mut frame = Frame::new().tagged(round as u32);
        for part in 0..parts {
            let mut buf = group.buffer().expect("a buffer");
            buf.append(&[(round * 10 + part) as u8; 16 << 10]);
            frame.push(buf).map_err(drop).expect("room");
        }
        group.send(id, frame).map_err(|refused| refused.why).expect("taken");
        let mut got = vec![0; parts * (16 << 10)];
        group.flush();
        peer.read_exact(&mut got).expect("it comes");
        for (part, bytes) in got.chunks(16 << 10).enumerate() {
            assert!(bytes.iter().all(|byte| *byte == (round * 10 + part) as u8));
        }
        let mut sent = false;
        while !sent {
            group.poll(&mut events);
            for event in events.drain() {
                let NetEvent::Sent { frame, written, error, .. } = event else { panic!("only reports") };
                assert_eq!((frame.tag(), written, error), (Some(round as u32), parts * (16 << 10), None));
                sent = true;
            }
        }
        let writer = of(&mut group, id).writer();
        assert!(!writer.lends() && !writer.is_busy(), "it was copied, which was noticed");
    }
}

/// A group that goes while the kernel reads frames of it gets them back: by a reset, if the peer
/// takes nothing.
#[test]
fn s19_a_group_that_goes_waits_for_sends_without_a_copy() {
    let _company = beside_others();
    let (_thread, mut group, id, mut peer) = lending();
    let mut sent = 0;
    // More than the system takes, and less than an ordinary user may lock.
    while sent < 40
        && let Some(mut buf) = group.buffer()
    {
        lend(&mut group, id);
        buf.append(&[5; 16 << 10]);
        if group.send(id, buf.into()).is_err() {
            break;
        }
        sent += 1;
    }
    group.flush();
    assert!(of(&mut group, id).writer().is_busy() && sent == 40);
    drop(group);
    let mut all = Vec::new();
    let ended = peer.read_to_end(&mut all);
    assert_eq!(ended.expect_err("it was reset").kind(), std::io::ErrorKind::ConnectionReset);
    assert!(all.iter().all(|byte| *byte == 5));
}

/// Where no ring can be had for want of memory to lock, the error says so, and how much that is.
#[test]
fn s61_a_group_without_memory_to_lock_says_so() {
    ordinary::with_locked_memory("tests::s61_a_group_without_memory_to_lock_says_so", 16 << 10, || {
        let lib = ThreadLib::new(self_driven(), CpuSet::of(CORE), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("test"), CORE).expect("the platform has this core");
        let made = thread.with(|cx| Uring::new().group(cx, GroupConfig::new(BufGroup::new(2, 64))));
        let why = made.expect_err("16 KiB are too few");
        assert_eq!(why, NetError::LockedMemory { doing: "io_uring_setup", needs: 24, limit: 16 });
        assert!(why.to_string().contains("ulimit -l"), "{why}");
        // Its ring is smaller. But what is locked is counted by user: by others of the same, it may
        // be too large.
        if let Err(why) = Uring::new().probe() {
            assert!(!ordinary::is_sole() && why.to_string().contains("ulimit -l"), "{why}");
        }
    });
}

/// A poll that tells nothing asks for what its completions have made possible, as the core may fall
/// asleep then: the rest of a frame that was taken in part.
#[test]
fn s13_s18_a_core_does_not_sleep_on_a_frame_that_was_sent_in_part() {
    let _company = beside_others();
    const BYTES: usize = 1 << 20;
    let (mut thread, mut group) = group(BufGroup::new(2, BYTES));
    let (id, mut peer) = stuck(&mut group, Token(1));
    let mut buf = group.buffer().expect("a buffer");
    buf.append(&[3; BYTES]);
    group.send(id, Frame::from(buf).tagged(1)).map_err(|refused| refused.why).expect("taken");
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; BYTES];
        peer.read_exact(&mut all).map(|()| peer)
    });
    match next_awake(&mut thread, &mut group, AWAKE) {
        Some(NetEvent::Sent { written, error, .. }) => assert_eq!((written, error), (BYTES, None)),
        Some(_) => panic!("only its report"),
        None => panic!("the core sleeps on a frame that was sent in part"),
    }
    reader.join().expect("no panic").expect("all of it comes");
}

/// Whether an eventfd has been told something, which it forgets.
fn is_told(bell: &OwnedFd) -> bool {
    File::from(bell.try_clone().expect("a descriptor")).read(&mut [0; 8]).is_ok()
}

/// The ring tells of news only while it is armed; what came before is found when it is.
#[test]
fn s13_arming_finds_what_came_before_and_disarming_ends_the_telling() {
    let _company = beside_others();
    let (_thread, mut group) = group(BufGroup::new(8, 1024));
    let (_, mut peer) = pair(&mut group, &SockOptions::default(), Token(1));
    let ring = ring(&mut group);
    let bell = ring.bell().expect("a descriptor");
    let hear = |group: &mut Group| {
        let mut events = Events::new(1);
        while group.poll(&mut events) == 0 {}
        assert!(matches!(events.drain().next(), Some(NetEvent::Received { .. })));
        (0..3).for_each(|_| assert_eq!(group.poll(&mut events), 0));
    };
    (0..3).for_each(|_| _ = group.poll(&mut Events::new(1)));
    peer.write_all(b"before").expect("sent");
    assert!(!is_told(&bell), "it is not armed");
    assert!(!ring.arm(), "there are news, of which nobody will be told");
    assert!(!ring.arm(), "nor is the second group of the core to sleep on them");
    ring.disarm();
    hear(&mut group);
    is_told(&bell);
    assert!(ring.arm() && ring.arm(), "no news");
    assert!(!is_told(&bell));
    peer.write_all(b"armed").expect("sent");
    ring.disarm();
    assert!(!is_told(&bell), "what it told is over");
    hear(&mut group);
    assert!(ring.arm());
    peer.write_all(b"armed").expect("sent");
    assert!(is_told(&bell));
    ring.disarm();
    hear(&mut group);
    assert!(ring.arm());
    ring.disarm();
    peer.write_all(b"disarmed").expect("sent");
    assert!(!is_told(&bell), "it is not armed");
    hear(&mut group);
}

/// The tail of a buffer ring, and the kernel's own head, count on beyond their 16 bits.
#[test]
fn s17_a_buffer_ring_goes_on_when_its_tail_wraps() {
    let _company = beside_others();
    let (_thread, mut group) = group_of(GroupConfig::new(BufGroup::new(2, 8)), &TINY);
    let (_, mut peer) = pair(&mut group, &SockOptions::default(), Token(1));
    let mut events = Events::new(4);
    for n in 0..u64::from(u16::MAX) + 100 {
        peer.write_all(&n.to_le_bytes()).expect("sent");
        while group.poll(&mut events) == 0 {}
        let Some(NetEvent::Received { buf, .. }) = events.drain().next() else { panic!("only bytes") };
        assert_eq!(buf[..], n.to_le_bytes());
    }
}

/// A machine that is short of memory for a while ends no connection: what could not be sent or
/// received is asked for again, without anybody's help.
#[test]
fn s61_a_shortage_of_the_machine_ends_no_connection() {
    let _company = beside_others();
    let (mut thread, mut group) = group(BufGroup::new(8, 1024));
    let (id, mut peer) = pair(&mut group, &SockOptions::default(), Token(1));
    peer.write_all(b"first").expect("sent");
    let mut full = Events::new(1);
    while group.poll(&mut full) == 0 {}
    group.pause(id).expect("it is there");
    while is_receiving(&mut group, id) {
        group.poll(&mut Events::new(1));
    }
    let mut buf = group.buffer().expect("a buffer");
    buf.append(b"sent");
    group.send(id, buf.into()).map_err(|refused| refused.why).expect("taken");
    // Sent, and not heard of, as there is no room for events.
    assert_eq!((group.poll(&mut full), full.room()), (0, 0));
    group.resume(id).expect("it is there");
    let mut all = [Completion::NOTHING; 8];
    let sent = group.backend().take(&mut all);
    let sent = all[..sent].iter().find(|completion| Op::of(completion.key) == Some(Op::Send)).expect("it was sent");
    for (key, errno) in [(Op::Recv.key(sent.key.member(), id), libc::ENOMEM), (sent.key, libc::ENOBUFS)] {
        group.backend_mut().pretend(Completion::new(key, -errno, 0));
    }
    assert!(group.backend().timers().is_on(Which::Retry));
    peer.write_all(b"received").expect("sent");
    match next_awake(&mut thread, &mut group, AWAKE) {
        Some(NetEvent::Received { buf, .. }) => assert_eq!(&buf[..], b"received"),
        _ => panic!("only bytes"),
    }
    let mut got = [0; 8];
    peer.read_exact(&mut got).expect("it comes");
    assert_eq!(&got, b"sentsent", "it was sent again, since what the kernel said was changed");
}

/// What a user may lock of memory is used up by one connection whose peer does not read: that and
/// the others send with a copy, and all comes.
#[test]
fn s18_s61_without_memory_to_lock_sends_are_copied() {
    let name = "tests::s18_s61_without_memory_to_lock_sends_are_copied";
    // The usual limit.
    ordinary::with_locked_memory(name, 8 << 20, || assert!(sends_that_lock_memory().is_some(), "a ring"));
    // From what no ring can be had with to what is too low for these sends: somewhere in between
    // the rings take all of it, and the buffers in them come back none the less.
    for kib in (24..=64).step_by(8) {
        ordinary::with_locked_memory(name, kib << 10, || match sends_that_lock_memory() {
            Some(short) => assert!(short, "memory was short, or this shows nothing"),
            None => assert!(kib < 64 || !ordinary::is_sole(), "64 KiB are enough for a ring"),
        });
    }
}

/// Sends much without a copy at once, all of which arrives, if there is memory for a ring. Tells
/// whether memory to lock was short for sends.
fn sends_that_lock_memory() -> Option<bool> {
    const PEERS: usize = 12;
    const FRAMES: usize = 40;
    let config = GroupConfig::new(BufGroup::new(PEERS * FRAMES + 16, 128 << 10)).send_limit(usize::MAX);
    let (thread, mut group) = match try_group_of(config, &Uring::new()) {
        Ok(made) => made,
        Err(NetError::LockedMemory { .. }) => return None,
        Err(why) => panic!("no group: {why}"),
    };
    let options = SockOptions::default().zero_copy(1000);
    let mut peers: Vec<_> = (0..PEERS).map(|n| pair(&mut group, &options, Token(n as u64))).collect();
    for (id, _) in &peers {
        lend(&mut group, *id);
    }
    for n in 0..FRAMES {
        for (id, _) in &peers {
            let mut buf = group.buffer().expect("a buffer");
            buf.append(&vec![n as u8; 128 << 10]);
            group.send(*id, buf.into()).map_err(|refused| refused.why).expect("taken");
        }
    }
    group.flush();
    let readers: Vec<_> = peers
        .drain(..)
        .map(|(_, mut peer)| {
            std::thread::spawn(move || {
                let mut all = vec![0; FRAMES * (128 << 10)];
                peer.set_read_timeout(Some(Duration::from_secs(30))).expect("allowed");
                peer.read_exact(&mut all).expect("all of it comes");
                assert!(all.chunks(128 << 10).enumerate().all(|(n, frame)| frame.iter().all(|byte| *byte == n as u8)));
                peer
            })
        })
        .collect();
    while !readers.iter().all(|reader| reader.is_finished()) {
        let mut events = Events::new(8);
        group.poll(&mut events);
        assert!(events.drain().next().is_none(), "nothing has ended");
    }
    let kept: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("its peer is content")).collect();
    let short = group.backend().copies_said();
    drop((group, thread, kept));
    Some(short)
}

/// A connection whose peer, which takes little, has taken no more of what is sent to it.
fn stuck(group: &mut Group, token: Token) -> (SockId, TcpStream) {
    let far = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    far.set_recv_buffer_size(2304).expect("allowed");
    far.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    far.listen(1).expect("allowed");
    let at = far.local_addr().ok().and_then(|at| at.as_socket()).expect("its address");
    let options = SockOptions::default().send_buf(4608);
    let id = group.attach(Uring::new().connect(&[at], &options).expect("a socket"), token).map_err(|refused| refused.why).expect("room");
    let (peer, _) = far.accept().expect("a connection");
    let peer = TcpStream::from(peer);
    peer.set_read_timeout(Some(Duration::from_secs(30))).expect("allowed");
    connected(group);
    (id, peer)
}

/// While buffers are low nothing is read of a socket whose system has no room for an answer, though
/// nothing is queued on it. When there is room, it is.
#[test]
fn s73_without_room_for_an_answer_nothing_is_read_while_buffers_are_low() {
    let _company = beside_others();
    let bufs = BufGroup::new(64, 1024);
    let (_thread, mut group) = group(bufs.clone());
    let (id, mut peer) = stuck(&mut group, Token(1));
    let fd = of(&mut group, id).socket().fd();
    let taken: Vec<_> = std::iter::from_fn(|| bufs.get()).take(40).collect();
    let mut events = Events::new(4);
    group.pause(id).expect("it is there");
    loop {
        // Small frames, of which the system takes the last one as well.
        while net_sockets::sys::has_room(fd) {
            let mut buf = group.buffer().expect("a buffer");
            buf.append(&[3; 64]);
            group.send(id, buf.into()).map_err(|refused| refused.why).expect("taken");
            while group.stats().unsent > 0 {
                assert_eq!(group.poll(&mut events), 0, "nothing was sent");
            }
        }
        // What it brings acknowledges what had come, which makes room.
        peer.write_all(b"?").expect("sent");
        if !net_sockets::sys::has_room(fd) {
            break;
        }
    }
    group.resume(id).expect("it is there");
    let mut heard = 0;
    while heard == 0 {
        let had_room = net_sockets::sys::has_room(fd);
        (0..10).for_each(|_| heard += group.poll(&mut events));
        assert!(heard == 0 || had_room, "it is read without room");
        assert!(group.stats().buffers_low > 0);
        assert!(peer.read(&mut [0; 256]).expect("it comes") > 0);
    }
    assert!(matches!(events.drain().next(), Some(NetEvent::Received { buf, .. }) if buf.starts_with(b"?")));
    drop(taken);
}

/// A group that is short of buffers wakes its core for the next look for who has stalled, and not
/// before.
#[test]
fn s74_a_core_sleeps_until_the_next_look_for_who_has_stalled() {
    let _company = beside_others();
    for (limit, patience) in [(Duration::from_secs(7200), ASLEEP), (Duration::from_millis(100), AWAKE)] {
        let config = GroupConfig::new(BufGroup::new(64, 16 << 10)).stall_limit(limit);
        let (mut thread, mut group) = group_of(config, &Uring::new());
        let (id, _peer) = stuck(&mut group, Token(1));
        let mut taken: Vec<_> = std::iter::from_fn(|| group.buffer()).collect();
        for _ in 0..16 {
            let mut buf = taken.pop().expect("all were taken");
            let full = buf.spare_capacity();
            buf.append(&vec![3; full]);
            group.send(id, buf.into()).map_err(|refused| refused.why).expect("taken");
        }
        let before = group.stats().polls;
        let mut first = next_awake(&mut thread, &mut group, patience);
        while let Some(NetEvent::Sent { error: Some(NetError::Cancelled), .. }) = first {
            first = next_awake(&mut thread, &mut group, AWAKE);
        }
        match first {
            None => {
                assert_eq!(patience, ASLEEP, "nothing ends who has stalled");
                assert!(group.backend().timers().is_on(Which::Look) && !group.backend().timers().is_on(Which::Retry));
                assert!(group.stats().polls - before < 20, "{} polls", group.stats().polls - before);
            }
            Some(NetEvent::Closed { why: Some(NetError::Stalled { .. }), .. }) => assert_eq!(patience, AWAKE, "it is too early"),
            Some(_) => panic!("only its end"),
        }
    }
}

struct Panics;

static PANICS: AtomicBool = AtomicBool::new(false);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        assert!(!PANICS.load(SeqCst), "a waker that panics");
    }
}

/// Somebody who is woken on the way of a group's end may panic: what the kernel still reads is
/// nobody else's then. With it, the descriptors go when the ring does.
#[test]
fn s62_a_panic_on_the_way_of_an_end_gives_nothing_away_that_the_kernel_reads() {
    let _company = beside_others();
    let bufs = BufGroup::new(64, 8192);
    // A group of the same ring, which goes on.
    let (other_thread, mut other) = group(BufGroup::new(8, 1024));
    let (thread, mut group) = group(bufs.clone());
    let (early, mut early_peer) = pair(&mut group, &SockOptions::default(), Token(0));
    let (busy, mut busy_peer) = stuck(&mut group, Token(1));
    early_peer.write_all(b"early").expect("sent");
    // Received, and not delivered: its buffer comes home on the way.
    ring(&mut group).io().enter_for_events();
    group.pause(early).expect("it is there");
    while !of(&mut group, early).reader().keeps_some() {
        group.poll(&mut Events::new(1));
    }
    let mut sent = 0;
    // Without a copy, which the kernel reads also when all is given up.
    while !of(&mut group, busy).writer().has_only_lent() {
        lend(&mut group, busy);
        let mut buf = bufs.get().expect("a buffer");
        sent += buf.append(&[b'A'; 8192]);
        group.send(busy, buf.into()).map_err(|refused| refused.why).expect("taken");
        (0..20).for_each(|_| _ = group.poll(&mut Events::new(4)));
    }
    let taken: Vec<_> = std::iter::from_fn(|| group.buffer()).collect();
    let request = bufs.request(Class::Small, 1, 0, &Arc::new(Panics).into()).expect("room");
    PANICS.store(true, SeqCst);
    let ended = catch_unwind(AssertUnwindSafe(move || drop(group)));
    PANICS.store(false, SeqCst);
    assert!(ended.is_err(), "the waker has panicked");
    drop((taken, request));
    // What is free now is ours.
    let ours: Vec<_> = std::iter::from_fn(|| bufs.get()).map(|mut buf| (buf.append(&[b'S'; 8192]), buf)).collect();
    assert!(!ours.is_empty());
    let mut got = vec![0; sent];
    busy_peer.set_read_timeout(Some(Duration::from_millis(20))).expect("allowed");
    for _ in 0..50 {
        other.poll(&mut Events::new(4));
        let n = busy_peer.read(&mut got).unwrap_or_default();
        assert!(got[..n].iter().all(|byte| *byte == b'A'), "bytes that nobody sent");
    }
    drop((ours, thread, other, other_thread));
}

/// The end of a group takes as many entries as there is something to bring back, however much that
/// is. Over a ring at its limits a few hundred connections are as much as ten thousand over
/// another.
#[test]
fn s63_a_large_group_ends_in_good_order() {
    let _company = beside_others();
    const COUNT: usize = 800;
    need_descriptors(2 * COUNT as u64 + 100);
    let config = GroupConfig::new(BufGroup::new(64, 1024)).sockets(COUNT);
    let (_thread, mut group) = group_of(config, &TINY);
    let peers: Vec<_> = (0..COUNT).map(|n| pair(&mut group, &SockOptions::default(), Token(n as u64)).1).collect();
    drop(group);
    for mut peer in peers {
        peer.set_read_timeout(Some(Duration::from_secs(30))).expect("allowed");
        assert_eq!(peer.read(&mut [0]).expect("it is closed, and not reset"), 0);
    }
}

/// While a peer does not take what was sent without a copy, its socket can go elsewhere, and others
/// take their turns: nobody waits for it.
#[test]
fn s63_nobody_waits_for_a_peer_that_takes_nothing() {
    let _company = beside_others();
    let (thread, mut group) = group(BufGroup::new(64, 16 << 10));
    let (id, mut peer) = stuck(&mut group, Token(1));
    let mut sent = 0;
    while !of(&mut group, id).writer().has_only_lent() {
        lend(&mut group, id);
        let mut buf = group.buffer().expect("a buffer");
        buf.append(&[5; 16 << 10]);
        group.send(id, Frame::from(buf).tagged(sent)).map_err(|refused| refused.why).expect("taken");
        sent += 1;
        (0..20).for_each(|_| _ = group.poll(&mut Events::new(4)));
    }
    let socket = group.detach(id).map_err(|why| why.to_string()).expect("it is given back");
    assert_eq!(group.stats().sockets, 1, "its place keeps what the kernel has");
    // Nothing of it was closed.
    let id = group.attach(socket, Token(2)).map_err(|refused| refused.why).expect("room");
    let mut events = Events::new(64);
    let mut got = 0;
    let mut reports = 0;
    peer.set_nonblocking(true).expect("allowed");
    let until = Instant::now() + Duration::from_secs(30);
    while reports < sent {
        assert!(Instant::now() < until, "{reports} of {sent} reports");
        if let Ok(n) = peer.read(&mut [0; 4096]) {
            assert!(n > 0, "it is open");
            got += n;
        }
        group.poll(&mut events);
        for event in events.drain() {
            let NetEvent::Sent { token, .. } = event else { panic!("only reports") };
            assert_eq!(token, Token(1), "those of the frames that were left behind");
            reports += 1;
        }
    }
    assert_eq!(group.stats().sockets, 1, "what was left behind is gone");
    assert!(got > 0);
    peer.set_nonblocking(false).expect("allowed");
    peer.write_all(b"still there").expect("sent");
    loop {
        group.poll(&mut events);
        if let Some(NetEvent::Received { id: of, buf, .. }) = events.drain().next() {
            assert_eq!((of, &buf[..]), (id, &b"still there"[..]));
            break;
        }
    }
    drop((group, thread));
}
