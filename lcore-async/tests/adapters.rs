//! The traits of other crates, each behind its feature, over a network in memory.
#![cfg(any(feature = "embedded-io-async", feature = "futures-io", feature = "hyper", feature = "tokio"))]

mod world;

use lcore_async::{Runtime, TcpStream};
use world::{World, listen};

/// Serves each connection to port 7 by a task.
fn serve<F: Future + 'static>(runtime: &Runtime, mut handler: impl FnMut(TcpStream) -> F + 'static) {
    let (mut listener, clone) = (listen(runtime, 7), runtime.clone());
    let accept = async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a listener goes on");
            drop(clone.spawn_local(handler(stream)));
        }
    };
    drop(runtime.spawn_local(accept).map_err(|refused| refused.why).expect("a place for a task"));
}

#[cfg(feature = "tokio")]
#[test]
fn s419_a_codec_of_tokio_util_frames_a_stream() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_util::codec::{Framed, LinesCodec};

    let mut world = World::new(|runtime| {
        serve(runtime, async |stream: TcpStream| {
            let mut lines = Framed::new(stream, LinesCodec::new());
            while let Some(line) = lines.next().await {
                let line = line.expect("it is a line");
                lines.send(line.to_uppercase()).await.expect("nothing has broken");
            }
        });
    });
    let client = world.dial(7);
    world.write(&client, b"one\ntw");
    assert_eq!(world.read(&client), (b"ONE\n".to_vec(), false));
    world.write(&client, b"o\nthree\n");
    client.finish();
    assert_eq!(world.read(&client), (b"TWO\nTHREE\n".to_vec(), true));
}

#[cfg(feature = "tokio")]
#[test]
fn s419_what_tokio_copies_between_halves_is_an_echo() {
    let mut world = World::new(|runtime| {
        serve(runtime, async |stream: TcpStream| {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.expect("nothing has broken");
            tokio::io::AsyncWriteExt::shutdown(&mut writer).await.expect("nothing has broken");
        });
    });
    let client = world.dial(7);
    let bytes = world::pattern(0, 50_000);
    world.write(&client, &bytes);
    client.finish();
    world.sim.settle();
    assert!(world.read(&client) == (bytes, true));
}

#[cfg(feature = "tokio")]
#[test]
fn s441_channels_of_tokios_wake_tasks_and_hold_a_sender_back() {
    use tokio::sync::{mpsc, oneshot};
    use world::{Log, MS};

    let log = Log::default();
    let (say, said) = (log.clone(), log.clone());
    let mut world = World::new(move |runtime| {
        let ((many, mut got), (once, over)) = (mpsc::channel(1), oneshot::channel());
        let sender = async move {
            for n in 0..3 {
                many.send(n).await.expect("somebody listens");
                say.say(format!("sent {n}"));
            }
            drop(many);
            say.say(over.await.expect("an answer"));
        };
        let clone = runtime.clone();
        let receiver = async move {
            clone.sleep(MS).await;
            while let Some(n) = got.recv().await {
                said.say(format!("got {n}"));
                clone.sleep(MS).await;
            }
            once.send("over").expect("somebody listens");
        };
        drop(runtime.spawn_local(sender));
        drop(runtime.spawn_local(receiver));
    });
    assert_eq!(log.take(), ["sent 0"]);
    for (wanted, at) in [(["got 0", "sent 1"], 1), (["got 1", "sent 2"], 2)] {
        world.sim.run_for(MS);
        assert_eq!(log.take(), wanted, "after {at} ms");
    }
    world.sim.run_for(2 * MS);
    assert_eq!(log.take(), ["got 2", "over"]);
}

#[cfg(feature = "futures-io")]
#[test]
fn s441_futures_that_wait_together_are_ready_in_the_order_of_time() {
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    use world::{Log, MS};

    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        let later = |time: u32| {
            let sleep = runtime.sleep(time * MS);
            async move {
                sleep.await;
                time
            }
        };
        let mut waiting: FuturesUnordered<_> = [3, 1, 2].map(later).into_iter().collect();
        drop(runtime.spawn_local(async move {
            while let Some(time) = waiting.next().await {
                say.say(time);
            }
        }));
    });
    for time in ["1", "2", "3"] {
        assert!(log.take().is_empty());
        world.sim.run_for(MS);
        assert_eq!(log.take(), [time]);
    }
}

#[cfg(feature = "futures-io")]
#[test]
fn s419_what_futures_copies_between_halves_is_an_echo() {
    let mut world = World::new(|runtime| {
        serve(runtime, async |stream: TcpStream| {
            let (reader, mut writer) = stream.split();
            futures_util::io::copy(reader, &mut writer).await.expect("nothing has broken");
            futures_util::AsyncWriteExt::close(&mut writer).await.expect("nothing has broken");
        });
    });
    let client = world.dial(7);
    let bytes = world::pattern(0, 50_000);
    world.write(&client, &bytes);
    client.finish();
    world.sim.settle();
    assert!(world.read(&client) == (bytes, true));
}

#[cfg(feature = "embedded-io-async")]
#[test]
fn s419_code_for_embedded_io_runs_over_a_stream() {
    use embedded_io_async::{Read, Write};

    async fn echo(mut io: impl Read + Write) {
        let mut piece = [0; 100];
        loop {
            match io.read(&mut piece).await.expect("nothing has broken") {
                0 => return,
                bytes => io.write_all(&piece[..bytes]).await.expect("nothing has broken"),
            }
        }
    }
    let mut world = World::new(|runtime| serve(runtime, echo));
    let client = world.dial(7);
    let bytes = world::pattern(0, 50_000);
    world.write(&client, &bytes);
    client.finish();
    world.sim.settle();
    assert!(world.read(&client) == (bytes, true));
}

#[cfg(feature = "hyper")]
mod http {
    use std::convert::Infallible;
    use std::rc::Rc;
    use std::time::Duration;

    use http_body_util::{BodyExt, Empty, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use lcore_async::HyperTimer;

    use super::*;
    use crate::world::{Log, MS, at};

    /// A server whose service is not `Send`: it answers with what it is sent.
    fn serve_http(runtime: &Runtime) {
        let (clone, stays_here) = (runtime.clone(), Rc::new("echo: "));
        serve(runtime, move |stream| {
            let stays_here = stays_here.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let stays_here = stays_here.clone();
                async move {
                    let body = request.into_body().collect().await.expect("a whole body").to_bytes();
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from([stays_here.as_bytes(), &body].concat()))))
                }
            });
            http1::Builder::new()
                .timer(HyperTimer::new(&clone))
                .header_read_timeout(Duration::from_secs(30))
                .serve_connection(stream, service)
        });
    }

    #[test]
    fn s419_hyper_serves_a_plain_client_and_keeps_the_connection() {
        let mut world = World::new(serve_http);
        let client = world.dial(7);
        for _ in 0..2 {
            world.write(&client, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello");
            let (answer, is_over) = world.read(&client);
            let answer = String::from_utf8(answer).expect("it is text");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\necho: hello") && !is_over, "{answer}");
        }
    }

    #[test]
    fn s419_hypers_timers_are_the_threads() {
        let mut world = World::new(serve_http);
        let client = world.dial(7);
        world.write(&client, b"POST / HT");
        world.sim.run_for(Duration::from_secs(30) - MS);
        assert!(!client.is_readable());
        world.sim.run_for(2 * MS);
        assert!(world.read(&client).1, "it is sent away");
    }

    #[test]
    fn s419_hypers_client_asks_hypers_server() {
        let log = Log::default();
        let say = log.clone();
        World::new(move |runtime| {
            serve_http(runtime);
            let clone = runtime.clone();
            let client = async move {
                let stream = TcpStream::connect(&clone, at(7)).await.expect("it listens");
                let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("a connection");
                drop(clone.spawn_local(connection));
                let request = Request::get("/").header("host", "x").body(Empty::<Bytes>::new()).expect("a request");
                let answer = sender.send_request(request).await.expect("an answer");
                say.say(format!("{} {:?}", answer.status(), answer.into_body().collect().await.expect("a whole body").to_bytes()));
            };
            drop(runtime.spawn_local(client).map_err(|refused| refused.why).expect("a place for a task"));
        });
        assert_eq!(log.take(), ["200 OK b\"echo: \""]);
    }
}
