//! Statistics for Prometheus, at the address of `--metrics`, over the application's own sockets.

mod http;
mod page;
mod server;

use std::net::SocketAddr;

use core_reactor::net::{NetError, SockOptions};
use core_reactor::{Cx, SpawnError, ThreadConfig};

use crate::AppHandle;
use server::Server;

/// Why the metrics are not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The backend refuses.
    #[error("--metrics {at}: {why}")]
    Net {
        /// Where it was to be.
        at: SocketAddr,
        /// What the backend says.
        why: NetError,
    },
    /// There is no thread for it.
    #[error("--metrics {at}: {why}")]
    Spawn {
        /// Where it was to be.
        at: SocketAddr,
        /// Why not.
        why: SpawnError,
    },
}

/// What `--metrics` takes.
pub(crate) fn parse_at(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address with a port, such as 127.0.0.1:9100 or [::1]:9100"))
}

/// Serves the metrics, if `--metrics` asks for them, on a thread of their own until that ends.
///
/// # Errors
/// The address is not to be had, or there is no thread.
pub(crate) fn start(cx: &mut Cx<'_>, app: &AppHandle) -> Result<(), MetricsError> {
    let Some(at) = app.options().metrics else { return Ok(()) };
    let refused = move |why| MetricsError::Net { at, why };
    let listener = app.net().listen(at, &SockOptions::default()).map_err(refused)?;
    let (own, config) = (app.clone(), ThreadConfig::new("metrics").cpus(app.cores().iter().take(1).collect()));
    let begin =
        move |cx: &mut Cx<'_>| match listener.local_addr().and_then(|bound| Server::start(cx, own.clone(), listener).map(|()| bound)) {
            Ok(bound) => log::info!("metrics are served at http://{bound}/metrics"),
            Err(why) => own.fail(&refused(why)),
        };
    cx.lib().spawn(config, begin).map(drop).map_err(|why| MetricsError::Spawn { at, why })
}
