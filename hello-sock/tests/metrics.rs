//! hello-sock's page of metrics: what Prometheus asks for it, and what others send, over each
//! backend.
#![cfg(feature = "metrics")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{PATIENCE, Server, run, until};
use lcore::net::SockOptions;
use lcore::sim::Sim;
use lcore::{App, AppOptions};
use net_impl_mem::{Faults, MemNet};
use std::task::Poll;
use std::time::Duration;

/// Each test names its backend.
const NET: &str = "";

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A server over a backend, and where its page is.
fn serve(net: &str) -> (Server, SocketAddr) {
    let server = Server::start(&format!("-N {net} --no-rpc --metrics 127.0.0.1:0"));
    let line = server.program.line_with("metrics are served at http://");
    let at = line.rsplit("http://").next().unwrap().trim_end_matches("/metrics").parse().unwrap_or_else(|why| panic!("{line:?}: {why}"));
    (server, at)
}

/// A client's connection.
struct Client(TcpStream);

/// An answer: status, head, body.
type Answer = (u16, String, String);

impl Client {
    fn new(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("it is taken");
    }

    /// The next answer, as long as its head says; of one to HEAD the head alone.
    fn answer(&mut self, has_body: bool) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap_or_else(|why| panic!("{why} after {:?}", String::from_utf8_lossy(&head)));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("it has a length").parse().unwrap();
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.0.read_exact(&mut body).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, String::from_utf8(body).unwrap())
    }

    fn ask(&mut self, text: &str) -> Answer {
        self.send(text);
        self.answer(true)
    }

    /// Whether the server has ended in good order, with nothing more.
    fn has_ended(&mut self) -> bool {
        self.0.read(&mut [0]).is_ok_and(|bytes| bytes == 0)
    }
}

/// The value of a line that begins so.
fn value(page: &str, begin: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("no {begin} in\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn pages(net: &str) {
    let (mut server, at) = serve(net);
    let mut client = Client::new(at);
    let (status, head, page) = client.ask(GET);
    assert!(status == 200 && head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(
        page.contains("# TYPE lcore_reactor_turns_total counter\n") && page.contains("# HELP lcore_reactor_turns_total Turns.\n"),
        "{page}"
    );
    let turns = value(&page, "lcore_reactor_turns_total{core=");
    assert!(turns > 0.0 && value(&page, "lcore_pool_buffers{class=\"small\"}") > 0.0);
    assert!(page.contains("thread=\"metrics\""), "{page}");
    // The same connection, and two requests at once, one byte at a time.
    let (_, _, page) = client.ask(GET);
    assert!(value(&page, "lcore_reactor_turns_total{core=") > turns, "a new page");
    let asked = format!("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n{GET}");
    asked.chars().for_each(|c| client.send(&c.to_string()));
    let (status, head, _) = client.answer(false);
    assert!(status == 200 && !head.contains("Content-Length: 0"), "{head}");
    assert_eq!(client.answer(true).0, 200);
    for (request, status, goes_on) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, true),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405, true),
        ("GET /metrics HTTP/1.0\r\n\r\n", 200, false),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, false),
        ("\0\0\0\r\n\r\n", 400, false),
        (&format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(9_000)), 431, false),
    ] {
        let mut client = Client::new(at);
        let (told, head, body) = client.ask(request);
        assert_eq!((told, head.contains("\r\nConnection: close\r\n")), (status, !goes_on), "{request:?}: {head}");
        assert!(!body.is_empty() && (status != 405 || head.contains("\r\nAllow: GET, HEAD\r\n")), "{head}");
        if goes_on {
            assert_eq!(client.ask(GET).0, 200, "after {request:?}");
        } else {
            assert!(client.has_ended(), "{request:?}");
        }
    }
    // Who ends its side behind a request gets the answer all the same.
    let mut half = Client::new(at);
    half.send(GET);
    half.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(half.answer(true).0, 200);
    assert!(half.has_ended());
    server.stop();
}

#[test]
fn s191_pages_over_posix() {
    pages("posix");
}

#[test]
fn s191_pages_over_uring() {
    pages("uring");
}

/// More clients than it has places for: whoever is idle makes way.
#[test]
fn s192_clients_that_ask_nothing_make_way() {
    let (mut server, at) = serve("posix");
    let idle: Vec<_> = (0..100).map(|_| Client::new(at)).collect();
    assert_eq!(Client::new(at).ask(GET).0, 200);
    let left = idle
        .into_iter()
        .filter_map(|mut client| client.0.write_all(GET.as_bytes()).is_ok().then(|| client.0.read(&mut [0]).unwrap_or(0)))
        .sum::<usize>();
    assert!((1..=16).contains(&left), "{left}");
    // Page after page that nobody reads.
    let deaf: Vec<_> = (0..16)
        .map(|_| {
            let mut client = Client::new(at);
            client.send(&GET.repeat(200));
            client
        })
        .collect();
    // Not at the cost of what the program is for.
    let mut peer = server.connect();
    for n in 0..1_000_u32 {
        peer.write_all(&n.to_ne_bytes()).unwrap();
        let mut back = [0; 4];
        peer.read_exact(&mut back).unwrap();
        assert_eq!(u32::from_ne_bytes(back), n);
    }
    drop(deaf);
    // Their places are free when their ends have been heard of.
    until("a place", || {
        let mut client = Client::new(at);
        let is_served = client.0.write_all(GET.as_bytes()).is_ok() && client.0.read(&mut [0]).is_ok_and(|bytes| bytes == 1);
        is_served.then_some(())
    });
    server.stop();
}

/// By a clock that the test moves: half a request has ten seconds; between requests it is two
/// minutes.
#[test]
fn s192_who_is_slow_is_sent_away_when_its_time_is_over() {
    let net: &'static MemNet = Box::leak(Box::new(MemNet::new(1, Faults::default())));
    let mut sim = Sim::new(1);
    let at = "127.0.0.1:9100".parse().unwrap();
    let mut options = AppOptions::default();
    options.metrics = Some(at);
    let app = App::new("test").options(options).network_over(net).start_on(sim.lib(), |_, _| Ok(())).expect("it starts");
    sim.settle();
    let dial = |sim: &mut Sim, text: &str| {
        let peer = net.dial(at, &SockOptions::default()).expect("a free port");
        sim.settle();
        assert!(matches!(peer.write(text.as_bytes()), Poll::Ready(Ok(bytes)) if bytes == text.len()));
        sim.settle();
        peer
    };
    let read = |peer: &net_impl_mem::SimSocket| {
        let mut block = [0; 4096];
        match peer.read(&mut block) {
            Poll::Ready(Ok(bytes)) => Ok(Some(String::from_utf8_lossy(&block[..bytes]).into_owned())),
            Poll::Ready(Err(why)) => Err(why),
            Poll::Pending => Ok(None),
        }
    };
    let (half, quick) = (dial(&mut sim, &GET[..20]), dial(&mut sim, GET));
    // The page is made by a thread of the system's.
    let answer = until("the page", || {
        sim.settle();
        read(&quick).expect("it is connected")
    });
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    while read(&quick).expect("it is connected").is_some() {
        sim.settle();
    }
    sim.advance(Duration::from_secs(9));
    assert_eq!(read(&half).expect("it has ten seconds"), None);
    sim.advance(Duration::from_secs(3));
    assert!(read(&half).is_err(), "it was sent away");
    assert_eq!(read(&quick).expect("it may ask again"), None);
    // A byte a second is no progress: a buffer of an answer takes longer than ten seconds then.
    let slow = dial(&mut sim, &GET.repeat(200));
    let mut byte = [0];
    until("the page", || {
        sim.settle();
        matches!(slow.read(&mut byte), Poll::Ready(Ok(1))).then_some(())
    });
    for _ in 0..15 {
        assert!(matches!(slow.read(&mut byte), Poll::Ready(Ok(1))), "it is given more than a byte a second");
        sim.advance(Duration::from_secs(1));
    }
    // What is on its way then is all that there is.
    while read(&slow).is_ok_and(|text| !text.expect("its end is there").is_empty()) {}
    sim.advance(Duration::from_secs(120));
    assert!(read(&quick).is_err(), "it has asked nothing more");
    app.stop(0);
    sim.settle();
    assert_eq!(app.finish(&[]).expect("nothing was printed"), 0);
}

#[test]
fn s193_an_address_that_cannot_be_had_is_one_sentence() {
    for wrong in ["nowhere", "127.0.0.1", "127.0.0.1:99999", ""] {
        let said = run(&format!("-S -P 0 --no-cpumask-locks --metrics={wrong}")).refusal(2);
        assert!(said.contains("no address with a port, such as 127.0.0.1:9100"), "{said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for at in [taken.local_addr().unwrap().to_string(), "192.0.2.1:9100".into()] {
        let said = run(&format!("-S -P 0 --no-cpumask-locks --no-rpc --metrics {at}")).refusal(1);
        assert!(said.contains("--metrics") && said.contains(&at), "{said}");
    }
}
