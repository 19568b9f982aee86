//! The methods that are about any device, and how errors go over the wire.

extern crate std;

use core::time::Duration;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use core_reactor::{Cx, Polled, Schedule};
use rpc::{Error, Method, Phases, Reply};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
        let bdevs = call.control().service::<Bdevs>();
        let Some((which, reply)) = call.open::<Option<Which>>() else { return };
        match bdevs.and_then(|bdevs| which.unwrap_or_default().told_or_awaited(&bdevs)) {
            Ok(Found::Told(told)) => reply.send(Ok(told)),
            Ok(Found::Awaited(awaited)) => awaited.wait(cx, reply),
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
    Awaited(Awaited),
}

/// A device that may come.
struct Awaited {
    bdevs: Bdevs,
    name: String,
    timeout: Duration,
}

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(5);

impl Which {
    fn told_or_awaited(self, bdevs: &Bdevs) -> Result<Found, Error> {
        let timeout = self.timeout.unwrap_or(0);
        match self.name {
            None if self.timeout.is_some() => Err(Error::params("Invalid parameters: timeout: it takes a name too")),
            None => Ok(Found::Told(bdevs.list().iter().map(Told::of).collect())),
            Some(name) if timeout > 0 && bdevs.get(&name).is_err() => {
                Ok(Found::Awaited(Awaited { bdevs: bdevs.clone(), name, timeout: Duration::from_millis(timeout) }))
            }
            Some(name) => Ok(Found::Told(std::vec![Told::of(&bdevs.get(&name)?)])),
        }
    }
}

impl Awaited {
    fn wait(self, cx: &mut Cx<'_>, reply: Reply) {
        let until = cx.now() + self.timeout;
        let mut reply = Some(reply);
        cx.poller("bdev_get_bdevs", Schedule::Every(LOOK), move |cx: &mut Cx<'_>| {
            let found = self.bdevs.get(&self.name);
            if found.is_err() && cx.now() < until && !cx.is_exiting() {
                return Polled::Idle;
            }
            if let Some(reply) = reply.take() {
                reply.send(found.map(|bdev| std::vec![Told::of(&bdev)]).map_err(Error::from));
            }
            Polled::Done
        });
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
