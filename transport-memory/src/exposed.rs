//! Buffers that peers may reach, and the check of what they do.

use core_reactor::transport::{Access, ExposedKey, QueueId, RemoteMemory, Slab};
use pool::Buf;

/// Where the first buffer begins, in the numbering that peers see: not at 0, so that nobody takes
/// an address for an offset.
const FIRST: u64 = 0x7000_0000_0000;

pub(crate) struct Exposures {
    slab: Slab<Exposure>,
    tag: u16,
}

struct Exposure {
    key: ExposedKey,
    queue: QueueId,
    access: Access,
    memory: RemoteMemory,
    buf: Buf,
}

impl Exposures {
    pub(crate) fn new(places: u32, tag: u16) -> Self {
        Self { slab: Slab::new(places), tag }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.slab.capacity()
    }

    pub(crate) fn add(&mut self, queue: QueueId, buf: Buf, access: Access) -> Result<(RemoteMemory, ExposedKey), Buf> {
        let Some((index, generation)) = self.slab.next() else { return Err(buf) };
        let len = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        // Half of the key is its generation, as RDMA's keys have some bits of their own.
        let memory = RemoteMemory { addr: FIRST + (u64::from(index) << 32), key: generation << 16 | index & 0xFFFF, len };
        let key = ExposedKey::new(index, generation, self.tag);
        let added = self.slab.insert(Exposure { key, queue, access, memory, buf });
        added.map(|_| (memory, key)).map_err(|exposure| exposure.buf)
    }

    /// Takes an exposure back: whose it was, and its buffer.
    pub(crate) fn remove(&mut self, key: ExposedKey) -> Option<(QueueId, Buf)> {
        let found = self.slab.peek(key.index(), key.generation());
        found.filter(|exposure| exposure.key == key)?;
        self.slab.remove(key.index()).map(|exposure| (exposure.queue, exposure.buf))
    }

    /// Takes back all of a queue's.
    pub(crate) fn remove_all(&mut self, queue: QueueId) -> Vec<(ExposedKey, Buf)> {
        let its: Vec<_> = self.slab.taken().collect();
        let mut taken = Vec::new();
        for index in its {
            if self.slab.at(index).is_some_and(|exposure| exposure.queue == queue) {
                taken.extend(self.slab.remove(index).map(|exposure| (exposure.key, exposure.buf)));
            }
        }
        taken
    }

    /// What the peer of `queue` wants to read of `memory`; `None` if it may not.
    pub(crate) fn read(&mut self, queue: QueueId, memory: RemoteMemory) -> Option<Vec<u8>> {
        match memory.len {
            0 => Some(Vec::new()),
            _ => self.reach(queue, memory, Access::reads).map(|bytes| bytes.to_vec()),
        }
    }

    /// Writes what the peer of `queue` wants to have at the beginning of `memory`; `None` if it may
    /// not.
    pub(crate) fn write(&mut self, queue: QueueId, memory: RemoteMemory, bytes: &[u8]) -> Option<()> {
        if bytes.is_empty() {
            return Some(());
        }
        let len = u32::try_from(bytes.len()).ok()?;
        self.reach(queue, RemoteMemory { len, ..memory }, Access::writes)?.copy_from_slice(bytes);
        Some(())
    }

    fn reach(&mut self, queue: QueueId, memory: RemoteMemory, allowed: fn(Access) -> bool) -> Option<&mut [u8]> {
        let index = usize::try_from(memory.addr.checked_sub(FIRST)? >> 32).ok()?;
        let right = |it: &&mut Exposure| it.memory.key == memory.key && it.queue == queue && allowed(it.access);
        let exposure = self.slab.at(index).filter(right)?;
        let from = usize::try_from(memory.addr.checked_sub(exposure.memory.addr)?).ok()?;
        exposure.buf.get_mut(from..from.checked_add(memory.len as usize)?)
    }
}
