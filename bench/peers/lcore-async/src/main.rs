//! An echo server on lcore-async: a task for each connection. Beside hello-sock, which does the
//! same by pollers, it tells what tasks cost.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use lcore::net::{NetError, SockOptions};
use lcore::pool::BufGroup;
use lcore::{App, AppOptions, CoreId, CpuSet};
use lcore_async::{Config, Runtime, TcpListener, TcpStream};
use peer_common::{BACKLOG, BUFFER};

/// Connections at a time, and buffers: as many as hello-sock has.
const MOST: usize = 4096;
const BUFFERS: usize = 2048;

/// An echo server that others are measured against.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: peer_common::Args,
    /// The network backend.
    #[arg(long)]
    backend: String,
}

fn main() -> ExitCode {
    let Args { common, backend } = Args::parse();
    let mut options = AppOptions::default();
    options.cores = common.core.map(|core| CpuSet::of(CoreId(core as u16)));
    (options.no_cpumask_locks, options.net) = (true, Some(backend));
    App::new("echo").options(options).network().run(move |cx, app| {
        let bufs = BufGroup::new(BUFFERS, BUFFER);
        let runtime = Runtime::new(cx, Config::new().network(app.net(), bufs).sockets(MOST).tasks(MOST))?;
        let options = SockOptions::default().backlog(BACKLOG as u32);
        let listener = TcpListener::bind_with(&runtime, common.at(), &options)?;
        let at = listener.local_addr()?;
        runtime.spawn_local(serve(listener))?;
        peer_common::announce(at);
        Ok(())
    })
}

async fn serve(mut listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        drop(listener.runtime().spawn_local(echo(stream)));
    }
}

/// Ends with the connection, whether it was closed or broke.
async fn echo(mut stream: TcpStream) -> Result<(), NetError> {
    while let Some(buf) = stream.recv().await? {
        stream.send(buf).await?;
    }
    stream.shutdown().await
}
