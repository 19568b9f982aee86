//! How much a device may do in a second, as SPDK's clients say it.

extern crate std;

use std::format;
use std::string::String;

use rpc::{Error, Method};
use serde::{Deserialize, Serialize};

use super::PHASES;
use crate::{Bdevs, Limits};

/// What SPDK rounds requests in a second up to a multiple of.
const IOS: u64 = 1_000;
/// Bytes of its megabyte.
const MEGABYTE: u64 = 1 << 20;

rpc::register!(
    Method::new("bdev_set_qos_limit", "Limits how much a block device does in a second", |_, call| {
        let bdevs = call.control().service::<Bdevs>();
        call.answer(|set: Set| {
            let bdev = bdevs?.get(&set.name)?;
            bdev.set_limits(set.over(bdev.limits())?);
            Ok(true)
        });
    })
    .phases(PHASES)
);

/// Those that are left out stay as they are; 0 is no limit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    name: String,
    rw_ios_per_sec: Option<u64>,
    rw_mbytes_per_sec: Option<u64>,
    r_mbytes_per_sec: Option<u64>,
    w_mbytes_per_sec: Option<u64>,
}

impl Set {
    fn over(&self, old: Limits) -> Result<Limits, Error> {
        let given = [self.rw_ios_per_sec, self.rw_mbytes_per_sec, self.r_mbytes_per_sec, self.w_mbytes_per_sec];
        if given.iter().all(Option::is_none) {
            return Err(Error::new(-22, "No rate limits specified"));
        }
        let bytes = |key: &str, given: Option<u64>, old| match given {
            None => Ok(old),
            Some(mbytes) => mbytes.checked_mul(MEGABYTE).ok_or_else(|| too_many(key, mbytes)),
        };
        let ios = match self.rw_ios_per_sec {
            None => old.ios,
            Some(ios) => ios.checked_next_multiple_of(IOS).ok_or_else(|| too_many("rw_ios_per_sec", ios))?,
        };
        Ok(Limits {
            ios,
            bytes: bytes("rw_mbytes_per_sec", self.rw_mbytes_per_sec, old.bytes)?,
            read_bytes: bytes("r_mbytes_per_sec", self.r_mbytes_per_sec, old.read_bytes)?,
            write_bytes: bytes("w_mbytes_per_sec", self.w_mbytes_per_sec, old.write_bytes)?,
        })
    }
}

fn too_many(key: &str, given: u64) -> Error {
    Error::params(format!("Failed to configure rate limit: {key}: {given} is more than can be counted; 0 is no limit"))
}

/// The same as it is told, in megabytes.
#[derive(Serialize)]
pub(super) struct RateLimits {
    rw_ios_per_sec: u64,
    rw_mbytes_per_sec: u64,
    r_mbytes_per_sec: u64,
    w_mbytes_per_sec: u64,
}

impl RateLimits {
    pub(super) fn of(limits: Limits) -> Self {
        let Limits { ios, bytes, read_bytes, write_bytes } = limits;
        // What the program itself has set may be less than a megabyte, and is not told as none.
        let mbytes = |bytes: u64| bytes.div_ceil(MEGABYTE);
        Self {
            rw_ios_per_sec: ios,
            rw_mbytes_per_sec: mbytes(bytes),
            r_mbytes_per_sec: mbytes(read_bytes),
            w_mbytes_per_sec: mbytes(write_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ios: Option<u64>, mbytes: [Option<u64>; 3]) -> Set {
        let [rw_mbytes_per_sec, r_mbytes_per_sec, w_mbytes_per_sec] = mbytes;
        Set { name: String::new(), rw_ios_per_sec: ios, rw_mbytes_per_sec, r_mbytes_per_sec, w_mbytes_per_sec }
    }

    #[test]
    fn s328_limits_are_rounded_as_spdk_rounds_them() {
        let old = Limits { ios: 5_000, bytes: 7 << 20, read_bytes: 1 << 20, write_bytes: 0 };
        for (given, ios) in [(0, 0), (1, 1_000), (1_000, 1_000), (1_001, 2_000), (20_000, 20_000)] {
            assert_eq!(set(Some(given), [None; 3]).over(old), Ok(Limits { ios, ..old }));
        }
        let all = set(None, [Some(0), Some(3), Some(9)]).over(old);
        assert_eq!(all, Ok(Limits { ios: 5_000, bytes: 0, read_bytes: 3 << 20, write_bytes: 9 << 20 }));
        let code = |set: Set| set.over(old).unwrap_err().code();
        assert_eq!(code(set(None, [None; 3])), -22);
        assert_eq!([code(set(Some(u64::MAX), [None; 3])), code(set(None, [None, None, Some(1 << 44)]))], [Error::PARAMS; 2]);
    }
}
