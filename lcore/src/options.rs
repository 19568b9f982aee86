//! What every application can be told, with SPDK's letters.

use std::path::PathBuf;
#[cfg(feature = "rpc")]
use std::sync::Arc;
use std::time::Duration;

use core_reactor::{CpuSet, CpuSetError, Idle, ThreadLibOptions};

use crate::config::{self, Own};
use crate::{PoolOptions, logging};

/// The options that all applications share. Flatten it into a clap command, or fill it in.
///
/// ```
/// use lcore::AppOptions;
/// use lcore::clap::{self, Parser};
///
/// #[derive(Parser)]
/// struct Args {
///     /// Where to listen.
///     at: std::net::SocketAddr,
///     #[command(flatten)]
///     app: AppOptions,
/// }
///
/// let args = Args::parse_from(["server", "127.0.0.1:80", "-m", "0-3", "--busy-poll"]);
/// assert_eq!(args.app.cores.map(|cores| cores.count()), Some(4));
/// assert!(args.app.busy_poll && args.at.port() == 80);
/// ```
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Reactor options")]
#[non_exhaustive]
pub struct AppOptions {
    /// Cores to run reactors on: a mask (0x3), a list ([0,2-4] or 0,2-4) or both joined by a comma.
    /// Default: one reactor, which the kernel moves to where there is room.
    #[arg(id = "cpumask", short = 'm', long = "cpumask", value_name = "CORES", value_parser = parse_cores)]
    pub cores: Option<CpuSet>,
    /// The file that they are from, if they are.
    #[arg(skip)]
    pub(crate) cores_from: Option<PathBuf>,
    /// Parts whose details are logged.
    #[arg(id = "logflag", short = 'L', long = "logflag", value_name = "PART")]
    #[arg(help = format!("Log the details of a part: {}. Can be given more than once", logging::known()))]
    pub log_flags: Vec<String>,
    /// Log no line that is less urgent than this; details (debug, trace) are those of -L and of
    /// RUST_LOG. Default: debug, or what RUST_LOG asks for.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// What a line of the log looks like: text (after the seconds since the start), time (after the
    /// time of day, in UTC), or json (an object a line). Default: text.
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    pub log_format: Option<LogFormat>,
    /// Read these options from a JSON file, where the command line leaves them open, and make the
    /// calls of its subsystems, as SPDK's save_config writes them.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What the file calls.
    #[cfg(feature = "rpc")]
    #[arg(skip)]
    pub(crate) calls: Arc<config::Calls>,
    /// Network backend. Default: the linked one with the highest priority that works here.
    #[arg(id = "sock_impl", short = 'N', long = "sock-impl", value_name = "NAME")]
    pub net: Option<String>,
    /// Never sleep: poll on every core all the time.
    #[arg(long)]
    pub busy_poll: bool,
    /// Microseconds that an idle reactor polls on before it sleeps. Default: 20.
    #[arg(long, value_name = "MICROSECONDS", conflicts_with = "busy_poll")]
    pub idle_spin: Option<u64>,
    /// Do not lock the cores of -m against other processes of this kind.
    #[arg(long)]
    pub no_cpumask_locks: bool,
    /// Move movable threads between reactors: static (never) or busy (from a reactor above 95 % to
    /// one below 20 %).
    #[arg(long, value_name = "POLICY")]
    pub balance: Option<Balance>,
    /// Milliseconds that one run of a poller may take before it is named in the log; 0 for as long
    /// as it likes. Default: 10.
    #[cfg(feature = "observe")]
    #[arg(long, value_name = "MILLISECONDS")]
    pub stall_limit: Option<u64>,
    /// The size of the buffer pool.
    #[command(flatten)]
    pub pool: PoolOptions,
    /// Serve statistics for Prometheus at http://IP:PORT/metrics, over the network backend.
    #[cfg(feature = "metrics")]
    #[arg(long, value_name = "IP:PORT", value_parser = crate::metrics::parse_at)]
    pub metrics: Option<std::net::SocketAddr>,
    /// Where RPC is served.
    #[cfg(feature = "rpc")]
    #[command(flatten)]
    pub rpc: crate::RpcOptions,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// Text, after the seconds since the start.
    #[default]
    Text,
    /// Text, after the time of day in UTC, with microseconds (RFC 3339).
    Time,
    /// An object of JSON.
    Json,
}

/// How urgent a line of the log is, the most urgent first.
///
/// ```
/// use lcore::LogLevel;
///
/// assert_eq!(log::LevelFilter::from(LogLevel::Warn), log::LevelFilter::Warn);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogLevel {
    /// What ends or endangers something.
    Error,
    /// What someone should look at.
    Warn,
    /// Milestones.
    Info,
    /// Details of parts that are switched on.
    Debug,
    /// And what is logged all the time.
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// When threads change cores by themselves.
///
/// ```
/// use lcore::AppOptions;
/// use lcore::clap::{Args, Command, FromArgMatches};
///
/// let args = AppOptions::augment_args(Command::new("prog")).try_get_matches_from(["prog", "--balance", "busy"])?;
/// assert_eq!(AppOptions::from_arg_matches(&args)?.balance, Some(lcore::Balance::Busy));
/// # Ok::<(), lcore::clap::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Balance {
    /// Never.
    #[default]
    Static,
    /// From a reactor that is busy for more than 95 % to one that is for less than 20 %; see
    /// [`core_reactor::balance`].
    Busy,
}

/// Options that do not make sense. A program ends with exit code 2 for them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A log flag that no part has.
    #[error("log flag {flag:?}: no part is called so; known are {known}")]
    LogFlag {
        /// What was given.
        flag: String,
        /// What could be.
        known: String,
    },
    /// The file cannot be read.
    #[error("-c {}: {why}", .path.display())]
    ConfigUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("-c {}: {key}: {why}", .path.display())]
    ConfigWrong {
        /// The file.
        path: PathBuf,
        /// The key that is wrong.
        key: String,
        /// What is wrong with it, with line and column.
        why: serde_json::Error,
    },
}

impl AppOptions {
    /// Fills in from the file what was not given otherwise, and `own`, and checks the rest.
    ///
    /// # Errors
    /// The file is unreadable or wrong; a log flag is unknown.
    pub(crate) fn resolve(mut self, own: Option<&mut Box<dyn Own>>) -> Result<Self, OptionsError> {
        if let Some(path) = self.config.clone() {
            config::read(&path, &mut self, own)?;
        }
        logging::check(&self.log_flags)?;
        Ok(self)
    }

    /// Has `threads` keep to the limit that was given, if one was.
    pub(crate) fn limit_stalls(&self, threads: &mut ThreadLibOptions) {
        #[cfg(feature = "observe")]
        if let Some(limit) = self.stall_limit {
            threads.stall_limit = Duration::from_millis(limit);
        }
        #[cfg(not(feature = "observe"))]
        let _ = threads;
    }

    /// What an idle reactor does.
    pub(crate) fn idle(&self) -> Idle {
        match (self.busy_poll, self.idle_spin) {
            (true, _) => Idle::Poll,
            (false, Some(spin)) => Idle::ParkAfter(Duration::from_micros(spin)),
            (false, None) => Idle::default(),
        }
    }
}

fn parse_cores(text: &str) -> Result<CpuSet, CpuSetError> {
    text.parse()
}
