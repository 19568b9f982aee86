//! What an application prints on standard output, without waiting for whoever reads it.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use core_reactor::PlatformError;
use platform_linux::Spool;

use crate::Failure;

/// Bytes of lines that wait for their reader. A pipe holds 64 KiB more.
const QUEUED: usize = 1 << 20;
/// How long the end of an application waits for the reader of its last lines.
const AT_END: Duration = Duration::from_secs(5);

/// Standard output behind a queue, once something has been printed.
#[derive(Default)]
pub(crate) struct Output(OnceLock<Result<Spool, PlatformError>>);

impl Output {
    pub(crate) fn println(&self, line: &dyn fmt::Display) {
        let spool = self.0.get_or_init(|| Spool::start("output", platform_linux::stdout()?, QUEUED, |_| String::new()));
        if let Ok(spool) = spool {
            // What is refused shows when it is flushed.
            spool.push(format!("{line}\n").as_bytes());
        }
    }

    /// Waits until all is written.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        match self.0.get() {
            Some(Ok(spool)) => Ok(spool.flush_last(AT_END)?),
            Some(Err(why)) => Err(why.clone().into()),
            None => Ok(()),
        }
    }
}
