//! hello-sock's server module over lcore, in the test's own process.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use hello_sock::{Server, ServerConfig, ServerError};
use lcore::net::SockOptions;
use lcore::pool::{ClassConfig, DataPoolConfig, ReserveConfig};
use lcore::{App, AppOptions};

/// Nothing that is waited for takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Where the server listens with all its groups, or why one was not made.
pub(crate) type Outcome = Result<SocketAddr, ServerError>;

/// What a server is to be; it has a group for each core.
pub(crate) struct Plan {
    pub(crate) net: &'static str,
    pub(crate) cores: Option<&'static str>,
    /// The buffers of its pool, and those of them that are each group's own.
    pub(crate) buffers: ClassConfig,
    pub(crate) reserve: usize,
}

/// Runs it until the process ends.
pub(crate) fn start(plan: Plan) -> (Receiver<Server>, Receiver<Outcome>) {
    let ((give, given), (tell, told)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let mut options = AppOptions::default();
        (options.no_cpumask_locks, options.net) = (true, Some(plan.net.to_owned()));
        // A busy machine may hold a reactor up, which is said, and whoever says it allocates.
        #[cfg(feature = "observe")]
        {
            options.stall_limit = Some(0);
        }
        options.cores = plan.cores.map(|cores| cores.parse().expect("cores"));
        let ran = App::new("test").options(options).network().try_run(move |_, app| {
            let none = ClassConfig { count: 0, size: 1 << 16 };
            let config = DataPoolConfig::DEFAULT.small(plan.buffers).large(none).control(none).waiters(16);
            let pool = app.data_pool(config)?.clone();
            let reserve = ReserveConfig { small: plan.reserve, large: 0, control: 0 };
            let (at, options) = ("127.0.0.1:0".parse()?, SockOptions::default());
            let config = ServerConfig { net: app.net(), at, options, sockets: 64, pool, reserve };
            let server = Server::start(app.lib(), app.cores(), config, move |_, outcome| tell.send(outcome).unwrap())?;
            // Only a test that asks for it takes it.
            let _ = give.send(server);
            Ok(())
        });
        panic!("the server ended: {ran:?}");
    });
    (given, told)
}

/// Where a server of one group listens.
pub(crate) fn serve(net: &'static str, buffers: ClassConfig, reserve: usize) -> SocketAddr {
    let (_, told) = start(Plan { net, cores: None, buffers, reserve });
    told.recv_timeout(PATIENCE).expect("its groups").expect("it listens")
}
