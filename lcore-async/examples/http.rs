//! An HTTP server by hyper, a task for each connection:
//! `cargo run -p lcore-async --features hyper --example async-http`,
//! then `curl 127.0.0.1:8080/you`. Takes another address as its argument.
use std::convert::Infallible;

use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use lcore::App;
use lcore::pool::BufGroup;
use lcore_async::{Config, HyperTimer, Runtime, TcpListener};

fn main() -> std::process::ExitCode {
    App::new("http").network().run(|cx, app| {
        let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(1024, 16384)))?;
        let at = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
        let at = at.parse().map_err(|_| format!("{at:?} is no address with a port, such as 127.0.0.1:8080"))?;
        let listener = TcpListener::bind(&runtime, at)?;
        app.println(format_args!("serves http://{}", listener.local_addr()?));
        runtime.spawn_local(serve(listener))?;
        Ok(())
    })
}

async fn serve(mut listener: TcpListener) {
    let runtime = listener.runtime().clone();
    let mut http = http1::Builder::new();
    // A client that has not sent its header in half a minute is sent away.
    http.timer(HyperTimer::new(&runtime));
    while let Ok((stream, _peer)) = listener.accept().await {
        drop(runtime.spawn_local(http.serve_connection(stream, service_fn(greet))));
    }
}

async fn greet(request: Request<Incoming>) -> Result<Response<http_body_util::Full<Bytes>>, Infallible> {
    let name = request.uri().path().trim_start_matches('/');
    let name = if name.is_empty() { "world" } else { name };
    Ok(Response::new(Bytes::from(format!("Hello, {name}!\n")).into()))
}
