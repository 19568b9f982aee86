//! The methods that are about any device, and how errors go over the wire.

extern crate std;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::format;
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

use core_reactor::{Cx, Instant, Polled, Schedule};
use rpc::{Control, Error, Method, Phases, Reply};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spin::Mutex;

use crate::{Bdev, BdevError, Bdevs, Kind};

mod config;
mod limits;
mod stats;

use limits::RateLimits;

impl From<BdevError> for Error {
    /// With the errno that SPDK's clients know.
    fn from(why: BdevError) -> Self {
        let errno = match &why {
            BdevError::NotFound(_) | BdevError::Removed => 19,
            BdevError::NameTaken(_) => 17,
            BdevError::NoMemory(_) => 12,
            BdevError::Claimed(_) | BdevError::OpenForWriting(_) => 1,
            BdevError::Unsupported(_) => 95,
            BdevError::Invalid { .. } => 22,
            _ => 5,
        };
        Self::new(-errno, why.to_string())
    }
}

rpc::register!(
    Method::new("bdev_get_bdevs", "The block devices, or one of them", |cx, call| {
        let control = call.control().clone();
        let bdevs = control.service::<Bdevs>();
        let Some((which, reply)) = call.open::<Option<Which>>() else { return };
        match bdevs.and_then(|bdevs| which.unwrap_or_default().told_or_awaited(&bdevs)) {
            Ok(Found::Told(told)) => reply.send(Ok(told)),
            Ok(Found::Awaited(name, timeout, bdevs)) => {
                let until = cx.now() + timeout;
                Waiting::add(&control, cx, Awaited { bdevs, name, until, reply });
            }
            Err(why) => reply.send::<()>(Err(why)),
        }
    })
    .phases(PHASES)
);

/// One of the devices, or all.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    name: Option<String>,
    /// How long to wait for it, in milliseconds.
    timeout: Option<u64>,
}

enum Found {
    Told(Vec<Told>),
    /// A device of this name may come in this time.
    Awaited(String, Duration, Bdevs),
}

/// How often those that are awaited are looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How many are looked for each time, one after the other.
const LOOKS: usize = 256;
/// How many calls wait at most: twice what all clients that are connected may ask for at a time.
/// Those of clients that have gone wait until they are looked for.
const WAITING: usize = 4096;
/// The longest time to wait, in milliseconds: an hour.
const LONGEST: u64 = 3_600_000;

impl Which {
    fn told_or_awaited(self, bdevs: &Bdevs) -> Result<Found, Error> {
        let timeout = self.timeout.unwrap_or(0);
        match self.name {
            None if self.timeout.is_some() => Err(Error::params("Invalid parameters: timeout: it takes a name too")),
            _ if timeout > LONGEST => Err(Error::params(format!("Invalid parameters: timeout: {LONGEST} is the longest"))),
            None => Ok(Found::Told(bdevs.list().iter().map(Told::of).collect())),
            Some(name) if timeout > 0 && bdevs.get(&name).is_err() => {
                Ok(Found::Awaited(name, Duration::from_millis(timeout), bdevs.clone()))
            }
            Some(name) => Ok(Found::Told(std::vec![Told::of(&bdevs.get(&name)?)])),
        }
    }
}

/// A call that waits for a device.
struct Awaited {
    bdevs: Bdevs,
    name: String,
    until: Instant,
    reply: Reply,
}

/// The calls that wait for devices. One poller looks for all of them, as long as there are any.
#[derive(Default)]
struct Waiting(Mutex<VecDeque<Awaited>>);

impl Waiting {
    fn add(control: &Control, cx: &mut Cx<'_>, awaited: Awaited) {
        let waiting = control.service::<Self>().unwrap_or_else(|_| {
            let first = Arc::<Self>::default();
            control.provide(first.clone());
            first
        });
        let mut calls = waiting.0.lock();
        if calls.len() == WAITING {
            drop(calls);
            awaited.reply.send::<()>(Err(Error::internal("too many wait for devices already")));
            return;
        }
        calls.push_back(awaited);
        let is_first = calls.len() == 1;
        drop(calls);
        if is_first {
            cx.poller("bdev_get_bdevs", Schedule::Every(LOOK), move |cx: &mut Cx<'_>| waiting.look(cx));
        }
    }

    fn look(&self, cx: &Cx<'_>) -> Polled {
        let mut due = Vec::new();
        let mut calls = self.0.lock();
        let looks = if cx.is_exiting() { WAITING } else { LOOKS };
        for _ in 0..looks.min(calls.len()) {
            let Some(call) = calls.pop_front() else { break };
            let found = call.bdevs.get(&call.name);
            if found.is_err() && cx.now() < call.until && !cx.is_exiting() && call.reply.is_wanted() {
                calls.push_back(call);
            } else {
                due.push((call.reply, found));
            }
        }
        // Whoever comes from here on begins another poller.
        let is_last = calls.is_empty();
        drop(calls);
        for (reply, found) in due {
            reply.send(found.map(|bdev| std::vec![Told::of(&bdev)]).map_err(Error::from));
        }
        if is_last { Polled::Done } else { Polled::Idle }
    }
}

/// A device.
#[derive(Serialize)]
struct Told {
    name: String,
    aliases: Vec<String>,
    product_name: &'static str,
    block_size: u32,
    num_blocks: u64,
    preferred_write_alignment: u32,
    preferred_write_granularity: u32,
    optimal_write_size: u32,
    preferred_unmap_alignment: u32,
    preferred_unmap_granularity: u32,
    uuid: String,
    numa_id: i32,
    assigned_rate_limits: RateLimits,
    claimed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim_type: Option<&'static str>,
    zoned: bool,
    supported_io_types: BTreeMap<&'static str, bool>,
    driver_specific: Value,
}

/// What SPDK knows of, in its order; no device here has what has no kind.
const IO_TYPES: [(&str, Option<Kind>); 22] = [
    ("read", Some(Kind::Read)),
    ("write", Some(Kind::Write)),
    ("unmap", Some(Kind::Unmap)),
    ("flush", Some(Kind::Flush)),
    ("reset", Some(Kind::Reset)),
    ("nvme_admin", None),
    ("nvme_io", None),
    ("nvme_io_md", None),
    ("write_zeroes", Some(Kind::WriteZeroes)),
    ("zcopy", None),
    ("get_zone_info", None),
    ("zone_management", None),
    ("zone_append", None),
    ("compare", Some(Kind::Compare)),
    ("compare_and_write", Some(Kind::CompareAndWrite)),
    ("abort", None),
    ("seek_hole", None),
    ("seek_data", None),
    ("copy", None),
    ("nvme_iov_md", None),
    ("nvme_nssr", None),
    ("write_uncorrectable", None),
];

impl Told {
    fn of(bdev: &Bdev) -> Self {
        let shape = bdev.shape();
        let has = |(name, kind): (&'static str, Option<Kind>)| {
            // Requests can be aborted on every device.
            (name, name == "abort" || kind.is_some_and(|kind| kind == Kind::Reset || shape.kinds.contains(kind)))
        };
        let uuid = bdev.uuid().to_string();
        Self {
            name: bdev.name().to_string(),
            aliases: bdev.aliases().iter().cloned().chain([uuid.clone()]).collect(),
            product_name: shape.product,
            block_size: shape.block_size,
            num_blocks: bdev.blocks(),
            preferred_write_alignment: 0,
            preferred_write_granularity: 0,
            optimal_write_size: 0,
            preferred_unmap_alignment: 0,
            preferred_unmap_granularity: 0,
            uuid,
            numa_id: -1,
            assigned_rate_limits: RateLimits::of(bdev.limits()),
            claimed: bdev.claim().is_some(),
            claim_type: bdev.claim().map(|_| "exclusive_write"),
            zoned: false,
            supported_io_types: IO_TYPES.into_iter().map(has).collect(),
            driver_specific: bdev.0.device.told(),
        }
    }
}

/// Methods of devices can be called before the application starts, so that it finds what its file
/// makes.
pub const PHASES: Phases = Phases::Any;

/// A name alone: whose device is to go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The device's name.
    pub name: String,
}

/// Removes the device of this name, which is one of this kind.
///
/// # Errors
/// There is none, or it is of another kind.
pub fn delete(bdevs: &Bdevs, named: &Named, product: &str) -> Result<bool, Error> {
    let bdev = bdevs.get(&named.name)?;
    if bdev.shape().product != product {
        return Err(Error::new(-19, format!("{:?} is no {product}: it is a {}", named.name, bdev.shape().product)));
    }
    bdevs.remove(&named.name)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use core_reactor::sim::Sim;
    use core_reactor::{ThreadConfig, ThreadHandle};
    use rpc::{LCORE_RPC_METHODS, Params};

    use super::*;

    /// Calls it on a thread of its own, and tells the codes of the answers, as they come.
    fn ask(sim: &Sim, control: &Arc<Control>, params: &'static str, times: usize) -> (ThreadHandle, Arc<Mutex<Vec<i32>>>) {
        let (codes, control) = (Arc::<Mutex<Vec<i32>>>::default(), control.clone());
        let told = codes.clone();
        let start = move |cx: &mut Cx<'_>| {
            let method = LCORE_RPC_METHODS.iter().find(|it| it.name == "bdev_get_bdevs").expect("it is linked");
            for _ in 0..times {
                let told = told.clone();
                let hear = move |answer: Result<_, Error>| told.lock().push(answer.map_or_else(|why| why.code(), |_| 0));
                control.call(cx, method, Some(Params::new(params)), hear);
            }
        };
        (sim.lib().spawn(ThreadConfig::new("asks"), start).expect("a thread"), codes)
    }

    fn pollers(sim: &mut Sim, of: &ThreadHandle) -> usize {
        let count = Arc::new(Mutex::new(usize::MAX));
        let told = count.clone();
        assert!(of.send(move |cx: &mut Cx<'_>| *told.lock() = cx.poller_stats().count()).is_ok());
        sim.turn();
        *count.lock()
    }

    #[test]
    fn s350_so_many_wait_for_a_device_and_no_more() {
        const CALLS: usize = 5000;
        let (mut sim, control) = (Sim::new(1), Control::new(true).expect("names are unique"));
        control.provide(Arc::new(Bdevs::new(1)));
        let (thread, codes) = ask(&sim, &control, r#"{"name": "none", "timeout": 1000}"#, CALLS);
        sim.run_for(Duration::from_millis(990));
        assert_eq!(*codes.lock(), std::vec![Error::INTERNAL; CALLS - WAITING]);
        assert_eq!(pollers(&mut sim, &thread), 1);
        sim.run_for(Duration::from_millis(200));
        assert_eq!(codes.lock().split_off(CALLS - WAITING), [-19; WAITING]);
        assert_eq!(pollers(&mut sim, &thread), 0);
        // And again.
        let (_thread, codes) = ask(&sim, &control, r#"{"name": "none", "timeout": 10}"#, 1);
        sim.run_for(Duration::from_millis(20));
        assert_eq!(*codes.lock(), [-19]);
    }

    #[test]
    fn s350_nobody_waits_for_longer_than_an_hour() {
        let (mut sim, control) = (Sim::new(1), Control::new(true).expect("names are unique"));
        control.provide(Arc::new(Bdevs::new(1)));
        let (_first, longer) = ask(&sim, &control, r#"{"name": "none", "timeout": 3600001}"#, 1);
        let (_second, hour) = ask(&sim, &control, r#"{"name": "none", "timeout": 3600000}"#, 1);
        sim.settle();
        assert_eq!((&**longer.lock(), &**hour.lock()), (&[Error::PARAMS][..], &[][..]));
    }

    #[test]
    fn s476_nobody_looks_for_the_device_of_a_client_that_has_gone() {
        let (mut sim, control) = (Sim::new(1), Control::new(true).expect("names are unique"));
        control.provide(Arc::new(Bdevs::new(1)));
        let dir = tempfile::tempdir().expect("a folder");
        let (path, given) = (dir.path().join("s"), control.clone());
        let at = rpc::Address::Unix(path.clone());
        let serve = move |cx: &mut Cx<'_>| drop(rpc::serve(cx, &at, given).expect("it listens"));
        let thread = sim.lib().spawn(ThreadConfig::new("rpc"), serve).expect("a thread");
        sim.settle();
        let ask = |calls: usize| {
            let mut client = UnixStream::connect(&path).expect("it listens");
            let call = br#"{"id":1,"method":"bdev_get_bdevs","params":{"name":"none","timeout":3600000}}"#;
            client.write_all(&call.repeat(calls)).expect("there is room");
            client
        };
        let (goes, stays) = (ask(3), ask(1));
        sim.run_for(Duration::from_millis(20));
        let waiting = control.service::<Waiting>().expect("some wait");
        assert_eq!((waiting.0.lock().len(), pollers(&mut sim, &thread)), (4, 2));
        drop(goes);
        sim.run_for(Duration::from_millis(20));
        assert_eq!((waiting.0.lock().len(), pollers(&mut sim, &thread)), (1, 2));
        drop(stays);
        sim.run_for(Duration::from_millis(20));
        assert_eq!((waiting.0.lock().len(), pollers(&mut sim, &thread)), (0, 1));
    }
}
