//! What an application of the server does at its start, on simulated cores that the test turns and
//! by a clock that it moves, over sockets in memory: the same function as on a machine.

use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use hello_sock::{Server, ServerConfig};
use lcore::net::{NetError, SockOptions};
use lcore::pool::{ClassConfig, DataPoolConfig, ReserveConfig};
use lcore::sim::Sim;
use lcore::{App, AppHandle, Cx};
use net_impl_mem::{Faults, MemNet, SimSocket};

/// Turns of all cores after which what is waited for is not going to happen.
const TURNS: usize = 10_000;

fn serve(app: &AppHandle, running: &OnceLock<Server>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let none = ClassConfig { count: 0, size: 1 << 16 };
    let small = ClassConfig { count: 256, size: 4 << 10 };
    let pool = app.data_pool(DataPoolConfig::DEFAULT.small(small).large(none).control(none).waiters(16))?.clone();
    let (at, options, reserve) = ("127.0.0.1:0".parse()?, SockOptions::default(), ReserveConfig { small: 32, large: 0, control: 0 });
    let config = ServerConfig { net: app.net(), at, options, sockets: 64, pool, reserve };
    let ready = |_: &mut Cx<'_>, at: Result<_, _>| assert!(at.is_ok(), "{at:?}");
    assert!(running.set(Server::start(app.lib(), app.cores(), config, ready)?).is_ok());
    Ok(())
}

#[test]
fn s118_an_application_runs_on_simulated_cores_and_by_their_clock() {
    let net: &'static MemNet = Box::leak(Box::new(MemNet::new(1, Faults::default())));
    let (mut sim, running) = (Sim::new(2), Arc::new(OnceLock::new()));
    let given = running.clone();
    let app = App::new("test").network_over(net).start_on(sim.lib(), move |_, app| serve(app, &given)).expect("it starts");
    sim.settle();
    let server: &Server = running.get().expect("it was started");
    let at = server.local_addr().expect("it listens");
    let peers: Vec<_> = (0..4).map(|_| net.dial(at, &SockOptions::default()).expect("a free port")).collect();
    for (n, peer) in peers.iter().enumerate() {
        assert_eq!(echo(&mut sim, peer, &[n as u8; 10_000]).expect("no weather"), [n as u8; 10_000]);
    }
    // One peer sends more than is taken, and reads none of it.
    let held_back = || peers[0].write(&[7; 1 << 16]).is_pending();
    while !held_back() {
        sim.settle();
    }
    // The end waits for it as long as the simulated clock says.
    app.stop(3);
    turns(&mut sim, 1000);
    assert!(!sim.lib().threads().is_empty(), "no time has passed");
    sim.advance(Duration::from_secs(1));
    assert!(sim.lib().threads().is_empty());
    let reports = server.reports();
    assert_eq!(reports.iter().map(|(_, report)| report.connections).collect::<Vec<_>>(), [2, 2]);
    assert!(reports.iter().map(|(_, report)| report.stats.unsent).sum::<u64>() > 0);
    assert_eq!(app.finish(&[]).expect("nothing was printed"), 3);
}

fn turns(sim: &mut Sim, count: usize) {
    for _ in 0..count {
        let _ = sim.turn();
    }
}

/// Sends all of it, then takes as much.
fn echo(sim: &mut Sim, peer: &SimSocket, bytes: &[u8]) -> Result<Vec<u8>, NetError> {
    let (mut sent, mut back, mut block) = (0, Vec::new(), [0; 4096]);
    for _ in 0..TURNS {
        let _ = sim.turn();
        if peer.connected()?.is_pending() {
            continue;
        }
        if sent < bytes.len()
            && let Poll::Ready(count) = peer.write(&bytes[sent..])?
        {
            sent += count;
        }
        if let Poll::Ready(count) = peer.read(&mut block)? {
            back.extend_from_slice(&block[..count]);
        }
        if back.len() >= bytes.len() {
            return Ok(back);
        }
    }
    panic!("{} of {} bytes came back", back.len(), bytes.len());
}
