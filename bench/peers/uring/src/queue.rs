//! The ring's two queues, and when to enter the kernel.

use anyhow::{Context, Result};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, squeue};

/// Entries of the submission queue; the completion queue has eight times as many.
const ENTRIES: u32 = 1024;

/// A ring whose work is only run when its own thread asks for it.
///
/// # Errors
/// Of the kernel, which may be too old.
pub(crate) fn ring() -> Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(8 * ENTRIES)
        .build(ENTRIES)
        .context("could not make an io_uring with deferred work (Linux 6.1)")
}

/// Both queues; what one side has done becomes known to the other once for each batch.
pub(crate) struct Queue<'a> {
    submitter: Submitter<'a>,
    submissions: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
}

impl<'a> Queue<'a> {
    pub(crate) fn new(ring: &'a mut IoUring) -> Self {
        let (submitter, submissions, completions) = ring.split();
        Self { submitter, submissions, completions }
    }

    /// Submits, and runs what has arrived; sleeps for it if not `busy`. No system call if there is
    /// nothing to do.
    pub(crate) fn enter(&mut self, busy: bool) -> Result<()> {
        self.submissions.sync();
        if busy && self.submissions.is_empty() && !self.submissions.taskrun() {
            std::hint::spin_loop();
            return Ok(());
        }
        let entered = if busy { self.submitter.submit() } else { self.submitter.submit_and_wait(1) };
        self.submissions.sync();
        self.completions.sync();
        match entered {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
            Err(e) => Err(e).context("io_uring_enter failed"),
        }
    }

    /// The next completion of this batch.
    pub(crate) fn next(&mut self) -> Option<cqueue::Entry> {
        self.completions.next()
    }

    /// # Safety
    /// What the entry speaks of stays until it has completed.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<()> {
        loop {
            // SAFETY: as the caller promises.
            if unsafe { self.submissions.push(entry) }.is_ok() {
                return Ok(());
            }
            self.submissions.sync();
            self.submitter.submit().context("io_uring_enter failed")?;
            self.submissions.sync();
        }
    }
}
