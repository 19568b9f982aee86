#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;
#[cfg(any(feature = "files", feature = "futures-io", feature = "hyper", feature = "names", feature = "tokio"))]
extern crate std;

#[cfg(any(feature = "files", feature = "names"))]
mod aside;
#[cfg(feature = "embedded-io-async")]
mod embedded;
#[cfg(feature = "files")]
mod file;
#[cfg(feature = "futures-io")]
mod futures;
#[cfg(feature = "hyper")]
mod hyper;
#[cfg(any(feature = "futures-io", feature = "hyper", feature = "tokio"))]
mod io;
#[cfg(feature = "names")]
mod names;
mod net;
mod runtime;
mod task;
mod tcp;
mod time;
mod timers;
#[cfg(feature = "tokio")]
mod tokio;
mod unix;
mod waiters;

#[cfg(feature = "embedded-io-async")]
pub use embedded::EmbeddedError;
#[cfg(feature = "files")]
pub use file::{File, FileError};
#[cfg(feature = "hyper")]
pub use hyper::HyperTimer;
#[cfg(any(feature = "futures-io", feature = "hyper", feature = "tokio"))]
pub use io::io_error;
#[cfg(feature = "names")]
pub use names::{LookupError, lookup_host};
pub use runtime::{Config, ExitHold, Exiting, Runtime, UntilExit};
pub use task::{Aborted, JoinHandle, SpawnError, yield_now};
pub use tcp::{ReadHalf, TcpListener, TcpStream, WriteHalf};
pub use time::{Elapsed, Interval, Sleep, Timeout};
pub use unix::UnixListener;
