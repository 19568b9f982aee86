//! Buffers that peers may reach, and the check of what they do.

use core_reactor::transport::{Access, ExposedKey, QueueId, RemoteMemory};
use pool::Buf;

use super::slab::Slab;

/// Where the first buffer begins, in the numbering that peers see: not at 0, so that nobody takes an address for an offset.
const FIRST: u64 = 0x7000_0000_0000;

pub(super) struct Exposures {
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
    pub(super) fn new(places: u32, tag: u16) -> Self {
        Self { slab: Slab::new(places), tag }
    }

    pub(super) fn capacity(&self) -> usize {
        self.slab.capacity()
    }

    pub(super) fn add(&mut self, queue: QueueId, buf: Buf, access: Access) -> Result<(RemoteMemory, ExposedKey), Buf> {
        let mut given = Some(buf);
        let tag = self.tag;
        let place = self.slab.insert(|index, generation| {
            let Some(buf) = given.take() else { unreachable!("it is made once") };
            let len = u32::try_from(buf.len()).unwrap_or(u32::MAX);
            // Half of the key is its generation, as RDMA's keys have some bits of their own.
            let memory = RemoteMemory { addr: FIRST + (u64::from(index) << 32), key: generation << 16 | index, len };
            Exposure { key: ExposedKey::new(index, generation, tag), queue, access, memory, buf }
        });
        match (place.and_then(|place| self.slab.at(place as usize)), given) {
            (Some(made), _) => Ok((made.memory, made.key)),
            (None, Some(buf)) => Err(buf),
            (None, None) => unreachable!("a buffer that was not given back was taken"),
        }
    }

    /// Takes an exposure back: whose it was, and its buffer.
    pub(super) fn remove(&mut self, key: ExposedKey) -> Option<(QueueId, Buf)> {
        let found = self.slab.find(key.index(), key.generation(), 24);
        found.filter(|exposure| exposure.key == key)?;
        self.slab.remove(key.index()).map(|exposure| (exposure.queue, exposure.buf))
    }

    /// Takes back all of a queue's.
    pub(super) fn remove_all(&mut self, queue: QueueId) -> Vec<(ExposedKey, Buf)> {
        let its: Vec<_> = self.slab.indices().collect();
        let mut taken = Vec::new();
        for index in its {
            if self.slab.at(index).is_some_and(|exposure| exposure.queue == queue) {
                taken.extend(self.slab.remove(index).map(|exposure| (exposure.key, exposure.buf)));
            }
        }
        taken
    }

    /// What the peer of `queue` wants to read of `memory`; `None` if it may not.
    pub(super) fn read(&mut self, queue: QueueId, memory: RemoteMemory) -> Option<Vec<u8>> {
        match memory.len {
            0 => Some(Vec::new()),
            _ => self.reach(queue, memory, Access::reads).map(|bytes| bytes.to_vec()),
        }
    }

    /// Writes what the peer of `queue` wants to have at the beginning of `memory`; `None` if it may not.
    pub(super) fn write(&mut self, queue: QueueId, memory: RemoteMemory, bytes: &[u8]) -> Option<()> {
        if bytes.is_empty() {
            return Some(());
        }
        let len = u32::try_from(bytes.len()).ok()?;
        self.reach(queue, RemoteMemory { len, ..memory }, Access::writes)?.copy_from_slice(bytes);
        Some(())
    }

    fn reach(&mut self, queue: QueueId, memory: RemoteMemory, allowed: fn(Access) -> bool) -> Option<&mut [u8]> {
        let index = (memory.key & 0xFFFF) as usize;
        self.slab.find(index, memory.key >> 16, 16)?;
        let exposure = self.slab.at(index).filter(|it| it.queue == queue && allowed(it.access))?;
        let from = usize::try_from(memory.addr.checked_sub(exposure.memory.addr)?).ok()?;
        exposure.buf.get_mut(from..from.checked_add(memory.len as usize)?)
    }
}
