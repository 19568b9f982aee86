//! What the methods of files have in common.

use bdev::rpc::Named;
use bdev::{Bdev, BdevError, Bdevs};
use rpc::Error;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Config, Disk};

/// A device that is to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    filename: String,
    name: String,
    #[serde(default)]
    block_size: u32,
    uuid: Option<String>,
    #[serde(default)]
    readonly: bool,
    fallocate: Option<bool>,
    /// Past the kernel's cache where that can be; SPDK has no such parameter.
    direct: Option<bool>,
}

impl Create {
    /// Makes it; its name.
    ///
    /// # Errors
    /// What [`create`](crate::create) says.
    pub fn make(self, bdevs: &Bdevs, make: fn(&Bdevs, &Config) -> Result<Bdev, BdevError>) -> Result<String, Error> {
        let mut config = Config::new(self.filename).name(&self.name);
        // 0 is SPDK's way of saying that none is given.
        config.block_size = Some(self.block_size).filter(|size| *size != 0);
        config.uuid = self.uuid.as_deref().map(str::parse).transpose().map_err(Error::from)?;
        config.is_read_only = self.readonly;
        config.allocates = self.fallocate.unwrap_or(config.allocates);
        config.is_direct = self.direct.unwrap_or(config.is_direct);
        Ok(make(bdevs, &config)?.name().to_owned())
    }
}

/// Looks how large the file of a device of this kind is now.
///
/// # Errors
/// There is no such device; the file makes none any more.
pub fn rescan(bdevs: &Bdevs, named: &Named, product: &str) -> Result<bool, Error> {
    let bdev = bdevs.get(&named.name)?;
    if bdev.shape().product != product {
        return Err(Error::new(-19, format!("{:?} is no {product}: it is a {}", named.name, bdev.shape().product)));
    }
    bdev.rescan()?;
    Ok(true)
}

/// What makes a device again as it is. What is as it would be anyway is left out.
pub(crate) fn made(bdev: &Bdev, config: &Config) -> Value {
    let mut params = json!({
        "name": bdev.name(),
        "filename": config.path,
        "block_size": bdev.shape().block_size,
        "uuid": bdev.uuid().to_string(),
    });
    for (key, value, usual) in
        [("readonly", config.is_read_only, false), ("fallocate", config.allocates, true), ("direct", config.is_direct, true)]
    {
        if value != usual {
            params[key] = value.into();
        }
    }
    params
}

/// What only these devices have to tell.
pub(crate) fn told(config: &Config, disk: &Disk) -> Value {
    json!({
        "filename": config.path,
        "block_size_override": config.block_size.is_some(),
        "readonly": config.is_read_only,
        "fallocate": config.allocates,
        "direct": disk.is_direct(),
        "bounced": disk.bounced(),
    })
}
