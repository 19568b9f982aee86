//! The server on simulated cores, which the test turns by hand, and by a clock that it moves: no reactor runs by itself here.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hello_sock::{Server, ServerConfig};
use lcore::net::SockOptions;
use lcore::pool::{ClassConfig, DataPoolConfig, ReserveConfig};
use lcore::sim::Sim;
use lcore::{App, AppHandle, AppOptions, Cx};

/// Turns of all cores after which what is waited for is not going to happen.
const TURNS: usize = 1_000_000;

/// What an application of this server does at its start, on whatever it runs.
fn serve(app: &AppHandle, running: &OnceLock<Server>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let none = ClassConfig { count: 0, size: 1 << 16 };
    let small = ClassConfig { count: 256, size: 4 << 10 };
    let pool = app.data_pool(DataPoolConfig { small, large: none, control: none, waiters: 16 })?.clone();
    let (at, options) = ("127.0.0.1:0".parse()?, SockOptions::default());
    let config =
        ServerConfig { net: app.net(), at, options, sockets: 64, pool, reserve: ReserveConfig { small: 32, large: 0, control: 0 } };
    let server = Server::start(app.lib(), app.cores(), config, |_: &mut Cx<'_>, at| assert!(at.is_ok(), "{at:?}"))?;
    let _ = running.set(server);
    Ok(())
}

#[test]
fn s118_the_server_runs_on_simulated_cores_and_by_their_clock() {
    let (mut sim, running) = (Sim::new(2), Arc::new(OnceLock::new()));
    let (mut options, given) = (AppOptions::default(), running.clone());
    options.net = Some("posix".into());
    let app = App::new("test").options(options).network().start_on(sim.lib(), move |_, app| serve(app, &given)).expect("it starts");
    sim.settle();
    let server: &Server = running.get().expect("it was started");
    let mut peers: Vec<_> = (0..4).map(|_| TcpStream::connect(server.local_addr().expect("it listens")).expect("it accepts")).collect();
    for (n, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&[n as u8; 10_000]).expect("it is taken");
        assert_eq!(read_exact(&mut sim, peer, 10_000), [n as u8; 10_000]);
    }
    // One peer sends more than is taken, and reads none of it: the end waits for it as long as the simulated clock says.
    peers[0].set_nonblocking(true).expect("a socket");
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < Duration::from_millis(300) {
        if peers[0].write(&[7; 1 << 16]).is_ok() {
            quiet_since = Instant::now();
        }
        turns(&mut sim, 10);
    }
    app.stop(3);
    turns(&mut sim, 1000);
    assert!(!sim.lib().threads().is_empty(), "no time has passed");
    sim.platform.advance(Duration::from_secs(1));
    sim.settle();
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

fn read_exact(sim: &mut Sim, peer: &mut TcpStream, count: usize) -> Vec<u8> {
    peer.set_nonblocking(true).expect("a socket");
    let (mut back, mut at) = (vec![0; count], 0);
    for _ in 0..TURNS {
        let _ = sim.turn();
        match peer.read(&mut back[at..]) {
            Ok(0) => panic!("it ended after {at} bytes"),
            Ok(n) => at += n,
            Err(why) => assert_eq!(why.kind(), ErrorKind::WouldBlock),
        }
        if at == count {
            return back;
        }
    }
    panic!("{at} of {count} bytes came back");
}
