//! An HTTP server by hyper on one thread, a task for each connection: the same service with the
//! same settings, on lcore-async over one of its backends, or on tokio's `current_thread`. Says
//! where it listens.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::rt::Timer;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use lcore::pool::BufGroup;
use lcore::{App, AppOptions};
use lcore_async::{Config, HyperTimer, Runtime};

/// Connections at a time.
const MOST: usize = 2048;

/// An HTTP server that greets.
#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:0")]
    at: SocketAddr,
    /// What runs it.
    #[arg(long, default_value = "lcore")]
    on: On,
    #[command(flatten)]
    app: AppOptions,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum On {
    Lcore,
    Tokio,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    Ok(match args.on {
        On::Lcore => on_lcore(args),
        On::Tokio => on_tokio(args.at)?,
    })
}

fn on_lcore(args: Args) -> ExitCode {
    App::new("hyper").options(args.app).network().run(move |cx, app| {
        let config = Config::new().sockets(MOST).tasks(MOST);
        let runtime = Runtime::new(cx, config.network(app.net(), BufGroup::new(1024, 16384)))?;
        let mut listener = lcore_async::TcpListener::bind(&runtime, args.at)?;
        app.println(format_args!("serves at {}", listener.local_addr()?));
        let (http, clone) = (http(HyperTimer::new(&runtime)), runtime.clone());
        runtime.spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(clone.spawn_local(http.serve_connection(stream, service_fn(greet))));
            }
        })?;
        Ok(())
    })
}

/// Until SIGINT, as the other.
fn on_tokio(at: SocketAddr) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(at).await?;
        println!("serves at {}", listener.local_addr()?);
        let http = http(TokioTimer::new());
        loop {
            let (stream, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                interrupted = tokio::signal::ctrl_c() => return Ok(interrupted.map(|()| ExitCode::SUCCESS)?),
            };
            // lcore's sockets have it too.
            stream.set_nodelay(true)?;
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service_fn(greet)));
        }
    })
}

/// With hyper's own limit for the head of a request, which takes a timer.
fn http(timer: impl Timer + Send + Sync + 'static) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(timer);
    http
}

async fn greet(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, world!"))))
}
