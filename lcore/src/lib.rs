//! The face of lcore for applications.
//!
#![doc = include_str!("../README.md")]
//!
//! An [`App`] takes SPDK's options from the command line or a file, starts a reactor on each core
//! of `-m` (without it one, which is pinned to none), runs a start function on the first thread and
//! stops in order. Everything below it (`core_reactor`, `pool`) is reachable from here, so that an
//! application depends on this crate alone. See `examples/echo.rs` for a whole server.
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

mod app;
mod args;
mod backend;
mod config;
#[cfg(feature = "rpc")]
mod control;
mod data_pool;
mod linked;
mod logging;
#[cfg(feature = "metrics")]
mod metrics;
mod options;
mod output;
#[cfg(any(feature = "rpc", feature = "metrics"))]
mod registered;
#[cfg(feature = "observe")]
mod stalls;
#[cfg(all(feature = "observe", feature = "rpc"))]
mod trace_file;
#[cfg(feature = "rpc")]
mod tuned;

/// With the feature `bytes`, buffers become `bytes::Bytes` and are its `Buf` and `BufMut`.
#[cfg(feature = "bytes")]
#[doc(no_inline)]
pub use ::bytes;
/// What commands are described with: [`AppOptions`] is flattened into one. A derive finds it where
/// the name `clap` is in scope: `use lcore::clap;`.
#[doc(no_inline)]
pub use ::clap;
/// The lines of the log: `log::info!`.
#[doc(no_inline)]
pub use ::log;
pub use ::logging::part as log_part;
#[cfg(feature = "rpc")]
pub use ::rpc;
/// What [`App::config`] reads keys with. A derive is told where it is:
/// `#[serde(crate = "lcore::serde")]`.
#[doc(no_inline)]
pub use ::serde;
/// The registry of statistics: [`stats!`](statistics::stats) writes figures down, and a [`Source`]
/// in [`LCORE_STATS`] shows them.
pub use ::statistics;
pub use app::{App, AppHandle, Failure, StartedApp};
pub use args::parse_args;
#[cfg(feature = "rpc")]
pub use control::RpcOptions;
pub use core_reactor::{
    Bell, Bucket, ChannelInfo, CoreId, Cores, CpuSet, CpuSetError, Critical, CriticalError, Cx, Deadlines, EventList, Gone, Histogram,
    Hold, Idle, Instant, IoChannel, IoDevice, LCORE_STATS, MoveError, Msg, Name, Peers, Platform, PlatformError, Polled, Poller,
    PollerCounts, PollerId, PollerInfo, PollerStats, PushError, Reactor, ReactorOptions, ReactorStats, Reactors, Refused, Registered,
    Schedule, Shard, ShardConfig, Sharded, Source, SpawnError, StalePoller, Thread, ThreadConfig, ThreadHandle, ThreadId, ThreadInfo,
    ThreadLib, ThreadLibOptions, ThreadStats, Turn, Unregistered, View, WaitSource, Watch, net, plugin, register_stats, sim, transport,
};
#[cfg(feature = "observe")]
pub use core_reactor::{CoreTrace, GoingOn, Stall, TRACE_GROUPS, ThreadHistograms, TraceEvent, TraceGroup, Tracepoint};
pub use data_pool::{DataPoolError, PoolOptions};
pub use linked::{NET_FEATURES, TRANSPORT_FEATURES, net_backends, transports};
#[cfg(feature = "metrics")]
pub use metrics::MetricsError;
pub use options::{AppOptions, Balance, LogFormat, LogLevel, OptionsError};
pub use platform_linux as platform;
pub use platform_linux::{spawn_off_reactor, unaffinitized};
pub use pool;
