//! Reactors, lightweight threads, pollers and messages; the traits that platforms and backends
//! implement.
//!
#![doc = include_str!("../README.md")]
//!
//! A `Reactors` set holds one `Reactor` for each core. A reactor turns: it takes messages, runs
//! pollers and timers of the [`Thread`]s placed on it, and parks when nothing has happened for a
//! while. Code runs with a [`Cx`], which is how it reaches its own thread; a `ThreadHandle` is how
//! anyone else does. Time comes from a [`Platform`], so a whole set can run on a hand-moved clock.
#![cfg_attr(not(loom), deny(missing_debug_implementations))]
#![no_std]

extern crate alloc;

mod ask;
pub mod balance;
mod bells;
mod channels;
mod cpus;
mod cx;
mod deadlines;
mod doorbell;
mod event_list;
mod for_each;
mod handle;
mod histogram;
mod info;
mod io_device;
mod keys;
mod msg;
mod name;
pub mod net;
#[cfg_attr(not(feature = "observe"), path = "unobserved.rs")]
mod observe;
mod platform;
pub mod plugin;
mod pollers;
mod reactor;
mod reactors;
mod refused;
mod registry;
mod ring;
mod set;
mod setters;
mod sharded;
pub mod sim;
#[cfg_attr(not(loom), allow(unreachable_pub, reason = "public for the model checker's tests only"))]
mod sleep;
mod stats;
mod sync;
mod thread;
mod thread_lib;
mod time;
mod timers;
pub mod transport;
mod view;

logging::part!("reactor");

pub use ask::Gone;
pub use bells::Bell;
pub use channels::ChannelInfo;
pub use cpus::{CoreId, Cores, CpuSet, CpuSetError};
pub use cx::{Cx, Hold, MoveError, Polled, Poller, Watch};
pub use deadlines::Deadlines;
pub use event_list::EventList;
pub use handle::{Critical, CriticalError, ThreadHandle, ThreadId};
pub use histogram::{Bucket, Histogram};
pub use info::ThreadInfo;
pub use io_device::{IoChannel, IoDevice, Registered, Unregistered};
#[doc(hidden)]
pub use linkme;
pub use msg::Msg;
pub use name::Name;
pub use observe::SocketTrace;
#[cfg(feature = "observe")]
pub use observe::{CoreTrace, GoingOn, Stall, TRACE_GROUPS, ThreadHistograms, TraceEvent, TraceGroup, Tracepoint};
pub use platform::{Platform, PlatformError, WaitSource};
pub use pollers::{PollerId, Schedule, StalePoller};
pub use reactor::{Idle, Reactor};
pub use reactors::{ReactorOptions, Reactors};
pub use refused::Refused;
pub use registry::{LCORE_STATS, Source};
pub use ring::{PushError, Receiver, Ring};
pub use set::{SpawnError, ThreadLibOptions};
pub use sharded::{Peers, Shard, ShardConfig, Sharded};
#[doc(no_inline)]
pub use statistics;
pub use stats::{PollerCounts, PollerInfo, PollerStats, ReactorStats, ThreadStats, Turn};
pub use thread::Thread;
pub use thread_lib::{ThreadConfig, ThreadLib};
pub use time::Instant;
pub use view::View;
#[cfg(loom)]
#[doc(hidden)]
pub use {sleep::Sleep, sync::SLEEP_IS_MODELLED};
