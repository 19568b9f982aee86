//! Calls that may wait: threads that are no reactors make them, and tasks wait for the answers.
//!
//! A call that has begun owns all that it works on, and keeps it until it ends, whatever becomes of
//! the task that asked for it. The threads take the calls out of a queue in the order in which they
//! came, also while no task looks after them; one whose future is dropped before it has begun is
//! taken out and not made.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::cell::Cell;
use core::future::poll_fn;
use core::mem;
use core::panic::AssertUnwindSafe;
use core::task::{Context, Poll, Waker};
use std::panic::{catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use core_reactor::PlatformError;
use platform_linux::spawn_off_reactor;

type Call = Box<dyn FnOnce() + Send>;

/// Threads for calls of one kind. They start with the first call, and end with this, behind the
/// calls that were handed in; nobody waits for them.
pub(crate) struct Aside {
    name: &'static str,
    threads: usize,
    started: Cell<usize>,
    queue: Arc<Queue>,
}

/// Calls that no thread has taken yet. There is one for each future that waits, which somebody
/// holds, and for each file to be closed, which was open: it grows no further than those do.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Each under its number. They grow.
    calls: VecDeque<(u64, Call)>,
    came: u64,
    has_ended: bool,
}

/// A mutex is held for a few instructions, so a reactor waits for one no longer than that.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics who holds one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Aside {
    pub(crate) fn new(name: &'static str, threads: usize) -> Self {
        Self { name, threads, started: Cell::new(0), queue: Arc::default() }
    }

    /// Where calls are handed in. Starts the threads, if this is the first time.
    ///
    /// # Errors
    /// The system has not enough threads to give. The next time asks for those that are missing.
    pub(crate) fn ready(&self) -> Result<&Arc<Queue>, PlatformError> {
        while self.started.get() < self.threads {
            let queue = self.queue.clone();
            spawn_off_reactor(self.name, move || queue.work())?;
            self.started.update(|started| started + 1);
        }
        Ok(&self.queue)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        lock(&self.queue.waiting).has_ended = true;
        self.queue.more.notify_all();
    }
}

impl Queue {
    /// What `f` returns, which one of the threads calls. If it panics, so does who asked for it.
    pub(crate) async fn call<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let answer = Arc::new(Mutex::new(Answer::NotYet(None)));
        let tell = answer.clone();
        let call = move || {
            let done = catch_unwind(AssertUnwindSafe(f));
            let before = mem::replace(&mut *lock(&tell), Answer::Done(Some(done)));
            if let Answer::NotYet(Some(waker)) = before {
                waker.wake();
            }
        };
        let _turn = Turn { queue: self, number: self.push(Box::new(call)) };
        poll_fn(|cx| lock(&answer).poll(cx)).await.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Has it made, also when nobody waits for it. Tells its number.
    pub(crate) fn push(&self, call: Call) -> u64 {
        let mut waiting = lock(&self.waiting);
        waiting.came += 1;
        let number = waiting.came;
        waiting.calls.push_back((number, call));
        drop(waiting);
        self.more.notify_one();
        number
    }

    /// What a thread does.
    fn work(&self) {
        while let Some(call) = self.next() {
            // A call tells of its own panic, and what wakes its task may have one too: in neither
            // case do the others lose their thread.
            let _ = catch_unwind(AssertUnwindSafe(call));
        }
    }

    /// Waits for the next call. There is none when all are made and none comes.
    fn next(&self) -> Option<Call> {
        let nothing = |waiting: &mut Waiting| waiting.calls.is_empty() && !waiting.has_ended;
        let mut waiting = self.more.wait_while(lock(&self.waiting), nothing).unwrap_or_else(PoisonError::into_inner);
        waiting.calls.pop_front().map(|(_, call)| call)
    }
}

/// A call's turn. Dropped, it takes the call out, unless that has begun.
struct Turn<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.queue.waiting);
        let at = waiting.calls.binary_search_by_key(&self.number, |(number, _)| *number);
        let call = at.ok().and_then(|at| waiting.calls.remove(at));
        // What the call owns may hand in another one.
        drop(waiting);
        drop(call);
    }
}

/// What becomes of a call, and who waits for it.
enum Answer<T> {
    NotYet(Option<Waker>),
    /// Or its panic.
    Done(Option<thread::Result<T>>),
}

impl<T> Answer<T> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<thread::Result<T>> {
        match self {
            Self::Done(done) => done.take().map_or(Poll::Pending, Poll::Ready),
            Self::NotYet(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use alloc::vec::Vec;
    use core::cell::RefCell;
    use core::panic::AssertUnwindSafe;
    use core::pin::Pin;
    use core::task::{Context, Poll, Waker};
    use core::time::Duration;
    use std::panic::catch_unwind;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

    use super::{Aside, Queue, lock};

    /// Nothing that is waited for takes this long.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Tells that it was woken.
    struct Bell(Sender<usize>, usize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            // The test may be over.
            let _ = self.0.send(self.1);
        }
    }

    /// Panics when it is woken.
    struct Bomb;

    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }

    /// Hands in a call when it is dropped, as a file does.
    struct Closes(Arc<Queue>);

    impl Drop for Closes {
        fn drop(&mut self) {
            drop(self.0.waiting.try_lock().expect("nobody holds it meanwhile"));
            self.0.push(Box::new(|| ()));
        }
    }

    type Call<'a> = Pin<Box<dyn Future<Output = usize> + 'a>>;

    /// Calls that tell when they begin, and last until they are let go.
    struct Calls {
        begin: Sender<usize>,
        began: Receiver<usize>,
        ring: Sender<usize>,
        woken: Receiver<usize>,
        let_go: Vec<Sender<()>>,
    }

    impl Calls {
        fn new() -> Self {
            let ((begin, began), (ring, woken)) = (channel(), channel());
            Self { begin, began, ring, woken, let_go: Vec::new() }
        }

        fn make<'a>(&mut self, aside: &'a Aside, owns: impl Send + 'static) -> Call<'a> {
            let ((let_go, go), begin, n) = (channel(), self.begin.clone(), self.let_go.len());
            self.let_go.push(let_go);
            Box::pin(aside.ready().expect("threads").call(move || {
                begin.send(n).expect("the test is there");
                go.recv_timeout(PATIENCE).expect("it is let go");
                drop(owns);
                n
            }))
        }

        /// So many, each of which waits.
        fn make_all<'a>(&mut self, aside: &'a Aside, count: usize) -> Vec<Call<'a>> {
            let mut all: Vec<_> = (0..count).map(|_| self.make(aside, ())).collect();
            all.iter_mut().enumerate().for_each(|(n, call)| assert!(self.poll(call, n).is_pending()));
            all
        }

        fn poll(&self, call: &mut Call<'_>, n: usize) -> Poll<usize> {
            let waker = Waker::from(Arc::new(Bell(self.ring.clone(), n)));
            call.as_mut().poll(&mut Context::from_waker(&waker))
        }

        fn let_go(&self, n: usize) {
            self.let_go[n].send(()).expect("it waits");
        }

        fn next_began(&self) -> usize {
            self.began.recv_timeout(PATIENCE).expect("it begins")
        }

        fn next_woken(&self) -> usize {
            self.woken.recv_timeout(PATIENCE).expect("it is woken")
        }
    }

    fn waiting(aside: &Aside) -> usize {
        lock(&aside.queue.waiting).calls.len()
    }

    #[test]
    fn s462_as_many_calls_as_threads_are_begun_and_the_others_follow_in_order_though_nobody_asks() {
        let (aside, mut calls) = (Aside::new("test", 2), Calls::new());
        let mut all = calls.make_all(&aside, 5);
        let mut first = [calls.next_began(), calls.next_began()];
        first.sort_unstable();
        assert_eq!((first, waiting(&aside)), ([0, 1], 3));
        for n in 0..5 {
            calls.let_go(n);
            assert_eq!(calls.next_woken(), n);
            if n < 3 {
                assert_eq!((calls.next_began(), waiting(&aside)), (n + 2, 2 - n));
            }
        }
        for (n, call) in all.iter_mut().enumerate() {
            assert_eq!(calls.poll(call, n), Poll::Ready(n));
        }
    }

    #[test]
    fn s463_a_call_that_is_dropped_before_it_was_begun_is_not_made() {
        let (aside, mut calls) = (Aside::new("test", 1), Calls::new());
        let mut all = calls.make_all(&aside, 2);
        let bytes = Arc::new([0; 64]);
        let closes = Closes(aside.ready().expect("threads").clone());
        let mut dropped = calls.make(&aside, (bytes.clone(), closes));
        assert!(calls.poll(&mut dropped, 2).is_pending());
        let mut last = calls.make(&aside, ());
        assert!(calls.poll(&mut last, 3).is_pending());
        assert_eq!(calls.next_began(), 0);
        drop(dropped);
        assert_eq!((Arc::strong_count(&bytes), waiting(&aside)), (1, 3), "and lets go what it was to work on");
        drop(all.remove(1));
        calls.let_go(0);
        assert_eq!((calls.next_began(), calls.next_woken()), (3, 0));
        calls.let_go(3);
        assert_eq!(calls.next_woken(), 3);
        assert_eq!(calls.poll(&mut last, 3), Poll::Ready(3));
    }

    #[test]
    fn s463_a_call_that_is_dropped_keeps_what_it_works_on_and_its_thread_until_it_ends() {
        let (aside, mut calls) = (Aside::new("test", 1), Calls::new());
        let bytes = Arc::new([0; 64]);
        let (mut dropped, mut next) = (calls.make(&aside, bytes.clone()), calls.make(&aside, ()));
        assert!(calls.poll(&mut dropped, 0).is_pending());
        assert_eq!(calls.next_began(), 0);
        drop(dropped);
        assert!(calls.poll(&mut next, 1).is_pending());
        assert_eq!((Arc::strong_count(&bytes), waiting(&aside)), (2, 1));
        calls.let_go(0);
        assert_eq!(calls.next_began(), 1);
        assert_eq!(Arc::strong_count(&bytes), 1);
        calls.let_go(1);
        // Also a waker that is nobody's any more.
        assert_eq!((calls.next_woken(), calls.next_woken()), (0, 1));
        assert_eq!(calls.poll(&mut next, 1), Poll::Ready(1));
    }

    std::thread_local! {
        /// Dropped with its thread.
        static AT_ITS_END: RefCell<Option<Sender<()>>> = const { RefCell::new(None) };
    }

    #[test]
    fn s463_what_was_begun_or_handed_over_is_done_though_its_runtime_has_ended_and_then_the_threads_end() {
        let (aside, mut calls) = (Aside::new("test", 1), Calls::new());
        let ((done, is_done), (closed, is_closed), (end, ends)) = (channel::<()>(), channel(), channel());
        let mut call = calls.make(&aside, done);
        assert!(calls.poll(&mut call, 0).is_pending());
        aside.ready().expect("threads").push(Box::new(move || {
            closed.send(()).expect("the test is there");
            AT_ITS_END.set(Some(end));
        }));
        assert_eq!(calls.next_began(), 0);
        drop(call);
        drop(aside);
        calls.let_go(0);
        assert_eq!(is_done.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        assert_eq!(is_closed.recv_timeout(PATIENCE), Ok(()));
        assert_eq!(ends.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn s462_a_panic_is_that_of_who_asked_for_the_call_and_takes_no_thread() {
        let (aside, mut calls) = (Aside::new("test", 1), Calls::new());
        let queue = aside.ready().expect("threads");
        let (let_go, go) = channel::<()>();
        let mut panics: Call<'_> = Box::pin(queue.call(move || {
            assert_eq!(go.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
            panic!("of a call")
        }));
        assert!(calls.poll(&mut panics, 9).is_pending());
        drop(let_go);
        assert_eq!(calls.next_woken(), 9);
        let panic = catch_unwind(AssertUnwindSafe(|| calls.poll(&mut panics, 9))).expect_err("it is told");
        assert_eq!(panic.downcast_ref(), Some(&"of a call"));

        let mut wakes = calls.make(&aside, ());
        assert!(wakes.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Bomb)))).is_pending());
        let mut next = calls.make(&aside, ());
        assert!(calls.poll(&mut next, 1).is_pending());
        calls.let_go(0);
        calls.let_go(1);
        assert_eq!(calls.next_woken(), 1);
        assert_eq!((calls.poll(&mut wakes, 0), calls.poll(&mut next, 1)), (Poll::Ready(0), Poll::Ready(1)));
    }
}
