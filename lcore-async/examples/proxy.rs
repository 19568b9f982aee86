//! A TCP proxy by tasks: what comes at one address goes to another, and back.
//!
//! It shows back-pressure in both directions (what the other side does not take is not read), ends
//! and resets that are passed on as what they are, a limit of silence for each connection, and an
//! end that drains: nobody new is let in, and who is there has time to finish.
//! `tests/proxy.rs` runs `serve` on a simulated clock and network.
//!
//! ```sh
//! cargo run --release -p lcore-async --example async-proxy -- 127.0.0.1:8000 127.0.0.1:9999
//! ```
use std::cell::Cell;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use lcore::net::{NetError, NetImpl};
use lcore::pool::BufGroup;
use lcore::{App, Cx, Instant, ThreadLibOptions};
use lcore_async::{Config, ReadHalf, Runtime, TcpListener, TcpStream, WriteHalf};

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection on which nothing passes for so long, either way, is ended.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// How long the end waits for connections.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    App::new("proxy").threads(limits()).network().run(|cx, app| {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [at, to] = &args[..] else { return Err("two addresses are needed: where to listen, and where to connect to".into()) };
        let address = |text: &String| text.parse().map_err(|_| format!("{text:?} is no address with a port, such as 127.0.0.1:9999"));
        let at = serve(cx, app.net(), address(at)?, address(to)?)?;
        app.println(format_args!("listens at {at}"));
        Ok(())
    })
}

/// What the end waits for is bounded by both: by the second for tasks, by the first for all.
pub(crate) fn limits() -> ThreadLibOptions {
    ThreadLibOptions::default().exit_limit(DRAIN + Duration::from_secs(1)).drain_limit(DRAIN)
}

/// Begins to serve; tells where it listens.
pub(crate) fn serve(
    cx: &mut Cx<'_>,
    net: &'static dyn NetImpl,
    at: SocketAddr,
    to: SocketAddr,
) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    let runtime = Runtime::new(cx, Config::new().network(net, BufGroup::new(1024, 16 << 10)))?;
    let listener = TcpListener::bind(&runtime, at)?;
    let at = listener.local_addr()?;
    runtime.spawn_local(accept(listener, to))?;
    Ok(at)
}

async fn accept(mut listener: TcpListener, to: SocketAddr) {
    let runtime = listener.runtime().clone();
    while let Some(Ok((client, peer))) = runtime.until_exit(listener.accept()).await {
        // Taken here, so that an exit which comes before the task runs waits for it too.
        let busy = runtime.hold_exit();
        drop(runtime.spawn_local(async move {
            if let Err(why) = pass(client, to).await {
                lcore::log::debug!("the connection of {peer} broke: {why}");
            }
            drop(busy);
        }));
    }
}

/// Passes on what comes from either side until both have ended, or nothing comes any more.
async fn pass(client: TcpStream, to: SocketAddr) -> Result<(), NetError> {
    let runtime = client.runtime().clone();
    let connected = runtime.timeout(CONNECT, TcpStream::connect(&runtime, to)).await;
    let server = match connected.unwrap_or(Err(NetError::TimedOut)) {
        Ok(server) => server,
        Err(why) => {
            client.abort();
            return Err(why);
        }
    };
    let last = Cell::new(runtime.now());
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let both = join(one_way(from_client, to_server, &runtime, &last), one_way(from_server, to_client, &runtime, &last));
    match select(pin!(both), pin!(silence(&runtime, &last))).await {
        Either::Left(((up, down), _)) => up.and(down),
        Either::Right(_) => Ok(()),
    }
}

/// Passes on one direction, then its end. One that broke ends in a reset, since bytes may be
/// missing: the other side must not take what it has for all.
async fn one_way(from: ReadHalf, mut to: WriteHalf, runtime: &Runtime, last: &Cell<Instant>) -> Result<(), NetError> {
    let passed = copy(from, &mut to, runtime, last).await;
    if passed.is_err() {
        to.abort();
    }
    passed
}

async fn copy(mut from: ReadHalf, to: &mut WriteHalf, runtime: &Runtime, last: &Cell<Instant>) -> Result<(), NetError> {
    while let Some(buf) = from.recv().await? {
        last.set(runtime.now());
        // Nothing more is read until this is taken.
        to.send(buf).await?;
        last.set(runtime.now());
    }
    to.shutdown().await
}

/// Ready when nothing has passed for the limit.
async fn silence(runtime: &Runtime, last: &Cell<Instant>) {
    while runtime.now() < last.get() + IDLE {
        runtime.sleep_until(last.get() + IDLE).await;
    }
}
