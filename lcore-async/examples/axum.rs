//! A guest book by axum, whose routes, state and layers of tower's run on a lcore thread.
//!
//! ```sh
//! cargo run -p lcore-async --features hyper --example async-axum
//! curl 127.0.0.1:8080/names -d you; curl 127.0.0.1:8080/names
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use lcore::clap::{self, Parser};
use lcore::pool::BufGroup;
use lcore::{App, AppOptions};
use lcore_async::{Config, HyperTimer, Runtime, TcpListener};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

/// A guest book over HTTP.
#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:8080")]
    at: SocketAddr,
    #[command(flatten)]
    app: AppOptions,
}

/// axum has its state be `Send`, also where one thread serves.
type Names = Arc<Mutex<Vec<String>>>;

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("axum") {
        Ok(args) => args,
        Err(code) => return code,
    };
    App::new("axum").options(args.app).network().run(move |cx, app| {
        let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(1024, 16384)))?;
        let listener = TcpListener::bind(&runtime, args.at)?;
        app.println(format_args!("serves http://{}", listener.local_addr()?));
        runtime.spawn_local(serve(listener))?;
        Ok(())
    })
}

/// What `axum::serve` does on tokio.
async fn serve(mut listener: TcpListener) {
    let (runtime, router) = (listener.runtime().clone(), router());
    let mut http = http1::Builder::new();
    // A client that has not sent its header in half a minute is sent away.
    http.timer(HyperTimer::new(&runtime));
    while let Ok((stream, _peer)) = listener.accept().await {
        drop(runtime.spawn_local(http.serve_connection(stream, TowerToHyperService::new(router.clone()))));
    }
}

fn router() -> Router {
    // tower's time limits ask tokio's clock, and so are not among them.
    let layers = ServiceBuilder::new().map_response(name_the_server).layer(GlobalConcurrencyLimitLayer::new(512));
    let router = Router::new().route("/names", get(all).post(add)).route("/names/{place}", get(one));
    router.layer(layers).with_state(Names::default())
}

fn name_the_server(mut response: Response) -> Response {
    response.headers_mut().insert("server", HeaderValue::from_static("lcore"));
    response
}

async fn all(State(names): State<Names>) -> String {
    names.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|name| format!("{name}\n")).collect()
}

async fn one(State(names): State<Names>, Path(place): Path<usize>) -> Result<String, StatusCode> {
    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
    names.get(place).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn add(State(names): State<Names>, name: String) -> (StatusCode, String) {
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    names.push(name);
    (StatusCode::CREATED, format!("{}\n", names.len() - 1))
}
