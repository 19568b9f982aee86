//! What all handles and channels of a device have in common.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

#[cfg(target_has_atomic = "64")]
use core::sync::atomic::AtomicU64;
#[cfg(not(target_has_atomic = "64"))]
use portable_atomic::AtomicU64;

use core_reactor::{CoreId, ThreadHandle};
use spin::Mutex;

use crate::limits::{Limits, Throttles};
use crate::stats::{ChannelStats, ResetStats};
use crate::{BdevError, Device, IoStats, Mode, Shape, Uuid};

/// A device, for as long as anybody knows of it.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) uuid: Uuid,
    pub(crate) shape: Shape,
    pub(crate) device: Box<dyn Device>,
    pub(crate) throttles: Throttles,
    blocks: AtomicU64,
    /// Counts what channels have to hear of. One load on the path of each request tells a channel
    /// that there is nothing.
    epoch: AtomicU32,
    state: Mutex<State>,
}

/// What changes rarely. The lock is never held while anything else runs.
#[derive(Default)]
struct State {
    is_removed: bool,
    readers: usize,
    writers: usize,
    /// Who alone may write.
    claim: Option<&'static str>,
    /// Resets that were asked for.
    resets: u64,
    channels: Vec<Entry>,
    /// The number of the next channel.
    next: u64,
    /// What channels that are gone have done.
    past: IoStats,
}

/// A channel, as others see it.
struct Entry {
    id: u64,
    thread: ThreadHandle,
    core: CoreId,
    /// The last reset before which it has nothing under way any more.
    reached: u64,
    stats: Arc<ChannelStats>,
    /// What it had done when it was to count from 0 again.
    zero: IoStats,
}

impl Entry {
    fn read(&self) -> IoStats {
        self.stats.read().since(&self.zero)
    }
}

/// What a channel finds when it looks.
pub(crate) struct News {
    pub(crate) epoch: u32,
    pub(crate) is_removed: bool,
    pub(crate) resets: u64,
    pub(crate) blocks: u64,
}

impl Shared {
    pub(crate) fn new(name: String, aliases: Vec<String>, uuid: Uuid, shape: Shape, blocks: u64, device: Box<dyn Device>) -> Self {
        let (blocks, epoch) = (AtomicU64::new(blocks), AtomicU32::new(0));
        Self { name, aliases, uuid, shape, device, throttles: Throttles::default(), blocks, epoch, state: Mutex::default() }
    }

    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    #[inline]
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Changes something that channels have to hear of, and wakes them.
    fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        self.epoch.fetch_add(1, Ordering::Release);
        let threads: Vec<_> = state.channels.iter().map(|entry| entry.thread.clone()).collect();
        drop(state);
        threads.iter().for_each(ThreadHandle::wake);
        result
    }

    pub(crate) fn remove(&self) {
        self.change(|state| state.is_removed = true);
    }

    pub(crate) fn set_blocks(&self, blocks: u64) {
        self.change(|_| self.blocks.store(blocks, Ordering::Relaxed));
    }

    pub(crate) fn wake(&self) {
        self.change(|_| ());
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        self.change(|_| self.throttles.set(limits));
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.state.lock().is_removed
    }

    pub(crate) fn claim(&self) -> Option<&'static str> {
        self.state.lock().claim
    }

    pub(crate) fn open(&self, mode: Mode) -> Result<(), BdevError> {
        let mut state = self.state.lock();
        match (state.claim, mode) {
            _ if state.is_removed => Err(BdevError::Removed),
            (Some(by), Mode::ReadWrite) => Err(BdevError::Claimed(by)),
            (_, Mode::ReadOnly) => {
                state.readers += 1;
                Ok(())
            }
            (None, Mode::ReadWrite) => {
                state.writers += 1;
                Ok(())
            }
        }
    }

    /// Claims it for one of those that have opened it for writing.
    pub(crate) fn make_claim(&self, by: &'static str) -> Result<(), BdevError> {
        let mut state = self.state.lock();
        match state.claim {
            _ if state.is_removed => Err(BdevError::Removed),
            Some(other) => Err(BdevError::Claimed(other)),
            None if state.writers > 1 => Err(BdevError::OpenForWriting(state.writers - 1)),
            None => {
                state.claim = Some(by);
                Ok(())
            }
        }
    }

    pub(crate) fn close(&self, mode: Mode, has_claim: bool) {
        let mut state = self.state.lock();
        match mode {
            Mode::ReadOnly => state.readers -= 1,
            Mode::ReadWrite => state.writers -= 1,
        }
        if has_claim {
            state.claim = None;
        }
    }

    /// How often it is open: for reading, for writing.
    pub(crate) fn opens(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.readers, state.writers)
    }

    /// Enters a channel, which knows all that has happened so far.
    pub(crate) fn enter(&self, thread: ThreadHandle, core: CoreId, stats: Arc<ChannelStats>) -> Result<(u64, News), BdevError> {
        let mut state = self.state.lock();
        if state.is_removed {
            return Err(BdevError::Removed);
        }
        let (id, reached) = (state.next, state.resets);
        state.next += 1;
        state.channels.push(Entry { id, thread, core, reached, stats, zero: IoStats::default() });
        Ok((id, self.news_of(&state)))
    }

    pub(crate) fn leave(&self, id: u64) {
        // Somebody's reset may have waited for it.
        self.change(|state| {
            if let Some(at) = state.channels.iter().position(|entry| entry.id == id) {
                let entry = state.channels.swap_remove(at);
                state.past.add(entry.read());
            }
        });
    }

    pub(crate) fn news(&self) -> News {
        self.news_of(&self.state.lock())
    }

    fn news_of(&self, state: &State) -> News {
        News { epoch: self.epoch(), is_removed: state.is_removed, resets: state.resets, blocks: self.blocks() }
    }

    /// Asks every channel for a reset; its number.
    pub(crate) fn reset(&self) -> u64 {
        self.change(|state| {
            state.resets += 1;
            state.resets
        })
    }

    /// The channel has nothing under way from before this reset.
    pub(crate) fn reach(&self, id: u64, reset: u64) {
        self.change(|state| {
            if let Some(entry) = state.channels.iter_mut().find(|entry| entry.id == id) {
                entry.reached = reset;
            }
        });
    }

    /// The last reset that all channels have reached.
    pub(crate) fn all_reached(&self) -> u64 {
        let state = self.state.lock();
        state.channels.iter().map(|entry| entry.reached).min().unwrap_or(state.resets)
    }

    pub(crate) fn stats(&self) -> IoStats {
        let state = self.state.lock();
        state.channels.iter().fold(state.past, |mut sum, entry| {
            sum.add(entry.read());
            sum
        })
    }

    /// The channels that there are: their threads, their cores, what they have done.
    pub(crate) fn channel_stats(&self) -> Vec<(ThreadHandle, CoreId, IoStats)> {
        let state = self.state.lock();
        state.channels.iter().map(|entry| (entry.thread.clone(), entry.core, entry.read())).collect()
    }

    /// Counts from 0 again.
    pub(crate) fn reset_stats(&self, what: ResetStats) {
        let mut state = self.state.lock();
        state.past.reset(what);
        for entry in &mut state.channels {
            if what != ResetStats::Errors {
                entry.stats.reset_extremes();
            }
            entry.zero.take(what, entry.stats.read());
        }
    }
}
