//! Statements 70 and 71: the order of the events, and when a refused send may be repeated. Both are
//! what a proxy lives by.

use std::collections::VecDeque;
use std::io::Write;
use std::thread::JoinHandle;

use core_reactor::net::{Frame, NetError, NetEvent, SockId, Token};

use super::driver::{Setup, name};
use super::{Driver, Env, Peer, peer};

/// The peer's end is told once, whichever side ends first, and then the end of the socket.
pub fn s70_the_peers_end_is_told_before_ones_own_and_after_it(env: &Env) {
    for first_here in [true, false] {
        let mut driver = Driver::new(env);
        let (id, mut far) = driver.pair(Token(1));
        driver.send(id, b"from here");
        far.write_all(b"from there").expect("sent");
        let mut told = vec![];
        if first_here {
            driver.group().shutdown(id).expect("it is there");
            driver.turns(2);
            assert_eq!(peer::read_to_end(&mut far), b"from here");
            far.shutdown().expect("allowed");
        } else {
            far.shutdown().expect("allowed");
            until_told(&mut driver, &mut told, "PeerClosed");
            driver.group().shutdown(id).expect("it is there");
        }
        until_told(&mut driver, &mut told, "Closed None");
        driver.turns(10);
        note(&mut driver, &mut told);
        assert_eq!(told, ["Received 10", "PeerClosed", "Closed None"], "ended first here: {first_here}");
    }
}

fn until_told(driver: &mut Driver, told: &mut Vec<String>, last: &str) {
    driver.until(last, |driver| {
        note(driver, told);
        told.last().is_some_and(|event| event == last)
    });
}

/// The events so far, without the socket's name; bytes that came in pieces as one.
fn note(driver: &mut Driver, told: &mut Vec<String>) {
    let received = |text: &str| text.strip_prefix("Received ").and_then(|bytes| bytes.parse::<usize>().ok());
    while let Some(event) = driver.next_seen() {
        let event = name(&event);
        let what = event.split_once(' ').map_or(&*event, |(_, what)| what);
        match (told.last().and_then(|last| received(last)), received(what)) {
            (Some(before), Some(more)) => *told.last_mut().expect("it was just looked at") = format!("Received {}", before + more),
            _ => told.push(what.to_owned()),
        }
    }
}

/// A proxy that knows no more than the documentation says: bytes and ends go through, whoever ends
/// first, with limits that refuse most sends.
pub fn s70_s71_a_proxy_passes_on_bytes_and_ends(env: &Env) {
    for client_first in [true, false] {
        let setup = Setup { send_limit: 3000, send_frames: 6, ..Setup::default() };
        let mut driver = Driver::with(env, setup);
        let upstream = env.peers.listen(env.peer).expect("a free port");
        let (_, at) = driver.listen();
        let (client, client_far) = driver.accept_from(at, Token(1));
        let server = driver.connect(&[upstream.local_addr().expect("its address")], Token(2));
        driver.connected(server);
        let server_far = upstream.accept().expect("a connection");
        let (first, second) = if client_first { (client_far, server_far) } else { (server_far, client_far) };
        let ends = [asks(first), answers(second)];
        let mut proxy = Proxy::new(client, server);
        driver.until("the end of both connections", |driver| {
            while let Some(event) = driver.next_seen() {
                proxy.on(driver, event);
            }
            proxy.closed == [true; 2]
        });
        assert!(proxy.refused > 0, "the limits were met");
        ends.into_iter().for_each(|end| end.join().expect("the peer is content"));
    }
}

const QUESTION: usize = 400_000;
const ANSWER: usize = 300_000;

/// Sends, ends, and hears the answer to its end.
fn asks(mut far: Peer) -> JoinHandle<()> {
    std::thread::spawn(move || {
        far.write_all(&peer::pattern(1, 0, QUESTION)).expect("sent");
        far.shutdown().expect("allowed");
        assert!(peer::read_to_end(&mut far) == peer::pattern(2, 0, ANSWER), "the answer is whole");
    })
}

/// Hears all there is to hear, then answers.
fn answers(mut far: Peer) -> JoinHandle<()> {
    std::thread::spawn(move || {
        assert!(peer::read_to_end(&mut far) == peer::pattern(1, 0, QUESTION), "the question is whole");
        far.write_all(&peer::pattern(2, 0, ANSWER)).expect("sent");
    })
}

/// Two sockets, the client's first: what comes of each goes to the other.
struct Proxy {
    /// Where that goes which comes of the other.
    to: [SockId; 2],
    /// What was refused, and came behind that.
    waiting: [VecDeque<Frame>; 2],
    ended: [bool; 2],
    closed: [bool; 2],
    refused: usize,
}

impl Proxy {
    fn new(client: SockId, server: SockId) -> Self {
        Self { to: [server, client], waiting: Default::default(), ended: [false; 2], closed: [false; 2], refused: 0 }
    }

    fn on(&mut self, driver: &mut Driver, event: NetEvent) {
        match event {
            NetEvent::Received { token, buf, .. } => {
                let from = side(token);
                self.waiting[from].push_back(buf.into());
                if self.waiting[from].len() == 1 {
                    self.pass_on(driver, from);
                }
            }
            NetEvent::Writable { token, .. } => self.pass_on(driver, 1 - side(token)),
            NetEvent::PeerClosed { token, .. } => {
                let from = side(token);
                assert!(!self.ended[from], "told once");
                self.ended[from] = true;
                self.pass_on(driver, from);
            }
            NetEvent::Closed { token, why, .. } => {
                let of = side(token);
                assert_eq!((why, self.ended), (None, [true; 2]), "both ends were told before");
                self.closed[of] = true;
            }
            other => panic!("{}", name(&other)),
        }
    }

    /// Sends what waits of one side to the other; without room that side is read no more until
    /// there is.
    fn pass_on(&mut self, driver: &mut Driver, from: usize) {
        let to = self.to[from];
        while let Some(frame) = self.waiting[from].pop_front() {
            if let Err(refused) = driver.group().send(to, frame) {
                assert!(matches!(refused.why, NetError::SendLimit { .. }), "{}", refused.why);
                self.refused += 1;
                self.waiting[from].push_front(refused.item);
                // A source that has ended, too, may be gone by now, and its key stale; the same
                // below.
                let _ = driver.group().pause(self.to[1 - from]);
                return;
            }
        }
        if self.ended[from] {
            driver.group().shutdown(to).expect("it is there");
        } else {
            let _ = driver.group().resume(self.to[1 - from]);
        }
    }
}

fn side(token: Token) -> usize {
    token.0 as usize - 1
}

/// One event for any number of refusals, when half of the room is back and not before; none for who
/// has ended its side.
pub fn s71_who_was_refused_hears_when_there_is_room(env: &Env) {
    let setup = Setup { send_limit: 100_000, send_frames: 1000, ..Setup::default() };
    let mut driver = Driver::with(env, setup);
    let (id, far) = driver.narrow_pair(Token(1));
    let (other, other_far) = driver.narrow_pair(Token(2));
    fill_up(&mut driver, other);
    driver.group().shutdown(other).expect("it is there");
    let sent = fill_up(&mut driver, id);
    // The queue is full now, less than a frame.
    let before = driver.group().stats().bytes_out;
    driver.turns(20);
    assert!(driver.seen().next().is_none(), "nothing is told while nothing is read");
    let mut ear = far.clone();
    let reader = std::thread::spawn(move || peer::read(&mut ear, sent + 100));
    driver.wait("room", |event| match event {
        NetEvent::Writable { id: of, token: Token(1) } if of == id => Ok(()),
        other => panic!("{}", name(&other)),
    });
    assert!(driver.group().stats().bytes_out >= before + 46_000, "half of the room is there");
    driver.send(id, &[7; 100]);
    driver.until("the peer has it all", |_| reader.is_finished());
    assert!(reader.join().expect("the peer is content").ends_with(&[7; 100]));
    driver.turns(20);
    assert!(driver.seen().next().is_none(), "once, though it was refused more often");
    drop((far, other_far));
}

/// Sends until frames are refused, and the system has taken nothing for a while. Tells how many
/// bytes were taken.
fn fill_up(driver: &mut Driver, id: SockId) -> usize {
    let (mut sent, mut idle) = (0, 0);
    while idle < 200 {
        let frame = driver.frame(&[1; 4000]);
        let before = driver.group().stats().bytes_out;
        match driver.group().send(id, frame) {
            Ok(()) => sent += 4000,
            Err(_) => driver.turns(1),
        }
        // What was told of room on the way up is answered by the next frame.
        while driver.next_seen().is_some() {}
        idle = if driver.group().stats().bytes_out == before { idle + 1 } else { 0 };
    }
    sent
}
