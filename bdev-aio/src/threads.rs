//! The threads of a device, and what they are asked for.

// UNSAFETY: calls into libc with memory that whoever asked keeps where it is; see `Job`.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use bdev_file::{Call, Disk, Op};
use core_reactor::ThreadHandle;

/// The threads, which end after this, when what they were asked for is done.
#[derive(Debug)]
pub(crate) struct Threads(Arc<Queue>);

/// What the threads are asked for. The lock is held for a push or a pop: a core waits for it no
/// longer than that, and sleeps in no call.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    comes: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    is_over: bool,
}

/// A call, and who is told what became of it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) slot: usize,
    pub(crate) to: Arc<Answers>,
    disk: Arc<Disk>,
    op: Op,
    at: u64,
    len: u64,
    /// Those of the slot, which stay there.
    pieces: (*const libc::iovec, usize),
}

// SAFETY: the pieces and what they name stay where they are and are nobody else's until the answer
// was taken: the promise with which the job was made. All else is free to go.
unsafe impl Send for Job {}

/// What has come back for a channel.
#[derive(Debug)]
pub(crate) struct Answers {
    back: Mutex<Vec<(usize, i32)>>,
    /// How many lie there, to be looked at without the lock.
    count: AtomicUsize,
    thread: ThreadHandle,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics who holds one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Threads {
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let all = Self(Arc::default());
        for _ in 0..count {
            let queue = all.queue();
            thread::Builder::new().name("bdev-aio".into()).spawn(move || queue.serve())?;
        }
        Ok(all)
    }

    pub(crate) fn queue(&self) -> Arc<Queue> {
        self.0.clone()
    }
}

impl Drop for Threads {
    /// Nobody waits for them: a disk that does not answer would hold up whoever had its device.
    fn drop(&mut self) {
        lock(&self.0.state).is_over = true;
        self.0.comes.notify_all();
    }
}

impl Queue {
    /// Has room for so many more at a time.
    pub(crate) fn reserve(&self, jobs: usize) {
        let mut state = lock(&self.state);
        let needs = state.jobs.capacity() + jobs;
        let more = needs - state.jobs.len();
        state.jobs.reserve(more);
    }

    pub(crate) fn push(&self, job: Job) {
        lock(&self.state).jobs.push_back(job);
        self.comes.notify_one();
    }

    /// Takes a call back that no thread has begun.
    pub(crate) fn take(&self, slot: usize, of: &Arc<Answers>) -> Option<Job> {
        let mut state = lock(&self.state);
        let at = state.jobs.iter().position(|job| job.slot == slot && Arc::ptr_eq(&job.to, of))?;
        state.jobs.remove(at)
    }

    fn serve(&self) {
        let mut state = lock(&self.state);
        loop {
            match state.jobs.pop_front() {
                Some(job) => {
                    drop(state);
                    let result = job.make();
                    job.to.tell(job.slot, result);
                    // Whatever it has the last of goes without the lock.
                    drop(job);
                    state = lock(&self.state);
                }
                None if state.is_over => return,
                None => state = self.comes.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Job {
    /// # Safety
    /// The pieces of the call, and what they name, stay where they are and are used by nobody else
    /// until the answer was taken.
    pub(crate) unsafe fn new(slot: usize, call: Call<'_>, disk: Arc<Disk>, to: Arc<Answers>) -> Self {
        let Call { op, at, len, pieces } = call;
        Self { slot, to, disk, op, at, len, pieces: (pieces.as_ptr(), pieces.len()) }
    }

    /// Makes the call: what it answers, or minus its errno.
    fn make(&self) -> i32 {
        let (fd, at) = (self.disk.fd(), self.at as libc::off_t);
        let (pieces, count) = (self.pieces.0, self.pieces.1 as libc::c_int);
        // SAFETY: the promise of `new`; the descriptor is open as long as the disk is held.
        let result = unsafe {
            match self.op {
                Op::Read => libc::preadv(fd, pieces, count, at),
                Op::Write { lasts: false } => libc::pwritev(fd, pieces, count, at),
                Op::Write { lasts: true } => libc::pwritev2(fd, pieces, count, at, libc::RWF_DSYNC),
                Op::Sync => libc::fdatasync(fd) as isize,
                Op::Allocate(mode) => libc::fallocate(fd, mode, at, self.len as libc::off_t) as isize,
            }
        };
        if result < 0 { -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) } else { result as i32 }
    }
}

impl Answers {
    pub(crate) fn new(thread: ThreadHandle, depth: usize) -> Self {
        Self { back: Mutex::new(Vec::with_capacity(depth)), count: AtomicUsize::new(0), thread }
    }

    pub(crate) fn tell(&self, slot: usize, result: i32) {
        let mut back = lock(&self.back);
        back.push((slot, result));
        self.count.store(back.len(), Ordering::SeqCst);
        drop(back);
        self.thread.wake();
    }

    /// Appends what there is. One load where there is nothing.
    pub(crate) fn take(&self, into: &mut Vec<(usize, i32)>) {
        if !self.is_empty() {
            let mut back = lock(&self.back);
            into.append(&mut back);
            self.count.store(0, Ordering::SeqCst);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }
}
