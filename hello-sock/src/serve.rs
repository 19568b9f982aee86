//! The server's side of the command line: starts it, says where it listens, and reports at the end.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use hello_sock::{GroupReport, Server, ServerConfig};
use lcore::net::SockOptions;
use lcore::pool::{Class, ClassConfig, DataPool, DataPoolConfig, ReserveConfig};
use lcore::{App, AppHandle, CoreId, ReactorStats};
use serde_json::json;

use crate::args::{Args, Keys, Sockets};
use crate::{report_head, room};

/// The pool where the command line does not say otherwise: buffers that take in 16 KiB at once, and
/// no large ones, which an echo has no use for.
const POOL: DataPoolConfig = DataPoolConfig::DEFAULT
    .small(ClassConfig { count: 2048, size: 16 << 10 })
    .large(ClassConfig { count: 0, size: 128 << 10 })
    .control(ClassConfig { count: 0, size: 4 << 10 })
    .waiters(256);
/// What each group has for itself: the reads of a burst, and as many echoes on their way; with many
/// groups a part of half the pool.
fn reserve(pool: &DataPool, groups: usize) -> ReserveConfig {
    let half = pool.stats(Class::Small).count / 2;
    ReserveConfig { small: (half / groups.max(1)).min(1024), large: 0, control: 0 }
}

pub(crate) fn run(app: App, args: Args, at: SocketAddr) -> ExitCode {
    let running = Arc::new(OnceLock::<Server>::new());
    let (finished, options) = (running.clone(), args.clone());
    let app = app.config::<Keys>().on_stopped(move |app, reactors| {
        if let Some(server) = finished.get() {
            report(app, &options, &server.reports(), reactors);
        }
    });
    #[cfg(feature = "rpc")]
    let app = app.rpc();
    app.run(move |cx, app| {
        let asked = args.sockets.or(app.config::<Keys>().sockets);
        let sockets = room::sockets(asked.map(|Sockets(sockets)| sockets), app.cores().count())?;
        let options = SockOptions::default().reuse_port(args.reuseport);
        let pool = app.data_pool(POOL)?.clone();
        let reserve = reserve(&pool, app.cores().count());
        let config = ServerConfig { net: app.net(), at, options, sockets, pool, reserve };
        let (ready, name) = (app.clone(), app.net().name());
        log::info!("network backend: {}", app.selected());
        let server = Server::start(app.lib(), app.cores(), config, move |_, outcome| match outcome {
            // Who reads this may connect, and rely on what it took to get here: one group that
            // fails ends the program.
            Ok(at) => log::info!("Listening connection on {at} with sock_impl({name})"),
            Err(why) => ready.fail(&why),
        })?;
        let _ = running.set(server);
        if let Some(time) = args.seconds {
            let app = app.clone();
            cx.after(time, move |_| app.stop(0));
        }
        Ok(())
    })
}

fn report(app: &AppHandle, args: &Args, groups: &[(CoreId, GroupReport)], reactors: &[ReactorStats]) {
    if args.verbose {
        for (index, (core, group)) in groups.iter().enumerate() {
            let (stats, idle) = (group.stats, group.stats.polls - group.stats.busy_polls);
            log::info!(
                "poll_group_{index} on core {core}: {} connections, {} events, {} bytes in, {} bytes out, {} unsent, {} buffers held, low {} times, {} peers \
                 reset as stalled, {} busy and {idle} idle polls",
                group.connections,
                stats.events,
                stats.bytes_in,
                stats.bytes_out,
                stats.unsent,
                group.bufs.in_use,
                stats.buffers_low,
                stats.stalled,
                stats.busy_polls
            );
        }
        for r in reactors {
            let (busy, parked) = (r.busy_share() * 100.0, r.parked_share() * 100.0);
            log::info!("reactor_{}: {busy:.1} % busy, {parked:.1} % parked, {} messages", r.core, r.messages);
        }
    }
    if args.json {
        let mut head = report_head(app, "server");
        head["groups"] = groups.iter().map(group_json).collect();
        head["pool"] = app.made_pool().map(pool_json).into();
        head["reactors"] = reactors.iter().map(reactor_json).collect();
        app.println(head);
    }
}

fn group_json((core, group): &(CoreId, GroupReport)) -> serde_json::Value {
    json!({
        "core": core.0,
        "connections": group.connections,
        "failed": group.failed,
        "sockets": group.stats.sockets,
        "accepted": group.stats.accepted,
        "accept_pauses": group.stats.accept_pauses,
        "events": group.stats.events,
        "bytes_in": group.stats.bytes_in,
        "bytes_out": group.stats.bytes_out,
        "unsent": group.stats.unsent,
        "buffers": {
            "reserve": group.bufs.reserve,
            "held": group.bufs.in_use,
            "high_water": group.bufs.high_water,
            "from_reserve": group.bufs.from_reserve,
            "from_shared": group.bufs.from_shared,
            "waits": group.bufs.waits,
            "longest_wait_ns": group.bufs.longest_wait_ns,
        },
        "buffer_waits": group.stats.buffer_waits,
        "buffers_low": group.stats.buffers_low,
        "stalled": group.stats.stalled,
        "polls_busy": group.stats.busy_polls,
        "polls_idle": group.stats.polls - group.stats.busy_polls,
    })
}

fn pool_json(pool: &DataPool) -> serde_json::Value {
    let small = pool.stats(Class::Small);
    json!({
        "resident_bytes": pool.region().1,
        "buffer_bytes": pool.buf_size(Class::Small),
        "buffers": small.count,
        "held": small.in_use,
        "high_water": small.high_water,
        "from_reserve": small.from_reserve,
        "from_shared": small.from_shared,
        "waits": small.waits,
        "longest_wait_ns": small.longest_wait_ns,
    })
}

fn reactor_json(r: &ReactorStats) -> serde_json::Value {
    json!({
        "core": r.core.0, "turns": r.turns, "messages": r.messages, "busy_ns": r.busy_ns, "idle_ns": r.idle_ns, "parked_ns": r.parked_ns, "parks": r.parks,
        "longest_ns": r.longest_ns,
    })
}
