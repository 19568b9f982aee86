//! The server on simulated cores, over a network with weather: what is random comes from a seed,
//! and time passes when the test says so. What fails once fails again:
//! `SEED=17 cargo test -p hello-kv --test memory`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use hello_kv::{KvConfig, KvServer};
use lcore::net::{Events, Frame, GroupConfig, GroupStats, NetError, NetImpl, SockGroup, SockId, SockOptions, Socket, Token};
use lcore::pool::{Buf, Class, ClassConfig, DataPool, DataPoolConfig, ReserveConfig};
use lcore::sim::Sim;
use lcore::{Cx, Refused, WaitSource};
use net_impl_mem::{Faults, MemNet, SimSocket};

/// A server on so many cores, and its network.
struct World {
    sim: Sim,
    net: MemNet,
    at: SocketAddr,
    server: KvServer,
    pool: DataPool,
}

impl World {
    fn new(cores: u16, seed: u64, faults: Faults, memory: usize) -> Self {
        Self::over(cores, seed, faults, memory, |net| Box::leak(Box::new(net)))
    }

    fn over(cores: u16, seed: u64, faults: Faults, memory: usize, backend: fn(MemNet) -> &'static dyn NetImpl) -> Self {
        let (sim, net) = (Sim::new(cores), MemNet::new(seed, faults));
        let none = ClassConfig { count: 0, size: 4096 };
        let small = ClassConfig { count: 64, size: 2048 };
        let pool = DataPool::on_heap(DataPoolConfig::DEFAULT.small(small).large(none).control(none).waiters(16)).unwrap();
        // A server takes its backend for as long as the program runs.
        let backend = backend(net.clone());
        let (at, reserve) = ("127.0.0.1:6379".parse().unwrap(), ReserveConfig { small: 8, large: 0, control: 0 });
        let config = KvConfig { net: backend, at, sockets: 16, memory, pool: pool.clone(), reserve };
        let running = Arc::new(OnceLock::new());
        let told = running.clone();
        let server = KvServer::start(sim.lib(), &sim.lib().reactors(), config, move |_, at| told.set(at.unwrap()).unwrap()).unwrap();
        let mut world = Self { sim, net, at, server, pool };
        world.sim.settle();
        assert_eq!(running.get(), Some(&at));
        world
    }

    fn connect(&mut self) -> SimSocket {
        let socket = self.net.dial(self.at, &SockOptions::default()).unwrap();
        self.sim.settle();
        socket
    }

    /// Sends requests at once, and expects these answers.
    #[track_caller]
    fn ask(&mut self, socket: &SimSocket, requests: &str, answers: &str) {
        assert_eq!(socket.write(requests.as_bytes()), Poll::Ready(Ok(requests.len())));
        let mut got = Vec::new();
        while got.len() < answers.len() {
            self.sim.settle();
            match read(socket, &mut got) {
                Some(1..) => {}
                end => panic!("{end:?} after {:?}", String::from_utf8_lossy(&got)),
            }
        }
        assert_eq!(String::from_utf8_lossy(&got), answers, "{requests:?}");
    }

    fn end(mut self) -> KvServer {
        self.sim.lib().stop();
        self.sim.run_for(Duration::from_secs(2));
        assert!(self.sim.lib().threads().is_empty(), "the server ends");
        let stats = self.pool.stats(Class::Small);
        assert_eq!(stats.free + stats.reserved, stats.count, "every buffer has come home");
        self.server
    }
}

/// Reads what is there: how many bytes, 0 at the end, and nothing where nothing came or all broke.
fn read(socket: &SimSocket, into: &mut Vec<u8>) -> Option<usize> {
    let mut piece = [0; 4096];
    match socket.read(&mut piece) {
        Poll::Ready(Ok(bytes)) => {
            into.extend_from_slice(&piece[..bytes]);
            Some(bytes)
        }
        _ => None,
    }
}

/// Numbers that look random.
struct Lot(u64);

impl Lot {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn s421_every_command_has_its_answer() {
    for cores in [1, 3] {
        let mut world = World::new(cores, 1, Faults::default(), 1 << 20);
        let socket = world.connect();
        for (requests, answers) in [
            ("PING\r\nping hi\r\n", "+PONG\r\n$2\r\nhi\r\n"),
            ("*2\r\n$4\r\nECHO\r\n$3\r\na\nb\r\n", "$3\r\na\nb\r\n"),
            ("get a\nset a 1\nget a\n", "$-1\r\n+OK\r\n$1\r\n1\r\n"),
            ("incr a\nincr b\nget b\n", ":2\r\n:1\r\n$1\r\n1\r\n"),
            ("set c x\nincr c\n", "+OK\r\n-ERR value is not an integer or out of range\r\n"),
            ("set c 9223372036854775807\nincr c\n", "+OK\r\n-ERR increment or decrement would overflow\r\n"),
            ("mset d 1 e 2 f 3\nmget d x e f\n", "+OK\r\n*4\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n$1\r\n3\r\n"),
            ("exists d x e d\nexists d\nexists x\n", ":3\r\n:1\r\n:0\r\n"),
            ("dbsize\ndel d e x\ndel f\ndel f\ndbsize\n", ":6\r\n:2\r\n:1\r\n:0\r\n:3\r\n"),
            ("ttl a\nttl x\nexpire x 9\nexpire a 9\nttl a\n", ":-1\r\n:-2\r\n:0\r\n:1\r\n:9\r\n"),
            ("set a 1\nttl a\nset a 1 ex 7\nttl a\nexpire a 0\nget a\n", "+OK\r\n:-1\r\n+OK\r\n:7\r\n:1\r\n$-1\r\n"),
            ("set a 1 ex 0\nset a 1 nx 1\n", "-ERR invalid expire time in 'set' command\r\n-ERR syntax error\r\n"),
            (
                "get\nmset a\nnonsense \x07\n",
                "-ERR wrong number of arguments for command 'get'\r\n-ERR wrong number of arguments for command 'mset'\r\n-ERR unknown command 'nonsense'\r\n",
            ),
            ("config get appendonly\ncommand docs\n\n", "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n*0\r\n"),
            ("quit\nping\n", "+OK\r\n"),
        ] {
            world.ask(&socket, requests, answers);
        }
        assert_eq!(read(&socket, &mut Vec::new()), Some(0), "it has said good-bye");
        let reports = world.end().reports();
        assert_eq!(reports.iter().map(|report| report.connections).sum::<u64>(), 1);
        assert_eq!(reports.iter().any(|report| report.asked > 0), cores > 1, "other cores are asked: {reports:?}");
    }
}

#[test]
fn s422_a_key_is_gone_in_time_and_so_is_its_memory() {
    let value = "x".repeat(1000);
    let mut world = World::new(1, 1, Faults::default(), 8 << 10);
    let socket = world.connect();
    world.ask(&socket, "set a 1 px 1500\nset b 1\nexpire b 3\n", "+OK\r\n+OK\r\n:1\r\n");
    world.sim.run_for(Duration::from_millis(1499));
    world.ask(&socket, "mget a b\nttl b\n", "*2\r\n$1\r\n1\r\n$1\r\n1\r\n:2\r\n");
    world.sim.run_for(Duration::from_millis(1));
    world.ask(&socket, "mget a b\nincr a\nttl a\n", "*2\r\n$-1\r\n$1\r\n1\r\n:1\r\n:-1\r\n");
    world.sim.run_for(Duration::from_millis(1500));
    world.ask(&socket, "get b\ndel a\ndbsize\n", "$-1\r\n:1\r\n:0\r\n");
    // Again and again as much as there is room for.
    for _ in 0..20 {
        let sets: String = (0..8).map(|n| format!("set {n} {value} ex 1\n")).collect();
        let answers: String =
            (0..8).map(|n| if n < 7 { "+OK\r\n" } else { "-OOM the memory for keys and values is used up\r\n" }).collect();
        world.ask(&socket, &sets, &answers);
        world.sim.run_for(Duration::from_secs(1));
        world.ask(&socket, "dbsize\n", ":0\r\n");
    }
    world.end();
}

/// A client with keys of its own, so that it knows every answer.
struct Client {
    socket: SimSocket,
    name: u64,
    keys: BTreeMap<u64, String>,
    requests: Vec<u8>,
    answers: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
}

impl Client {
    fn new(world: &mut World, name: u64, lot: &mut Lot) -> Self {
        let socket = world.net.dial(world.at, &SockOptions::default()).unwrap();
        let (keys, requests, answers) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut client = Self { socket, name, keys, requests, answers, sent: 0, got: Vec::new() };
        (0..20 + lot.below(60)).for_each(|_| client.add(lot));
        client
    }

    /// Another request, and what its answer is.
    fn add(&mut self, lot: &mut Lot) {
        let bulk = |value: Option<&String>| value.map_or("$-1\r\n".to_owned(), |value| format!("${}\r\n{value}\r\n", value.len()));
        let of = |name: u64, key: u64| format!("{name}:{key}");
        let (name, key, kind) = (self.name, lot.below(6), lot.below(7));
        let mut keys: Vec<u64> = (0..6).filter(|_| lot.below(2) == 0).collect();
        keys.push(key);
        let names = keys.iter().map(|key| of(name, *key));
        let (words, answer): (Vec<String>, String) = match kind {
            0 | 1 => {
                let most = 1 << lot.below(13);
                let value = "v".repeat(lot.below(most) as usize);
                self.keys.insert(key, value.clone());
                (vec!["SET".into(), of(name, key), value], "+OK\r\n".into())
            }
            2 => (vec!["get".into(), of(name, key)], bulk(self.keys.get(&key))),
            3 => {
                let all: String = keys.iter().map(|key| bulk(self.keys.get(key))).collect();
                (["MGET".into()].into_iter().chain(names).collect(), format!("*{}\r\n{all}", keys.len()))
            }
            4 => {
                let there = keys.iter().filter(|key| self.keys.remove(key).is_some()).count();
                (["DEL".into()].into_iter().chain(names).collect(), format!(":{there}\r\n"))
            }
            5 => {
                let pairs = keys.iter().flat_map(|key| [of(name, *key), format!("{key}")]);
                let words = ["MSET".to_owned()].into_iter().chain(pairs).collect();
                keys.iter().for_each(|key| drop(self.keys.insert(*key, format!("{key}"))));
                (words, "+OK\r\n".into())
            }
            _ => match self.keys.get(&key).map_or(Ok(0), |value| value.parse::<i64>()) {
                Ok(number) => {
                    self.keys.insert(key, (number + 1).to_string());
                    (vec!["INCR".into(), of(name, key)], format!(":{}\r\n", number + 1))
                }
                Err(_) => (vec!["INCR".into(), of(name, key)], "-ERR value is not an integer or out of range\r\n".into()),
            },
        };
        self.requests.extend(format!("*{}\r\n", words.len()).bytes());
        words.iter().for_each(|word| self.requests.extend(format!("${}\r\n{word}\r\n", word.len()).bytes()));
        self.answers.extend(answer.bytes());
    }

    /// Writes and reads something. Whether it has all that it waits for, or its connection broke.
    fn step(&mut self, lot: &mut Lot) -> bool {
        match self.socket.connected() {
            Poll::Pending => return false,
            Poll::Ready(Err(_)) => return true,
            Poll::Ready(Ok(())) => {}
        }
        let piece = self.requests.len().min(self.sent + 1 + lot.below(3000) as usize);
        if let Poll::Ready(Ok(bytes)) = self.socket.write(&self.requests[self.sent..piece]) {
            self.sent += bytes;
        }
        if lot.below(4) > 0 {
            read(&self.socket, &mut self.got);
        }
        assert!(self.answers.starts_with(&self.got), "client {}: {:?}", self.name, String::from_utf8_lossy(&self.got));
        self.got.len() == self.answers.len() || self.socket.error().is_some()
    }
}

#[test]
fn s423_answers_come_in_order_in_all_weathers() {
    let one: Option<u64> = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let (mut whole, mut broken) = (0, 0);
    for seed in one.map_or(0..150, |seed| seed..seed + 1) {
        println!("SEED={seed}");
        let mut lot = Lot(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let faults = Faults {
            delay: Duration::from_micros(lot.below(100)),
            jitter: Duration::from_micros(lot.below(300)),
            window: 1 + lot.below(8000) as usize,
            short_per_mille: lot.below(300) as u32,
            reset_per_mille: lot.below(10) as u32,
            refuse_per_mille: 0,
        };
        let mut world = World::new(1 + lot.below(3) as u16, seed, faults, 1 << 20);
        let mut clients: Vec<_> = (0..1 + lot.below(6)).map(|name| Client::new(&mut world, name, &mut lot)).collect();
        for step in 0.. {
            assert!(step < 20_000, "clients wait in vain: {:?}", clients.iter().map(|client| client.name).collect::<Vec<_>>());
            clients.retain_mut(|client| {
                let over = client.step(&mut lot);
                whole += u32::from(client.got.len() == client.answers.len());
                broken += u32::from(over && client.got.len() < client.answers.len());
                !over
            });
            if clients.is_empty() {
                break;
            }
            world.sim.run_for(Duration::from_micros(lot.below(400)));
        }
        world.end();
    }
    assert!(one.is_some() || whole > 200 && broken > 5, "there is weather, and it is not all: {whole} whole, {broken} broken");
}

#[test]
fn s424_who_does_not_read_is_not_read_and_goes_on_later() {
    let mut world = World::new(2, 1, Faults::default(), 1 << 20);
    let (deaf, other) = (world.connect(), world.connect());
    let (key, value) = ("k".repeat(250), "x".repeat(10_000));
    world.ask(&other, &format!("set {key} {value}\n"), "+OK\r\n");
    let one = format!("get {key}\n");
    let request = one.repeat(1_000).into_bytes();
    let mut sent = 0;
    while let Poll::Ready(Ok(bytes @ 1..)) = deaf.write(&request[sent % request.len()..]) {
        sent += bytes;
        world.sim.settle();
        assert!(sent < 4 << 20, "nothing holds it back");
    }
    // The others are served meanwhile, also though it holds buffers.
    world.ask(&other, &format!("ping\nexists {key}\n"), "+PONG\r\n:1\r\n");
    let (mut got, mut all) = (Vec::new(), 0);
    let each = format!("$10000\r\n{value}\r\n");
    while all < sent / one.len() * each.len() {
        world.sim.settle();
        assert!(matches!(read(&deaf, &mut got), Some(1..)), "{all} bytes of answers to {sent} of requests");
        while got.len() >= each.len() {
            assert!(got.starts_with(each.as_bytes()));
            all += got.drain(..each.len()).len();
        }
    }
    world.ask(&other, "ping\n", "+PONG\r\n");
    world.end();
}

/// A network whose groups have a buffer every other time that they are asked for one: what has come
/// home of other cores in between.
struct Scarce(MemNet);

struct ScarceGroup(Box<dyn SockGroup>, bool);

impl NetImpl for Scarce {
    fn name(&self) -> &'static str {
        "scarce"
    }

    fn priority(&self) -> u8 {
        0
    }

    fn probe(&self) -> Result<(), NetError> {
        self.0.probe()
    }

    fn listen(&self, at: SocketAddr, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        self.0.listen(at, options)
    }

    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        self.0.connect(to, options)
    }

    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        Ok(Box::new(ScarceGroup(self.0.group(cx, config)?, false)))
    }
}

impl SockGroup for ScarceGroup {
    fn attach(&mut self, socket: Box<dyn Socket>, token: Token) -> Result<SockId, Refused<Box<dyn Socket>, NetError>> {
        self.0.attach(socket, token)
    }

    fn detach(&mut self, id: SockId) -> Result<Box<dyn Socket>, NetError> {
        self.0.detach(id)
    }

    fn send(&mut self, id: SockId, frame: Frame) -> Result<(), Refused<Frame, NetError>> {
        self.0.send(id, frame)
    }

    fn shutdown(&mut self, id: SockId) -> Result<(), NetError> {
        self.0.shutdown(id)
    }

    fn close(&mut self, id: SockId) -> Result<(), NetError> {
        self.0.close(id)
    }

    fn abort(&mut self, id: SockId) -> Result<(), NetError> {
        self.0.abort(id)
    }

    fn pause(&mut self, id: SockId) -> Result<(), NetError> {
        self.0.pause(id)
    }

    fn resume(&mut self, id: SockId) -> Result<(), NetError> {
        self.0.resume(id)
    }

    fn flush(&mut self) {
        self.0.flush();
    }

    fn poll(&mut self, out: &mut Events) -> usize {
        self.0.poll(out)
    }

    fn buffer(&mut self) -> Option<Buf> {
        self.1 = !self.1;
        if self.1 { self.0.buffer() } else { None }
    }

    fn addresses(&self, id: SockId) -> Result<(SocketAddr, Option<SocketAddr>), NetError> {
        self.0.addresses(id)
    }

    fn options(&self, id: SockId) -> Result<SockOptions, NetError> {
        self.0.options(id)
    }

    fn stats(&self) -> GroupStats {
        self.0.stats()
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.0.wait_source()
    }
}

#[test]
fn s424_answers_that_found_no_buffer_go_out_once_there_is_one() {
    let mut world = World::over(1, 1, Faults::default(), 1 << 20, |net| Box::leak(Box::new(Scarce(net))));
    let socket = world.connect();
    let value = "x".repeat(20_000);
    let (requests, mut got) = (format!("set k {value}\nget k\nping\n"), Vec::new());
    let answers = format!("+OK\r\n$20000\r\n{value}\r\n+PONG\r\n");
    assert_eq!(socket.write(requests.as_bytes()), Poll::Ready(Ok(requests.len())));
    // It asks again in each turn, and does not say that it has something to do.
    for _ in 0..1_000 {
        let _ = world.sim.turn();
        read(&socket, &mut got);
    }
    assert!(got == answers.as_bytes(), "{} of {} bytes", got.len(), answers.len());
    world.end();
}

#[test]
fn s426_who_sends_faster_than_it_is_served_is_held_back() {
    let mut world = World::new(1, 1, Faults::default(), 1 << 20);
    let socket = world.connect();
    // From now on a turn takes up one request of a peer, in case it is for this.
    let value = "x".repeat(300_000);
    world.ask(&socket, &format!("*3\r\n$3\r\nSET\r\n$1\r\nv\r\n$300000\r\n{value}\r\n"), "+OK\r\n");
    let (request, mut sent, mut got) = (b"ping\n".repeat(10_000), 0, Vec::new());
    for _ in 0..2_000 {
        if let Poll::Ready(Ok(bytes)) = socket.write(&request[sent % 5..]) {
            sent += bytes;
        }
        let _ = world.sim.turn();
        read(&socket, &mut got);
    }
    let served = got.len() / 7 * 5;
    // What is held of it, and what the network holds.
    assert!(sent - served < (64 << 10) + (2 << 18) + 10_000, "{sent} bytes sent, {served} served");
    socket.reset();
    world.end();
}

#[test]
fn s425_what_is_no_request_is_told_and_ends_the_connection() {
    let mut world = World::new(1, 1, Faults::default(), 1 << 20);
    for (wrong, why) in [("*x\r\n", "invalid multibulk length"), ("*1\r\n$1048577\r\n", "a request is longer than 1 MiB")] {
        let socket = world.connect();
        world.ask(&socket, &format!("PING\r\n{wrong}"), &format!("+PONG\r\n-ERR Protocol error: {why}\r\n"));
        assert_eq!(read(&socket, &mut Vec::new()), Some(0));
        assert!(matches!(socket.write(b"PING\r\n"), Poll::Ready(Ok(6))), "what follows is not read as a request");
        world.sim.settle();
        assert_eq!(read(&socket, &mut Vec::new()), Some(0));
    }
    world.end();
}
