//! hello-kv: the server as a program.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::Parser;
use hello_kv::{KvConfig, KvServer};
use lcore::pool::{ClassConfig, DataPoolConfig, ReserveConfig};
use lcore::{App, AppOptions};

/// Keeps keys and values in memory, and speaks the protocol of Redis. A shard of the keys is on
/// each core of -m.
#[derive(Parser)]
#[command(version, after_help = "Example:\n  hello-kv 127.0.0.1:6379 -m 0,1        then: redis-cli set a 1")]
struct Args {
    /// Where to listen. Port 0 takes a free one, which is printed.
    #[arg(default_value = "127.0.0.1:6379")]
    at: SocketAddr,
    /// Connections on each core.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sockets: u32,
    /// MiB of keys and values on each core.
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    #[command(flatten)]
    app: AppOptions,
}

/// Buffers that take in 16 KiB at once, and none of the other kinds.
const POOL: DataPoolConfig = DataPoolConfig::DEFAULT
    .small(ClassConfig { count: 2048, size: 16 << 10 })
    .large(ClassConfig { count: 0, size: 128 << 10 })
    .control(ClassConfig { count: 0, size: 4 << 10 })
    .waiters(256);

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("hello_kv") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let running = Arc::new(OnceLock::<KvServer>::new());
    let finished = running.clone();
    let app = App::new("hello_kv").options(args.app).network().on_stopped(move |app, _| {
        for (core, report) in app.cores().iter().zip(finished.get().map(KvServer::reports).unwrap_or_default()) {
            log::info!("core {core}: {} connections, other cores asked {} times", report.connections, report.asked);
        }
    });
    app.run(move |_, app| {
        let pool = app.data_pool(POOL)?.clone();
        let small = (POOL.small.count / 2 / app.cores().count()).min(512);
        let config = KvConfig {
            net: app.net(),
            at: args.at,
            sockets: args.sockets as usize,
            memory: (args.memory as usize) << 20,
            pool,
            reserve: ReserveConfig { small, large: 0, control: 0 },
        };
        let ready = app.clone();
        let server = KvServer::start(app.lib(), app.cores(), config, move |_, outcome| match outcome {
            Ok(at) => ready.println(format_args!("serves at {at}")),
            Err(why) => ready.fail(&*why),
        })?;
        let _ = running.set(server);
        Ok(())
    })
}
