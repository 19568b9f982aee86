//! An HTTPS server: hyper over rustls, with a certificate that it makes and signs at its start.
//!
//! ```sh
//! cargo run -p lcore-async --features hyper,tokio --example async-https -- --certificate here.pem
//! curl --cacert here.pem https://localhost:8443/you
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lcore::clap::{self, Parser};
use lcore::pool::BufGroup;
use lcore::{App, AppOptions};
use lcore_async::{Config, HyperTimer, Runtime, TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A client that has not shown itself by then is sent away.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// An HTTPS server with a certificate of its own making.
#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:8443")]
    at: SocketAddr,
    /// Write the certificate to this file, as PEM, for clients that are to trust it.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    app: AppOptions,
}

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("https") {
        Ok(args) => args,
        Err(code) => return code,
    };
    App::new("https").options(args.app).network().run(move |cx, app| {
        let (tls, pem) = certified()?;
        if let Some(file) = args.certificate {
            std::fs::write(&file, pem).map_err(|why| format!("could not write {}: {why}", file.display()))?;
        }
        let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(1024, 16384)))?;
        let listener = TcpListener::bind(&runtime, args.at)?;
        app.println(format_args!("serves https://{}", listener.local_addr()?));
        runtime.spawn_local(serve(listener, tls))?;
        Ok(())
    })
}

/// A key for this run, and its certificate for this host, as PEM too.
fn certified() -> Result<(TlsAcceptor, String), Box<dyn Error + Send + Sync>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key.try_into()?)?;
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}

async fn serve(mut listener: TcpListener, tls: TlsAcceptor) {
    let runtime = listener.runtime().clone();
    while let Ok((stream, _peer)) = listener.accept().await {
        drop(runtime.spawn_local(connection(stream, tls.clone())));
    }
}

/// What goes wrong is the connection's end, and the client's to tell.
async fn connection(stream: TcpStream, tls: TlsAcceptor) -> Result<(), Box<dyn Error>> {
    let runtime = stream.runtime().clone();
    let stream = runtime.timeout(HANDSHAKE, tls.accept(stream)).await??;
    // What rustls gives reads and writes in tokio's manner.
    let http = http1::Builder::new().timer(HyperTimer::new(&runtime)).serve_connection(TokioIo::new(stream), service_fn(greet));
    Ok(http.await?)
}

async fn greet(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let name = request.uri().path().trim_start_matches('/');
    let name = if name.is_empty() { "world" } else { name };
    Ok(Response::new(Bytes::from(format!("Hello, {name}!\n")).into()))
}
