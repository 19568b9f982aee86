//! Streams over the kernel's sockets, by each backend, against blocking sockets of the standard
//! library.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as Blocking};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use lcore::net::{NetError, UnixAddress};
use lcore::pool::BufGroup;
use lcore::{App, AppHandle, AppOptions};
use lcore_async::{Config, Runtime, TcpListener, TcpStream, UnixListener};

/// Nothing that is waited for takes this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs an application with a runtime over this backend; what `start` gives comes back with it.
fn run<T: Send + 'static>(
    backend: &'static str,
    start: impl FnOnce(&Runtime) -> T + Send + 'static,
) -> (T, AppHandle, thread::JoinHandle<u8>) {
    let (tell, told) = mpsc::channel();
    let app = thread::spawn(move || {
        let mut options = AppOptions::default();
        (options.no_cpumask_locks, options.net) = (true, Some(backend.to_owned()));
        let ran = App::new("test").options(options).network().try_run(move |cx, app| {
            let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(256, 16 << 10)))?;
            tell.send((start(&runtime), app.clone())).map_err(|_| "the test is gone")?;
            Ok(())
        });
        ran.expect("it starts")
    });
    let (value, handle) = told.recv_timeout(PATIENCE).expect("it starts");
    (value, handle, app)
}

fn stop(app: &AppHandle, ends: thread::JoinHandle<u8>) {
    app.stop(0);
    assert_eq!(ends.join().expect("it does not panic"), 0);
}

async fn echo(mut stream: TcpStream) -> Result<(), NetError> {
    while let Some(buf) = stream.recv().await? {
        stream.send(buf).await?;
    }
    Ok(())
}

/// An echo server on a free port.
fn serve(runtime: &Runtime) -> SocketAddr {
    let mut listener = TcpListener::bind(runtime, SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let (at, clone) = (listener.local_addr().expect("it listens"), runtime.clone());
    let accept = async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(clone.spawn_local(echo(stream)));
        }
    };
    drop(runtime.spawn_local(accept));
    at
}

fn connect(at: SocketAddr) -> Blocking {
    let stream = Blocking::connect(at).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn s407_an_echo_server_over_each_backend_to_peers_that_read_late() {
    for backend in ["posix", "uring"] {
        let (at, app, ends) = run(backend, serve);
        let peers: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    let (mut stream, sent) = (connect(at), bytes(8 << 20));
                    let (mut writer, to_send) = (stream.try_clone().expect("a descriptor"), sent.clone());
                    let writes = thread::spawn(move || {
                        writer.write_all(&to_send).expect("it is taken");
                        writer.shutdown(Shutdown::Write).expect("it is connected");
                    });
                    let mut back = Vec::new();
                    stream.read_to_end(&mut back).expect("an end in order");
                    writes.join().expect("it does not panic");
                    assert!(back == sent, "{} bytes over {backend}", back.len());
                })
            })
            .collect();
        peers.into_iter().for_each(|peer| peer.join().expect("it does not panic"));
        stop(&app, ends);
    }
}

#[test]
fn s407_a_client_over_each_backend_and_what_a_dropped_stream_had_taken_arrives() {
    for backend in ["posix", "uring"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = listener.local_addr().expect("it listens");
        let ((), app, ends) = run(backend, move |runtime| {
            let clone = runtime.clone();
            let client = async move {
                let mut stream = TcpStream::connect(&clone, at).await.expect("it listens");
                stream.write_all(&bytes(4 << 20)).await.expect("it is taken");
            };
            drop(runtime.spawn_local(client));
        });
        let (mut peer, _) = listener.accept().expect("it connects");
        peer.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut all = Vec::new();
        peer.read_to_end(&mut all).expect("an end in order");
        assert!(all == bytes(4 << 20), "{} bytes over {backend}", all.len());
        stop(&app, ends);
    }
}

/// A lost wake-up would leave the task, and the test, waiting.
#[test]
fn s400_another_os_thread_wakes_a_task_whether_its_core_sleeps_or_not() {
    const ROUNDS: u32 = 3000;
    let (tell, told) = mpsc::channel();
    let (give, wakers) = mpsc::channel::<(Waker, Arc<AtomicBool>)>();
    let wakes = thread::spawn(move || {
        for (n, (waker, flag)) in wakers.into_iter().enumerate() {
            // From at once to long after the core has gone to sleep.
            (0..n % 64).for_each(|_| thread::yield_now());
            flag.store(true, Ordering::Release);
            waker.wake();
        }
    });
    let ((), app, ends) = run("posix", move |runtime| {
        let task = async move {
            for _ in 0..ROUNDS {
                let flag = Arc::new(AtomicBool::new(false));
                let mut given = Some(flag.clone());
                poll_fn(|cx| {
                    if let Some(flag) = given.take() {
                        give.send((cx.waker().clone(), flag)).expect("the other thread is there");
                    }
                    if flag.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
            tell.send(()).expect("the test is there");
        };
        drop(runtime.spawn_local(task));
    });
    told.recv_timeout(PATIENCE).expect("every wake-up arrives");
    stop(&app, ends);
    wakes.join().expect("it does not panic");
}

#[test]
fn s444_streams_over_unix_sockets_by_each_backend() {
    for backend in ["posix", "uring"] {
        let name = format!("unix:@lcore-async-{}-{backend}", std::process::id());
        let (tell, told) = mpsc::channel();
        let (_, app, ends) = run(backend, move |runtime| {
            let at: UnixAddress = name.parse().expect("a name");
            let mut listener = UnixListener::bind(runtime, &at).expect("it is free");
            let server = async move { echo(listener.accept().await?).await };
            drop(runtime.spawn_local(server));
            let own = runtime.clone();
            let client = async move {
                let (mut reads, mut writes) = TcpStream::connect_unix(&own, &at).await?.split();
                let sent = bytes(1 << 20);
                let all = sent.clone();
                drop(own.spawn_local(async move {
                    writes.write_all(&all).await?;
                    writes.shutdown().await
                }));
                let mut got = Vec::new();
                while let Some(buf) = reads.recv().await? {
                    got.extend_from_slice(&buf);
                }
                Ok::<_, NetError>(got == sent)
            };
            drop(runtime.spawn_local(async move { tell.send(client.await) }));
        });
        assert_eq!(told.recv_timeout(PATIENCE).expect("an answer"), Ok(true), "{backend}");
        stop(&app, ends);
    }
}
