//! smbd-server: an SMB Direct server over any linked transport.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::Parser;
use lcore::pool::{Class, ClassConfig, DataPool, DataPoolConfig};
use lcore::transport::{QueueOptions, Wait};
use lcore::{App, AppHandle, AppOptions, Failure, net};
use smb_direct::Settings;
use smbd::{Server, ServerConfig, parse_wait};

/// Serves SMB Direct (MS-SMBD): negotiates, moves memory by RDMA for clients that ask for it, and
/// with --echo sends their data back. SIGINT ends it.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    after_help = "-N names the transport here.\n\nExamples:\n  smbd-server -P 5445 --echo                        on a core of the kernel's choice, polling\n  \
        smbd-server -P 5445 --echo -m 0x3 --wait event    on two cores, which sleep when there is nothing to do"
)]
struct Args {
    /// Address to listen at: IPv4 or IPv6, no names.
    #[arg(short = 'H', long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    host: String,
    /// Port. 0 takes a free one, which is printed.
    #[arg(short = 'P', long, default_value_t = 0)]
    port: u16,
    /// Messages of data come back.
    #[arg(long)]
    echo: bool,
    /// How cores wait: polled (the lowest latency), or event (they sleep until the device tells).
    #[arg(long, value_name = "HOW", default_value = "polled", value_parser = parse_wait)]
    wait: Wait,
    /// Connections on each core. More than the device has room for are refused at the start, with
    /// the number that is possible.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    #[command(flatten)]
    app: AppOptions,
}

/// Receive buffers of each core: those that each connection is sure of (5), and 384 beyond for the
/// first ones.
fn receives(args: &Args) -> u32 {
    5 * args.connections + 384
}

/// Twice the receives for each core, as what is echoed is replaced meanwhile, and large buffers for
/// 16 MiB of what clients write.
fn pool(args: &Args, cores: usize) -> DataPoolConfig {
    DataPoolConfig::DEFAULT
        .small(ClassConfig { count: cores * (2 * receives(args) as usize + 256), size: 8192 })
        .large(ClassConfig { count: 128 + 2 * cores, size: 128 << 10 })
        .control(ClassConfig { count: 0, size: 4 << 10 })
        .waiters(256)
}

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("smbd-server") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let at = match net::parse_address(&args.host, args.port) {
        Ok(at) => at,
        Err(why) => {
            let why = Failure::Usage(format!("-H: {why}"));
            let _ = writeln!(io::stderr(), "smbd-server: {why}");
            return ExitCode::from(why.exit_code());
        }
    };
    let running = Arc::new(OnceLock::<Server>::new());
    let finished = running.clone();
    let app = App::new("smbd-server").options(args.app.clone()).transport().on_stopped(move |app, _| {
        if let Some(server) = finished.get() {
            report(app, server);
        }
    });
    #[cfg(feature = "rpc")]
    let app = app.rpc();
    app.run(move |_, app| {
        log::info!("transport: {}", app.transport());
        let (ready, wait) = (app.clone(), args.wait);
        let config = config(&args, app, at)?;
        let server = Server::start(app.lib(), app.cores(), config, move |_, outcome| match outcome {
            Ok(at) => {
                let (name, cores) = (ready.transport().backend.name(), ready.cores());
                log::info!("listening on port {} of {}: transport {name}, cores {cores}, {wait:?}", at.port(), at.ip());
            }
            Err(why) => ready.fail(&why),
        })?;
        let _ = running.set(server);
        Ok(())
    })
}

fn config(args: &Args, app: &AppHandle, at: SocketAddr) -> Result<ServerConfig, lcore::DataPoolError> {
    Ok(ServerConfig {
        transport: app.transport().backend,
        at,
        // So many clients may ask at the same moment.
        options: QueueOptions::default().backlog(1024),
        wait: args.wait,
        settings: Settings::server(),
        connections: args.connections,
        receives: receives(args),
        echo: args.echo,
        pool: app.data_pool(pool(args, app.cores().count()))?.clone(),
    })
}

/// What each group has done, and whether all buffers are home.
fn report(app: &AppHandle, server: &Server) {
    for (index, (core, group)) in server.reports().iter().enumerate() {
        let (messages, bytes, failed) = (group.messages, group.bytes, group.failed);
        log::info!(
            "poll_group_{index} on core {core}: {} connections, {failed} failed, {messages} messages, {bytes} bytes",
            group.connections
        );
        let (lost, out) = (group.stats.receives_lost, group.stats.receives_out);
        if lost + out > 0 {
            log::warn!(
                "poll_group_{index}: {lost} receive buffers were lost with peers that died in the middle of a message, and posted anew; {out} were in use or lost at the end"
            );
        }
    }
    let Some(pool) = app.made_pool() else { return };
    let home = |class| home_of(pool, class);
    let ((small, smalls), (large, larges)) = (home(Class::Small), home(Class::Large));
    log::info!("buffers home: {small} of {smalls} small, {large} of {larges} large");
    if (small, large) != (smalls, larges) {
        log::error!(
            "{} small and {} large buffers are missing: the device or a peer's queue still has them",
            smalls - small,
            larges - large
        );
        app.stop(1);
    }
}

fn home_of(pool: &DataPool, class: Class) -> (usize, usize) {
    let stats = pool.stats(class);
    (stats.count - stats.in_use, stats.count)
}
