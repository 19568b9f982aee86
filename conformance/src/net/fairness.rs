//! Statement 20: who is served when.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use core_reactor::net::{NetEvent, SockOptions, Token};

use super::driver::Setup;
use super::limits::need_descriptors;
use super::{Driver, Env, peer};

/// One that never stops sending, and 999 who have one message each: all are served, and the
/// firehose gets about a turn for each round of the others.
pub fn s20_a_firehose_cannot_starve_999_others(env: &Env) {
    const OTHERS: usize = 999;
    need_descriptors(2 * OTHERS as u64 + 100);
    // Room and buffers for more than the firehose has waiting: only the rotation holds it back.
    let mut driver = Driver::with(env, Setup { sockets: OTHERS + 2, room: 4096, bufs: 4096, buf_size: 256, ..Setup::default() });
    let (_, at) = driver.listen();
    let (firehose, mut far) = driver.accept_from(at, Token(0));
    let mut peers: Vec<_> = (1..=OTHERS).map(|n| driver.accept_from(at, Token(n as u64)).1).collect();
    driver.group().pause(firehose).expect("it is there");
    let waiting = peer::write_until_full(&mut far) / 256;
    assert!(waiting > OTHERS / 2, "there is enough to drown in: {waiting} buffers");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let flood = std::thread::spawn(move || while !stopped.load(Ordering::Relaxed) && far.write_all(&[0; 1 << 16]).is_ok() {});
    for far in &mut peers {
        far.write_all(b"me too").expect("sent");
    }
    driver.group().resume(firehose).expect("it is there");
    let (mut hose, mut others) = (0, 0);
    driver.until("everybody else", |driver| {
        let (more, some) = take(driver);
        hose += more;
        others += some;
        others == OTHERS
    });
    assert!(hose > 0 && hose < OTHERS / 4, "the firehose got {hose} buffers while {OTHERS} others waited");
    stop.store(true, Ordering::Relaxed);
    driver.group().close(firehose).expect("it is there");
    driver.closed(firehose);
    flood.join().expect("the flood ends when its socket does");
}

/// More ready sockets than one poll takes are served in rotation: nobody twice before everybody
/// once.
pub fn s20_ready_sockets_are_served_in_rotation(env: &Env) {
    const COUNT: usize = 50;
    let mut driver = Driver::with(env, Setup { room: 4, bufs: 512, ..Setup::default() });
    let mut pairs: Vec<_> = (0..COUNT).map(|n| driver.pair(Token(n as u64))).collect();
    // Each has more to read than a turn can take.
    for (id, far) in &mut pairs {
        driver.group().pause(*id).expect("it is there");
        far.write_all(&[1; 200_000]).expect("sent");
    }
    driver.turns(COUNT);
    for (id, _) in &pairs {
        driver.group().resume(*id).expect("it is there");
    }
    let mut turns = vec![0; COUNT];
    let mut last = usize::MAX;
    while turns.contains(&0) {
        for event in driver.poll() {
            let NetEvent::Received { token, .. } = event else { panic!("only bytes") };
            let place = token.0 as usize;
            // Several buffers in a row are one turn; the end of a poll may cut it in two.
            turns[place] += usize::from(place != last);
            last = place;
        }
        assert!(turns.iter().all(|n| *n <= 2), "someone has a second round before everyone has had the first: {turns:?}");
    }
}

/// Beside any number of peers that send all they can, who asks little waits for one buffer at the
/// most, also who comes last; and those go on.
pub fn s64_who_asks_little_does_not_wait_for_all_who_send_much(env: &Env) {
    const MANY: u64 = 30;
    let mut driver = Driver::with(env, Setup { bufs: 4, buf_size: 8192, ..Setup::default() });
    // They do not wait before as much has arrived as tells what they are.
    let (_, much) = driver.listen_with(&SockOptions::default().low_water(5000));
    let (_, little) = driver.listen();
    let mut peers: Vec<_> = (0..MANY + 3).map(|n| driver.accept_from(if n < MANY { much } else { little }, Token(n)).1).collect();
    let mut taken = driver.take_buffers();
    for (n, peer) in peers.iter_mut().enumerate() {
        // One byte, which no system hands out in two pieces.
        peer.write_all(if n < MANY as usize { &[1; 32 << 10] } else { b"?" }).expect("sent");
        driver.until("it waits", |driver| driver.group().stats().buffer_waits > n as u64);
    }
    let mut order = vec![];
    for _ in 0..MANY {
        drop(taken.pop().expect("all were taken"));
        let (token, buf) = driver.wait("bytes", |event| match event {
            NetEvent::Received { token, buf, .. } => Ok((token, buf)),
            other => Err(other),
        });
        order.push(token.0);
        taken.push(buf);
    }
    assert_eq!(order[..6], [0, MANY, 1, MANY + 1, 2, MANY + 2]);
    assert_eq!(order[6..], (3..MANY - 3).collect::<Vec<_>>(), "the others have theirs, in order");
}

/// A listener on which more wait than a poll has room for leaves some to who is connected already.
pub fn s65_a_storm_of_connections_leaves_room_for_others(env: &Env) {
    const STORM: usize = 60;
    let mut driver = Driver::with(env, Setup { room: STORM + 4, ..Setup::default() });
    let (_, at) = driver.listen();
    let (id, mut peer) = driver.accept_from(at, Token(1));
    let _storm: Vec<_> = (0..STORM).map(|_| env.peers.connect(at).expect("it waits")).collect();
    peer.write_all(b"hear me").expect("sent");
    let (mut accepted, mut heard) = (0, 0);
    driver.until("all of them", |driver| {
        let before = accepted;
        while let Some(event) = driver.next_seen() {
            match event {
                NetEvent::Accepted { .. } => accepted += 1,
                NetEvent::Received { id: of, buf, .. } if of == id => heard += buf.len(),
                other => panic!("{}", super::driver::name(&other)),
            }
        }
        assert!(accepted - before <= 16, "{} in one poll", accepted - before);
        accepted == STORM && heard == 7
    });
}

/// Who sends and hears of it all the time leaves room for who receives.
pub fn s20_reports_leave_room_for_what_arrives(env: &Env) {
    let mut driver = Driver::with(env, Setup { room: 1, ..Setup::default() });
    let (busy, busy_far) = driver.pair(Token(1));
    let (quiet, mut quiet_far) = driver.pair(Token(2));
    quiet_far.write_all(b"hear me").expect("sent");
    let mut heard = false;
    driver.until("what arrived", |driver| {
        while let Some(event) = driver.next_seen() {
            heard |= matches!(event, NetEvent::Received { id, .. } if id == quiet);
        }
        // More is reported than the room of one poll.
        for n in 0..3 {
            let frame = driver.frame(&[n]).tagged(n.into());
            if driver.group().send(busy, frame).is_err() {
                break;
            }
        }
        heard
    });
    drop(busy_far);
}

/// Buffers of the firehose (token 0), and messages of others, among the events so far.
fn take(driver: &mut Driver) -> (usize, usize) {
    let (mut hose, mut others) = (0, 0);
    while let Some(event) = driver.next_seen() {
        match event {
            NetEvent::Received { token: Token(0), .. } => hose += 1,
            NetEvent::Received { buf, .. } => {
                assert_eq!(&*buf, b"me too");
                others += 1;
            }
            other => panic!("{}", super::driver::name(&other)),
        }
    }
    (hose, others)
}
