//! hyper's `rt`: [`TcpStream`] reads and writes, [`Runtime`] executes, [`HyperTimer`] tells the
//! time. So hyper's servers and clients run on a lcore thread, with services that need not be
//! `Send`.

use alloc::boxed::Box;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{IoSlice, Result};
use std::time::Instant;

use hyper::rt::{Executor, Read, ReadBufCursor, Timer, Write};
use send_wrapper::SendWrapper;

use crate::io::polled_writes;
use crate::{Runtime, Sleep, TcpStream};

impl Read for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<Result<()>> {
        self.conn().io_read(cx, buf.remaining(), |bytes| buf.put_slice(bytes)).map_ok(drop)
    }
}

polled_writes!(Write for TcpStream, poll_shutdown, is_write_vectored);

/// Tasks of the runtime. What finds no place among them ([`Config::tasks`](crate::Config::tasks))
/// is dropped, and its connection with it, which is logged.
impl<F: Future + 'static> Executor<F> for Runtime {
    fn execute(&self, future: F) {
        if let Err(refused) = self.spawn_local(future) {
            logging::warn!("a future of hyper's is dropped: {}", refused.why);
        }
    }
}

/// The runtime's clock and timers, as hyper wants them: for its builders' `timer`. hyper has timers
/// be `Send`; away from its thread this one panics when it is used or dropped.
#[derive(Clone)]
pub struct HyperTimer(SendWrapper<Epoch>);

/// The runtime, and a moment on both clocks.
#[derive(Clone)]
struct Epoch {
    runtime: Runtime,
    here: core_reactor::Instant,
    there: Instant,
}

impl HyperTimer {
    /// The timer of `runtime`.
    pub fn new(runtime: &Runtime) -> Self {
        Self(SendWrapper::new(Epoch { runtime: runtime.clone(), here: runtime.now(), there: Instant::now() }))
    }
}

impl Timer for HyperTimer {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep(SendWrapper::new(self.0.runtime.sleep(time))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let deadline = self.0.here + deadline.saturating_duration_since(self.0.there);
        Box::pin(HyperSleep(SendWrapper::new(self.0.runtime.sleep_until(deadline))))
    }

    fn now(&self) -> Instant {
        self.0.there + self.0.runtime.now().since(self.0.here)
    }
}

impl fmt::Debug for HyperTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HyperTimer")
    }
}

struct HyperSleep(SendWrapper<Sleep>);

impl Future for HyperSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut *self.0).poll(cx)
    }
}

impl hyper::rt::Sleep for HyperSleep {}
