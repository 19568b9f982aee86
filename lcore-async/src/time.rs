//! Time for futures: sleeps, limits, intervals; all on the clock of the thread's platform, which in
//! a test is moved by hand.

use core::error::Error;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use core_reactor::Instant;
use pin_project_lite::pin_project;

use crate::Runtime;

impl Runtime {
    /// The time at which this turn of the tasks began: what all deadlines are counted from. Outside
    /// of tasks, as in a message, the time by the clock.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime};
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let began = runtime.now();
    /// runtime.sleep(Duration::from_secs(3)).await;
    /// assert_eq!(runtime.now() - began, Duration::from_secs(3));
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// Ready when so much time has passed since [`now`](Self::now).
    ///
    /// ```
    /// # use core::time::Duration;
    /// # async fn f(runtime: lcore_async::Runtime) {
    /// runtime.sleep(Duration::from_millis(5)).await;
    /// # }
    /// ```
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.sleep_until(self.now() + time)
    }

    /// Ready when `deadline` has come.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime};
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// // Ten milliseconds apart, however long the work takes.
    /// let mut next = runtime.now();
    /// for _ in 0..5 {
    ///     next += Duration::from_millis(10);
    ///     runtime.sleep_until(next).await;
    /// }
    /// assert_eq!(runtime.now(), next);
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep { runtime: self.clone(), deadline, key: None }
    }

    /// `future`, which is dropped if it is not ready when so much time has passed.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # async fn f(runtime: lcore_async::Runtime, mut stream: lcore_async::TcpStream) {
    /// let mut line = [0; 80];
    /// match runtime.timeout(Duration::from_secs(10), stream.read(&mut line)).await {
    ///     Ok(Ok(bytes)) => println!("{bytes} bytes"),
    ///     Ok(Err(why)) => println!("{why}"),
    ///     Err(elapsed) => println!("{elapsed}"), // and no byte is lost
    /// }
    /// # }
    /// ```
    pub fn timeout<F: Future>(&self, time: Duration, future: F) -> Timeout<F> {
        Timeout { future, sleep: self.sleep(time) }
    }

    /// Something to do once in each period, a period from now at first. A period that is shorter
    /// than a nanosecond counts as one.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime};
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let began = runtime.now();
    /// let mut beat = runtime.interval(Duration::from_secs(1));
    /// for n in 1..=3 {
    ///     assert_eq!(beat.tick().await - began, Duration::from_secs(n));
    /// }
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub fn interval(&self, period: Duration) -> Interval {
        let period = period.max(Duration::from_nanos(1));
        Interval { sleep: self.sleep(period), period }
    }
}

/// Ready when its deadline has come. See [`Runtime::sleep`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    runtime: Runtime,
    deadline: Instant,
    key: Option<u32>,
}

impl Sleep {
    /// When it is ready.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Gives it another deadline, whether it was ready or not.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime};
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let mut idle = runtime.sleep(Duration::from_secs(1));
    /// // Something came, so the limit begins again.
    /// idle.reset(runtime.now() + Duration::from_secs(5));
    /// let began = runtime.now();
    /// idle.await;
    /// assert_eq!(runtime.now() - began, Duration::from_secs(5));
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        self.cancel();
        self.deadline = deadline;
    }

    fn cancel(&mut self) {
        if let Some(key) = self.key.take() {
            let waker = self.runtime.timers().remove(key);
            drop(waker);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.runtime.now() >= self.deadline {
            self.cancel();
            return Poll::Ready(());
        }
        match self.key {
            None => {
                let key = self.runtime.timers().insert(self.deadline, cx.waker());
                self.key = Some(key);
            }
            Some(key) => {
                let before = self.runtime.timers().set_waker(key, cx.waker());
                drop(before);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

pin_project! {
    /// A future with a time limit. See [`Runtime::timeout`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

/// What was waited for did not come in time.
///
/// ```
/// # use core::time::Duration;
/// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
/// # use lcore_async::{Config, Runtime};
/// # let mut sim = Sim::new(1);
/// # let start = move |cx: &mut lcore::Cx<'_>| {
/// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
/// #     let (spawner, lib) = (runtime.clone(), cx.lib());
/// #     let task = async move {
/// let never = core::future::pending::<()>();
/// let elapsed = runtime.timeout(Duration::from_secs(1), never).await.expect_err("it never is");
/// assert_eq!(elapsed.to_string(), "not in time");
/// #         lib.stop();
/// #         Ok::<(), NetError>(())
/// #     };
/// #     drop(spawner.spawn_local(task));
/// # };
/// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
/// # sim.run_for(Duration::from_secs(60));
/// # assert!(sim.lib().is_stopping(), "the task has come to its end");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not in time")
    }
}

impl Error for Elapsed {}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed(()))),
        }
    }
}

/// Whole periods of time. See [`Runtime::interval`].
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
}

impl Interval {
    /// Ready at the next whole period since the interval was made; tells when that was. Where
    /// periods have passed meanwhile it is ready once for all of them, and then at the next whole
    /// one. Dropped before it is ready, it has skipped nothing.
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use lcore::{ThreadConfig, net::NetError, sim::Sim};
    /// # use lcore_async::{Config, Runtime};
    /// # let mut sim = Sim::new(1);
    /// # let start = move |cx: &mut lcore::Cx<'_>| {
    /// #     let runtime = Runtime::new(cx, Config::new()).expect("a runtime");
    /// #     let (spawner, lib) = (runtime.clone(), cx.lib());
    /// #     let task = async move {
    /// let mut beat = runtime.interval(Duration::from_secs(1));
    /// let first = beat.tick().await;
    /// runtime.sleep(Duration::from_millis(2_500)).await;
    /// // Two periods have passed, and are told once.
    /// assert_eq!(beat.tick().await - first, Duration::from_secs(1));
    /// assert_eq!(beat.tick().await - first, Duration::from_secs(3));
    /// #         lib.stop();
    /// #         Ok::<(), NetError>(())
    /// #     };
    /// #     drop(spawner.spawn_local(task));
    /// # };
    /// # sim.lib().spawn(ThreadConfig::new("t"), start).expect("a thread");
    /// # sim.run_for(Duration::from_secs(60));
    /// # assert!(sim.lib().is_stopping(), "the task has come to its end");
    /// ```
    pub async fn tick(&mut self) -> Instant {
        core::future::poll_fn(|cx| Pin::new(&mut self.sleep).poll(cx)).await;
        let due = self.sleep.deadline();
        let (late, period) = (self.sleep.runtime.now().nanos_since(due), self.period.as_nanos().max(1));
        let passed = (u128::from(late) / period + 1) * period;
        self.sleep.reset(due.plus_nanos(u64::try_from(passed).unwrap_or(u64::MAX)));
        due
    }
}
