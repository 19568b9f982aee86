//! The methods that make these devices, and take them away.

extern crate std;

use std::string::{String, ToString};

use bdev::rpc::{Named, PHASES, delete};
use bdev::{Bdev, BdevError, Bdevs};
use rpc::{Error, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Config;

rpc::register!(
    Method::new("bdev_malloc_create", "Makes a block device of memory", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|create: Create| create.make(&*bdevs?, crate::malloc));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_malloc_delete", "Removes a block device of memory", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|named: Named| delete(&*bdevs?, &named, "Malloc disk"));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_null_create", "Makes a block device that forgets", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|create: Create| create.make(&*bdevs?, crate::null));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_null_delete", "Removes a block device that forgets", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|named: Named| delete(&*bdevs?, &named, "Null disk"));
    })
    .phases(PHASES)
);

rpc::register!(
    Method::new("bdev_null_resize", "Gives a block device that forgets another size", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|resize: Resize| {
            let bdev = bdevs?.get(&resize.name)?;
            let bytes = resize.new_size.checked_mul(1 << 20);
            let blocks = bytes.map(|bytes| bytes / u64::from(bdev.shape().block_size));
            bdev.resize(blocks.ok_or_else(|| Error::params("Invalid parameters: new_size: more than any device has"))?)?;
            Ok(true)
        });
    })
    .phases(PHASES)
);

/// A device that is to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    num_blocks: u64,
    block_size: u32,
    name: Option<String>,
    uuid: Option<String>,
    #[serde(default)]
    optimal_io_boundary: u32,
    physical_block_size: Option<u32>,
    #[serde(default)]
    md_size: u32,
    #[serde(default)]
    md_interleave: bool,
    #[serde(default)]
    dif_type: u32,
    #[serde(default, rename = "dif_is_head_of_md")]
    _dif_is_head_of_md: bool,
    #[serde(default, rename = "dif_pi_format")]
    _dif_pi_format: u32,
    #[serde(default, rename = "numa_id")]
    _numa_id: Option<i32>,
}

/// What makes a device again as it is.
pub(crate) fn made(bdev: &Bdev) -> Value {
    let mut params = json!({
        "name": bdev.name(),
        "num_blocks": bdev.blocks(),
        "block_size": bdev.shape().block_size,
        "uuid": bdev.uuid().to_string(),
    });
    if bdev.shape().optimal_boundary != 0 {
        params["optimal_io_boundary"] = json!(bdev.shape().optimal_boundary);
    }
    params
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    name: String,
    /// In MiB.
    new_size: u64,
}

impl Create {
    fn make(self, bdevs: &Bdevs, make: fn(&Bdevs, Config) -> Result<Bdev, BdevError>) -> Result<String, Error> {
        if self.md_size != 0 || self.md_interleave || self.dif_type != 0 {
            return Err(Error::params("Invalid parameters: md_size, md_interleave, dif_type: blocks have no metadata here"));
        }
        if self.physical_block_size.is_some_and(|size| size != self.block_size) {
            return Err(Error::params("Invalid parameters: physical_block_size: it is block_size here"));
        }
        let mut config = Config::new(self.block_size, self.num_blocks);
        config.uuid = self.uuid.as_deref().map(str::parse).transpose().map_err(Error::from)?;
        (config.name, config.optimal_boundary) = (self.name, self.optimal_io_boundary);
        Ok(make(bdevs, config)?.name().to_string())
    }
}
