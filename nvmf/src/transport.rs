//! What the transport is asked to be, with the names that SPDK's clients use.

use alloc::format;

use crate::NvmfError;

/// What connections of the transport TCP are to be.
///
/// ```
/// use nvmf::{Target, Transport};
///
/// let mut transport = Transport::default();
/// transport.max_queue_depth = 64;
/// Target::new().create_transport(transport)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transport {
    /// Entries of an I/O queue at most.
    pub max_queue_depth: u16,
    /// I/O queues of a controller at most.
    pub max_io_qpairs_per_ctrlr: u16,
    /// The most data in the capsule of an I/O command, a multiple of 16.
    pub in_capsule_data_size: u32,
    /// The most data of a command: 4 KiB times a power of two. Less where the large buffers are
    /// smaller.
    pub max_io_size: u32,
    /// Whether a read that went well is answered by a flag in its last data.
    pub c2h_success: bool,
}

impl Default for Transport {
    fn default() -> Self {
        Self { max_queue_depth: 128, max_io_qpairs_per_ctrlr: 127, in_capsule_data_size: 8192, max_io_size: 128 << 10, c2h_success: true }
    }
}

/// The most data of a command that a transport may be asked for.
const MOST_IO: u32 = 1 << 20;

impl Transport {
    pub(crate) fn check(&self) -> Result<(), NvmfError> {
        let wrong = |what, value: u32, is| Err(NvmfError::invalid(what, format!("{value} is not {is}")));
        if !(3..=4096).contains(&self.max_queue_depth) {
            return wrong("max_queue_depth", self.max_queue_depth.into(), "between 3 and 4096");
        }
        if !(1..=127).contains(&self.max_io_qpairs_per_ctrlr) {
            return wrong("max_io_qpairs_per_ctrlr", self.max_io_qpairs_per_ctrlr.into(), "between 1 and 127");
        }
        if !self.max_io_size.is_power_of_two() || !(8192..=MOST_IO).contains(&self.max_io_size) {
            return wrong("max_io_size", self.max_io_size, "a power of two between 8192 and 1048576");
        }
        let data = self.in_capsule_data_size;
        if !data.is_multiple_of(16) || data > self.max_io_size {
            return wrong("in_capsule_data_size", data, "a multiple of 16 up to max_io_size");
        }
        Ok(())
    }
}
