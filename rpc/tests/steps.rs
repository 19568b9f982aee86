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
use core_reactor::sim::Sim;
use core_reactor::{Cx, Platform, ThreadConfig};
use rpc::{Address, CLIENTS, Control, Disposal, LCORE_RPC_METHODS};

/// Bytes that a poll deals with at most, and those of its last step beyond.
const A_POLL: usize = (8 << 10) + (8 << 10);
/// Calls that it begins, and answers that it takes over.
const CALLS: usize = 2;
const ANSWERS: usize = 8;
/// Of the time of its core the server takes one part in so many, and so much of that in advance. A
/// byte counts as a nanosecond.
const SHARE: usize = 4;
const AHEAD: usize = 100_000;

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

    /// Lets time pass until it has nothing to do, rests among it, which are shorter than a
    /// millisecond.
    fn settle(&mut self) {
        let millisecond = Duration::from_millis(1);
        self.sim.advance(millisecond);
        while self.sim.reactors[0].next_deadline().is_some_and(|at| at < self.sim.platform.now() + millisecond) {
            self.sim.run_for(millisecond);
        }
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
    let batch = format!("[{}{{\"method\":\"test_count\"}}]", "{\"method\":\"test_count\"},".repeat(399));
    client.write_all(batch.as_bytes()).unwrap();
    let mut begun = 0;
    until("all have begun", || {
        served.turn();
        let now = methods::counted(&served.state);
        assert!(now - begun <= CALLS, "{} calls in a poll", now - begun);
        begun = now;
        begun == 400
    });
}

#[test]
fn s211_a_poll_sends_little() {
    let mut served = Simulated::new();
    let mut clients: Vec<_> = (0..CLIENTS / 4).map(|_| served.client()).collect();
    for client in &mut clients {
        client.write_all(br#"{"id":1,"method":"test_big"}"#).unwrap();
    }
    let total = Cell::new(0);
    until("all are answered", || {
        served.turn();
        let sent: usize = clients.iter_mut().map(|client| come(client).0.len()).sum();
        assert!(sent <= A_POLL, "{sent} bytes in a poll");
        total.set(total.get() + sent);
        total.get() > CLIENTS / 4 * methods::BIG
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
    assert!(turns >= count / ANSWERS, "{count} answers in {turns} polls");
}

/// Time ends a poll before bytes do, where a step takes long.
#[test]
fn s211_a_poll_goes_by_the_clock() {
    let mut served = Simulated::new();
    let mut client = served.client();
    client.write_all(&br#"{"id":1,"method":"test_later"}"#.repeat(32)).unwrap();
    served.settle();
    methods::take_held(&served.state).into_iter().for_each(|reply| reply.send(Ok(1)));
    // A reading of the clock, and so a step.
    served.sim.platform.tick(Duration::from_micros(4));
    let mut turns = 0;
    until("all is sent", || {
        served.turn();
        turns += 1;
        !come(&mut client).0.is_empty()
    });
    assert!(turns > 32 / 3, "32 answers in {turns} polls of 10 us and a step");
}

/// Clients that push all the time, and turns of 5 us.
#[test]
fn s235_who_pushes_gets_a_share() {
    let mut served = Simulated::new();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| served.client()).collect();
    served.settle();
    // Nothing is left in advance.
    for client in &mut clients {
        client.write_all(&br#"{"id":1,"method":"test_big"}"#.repeat(3)).unwrap();
    }
    let (time, mut sent) = (Duration::from_millis(60), 0);
    let end = served.sim.platform.now() + time;
    while served.sim.platform.now() < end {
        served.sim.platform.advance(Duration::from_micros(5));
        served.sim.turn();
        sent += clients.iter_mut().map(|client| come(client).0.len()).sum::<usize>();
    }
    let share = time.as_nanos() as usize / SHARE;
    assert!(sent <= share + AHEAD + A_POLL, "{sent} bytes, {share} is its share");
    // Beside what is sent, calls are read and begun.
    assert!(sent >= share / 2, "{sent} bytes, {share} is its share");
}

/// What makes others wait for their turn is bounded, however much those before them send.
#[test]
fn s236_who_asks_little_is_answered_beside_those_who_push() {
    let mut served = Simulated::new();
    let mut good = served.client();
    let mut hostile: Vec<_> = (0..CLIENTS - 1).map(|_| served.client()).collect();
    served.settle();
    let nested = format!("[{}{}]", "[".repeat(60), "]".repeat(60)).repeat(2_000);
    let mut push = move || {
        for (at, client) in hostile.iter_mut().enumerate() {
            // Half of them never read.
            let _ = (client.write(nested.as_bytes()), (at % 2 == 0).then(|| come(client)));
        }
    };
    for _ in 0..20 {
        push();
        served.turn();
    }
    for _ in 0..3 {
        good.write_all(br#"{"id":1,"method":"test_echo","params":{"say":"x"}}"#).unwrap();
        let mut polls = 0;
        while come(&mut good).0.is_empty() {
            assert!(polls < 4 * CLIENTS, "no answer after {polls} polls");
            push();
            served.turn();
            polls += 1;
        }
    }
}

/// A core that has nothing else to do may sleep meanwhile, and is woken when the rest is over, not
/// by what comes before.
#[test]
fn s237_a_core_sleeps_while_the_server_rests() {
    let mut served = Simulated::new();
    let (mut client, mut other) = (served.client(), served.client());
    client.write_all(&br#"{"id":1,"method":"test_big"}"#.repeat(8)).unwrap();
    let (mut came, mut rests) = (0, 0);
    until("all has come", || {
        let is_idle = served.sim.turn().is_idle();
        match served.sim.reactors[0].next_deadline() {
            _ if !is_idle => {}
            Some(due) => {
                rests += 1;
                let rest = due.since(served.sim.platform.now());
                assert!(rest > Duration::ZERO && rest < Duration::from_millis(1), "{rest:?}");
                other.write_all(b" ").unwrap();
                assert!(served.sim.turn().is_idle(), "it goes on before its time");
                served.sim.platform.advance(rest);
            }
            None => served.sim.platform.advance(Duration::from_micros(200)),
        }
        came += come(&mut client).0.len();
        came > 8 * methods::BIG
    });
    assert!(rests > 8 * methods::BIG / A_POLL - AHEAD / A_POLL, "{rests} rests");
}

/// What a client leaves behind that has asked for much and goes.
#[test]
fn s211_who_goes_is_forgotten() {
    let mut served = Simulated::new();
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..CLIENTS / 4).map(|_| served.client()).collect();
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

/// Those who go leave calls behind that wait: so many, and no more.
#[test]
fn s350_so_many_calls_wait_for_the_start_and_no_more() {
    const CALLS: usize = 10_000;
    let (mut sim, control) = (Sim::new(1), Control::new(false).unwrap());
    let (told, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (given, counts) = (control.clone(), [told.clone(), refused.clone()]);
    let ask = move |cx: &mut Cx<'_>| {
        let method = LCORE_RPC_METHODS.iter().find(|it| it.name == "framework_wait_init").unwrap();
        for _ in 0..CALLS {
            let [told, refused] = counts.clone();
            let hears = move |answer: Result<_, _>| {
                let count = if answer.is_ok() { told } else { refused };
                count.fetch_add(1, Ordering::Relaxed);
            };
            given.call(cx, method, None, hears);
        }
    };
    sim.lib().spawn(ThreadConfig::new("asks"), ask).unwrap();
    sim.settle();
    let waiting = CALLS - refused.load(Ordering::Relaxed);
    // As many as all who are connected may ask at a time, and then an end.
    assert!((CLIENTS * 32..CALLS).contains(&waiting), "{waiting}");
    assert_eq!(told.load(Ordering::Relaxed), 0);
    control.run();
    assert_eq!(told.load(Ordering::Relaxed), waiting);
}

#[test]
fn s475_a_method_can_tell_that_its_client_has_gone() {
    let mut served = Simulated::new();
    let mut clients: Vec<_> = (0..3).map(|_| served.client()).collect();
    // More than it may have in flight, so that the server does not read to its end.
    clients[0].write_all(&br#"{"id":1,"method":"test_later"}"#.repeat(40)).unwrap();
    clients[1].write_all(br#"[{"id":1,"method":"test_later"}]"#).unwrap();
    clients[2].write_all(br#"{"id":1,"method":"test_later"}"#).unwrap();
    served.settle();
    let held = methods::take_held(&served.state);
    let wanted = |held: &[rpc::Reply]| held.iter().filter(|reply| reply.is_wanted()).count();
    assert_eq!((held.len(), wanted(&held)), (34, 34));
    // That nothing more comes from it is no end.
    clients[1].shutdown(std::net::Shutdown::Write).unwrap();
    served.settle();
    assert_eq!(wanted(&held), 34);
    drop(clients.remove(0));
    served.settle();
    assert_eq!(wanted(&held), 2);
    drop(clients.remove(0));
    served.settle();
    assert_eq!(wanted(&held), 1);
    held.into_iter().for_each(|reply| reply.send(Ok(1)));
    served.settle();
    assert!(come(&mut clients[0]).0.ends_with(b"\"result\":1}\n"));
}

#[test]
fn s475_at_the_servers_end_nobody_is_waited_for() {
    let mut served = Simulated::new();
    let mut client = served.client();
    client.write_all(br#"{"id":1,"method":"test_later"}"#).unwrap();
    served.settle();
    let held = methods::take_held(&served.state);
    assert!(held[0].is_wanted());
    served.sim.lib().stop();
    served.settle();
    assert!(!held[0].is_wanted());
}
