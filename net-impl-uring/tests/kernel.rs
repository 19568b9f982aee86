//! What is special about this backend: buffers that lie ready, requests that are with the kernel, a
//! ring that several groups share.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use conformance::net::{Driver, Env, Setup, alone, beside_others};
use conformance::platform::self_driven;
use core_reactor::net::{NetEvent, SockOptions, Token};
use net_impl_uring::Uring;

static URING: Uring = Uring::new();

/// Buffers that lie ready, at most.
const READY: usize = 32;

fn env() -> Env {
    Env::on_loopback(&URING, Ipv4Addr::LOCALHOST.into(), self_driven())
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// A byte of a stream that tells its place.
fn byte(seed: usize, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ at >> 8 ^ seed) as u8
}

fn bytes(seed: usize, from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| byte(seed, at)).collect()
}

/// Three times as many sockets as there are buffers that lie ready have several buffers' worth
/// each, and ask in one poll: so the kernel runs out in the middle (ENOBUFS), and all goes on where
/// it was.
#[test]
fn s17_running_out_of_buffers_that_lie_ready_loses_nothing() {
    let _company = beside_others();
    const SOCKETS: usize = 3 * READY;
    const EACH: usize = 20_000;
    let setup = Setup { sockets: SOCKETS + 1, bufs: 256, buf_size: 2048, ..Setup::default() };
    let mut driver = Driver::with(&env(), setup);
    let mut pairs: Vec<_> = (0..SOCKETS).map(|n| driver.pair(Token(n as u64))).collect();
    for (n, (id, far)) in pairs.iter_mut().enumerate() {
        driver.group().pause(*id).expect("it is there");
        far.write_all(&bytes(n, 0, EACH)).expect("sent");
    }
    driver.turns(3);
    pairs.iter().for_each(|(id, _)| driver.group().resume(*id).expect("it is there"));
    let mut got = [0; SOCKETS];
    driver.until("all bytes of all", |driver| {
        while let Some(event) = driver.next_seen() {
            let NetEvent::Received { token, buf, .. } = event else { panic!("only bytes") };
            let n = token.0 as usize;
            assert!(*buf == bytes(n, got[n], buf.len())[..], "stream {n} differs after byte {}", got[n]);
            got[n] += buf.len();
        }
        got == [EACH; SOCKETS]
    });
}

/// An application that keeps what one socket brought holds back nobody else, as long as the pool
/// has more.
#[test]
fn s17_buffers_held_by_a_slow_reader_do_not_stop_other_sockets() {
    let _company = beside_others();
    let setup = Setup { bufs: 100, buf_size: 1024, ..Setup::default() };
    let mut driver = Driver::with(&env(), setup);
    let (slow, mut slow_far) = driver.pair(Token(1));
    let (quick, mut quick_far) = driver.pair(Token(2));
    let flood = std::thread::spawn(move || {
        slow_far.write_all(&bytes(1, 0, 95 * 1024)).expect("sent");
        slow_far
    });
    let mut held = Vec::new();
    driver.until("95 buffers of the slow one", |driver| {
        while let Some(event) = driver.next_seen() {
            let NetEvent::Received { id, buf, .. } = event else { panic!("only bytes") };
            assert_eq!(id, slow);
            held.push(buf);
        }
        held.iter().map(|buf| buf.len()).sum::<usize>() == 95 * 1024
    });
    for round in 0..200 {
        quick_far.write_all(&bytes(round, 0, 500)).expect("sent");
        let heard = driver.receive(quick, 500);
        assert_eq!(heard, bytes(round, 0, 500));
    }
    let all: Vec<u8> = held.iter().flat_map(|buf| buf.iter().copied()).collect();
    assert!(all == bytes(1, 0, 95 * 1024), "what it holds is what came, however long it is held");
    drop(held);
    drop(flood.join().expect("the peer is content"));
}

/// Sockets are closed with a receive and a send with the kernel: each ends once, in order, and what
/// was told as sent has arrived.
#[test]
fn s21_closing_with_requests_in_flight_loses_nothing() {
    let _company = beside_others();
    for round in 0..20 {
        let setup = Setup { bufs: 600, buf_size: 4096, send_limit: 1 << 30, send_frames: 600, ..Setup::default() };
        let mut driver = Driver::with(&env(), setup);
        let options = SockOptions::default().send_buf(16 << 10);
        let (id, mut far) = driver.pair_with(Token(1), &options);
        let mut queued = 0;
        while let Some(mut buf) = driver.group().buffer() {
            buf.append(&bytes(round, queued * 4096, 4096));
            driver.send_frame(id, core_reactor::net::Frame::from(buf).tagged(queued as u32));
            queued += 1;
            if queued % 50 == round {
                driver.group().flush();
            }
        }
        driver.turns(round % 3);
        far.write_all(b"not read any more").expect("sent");
        driver.group().close(id).expect("it is there");
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).map(|_| all)
        });
        let (mut next, mut written) = (0, 0);
        let mut ended = false;
        driver.until("the end", |driver| {
            while let Some(event) = driver.next_seen() {
                match event {
                    NetEvent::Sent { frame, written: some, .. } => {
                        assert_eq!(frame.tag(), Some(next), "in order");
                        (next, written) = (next + 1, written + some);
                    }
                    NetEvent::Closed { why, .. } => {
                        assert!(why.is_none() && !ended, "{why:?}");
                        ended = true;
                    }
                    NetEvent::Received { .. } => {}
                    _ => panic!("reports, and bytes that came before"),
                }
            }
            ended
        });
        assert_eq!(next as usize, queued, "each frame comes back");
        // A peer that had sent what nobody read may be told so by a reset, after which it reads
        // nothing.
        if let Ok(all) = reader.join().expect("the peer is content") {
            assert!(all == bytes(round, 0, written), "what was told as written arrives, and no more");
        }
    }
}

/// A group goes while its sockets accept, connect, receive, send and wait for buffers: the kernel
/// gives everything back, memory and descriptors.
#[test]
fn s19_a_group_that_goes_with_requests_in_flight_leaks_nothing() {
    let _alone = alone();
    let before = open_descriptors();
    for round in 0..10 {
        let setup = Setup { bufs: 64, buf_size: 4096, send_limit: 1 << 30, send_frames: 600, ..Setup::default() };
        let mut driver = Driver::with(&env(), setup);
        let options = SockOptions::default().send_buf(16 << 10);
        let (_, at) = driver.listen();
        let silent = driver.connect(&["192.0.2.1:9".parse().expect("an address"), at], Token(9));
        let mut far: Vec<_> = (0..10).map(|n| driver.accept_from(at, Token(n))).collect();
        let (full, mut sink) = driver.pair_with(Token(50), &options);
        while let Some(mut buf) = driver.group().buffer() {
            buf.append(&[1; 4096]);
            driver.send_frame(full, buf.into());
        }
        driver.group().flush();
        for (id, peer) in &mut far {
            peer.write_all(&[2; 3000]).expect("sent");
            if round % 2 == 0 {
                driver.group().pause(*id).expect("it is there");
            }
        }
        driver.turns(round % 4);
        let _ = silent;
        // The driver sees to it that every buffer comes home.
        drop(driver);
        let mut rest = Vec::new();
        // It ends, in order or with a reset.
        let _ = sink.read_to_end(&mut rest);
        assert!(rest.iter().all(|byte| *byte == 1));
    }
    assert_eq!(open_descriptors(), before);
}

/// Groups of one flow of control share its ring: the second adds a descriptor to watch, and no
/// more. What completes for one while another is polled waits for it.
#[test]
fn groups_of_one_core_share_a_ring() {
    let _alone = alone();
    let before = open_descriptors();
    let mut one = Driver::new(&env());
    let with_one = open_descriptors();
    let mut other = Driver::new(&env());
    assert_eq!(open_descriptors() - with_one, 1, "no second ring");
    let (near, mut far) = one.pair(Token(1));
    let (other_near, mut other_far) = other.pair(Token(2));
    for round in 0..100 {
        far.write_all(&bytes(round, 0, 300)).expect("sent");
        other_far.write_all(&bytes(round + 1, 0, 300)).expect("sent");
        other.turns(3);
        assert_eq!(one.receive(near, 300), bytes(round, 0, 300));
        assert_eq!(other.receive(other_near, 300), bytes(round + 1, 0, 300));
        one.send(near, &bytes(round, 0, 300));
        one.turns(1);
        let mut back = [0; 300];
        far.read_exact(&mut back).expect("it comes back");
        assert_eq!(back[..], bytes(round, 0, 300));
    }
    // The one that made the ring goes first.
    drop(one);
    other_far.write_all(b"still here").expect("sent");
    assert_eq!(other.receive(other_near, 10), b"still here");
    drop(other);
    assert_eq!(open_descriptors(), before + 2, "the two peers are left");
    drop((far, other_far));
}

/// A group that takes the place of one that went, on a ring that stays, receives into buffers of
/// its own. Linux 6.1 goes on in the buffer ring of a group where it stopped in the one before,
/// unless that had a number above its table.
#[test]
fn a_group_in_the_place_of_another_starts_with_its_own_buffers() {
    let _company = beside_others();
    let stays = Driver::new(&env());
    for round in 0..4 {
        let mut driver = Driver::new(&env());
        let (near, mut far) = driver.pair(Token(round));
        for part in 0..50 {
            far.write_all(&bytes(part, 0, 300)).expect("sent");
            assert_eq!(driver.receive(near, 300), bytes(part, 0, 300), "round {round}");
        }
    }
    drop(stays);
}

/// Sockets move between groups of one ring and of different rings in the middle of a stream, with
/// bytes that had arrived and were not delivered.
#[test]
fn s21_what_had_arrived_moves_with_its_socket() {
    let _company = beside_others();
    let setup = Setup { room: 1, buf_size: 512, ..Setup::default() };
    let mut near = Driver::with(&env(), setup);
    let (id, mut far) = near.pair(Token(1));
    far.write_all(&bytes(3, 0, 5_000)).expect("sent");
    // One event was taken; the kernel has received more.
    let mut all = near.receive(id, 512);
    let socket = near.group().detach(id).expect("it is there");
    far.write_all(&bytes(3, 5_000, 5_000)).expect("sent");
    let rest = std::thread::spawn(move || {
        let mut elsewhere = Driver::with(&env(), setup);
        let id = elsewhere.attach(socket, Token(2));
        let mut rest = Vec::new();
        while rest.len() < 10_000 - 512 {
            rest.extend(elsewhere.wait("bytes", |event| match event {
                NetEvent::Received { id: of, buf, .. } if of == id => Ok(buf.to_vec()),
                other => Err(other),
            }));
        }
        rest
    });
    all.extend(rest.join().expect("the other core is content"));
    assert!(all == bytes(3, 0, 10_000), "the stream is whole");
}

/// A listener that leaves takes connections along that had come.
#[test]
fn s21_connections_that_had_come_move_with_their_listener() {
    let _company = beside_others();
    let mut one = Driver::with(&env(), Setup { room: 1, ..Setup::default() });
    let mut other = Driver::new(&env());
    let (listener, at) = one.listen();
    one.turns(1);
    let peers: Vec<_> = (0..10).map(|_| TcpStream::connect(at).expect("it waits")).collect();
    let first = one.wait("a connection", |event| match event {
        NetEvent::Accepted { socket, .. } => Ok(socket),
        other => Err(other),
    });
    let socket = one.group().detach(listener).expect("it is there");
    other.attach(socket, Token(5));
    let mut seen = vec![first.peer_addr().expect("a connection has one")];
    other.until("the others", |other| {
        while let Some(event) = other.next_seen() {
            let NetEvent::Accepted { socket, .. } = event else { panic!("only connections") };
            seen.push(socket.peer_addr().expect("a connection has one"));
        }
        seen.len() == peers.len()
    });
    let wanted: Vec<_> = peers.iter().map(|peer| peer.local_addr().expect("its address")).collect();
    assert_eq!(seen, wanted, "each once, in order");
}
