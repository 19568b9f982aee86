//! What stands in the place of `observe.rs` where the feature is off: nothing, at no cost.

use core::fmt;
use core::time::Duration;

use crate::handle::ThreadId;
use crate::net::{GroupStats, NetEvent};
use crate::set::Set;
use crate::{CoreId, Cx, Instant, Name, Platform, Turn};

#[derive(Clone, Copy, Default)]
pub(crate) struct Label(());

impl Label {
    pub(crate) const MESSAGES: Self = Self(());
}

pub(crate) struct SetObserver;

pub(crate) struct ThreadObserver;

pub(crate) struct ReactorObserver;

#[derive(Default)]
pub(crate) struct RungAt(());

impl SetObserver {
    pub(crate) fn new(_cores: impl Iterator<Item = CoreId>, _limit: Duration) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn label(&self, _name: &Name) -> Label {
        Label(())
    }
}

impl ThreadObserver {
    pub(crate) fn new(_set: &Set, _id: ThreadId, _core: CoreId) -> Self {
        Self
    }

    pub(crate) fn set_core(&mut self, _set: &Set, _core: CoreId) {}

    #[inline(always)]
    pub(crate) fn begin_turn(&self) {}

    #[inline(always)]
    pub(crate) fn looks_closely(&self, _now: Instant) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn found_none(&mut self, _now: Instant) {}

    #[inline(always)]
    pub(crate) fn begin_messages(&mut self, _count: usize, _batch: usize, _depth: impl FnOnce() -> usize, _now: Instant) {}

    #[inline(always)]
    pub(crate) fn slept(&mut self, _since: Instant) {}

    #[inline(always)]
    pub(crate) fn begin_poller(&self, _label: Label) {}

    #[inline(always)]
    pub(crate) fn timer_came(&mut self, _deadline: Instant, _now: Instant) {}

    #[inline(always)]
    pub(crate) fn ran_messages(&mut self, _count: u32, _took_ns: u64, _now: Instant, _closely: bool) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn ran_poller(&mut self, _label: Label, _took_ns: u64, _now: Instant, _closely: bool) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn ran_idle(&mut self, _took_ns: u64) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn stalled(&self, _set: &Set, _thread: &Name, _label: Label, _took_ns: u64, _now: Instant, _is_exact: bool) {}
}

impl ReactorObserver {
    pub(crate) fn new(_set: &Set, _core: CoreId) -> Self {
        Self
    }

    pub(crate) fn run(&mut self) {}

    #[inline(always)]
    pub(crate) fn begin_turn(&self, _now: Instant) {}

    #[inline(always)]
    pub(crate) fn begin_events(&self) {}

    #[inline(always)]
    pub(crate) fn end_turn(&self, _turn: &Turn, _start: Instant, _end: Instant) {}

    #[inline(always)]
    pub(crate) fn ran_events(&self, _set: &Set, _count: usize, _took_ns: u64, _now: Instant) {}

    #[inline(always)]
    pub(crate) fn was_idle(&self, _set: &Set, _idle_ns: u64, _now: Instant) {}

    #[inline(always)]
    pub(crate) fn sleeps(&self) {}

    #[inline(always)]
    pub(crate) fn woke(&mut self, _before: Instant, now: Instant, _until: Option<Instant>, _rung: &RungAt) -> Instant {
        now
    }

    pub(crate) fn stalls(&self) -> u64 {
        0
    }
}

/// Traces nothing of a group's sockets.
pub struct SocketTrace(());

impl fmt::Debug for SocketTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketTrace").finish_non_exhaustive()
    }
}

impl SocketTrace {
    /// For a group on the core and thread of `cx`.
    pub fn new(_cx: &Cx<'_>) -> Self {
        Self(())
    }

    /// For a group without a reactor.
    pub fn nowhere() -> Self {
        Self(())
    }

    /// Whether anything of sockets is traced: never.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        false
    }

    /// Traces a poll.
    #[inline(always)]
    pub fn polled<'a>(&mut self, _events: impl Iterator<Item = &'a NetEvent>, _stats: &GroupStats, _now: Instant) {}
}

impl RungAt {
    #[inline(always)]
    pub(crate) fn note(&self, _platform: &dyn Platform) {}
}
