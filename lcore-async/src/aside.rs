//! Calls that may wait: threads that are no reactors make them, and tasks wait for the answers.
//!
//! A call that has begun owns all that it works on, and keeps it until it ends, whatever becomes of
//! the task that asked for it. At most as many calls as there are threads are begun at a time; who
//! asks for more waits, first come, first served, and a wait that is dropped was nothing.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::cell::OnceCell;
use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use core_reactor::PlatformError;
use platform_linux::spawn_off_reactor;

type Call = Box<dyn FnOnce() + Send>;

/// Threads for calls of one kind. They start with the first call, and end with this, behind the
/// calls that have begun; nobody waits for them.
pub(crate) struct Aside {
    name: &'static str,
    threads: usize,
    give: OnceCell<mpsc::Sender<Call>>,
    gate: Arc<Mutex<Gate>>,
}

/// The threads are there.
#[derive(Clone, Copy)]
pub(crate) struct Ready<'a> {
    give: &'a mpsc::Sender<Call>,
    gate: &'a Arc<Mutex<Gate>>,
}

/// Who may begin a call.
struct Gate {
    free: usize,
    /// Those who wait, in the order in which they came. As many of the first as there are free
    /// places are woken.
    waiting: VecDeque<(u64, Waker)>,
    came: u64,
}

/// A mutex is held for a few instructions, so a reactor waits for one no longer than that.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics who holds one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Aside {
    pub(crate) fn new(name: &'static str, threads: usize) -> Self {
        let gate = Gate { free: threads, waiting: VecDeque::new(), came: 0 };
        Self { name, threads, give: OnceCell::new(), gate: Arc::new(Mutex::new(gate)) }
    }

    /// Starts the threads, if this is the first time.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn ready(&self) -> Result<Ready<'_>, PlatformError> {
        let give = match self.give.get() {
            Some(give) => give,
            None => {
                let give = self.start()?;
                self.give.get_or_init(|| give)
            }
        };
        Ok(Ready { give, gate: &self.gate })
    }

    fn start(&self) -> Result<mpsc::Sender<Call>, PlatformError> {
        let (give, given) = mpsc::channel::<Call>();
        let given = Arc::new(Mutex::new(given));
        for _ in 0..self.threads {
            let given = given.clone();
            // One waits for a call, and the others for their turn to do so.
            let next = move || lock(&given).recv();
            spawn_off_reactor(self.name, move || {
                while let Ok(call) = next() {
                    call();
                }
            })?;
        }
        Ok(give)
    }
}

impl Ready<'_> {
    /// What `f` returns, which one of the threads calls. It must not panic.
    pub(crate) async fn call<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let place = Place::take(self.gate).await;
        let answer = Arc::new(Mutex::new(Answer::<T>::NotYet(None)));
        let tell = answer.clone();
        let call = move || {
            let done = f();
            // First, so that who hears of the answer finds the place free.
            drop(place);
            let before = mem::replace(&mut *lock(&tell), Answer::Done(Some(done)));
            if let Answer::NotYet(Some(waker)) = before {
                waker.wake();
            }
        };
        // The threads are there as long as this.
        let _ = self.give.send(Box::new(call));
        poll_fn(|cx| lock(&answer).poll(cx)).await
    }
}

/// What becomes of a call, and who waits for it.
enum Answer<T> {
    NotYet(Option<Waker>),
    Done(Option<T>),
}

impl<T> Answer<T> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<T> {
        match self {
            Self::Done(done) => done.take().map_or(Poll::Pending, Poll::Ready),
            Self::NotYet(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The right to begin a call. Dropped, by any thread, it is the next one's.
struct Place(Arc<Mutex<Gate>>);

impl Place {
    async fn take(gate: &Arc<Mutex<Gate>>) -> Self {
        let mut wait = Wait { gate, number: None };
        poll_fn(|cx| wait.poll(cx)).await;
        Self(gate.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut gate = lock(&self.0);
        gate.free += 1;
        let next = gate.last_woken();
        drop(gate);
        next.into_iter().for_each(Waker::wake);
    }
}

impl Gate {
    /// Whom the last of the free places is for.
    fn last_woken(&self) -> Option<Waker> {
        let (_, waker) = self.waiting.get(self.free.checked_sub(1)?)?;
        Some(waker.clone())
    }
}

/// A wait for a place.
struct Wait<'a> {
    gate: &'a Mutex<Gate>,
    /// Under what it waits.
    number: Option<u64>,
}

impl Wait<'_> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let gate = &mut *lock(self.gate);
        let at = match self.number {
            // Their numbers grow, and this one is among them.
            Some(number) => gate.waiting.partition_point(|(other, _)| *other < number),
            None => {
                gate.came += 1;
                self.number = Some(gate.came);
                gate.waiting.push_back((gate.came, cx.waker().clone()));
                gate.waiting.len() - 1
            }
        };
        if at < gate.free {
            gate.free -= 1;
            gate.waiting.remove(at);
            self.number = None;
            return Poll::Ready(());
        }
        gate.waiting[at].1.clone_from(cx.waker());
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut gate = lock(self.gate);
        let at = gate.waiting.partition_point(|(other, _)| *other < number);
        let gone = gate.waiting.remove(at);
        // A free place that was for this one is the next one's.
        let next = if at < gate.free { gate.last_woken() } else { None };
        drop(gate);
        drop(gone);
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use alloc::vec::Vec;
    use core::pin::Pin;
    use core::task::{Context, Poll, Waker};
    use core::time::Duration;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::{Aside, lock};

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

    #[test]
    fn s462_as_many_calls_as_threads_are_begun_and_the_others_wait_in_order() {
        let (aside, mut calls) = (Aside::new("test", 2), Calls::new());
        let mut all: Vec<_> = (0..5).map(|_| calls.make(&aside, ())).collect();
        for (n, call) in all.iter_mut().enumerate() {
            assert!(calls.poll(call, n).is_pending());
        }
        let mut first = [calls.next_began(), calls.next_began()];
        first.sort_unstable();
        assert_eq!((first, lock(&aside.gate).waiting.len()), ([0, 1], 3));
        // Who is not at the front gets no place, however often it asks.
        assert!(calls.poll(&mut all[4], 4).is_pending());
        for n in 0..5 {
            calls.let_go(n);
            // The call that has ended, and the one whose turn it is, in whatever order.
            let mut woken: Vec<_> = (0..if n < 3 { 2 } else { 1 }).map(|_| calls.next_woken()).collect();
            woken.sort_unstable();
            assert_eq!(calls.poll(&mut all[n], n), Poll::Ready(n));
            if n < 3 {
                assert_eq!(woken, [n, n + 2]);
                // Nor while there is one, which is somebody else's.
                assert!(n == 2 || calls.poll(&mut all[4], 4).is_pending() && lock(&aside.gate).free == 1);
                assert!(calls.poll(&mut all[n + 2], n + 2).is_pending());
                assert_eq!(calls.next_began(), n + 2);
            }
        }
        assert_eq!(lock(&aside.gate).free, 2);
    }

    #[test]
    fn s463_a_wait_that_is_dropped_gives_its_place_to_the_next() {
        let (aside, mut calls) = (Aside::new("test", 1), Calls::new());
        let mut all: Vec<_> = (0..4).map(|_| calls.make(&aside, ())).collect();
        for (n, call) in all.iter_mut().enumerate() {
            assert!(calls.poll(call, n).is_pending());
        }
        let (mut last, woken, waits, first) = (all.pop().unwrap(), all.pop().unwrap(), all.pop().unwrap(), all.pop().unwrap());
        assert_eq!(calls.next_began(), 0);
        // One that has not been woken yet, and then the one that was.
        drop(waits);
        calls.let_go(0);
        let mut two = [calls.next_woken(), calls.next_woken()];
        two.sort_unstable();
        assert_eq!(two, [0, 2]);
        drop(woken);
        assert_eq!(calls.next_woken(), 3);
        assert!(calls.poll(&mut last, 3).is_pending());
        assert_eq!(calls.next_began(), 3);
        calls.let_go(3);
        assert_eq!(calls.next_woken(), 3);
        assert_eq!(calls.poll(&mut last, 3), Poll::Ready(3));
        drop(first);
    }

    #[test]
    fn s463_a_call_that_is_dropped_keeps_what_it_works_on_and_its_place_until_it_ends() {
        let (aside, mut calls) = (Aside::new("test", 1), Calls::new());
        let bytes = Arc::new([0; 64]);
        let (mut dropped, mut next) = (calls.make(&aside, bytes.clone()), calls.make(&aside, ()));
        assert!(calls.poll(&mut dropped, 0).is_pending());
        assert_eq!(calls.next_began(), 0);
        drop(dropped);
        assert!(calls.poll(&mut next, 1).is_pending());
        assert_eq!((Arc::strong_count(&bytes), lock(&aside.gate).free), (2, 0));
        calls.let_go(0);
        // Also a waker that is nobody's any more.
        let mut woken = [calls.next_woken(), calls.next_woken()];
        woken.sort_unstable();
        assert_eq!((woken, Arc::strong_count(&bytes)), ([0, 1], 1));
        assert!(calls.poll(&mut next, 1).is_pending());
        calls.let_go(1);
        assert_eq!(calls.next_woken(), 1);
        assert_eq!(calls.poll(&mut next, 1), Poll::Ready(1));
    }

    #[test]
    fn s463_what_was_begun_is_done_also_when_its_runtime_has_ended() {
        let (aside, mut calls) = (Aside::new("test", 2), Calls::new());
        let (mut call, mut other) = (calls.make(&aside, ()), calls.make(&aside, ()));
        assert!(calls.poll(&mut call, 0).is_pending() && calls.poll(&mut other, 1).is_pending());
        drop((call, other));
        drop(aside);
        let mut began = [calls.next_began(), calls.next_began()];
        began.sort_unstable();
        assert_eq!(began, [0, 1]);
        calls.let_go(0);
        calls.let_go(1);
    }
}
