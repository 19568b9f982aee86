//! The methods that tell of reactors.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use core_reactor::{CoreId, CpuSet, Cx, PlatformError, ReactorStats};
use rpc::{Call, Error, List, Method, NoParams, Reply, Text};
use serde::Serialize;

use super::visits::{Going, Visits};
use super::{TICK_RATE, mask, threads};
use crate::spawn_off_reactor;

/// What the system says of the cores that have reactors: at the start, and whenever it is asked.
pub(crate) struct Seats {
    at_start: Vec<Seat>,
    stat: StatReader,
}

#[derive(Clone, Copy)]
struct Seat {
    core: CoreId,
    /// -1 if the system does not tell.
    numa_id: i32,
    jiffies: Jiffies,
}

/// Time of a core, of all that ran on it, in the kernel's ticks.
#[derive(Clone, Copy, Default, Serialize)]
struct Jiffies {
    irq: u64,
    sys: u64,
    usr: u64,
}

impl Seats {
    /// # Errors
    /// The system has no thread to give, on which it is asked later.
    pub(crate) fn look(cores: &CpuSet) -> Result<Self, PlatformError> {
        let now = stat();
        let seat = |core| Seat { core, numa_id: numa_id(core), jiffies: Jiffies::of(core, &now) };
        Ok(Self { at_start: cores.iter().map(seat).collect(), stat: StatReader::start(stat)? })
    }

    fn of(&self, core: CoreId) -> Seat {
        let unknown = Seat { core, numa_id: -1, jiffies: Jiffies::default() };
        self.at_start.iter().find(|seat| seat.core == core).copied().unwrap_or(unknown)
    }
}

/// The kernel's figures for all cores. Reading them takes the longer the more cores there are.
fn stat() -> String {
    // Where the system does not tell, nothing is known of them.
    fs::read_to_string("/proc/stat").unwrap_or_default()
}

/// Reads the kernel's figures on a thread of its own, which ends when this is dropped. No reactor
/// waits for it, nor starts it for a call.
struct StatReader(mpsc::Sender<WhenRead>);

type WhenRead = Box<dyn FnOnce(&str) + Send>;

impl StatReader {
    fn start(read: impl Fn() -> String + Send + 'static) -> Result<Self, PlatformError> {
        let (ask, asked) = mpsc::channel::<WhenRead>();
        spawn_off_reactor("rpc_proc_stat", move || {
            while let Ok(first) = asked.recv() {
                // All that wait by now are told from one reading, so that no number of clients
                // has it read more often than it can be.
                let waiting: Vec<_> = asked.try_iter().collect();
                let now = read();
                [first].into_iter().chain(waiting).for_each(|tell| tell(&now));
            }
        })?;
        Ok(Self(ask))
    }

    /// Has `tell` hear what the kernel says, on that thread.
    fn ask(&self, tell: impl FnOnce(&str) + Send + 'static) {
        // The thread hears as long as this is there, unless an answer has made it panic: then the
        // call is answered with an error, as all are that are dropped.
        let _ = self.0.send(Box::new(tell));
    }
}

fn numa_id(core: CoreId) -> i32 {
    let folder = format!("/sys/devices/system/cpu/cpu{}", core.0);
    let names = fs::read_dir(Path::new(&folder)).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let node = |name: std::ffi::OsString| name.to_str()?.strip_prefix("node")?.parse().ok();
    names.filter_map(node).next().unwrap_or(-1)
}

impl Jiffies {
    /// The line of a core (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, ...
    fn of(core: CoreId, stat: &str) -> Self {
        let name = format!("cpu{}", core.0);
        let mut lines = stat.lines().map(str::split_ascii_whitespace);
        let Some(line) = lines.find_map(|mut words| (words.next() == Some(&name)).then_some(words)) else { return Self::default() };
        let times: Vec<u64> = line.map_while(|word| word.parse().ok()).collect();
        let time = |at: usize| times.get(at).copied().unwrap_or(0);
        Self { irq: time(5) + time(6), sys: time(2), usr: time(0) + time(1) }
    }

    fn since(self, then: Self) -> Self {
        Self { irq: self.irq.saturating_sub(then.irq), sys: self.sys.saturating_sub(then.sys), usr: self.usr.saturating_sub(then.usr) }
    }
}

rpc::register!(Method::new("framework_get_reactors", "How busy each reactor is, and which threads are on it", get_reactors));

/// The threads of each core.
#[derive(Default)]
struct OnCores(BTreeMap<CoreId, List>, Option<Error>);

/// A thread. `spdk_top` takes no key more.
#[derive(Serialize)]
struct LwThread {
    name: String,
    id: u64,
    cpumask: String,
    elapsed: u64,
}

/// A reactor, but for its threads. `spdk_top` takes no key more.
#[derive(Serialize)]
struct OneReactor {
    lcore: u16,
    numa_id: i32,
    tid: i32,
    busy: u64,
    idle: u64,
    in_interrupt: bool,
    irq: u64,
    sys: u64,
    usr: u64,
}

/// Asks the threads, then the reactors, then the system, and answers.
fn get_reactors(cx: &mut Cx<'_>, call: Call) {
    let (control, seats) = (call.control().clone(), call.control().service::<Seats>());
    let Some((NoParams, reply)) = call.open() else { return };
    let seats = match seats {
        Ok(seats) => seats,
        Err(why) => return reply.send::<()>(Err(why)),
    };
    let tell = |cx: &Cx<'_>, on: &mut OnCores| {
        let thread = cx.info();
        let cpumask = mask::to_hex(&thread.cpus.and(&cx.lib().reactors()));
        let elapsed = cx.clock().nanos_since(thread.since);
        let told = LwThread { name: thread.name.as_str().to_owned(), id: thread.id.number(), cpumask, elapsed };
        if let Err(why) = on.0.entry(thread.core).or_default().push(&told) {
            on.1 = Some(why);
        }
    };
    Visits::enter(&control, cx, move |cx, going| {
        threads::gather(cx, tell, move |cx, on: OnCores| ask_cores(cx, reply, seats, on, going));
    });
}

fn ask_cores(cx: &mut Cx<'_>, reply: Reply, seats: Arc<Seats>, on: OnCores, going: Going) {
    let told = Arc::new(Mutex::new(Vec::<(ReactorStats, i32)>::new()));
    let all = told.clone();
    cx.for_each_core(
        move |reactor| {
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            told.lock().unwrap_or_else(PoisonError::into_inner).push((reactor.stats(), tid));
        },
        move |cx| {
            let stats = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
            let asked = seats.clone();
            asked.stat.ask(move |now| reply.send_text(text(&seats, &stats, on, now)));
            going.end(cx);
        },
    );
}

fn text(seats: &Seats, stats: &[(ReactorStats, i32)], on: OnCores, now: &str) -> Result<Text, Error> {
    let OnCores(mut on, failed) = on;
    failed.map_or(Ok(()), Err)?;
    let mut text = Text::default();
    text.push_str(&format!("{{\"tick_rate\":{TICK_RATE},\"pid\":{},\"reactors\":[", std::process::id()));
    for (at, (stats, tid)) in stats.iter().enumerate() {
        let seat = seats.of(stats.core);
        let Jiffies { irq, sys, usr } = Jiffies::of(stats.core, now).since(seat.jiffies);
        // Asleep it has nothing to do; watchers take busy and idle together for all time.
        let idle = stats.idle_ns + stats.parked_ns;
        let reactor = OneReactor {
            lcore: stats.core.0,
            numa_id: seat.numa_id,
            tid: *tid,
            busy: stats.busy_ns,
            idle,
            in_interrupt: false,
            irq,
            sys,
            usr,
        };
        text.push_str(if at > 0 { ",{\"lw_threads\":" } else { "{\"lw_threads\":" });
        text.append(on.remove(&stats.core).unwrap_or_default().finish());
        // The fields of both in one object.
        let fields = serde_json::to_string(&reactor).map_err(|why| Error::internal(why.to_string()))?;
        text.push_str(",");
        text.push_str(&fields[1..]);
    }
    text.push_str("]}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_cores_times_are_found_in_its_line() {
        let stat = "cpu  9 9 9 9 9 9 9\ncpu1 10 1 20 30 40 5 6 0 0 0\ncpu11 1 2 3 4 5 6 7\nintr 1 2\n";
        let times = |core, stat: &str| {
            let Jiffies { irq, sys, usr } = Jiffies::of(CoreId(core), stat);
            (irq, sys, usr)
        };
        assert_eq!(times(1, stat), (11, 20, 11));
        assert_eq!(times(11, stat), (13, 3, 3));
        assert_eq!(times(2, stat), (0, 0, 0));
        assert_eq!(times(1, ""), (0, 0, 0));
        assert!(Jiffies::of(CoreId(0), &self::stat()).usr > 0, "this machine has a core 0 that has done something");
    }

    /// However many clients ask: while one reading goes on the others gather, and share the next.
    #[test]
    fn s213_one_reading_serves_all_that_wait() {
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let reader = StatReader::start(move || {
            begun.send(thread::current().id()).unwrap();
            may_go.recv().unwrap();
            "read".to_owned()
        })
        .unwrap();
        let (tell, told) = mpsc::channel();
        let ask = |count| {
            for _ in 0..count {
                let tell = tell.clone();
                reader.ask(move |now| tell.send((now.to_owned(), thread::current().id())).unwrap());
            }
        };
        ask(1);
        let reading = has_begun.recv().unwrap();
        ask(2_000);
        go.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), ("read".to_owned(), reading));
        assert_eq!(has_begun.recv().unwrap(), reading, "the thread stays");
        assert!(told.try_recv().is_err(), "the others are not told what was read before they asked");
        go.send(()).unwrap();
        (0..2_000).for_each(|_| drop(told.recv().unwrap()));
        drop(reader);
        assert!(has_begun.recv().is_err(), "it has ended, and nothing was read for nobody");
    }
}
