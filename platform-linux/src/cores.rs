//! The cores of the machine, whether this process may use them or not.

use std::fs;

use core_reactor::{CpuSet, PlatformError};

use crate::error::os_error;

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The cores that are switched on.
///
/// # Errors
/// The system does not tell.
pub fn online_cores() -> Result<CpuSet, PlatformError> {
    let text = fs::read_to_string(ONLINE).map_err(|why| os_error("read the cores of this machine", &why))?;
    // The kernel writes the inside of a list: `0-3,8`.
    format!("[{}]", text.trim()).parse().map_err(|_| os_error("read the cores of this machine", &std::io::ErrorKind::InvalidData.into()))
}
