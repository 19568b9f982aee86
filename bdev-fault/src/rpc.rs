//! The methods that make these devices, change them, and take them away.

extern crate std;

use core::time::Duration;
use std::format;
use std::string::{String, ToString};

use bdev::rpc::{Named, PHASES, delete};
use bdev::{Bdev, BdevError, Bdevs, Kind, Uuid};
use rpc::{Error, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Delay, Errors, Faults, Injected, InjectedError, Latencies, Latency, delay, errors};

/// What is drawn by lot where a call says no seed, as SPDK's clients say none.
const SEED: u64 = 1;

rpc::register!(
    Method::new("bdev_error_create", "Makes a block device whose errors can be asked for", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|create: CreateError| {
            let (uuid, base) = (uuid(create.uuid.as_deref())?, create.base_name);
            made_or_later(&*bdevs?, &base.clone(), move |bdevs| errors(bdevs, &base, uuid))?;
            Ok(true)
        });
    })
    .phases(PHASES)
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateError {
    base_name: String,
    uuid: Option<String>,
}

fn uuid(text: Option<&str>) -> Result<Option<Uuid>, BdevError> {
    text.map(str::parse).transpose()
}

/// Makes a device on top of `base`, or when that is added: SPDK's configurations have it first.
fn made_or_later<F>(bdevs: &Bdevs, base: &str, make: F) -> Result<(), BdevError>
where
    F: FnOnce(&Bdevs) -> Result<Bdev, BdevError> + Send + 'static,
{
    if bdevs.get(base).is_ok() {
        return make(bdevs).map(drop);
    }
    logging::info!("there is no block device {} yet: what is to be on top of it is made when there is", base);
    let of = String::from(base);
    bdevs.when_added(base, move |bdevs| {
        if let Err(why) = make(bdevs) {
            logging::error!("what was to be on top of {} could not be made: {}", of.as_str(), why.to_string().as_str());
        }
    });
    Ok(())
}

rpc::register!(
    Method::new("bdev_error_delete", "Removes a block device whose errors can be asked for", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|named: Named| delete(&*bdevs?, &named, "Error Injection Disk"));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_error_inject_error", "Asks a block device for errors", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|inject: Inject| {
            let bdev = bdevs?.get(&inject.name)?;
            let errors = bdev.device::<Errors>().ok_or_else(|| is_none(&bdev, -19, "Error Injection Disk"))?;
            if matches!(inject.io_type, IoType::Clear) {
                errors.clear();
            } else {
                errors.inject(inject.io_type.kind(), inject.read()?)?;
            }
            Ok(true)
        });
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_error_resume_pending", "Lets requests go on that an asked error holds", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|named: Named| {
            let bdev = bdevs?.get(&named.name)?;
            bdev.device::<Errors>().ok_or_else(|| is_none(&bdev, -19, "Error Injection Disk"))?.resume(&bdev);
            Ok(true)
        });
    })
    .phases(PHASES)
);

fn is_none(bdev: &Bdev, code: i32, product: &str) -> Error {
    Error::new(code, format!("{:?} is no {product}: it is a {}", bdev.name(), bdev.shape().product))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inject {
    name: String,
    io_type: IoType,
    error_type: ErrorType,
    #[serde(default)]
    nvme_sct: u32,
    #[serde(default)]
    nvme_sc: u32,
    #[serde(default = "one")]
    num: u32,
    #[serde(default)]
    queue_depth: u64,
    #[serde(default)]
    corrupt_offset: u64,
    #[serde(default)]
    corrupt_value: u8,
}

fn one() -> u32 {
    1
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IoType {
    Clear,
    Read,
    Write,
    Unmap,
    Flush,
    All,
}

impl IoType {
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Read => Some(Kind::Read),
            Self::Write => Some(Kind::Write),
            Self::Unmap => Some(Kind::Unmap),
            Self::Flush => Some(Kind::Flush),
            Self::Clear | Self::All => None,
        }
    }
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum ErrorType {
    Failure,
    NvmeFailure,
    Pending,
    CorruptData,
    #[serde(rename = "nomem")]
    NoMemory,
}

impl Inject {
    fn read(&self) -> Result<Injected, Error> {
        let has_status = self.nvme_sct != 0 || self.nvme_sc != 0;
        if has_status != (self.error_type == ErrorType::NvmeFailure) {
            return Err(Error::new(-22, "nvme_sct, nvme_sc: one of them at least is not 0 with nvme_failure, and both are with what else"));
        }
        let error = match self.error_type {
            ErrorType::Failure => InjectedError::Failure,
            ErrorType::NvmeFailure => self.status()?,
            ErrorType::Pending => InjectedError::Pending,
            ErrorType::CorruptData => InjectedError::Corrupt { offset: self.corrupt_offset, bits: self.corrupt_value },
            ErrorType::NoMemory => InjectedError::NoMemory,
        };
        Ok(Injected { error, count: self.num, queue_depth: self.queue_depth })
    }

    fn status(&self) -> Result<InjectedError, Error> {
        match (u8::try_from(self.nvme_sct), u8::try_from(self.nvme_sc)) {
            (Ok(sct @ 0..=7), Ok(sc)) => Ok(InjectedError::Status { sct, sc }),
            _ => Err(Error::new(-22, format!("nvme_sct {} has 3 bits, and nvme_sc {} has 8", self.nvme_sct, self.nvme_sc))),
        }
    }
}

rpc::register!(
    Method::new("bdev_delay_create", "Makes a block device that takes its time", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|create: CreateDelay| {
            let (bdevs, uuid, latencies) = (bdevs?, uuid(create.uuid.as_deref())?, create.latencies());
            if bdevs.get(&create.name).is_ok() {
                return Err(BdevError::NameTaken(create.name.into()).into());
            }
            let (name, base, seed) = (create.name.clone(), create.base_bdev_name, create.seed);
            made_or_later(&bdevs, &base.clone(), move |bdevs| delay(bdevs, &name, &base, uuid, latencies, seed.unwrap_or(SEED)))?;
            Ok(create.name)
        });
    })
    .phases(PHASES)
);

/// Latencies are microseconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateDelay {
    base_bdev_name: String,
    name: String,
    uuid: Option<String>,
    avg_read_latency: u64,
    p99_read_latency: u64,
    avg_write_latency: u64,
    p99_write_latency: u64,
    /// SPDK has none.
    seed: Option<u64>,
}

impl CreateDelay {
    fn latencies(&self) -> Latencies {
        Latencies {
            avg_read: Duration::from_micros(self.avg_read_latency),
            p99_read: Duration::from_micros(self.p99_read_latency),
            avg_write: Duration::from_micros(self.avg_write_latency),
            p99_write: Duration::from_micros(self.p99_write_latency),
        }
    }
}

rpc::register!(
    Method::new("bdev_delay_delete", "Removes a block device that takes its time", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|named: Named| delete(&*bdevs?, &named, "delay"));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_delay_update_latency", "Changes how long a block device takes", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|update: UpdateLatency| {
            let bdev =
                bdevs?.get(&update.delay_bdev_name).map_err(|why| Error::params(format!("The requested bdev does not exist: {why}")))?;
            let device = bdev.device::<Delay>().ok_or_else(|| is_none(&bdev, Error::REQUEST, "delay bdev"))?;
            device.set(update.latency_type.into(), Duration::from_micros(update.latency_us));
            Ok(true)
        });
    })
    .phases(PHASES)
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateLatency {
    delay_bdev_name: String,
    latency_type: LatencyType,
    latency_us: u64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LatencyType {
    AvgRead,
    P99Read,
    AvgWrite,
    P99Write,
}

impl From<LatencyType> for Latency {
    fn from(of: LatencyType) -> Self {
        match of {
            LatencyType::AvgRead => Self::AvgRead,
            LatencyType::P99Read => Self::P99Read,
            LatencyType::AvgWrite => Self::AvgWrite,
            LatencyType::P99Write => Self::P99Write,
        }
    }
}

rpc::register!(
    Method::new("bdev_fault_create", "Makes a block device with faults out of a seed", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|create: CreateFault| {
            let CreateFault { name, base_bdev_name, uuid: given, seed, delay_us, errors, torn, lost } = create;
            let delay = Duration::from_micros(delay_us[0])..=Duration::from_micros(delay_us[1]);
            let (bdevs, faults) = (bdevs?, Faults { seed, delay, errors, torn, lost });
            let (name, uuid) = (bdevs.name_or(name.as_deref(), "Fault"), uuid(given.as_deref())?);
            Ok(crate::make(&bdevs, &name, &base_bdev_name, uuid, faults)?.name().to_string())
        });
    })
    .phases(PHASES)
);

/// Odds are of a million.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateFault {
    name: Option<String>,
    base_bdev_name: String,
    uuid: Option<String>,
    seed: u64,
    #[serde(default)]
    delay_us: [u64; 2],
    #[serde(default)]
    errors: u32,
    #[serde(default)]
    torn: u32,
    #[serde(default)]
    lost: u32,
}

rpc::register!(
    Method::new("bdev_fault_delete", "Removes a block device with faults", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|named: Named| delete(&*bdevs?, &named, "Fault disk"));
    })
    .phases(PHASES)
);

/// What makes a device again.
pub(crate) fn made_fault(bdev: &Bdev, base: &Bdev, faults: &Faults) -> (&'static str, Value) {
    let delay = [faults.delay.start(), faults.delay.end()].map(|delay| delay.as_micros() as u64);
    let params = json!({"name": bdev.name(), "uuid": bdev.uuid().to_string(), "base_bdev_name": base.name(), "seed": faults.seed,
        "delay_us": delay, "errors": faults.errors, "torn": faults.torn, "lost": faults.lost});
    ("bdev_fault_create", params)
}

pub(crate) fn made_errors(bdev: &Bdev, errors: &Errors) -> (&'static str, Value) {
    let params = json!({"base_name": errors.base().name(), "uuid": bdev.uuid().to_string()});
    ("bdev_error_create", params)
}

pub(crate) fn made_delay(bdev: &Bdev, delay: &Delay) -> (&'static str, Value) {
    let mut params = told_delay(delay);
    params["name"] = json!(bdev.name());
    params["uuid"] = json!(bdev.uuid().to_string());
    if delay.seed() != SEED {
        params["seed"] = json!(delay.seed());
    }
    ("bdev_delay_create", params)
}

pub(crate) fn told_delay(delay: &Delay) -> Value {
    let Latencies { avg_read, p99_read, avg_write, p99_write } = delay.latencies();
    let micros = |latency: Duration| latency.as_micros() as u64;
    json!({"base_bdev_name": delay.base().name(), "avg_read_latency": micros(avg_read), "p99_read_latency": micros(p99_read),
        "avg_write_latency": micros(avg_write), "p99_write_latency": micros(p99_write)})
}
