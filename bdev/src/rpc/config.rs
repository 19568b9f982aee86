//! The part `bdev` of a configuration.

extern crate std;

use std::vec::Vec;

use rpc::{Error, Method, NoParams, Phases, Subsystem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PHASES, RateLimits};
use crate::{Bdev, Bdevs, Limits};

rpc::register_subsystem!(
    Subsystem::new("bdev", &["iobuf"], |control| Ok(control.service::<Bdevs>()?.list().iter().flat_map(calls).collect())).of_others(&[
        "bdev_ftl_set_options",
        "bdev_iscsi_set_options",
        "bdev_nvme_set_hotplug",
        "bdev_nvme_set_options",
        "bdev_raid_set_options",
        "bdev_virtio_blk_set_hotplug",
    ])
);

/// The calls that make a device again, in the order in which they can be made: one on top of
/// another was added behind that.
fn calls(bdev: &Bdev) -> Vec<Value> {
    let Some((method, params)) = bdev.0.device.made(bdev) else { return Vec::new() };
    let mut calls = std::vec![Subsystem::call(method, params)];
    if bdev.limits() != Limits::default() {
        let mut params = json!(RateLimits::of(bdev.limits()));
        params["name"] = json!(bdev.name());
        calls.push(Subsystem::call("bdev_set_qos_limit", params));
    }
    calls
}

rpc::register!(
    Method::new("bdev_set_options", "Takes the sizes of SPDK's pools, which are not needed here", |_, call| {
        call.answer(|_: Option<Options>| Ok(true));
    })
    .phases(Phases::Startup)
);

/// SPDK's configurations begin with these. Requests are their owners' here, and buffers those of
/// `iobuf_set_options`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default, rename = "bdev_io_pool_size")]
    _bdev_io_pool_size: u32,
    #[serde(default, rename = "bdev_io_cache_size")]
    _bdev_io_cache_size: u32,
    #[serde(default, rename = "bdev_auto_examine")]
    _bdev_auto_examine: bool,
    #[serde(default, rename = "iobuf_small_cache_size")]
    _iobuf_small_cache_size: u32,
    #[serde(default, rename = "iobuf_large_cache_size")]
    _iobuf_large_cache_size: u32,
}

rpc::register!(
    Method::new("bdev_wait_for_examine", "Answers true: no device is looked at for others within it", |_, call| {
        call.answer(|NoParams| Ok(true));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_examine", "Answers true where the device is there: nothing is looked for in it", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|which: super::Named| {
            bdevs?.get(&which.name)?;
            Ok::<_, Error>(true)
        });
    })
    .phases(PHASES)
);
