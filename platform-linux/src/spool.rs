//! Output that keeps no reactor waiting: a thread of its own writes what others have queued.
//!
//! Whoever reads a pipe or a terminal may stop to, and then a write takes for ever, and all that
//! the writing core serves waits with it. A [`Spool`] takes bytes at once, up to a bound, and
//! refuses them beyond it.
//!
//! Each reactor has a queue of its own, from one writer to one reader, so that it waits for no
//! other thread either: behind a lock it would, whenever the system takes the core from whoever
//! holds it. All other threads share one queue, which has a lock. Each piece carries the time, and
//! the writer merges by it.
// UNSAFETY: `write`, `poll` and `atexit` are raw system calls.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError, Weak, mpsc};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use core_reactor::{CoreId, PlatformError};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::thread::{core_of_caller, spawn_off_reactor};

/// How long the end of the process waits for what is still queued, over all spools.
const AT_EXIT: Duration = Duration::from_secs(1);
/// As many bytes, and one piece more, are written at once.
const BATCH: usize = 64 << 10;

/// Queues of bytes before a descriptor, and the thread that writes them: what one core queues in
/// its order, and after whatever was queued anywhere before.
///
/// What is queued when the process exits (from `main`, or by `exit`) is still written, for a second
/// at most; after a signal or `abort` it is not. Dropped, it writes what it has and waits for
/// nothing.
pub struct Spool(Arc<Shared>);

struct Shared {
    to: Box<dyn AsFd + Send + Sync>,
    most: usize,
    began: Instant,
    writer: Thread,
    /// Brings the writer the queues of reactors. A send waits for nobody.
    joins: mpsc::Sender<Source>,
    /// The queue of all threads that are no reactors.
    others: Mutex<Queue>,
    closed: AtomicBool,
    progress: Mutex<Progress>,
    /// For those that flush: something has been written.
    written: Condvar,
}

/// How far the writer is. It takes the lock for moments, never over a write.
#[derive(Default)]
struct Progress {
    /// Rounds that were begun, and those of them that are written. A round takes what is queued
    /// when it begins, and what was refused before.
    begun: u64,
    done: u64,
    writes: u64,
    /// Pieces refused, of those that are said.
    lost: u64,
    failed: Option<i32>,
    /// How many writes there had been when a last flush waited for more in vain.
    given_up_at: Option<u64>,
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

/// Pieces that were refused, one after the other, where they would have stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// How many.
    pub pieces: u64,
    /// The reactor that they came from; none is any other thread.
    pub core: Option<CoreId>,
}

thread_local! {
    /// The calling reactor's queues.
    static QUEUES: RefCell<Vec<Own>> = const { RefCell::new(Vec::new()) };
}

/// A reactor's queue to one spool.
struct Own {
    spool: Weak<Shared>,
    core: CoreId,
    queue: Queue,
}

impl Spool {
    /// Starts the thread that writes `to`. Each reactor has room for `most` bytes, of which each
    /// piece takes [`PER_PIECE`](Self::PER_PIECE) besides its own, and so have all other threads
    /// together. Where pieces were refused, `notice` makes what is written in their place; empty is
    /// nothing.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start<N>(name: &str, to: impl AsFd + Send + Sync + 'static, most: usize, notice: N) -> Result<Self, PlatformError>
    where
        N: Fn(Gap) -> String + Send + 'static,
    {
        let (joins, joining) = mpsc::channel();
        let (others, source) = queue(most, None);
        // The writer is told last what it writes, as that has to know the writer's name.
        let (tell, told) = mpsc::sync_channel::<Arc<Shared>>(1);
        let writer = spawn_off_reactor(name, move || {
            if let Ok(shared) = told.recv() {
                Writer { sources: vec![source], joining, batch: Vec::new(), notice }.run(&shared);
            }
        })?;
        let shared = Arc::new(Shared {
            to: Box::new(to),
            most,
            began: Instant::now(),
            writer: writer.thread().clone(),
            joins,
            others: Mutex::new(others),
            closed: AtomicBool::new(false),
            progress: Mutex::default(),
            written: Condvar::new(),
        });
        // It waits for just this.
        let _ = tell.send(shared.clone());
        flush_at_exit(&shared);
        Ok(Self(shared))
    }

    /// Bytes that a piece takes besides its own.
    pub const PER_PIECE: usize = HEAD;

    /// Queues a piece; false if there is no room for all of it. A reactor never waits. Once a piece
    /// of its was refused all others are, until half the room is free: what comes out has its gaps
    /// in few places. A reactor's first piece makes its queue; no other allocates.
    pub fn push(&self, piece: &[u8]) -> bool {
        let taken = match core_of_caller() {
            Some(core) => self.push_from(core, piece),
            None => None,
        };
        let taken = taken.unwrap_or_else(|| {
            let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
            others.push(self.0.now(), piece)
        });
        self.0.writer.unpark();
        taken
    }

    /// As `push`, by a reactor's own queue; none if the thread is at its very end and has it no
    /// more.
    fn push_from(&self, core: CoreId, piece: &[u8]) -> Option<bool> {
        let push = |queues: &RefCell<Vec<Own>>| {
            let mut queues = queues.borrow_mut();
            let this = |own: &Own| own.core == core && std::ptr::eq(own.spool.as_ptr(), Arc::as_ptr(&self.0));
            let place = queues.iter().position(this).unwrap_or_else(|| {
                queues.retain(|own| own.spool.strong_count() > 0);
                let (queue, source) = queue(self.0.most, Some(core));
                // Fails only if the writer has panicked, and then nothing is written at all.
                let _ = self.0.joins.send(source);
                queues.push(Own { spool: Arc::downgrade(&self.0), core, queue });
                queues.len() - 1
            });
            queues[place].queue.push(self.0.now(), piece)
        };
        QUEUES.try_with(push).ok()
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

    /// As [`flush`](Self::flush), and whether a short write would not wait then: all is written,
    /// and the descriptor takes more.
    pub fn is_clear(&self, limit: Duration) -> bool {
        !matches!(self.flush(limit), Err(SpoolError::Stuck(_))) && ready(self.0.to.as_fd().as_raw_fd(), 0)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.writer.unpark();
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.0.progress();
        write!(f, "{} writes, {} pieces lost", progress.writes, progress.lost)
    }
}

/// What stands before a piece: when it was queued, how many of its queue had been refused before
/// it, and its length, as three numbers.
const HEAD: usize = 24;

/// The side of a queue that takes pieces.
struct Queue {
    ring: Producer<u8>,
    /// Pieces refused ever. Only written here.
    lost: Arc<AtomicU64>,
    behind_a_gap: bool,
}

/// The writer's side of it.
struct Source {
    ring: Consumer<u8>,
    lost: Arc<AtomicU64>,
    core: Option<CoreId>,
    /// Refused pieces that are said.
    said: u64,
    /// Refused pieces when the round began.
    seen: u64,
    /// What stands before the next piece, once it is read.
    head: Option<Head>,
}

#[derive(Clone, Copy)]
struct Head {
    at: u64,
    lost: u64,
    bytes: usize,
}

fn queue(most: usize, core: Option<CoreId>) -> (Queue, Source) {
    let (producer, consumer) = RingBuffer::new(most);
    let lost = Arc::new(AtomicU64::new(0));
    let queue = Queue { ring: producer, lost: lost.clone(), behind_a_gap: false };
    (queue, Source { ring: consumer, lost, core, said: 0, seen: 0, head: None })
}

impl Queue {
    fn push(&mut self, at: u64, piece: &[u8]) -> bool {
        let room = self.ring.slots();
        if room < HEAD + piece.len() || (self.behind_a_gap && room < self.ring.buffer().capacity() / 2) {
            self.behind_a_gap = true;
            // Whoever reads the number sees all that was taken before.
            self.lost.fetch_add(1, Ordering::Release);
            return false;
        }
        self.behind_a_gap = false;
        let mut head = [0; HEAD];
        let numbers = [at, self.lost.load(Ordering::Relaxed), piece.len() as u64];
        head.chunks_exact_mut(8).zip(numbers).for_each(|(place, number)| place.copy_from_slice(&number.to_le_bytes()));
        // There is room for both. In between the piece is not there yet for the writer.
        self.ring.push_entire_slice(&head).and_then(|()| self.ring.push_entire_slice(piece)).is_ok()
    }
}

impl Source {
    /// What stands before the next piece, if that is there as a whole.
    fn next(&mut self) -> Option<Head> {
        let mut bytes = [0; HEAD];
        if self.head.is_none() && self.ring.pop_entire_slice(&mut bytes).is_ok() {
            let number = |n: usize| u64::from_le_bytes(std::array::from_fn(|at| bytes[8 * n + at]));
            self.head = Some(Head { at: number(0), lost: number(1), bytes: number(2) as usize });
        }
        self.head.filter(|head| self.ring.slots() >= head.bytes)
    }

    /// Appends the notice of what was refused up to this number, if it is not said.
    fn say(&mut self, lost: u64, notice: &impl Fn(Gap) -> String, batch: &mut Vec<u8>) -> u64 {
        let pieces = lost.saturating_sub(self.said);
        if pieces > 0 {
            batch.extend(notice(Gap { pieces, core: self.core }).into_bytes());
            self.said = lost;
        }
        pieces
    }

    /// Whether nothing comes any more.
    fn is_over(&self) -> bool {
        self.ring.is_abandoned() && self.ring.is_empty() && self.head.is_none() && self.lost.load(Ordering::Acquire) == self.said
    }
}

struct Writer<N> {
    sources: Vec<Source>,
    joining: mpsc::Receiver<Source>,
    batch: Vec<u8>,
    notice: N,
}

impl<N: Fn(Gap) -> String> Writer<N> {
    fn run(mut self, shared: &Shared) {
        loop {
            // Before the round: what was pushed before the end is in it.
            let closed = shared.closed.load(Ordering::Acquire);
            if !self.round(shared) {
                if closed {
                    return;
                }
                thread::park();
            }
        }
    }

    /// Writes what is queued now; false if nothing is.
    fn round(&mut self, shared: &Shared) -> bool {
        shared.progress().begun += 1;
        self.sources.extend(self.joining.try_iter());
        // In this order: a piece that came before a refused one is not younger than `until`, so it
        // is taken before the refused ones are said.
        self.sources.iter_mut().for_each(|source| source.seen = source.lost.load(Ordering::Acquire));
        // And nothing younger is written, even if it is there: something older may come yet, in a
        // queue that was looked at before.
        let until = shared.now();
        let mut lost = 0;
        let mut any = false;
        loop {
            let more = self.merge(until, &mut lost);
            if !more {
                for source in &mut self.sources {
                    lost += source.say(source.seen, &self.notice, &mut self.batch);
                }
            }
            any |= !self.batch.is_empty();
            let outcome = write_all(shared.to.as_fd().as_raw_fd(), &self.batch);
            let mut progress = shared.progress();
            progress.writes += u64::from(!self.batch.is_empty());
            progress.failed = progress.failed.or(outcome.err());
            self.batch.clear();
            if !more {
                progress.lost += lost;
                progress.done = progress.begun;
                shared.written.notify_all();
                break;
            }
        }
        self.sources.retain(|source| !source.is_over());
        any
    }

    /// Collects what was queued up to then, the oldest first, and what was refused in between;
    /// whether there may be more of it.
    fn merge(&mut self, until: u64, lost: &mut u64) -> bool {
        while self.batch.len() < BATCH {
            let next = self.sources.iter_mut().filter_map(|source| Some((source.next()?, source)));
            let Some((head, source)) = next.filter(|(head, _)| head.at <= until).min_by_key(|(head, _)| head.at) else {
                return false;
            };
            *lost += source.say(head.lost, &self.notice, &mut self.batch);
            if let Ok(piece) = source.ring.read_chunk(head.bytes) {
                let (one, other) = piece.as_slices();
                self.batch.extend_from_slice(one);
                self.batch.extend_from_slice(other);
                piece.commit_all();
            }
            source.head = None;
        }
        true
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_last(&self, limit: Duration) -> Result<(), SpoolError> {
        let progress = self.progress();
        let limit = if progress.given_up_at == Some(progress.writes) { Duration::ZERO } else { limit };
        drop(progress);
        let outcome = self.flush(limit);
        if let Err(SpoolError::Stuck(_)) = outcome {
            let mut progress = self.progress();
            progress.given_up_at = Some(progress.writes);
        }
        outcome
    }

    fn flush(&self, limit: Duration) -> Result<(), SpoolError> {
        let began = Instant::now();
        let mut progress = self.progress();
        // The round that goes on may have begun too early.
        let all = progress.begun + 1;
        self.writer.unpark();
        while progress.done < all {
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(SpoolError::Stuck(limit));
            }
            progress = self.written.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match (progress.failed, progress.lost) {
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
    /// What is not to be is waited for so long.
    const MOMENT: Duration = Duration::from_millis(5);

    /// A pipe that is full, so that the next write waits for a reader; and its bytes.
    fn full_pipe() -> (PipeReader, std::io::PipeWriter, usize) {
        let (reader, writer) = pipe().unwrap();
        // SAFETY: passes numbers.
        let bytes = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) } as usize;
        (&writer).write_all(&vec![b'.'; bytes]).unwrap();
        (reader, writer, bytes)
    }

    fn notice(gap: Gap) -> String {
        match gap.core {
            Some(core) => format!("<{} of core {core} lost>", gap.pieces),
            None => format!("<{} lost>", gap.pieces),
        }
    }

    /// Waits until the writer has taken all that threads other than reactors have pushed.
    fn taken(spool: &Spool) {
        while spool.0.others.lock().unwrap().ring.slots() < spool.0.most {
            thread::yield_now();
        }
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
        assert!(spool.is_clear(PATIENCE));
    }

    #[test]
    fn s50_a_reader_that_stops_costs_lines_and_no_time_and_the_gap_is_said_where_it_is() {
        let (reader, writer, bytes) = full_pipe();
        let spool = Spool::start("spool", writer, 8 + HEAD, notice).unwrap();
        assert!(spool.push(b"first"));
        // The writer is stuck with the first piece once there is room for one that fills the queue.
        taken(&spool);
        assert!(!spool.is_clear(MOMENT));
        assert!(spool.push(b"in room!"));
        assert!(!spool.push(b"a"), "over the bound");
        assert!(!spool.push(b"") && !spool.push(b"b"), "behind a gap");
        assert_eq!(spool.flush(MOMENT), Err(SpoolError::Stuck(MOMENT)));
        let text = thread::spawn(move || rest(reader, bytes));
        assert_eq!(spool.flush(PATIENCE), Err(SpoolError::Lost(3)));
        assert!(spool.is_clear(PATIENCE), "the notice is written");
        assert!(spool.push(b" after"));
        drop(spool);
        assert_eq!(text.join().unwrap(), "firstin room!<3 lost> after");
    }

    /// A short piece would fit where a long one did not, and each would have its own notice.
    #[test]
    fn s50_behind_a_gap_nothing_is_taken_until_half_the_room_is_free() {
        let (mut queue, mut source) = queue(10 * (HEAD + 6), None);
        (0..9).for_each(|at| assert!(queue.push(at, b"piece.")));
        assert!(!queue.push(9, b"longer one"));
        let mut take = || {
            let head = source.next().unwrap();
            source.ring.read_chunk(head.bytes).unwrap().commit_all();
            source.head = None;
            head.lost
        };
        for at in 0..4 {
            assert!(!queue.push(9, b"short"), "{at}");
            assert_eq!(take(), 0);
        }
        assert!(queue.push(9, b"short"));
        assert_eq!([(); 6].map(|()| take()), [0, 0, 0, 0, 0, 5]);
    }

    /// Runs it on a thread that is the reactor of a core, and waits for it.
    fn on_core(core: u16, f: impl FnOnce() + Send + 'static) {
        crate::thread::spawn(CoreId(core), false, Box::new(f)).unwrap().join().unwrap();
    }

    #[test]
    fn s204_each_core_has_room_of_its_own_and_its_gap_in_its_place() {
        let (reader, writer, bytes) = full_pipe();
        let spool = Arc::new(Spool::start("spool", writer, 4 * (HEAD + 8), notice).unwrap());
        assert!(spool.push(b"stuck. "));
        taken(&spool);
        for core in [0, 1] {
            let own = spool.clone();
            on_core(core, move || {
                let fit = (0..6).map(|n| own.push(format!("{core} has {n} ").as_bytes())).filter(|fits| *fits).count();
                assert_eq!(fit, 4);
            });
        }
        assert!(spool.push(b"others. "), "the room of cores is not theirs");
        let text = thread::spawn(move || rest(reader, bytes));
        assert_eq!(spool.flush(PATIENCE), Err(SpoolError::Lost(4)));
        drop(spool);
        let text = text.join().unwrap();
        let all = "stuck. 0 has 0 0 has 1 0 has 2 0 has 3 1 has 0 1 has 1 1 has 2 1 has 3 others. <2 of core 0 lost><2 of core 1 lost>";
        assert_eq!(text, all);
    }

    /// Whoever pushes second, because it was told of the first, comes second.
    #[test]
    fn s204_pieces_of_all_cores_come_out_in_the_order_in_which_they_were_queued() {
        const PIECES: u32 = 3000;
        let (reader, writer) = pipe().unwrap();
        let spool = Arc::new(Spool::start("spool", writer, 1 << 20, notice).unwrap());
        let text = thread::spawn(move || rest(reader, 0));
        // Four threads take turns; one of them is no reactor.
        let turn = Arc::new(AtomicU64::new(0));
        let take_turns = |mine: u64| {
            let (spool, turn) = (spool.clone(), turn.clone());
            move || {
                for n in (0..u64::from(PIECES)).filter(|n| n % 4 == mine) {
                    while turn.load(Ordering::Acquire) != n {
                        thread::yield_now();
                    }
                    assert!(spool.push(format!("{n} ").as_bytes()));
                    turn.store(n + 1, Ordering::Release);
                }
            }
        };
        let cores = [0, 1, 2].map(|core| crate::thread::spawn(CoreId(core), false, Box::new(take_turns(core.into()))).unwrap());
        take_turns(3)();
        cores.into_iter().for_each(|core| core.join().unwrap());
        assert_eq!(spool.flush(PATIENCE), Ok(()));
        drop(spool);
        let text = text.join().unwrap();
        let order: Vec<u32> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(order.iter().copied().eq(0..PIECES), "{order:?}");
    }

    /// What a core has queued is written although its thread is gone, and then its queue goes.
    #[test]
    fn s204_the_queue_of_a_core_that_has_ended_is_written_and_given_back() {
        let (reader, writer, bytes) = full_pipe();
        let spool = Arc::new(Spool::start("spool", writer, 1 << 10, notice).unwrap());
        for n in 0..3 {
            let own = spool.clone();
            on_core(7, move || assert!(own.push(format!("{n} ").as_bytes())));
        }
        let text = thread::spawn(move || rest(reader, bytes));
        assert_eq!(spool.flush(PATIENCE), Ok(()));
        drop(spool);
        assert_eq!(text.join().unwrap(), "0 1 2 ");
        let (queue, mut source) = queue(100, Some(CoreId(7)));
        assert!(!source.is_over());
        let lost = queue.lost.clone();
        drop(queue);
        assert!(source.is_over());
        lost.fetch_add(1, Ordering::Relaxed);
        assert!(!source.is_over(), "that is to be said first");
        assert_eq!((source.say(1, &notice, &mut Vec::new()), source.is_over()), (1, true));
    }

    #[test]
    fn s204_no_reactor_waits_for_a_thread_that_holds_the_lock_of_the_others() {
        let (mut reader, writer) = pipe().unwrap();
        let spool = Arc::new(Spool::start("spool", writer, 1 << 10, notice).unwrap());
        let others = spool.0.others.lock().unwrap();
        let progress = spool.0.progress();
        let own = spool.clone();
        on_core(1, move || assert!(own.push(b"at once")));
        drop((others, progress));
        let mut got = [0; 7];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"at once");
    }

    #[test]
    fn a_spool_without_anything_queued_is_not_clear_while_its_descriptor_is_full() {
        let (reader, writer, bytes) = full_pipe();
        let spool = Spool::start("spool", writer, 8, notice).unwrap();
        assert!(!spool.is_clear(PATIENCE));
        (&reader).read_exact(&mut vec![0; bytes]).unwrap();
        assert!(spool.is_clear(PATIENCE));
    }

    #[test]
    fn s50_what_is_queued_during_a_write_is_not_written_with_it() {
        let (mut reader, writer, bytes) = full_pipe();
        let spool = Spool::start("spool", writer, 1 << 16, notice).unwrap();
        // As much as one slot of a pipe takes.
        let page = [b'p'; 4096];
        assert!(spool.push(&page));
        taken(&spool);
        assert!(spool.push(b"second"));
        reader.read_exact(&mut [0; 4096]).unwrap();
        while spool.0.progress().writes == 0 {
            thread::yield_now();
        }
        assert_eq!(spool.flush(MOMENT), Err(SpoolError::Stuck(MOMENT)));
        let text = thread::spawn(move || rest(reader, bytes));
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
        let text = thread::spawn(move || rest(reader, bytes));
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
        let spool = Spool::start("spool", writer, 64, notice).unwrap();
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
                    thread::yield_now();
                }
                thread::sleep(self.1);
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
            thread::yield_now();
        }
        let _next = Spool::start("spool", pipe().unwrap().1, 8, notice).unwrap();
        assert!(!SPOOLS.lock().unwrap().iter().any(|spool| spool.ptr_eq(&gone)));
    }
}
