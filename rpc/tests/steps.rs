//! What one poll does, and when a core is woken, on a simulated machine: its clock stands still
//! while a poll goes on, so what bounds a poll here is what it deals with.

#[allow(dead_code, reason = "a simulated server is another than theirs")]
mod common;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{methods, until};
use core_reactor::ThreadConfig;
use core_reactor::sim::Sim;
use rpc::{Address, CLIENTS, Control, Disposal};

/// Bytes that a poll deals with at most, and those of its last step beyond.
const A_POLL: usize = (32 << 10) + (16 << 10);
/// Calls and answers that it does.
const CALLS: usize = 32;

/// A server on a simulated core, at a real socket.
struct Simulated {
    sim: Sim,
    path: PathBuf,
    state: Arc<methods::State>,
    _dir: tempfile::TempDir,
}

impl Simulated {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With what `provide` gives besides.
    fn with(provide: impl FnOnce(&Control) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, state, mut sim) = (dir.path().join("s"), Arc::new(methods::State::default()), Sim::new(1));
        let (at, given) = (Address::Unix(path.clone()), state.clone());
        sim.lib()
            .spawn(ThreadConfig::new("rpc"), move |cx| {
                let control = Control::new(true).unwrap();
                control.provide(given);
                provide(&control);
                rpc::serve(cx, &at, control).unwrap();
            })
            .unwrap();
        sim.settle();
        Self { sim, path, state, _dir: dir }
    }

    fn client(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).expect("there is room in the line");
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// A turn, at whose time the server looks for news.
    fn turn(&mut self) {
        self.sim.platform.advance(Duration::from_millis(1));
        self.sim.turn();
    }

    /// Turns until it has nothing to do.
    fn settle(&mut self) {
        self.sim.advance(Duration::from_millis(1));
    }
}

/// What has come, and whether the connection has ended.
fn come(stream: &mut UnixStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => (bytes, true),
        Err(why) if why.kind() == ErrorKind::WouldBlock => (bytes, false),
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn s211_a_poll_begins_few_calls() {
    let mut served = Simulated::new();
    let mut client = served.client();
    let batch = format!("[{}{{\"method\":\"test_count\"}}]", "{\"method\":\"test_count\"},".repeat(3_999));
    client.write_all(batch.as_bytes()).unwrap();
    let mut begun = 0;
    until("all have begun", || {
        served.turn();
        let now = methods::counted(&served.state);
        assert!(now - begun <= CALLS, "{} calls in a poll", now - begun);
        begun = now;
        begun == 4_000
    });
}

#[test]
fn s211_a_poll_sends_little() {
    let mut served = Simulated::new();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| served.client()).collect();
    for client in &mut clients {
        client.write_all(br#"{"id":1,"method":"test_big"}"#).unwrap();
    }
    let total = Cell::new(0);
    until("all are answered", || {
        served.turn();
        let sent: usize = clients.iter_mut().map(|client| come(client).0.len()).sum();
        assert!(sent <= A_POLL, "{sent} bytes in a poll");
        total.set(total.get() + sent);
        total.get() > CLIENTS * methods::BIG
    });
}

/// Memory of what was sent, and of what nobody takes any more, goes to whoever has a thread for it.
#[test]
fn s211_the_memory_of_answers_goes_to_who_wants_it() {
    let given = Arc::new(AtomicUsize::new(0));
    let counted = given.clone();
    let mut served = Simulated::with(move |control| {
        control.provide(Arc::new(Disposal::new(move |memory: Vec<Vec<u8>>| {
            counted.fetch_add(memory.iter().map(Vec::len).sum(), Ordering::Relaxed);
        })));
    });
    let (mut client, mut came) = (served.client(), 0);
    client.write_all(br#"{"id":1,"method":"test_big"}"#).unwrap();
    until("all has come", || {
        served.turn();
        came += come(&mut client).0.len();
        came > methods::BIG
    });
    served.settle();
    came += come(&mut client).0.len();
    assert_eq!(given.load(Ordering::Relaxed), came, "each byte once");
    client.write_all(br#"{"id":2,"method":"test_big"}"#).unwrap();
    served.settle();
    drop(client);
    served.settle();
    assert!(given.load(Ordering::Relaxed) >= 2 * came - A_POLL, "nobody takes the second");
}

#[test]
fn s211_a_poll_looks_at_little() {
    let mut served = Simulated::new();
    let nested = format!("[{}{}],", "[".repeat(60), "]".repeat(60)).repeat(400);
    let mut clients: Vec<_> = (0..CLIENTS / 2).map(|_| served.client()).collect();
    for client in &mut clients {
        client.write_all(format!("{{\"a\":[{nested}0]}}").as_bytes()).unwrap();
    }
    let (mut turns, mut answered) = (0, 0);
    until("all are refused", || {
        served.turn();
        turns += 1;
        answered += clients.iter_mut().filter_map(|client| (!come(client).0.is_empty()).then_some(())).count();
        answered == clients.len()
    });
    assert!(turns >= clients.len() * nested.len() / A_POLL, "{answered} times {} bytes in {turns} polls", nested.len());
}

/// Those of other threads may come all at once.
#[test]
fn s211_a_poll_takes_few_answers() {
    let mut served = Simulated::new();
    let mut clients: Vec<_> = (0..CLIENTS - 1).map(|_| served.client()).collect();
    for client in &mut clients {
        client.write_all(&br#"{"id":1,"method":"test_later"}"#.repeat(32)).unwrap();
    }
    served.settle();
    let held = methods::take_held(&served.state);
    let count = held.len();
    assert_eq!(count, 32 * clients.len());
    held.into_iter().for_each(|reply| reply.send(Ok(1)));
    let mut turns = 0;
    until("the first is sent", || {
        served.turn();
        turns += 1;
        clients.iter_mut().any(|client| !come(client).0.is_empty())
    });
    assert!(turns >= count / CALLS, "{count} answers in {turns} polls");
}

/// What a client leaves behind that has asked for much and goes.
#[test]
fn s211_who_goes_is_forgotten() {
    let mut served = Simulated::new();
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| served.client()).collect();
        for client in &mut clients {
            client.write_all(&br#"{"id":1,"method":"test_big"}"#.repeat(10)).unwrap();
        }
        served.settle();
        drop(clients);
        served.settle();
    }
    let mut client = served.client();
    client.write_all(br#"{"id":1,"method":"test_echo","params":{"say":"x"}}"#).unwrap();
    served.settle();
    assert!(come(&mut client).0.ends_with(b"\"result\":\"x\"}\n"));
}

#[test]
fn s212_who_stays_and_is_still_makes_room_for_who_waits() {
    let mut served = Simulated::new();
    let mut still: Vec<_> = (0..CLIENTS - 1).map(|_| served.client()).collect();
    let mut asking = served.client();
    let ask = |client: &mut UnixStream| client.write_all(br#"{"id":1,"method":"test_echo","params":{"say":"x"}}"#).unwrap();
    still[1].write_all(b"{\"id\":").unwrap();
    served.settle();
    // As long as nobody waits they may.
    served.sim.run_for(Duration::from_secs(3_600));
    assert!(still.iter_mut().all(|client| !come(client).1));
    let mut waiting = [served.client(), served.client(), served.client()];
    waiting.iter_mut().for_each(ask);
    for second in 0..13 {
        ask(&mut asking);
        // Half a value is none, however often a byte of it comes.
        let _ = still[1].write(b" ");
        served.settle();
        assert!(come(&mut asking).0.ends_with(b"\"result\":\"x\"}\n"), "whoever asks stays");
        let ended: usize = still.iter_mut().map(|client| usize::from(come(client).1)).sum();
        assert_eq!(ended, if second < 10 { 0 } else { waiting.len() }, "second {second}");
        assert_eq!(served.sim.reactors[0].next_deadline().is_some(), second < 11, "a core that sleeps is woken for those who wait");
        served.sim.run_for(Duration::from_secs(1));
    }
    assert!(waiting.iter_mut().all(|client| come(client).0.ends_with(b"\"result\":\"x\"}\n")), "there was room for all");
}

#[test]
fn s214_nothing_wakes_a_core_whose_clients_say_nothing() {
    let mut served = Simulated::new();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| served.client()).collect();
    clients[0].write_all(br#"{"id":1,"method":"test_later"}{"id":2,"method":"test_big"}"#).unwrap();
    served.settle();
    assert_eq!(served.sim.reactors[0].next_deadline(), None);
    drop(clients);
    served.settle();
    assert_eq!(served.sim.reactors[0].next_deadline(), None);
    // A reactor without a deadline parks until it is woken.
    let parks = served.sim.platform.parks(core_reactor::CoreId(0)).len();
    served.sim.run_for(Duration::from_secs(3_600));
    assert!(served.sim.platform.parks(core_reactor::CoreId(0)).len() <= parks + 1);
}

/// More than a poll takes: what was answered before the end, and what still is on its way.
#[test]
fn s167_at_the_end_all_that_was_answered_is_sent() {
    let mut served = Simulated::new();
    let mut clients: Vec<_> = (0..CLIENTS - 1).map(|_| served.client()).collect();
    let mut big = served.client();
    for client in &mut clients {
        client.write_all(&br#"{"id":1,"method":"test_later"}"#.repeat(32)).unwrap();
    }
    served.settle();
    let held = methods::take_held(&served.state);
    big.write_all(br#"{"id":1,"method":"test_big"}"#).unwrap();
    while methods::bigs_of(&served.state) == 0 {
        served.turn();
    }
    held.into_iter().for_each(|reply| reply.send(Ok(1)));
    served.sim.lib().stop();
    served.settle();
    let (bytes, is_over) = come(&mut big);
    assert!(bytes.len() > methods::BIG && is_over, "{} bytes", bytes.len());
    for client in &mut clients {
        let (bytes, is_over) = come(client);
        assert_eq!((bytes.iter().filter(|byte| **byte == b'\n').count(), is_over), (32, true));
    }
}
