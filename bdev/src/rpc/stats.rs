//! What devices have done.

extern crate std;

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use rpc::{Error, Method};
use serde::{Deserialize, Serialize};

use super::PHASES;
use crate::{Bdev, BdevError, Bdevs, Figures, IoStats, ResetStats};

/// Ticks of a second: times are nanoseconds.
const TICK_RATE: u64 = 1_000_000_000;

rpc::register!(
    Method::new("bdev_get_iostat", "What block devices have done, or some of them", |cx, call| {
        let (bdevs, now) = (call.control().service::<Bdevs>(), cx.now().as_nanos());
        call.answer(|which: Option<Which>| which.unwrap_or_default().stats(&*bdevs?, now));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_reset_iostat", "Has block devices, or one of them, count from 0 again", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|which: Option<Reset>| {
            let (bdevs, Reset { name, mode }) = (bdevs?, which.unwrap_or_default());
            let found = name.map_or_else(|| Ok(bdevs.list()), |name| bdevs.get(&name).map(|bdev| std::vec![bdev]));
            found?.iter().for_each(|bdev| mode.unwrap_or(Mode::All).reset(bdev));
            Ok(true)
        });
    })
    .phases(PHASES)
);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    name: Option<String>,
    names: Option<Vec<String>>,
    #[serde(default)]
    per_channel: bool,
    reset_mode: Option<Mode>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    name: Option<String>,
    mode: Option<Mode>,
}

/// What is counted from 0 again.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    All,
    MaxMin,
    Error,
    None,
}

impl Mode {
    fn reset(self, bdev: &Bdev) {
        bdev.reset_stats(match self {
            Self::All => ResetStats::All,
            Self::MaxMin => ResetStats::Extremes,
            Self::Error => ResetStats::Errors,
            Self::None => return,
        });
    }
}

impl Which {
    fn stats(self, bdevs: &Bdevs, ticks: u64) -> Result<Stats, Error> {
        let Self { name, names, per_channel, reset_mode } = self;
        let names = match (name, names) {
            (Some(_), Some(_)) => return Err(Error::new(-22, "name and names: there can be one of them, and name is the older one")),
            (Some(name), None) => Some(std::vec![name]),
            (None, names) => names,
        };
        let found = match &names {
            Some(names) => names.iter().map(|name| bdevs.get(name)).collect::<Result<Vec<_>, BdevError>>()?,
            None => bdevs.list(),
        };
        let told = match &*found {
            [bdev] if per_channel && names.is_some() => {
                let channels = bdev.channel_stats().into_iter();
                let channels = channels.map(|(thread, _, stats)| ChannelStat { thread_id: thread.id().number(), stats: Stat::new(stats) });
                Told::Channels { name: bdev.name().to_string(), channels: channels.collect() }
            }
            _ if per_channel => return Err(Error::new(-22, "per_channel: it takes the name of one device too")),
            _ => Told::Bdevs { bdevs: found.iter().map(BdevStat::of).collect() },
        };
        let mode = reset_mode.unwrap_or(Mode::None);
        found.iter().for_each(|bdev| mode.reset(bdev));
        Ok(Stats { tick_rate: TICK_RATE, ticks, told })
    }
}

#[derive(Serialize)]
struct Stats {
    tick_rate: u64,
    ticks: u64,
    #[serde(flatten)]
    told: Told,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Bdevs { bdevs: Vec<BdevStat> },
    Channels { name: String, channels: Vec<ChannelStat> },
}

#[derive(Serialize)]
struct BdevStat {
    name: String,
    #[serde(flatten)]
    stats: Stat,
}

impl BdevStat {
    fn of(bdev: &Bdev) -> Self {
        Self { name: bdev.name().to_string(), stats: Stat::new(bdev.stats()) }
    }
}

#[derive(Serialize)]
struct ChannelStat {
    thread_id: u64,
    #[serde(flatten)]
    stats: Stat,
}

/// What a device, or a channel of it, has done.
#[derive(Serialize)]
struct Stat {
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
    fn new(stats: IoStats) -> Self {
        let IoStats { read, write, unmap, errors } = stats;
        let copy = Figures::default();
        Self {
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
