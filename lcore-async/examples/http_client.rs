//! An HTTP client by hyper: prints what a server answers to a GET. With the example `async-http`
//! running:
//!
//! ```sh
//! cargo run -p lcore-async --features hyper,names --example async-http-client -- http://localhost:8080/you
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use lcore::clap::{self, Parser};
use lcore::net::SockOptions;
use lcore::pool::BufGroup;
use lcore::{App, AppOptions};
use lcore_async::{Config, Runtime, TcpStream, lookup_host};

/// A longer answer is not taken.
const LONGEST: usize = 16 << 20;

type Failed = Box<dyn Error + Send + Sync>;

/// Prints what a server answers to a GET.
#[derive(Parser)]
struct Args {
    /// What to ask for, such as http://localhost:8080/you.
    url: Uri,
    /// Seconds that it may take.
    #[arg(long, default_value_t = 30)]
    limit: u32,
    #[command(flatten)]
    app: AppOptions,
}

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("http-client") {
        Ok(args) => args,
        Err(code) => return code,
    };
    App::new("http-client").options(args.app).network().run(move |cx, app| {
        let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(64, 16384)))?;
        let (app, clone) = (app.clone(), runtime.clone());
        let (url, limit) = (args.url, Duration::from_secs(args.limit.into()));
        runtime.spawn_local(async move {
            match clone.timeout(limit, get(&clone, url)).await {
                Ok(Ok(text)) => {
                    app.println(text.trim_end_matches('\n'));
                    app.stop(0);
                }
                Ok(Err(why)) => app.fail(&*why),
                Err(elapsed) => app.fail(&elapsed),
            }
        })?;
        Ok(())
    })
}

async fn get(runtime: &Runtime, url: Uri) -> Result<String, Failed> {
    if url.scheme_str() != Some("http") {
        return Err(format!("{url} is no address such as http://localhost:8080/you").into());
    }
    let (host, port) = (url.host().unwrap_or_default(), url.port_u16().unwrap_or(80));
    let addresses = lookup_host(runtime, &format!("{host}:{port}")).await?;
    let stream = TcpStream::connect_with(runtime, &addresses, &SockOptions::default()).await?;
    let (mut sender, connection) = http1::handshake(stream).await?;
    // It moves the bytes of the requests; what goes wrong there, they tell too.
    drop(runtime.spawn_local(connection).map_err(|refused| refused.why)?);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header("host", format!("{host}:{port}")).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST).collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    if status.is_success() { Ok(text.into_owned()) } else { Err(format!("{url} answers {status}: {}", text.trim_end()).into()) }
}
