//! Both ends over the transport in memory, on a simulated machine; what comes from outside.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::ValueEnum;
use core_reactor::sim::Sim;
use lcore::pool::BufGroup;
use lcore::transport::{QueueEvent, QueueEvents, QueueGroupConfig, QueueOptions, Token, Transport, Wait};
use lcore::{CoreId, CpuSet, Cx, Polled, ThreadConfig};

use crate::compare::{figure, is_listening};
use crate::peer::{PerfError, SILENCE};
use crate::plan::{Plan, PlanError, Test, describe, described};
use crate::report::Report;
use crate::run::{Server, dial, schedule};
use transport_memory::{MemoryTransport, Weather};

type Outcome = Arc<Mutex<Option<Result<Report, PerfError>>>>;

fn serve(sim: &Sim, transport: &'static dyn Transport, wait: Wait) -> (Arc<Mutex<Option<SocketAddr>>>, Outcome) {
    let (at, outcome) = (Arc::new(Mutex::new(None)), Outcome::default());
    let (told, end) = (at.clone(), outcome.clone());
    let start = move |cx: &mut Cx<'_>| {
        let (mut server, at) = Server::listen(cx, transport, wait, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("it listens");
        *told.lock().expect("unpoisoned") = Some(at);
        cx.local_poller("server", schedule(wait), move |cx: &mut Cx<'_>| {
            let got = server.poll(cx).expect("it serves");
            match server.peer().filter(|peer| peer.is_closed()) {
                Some(peer) => {
                    *end.lock().expect("unpoisoned") = Some(peer.outcome());
                    Polled::Done
                }
                None if got > 0 => Polled::Busy,
                None => Polled::Idle,
            }
        });
    };
    sim.lib().spawn(ThreadConfig::new("server").cpus(CpuSet::of(CoreId(0))), start).expect("a thread");
    (at, outcome)
}

fn ask(sim: &Sim, transport: &'static dyn Transport, wait: Wait, plan: Plan, to: SocketAddr) -> Outcome {
    let outcome = Outcome::default();
    let end = outcome.clone();
    let start = move |cx: &mut Cx<'_>| {
        let mut peer = dial(cx, transport, plan, wait, to).expect("it begins");
        let mut events = QueueEvents::new(64);
        cx.local_poller("client", schedule(wait), move |cx: &mut Cx<'_>| {
            let got = peer.poll(&mut events, cx.now(), || cx.clock());
            if peer.is_closed() {
                *end.lock().expect("unpoisoned") = Some(peer.outcome());
                return Polled::Done;
            }
            if got > 0 { Polled::Busy } else { Polled::Idle }
        });
    };
    sim.lib().spawn(ThreadConfig::new("client").cpus(CpuSet::of(CoreId(1))), start).expect("a thread");
    outcome
}

/// Turns until there is something, a microsecond each.
fn wait_for<T>(sim: &mut Sim, what: &Mutex<Option<T>>) -> T {
    for _ in 0..200_000 {
        if let Some(found) = what.lock().expect("unpoisoned").take() {
            return found;
        }
        sim.turn();
        sim.advance(Duration::from_micros(1));
    }
    panic!("it did not come");
}

fn measure(wait: Wait, plan: Plan) -> (Result<Report, PerfError>, Result<Report, PerfError>) {
    let mut sim = Sim::new(2);
    let transport = MemoryTransport::new(Weather { seed: 5, delay: 2, shuffle: true, pad: true }).leak();
    let (at, server) = serve(&sim, transport, wait);
    let at = wait_for(&mut sim, &at);
    let client = ask(&sim, transport, wait, plan, at);
    let client = wait_for(&mut sim, &client);
    (client, wait_for(&mut sim, &server))
}

#[test]
fn every_test_ends_with_a_report_in_both_ways_of_waiting() {
    for wait in [Wait::Polled, Wait::Events] {
        for test in Test::value_variants() {
            let plan = Plan { test: *test, size: 4096, iterations: 50, depth: 8 };
            let (client, server) = measure(wait, plan);
            let text = client.unwrap_or_else(|why| panic!("{test:?}: {why}")).to_string();
            server.unwrap_or_else(|why| panic!("{test:?}: {why}"));
            // The longest: simulated time stands still within a turn, so the median may be nothing.
            let column = if test.is_latency() { 3 } else { 2 };
            assert!(figure("ours", &text, "4096", column).is_ok(), "{text}");
        }
    }
}

#[test]
fn an_operation_of_one_byte_and_one_iteration_do() {
    for test in Test::value_variants() {
        let (client, _) = measure(Wait::Polled, Plan { test: *test, size: 1, iterations: 1, depth: 1 });
        assert!(client.is_ok(), "{test:?}: {:?}", client.err());
    }
}

/// A client whose plan was not checked, and another's: told why, and the server waits on.
#[test]
fn a_server_refuses_a_plan_that_takes_too_much() {
    let mut sim = Sim::new(2);
    let transport = MemoryTransport::new(Weather::CALM).leak();
    let (at, _) = serve(&sim, transport, Wait::Polled);
    let at = wait_for(&mut sim, &at);
    // Small at the client, since only the server's check is meant.
    let none = Plan { test: Test::SendLat, size: 64, iterations: 0, depth: 1 };
    let refused = ask(&sim, transport, Wait::Polled, none, at);
    let why = wait_for(&mut sim, &refused).expect_err("refused").to_string();
    assert_eq!(why, "the server refuses: --iterations: 0; at least 1 is needed");
    let served = ask(&sim, transport, Wait::Polled, Plan { iterations: 3, ..none }, at);
    assert!(wait_for(&mut sim, &served).is_ok());
}

/// Statement 85: a server that takes the connection and says nothing, which any other program may
/// do.
#[test]
fn s85_a_server_that_says_nothing_is_given_up() {
    let mut sim = Sim::new(2);
    let transport = MemoryTransport::new(Weather::CALM).leak();
    let at = Arc::new(Mutex::new(None));
    let told = at.clone();
    let start = move |cx: &mut Cx<'_>| {
        let options = QueueOptions::default();
        let listener = transport.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &options).expect("it listens");
        *told.lock().expect("unpoisoned") = Some(listener.local_addr());
        let mut group = transport.group(cx, QueueGroupConfig::new(BufGroup::new(300, 64))).expect("a group");
        group.listen(listener, Token(0)).map_err(|refused| refused.why).expect("room");
        let mut events = QueueEvents::new(64);
        cx.local_poller("silent", schedule(Wait::Polled), move |_: &mut Cx<'_>| {
            let got = group.poll(&mut events);
            for event in events.drain() {
                if let QueueEvent::Requested { queue, .. } = event {
                    group.attach(queue, Token(1), &[]).map_err(|refused| refused.why).expect("room");
                }
            }
            if got > 0 { Polled::Busy } else { Polled::Idle }
        });
    };
    sim.lib().spawn(ThreadConfig::new("silent").cpus(CpuSet::of(CoreId(0))), start).expect("a thread");
    let at = wait_for(&mut sim, &at);
    let client = ask(&sim, transport, Wait::Polled, Plan { test: Test::SendLat, size: 64, iterations: 1, depth: 1 }, at);
    for second in 0..=SILENCE.as_secs() {
        assert!(client.lock().expect("unpoisoned").is_none(), "after {second} s");
        (0..100).for_each(|_| _ = sim.turn());
        sim.platform.advance(Duration::from_secs(1));
    }
    (0..100).for_each(|_| _ = sim.turn());
    let outcome = client.lock().expect("unpoisoned").take().expect("it has given up");
    assert_eq!(outcome.expect_err("nothing was measured").to_string(), "the peer has been silent for 30 s");
}

#[test]
fn plans_cross_the_wire_and_nothing_else_does() {
    let plan = Plan { test: Test::ReadBw, size: 1 << 20, iterations: 9, depth: 16 };
    let mut padded = plan.encode();
    padded.resize(56, 0);
    assert_eq!(Plan::decode(&padded), Ok(plan));
    for cut in 0..16 {
        assert_eq!(Plan::decode(&plan.encode()[..cut]), Err(PlanError::Foreign));
    }
    let mut other = plan.encode();
    other[4] = 6;
    assert_eq!(Plan::decode(&other), Err(PlanError::Foreign));
    assert_eq!(Plan::decode(&[0; 56]), Err(PlanError::Foreign));
    let large = Plan { size: u32::MAX, depth: u16::MAX, ..plan };
    assert!(matches!(Plan::decode(&large.encode()), Err(PlanError::Memory { .. })));
    assert_eq!(described(&describe(None)).map(|memory| memory.len), Some(0));
    assert_eq!(described(&[0; 15]), None);
    assert_eq!(described(&[0; 17]), None);
}

#[test]
fn figures_are_found_in_their_columns() {
    let text = " #bytes #iterations BW peak[MB/sec] BW average[MB/sec] MsgRate[Mpps]\n 1048576  200  151.10  149.25  0.000149\n------\n";
    assert_eq!(figure("x", text, "1048576", 3).ok(), Some(149.25));
    assert!(figure("x", text, "64", 3).is_err());
    assert!(figure("x", text, "1048576", 9).is_err());
    let table =
        "  sl  local_address rem_address   st\n   0: 0100007F:4910 00000000:0000 0A 0 0\n   1: 0100007F:4911 0100007F:4910 01 0 0\n";
    assert!(is_listening(table, 0x4910));
    assert!(!is_listening(table, 0x4911));
}
