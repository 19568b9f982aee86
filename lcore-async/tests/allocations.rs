//! What is allocated: nothing for an echo, once the connection has been used.

mod world;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use conformance::heap::CountingHeap;
use lcore::net::NetError;
use lcore::pool::BufGroup;
use lcore::{App, AppOptions, Cx, ThreadHandle};
use lcore_async::{Config, Runtime, TcpListener, TcpStream};
use net_impl_mem::SimSocket;
use world::{MS, World, listen, pattern};

#[global_allocator]
static HEAP: CountingHeap = CountingHeap;

/// Both ways of reading and writing, each with a time limit.
async fn echo(mut stream: TcpStream) -> Result<(), NetError> {
    let (runtime, mut piece) = (stream.runtime().clone(), [0; 300]);
    loop {
        if let Ok(received) = runtime.timeout(MS, stream.recv()).await {
            let Some(buf) = received? else { return Ok(()) };
            stream.send(buf).await?;
        }
        if let Ok(bytes) = runtime.timeout(MS, stream.read(&mut piece)).await {
            stream.write_all(&piece[..bytes?]).await?;
        }
    }
}

fn round(world: &mut World, clients: &[SimSocket], bytes: &[u8], back: &mut [u8]) {
    for client in clients {
        assert_eq!(client.write(bytes), Poll::Ready(Ok(bytes.len())));
    }
    world.sim.settle();
    for client in clients {
        let mut got = 0;
        while let Poll::Ready(bytes) = client.read(&mut back[got..]) {
            got += bytes.expect("nothing has broken");
            world.sim.settle();
        }
        assert_eq!(&back[..got], bytes);
    }
    world.sim.run_for(Duration::from_micros(700));
}

#[test]
fn s418_an_echo_allocates_nothing_nor_does_a_wake_or_a_sleep() {
    let mut world = World::new(|runtime| {
        let (mut listener, clone) = (listen(runtime, 7), runtime.clone());
        let serve = async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a listener goes on");
                drop(clone.spawn_local(echo(stream)).expect("a place for a task"));
            }
        };
        drop(runtime.spawn_local(serve).map_err(|refused| refused.why).expect("a place for a task"));
    });
    let clients: Vec<_> = (0..8).map(|_| world.dial(7)).collect();
    let (bytes, mut back) = (pattern(0, 2500), vec![0; 3000]);
    let mut rounds = |count: usize| (0..count).for_each(|n| round(&mut world, &clients, &bytes[..1 + n % 2500], &mut back));
    rounds(1500);
    let heap = HEAP.during(|| rounds(1500));
    assert_eq!(heap.allocations, 0, "{heap:?}");
}

/// An echo server over this backend: its thread, and where it listens.
fn serve(backend: &'static str) -> (ThreadHandle, SocketAddr) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut options = AppOptions::default();
        // A busy machine may hold a reactor up, which is said, and whoever says it allocates.
        (options.no_cpumask_locks, options.net, options.stall_limit) = (true, Some(backend.to_owned()), Some(0));
        let ran = App::new("test").options(options).network().try_run(move |cx, app| {
            let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(256, 16 << 10)))?;
            let mut listener = TcpListener::bind(&runtime, "127.0.0.1:0".parse()?)?;
            tell.send((cx.handle(), listener.local_addr()?)).map_err(|_| "the test is gone")?;
            let accept = async move {
                while let Ok((stream, _)) = listener.accept().await {
                    drop(listener.runtime().spawn_local(echo(stream)));
                }
            };
            drop(runtime.spawn_local(accept));
            Ok(())
        });
        panic!("the server ended: {ran:?}");
    });
    told.recv_timeout(Duration::from_secs(90)).expect("it starts")
}

/// Allocations of a server's thread so far, one for this look included.
fn allocations_of(server: &ThreadHandle) -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.store(0, Ordering::SeqCst);
    let look = |_: &mut Cx<'_>| COUNT.store(HEAP.now().allocations, Ordering::SeqCst);
    server.send(look).map_err(|refused| refused.why).expect("a place in the mailbox");
    loop {
        match COUNT.load(Ordering::SeqCst) {
            0 => thread::yield_now(),
            count => return count,
        }
    }
}

#[test]
fn s418_an_echo_allocates_nothing_over_posix_and_over_uring() {
    for backend in ["posix", "uring"] {
        let (server, at) = serve(backend);
        let mut peers = [(); 8].map(|()| Blocking::connect(at).expect("it listens"));
        let (text, mut back) = ([5; 40_000], [0; 40_000]);
        let mut rounds = |count: usize| {
            for _ in 0..count {
                for peer in &mut peers {
                    for size in [1, 64, 16_384, 40_000] {
                        peer.write_all(&text[..size]).expect("it is taken");
                        peer.read_exact(&mut back[..size]).expect("it comes back");
                    }
                }
            }
        };
        rounds(30);
        let before = allocations_of(&server);
        rounds(200);
        assert_eq!(allocations_of(&server) - before, 1, "over {backend}, the look itself");
    }
}
