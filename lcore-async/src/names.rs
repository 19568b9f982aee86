//! Names of hosts, looked up by the system's resolver.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use std::io;
use std::net::ToSocketAddrs;

use crate::Runtime;

/// Look-ups of a runtime at a time. Each takes a thread, for seconds where a server of names does
/// not answer; further ones wait for their turn.
pub(crate) const AT_A_TIME: usize = 4;

/// The addresses of a host and a port, such as `"example.com:80"`, in the order in which they
/// should be tried: those that the system's resolver gives (`getaddrinfo`). It waits for its
/// servers, so it is called by a thread that is no reactor. An address is its own name, and costs
/// no thread.
///
/// Dropped before it is ready, it leaves a look-up behind that has begun, whose answer nobody
/// hears; it counts among the few that a runtime makes at a time until it ends.
///
/// To connect to a name, hand the addresses to
/// [`TcpStream::connect_with`](crate::TcpStream::connect_with), which tries one after the other:
///
/// ```
/// # use lcore::net::SockOptions;
/// # use lcore_async::{Runtime, TcpStream, lookup_host};
/// # async fn greet(runtime: &Runtime) -> Result<(), Box<dyn std::error::Error>> {
/// let addresses = lookup_host(runtime, "localhost:9999").await?;
/// let mut stream = TcpStream::connect_with(runtime, &addresses, &SockOptions::default()).await?;
/// stream.write_all(b"good morning").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// There is no such name or no port behind it; the servers of names do not answer; the system has
/// no thread to give.
pub async fn lookup_host(runtime: &Runtime, host: &str) -> Result<Vec<SocketAddr>, LookupError> {
    if let Ok(address) = host.parse() {
        return Ok(alloc::vec![address]);
    }
    let name = host.to_owned();
    let error = |why| LookupError { host: host.to_owned(), why };
    let ready = runtime.names().ready().map_err(|why| error(why.to_string()))?;
    match ready.call(move || name.to_socket_addrs().map(Vec::from_iter)).await {
        Ok(addresses) if addresses.is_empty() => Err(error("it has no address".to_owned())),
        Ok(addresses) => Ok(addresses),
        Err(why) => Err(error(reason(&why))),
    }
}

/// What the resolver says, without what the standard library puts before it.
fn reason(why: &io::Error) -> String {
    if why.kind() == io::ErrorKind::InvalidInput {
        return "it is no host with a port, such as example.com:80".to_owned();
    }
    let text = why.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not look up {host:?}: {why}")]
#[non_exhaustive]
pub struct LookupError {
    /// The host and its port, as it was asked for.
    pub host: String,
    /// The reason, in the resolver's words.
    pub why: String,
}
