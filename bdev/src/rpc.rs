//! The methods that tell of devices, and how errors go over the wire.

extern crate std;

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use rpc::linkme::distributed_slice;
use rpc::{Error, LCORE_RPC_METHODS, Method, Phases};
use serde::{Deserialize, Serialize};

use crate::{Bdev, BdevError, Bdevs, Figures, IoStats, Kind};

/// Ticks of a second: times are nanoseconds.
const TICK_RATE: u64 = 1_000_000_000;

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

#[distributed_slice(LCORE_RPC_METHODS)]
#[linkme(crate = rpc::linkme)]
static GET_BDEVS: Method = Method::new("bdev_get_bdevs", "The block devices, or one of them", |_, call| {
    let bdevs = call.control().service::<Bdevs>();
    call.answer(|which: Option<Which>| {
        let found = which.unwrap_or_default().of(&*bdevs?)?;
        Ok(found.iter().map(Told::of).collect::<Vec<_>>())
    });
})
.phases(PHASES);

#[distributed_slice(LCORE_RPC_METHODS)]
#[linkme(crate = rpc::linkme)]
static GET_IOSTAT: Method = Method::new("bdev_get_iostat", "What block devices have done, or one of them", |cx, call| {
    let (bdevs, now) = (call.control().service::<Bdevs>(), cx.now().as_nanos());
    call.answer(|which: Option<WhichStats>| {
        let WhichStats { name, per_channel } = which.unwrap_or_default();
        if per_channel && name.is_none() {
            return Err(Error::params("Invalid parameters: per_channel: it takes a name too"));
        }
        let found = Which { name, timeout: None }.of(&*bdevs?)?;
        let bdevs = if per_channel { found.iter().flat_map(Stat::per_channel).collect() } else { found.iter().map(Stat::of).collect() };
        Ok(Stats { tick_rate: TICK_RATE, ticks: now, bdevs })
    });
})
.phases(PHASES);

/// One of the devices, or all.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    name: Option<String>,
    /// How long to wait for it, in milliseconds.
    timeout: Option<u64>,
}

impl Which {
    fn of(&self, bdevs: &Bdevs) -> Result<Vec<Bdev>, Error> {
        match (&self.name, self.timeout) {
            (None, Some(_)) => Err(Error::params("Invalid parameters: timeout: it takes a name too")),
            (None, None) => Ok(bdevs.list()),
            (Some(name), _) => Ok(std::vec![bdevs.get(name)?]),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichStats {
    name: Option<String>,
    #[serde(default)]
    per_channel: bool,
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
    zoned: bool,
    supported_io_types: BTreeMap<&'static str, bool>,
    driver_specific: BTreeMap<&'static str, String>,
}

#[derive(Default, Serialize)]
struct RateLimits {
    rw_ios_per_sec: u64,
    rw_mbytes_per_sec: u64,
    r_mbytes_per_sec: u64,
    w_mbytes_per_sec: u64,
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
            assigned_rate_limits: RateLimits::default(),
            claimed: bdev.claim().is_some(),
            zoned: false,
            supported_io_types: IO_TYPES.into_iter().map(has).collect(),
            driver_specific: BTreeMap::new(),
        }
    }
}

#[derive(Serialize)]
struct Stats {
    tick_rate: u64,
    ticks: u64,
    bdevs: Vec<Stat>,
}

/// What a device, or a channel of it, has done.
#[derive(Serialize)]
struct Stat {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<u64>,
    bytes_read: u64,
    num_read_ops: u64,
    bytes_written: u64,
    num_write_ops: u64,
    bytes_unmapped: u64,
    num_unmap_ops: u64,
    bytes_copied: u64,
    num_copy_ops: u64,
    read_latency_ticks: u64,
    max_read_latency_ticks: u64,
    min_read_latency_ticks: u64,
    write_latency_ticks: u64,
    max_write_latency_ticks: u64,
    min_write_latency_ticks: u64,
    unmap_latency_ticks: u64,
    max_unmap_latency_ticks: u64,
    min_unmap_latency_ticks: u64,
    copy_latency_ticks: u64,
    max_copy_latency_ticks: u64,
    min_copy_latency_ticks: u64,
    io_error: BTreeMap<String, u64>,
}

impl Stat {
    fn of(bdev: &Bdev) -> Self {
        Self::new(bdev.name(), None, bdev.stats())
    }

    fn per_channel(bdev: &Bdev) -> Vec<Self> {
        let channels = bdev.channel_stats();
        channels.into_iter().map(|(thread, _, stats)| Self::new(bdev.name(), Some(thread.id().number()), stats)).collect()
    }

    fn new(name: &str, thread_id: Option<u64>, stats: IoStats) -> Self {
        let IoStats { read, write, unmap, errors } = stats;
        let copy = Figures::default();
        Self {
            name: name.to_string(),
            thread_id,
            bytes_read: read.bytes,
            num_read_ops: read.ops,
            bytes_written: write.bytes,
            num_write_ops: write.ops,
            bytes_unmapped: unmap.bytes,
            num_unmap_ops: unmap.ops,
            bytes_copied: copy.bytes,
            num_copy_ops: copy.ops,
            read_latency_ticks: read.nanos,
            max_read_latency_ticks: read.max_nanos,
            min_read_latency_ticks: read.min_nanos,
            write_latency_ticks: write.nanos,
            max_write_latency_ticks: write.max_nanos,
            min_write_latency_ticks: write.min_nanos,
            unmap_latency_ticks: unmap.nanos,
            max_unmap_latency_ticks: unmap.max_nanos,
            min_unmap_latency_ticks: unmap.min_nanos,
            copy_latency_ticks: copy.nanos,
            max_copy_latency_ticks: copy.max_nanos,
            min_copy_latency_ticks: copy.min_nanos,
            io_error: (errors > 0).then(|| ("failed".to_string(), errors)).into_iter().collect(),
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
