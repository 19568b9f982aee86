//! What is measured, as the client tells it to the server: in its private data. And the memory that
//! is reached, in the first message of an end.

use clap::ValueEnum;
use lcore::pool::BufGroup;
use lcore::transport::{QueueGroupConfig, QueueOptions, RemoteMemory, Wait};
use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of memory that a plan may take at each end, so that no client makes a server grow.
const MEMORY: u64 = 256 << 20;

/// The first bytes of a request of this program, with its version.
const MAGIC: [u8; 4] = *b"LRP1";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Test {
    /// Half a round trip of a message.
    SendLat,
    /// Half a round trip of a write that tells of itself.
    WriteLat,
    /// A read, from its posting to its data.
    ReadLat,
    /// Messages in one direction.
    SendBw,
    /// Writes.
    WriteBw,
    /// Reads.
    ReadBw,
}

impl Test {
    /// Whether each operation waits for the one before.
    pub(crate) fn is_latency(self) -> bool {
        matches!(self, Self::SendLat | Self::WriteLat | Self::ReadLat)
    }

    /// Whether the other end answers each.
    pub(crate) fn is_ping_pong(self) -> bool {
        matches!(self, Self::SendLat | Self::WriteLat)
    }

    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::ReadLat | Self::ReadBw)
    }

    /// Whether it consists of messages; the others reach memory.
    /// Of which the other end's application sees nothing.
    pub(crate) fn is_one_sided(self) -> bool {
        matches!(self, Self::ReadLat | Self::ReadBw | Self::WriteBw)
    }

    pub(crate) fn is_send(self) -> bool {
        matches!(self, Self::SendLat | Self::SendBw)
    }
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) test: Test,
    /// Bytes of each operation.
    pub(crate) size: u32,
    pub(crate) iterations: u32,
    /// Operations on the way at a time.
    pub(crate) depth: u16,
}

/// Why a plan is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum PlanError {
    #[error("--{0}: 0; at least 1 is needed")]
    Zero(&'static str),
    #[error("{size} bytes at depth {depth} take {needed} bytes of memory, and at most {MEMORY} may be taken; lower --size or --depth")]
    Memory { size: u32, depth: u16, needed: u64 },
    #[error("the request is none of rdma-perf's, or of another version of it")]
    Foreign,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PlanWire {
    magic: [u8; 4],
    test: U16,
    depth: U16,
    size: U32,
    iterations: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MemoryWire {
    addr: U64,
    key: U32,
    len: U32,
}

impl Plan {
    /// Whether it can be carried out.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        for (name, value) in [("size", self.size), ("iterations", self.iterations), ("depth", self.depth.into())] {
            if value == 0 {
                return Err(PlanError::Zero(name));
            }
        }
        let needed = self.buffers() as u64 * self.buf_size() as u64;
        let (size, depth) = (self.size, self.depth);
        if needed > MEMORY { Err(PlanError::Memory { size, depth, needed }) } else { Ok(()) }
    }

    /// As private data.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let wire = PlanWire {
            magic: MAGIC,
            test: U16::new(self.test as u16),
            depth: self.depth.into(),
            size: self.size.into(),
            iterations: self.iterations.into(),
        };
        wire.as_bytes().to_vec()
    }

    /// Out of a client's private data, which may be anything, with zeros behind it.
    pub(crate) fn decode(data: &[u8]) -> Result<Self, PlanError> {
        let (wire, _) = PlanWire::read_from_prefix(data).map_err(|_| PlanError::Foreign)?;
        let test = Test::value_variants().iter().copied().find(|test| *test as u16 == wire.test.get());
        let test = test.filter(|_| wire.magic == MAGIC).ok_or(PlanError::Foreign)?;
        let plan = Self { test, size: wire.size.get(), iterations: wire.iterations.get(), depth: wire.depth.get() };
        plan.check().map(|()| plan)
    }

    /// Operations that are posted at a time.
    pub(crate) fn on_the_way(&self) -> usize {
        if self.test.is_latency() { 1 } else { self.depth.into() }
    }

    fn receives(&self) -> usize {
        if self.test == Test::SendBw { 2 * self.on_the_way() } else { 8 }
    }

    /// The receives twice, since those that are handed out are replaced meanwhile; what is sent
    /// from; what is exposed.
    fn buffers(&self) -> usize {
        2 * self.receives() + self.on_the_way() + 8
    }

    fn buf_size(&self) -> usize {
        (self.size as usize).max(size_of::<MemoryWire>()).next_multiple_of(64)
    }

    /// A group that can carry it out.
    pub(crate) fn group(&self, wait: Wait) -> QueueGroupConfig {
        let mut config = QueueGroupConfig::new(BufGroup::new(self.buffers(), self.buf_size()));
        (config.queues, config.exposures, config.receives, config.wait) = (2, 2, self.receives() as u32, wait);
        config.operations = self.options().send_depth;
        config
    }

    /// A queue that can.
    pub(crate) fn options(&self) -> QueueOptions {
        let send_depth = self.on_the_way() as u32 + 8;
        QueueOptions::default().send_depth(send_depth).reads(if self.test.is_read() { self.on_the_way() as u32 } else { 1 }).gather(1)
    }
}

/// The message that says what may be reached; without memory, that all is ready.
pub(crate) fn describe(memory: Option<RemoteMemory>) -> [u8; 16] {
    let RemoteMemory { addr, key, len } = memory.unwrap_or(RemoteMemory { addr: 0, key: 0, len: 0 });
    zerocopy::transmute!(MemoryWire { addr: addr.into(), key: key.into(), len: len.into() })
}

/// What such a message says.
pub(crate) fn described(message: &[u8]) -> Option<RemoteMemory> {
    let wire = MemoryWire::read_from_bytes(message).ok()?;
    Some(RemoteMemory { addr: wire.addr.get(), key: wire.key.get(), len: wire.len.get() })
}
