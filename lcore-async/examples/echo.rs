//! An echo server with a task for each connection:
//! `cargo run -p lcore-async --example async-echo`, then `nc 127.0.0.1 9999`. Takes another address
//! as its argument.
use std::time::Duration;

use lcore::App;
use lcore::net::NetError;
use lcore::pool::BufGroup;
use lcore_async::{Config, Runtime, TcpListener, TcpStream};

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

fn main() -> std::process::ExitCode {
    App::new("echo").network().run(|cx, app| {
        let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(1024, 16384)))?;
        let at = std::env::args().nth(1).unwrap_or("127.0.0.1:9999".into());
        let at = at.parse().map_err(|_| format!("{at:?} is no address with a port, such as 127.0.0.1:9999"))?;
        let listener = TcpListener::bind(&runtime, at)?;
        app.println(format_args!("echoes at {}", listener.local_addr()?));
        runtime.spawn_local(serve(listener))?;
        Ok(())
    })
}

async fn serve(mut listener: TcpListener) {
    // An error is the listener's end.
    while let Ok((stream, _peer)) = listener.accept().await {
        // Dropped, a task's handle lets it go on. One that finds no place drops its connection.
        drop(listener.runtime().spawn_local(echo(stream)));
    }
}

async fn echo(mut stream: TcpStream) -> Result<(), NetError> {
    let runtime = stream.runtime().clone();
    while let Ok(received) = runtime.timeout(IDLE, stream.recv()).await {
        match received? {
            Some(buf) => stream.send(buf).await?,
            None => break,
        }
    }
    Ok(())
}
