//! nvme-perf against a small target in this process: the two state machines of nvme's own tests on
//! real sockets.

#![allow(dead_code, reason = "each test uses a part")]

#[path = "../../../nvme/tests/common/mod.rs"]
pub(crate) mod pair;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use nvme::target::Role;
use pair::{SUBNQN, Target, World};

/// A target that serves connections, each on a thread, until the test ends.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) at: SocketAddr,
    pub(crate) world: Arc<Mutex<World>>,
    /// Bytes that come in on all connections.
    pub(crate) received: Arc<AtomicUsize>,
    /// Keep Alives that came, each in a piece of its own.
    pub(crate) keep_alives: Arc<AtomicUsize>,
    /// From this connection on nothing is answered any more; the admin queue's is number 0.
    pub(crate) mute_from: Arc<AtomicU64>,
    /// All connections are cut, and no new one is taken.
    pub(crate) gone: Arc<AtomicBool>,
}

pub(crate) fn serve(role: Role) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let world = Arc::new(Mutex::new(World::new(role)));
    let served = Served {
        at,
        world,
        received: Arc::default(),
        keep_alives: Arc::default(),
        mute_from: Arc::new(AtomicU64::new(u64::MAX)),
        gone: Arc::default(),
    };
    let to_all = served.clone();
    thread::spawn(move || {
        for (seed, stream) in (0..).zip(listener.incoming()) {
            if to_all.gone.load(Ordering::SeqCst) {
                return;
            }
            let served = to_all.clone();
            thread::spawn(move || connection(seed, stream.unwrap(), &served));
        }
    });
    served
}

/// One connection, from its first byte to its end.
fn connection(seed: u64, mut stream: TcpStream, served: &Served) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut target, mut rng, mut bytes) = (Target::new(), Rng::with_seed(seed), vec![0; 64 << 10]);
    while !served.gone.load(Ordering::SeqCst) {
        let length = match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(length) => length,
            Err(why) if matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        served.received.fetch_add(length, Ordering::SeqCst);
        if length == 72 && bytes[8] == nvme::command::admin::KEEP_ALIVE {
            served.keep_alives.fetch_add(1, Ordering::SeqCst);
        }
        if seed >= served.mute_from.load(Ordering::SeqCst) {
            continue;
        }
        let mut world = served.world.lock().unwrap();
        if target.feed(&bytes[..length]).is_err() {
            return;
        }
        while target.work(&mut world, &mut rng) {}
        drop(world);
        let out = std::mem::take(&mut target.out);
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

impl Served {
    /// What comes after -r.
    pub(crate) fn name(&self) -> String {
        format!("trtype:TCP adrfam:IPv4 traddr:{} trsvcid:{} subnqn:{SUBNQN}", self.at.ip(), self.at.port())
    }

    /// nvme-perf against it.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut words = args.split_whitespace().peekable();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nvme-perf"));
        if let Some(subcommand) = words.next_if(|word| !word.starts_with('-')) {
            command.arg(subcommand);
        }
        command.args(["-r", &self.name()]).args(words);
        command
    }

    pub(crate) fn run(&self, args: &str) -> Ended {
        Ended::of(self.command(args))
    }
}

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Standard output of a run that went well.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The JSON object of a run that ended with `code`.
    #[track_caller]
    pub(crate) fn json(&self, code: i32) -> serde_json::Value {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("{why}: {}", self.stdout))
    }
}
