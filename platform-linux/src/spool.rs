//! Output that keeps no reactor waiting: a thread of its own writes what others have queued.
//!
//! Whoever reads a pipe or a terminal may stop to, and then a write takes for ever, and all that
//! the writing core serves waits with it. A [`Spool`] takes bytes at once, up to a bound, and
//! refuses them beyond it.
// UNSAFETY: `write`, `poll` and `atexit` are raw system calls.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use core_reactor::PlatformError;

use crate::thread::spawn_off_reactor;

/// How long the end of the process waits for what is still queued, over all spools.
const AT_EXIT: Duration = Duration::from_secs(1);

/// A queue of bytes before a descriptor, and the thread that writes them, in order and one piece
/// after the other.
///
/// What is queued when the process exits (from `main`, or by `exit`) is still written, for a second
/// at most; after a signal or `abort` it is not. Dropped, it writes what it has and waits for
/// nothing.
pub struct Spool(Arc<Shared>);

struct Shared {
    to: Box<dyn AsFd + Send + Sync>,
    most: usize,
    queue: Mutex<Queue>,
    /// For the writer: there is something, or it is to end.
    more: Condvar,
    /// For those that flush: something has been written.
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    bytes: VecDeque<u8>,
    /// Pieces refused since the writer last looked.
    lost: u64,
    /// Pieces refused at all.
    lost_ever: u64,
    /// Pieces and notices of loss that are to be written, and those of them that are.
    taken: u64,
    done: u64,
    failed: Option<i32>,
    /// What had been written when a last flush waited for more in vain.
    given_up_at: Option<u64>,
    closed: bool,
}

/// Why not all that was queued has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolError {
    /// The time was up: nobody reads at the other end.
    Stuck(Duration),
    /// So many pieces found no room and were refused.
    Lost(u64),
    /// A write failed with this number (`errno`).
    Write(i32),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck(limit) => write!(f, "nobody has read it for {limit:?}"),
            Self::Lost(pieces) => write!(f, "{pieces} pieces were dropped, as nobody read them"),
            Self::Write(code) => write!(f, "{}", io::Error::from_raw_os_error(*code)),
        }
    }
}

impl std::error::Error for SpoolError {}

impl Spool {
    /// Starts the thread that writes `to`. It holds up to `most` bytes, and as many again while
    /// they are being written. Where pieces were refused, `notice` makes what is written in their
    /// place out of their number; empty is nothing.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start<N>(name: &str, to: impl AsFd + Send + Sync + 'static, most: usize, notice: N) -> Result<Self, PlatformError>
    where
        N: Fn(u64) -> String + Send + 'static,
    {
        let (queue, more, written) = (Mutex::default(), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { to: Box::new(to), most, queue, more, written });
        let writer = shared.clone();
        spawn_off_reactor(name, move || writer.write(notice))?;
        flush_at_exit(&shared);
        Ok(Self(shared))
    }

    /// Queues a piece; false if there is no room for all of it. Never waits. Once a piece was
    /// refused all others are, until the writer gets on: what comes out has its gaps in one place
    /// each.
    pub fn push(&self, piece: &[u8]) -> bool {
        let mut queue = self.0.lock();
        let fits = queue.lost == 0 && queue.bytes.len() + piece.len() <= self.0.most;
        if fits {
            queue.bytes.extend(piece);
            queue.taken += 1;
        } else {
            // The notice of it is a piece that is still to be written.
            queue.taken += u64::from(queue.lost == 0);
            queue.lost += 1;
            queue.lost_ever += 1;
        }
        self.0.more.notify_one();
        fits
    }

    /// Waits until all that is queued now is written. Not for a reactor.
    ///
    /// # Errors
    /// That takes longer than `limit`; or it is done, and some of all that was ever pushed is lost.
    pub fn flush(&self, limit: Duration) -> Result<(), SpoolError> {
        self.0.flush(limit)
    }

    /// As [`flush`](Self::flush), at the end of things: a reader whom another such call has waited
    /// for in vain, and who has read nothing since, is not waited for again.
    ///
    /// # Errors
    /// As those of `flush`.
    pub fn flush_last(&self, limit: Duration) -> Result<(), SpoolError> {
        self.0.flush_last(limit)
    }

    /// Whether a short write would not wait: all is written, and the descriptor takes more.
    pub fn is_clear(&self) -> bool {
        let queue = self.0.lock();
        queue.done == queue.taken && ready(self.0.to.as_fd().as_raw_fd(), 0)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.more.notify_one();
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.0.lock();
        write!(f, "{} bytes queued, {} pieces lost", queue.bytes.len(), queue.lost_ever)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the writer. The lock is held for moments, never over a write.
    fn write(&self, notice: impl Fn(u64) -> String) {
        let mut batch = VecDeque::new();
        loop {
            let mut queue = self.lock();
            while queue.bytes.is_empty() && queue.lost == 0 {
                if queue.closed {
                    return;
                }
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut queue.bytes, &mut batch);
            let (lost, taken) = (std::mem::take(&mut queue.lost), queue.taken);
            drop(queue);
            if lost > 0 {
                // All that was refused came after all that was taken.
                batch.extend(notice(lost).into_bytes());
            }
            let outcome = write_all(self.to.as_fd().as_raw_fd(), batch.make_contiguous());
            batch.clear();
            let mut queue = self.lock();
            queue.done = taken;
            queue.failed = queue.failed.or(outcome.err());
            self.written.notify_all();
        }
    }

    fn flush_last(&self, limit: Duration) -> Result<(), SpoolError> {
        let queue = self.lock();
        let limit = if queue.given_up_at == Some(queue.done) { Duration::ZERO } else { limit };
        drop(queue);
        let outcome = self.flush(limit);
        if let Err(SpoolError::Stuck(_)) = outcome {
            let mut queue = self.lock();
            queue.given_up_at = Some(queue.done);
        }
        outcome
    }

    fn flush(&self, limit: Duration) -> Result<(), SpoolError> {
        let began = Instant::now();
        let mut queue = self.lock();
        let all = queue.taken;
        while queue.done < all {
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(SpoolError::Stuck(limit));
            }
            queue = self.written.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match (queue.failed, queue.lost_ever) {
            (Some(code), _) => Err(SpoolError::Write(code)),
            (None, 0) => Ok(()),
            (None, lost) => Err(SpoolError::Lost(lost)),
        }
    }
}

/// Writes all of it, however long that takes, also to a descriptor that does not block. The error
/// is `errno`.
fn write_all(fd: i32, mut bytes: &[u8]) -> Result<(), i32> {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads so many bytes.
        let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(n) {
            Ok(n) => bytes = &bytes[n..],
            Err(_) => match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
                libc::EINTR => {}
                libc::EAGAIN => drop(ready(fd, -1)),
                code => return Err(code),
            },
        }
    }
    Ok(())
}

/// Whether the descriptor takes more within so many milliseconds (-1: whenever), or tells at once
/// why not.
fn ready(fd: i32, wait_ms: i32) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the kernel reads and writes one pollfd.
    unsafe { libc::poll(&mut poll, 1, wait_ms) > 0 }
}

/// What `exit` has to flush. A function that it calls is given nothing, so it needs a global.
static SPOOLS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());
static AT_EXIT_IS_SET: Once = Once::new();

fn flush_at_exit(spool: &Arc<Shared>) {
    let mut spools = SPOOLS.lock().unwrap_or_else(PoisonError::into_inner);
    spools.retain(|other| other.strong_count() > 0);
    spools.push(Arc::downgrade(spool));
    drop(spools);
    // Fails only for want of memory, and then the end is a little less orderly.
    // SAFETY: the function does not unwind (an `extern "C"` function cannot) and needs nothing that
    // `exit` takes away: it waits for a thread, under a lock that no thread holds for long.
    AT_EXIT_IS_SET.call_once(|| unsafe {
        libc::atexit(flush_all);
    });
}

extern "C" fn flush_all() {
    let spools = std::mem::take(&mut *SPOOLS.lock().unwrap_or_else(PoisonError::into_inner));
    let began = Instant::now();
    for spool in spools.iter().filter_map(Weak::upgrade) {
        // There is nobody left to tell.
        let _ = spool.flush_last(AT_EXIT.saturating_sub(began.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, Write, pipe};
    use std::os::fd::BorrowedFd;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Nothing that is waited for takes this long, on any machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A pipe that is full, so that the next write waits for a reader; and its bytes.
    fn full_pipe() -> (PipeReader, std::io::PipeWriter, usize) {
        let (reader, writer) = pipe().unwrap();
        // SAFETY: passes numbers.
        let bytes = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) } as usize;
        (&writer).write_all(&vec![b'.'; bytes]).unwrap();
        (reader, writer, bytes)
    }

    fn notice(lost: u64) -> String {
        format!("<{lost} lost>")
    }

    /// Reads `bytes` bytes that are no one's, then the rest up to the end.
    fn rest(mut reader: PipeReader, bytes: usize) -> String {
        reader.read_exact(&mut vec![0; bytes]).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn s50_pieces_are_written_in_order_and_the_last_before_a_flush_returns() {
        let (mut reader, writer) = pipe().unwrap();
        let spool = Spool::start("spool", writer, 1 << 10, notice).unwrap();
        for n in 0..200 {
            let piece = format!("{n:04}");
            assert!(spool.push(piece.as_bytes()));
            assert_eq!(spool.flush(PATIENCE), Ok(()));
            let mut got = [0; 4];
            reader.read_exact(&mut got).unwrap();
            assert_eq!(got, piece.as_bytes());
        }
        assert!(spool.is_clear());
    }

    #[test]
    fn s50_a_reader_that_stops_costs_lines_and_no_time_and_the_gap_is_said_where_it_is() {
        let (reader, writer, bytes) = full_pipe();
        let spool = Spool::start("spool", writer, 8, notice).unwrap();
        assert!(spool.push(b"first"));
        // The writer has taken the first piece and is stuck with it once there is room for a piece
        // that fills the queue.
        while !spool.0.lock().bytes.is_empty() {
            std::thread::yield_now();
        }
        assert!(!spool.is_clear());
        assert!(spool.push(b"in room!"));
        assert!(!spool.push(b"a"), "over the bound");
        assert!(!spool.push(b"") && !spool.push(b"b"), "behind a gap");
        assert_eq!(spool.0.lock().bytes.len(), 8, "memory stays within the bound");
        assert_eq!(spool.flush(Duration::ZERO), Err(SpoolError::Stuck(Duration::ZERO)));
        let text = std::thread::spawn(move || rest(reader, bytes));
        assert_eq!(spool.flush(PATIENCE), Err(SpoolError::Lost(3)));
        assert!(spool.is_clear(), "the notice is written");
        assert!(spool.push(b" after"));
        drop(spool);
        assert_eq!(text.join().unwrap(), "firstin room!<3 lost> after");
    }

    #[test]
    fn a_spool_without_anything_queued_is_not_clear_while_its_descriptor_is_full() {
        let (reader, writer, bytes) = full_pipe();
        let spool = Spool::start("spool", writer, 8, notice).unwrap();
        assert!(!spool.is_clear());
        (&reader).read_exact(&mut vec![0; bytes]).unwrap();
        assert!(spool.is_clear());
    }

    #[test]
    fn s50_what_is_queued_during_a_write_is_not_written_with_it() {
        let (mut reader, writer, bytes) = full_pipe();
        let spool = Spool::start("spool", writer, 1 << 16, notice).unwrap();
        // As much as one slot of a pipe takes.
        let page = [b'p'; 4096];
        assert!(spool.push(&page));
        while !spool.0.lock().bytes.is_empty() {
            std::thread::yield_now();
        }
        assert!(spool.push(b"second"));
        reader.read_exact(&mut [0; 4096]).unwrap();
        while spool.0.lock().done == 0 {
            std::thread::yield_now();
        }
        assert_eq!(spool.flush(Duration::ZERO), Err(SpoolError::Stuck(Duration::ZERO)));
        let text = std::thread::spawn(move || rest(reader, bytes));
        assert_eq!(spool.flush(PATIENCE), Ok(()));
        drop(spool);
        assert_eq!(text.join().unwrap(), "second");
    }

    #[test]
    fn s50_the_end_waits_once_for_a_reader_that_does_not_read() {
        let (reader, writer, bytes) = full_pipe();
        let spool = Spool::start("spool", writer, 1 << 10, notice).unwrap();
        assert!(spool.push(b"unread"));
        let moment = Duration::from_millis(1);
        assert_eq!(spool.flush(moment), Err(SpoolError::Stuck(moment)), "this is not the end");
        assert_eq!(spool.flush_last(moment), Err(SpoolError::Stuck(moment)));
        assert!(spool.push(b", too"));
        assert_eq!(spool.flush_last(PATIENCE), Err(SpoolError::Stuck(Duration::ZERO)), "it has been waited for");
        let text = std::thread::spawn(move || rest(reader, bytes));
        assert_eq!(spool.flush(PATIENCE), Ok(()));
        assert!(spool.push(b"; now it is"));
        assert_eq!(spool.flush_last(PATIENCE), Ok(()), "it reads again");
        drop(spool);
        assert_eq!(text.join().unwrap(), "unread, too; now it is");
    }

    #[test]
    fn s50_a_descriptor_that_does_not_block_gets_everything_too() {
        let (reader, writer, bytes) = full_pipe();
        // SAFETY: passes numbers.
        assert_eq!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
        let spool = Spool::start("spool", writer, 1 << 20, notice).unwrap();
        let long = "0123456789".repeat(30_000);
        assert!(spool.push(long.as_bytes()));
        drop(spool);
        assert!(rest(reader, bytes) == long);
    }

    #[test]
    fn s50_a_write_that_fails_is_told_by_the_flush() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let spool = Spool::start("spool", writer, 8, notice).unwrap();
        assert!(spool.push(b"nobody"));
        assert_eq!(spool.flush(PATIENCE), Err(SpoolError::Write(libc::EPIPE)));
    }

    /// The process of the next test: its spools get at their descriptor some time after it has
    /// begun to exit, the first one last.
    fn exit_if_child() {
        static EXITS: AtomicBool = AtomicBool::new(false);
        extern "C" fn exits() {
            EXITS.store(true, Ordering::Relaxed);
        }
        struct Late(std::io::Stdout, Duration);
        impl AsFd for Late {
            fn as_fd(&self) -> BorrowedFd<'_> {
                while !EXITS.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                std::thread::sleep(self.1);
                self.0.as_fd()
            }
        }
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let spools = [("one", 100), ("other", 20)].map(|(line, late)| {
            let to = Late(std::io::stdout(), Duration::from_millis(late));
            (line, Spool::start("spool", to, 1 << 10, notice).unwrap())
        });
        // What is registered last is called first.
        // SAFETY: it stores a flag.
        assert_eq!(unsafe { libc::atexit(exits) }, 0);
        spools.iter().for_each(|(line, spool)| assert!(spool.push(format!("the {line} is written\n").as_bytes())));
        std::process::exit(0);
    }

    const CHILD: &str = "LCORE_TEST_EXITS";

    #[test]
    fn s50_what_is_queued_when_the_process_exits_is_written() {
        exit_if_child();
        let name = "spool::tests::s50_what_is_queued_when_the_process_exits_is_written";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, "").output().unwrap();
        assert!(child.status.success());
        let text = String::from_utf8(child.stdout).unwrap();
        assert!(["one", "other"].iter().all(|line| text.contains(&format!("the {line} is written\n"))), "{text}");
    }

    #[test]
    fn a_spool_that_is_gone_is_not_kept_for_the_end() {
        let (_reader, writer) = pipe().unwrap();
        let spool = Spool::start("spool", writer, 8, notice).unwrap();
        let gone = Arc::downgrade(&spool.0);
        drop(spool);
        while gone.strong_count() > 0 {
            std::thread::yield_now();
        }
        let _next = Spool::start("spool", pipe().unwrap().1, 8, notice).unwrap();
        assert!(!SPOOLS.lock().unwrap().iter().any(|spool| spool.ptr_eq(&gone)));
    }
}
