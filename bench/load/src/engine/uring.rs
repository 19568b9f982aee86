//! io_uring: multishot receives out of one small ring of buffers, sends straight from the pattern,
//! one enter for a batch.
// UNSAFETY: submitting an entry promises that its memory stays until it completes: the pattern and
// the buffers stay until the process ends or the ring is gone.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use bufring::BufRing;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::connections::Connections;
use crate::run::Run;

/// Entries of the submission queue; the completion queue has sixteen times as many.
const ENTRIES: u32 = 1024;

/// Receive buffers and their size: small enough to stay in the cache of the core.
const BUFFERS: (u16, u32) = (32, 16 << 10);

/// The upper half of an operation's user data; the connection's number is the lower.
const RECEIVE: u64 = 0;
const SEND: u64 = 1 << 32;

pub(crate) fn run(connections: &mut Connections, run: &mut Run) -> Result<()> {
    let mut engine = Engine::open(connections)?;
    for index in 0..engine.connections.sockets.len() {
        engine.receive(index)?;
    }
    run.begin(engine.connections.busy())?;
    for index in engine.connections.busy() {
        engine.send(run, index)?;
    }
    let mut batch = Vec::with_capacity(16 * ENTRIES as usize);
    loop {
        engine.enter()?;
        batch.extend(engine.ring.completion());
        let (now, events) = (run.now(), batch.len());
        for done in batch.drain(..) {
            engine.complete(run, &done, now)?;
        }
        if !run.goes_on(now, events)? {
            return engine.stop();
        }
    }
}

struct Engine<'a> {
    ring: IoUring,
    buffers: BufRing,
    connections: &'a Connections,
    /// Bytes of the send that is on its way, or 0; there is never more than one on a connection,
    /// which keeps the order.
    sending: Vec<usize>,
    receiving: usize,
    stopping: bool,
}

impl<'a> Engine<'a> {
    fn open(connections: &'a Connections) -> Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(16 * ENTRIES)
            .build(ENTRIES)
            .context("could not make an io_uring with deferred work (Linux 6.1): take --engine epoll")?;
        let (count, size) = BUFFERS;
        let buffers = BufRing::register(&ring.submitter(), 0, count, size).context("could not make a ring of buffers")?;
        let sending = vec![0; connections.sockets.len()];
        Ok(Self { ring, buffers, connections, sending, receiving: 0, stopping: false })
    }

    /// Submits what is queued and runs what has arrived; no system call if there is neither.
    fn enter(&mut self) -> Result<()> {
        let nothing = {
            let queue = self.ring.submission();
            queue.is_empty() && !queue.taskrun()
        };
        if nothing {
            std::hint::spin_loop();
            return Ok(());
        }
        match self.ring.submit() {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(()),
            Err(e) => Err(e).context("io_uring_enter failed"),
        }
    }

    fn complete(&mut self, run: &mut Run, done: &cqueue::Entry, now: u64) -> Result<()> {
        let index = done.user_data() as u32 as usize;
        if done.user_data() & SEND != 0 {
            let asked = std::mem::take(&mut self.sending[index]);
            if done.result() != asked as i32 {
                bail!("the server broke connection {index}: a send of {asked} bytes gave {}", done.result());
            }
        } else {
            self.received(run, index, done, now)?;
        }
        self.send(run, index)
    }

    fn received(&mut self, run: &mut Run, index: usize, done: &cqueue::Entry, now: u64) -> Result<()> {
        if !cqueue::more(done.flags()) {
            self.receiving -= 1;
        }
        match done.result() {
            n if n > 0 => {
                let piece = self.buffers.take(n as u32, done.flags()).context("a receive came without a buffer")?;
                // SAFETY: just taken from this ring.
                let checked = run.streams.received(index, unsafe { self.buffers.bytes(&piece) }, now);
                self.buffers.give(piece);
                checked?;
            }
            0 => bail!("the server closed connection {index}"),
            e if e == -libc::ENOBUFS => {}
            e if e == -libc::ECANCELED && self.stopping => return Ok(()),
            e => bail!("the server broke connection {index}: {}", std::io::Error::from_raw_os_error(-e)),
        }
        if cqueue::more(done.flags()) { Ok(()) } else { self.receive(index) }
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        self.receiving += 1;
        let fd = types::Fd(self.connections.sockets[index].as_raw_fd());
        self.push(opcode::RecvMulti::new(fd, self.buffers.group()).build().user_data(RECEIVE | index as u64))
    }

    /// Sends what is unsent. It counts as sent at once, because its echo may be seen before its
    /// completion.
    fn send(&mut self, run: &mut Run, index: usize) -> Result<()> {
        let unsent = run.streams.unsent(index);
        if unsent.is_empty() || self.sending[index] > 0 {
            return Ok(());
        }
        let (from, len) = (unsent.as_ptr(), unsent.len());
        self.sending[index] = len;
        run.streams.sent(index, len);
        let fd = types::Fd(self.connections.sockets[index].as_raw_fd());
        // Waits for room until all has gone, so that a short count is an error.
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        self.push(opcode::Send::new(fd, from, len as u32).flags(flags).build().user_data(SEND | index as u64))
    }

    /// Ends the receives, so that the connections can be read from with plain calls again.
    fn stop(&mut self) -> Result<()> {
        self.stopping = true;
        let all = types::CancelBuilder::any();
        self.ring.submitter().register_sync_cancel(None, all).context("could not cancel the receives")?;
        while self.receiving > 0 {
            self.ring.submit_and_wait(1)?;
            let batch: Vec<_> = self.ring.completion().collect();
            for done in batch.iter().filter(|done| done.user_data() & SEND == 0) {
                let index = done.user_data() as u32 as usize;
                match done.result() {
                    e if e == -libc::ECANCELED || e == -libc::ENOBUFS => self.receiving -= usize::from(!cqueue::more(done.flags())),
                    e => bail!("connection {index} got something that was never asked for ({e})"),
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, entry: squeue::Entry) -> Result<()> {
        loop {
            // SAFETY: sends read from the pattern, which outlives the ring; receives write to the
            // buffers, which stay until the process ends.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit().context("io_uring_enter failed")?;
        }
    }
}
