//! The examples, as processes with real peers; two of them also on simulated cores, over a network
//! in memory, where time passes when the test says so.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use lcore::net::SockOptions;
use lcore::sim::Sim;
use lcore::{App, AppOptions, CoreId, Platform, StartedApp, platform::LinuxPlatform};
use net_impl_mem::{Faults, MemNet, SimSocket};
use rustix::process::{Pid, Signal, kill_process};
use socket2::SockRef;

#[expect(dead_code, reason = "its main function")]
#[path = "../examples/proxy.rs"]
mod proxy;
#[expect(dead_code, reason = "its main function")]
#[path = "../examples/timeouts.rs"]
mod timeouts;

const PATIENCE: Duration = Duration::from_secs(60);

/// An example as a process; dropped, it is killed.
struct Example {
    child: Child,
    out: BufReader<ChildStdout>,
    at: String,
}

/// An example, to be started.
fn command(name: &str) -> Command {
    // Cargo builds examples beside the tests of a package (`cargo test -p lcore`); a single
    // `--test` alone needs `--examples` too.
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is not built: cargo build -p lcore --examples", program.display());
    Command::new(program)
}

impl Example {
    /// Starts one that says where it listens.
    fn start(name: &str, args: &[&str]) -> Self {
        let mut child = command(name).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut example = Self { child, out, at: String::new() };
        let line = example.line();
        example.at = line.strip_prefix("listens at ").expect("it says where it is").to_owned();
        example
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn signal(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end, which is in good order; what it has printed by then.
    fn ended(mut self) -> String {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        rest
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_says_first_what_it_shows_and_how_to_run_it() {
    for name in ["client", "two_cores", "proxy", "timeouts"] {
        let text = fs::read_to_string(format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(head.contains("It shows") && head.contains(&format!("--example {name}")), "{name}: {head}");
        let lines = text.lines().count();
        assert!(lines <= 200, "{name} has {lines} lines");
    }
}

#[test]
fn the_client_sends_all_and_prints_what_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    // More than its buffers hold.
    let words = vec!["x".repeat(100_000); 8];
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
        all.len()
    });
    let output = command("client").arg(&at).args(&words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout == (words.join(" ") + "\n").as_bytes(), "another text comes back");
    assert_eq!(server.join().unwrap(), 8 * 100_001 - 1);
    // Nobody listens there any more.
    let output = command("client").arg(&at).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("connect to {at}: refused")), "{said}");
}

#[test]
fn visitors_of_two_cores_are_counted_together() {
    let cores: Vec<CoreId> = LinuxPlatform::new().unwrap().cores().iter().take(2).collect();
    let list = format!("[{}]", cores.iter().map(|core| core.0.to_string()).collect::<Vec<_>>().join(","));
    let mut service = Example::start("two_cores", &["127.0.0.1:0", "-m", &list, "--no-cpumask-locks"]);
    // All at a time, so that the first has not gone when the second comes.
    let visitors = [(); 8].map(|()| service.connect());
    let mut totals = visitors.map(|visitor| {
        let mut line = String::new();
        BufReader::new(visitor).read_to_string(&mut line).unwrap();
        line.trim().rsplit_once(", ").unwrap().1.strip_suffix(" in all").unwrap().parse::<u64>().unwrap()
    });
    totals.sort_unstable();
    // Two that are counted at the same moment on two cores can both be told the later number.
    assert!(totals[0] >= 1 && totals[7] == 8, "{totals:?}");
    service.signal();
    let lines: Vec<String> = (0..cores.len()).map(|_| service.line()).collect();
    let counts = lines.iter().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap());
    assert_eq!(counts.sum::<u64>(), 8, "{lines:?}");
    assert_eq!(service.ended(), "");
}

#[test]
fn s427_the_proxy_holds_back_who_sends_more_than_the_other_side_takes() {
    const BYTES: usize = 64 << 20;
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = upstream.local_addr().unwrap().to_string();
    let proxy = Example::start("proxy", &["127.0.0.1:0", &at]);
    for swapped in [false, true] {
        let client = proxy.connect();
        let server = upstream.accept().unwrap().0;
        let (mut from, mut to) = if swapped { (server, client) } else { (client, server) };
        from.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let piece: Vec<u8> = (0..1 << 16).map(|n| (n % 251) as u8).collect();
        let mut sent = 0;
        // Until nothing was taken for a while.
        while let Ok(bytes) = from.write(&piece[sent % piece.len()..]) {
            sent += bytes;
            assert!(sent < BYTES, "the proxy takes all");
        }
        // The other direction is not held back, nor are other connections.
        to.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        from.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        // Behind the last byte comes the end, and what goes the other way after that.
        from.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        to.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), sent);
        assert!(all.chunks(piece.len()).all(|chunk| *chunk == piece[..chunk.len()]), "bytes in another order");
        to.write_all(b"farewell").unwrap();
        drop(to);
        let mut last = Vec::new();
        from.read_to_end(&mut last).unwrap();
        assert_eq!(last, b"farewell");
    }
    proxy.signal();
    proxy.ended();
}

#[test]
fn s427_the_proxy_passes_resets_on() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Example::start("proxy", &["127.0.0.1:0", &upstream.local_addr().unwrap().to_string()]);
    let mut client = proxy.connect();
    let server = upstream.accept().unwrap().0;
    client.write_all(b"hello").unwrap();
    SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    let why = client.read(&mut [0; 9]).unwrap_err();
    assert_eq!(why.kind(), std::io::ErrorKind::ConnectionReset);
    // Nobody listens there: no client is left waiting.
    drop(upstream);
    let why = proxy.connect().read(&mut [0; 9]).unwrap_err();
    assert_eq!(why.kind(), std::io::ErrorKind::ConnectionReset);
    proxy.signal();
    proxy.ended();
}

/// An application on one simulated core, over a network in memory.
fn simulated(faults: Faults, start: impl FnOnce(&mut lcore::Cx<'_>, &lcore::AppHandle) + Send + 'static) -> (Sim, MemNet, StartedApp) {
    let net = MemNet::new(1, faults);
    // An application takes its backend for as long as the program runs.
    let backend: &'static MemNet = Box::leak(Box::new(net.clone()));
    let mut sim = Sim::new(1);
    let app = App::new("example").network_over(backend).start_on(sim.lib(), |cx, app| {
        start(cx, app);
        Ok(())
    });
    sim.settle();
    (sim, net, app.unwrap())
}

/// Reads what is there; whether the peer has ended.
fn read(socket: &SimSocket, into: &mut Vec<u8>) -> bool {
    let mut piece = [0; 4096];
    while let Poll::Ready(Ok(bytes)) = socket.read(&mut piece) {
        into.extend_from_slice(&piece[..bytes]);
        if bytes == 0 {
            return true;
        }
    }
    false
}

#[test]
fn s427_every_byte_and_each_end_goes_through_a_proxy_in_all_weathers() {
    let [at, to] = ["127.0.0.1:80", "127.0.0.1:81"].map(|at| at.parse().unwrap());
    for seed in 0..100 {
        let faults = Faults { window: 1 + (seed * 977 % 5000) as usize, short_per_mille: 200, ..Faults::default() };
        let (mut sim, net, app) = simulated(faults, move |cx, app| assert_eq!(proxy::serve(cx, app, at, to).unwrap(), at));
        let upstream = net.bind(to, &SockOptions::default()).unwrap();
        let client = net.dial(at, &SockOptions::default()).unwrap();
        sim.settle();
        let server = upstream.accept().expect("the proxy has connected");
        // The server answers to each byte with its complement, and ends after the client.
        let question: Vec<u8> = (0..20_000 + seed * 100).map(|n| (n * 31 % 251) as u8).collect();
        let (mut sent, mut heard, mut answered, mut answer) = (0, Vec::new(), 0, Vec::new());
        for step in 0.. {
            assert!(step < 100_000, "seed {seed}: {sent} sent, {} heard, {answered} answered, {} back", heard.len(), answer.len());
            if let Poll::Ready(Ok(bytes)) = client.write(&question[sent..question.len().min(sent + 3000)]) {
                sent += bytes;
            }
            if sent == question.len() {
                client.finish();
            }
            // Not always.
            let client_ended = step % 3 != 0 && read(&server, &mut heard);
            let answers: Vec<u8> = heard[answered..].iter().map(|byte| !byte).collect();
            if let Poll::Ready(Ok(bytes)) = server.write(&answers) {
                answered += bytes;
            }
            if client_ended && answered == heard.len() {
                server.finish();
            }
            if step % 5 == 0 && read(&client, &mut answer) {
                break;
            }
            sim.settle();
        }
        assert!(heard == question && answer.iter().map(|byte| !byte).eq(question), "seed {seed}");
        app.stop(0);
        sim.settle();
        assert!(sim.lib().threads().is_empty());
    }
}

/// `timeouts` with 30 s of patience and 2 s for the end.
fn with_timeouts() -> (Sim, MemNet, StartedApp) {
    let args = timeouts::Args { at: "127.0.0.1:7".parse().unwrap(), idle: 30, drain: 2, app: AppOptions::default() };
    simulated(Faults::default(), move |cx, app| assert_eq!(timeouts::serve(cx, app, &args).unwrap(), args.at))
}

#[test]
fn s428_silence_ends_a_connection_and_every_byte_pushes_that_forward() {
    let (mut sim, net, app) = with_timeouts();
    let [silent, busy] = [(); 2].map(|()| net.dial("127.0.0.1:7".parse().unwrap(), &SockOptions::default()).unwrap());
    sim.settle();
    for _ in 0..3 {
        assert_eq!(busy.write(b"x"), Poll::Ready(Ok(1)));
        sim.run_for(Duration::from_secs(9));
    }
    sim.run_for(Duration::from_millis(2_900));
    assert_eq!(silent.read(&mut [0; 9]), Poll::Pending, "29.9 s are over");
    sim.run_for(Duration::from_millis(700));
    assert_eq!(silent.read(&mut [0; 9]), Poll::Ready(Ok(0)), "and now 30");
    let mut echo = Vec::new();
    assert!(!read(&busy, &mut echo) && echo == b"xxx");
    // Its last byte came at 18 s.
    sim.run_for(Duration::from_millis(48_000 + 600 - 30_600));
    assert!(read(&busy, &mut echo));
    app.stop(0);
    sim.settle();
    assert!(sim.lib().threads().is_empty());
}

#[test]
fn s429_an_end_sends_what_is_owed_and_waits_so_long_for_who_takes_nothing() {
    for reads in [true, false] {
        let (mut sim, net, app) = with_timeouts();
        let dial = || net.dial("127.0.0.1:7".parse().unwrap(), &SockOptions::default()).unwrap();
        let (slow, idle) = (dial(), dial());
        sim.settle();
        let mut sent = 0;
        while let Poll::Ready(Ok(bytes)) = slow.write(&[7; 4096]) {
            sent += bytes;
            sim.settle();
        }
        assert!(sent > 512 << 10, "more than the network holds: {sent}");
        app.stop(0);
        sim.settle();
        assert_eq!(idle.read(&mut [0; 9]), Poll::Ready(Ok(0)), "who is owed nothing hears it at once");
        sim.run_for(Duration::from_millis(1_900));
        assert_eq!(sim.lib().threads().len(), 1, "it waits");
        let mut echo = Vec::new();
        while reads && !read(&slow, &mut echo) {
            sim.settle();
        }
        if !reads {
            sim.run_for(Duration::from_millis(100));
        }
        assert!(sim.lib().threads().is_empty());
        if reads {
            // What the server had read by then; the rest was never taken up.
            assert!(echo.len() > 512 << 10 && echo.iter().all(|byte| *byte == 7), "{}", echo.len());
        }
    }
}

#[test]
fn s429_a_signal_ends_it_in_good_order() {
    let server = Example::start("timeouts", &["127.0.0.1:0", "--drain", "30"]);
    let mut stream = server.connect();
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    server.signal();
    // Long before the thirty seconds, and while this side is open.
    assert_eq!(stream.read(&mut back).unwrap(), 0);
    let at = server.at.clone();
    server.ended();
    assert!(TcpStream::connect(at).is_err());
}
