//! How long RPC holds a reactor in one go, by the processor's time and not by the clock on the
//! wall: what the kernel does meanwhile with the core is none of it.
//!
//! The reactor's own clock is its thread's processor time, so its histograms have that. One client
//! asks for the long answers, beside threads of 256 pollers each:
//!
//! ```sh
//! cargo run --release -p lcore --features rpc --example rpc_cpu
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lcore::sim::SimPlatform;
use lcore::{
    App, AppOptions, CoreId, CpuSet, Cx, Histogram, Instant, Platform, PlatformError, Polled, Reactor, ReactorOptions, Reactors, Schedule,
    ThreadConfig, WaitSource,
};
use rustix::time::{ClockId, clock_gettime};

/// Those that answer with the most.
const METHODS: [&str; 8] = [
    "rpc_get_methods",
    "framework_get_reactors",
    "thread_get_stats",
    "thread_get_pollers",
    "thread_get_io_channels",
    "lcore_get_histograms",
    "lcore_get_stats",
    "lcore_get_poll_groups",
];
const THREADS: usize = 20;
const POLLERS: usize = 256;
const CALLS: usize = 100;

/// A machine whose clock stands while somebody else has the core.
struct Cpu(Arc<SimPlatform>);

impl Platform for Cpu {
    fn now(&self) -> Instant {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Instant::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    fn cores(&self) -> CpuSet {
        self.0.cores()
    }

    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError> {
        self.0.start(core, entry)
    }

    fn join(&self, core: CoreId) -> Result<(), PlatformError> {
        self.0.join(core)
    }

    fn adopt(&self, core: CoreId) -> Result<(), PlatformError> {
        self.0.adopt(core)
    }

    fn release(&self, core: CoreId) {
        self.0.release(core);
    }

    fn park(&self, _: CoreId, _: Option<Instant>) {}

    fn unpark(&self, core: CoreId) {
        self.0.unpark(core);
    }

    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError> {
        self.0.watch(core, source)
    }

    fn unwatch(&self, core: CoreId, source: WaitSource) {
        self.0.unwatch(core, source);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    println!("| method | answer | the server's polls, us: count, p99, longest | messages, us: count, p99, longest |");
    println!("|---|--:|--:|--:|");
    for method in METHODS {
        println!("{}", measure(method, &dir.path().join(method))?);
    }
    Ok(())
}

/// What a method takes, as a row of the table.
fn measure(method: &'static str, path: &Path) -> Result<String, Box<dyn Error>> {
    let platform = Arc::new(Cpu(SimPlatform::new(1)));
    let set = Reactors::new(platform.clone(), &ReactorOptions::new(platform.cores()))?;
    let mut reactor = set.reactor(CoreId(0)).ok_or("there is one core")?;
    let mut options = AppOptions::default();
    options.rpc.at = Some(path.display().to_string().parse()?);
    let app = App::new("rpc_cpu").options(options).start_on(set.lib(), |_, _| Ok(()))?;
    for n in 0..THREADS {
        let thread = set.lib().spawn(ThreadConfig::new(&format!("thread_{n}")), |_| {})?;
        // One at a time, so that the longest message is none of these.
        for n in 0..POLLERS {
            let add = move |cx: &mut Cx<'_>| {
                let name = format!("poller_{n}");
                cx.poller(&name, Schedule::Every(Duration::from_secs(3600)), |_: &mut Cx<'_>| Polled::Idle);
            };
            thread.send(add).map_err(|_| "a mailbox is full")?;
            let _ = reactor.turn();
        }
    }
    (0..1_000).for_each(|_| _ = reactor.turn());
    let before = told(&mut reactor, &app);
    let path = path.to_owned();
    let client = thread::spawn(move || ask(method, &path));
    while !client.is_finished() {
        let _ = reactor.turn();
    }
    let bytes = client.join().map_err(|_| "the client has panicked")??;
    let after = told(&mut reactor, &app);
    app.stop(0);
    let figures = |of: usize| {
        let (before, after) = (&before[of], &after[of]);
        // The start is in both, so that the longest is known as the end of its bucket.
        let grown = after.buckets().zip(before.buckets()).filter(|(after, before)| after.count > before.count);
        let [p99, max] = [after.quantile_ns(0.99), grown.last().map_or(0, |(last, _)| last.up_to_ns)].map(|ns| ns as f64 / 1e3);
        format!("{} {p99:.1} {max:.1}", after.count() - before.count())
    };
    Ok(format!("| `{method}` | {bytes} | {} | {} |", figures(0), figures(1)))
}

/// Busy runs of pollers and messages, of all threads.
fn told(reactor: &mut Reactor, app: &lcore::AppHandle) -> [Histogram; 2] {
    let all = Arc::new(Mutex::new([Histogram::default(), Histogram::default()]));
    for thread in app.lib().threads() {
        let all = all.clone();
        let _ = thread.send(move |cx: &mut Cx<'_>| {
            let (of_thread, mut all) = (cx.histograms(), all.lock().expect("nobody panics"));
            all[0].merge(&of_thread.pollers);
            all[1].merge(&of_thread.messages);
        });
    }
    (0..100).for_each(|_| _ = reactor.turn());
    all.lock().expect("nobody panics").clone()
}

/// Calls a method again and again, as soon as its answer is there. Tells how long one is.
fn ask(method: &str, path: &Path) -> std::io::Result<usize> {
    let mut stream = UnixStream::connect(path)?;
    let call = format!("{{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"{method}\"}}");
    let (mut piece, mut last) = ([0; 65_536], 0);
    for _ in 0..CALLS {
        stream.write_all(call.as_bytes())?;
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            match stream.read(&mut piece)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                bytes => answer.extend_from_slice(&piece[..bytes]),
            }
        }
        last = answer.len();
    }
    Ok(last)
}

/// Whether it may be: only what ends in a brace is looked at.
fn is_whole(answer: &[u8]) -> bool {
    answer.trim_ascii_end().ends_with(b"}") && serde_json::from_slice::<serde::de::IgnoredAny>(answer).is_ok()
}
