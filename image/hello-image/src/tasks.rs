//! The same echo as tasks: one that accepts, and one for each connection, with a timer that closes
//! who says nothing.

use alloc::format;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use core_reactor::net::{NetError, NetImpl, SockOptions};
use core_reactor::{Cx, ThreadConfig, ThreadLib};
use lcore_async::{Config, Runtime, TcpListener, TcpStream};
use platform_x86::{Exit, println};
use pool::{Class, DataPool};

use crate::description::IMAGE;
use crate::network::Failure;
use crate::{AT, RESERVE};

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(5);

pub(crate) struct Server {
    done: Arc<Done>,
    pool: DataPool,
}

/// What the tasks have done. They stay on their thread, and who reports is not on it.
#[derive(Default)]
struct Done {
    connections: AtomicU64,
    failed: AtomicU64,
    idle: AtomicU64,
    bytes: AtomicU64,
}

impl Server {
    pub(crate) fn start(lib: &ThreadLib, net: &'static dyn NetImpl, pool: DataPool) -> Result<Self, Failure> {
        let server = Self { done: Arc::default(), pool: pool.clone() };
        let done = server.done.clone();
        let started = lib.spawn(ThreadConfig::new("tasks"), move |cx| {
            if let Err(why) = serve(cx, net, &pool, done) {
                platform_x86::fail(Exit::Setup, format_args!("{why}"));
            }
        });
        started.map(|_| server).map_err(|why| (Exit::Setup, format!("{why}")))
    }

    pub(crate) fn report(&self) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Done { connections, failed, idle, bytes } = &*self.done;
        println!(
            "tasks: {} connections, {} failed, {} closed as idle, {} bytes echoed, {} buffers held",
            of(connections),
            of(failed),
            of(idle),
            of(bytes),
            self.pool.stats(Class::Small).in_use
        );
    }
}

fn serve(cx: &mut Cx<'_>, net: &'static dyn NetImpl, pool: &DataPool, done: Arc<Done>) -> Result<(), NetError> {
    let bufs = pool.group(RESERVE).map_err(|why| NetError::Unusable(format!("the buffers of the tasks: {why}").into()))?;
    // One more is the listener, and its task.
    let most = IMAGE.connections + 1;
    // A peer that does not read holds what one read brought, and no more of the pool.
    let config = Config::new().network(net, bufs).sockets(most).tasks(most).send_limit(IMAGE.buffer_size);
    let runtime = Runtime::new(cx, config)?;
    let listener = TcpListener::bind_with(&runtime, AT, &SockOptions::default().backlog(IMAGE.backlog))?;
    println!("Listening connection on {} with sock_impl({})", listener.local_addr()?, net.name());
    // There is room for it: it is the first.
    drop(runtime.spawn_local(accept(listener, done)));
    Ok(())
}

async fn accept(mut listener: TcpListener, done: Arc<Done>) {
    while let Ok((stream, _)) = listener.accept().await {
        done.connections.fetch_add(1, Ordering::Relaxed);
        let (connection, runtime) = (done.clone(), listener.runtime().clone());
        let task = async move {
            if echo(stream, &connection).await.is_err() {
                connection.failed.fetch_add(1, Ordering::Relaxed);
            }
        };
        // There are as many places for tasks as for sockets.
        drop(runtime.spawn_local(task));
    }
}

async fn echo(mut stream: TcpStream, done: &Done) -> Result<(), NetError> {
    let runtime = stream.runtime().clone();
    loop {
        let Ok(received) = runtime.timeout(IDLE, stream.recv()).await else {
            done.idle.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let Some(buf) = received? else { return stream.shutdown().await };
        done.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        stream.send(buf).await?;
    }
}
