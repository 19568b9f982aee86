//! One application: from its options to its exit code (`spdk_app_start`, `spdk_app_stop`,
//! `spdk_app_fini`).

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use core_reactor::net::{self, NetImpl, SelectError, Selected};
use core_reactor::transport;
use core_reactor::{
    CoreId, CpuSet, Cx, Platform, PlatformError, Polled, ReactorOptions, ReactorStats, Reactors, Schedule, SpawnError, ThreadConfig,
    ThreadHandle, ThreadLib, ThreadLibOptions, balance,
};
use platform_linux::{CpuLocks, LinuxPlatform, SpoolError, StopFlag, StopSignals};
use pool::{DataPool, DataPoolConfig};
use serde::de::DeserializeOwned;

use crate::config::{Keys, Own};
use crate::output::Output;
use crate::{AppOptions, Balance, NET_FEATURES, OptionsError, TRANSPORT_FEATURES, backend, linked, logging};

/// How often reactors are looked at for balance, as in SPDK.
const BALANCE_PERIOD: Duration = Duration::from_secs(1);

/// What a start function answers: any error ends the application with exit code 1, or the code of a
/// [`Failure`].
type Started = Result<(), Box<dyn Error + Send + Sync>>;
/// What an application does first, on its first thread.
pub(crate) type Start = Box<dyn FnOnce(&mut Cx<'_>, &AppHandle) -> Started + Send>;
type OnShutdown = Box<dyn FnMut(&mut Cx<'_>, &AppHandle) + Send>;
type OnStopped = Box<dyn FnOnce(&AppHandle, &[ReactorStats])>;

/// An application that has not started yet.
///
/// ```
/// use core::time::Duration;
/// use lcore::App;
///
/// let code = App::new("hello").try_run(|cx, app| {
///     let app = app.clone();
///     cx.after(Duration::from_millis(1), move |_| app.stop(3));
///     Ok(())
/// })?;
/// assert_eq!(code, 3);
/// # Ok::<(), lcore::Failure>(())
/// ```
pub struct App {
    name: String,
    options: AppOptions,
    threads: ThreadLibOptions,
    network: Network,
    transport: bool,
    #[cfg(feature = "rpc")]
    rpc: bool,
    #[cfg(feature = "rpc")]
    services: crate::control::Services,
    own: Option<Box<dyn Own>>,
    on_shutdown: OnShutdown,
    on_stopped: OnStopped,
}

/// Which network backend an application uses.
#[derive(Clone, Copy)]
enum Network {
    None,
    Linked,
    Given(&'static dyn NetImpl),
}

/// An application on reactors that its caller turns (see [`App::start_on`]).
pub struct StartedApp {
    app: AppHandle,
    on_stopped: OnStopped,
}

/// The running application, for any thread: to stop it, and to ask what it runs on.
#[derive(Clone)]
pub struct AppHandle(Arc<Shared>);

struct Shared {
    lib: ThreadLib,
    code: AtomicU8,
    net: Option<Selected>,
    transport: Option<transport::Selected>,
    options: AppOptions,
    own: Option<Box<dyn Any + Send + Sync>>,
    cores: CpuSet,
    pool: OnceLock<DataPool>,
    #[cfg(feature = "rpc")]
    said: crate::control::Said,
    output: Output,
    balancer: Mutex<Balancer>,
}

/// Who moves threads between reactors, if anybody does, and how often it looks.
struct Balancer {
    thread: Option<ThreadHandle>,
    period: Duration,
}

/// Why an application could not start or had to end. Its exit code is 2 where the options were
/// wrong, 101 after a panic, and otherwise 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The options.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The cores asked for are not all there.
    #[error("{by} {asked}: this machine has no core {missing}; it has {has}")]
    NoSuchCores {
        /// What asks for them: `-m`, or a key of a file.
        by: String,
        /// What was asked for.
        asked: CpuSet,
        /// Those that are not there.
        missing: CpuSet,
        /// Those that are.
        has: CpuSet,
    },
    /// The cores asked for are not all in the process' affinity.
    #[error("{by} {asked}: this process may not use {denied}; its affinity is {allowed} (see taskset and cpusets)")]
    CoresDenied {
        /// What asks for them: `-m`, or a key of a file.
        by: String,
        /// What was asked for.
        asked: CpuSet,
        /// Those that are denied.
        denied: CpuSet,
        /// Those that are not.
        allowed: CpuSet,
    },
    /// No network backend.
    #[error(transparent)]
    Net(#[from] SelectError),
    /// No transport.
    #[error(transparent)]
    Transport(#[from] transport::SelectError),
    /// A core is locked by another process.
    #[error("{0}; choose other cores with -m, or share them with --no-cpumask-locks")]
    Locked(PlatformError),
    /// The machine refused something, or a reactor panicked.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The first thread could not be made.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// What was printed has not been written.
    #[error("write standard output: {0}")]
    Output(#[from] SpoolError),
    /// Whatever the application says was asked wrongly.
    #[error("{0}")]
    Usage(String),
    /// The reactor of the first core panicked, or what comes last did.
    #[error("the application panicked")]
    Panicked,
}

impl Failure {
    /// The exit code that it ends a program with.
    ///
    /// ```
    /// use lcore::Failure;
    ///
    /// assert_eq!(Failure::Usage("two addresses are needed".into()).exit_code(), 2);
    /// assert_eq!(Failure::Panicked.exit_code(), 101);
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self {
            // The command line was right, and this machine has it not.
            Self::Net(SelectError::Unusable { .. } | SelectError::NoneUsable { .. }) => 1,
            Self::Options(_) | Self::NoSuchCores { .. } | Self::CoresDenied { .. } | Self::Net(_) | Self::Usage(_) => 2,
            Self::Panicked | Self::Platform(PlatformError::Panicked { .. }) => 101,
            // It was asked for rightly: what is missing is a device, or whatever else its probe
            // looked for.
            Self::Transport(transport::SelectError::Unusable { .. } | transport::SelectError::NoneUsable { .. }) => 1,
            Self::Transport(_) => 2,
            Self::Locked(_) | Self::Platform(_) | Self::Spawn(_) | Self::Output(_) => 1,
        }
    }
}

impl App {
    /// An application with the default options.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            options: AppOptions::default(),
            threads: ThreadLibOptions::default(),
            network: Network::None,
            transport: false,
            #[cfg(feature = "rpc")]
            rpc: false,
            #[cfg(feature = "rpc")]
            services: Vec::new(),
            own: None,
            on_shutdown: Box::new(|_, app| app.stop(0)),
            on_stopped: Box::new(|_, _| {}),
        }
    }

    /// Takes these options.
    ///
    /// ```
    /// use lcore::{App, AppOptions};
    ///
    /// let mut options = AppOptions::default();
    /// options.cores = Some("0-1".parse()?);
    /// let app = App::new("two").options(options);
    /// # Ok::<(), lcore::CpuSetError>(())
    /// ```
    #[must_use]
    pub fn options(mut self, options: AppOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the bounds of its threads: messages in a mailbox, messages of one turn, how long an end
    /// may take, and how long of that it may drain.
    ///
    /// ```
    /// use core::time::Duration;
    /// use lcore::{App, ThreadLibOptions};
    ///
    /// let bounds = ThreadLibOptions::default().exit_limit(Duration::from_secs(30)).drain_limit(Duration::from_secs(20));
    /// let app = App::new("patient").threads(bounds);
    /// ```
    #[must_use]
    pub fn threads(mut self, bounds: ThreadLibOptions) -> Self {
        self.threads = bounds;
        self
    }

    /// Uses the network: a backend is selected before the start, and a program without one ends
    /// there.
    ///
    /// ```
    /// # use lcore::App;
    /// let code = App::new("lists").network().try_run(|_, app| {
    ///     println!("sockets by {}", app.net().name());
    ///     app.stop(0);
    ///     Ok(())
    /// })?;
    /// # assert_eq!(code, 0);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    #[must_use]
    pub fn network(mut self) -> Self {
        self.network = Network::Linked;
        self
    }

    /// Uses the network over this backend, whatever else is linked. `-N` can only name it.
    ///
    /// ```
    /// use lcore::App;
    /// use lcore::sim::Sim;
    /// use net_impl_mem::{Faults, MemNet};
    ///
    /// // In a test: sockets in memory, on a machine whose clock the test moves.
    /// let net: &'static MemNet = Box::leak(Box::new(MemNet::new(7, Faults::default())));
    /// let mut sim = Sim::new(1);
    /// let app = App::new("tested").network_over(net).start_on(sim.lib(), |_, app| {
    ///     assert_eq!(app.net().name(), "mem");
    ///     Ok(())
    /// })?;
    /// sim.settle();
    /// app.stop(0);
    /// sim.settle();
    /// assert_eq!(app.finish(&[])?, 0);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    #[must_use]
    pub fn network_over(mut self, backend: &'static dyn NetImpl) -> Self {
        self.network = Network::Given(backend);
        self
    }

    /// Uses a transport (RDMA): one is selected before the start, by the same option `-N`, and a
    /// program without one ends there.
    #[must_use]
    pub fn transport(mut self) -> Self {
        self.transport = true;
        self
    }

    /// Serves RPC also where `-r` does not ask for it, at SPDK's usual place
    /// (`/var/tmp/spdk.sock`); where another process has that, none, with a warning. `--no-rpc`
    /// switches it off.
    #[cfg(feature = "rpc")]
    #[must_use]
    pub fn rpc(mut self) -> Self {
        self.rpc = true;
        self
    }

    /// Gives methods of RPC something of the application's that they find by its type, with
    /// `call.control().service()`. Calls of a file that come before the start find it too.
    #[cfg(feature = "rpc")]
    #[must_use]
    pub fn provide<T: Any + Send + Sync>(mut self, service: Arc<T>) -> Self {
        self.services.push(Box::new(move |control| control.provide(service)));
        self
    }

    /// Has keys of its own in the file of `-c`, below `app`: `{"cpumask": "0x3", "app": {…}}`. They
    /// are read as all others are, so that what is wrong with one is told by its name and line, and
    /// [`AppHandle::config`] has them. Deny unknown fields in `T`.
    ///
    /// ```
    /// use lcore::App;
    /// use lcore::serde::{self, Deserialize};
    ///
    /// /// `{"app": {"limit": 5}}` in the file of `-c`.
    /// #[derive(Default, Deserialize)]
    /// #[serde(crate = "lcore::serde", default, deny_unknown_fields)]
    /// struct Keys {
    ///     limit: u32,
    /// }
    ///
    /// App::new("keys").config::<Keys>().try_run(|_, app| {
    ///     assert_eq!(app.config::<Keys>().limit, 0, "no file says otherwise");
    ///     app.stop(0);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    #[must_use]
    pub fn config<T: DeserializeOwned + Default + Send + Sync + 'static>(mut self) -> Self {
        self.own = Some(Box::new(Keys(T::default())));
        self
    }

    /// What the first SIGINT or SIGTERM does, on the first thread. Default: `stop(0)`. It has to
    /// lead to a [`stop`](AppHandle::stop) some time; a signal that comes half a second later or
    /// more ends the process at once (one that comes earlier is taken for an echo of the first, see
    /// [`platform::StopSignals`](crate::platform::StopSignals)).
    ///
    /// ```
    /// use core::time::Duration;
    /// use lcore::App;
    ///
    /// // The first signal begins an end that takes a second.
    /// let app = App::new("polite").on_shutdown(|cx, app| {
    ///     let app = app.clone();
    ///     cx.after(Duration::from_secs(1), move |_| app.stop(0));
    /// });
    /// ```
    #[must_use]
    pub fn on_shutdown(mut self, f: impl FnMut(&mut Cx<'_>, &AppHandle) + Send + 'static) -> Self {
        self.on_shutdown = Box::new(f);
        self
    }

    /// What comes last, when all reactors have returned: their figures can be printed here.
    ///
    /// ```
    /// # use lcore::App;
    /// let app = App::new("counts").on_stopped(|app, reactors| {
    ///     for reactor in reactors {
    ///         app.println(format_args!("core {}: {} turns", reactor.core, reactor.turns));
    ///     }
    /// });
    /// # assert_eq!(app.try_run(|_, app| { app.stop(0); Ok(()) })?, 0);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    #[must_use]
    pub fn on_stopped(mut self, f: impl FnOnce(&AppHandle, &[ReactorStats]) + 'static) -> Self {
        self.on_stopped = Box::new(f);
        self
    }

    /// Runs it on the calling thread: starts the reactors, runs `start` on the first thread
    /// (`app_thread`, on the first core), and returns the exit code when everything has stopped.
    /// What failed is one line on standard error. The application ends with its first thread, as a
    /// program with its main function.
    ///
    /// Whatever of the application panics (this closure, a message, a poller, what is called at the
    /// shutdown and last, the `Display` of what is logged or printed) ends it with exit code 101:
    /// the other reactors stop, and the cores, their locks and the signals are given back.
    ///
    /// ```
    /// use std::process::ExitCode;
    ///
    /// fn main() -> ExitCode {
    ///     lcore::App::new("hello").run(|_, app| {
    ///         app.println("hello");
    ///         app.stop(0);
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn run<F>(self, start: F) -> ExitCode
    where
        F: FnOnce(&mut Cx<'_>, &AppHandle) -> Started + Send + 'static,
    {
        let name = self.name.clone();
        match self.try_run(start) {
            Ok(code) => ExitCode::from(code),
            Err(why) => {
                logging::say(&format!("{name}: {why}"));
                ExitCode::from(why.exit_code())
            }
        }
    }

    /// As [`run`](Self::run), with the failure as a value.
    ///
    /// ```
    /// use lcore::App;
    ///
    /// // What the start answers ends it, as a text on standard error and exit code 1.
    /// assert_eq!(App::new("fails").try_run(|_, _| Err("there is no disk".into()))?, 1);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    ///
    /// # Errors
    /// What kept the application from starting (and has been undone), or a panic.
    pub fn try_run<F>(mut self, start: F) -> Result<u8, Failure>
    where
        F: FnOnce(&mut Cx<'_>, &AppHandle) -> Started + Send + 'static,
    {
        let options = self.resolve()?;
        // First of all, so that a signal while the rest is made is an orderly stop too. Before, a
        // file that does not come could not be given up.
        let flag = Arc::new(StopFlag::default());
        let _signals = StopSignals::install(flag.clone())?;
        logging::start(&self.name, &options)?;
        let _log = FlushLog;
        let (platform, cores, _locks) = seats(&options)?;
        let platform = Arc::new(platform);
        let net = match self.network {
            Network::Linked => Some(backend::select(options.net.as_deref(), &platform, &cores)?),
            _ => self.select_network(&options)?,
        };
        let mut reactor_options = ReactorOptions::new(cores);
        (reactor_options.idle, reactor_options.threads) = (options.idle(), self.threads.clone());
        options.limit_stalls(&mut reactor_options.threads);
        let reactors = Reactors::new(platform.clone(), &reactor_options)?;
        #[cfg(feature = "observe")]
        let _watcher = watch(reactors.lib());
        // The set has a core, or `Reactors::new` had refused it.
        flag.wake(platform, cores.iter().next().unwrap_or(CoreId(0)));
        let started = self.begin(reactors.lib(), options, net, start, move || flag.signal())?;
        // A panic of the first core's reactor has already stopped the others; it becomes an exit
        // code like theirs.
        let stats = catch_unwind(AssertUnwindSafe(|| reactors.run())).map_err(|_| Failure::Panicked)??;
        started.finish(&stats)
    }

    /// Starts it on reactors that the caller has made, over whatever platform, and turns or runs: a
    /// simulated machine for one, whose clock the test moves. What it is to be is the same;
    /// signals, the log, the locks of cores and how idle reactors sleep are the caller's, and so
    /// are the bounds of threads.
    ///
    /// ```
    /// use lcore::sim::Sim;
    /// use lcore::{App, Schedule};
    ///
    /// let mut sim = Sim::new(2);
    /// let app = App::new("clock").start_on(sim.lib(), |cx, app| {
    ///     let app = app.clone();
    ///     cx.after(std::time::Duration::from_secs(3600), move |_| app.stop(7));
    ///     Ok(())
    /// })?;
    /// sim.settle();
    /// sim.advance(std::time::Duration::from_secs(3600));
    /// assert_eq!(app.finish(&[])?, 7);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    ///
    /// # Errors
    /// What keeps it from starting.
    pub fn start_on<F>(mut self, lib: &ThreadLib, start: F) -> Result<StartedApp, Failure>
    where
        F: FnOnce(&mut Cx<'_>, &AppHandle) -> Started + Send + 'static,
    {
        let options = self.resolve()?;
        let net = self.select_network(&options)?;
        self.begin(lib, options, net, start, || None)
    }

    fn resolve(&mut self) -> Result<AppOptions, Failure> {
        let options = self.options.clone().resolve(self.own.as_mut())?;
        if !matches!(self.network, Network::None) && options.pool.small_pool_count == Some(0) {
            return Err(Failure::Usage("small_pool_count 0: sockets receive into small buffers, so there must be some".into()));
        }
        #[cfg(feature = "metrics")]
        if let (Some(at), Network::None) = (options.metrics, &self.network) {
            return Err(Failure::Usage(format!("--metrics {at}: this program has no network that metrics could be served over")));
        }
        Ok(options)
    }

    fn select_network(&self, options: &AppOptions) -> Result<Option<Selected>, SelectError> {
        let name = options.net.as_deref();
        match self.network {
            Network::None => Ok(None),
            Network::Linked => net::select_from(&linked::net(), name, NET_FEATURES).map(Some),
            Network::Given(backend) => net::select_from(&[backend], name, &[]).map(Some),
        }
    }

    /// Makes the first thread. `signal` tells whether the application is asked to shut down.
    fn begin<F>(
        self,
        lib: &ThreadLib,
        options: AppOptions,
        net: Option<Selected>,
        start: F,
        signal: impl Fn() -> Option<i32> + Send + 'static,
    ) -> Result<StartedApp, Failure>
    where
        F: FnOnce(&mut Cx<'_>, &AppHandle) -> Started + Send + 'static,
    {
        let transport = if self.transport {
            Some(transport::select_from(&linked::transport(), options.net.as_deref(), TRANSPORT_FEATURES)?)
        } else {
            None
        };
        let app = AppHandle(Arc::new(Shared {
            lib: lib.clone(),
            code: AtomicU8::new(0),
            net,
            transport,
            options,
            own: self.own.map(Own::finish),
            cores: lib.reactors(),
            pool: OnceLock::new(),
            #[cfg(feature = "rpc")]
            said: crate::control::Said::new(matches!(self.network, Network::Given(_))),
            output: Output::default(),
            balancer: Mutex::new(Balancer { thread: None, period: BALANCE_PERIOD }),
        }));
        #[cfg(feature = "rpc")]
        let (by_default, services) = (self.rpc, self.services);
        let begin = move |cx: &mut Cx<'_>, app: &AppHandle, start: Start| {
            #[cfg(feature = "rpc")]
            crate::control::begin(cx, app, by_default, services, start);
            // What failed has been said.
            #[cfg(not(feature = "rpc"))]
            let _ = app.start(cx, start);
        };
        spawn_first(&app, self.on_shutdown, move |cx, app| begin(cx, app, Box::new(start)), signal)?;
        Ok(StartedApp { app, on_stopped: self.on_stopped })
    }
}

impl StartedApp {
    /// Its end, when all reactors have returned: calls what was given to [`App::on_stopped`], waits
    /// for what was printed, and answers the exit code.
    ///
    /// ```
    /// # use lcore::{App, sim::Sim};
    /// # let mut sim = Sim::new(2);
    /// let app = App::new("example").start_on(sim.lib(), |_cx, app| {
    ///     app.stop(3);
    ///     Ok(())
    /// })?;
    /// sim.run_for(core::time::Duration::from_secs(1));
    /// assert_eq!(app.finish(&[])?, 3, "the exit code");
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    ///
    /// # Errors
    /// What was printed could not be written, or what comes last panicked.
    pub fn finish(self, stats: &[ReactorStats]) -> Result<u8, Failure> {
        let Self { app, on_stopped } = self;
        catch_unwind(AssertUnwindSafe(|| on_stopped(&app, stats))).map_err(|_| Failure::Panicked)?;
        match (app.0.output.finish(), app.0.code.load(Ordering::SeqCst)) {
            (Err(why), 0) => Err(why),
            (Err(why), code) => {
                log::error!("{why}");
                Ok(code)
            }
            (Ok(()), code) => Ok(code),
        }
    }
}

impl std::ops::Deref for StartedApp {
    type Target = AppHandle;

    fn deref(&self) -> &AppHandle {
        &self.app
    }
}

/// At whatever end, a panic among them, what was logged is read first, if anybody reads it.
struct FlushLog;

impl Drop for FlushLog {
    fn drop(&mut self) {
        logging::flush();
    }
}

impl AppHandle {
    /// Stops the application: all threads are asked to exit, and `run` returns `code` when they
    /// have. The first code that is not 0 counts.
    ///
    /// ```
    /// # use lcore::App;
    /// let code = App::new("stops").try_run(|_, app| {
    ///     app.stop(4);
    ///     app.stop(0); // the first that is not 0 counts
    ///     Ok(())
    /// })?;
    /// assert_eq!(code, 4);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    pub fn stop(&self, code: u8) {
        let _ = self.0.code.compare_exchange(0, code, Ordering::SeqCst, Ordering::Relaxed);
        self.0.lib.stop();
    }

    /// Reports `why` in one line and stops with the exit code that it calls for.
    ///
    /// ```
    /// # use lcore::App;
    /// let code = App::new("fails").try_run(|cx, app| {
    ///     let app = app.clone();
    ///     cx.after(core::time::Duration::ZERO, move |_| app.fail(&std::fmt::Error));
    ///     Ok(())
    /// })?;
    /// assert_eq!(code, 1);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    pub fn fail(&self, why: &(dyn Error + 'static)) {
        log::error!("{why}");
        self.stop(why.downcast_ref::<Failure>().map_or(1, Failure::exit_code));
    }

    /// Runs what the application does first. What failed stops it; it has been said, and comes back
    /// for whoever asked for the start.
    pub(crate) fn start(&self, cx: &mut Cx<'_>, start: Start) -> Result<(), String> {
        #[cfg(feature = "metrics")]
        let start = |cx: &mut Cx<'_>, app: &Self| {
            crate::metrics::start(cx, app)?;
            start(cx, app)
        };
        start(cx, self).map_err(|why| {
            // Whoever stopped the application on the way has said why.
            if why.downcast_ref() == Some(&SpawnError::Stopping) {
                log::debug!("the start was not finished: {why}");
            } else {
                self.fail(&*why);
            }
            why.to_string()
        })
    }

    /// Prints a line on standard output. Never waits for whoever reads that, so it is for reactors:
    /// a thread of its own writes, in order, and [`App::run`] waits for it, five seconds at most.
    /// What could not be written makes the exit code 1, with the reason in one line; so does a line
    /// for which there is no room, of 1 MiB for all that waits to be written.
    ///
    /// ```
    /// # use lcore::App;
    /// let code = App::new("says").try_run(|_, app| {
    ///     // Never waits for whoever reads it.
    ///     app.println(format_args!("cores {}", app.cores()));
    ///     app.stop(0);
    ///     Ok(())
    /// })?;
    /// # assert_eq!(code, 0);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    pub fn println(&self, line: impl fmt::Display) {
        self.0.output.println(&line);
    }

    /// The network backend.
    ///
    /// # Panics
    /// The application was made without [`App::network`].
    pub fn net(&self) -> &'static dyn NetImpl {
        self.selected().backend
    }

    /// The network backend with the reason for which it was selected.
    ///
    /// ```
    /// # use lcore::App;
    /// # let code =
    /// App::new("tells").network().try_run(|_, app| {
    ///     println!("{}", app.selected()); // with the reason
    ///     app.stop(0);
    ///     Ok(())
    /// })?;
    /// # assert_eq!(code, 0);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    ///
    /// # Panics
    /// The application was made without [`App::network`].
    pub fn selected(&self) -> &Selected {
        #[cfg(feature = "rpc")]
        if let Some(selected) = self.0.said.net() {
            return selected;
        }
        match &self.0.net {
            Some(selected) => selected,
            None => panic!("this application has no network: make it with App::network()"),
        }
    }

    /// The transport, with the reason for which it was selected.
    ///
    /// # Panics
    /// The application was made without [`App::transport`].
    pub fn transport(&self) -> &transport::Selected {
        match &self.0.transport {
            Some(selected) => selected,
            None => panic!("this application has no transport: make it with App::transport()"),
        }
    }

    /// The application's threads.
    ///
    /// ```
    /// # use lcore::App;
    /// use lcore::{CpuSet, ThreadConfig};
    ///
    /// # let code =
    /// App::new("two threads").try_run(|_, app| {
    ///     let (last, core) = (app.clone(), app.cores().iter().last().ok_or("there is one")?);
    ///     app.lib().spawn(ThreadConfig::new("other").cpus(CpuSet::of(core)), move |_| last.stop(0))?;
    ///     Ok(())
    /// })?;
    /// # assert_eq!(code, 0);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    pub fn lib(&self) -> &ThreadLib {
        &self.0.lib
    }

    /// The cores that have a reactor. Without `-m` it is one, whose number is only a name.
    pub fn cores(&self) -> &CpuSet {
        &self.0.cores
    }

    /// Whether it was made with a network, so that [`net`](Self::net) has something to tell.
    ///
    /// ```
    /// # use lcore::{App, sim::Sim};
    /// # let mut sim = Sim::new(2);
    /// let app = App::new("example").start_on(sim.lib(), |_cx, app| {
    ///     assert!(!app.has_net(), "none was asked for");
    ///     app.stop(0);
    ///     Ok(())
    /// })?;
    /// # sim.run_for(core::time::Duration::from_secs(1));
    /// # assert_eq!(app.finish(&[])?, 0);
    /// # Ok::<(), lcore::Failure>(())
    /// ```
    pub fn has_net(&self) -> bool {
        self.0.net.is_some()
    }

    /// What was said over RPC before the start.
    #[cfg(feature = "rpc")]
    pub(crate) fn said(&self) -> &crate::control::Said {
        &self.0.said
    }

    /// The sizes of the pool: what was said over RPC, on the command line, and `defaults`.
    pub(crate) fn pool_config(&self, defaults: DataPoolConfig) -> DataPoolConfig {
        let config = self.options().pool.over(defaults);
        #[cfg(feature = "rpc")]
        let config = self.0.said.pool(config);
        config
    }

    /// Whether threads change reactors by themselves, and how often that is looked at.
    pub fn balance(&self) -> (Balance, Duration) {
        let balancer = self.0.balancer.lock().unwrap_or_else(PoisonError::into_inner);
        (if balancer.thread.is_some() { Balance::Busy } else { Balance::Static }, balancer.period)
    }

    /// Changes that, from now on.
    ///
    /// # Errors
    /// There is no thread to be had for the one who looks.
    pub fn set_balance(&self, balance: Balance, period: Option<Duration>) -> Result<(), SpawnError> {
        let mut balancer = self.0.balancer.lock().unwrap_or_else(PoisonError::into_inner);
        let period = period.unwrap_or(balancer.period);
        if balance == Balance::Busy && balancer.thread.is_some() && balancer.period == period {
            return Ok(());
        }
        let thread = if balance == Balance::Busy { Some(balance::start(self.lib(), period)?) } else { None };
        let before = std::mem::replace(&mut *balancer, Balancer { thread, period });
        if let Some(before) = before.thread {
            before.exit();
        }
        Ok(())
    }

    /// The pool of [`data_pool`](Self::data_pool), if it has been made.
    pub fn made_pool(&self) -> Option<&DataPool> {
        self.0.pool.get()
    }

    /// Keeps the application's pool, unless another thread was first; the one that is kept comes
    /// back.
    pub(crate) fn keep_pool(&self, pool: DataPool) -> &DataPool {
        self.0.pool.get_or_init(|| pool)
    }

    /// The application's own keys of the file of `-c`, or their defaults.
    ///
    /// # Panics
    /// The application was not made with [`App::config`] of this type.
    pub fn config<T: 'static>(&self) -> &T {
        match self.0.own.as_ref().and_then(|own| own.downcast_ref()) {
            Some(own) => own,
            None => panic!("this application has no keys of this type: make it with App::config()"),
        }
    }

    /// The options as they are in force.
    pub fn options(&self) -> &AppOptions {
        &self.0.options
    }
}

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application on cores {}", self.0.cores)
    }
}

/// Whoever names a reactor that does not come back, if stalls are to be named.
#[cfg(feature = "observe")]
fn watch(lib: &ThreadLib) -> Option<crate::stalls::Watcher> {
    if lib.stall_limit().is_zero() {
        return None;
    }
    let watcher = crate::stalls::Watcher::start(lib.clone());
    watcher.inspect_err(|why| log::warn!("stalls are named only when they end: {why}")).ok()
}

/// What the reactors run on: the cores asked for, each pinned to its own and locked against other
/// processes of this kind; or else one reactor that nothing pins. Then the kernel, which alone
/// knows of everybody on the machine, keeps it away from the others.
fn seats(options: &AppOptions) -> Result<(LinuxPlatform, CpuSet, CpuLocks), Failure> {
    let platform = LinuxPlatform::new()?;
    let allowed = platform.cores();
    let Some(asked) = options.cores else {
        log::info!("one reactor, which the kernel moves among the cores {allowed}: without -m nothing is pinned");
        return Ok((platform.unpinned(), allowed.iter().take(1).collect(), CpuLocks::default()));
    };
    let denied = asked.minus(&allowed);
    if !denied.is_empty() {
        let by = options.cores_from.as_ref().map_or("-m".into(), |file| format!("-c {}: cpumask", file.display()));
        // Where the system does not tell which cores there are, they are denied all the same.
        return Err(match platform_linux::online_cores().map(|has| (asked.minus(&has), has)) {
            Ok((missing, has)) if !missing.is_empty() => Failure::NoSuchCores { by, asked, missing, has },
            _ => Failure::CoresDenied { by, asked, denied, allowed },
        });
    }
    let locks = if options.no_cpumask_locks { CpuLocks::default() } else { CpuLocks::claim(&asked).map_err(Failure::Locked)? };
    if let Some(why) = locks.unlocked() {
        log::warn!("other processes of this kind are not kept off the cores {}: {why}", asked.minus(&locks.cores()));
    }
    Ok((platform, asked, locks))
}

/// Makes the first thread: it begins the application, and watches for the request to shut down.
fn spawn_first<F>(
    app: &AppHandle,
    mut on_shutdown: OnShutdown,
    begin: F,
    signal: impl Fn() -> Option<i32> + Send + 'static,
) -> Result<(), SpawnError>
where
    F: FnOnce(&mut Cx<'_>, &AppHandle) + Send + 'static,
{
    let app = app.clone();
    let config = ThreadConfig::new("app_thread").cpus(app.cores().iter().take(1).collect());
    app.clone().lib().spawn(config, move |cx| {
        let watcher = app.clone();
        // The signal's handler unparks this core, so it need not stay awake for the flag.
        let watch = cx.poller("shutdown", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            let Some(signal) = signal() else { return Polled::Idle };
            log::info!("signal {signal}: shutting down; another one, half a second later or more, ends the process at once");
            on_shutdown(cx, &watcher);
            Polled::Done
        });
        let ended = app.clone();
        cx.on_exit(move |cx| {
            // It is gone if a signal came. Nobody would look for one any more.
            let _ = cx.remove(watch);
            ended.stop(0);
        });
        if app.options().balance == Some(Balance::Busy)
            && let Err(why) = app.set_balance(Balance::Busy, None)
        {
            log::error!("balance: {why}");
        }
        begin(cx, &app);
    })?;
    Ok(())
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("name", &self.name).field("options", &self.options).finish_non_exhaustive()
    }
}

impl fmt::Debug for StartedApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StartedApp").field(&self.app).finish()
    }
}
