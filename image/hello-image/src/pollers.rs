//! hello-sock's server: a poller and a group of sockets on each core.

use alloc::format;
use core::net::SocketAddr;

use core_reactor::net::{NetImpl, SockOptions};
use core_reactor::{Cx, ThreadLib};
use hello_sock::ServerConfig;
use platform_x86::{Exit, println};
use pool::DataPool;

use crate::description::IMAGE;
use crate::network::Failure;
use crate::{AT, RESERVE};

pub(crate) struct Server(hello_sock::Server);

impl Server {
    /// Starts the server on every core there is.
    pub(crate) fn start(lib: &ThreadLib, net: &'static dyn NetImpl, pool: DataPool) -> Result<Self, Failure> {
        let options = SockOptions::default().backlog(IMAGE.backlog);
        let config = ServerConfig { net, at: AT, options, sockets: IMAGE.connections, pool, reserve: RESERVE };
        let ready = move |_: &mut Cx<'_>, outcome: Result<SocketAddr, _>| match outcome {
            Ok(at) => println!("Listening connection on {at} with sock_impl({})", net.name()),
            Err(why) => platform_x86::fail(Exit::Setup, format_args!("{why}")),
        };
        let server = hello_sock::Server::start(lib, &lib.reactors(), config, ready);
        server.map(Self).map_err(|why| (Exit::Setup, format!("{why}")))
    }

    /// What was done, as hello-sock tells it on Linux.
    pub(crate) fn report(&self) {
        for (index, (core, group)) in self.0.reports().iter().enumerate() {
            println!(
                "poll_group_{index} on core {core}: {} connections, {} failed, {} bytes in, {} bytes out, low {} times, {} peers reset as stalled, {} buffers held",
                group.connections,
                group.failed,
                group.stats.bytes_in,
                group.stats.bytes_out,
                group.stats.buffers_low,
                group.stats.stalled,
                group.bufs.in_use
            );
        }
    }
}
