//! Streams over a network in memory, on a simulated core.

mod world;

use std::cell::RefCell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use lcore::net::{NetError, SockOptions};
use lcore_async::{Runtime, TcpListener, TcpStream};
use net_impl_mem::Faults;
use world::{Log, MS, World, at, listen, pattern};

/// Runs a future as a task, which goes on by itself.
fn go<F: Future + 'static>(runtime: &Runtime, future: F) {
    drop(runtime.spawn_local(future).map_err(|refused| refused.why).expect("a place for a task"));
}

/// Serves each connection to port 7 by a task.
fn serve<F: Future + 'static>(runtime: &Runtime, handler: impl FnMut(TcpStream) -> F + 'static) {
    serve_by(runtime, listen(runtime, 7), handler);
}

fn serve_by<F: Future + 'static>(runtime: &Runtime, mut listener: TcpListener, mut handler: impl FnMut(TcpStream) -> F + 'static) {
    let clone = runtime.clone();
    go(runtime, async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a listener goes on");
            go(&clone, handler(stream));
        }
    });
}

async fn echo(mut stream: TcpStream) -> Result<(), NetError> {
    while let Some(buf) = stream.recv().await? {
        stream.send(buf).await?;
    }
    Ok(())
}

#[test]
fn s407_what_is_sent_arrives_each_byte_once_and_in_order_whatever_the_network_does() {
    // More than both sides and the way hold: who writes must not keep the other half from reading.
    for (window, len) in [(1, 20_000), (700, 200_000), (usize::MAX, 200_000)] {
        let faults = Faults { window, short_per_mille: 300, delay: MS, jitter: MS, ..Faults::default() };
        let log = Log::default();
        let say = log.clone();
        let mut world = World::with(
            faults,
            |config| config.send_limit(4096),
            move |runtime| {
                serve(runtime, echo);
                let clone = runtime.clone();
                go(runtime, async move {
                    let stream = TcpStream::connect(&clone, at(7)).await.expect("somebody listens");
                    let (mut reader, mut writer) = stream.split();
                    let (bytes, wanted) = (pattern(0, len), pattern(0, len));
                    go(&clone, async move {
                        writer.write_all(&bytes).await.expect("it is taken");
                        assert_eq!(writer.taken(), len as u64);
                        writer.shutdown().await.expect("nothing has broken");
                        assert_eq!(writer.write(b"more").await, Err(NetError::NotConnected));
                    });
                    let (mut back, mut piece) = (Vec::new(), [0; 333]);
                    loop {
                        match reader.read(&mut piece).await.expect("nothing has broken") {
                            0 => break,
                            bytes => back.extend_from_slice(&piece[..bytes]),
                        }
                    }
                    assert!(back == wanted);
                    say.say("all");
                });
            },
        );
        world.sim.run_for(Duration::from_secs(2000));
        assert_eq!(log.take(), ["all"], "window {window}");
    }
}

#[test]
fn s407_a_connect_that_is_refused_says_so_and_the_next_address_is_tried() {
    let log = Log::default();
    let say = log.clone();
    World::new(move |runtime| {
        serve(runtime, echo);
        let clone = runtime.clone();
        go(runtime, async move {
            say.say(TcpStream::connect(&clone, at(9)).await.expect_err("nobody listens"));
            let options = SockOptions::default();
            let stream = TcpStream::connect_with(&clone, &[at(9), at(7)], &options).await.expect("the second listens");
            say.say(stream.peer_addr().expect("it is connected"));
            assert!(TcpListener::bind(&clone, at(7)).is_err());
        });
    });
    assert_eq!(log.take(), ["connect to 127.0.0.1:9: refused; nothing listens there", "127.0.0.1:7"]);
}

#[test]
fn s408_a_write_waits_while_the_peer_takes_nothing_and_goes_on_when_it_does() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::with(
        Faults { window: 1000, ..Faults::default() },
        |config| config.send_limit(2048),
        move |runtime| {
            serve(runtime, move |mut stream| {
                let say = say.clone();
                async move {
                    stream.write_all(&pattern(0, 1 << 20)).await.expect("the peer reads in the end");
                    say.say("written");
                }
            });
        },
    );
    let client = world.dial(7);
    world.sim.run_for(Duration::from_secs(60));
    assert!(log.take().is_empty(), "a megabyte is not taken, whatever the time");
    let (bytes, is_over) = world.read(&client);
    assert!(bytes == pattern(0, 1 << 20) && is_over);
    assert_eq!(log.take(), ["written"]);
}

#[test]
fn s409_a_read_that_is_dropped_loses_no_byte() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        let clone = runtime.clone();
        serve(runtime, move |mut stream| {
            let (runtime, say) = (clone.clone(), say.clone());
            async move {
                let (mut got, mut dropped) = (Vec::new(), 0);
                let mut piece = [0; 7];
                while got.len() < 500 {
                    match runtime.timeout(MS, stream.read(&mut piece)).await {
                        Ok(bytes) => got.extend_from_slice(&piece[..bytes.expect("nothing has broken")]),
                        Err(_) => dropped += 1,
                    }
                    match runtime.timeout(MS, stream.recv()).await {
                        Ok(buf) => got.extend_from_slice(&buf.expect("nothing has broken").expect("no end")),
                        Err(_) => dropped += 1,
                    }
                }
                assert!(got == pattern(0, 500) && dropped > 50);
                say.say("all");
            }
        });
    });
    let client = world.dial(7);
    for n in 0..50 {
        // In the same instant as the time-out, just before it and just behind it.
        world.sim.run_for(Duration::from_micros(1000 + n % 3));
        world.write(&client, &pattern(10 * n as usize, 10));
        world.sim.run_for(3 * MS);
    }
    assert_eq!(log.take(), ["all"]);
}

#[test]
fn s410_a_write_that_is_dropped_has_taken_what_is_told_and_no_byte_more() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::with(
        Faults { window: 1000, ..Faults::default() },
        |config| config.send_limit(2048),
        move |runtime| {
            let clone = runtime.clone();
            serve(runtime, move |mut stream| {
                let (runtime, say) = (clone.clone(), say.clone());
                async move {
                    let mut bytes = pattern(0, 50_000);
                    let mut cut = 0;
                    while !bytes.is_empty() {
                        let before = stream.taken();
                        match runtime.timeout(MS, stream.write_all(&bytes)).await {
                            Ok(written) => written.expect("nothing has broken"),
                            Err(_) => cut += 1,
                        }
                        // A frame is taken whole or not at all.
                        let mut frame = runtime_buf(&bytes[(stream.taken() - before) as usize..]);
                        let len = frame.len() as u64;
                        let taken = stream.taken();
                        if len > 0 && runtime.timeout(MS, stream.send(std::mem::replace(&mut frame, runtime_buf(&[])))).await.is_err() {
                            assert_eq!(stream.taken(), taken);
                        } else {
                            assert_eq!(stream.taken(), taken + len);
                        }
                        bytes.drain(..(stream.taken() - before) as usize);
                    }
                    say.say(format!("{} {}", stream.taken(), cut > 3));
                }
            });
        },
    );
    let client = world.dial(7);
    let (mut all, mut is_over) = (Vec::new(), false);
    for _ in 0..2000 {
        let mut piece = [0; 100];
        match client.read(&mut piece) {
            Poll::Ready(Ok(0)) => is_over = true,
            Poll::Ready(Ok(bytes)) => all.extend_from_slice(&piece[..bytes]),
            Poll::Pending => {}
            Poll::Ready(Err(why)) => panic!("{why}"),
        }
        world.sim.run_for(Duration::from_micros(500));
    }
    assert!(all == pattern(0, 50_000) && is_over, "{} bytes", all.len());
    assert_eq!(log.take(), ["50000 true"]);
}

/// A buffer with as many of these bytes as fit into a small one.
fn runtime_buf(bytes: &[u8]) -> lcore::pool::Buf {
    let mut buf = lcore::pool::BufGroup::new(1, 100).get().expect("it is the first");
    buf.append(bytes);
    buf
}

#[test]
fn s411_a_stream_that_is_dropped_sends_what_it_had_taken_and_then_its_end() {
    let mut world = World::with(
        Faults { window: 500, delay: MS, ..Faults::default() },
        |config| config.send_limit(8000),
        |runtime| {
            serve(runtime, async |mut stream: TcpStream| {
                stream.write_all(&pattern(0, 8000)).await.expect("it is taken");
            });
        },
    );
    let client = world.dial(7);
    world.sim.run_for(100 * MS);
    let (mut all, mut is_over) = (Vec::new(), false);
    while !is_over {
        let (bytes, end) = world.read(&client);
        all.extend(bytes);
        is_over = end;
        world.sim.run_for(MS);
    }
    assert_eq!(all, pattern(0, 8000));
}

#[test]
fn s411_what_a_peer_does_not_take_within_the_linger_time_ends_in_a_reset() {
    let mut world = World::with(
        Faults { window: 500, ..Faults::default() },
        |config| config.send_limit(8000).linger(100 * MS).sockets(2),
        |runtime| {
            serve(runtime, async |mut stream: TcpStream| {
                stream.write_all(&pattern(0, 4000)).await.expect("it is taken");
            });
        },
    );
    let client = world.dial(7);
    world.sim.run_for(99 * MS);
    assert_eq!(client.error(), None);
    let next = world.dial(7);
    world.sim.run_for(10 * MS);
    assert_eq!(client.error(), Some(NetError::Reset), "so it does not take a part for all");
    let (bytes, is_over) = world.read(&next);
    assert!(bytes == pattern(0, 4000) && is_over, "its place is another's");
}

thread_local! {
    static KEPT: RefCell<Vec<TcpStream>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn s411_a_stream_that_a_message_drops_has_its_linger_time_however_long_its_core_has_slept() {
    let mut world = World::with(
        Faults { window: 500, ..Faults::default() },
        |config| config.send_limit(8000).linger(100 * MS),
        |runtime| {
            serve(runtime, async |mut stream: TcpStream| {
                stream.write_all(&pattern(0, 4000)).await.expect("it is taken");
                KEPT.set(vec![stream]);
            });
        },
    );
    let client = world.dial(7);
    world.sim.platform.advance(60_000 * MS);
    let drops = |_: &mut lcore::Cx<'_>| drop(KEPT.take());
    world.thread.send(drops).map_err(|refused| refused.why).expect("a place in the mailbox");
    world.sim.run_for(50 * MS);
    assert_eq!(client.error(), None);
    let (bytes, is_over) = world.read(&client);
    assert!(bytes == pattern(0, 4000) && is_over);
}

#[test]
fn s411_at_the_exit_what_was_taken_still_goes_out() {
    let mut world = World::with(
        Faults { window: 500, delay: MS, ..Faults::default() },
        |config| config.send_limit(8000),
        |runtime| {
            serve(runtime, async |mut stream: TcpStream| {
                stream.write_all(&pattern(0, 8000)).await.expect("it is taken");
                pending::<()>().await;
            });
        },
    );
    let client = world.dial(7);
    world.sim.run_for(10 * MS);
    world.thread.exit();
    let (mut all, mut is_over) = (Vec::new(), false);
    for _ in 0..100 {
        let (bytes, end) = world.read(&client);
        all.extend(bytes);
        is_over = is_over || end;
        world.sim.run_for(MS);
    }
    assert!(all == pattern(0, 8000) && is_over && world.has_ended());
}

/// A server that keeps each stream when it has taken 4000 bytes, which fills the first so that it
/// takes no mark, 2000 for the second, and 400, which go out, for others.
fn serve_held(panics_at: Option<Duration>) -> World {
    World::over(
        Faults { window: 500, ..Faults::default() },
        (64, 4096),
        |config| config.send_limit(2000).sockets(200),
        move |runtime| {
            let mut lens = [4000, 2000].into_iter().chain(std::iter::repeat(400));
            serve(runtime, move |mut stream| {
                let bytes = pattern(0, lens.next().expect("it has no end"));
                async move {
                    stream.write_all(&bytes).await.expect("it is taken");
                    KEPT.with_borrow_mut(|kept| kept.push(stream));
                }
            });
            let Some(time) = panics_at else { return };
            let sleep = runtime.sleep(time);
            go(runtime, async move {
                sleep.await;
                panic!("on purpose");
            });
        },
    )
}

/// That the first two peers do not take a part for the whole, and the others have all of it.
fn assert_a_part_is_cut_off(world: &mut World, clients: &[net_impl_mem::SimSocket]) {
    assert_eq!(clients[0].error(), Some(NetError::Reset));
    assert_eq!(clients[1].error(), Some(NetError::Reset));
    for client in &clients[2..] {
        assert_eq!(world.read(client), (pattern(0, 400), true));
    }
    KEPT.take();
}

#[test]
fn s411_what_is_not_out_at_the_end_of_an_exit_ends_in_a_reset_and_what_is_does_not() {
    let mut world = serve_held(None);
    let clients: Vec<_> = (0..100).map(|_| world.dial(7)).collect();
    world.exit(Duration::from_secs(2));
    assert!(world.has_ended());
    assert_a_part_is_cut_off(&mut world, &clients);
}

#[test]
fn s411_what_is_not_out_when_a_task_panics_ends_in_a_reset_and_what_is_does_not() {
    let mut world = serve_held(Some(MS));
    let clients: Vec<_> = (0..100).map(|_| world.dial(7)).collect();
    world.sim.platform.advance(MS);
    assert!(catch_unwind(AssertUnwindSafe(|| world.sim.settle())).is_err());
    world.sim.settle();
    assert_a_part_is_cut_off(&mut world, &clients);
}

#[test]
fn s412_either_side_may_end_first_and_the_other_direction_lives_on() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        serve(runtime, move |mut stream| {
            let say = say.clone();
            async move {
                stream.write_all(b"mine").await.expect("it is taken");
                stream.shutdown().await.expect("nothing has broken");
                let mut all = Vec::new();
                while let Some(buf) = stream.recv().await.expect("nothing has broken") {
                    all.extend_from_slice(&buf);
                }
                say.say(String::from_utf8(all).expect("it is text"));
            }
        });
    });
    let client = world.dial(7);
    assert_eq!(world.read(&client), (b"mine".to_vec(), true));
    world.write(&client, b"still ");
    world.write(&client, b"yours");
    client.finish();
    world.sim.settle();
    assert_eq!(log.take(), ["still yours"]);
}

#[test]
fn s412_a_half_that_writes_ends_its_direction_when_it_is_dropped_and_the_last_half_closes() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::with(
        Faults { window: 1000, ..Faults::default() },
        |config| config.send_limit(2048),
        move |runtime| {
            let clone = runtime.clone();
            serve(runtime, move |stream| {
                let (mut reader, mut writer) = stream.split();
                go(&clone, async move {
                    let bytes = pattern(0, 5000);
                    writer.write_all(&bytes).await.expect("the peer reads");
                });
                let say = say.clone();
                async move {
                    let got = reader.recv().await.expect("nothing has broken").expect("no end");
                    say.say(got.len());
                }
            });
        },
    );
    let client = world.dial(7);
    let (bytes, is_over) = world.read(&client);
    assert!(bytes == pattern(0, 5000) && is_over);
    world.write(&client, b"four");
    assert_eq!(log.take(), ["4"]);
}

#[test]
fn s412_what_came_for_a_half_that_reads_goes_home_when_it_is_dropped() {
    let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Faults::default())));
    let mut sim = lcore::sim::Sim::new(1);
    let log = Log::default();
    let say = log.clone();
    let begin = move |cx: &mut lcore::Cx<'_>| {
        let bufs = lcore::pool::BufGroup::new(64, 100);
        let runtime = Runtime::new(cx, lcore_async::Config::new().network(net, bufs.clone())).expect("a runtime");
        let clone = runtime.clone();
        serve(&runtime, move |stream| {
            let (runtime, bufs, say) = (clone.clone(), bufs.clone(), say.clone());
            async move {
                let out = || 64 - bufs.available(lcore::pool::Class::Small);
                let (mut reader, mut writer) = stream.split();
                // A part of the first buffer.
                assert_eq!(reader.read(&mut [0; 10]).await, Ok(10));
                runtime.sleep(MS).await;
                let before = out();
                drop(reader);
                say.say(format!("{} {}", before > 0, out()));
                runtime.sleep(MS).await;
                say.say(out());
                writer.write_all(b"mine").await.expect("nothing has broken");
                pending::<()>().await;
            }
        });
    };
    sim.lib().spawn(lcore::ThreadConfig::new("async"), begin).expect("a thread");
    sim.settle();
    let client = net.dial(at(7), &SockOptions::default()).expect("a free port");
    sim.settle();
    assert_eq!(client.write(&pattern(0, 1000)), Poll::Ready(Ok(1000)));
    sim.run_for(MS);
    assert_eq!(log.take(), ["true 0"]);
    // What comes on keeps none either, and the other half lives on.
    assert_eq!(client.write(&pattern(0, 1000)), Poll::Ready(Ok(1000)));
    sim.run_for(MS);
    assert_eq!(log.take(), ["0"]);
    let mut mine = [0; 10];
    assert_eq!(client.read(&mut mine), Poll::Ready(Ok(4)));
}

#[test]
fn s413_a_reset_is_told_to_whoever_reads_and_writes() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::with(
        Faults { window: 1000, ..Faults::default() },
        |config| config.send_limit(2048),
        move |runtime| {
            let clone = runtime.clone();
            serve(runtime, move |stream| {
                let (mut reader, mut writer) = stream.split();
                let (say, also, runtime) = (say.clone(), say.clone(), clone.clone());
                go(&clone, async move {
                    let bytes = pattern(0, 1 << 20);
                    also.say(format!("writer: {}", writer.write_all(&bytes).await.is_err()));
                });
                async move {
                    reader.recv().await.expect("nothing has broken").expect("no end");
                    runtime.sleep(MS).await;
                    say.say(format!("reader: {:?}", reader.recv().await.map(|buf| buf.is_some())));
                }
            });
        },
    );
    let client = world.dial(7);
    world.write(&client, b"read");
    client.reset();
    world.sim.settle();
    assert_eq!(log.take(), ["writer: true"], "also while nobody reads");
    world.sim.run_for(MS);
    assert_eq!(log.take(), ["reader: Err(Reset)"]);
}

#[test]
fn s458_an_abort_is_a_reset_for_the_peer_and_an_error_for_the_other_half() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::with(
        Faults { window: 1000, ..Faults::default() },
        |config| config.send_limit(2048).sockets(2),
        move |runtime| {
            let clone = runtime.clone();
            // More than the peer takes, and nothing that is to be sent.
            let mut lens = [1 << 20, 0].into_iter().cycle();
            serve(runtime, move |stream| {
                let (mut reader, mut writer) = stream.split();
                let (say, runtime) = (say.clone(), clone.clone());
                let bytes = pattern(0, lens.next().expect("it has no end"));
                go(&clone, async move {
                    let until = runtime.now() + MS;
                    let _ = runtime.timeout(MS, writer.write_all(&bytes)).await;
                    runtime.sleep_until(until).await;
                    writer.abort();
                });
                async move { say.say(format!("{:?}", reader.recv().await.map(|buf| buf.is_some()))) }
            });
        },
    );
    for _ in 0..4 {
        let client = world.dial(7);
        world.sim.run_for(MS - Duration::from_nanos(1));
        assert!(log.take().is_empty() && client.error().is_none());
        world.sim.run_for(MS);
        assert_eq!(log.take(), ["Err(NotConnected)"]);
        while let Poll::Ready(Ok(bytes)) = client.read(&mut [0; 100]) {
            assert_ne!(bytes, 0, "it must not look like the end of all");
        }
        assert_eq!(client.error(), Some(NetError::Reset));
    }
}

#[test]
fn s414_who_does_not_read_holds_back_its_own_peer_and_nobody_else() {
    let log = Log::default();
    let say = log.clone();
    // Half as many buffers as peers that send all they can to tasks that read nothing.
    let mut world = World::over(
        Faults { window: 100_000, ..Faults::default() },
        (32, 100),
        |config| config.sockets(100),
        move |runtime| {
            let mut first = true;
            let clone = runtime.clone();
            serve(runtime, move |mut stream| {
                let (is_echo, say, runtime) = (std::mem::take(&mut first), say.clone(), clone.clone());
                async move {
                    if is_echo {
                        return echo(stream).await.expect("nothing has broken");
                    }
                    runtime.sleep(Duration::from_secs(3600)).await;
                    let mut bytes = 0;
                    while bytes < 50_000 {
                        bytes += stream.recv().await.expect("nothing has broken").expect("no end").len();
                    }
                    say.say(bytes);
                }
            });
        },
    );
    let good = world.dial(7);
    let deaf: Vec<_> = (0..60).map(|_| world.dial(7)).collect();
    for socket in &deaf {
        world.write(socket, &pattern(0, 50_000));
    }
    for n in 0..10 {
        world.write(&good, &pattern(n, 90));
        assert_eq!(world.read(&good), (pattern(n, 90), false), "round {n}");
    }
    world.sim.run_for(Duration::from_secs(3600));
    assert_eq!(log.take(), vec!["50000"; 60], "nothing of it is lost");
}

#[test]
fn s415_a_task_that_must_write_before_it_reads_finds_a_buffer_though_all_hold_what_is_not_read() {
    let mut world = World::over(
        Faults::default(),
        (4, 100),
        |config| config.sockets(100),
        |runtime| {
            let clone = runtime.clone();
            serve(runtime, move |mut stream| {
                let runtime = clone.clone();
                async move {
                    let first = stream.recv().await.expect("nothing has broken").expect("no end");
                    runtime.sleep(MS).await;
                    // All buffers are with tasks that do this.
                    stream.write_all(&pattern(0, 1000)).await.expect("nothing has broken");
                    drop(first);
                    while stream.recv().await.expect("nothing has broken").is_some() {}
                }
            });
        },
    );
    let clients: Vec<_> = (0..8).map(|_| world.dial(7)).collect();
    for client in &clients {
        world.write(client, &pattern(0, 400));
    }
    world.sim.run_for(10 * MS);
    for client in &clients {
        assert_eq!(world.read(client), (pattern(0, 1000), false));
    }
}

#[test]
fn s415_writers_that_wait_for_the_same_buffer_have_it_one_after_the_other() {
    let mut world = World::over(
        Faults { window: 100, ..Faults::default() },
        (4, 100),
        |config| config.send_limit(10_000),
        |runtime| {
            let (mut is_first, clone) = (true, runtime.clone());
            let options = SockOptions::default().send_buf(100);
            let listener = TcpListener::bind_with(runtime, at(7), &options).expect("the port is free");
            serve_by(runtime, listener, move |mut stream| {
                let (is_first, runtime) = (std::mem::replace(&mut is_first, false), clone.clone());
                async move {
                    if is_first {
                        // Its peer takes nothing, so this one keeps all buffers.
                        let written = runtime.timeout(MS, stream.write_all(&pattern(0, 5000))).await;
                        assert!(written.is_err() && stream.taken() < 5000);
                    } else {
                        stream.write_all(b"mine").await.expect("nothing has broken");
                    }
                    pending::<()>().await;
                }
            });
        },
    );
    let hog = world.dial(7);
    world.sim.run_for(2 * MS);
    let clients: Vec<_> = (0..3).map(|_| world.dial(7)).collect();
    assert_eq!(world.read(&clients[0]), (Vec::new(), false));
    // One of them is out.
    assert_eq!(hog.read(&mut [0; 100]), Poll::Ready(Ok(100)));
    for _ in 0..100 {
        let _ = world.sim.turn();
    }
    for client in &clients {
        let mut mine = [0; 10];
        assert_eq!(client.read(&mut mine), Poll::Ready(Ok(4)));
    }
}

#[test]
fn s416_connections_for_which_there_is_no_room_wait_until_there_is() {
    let mut world = World::with(
        Faults::default(),
        // Of three sockets one is the listener.
        |config| config.sockets(3),
        |runtime| {
            let clone = runtime.clone();
            serve(runtime, echo);
            go(runtime, async move {
                clone.sleep(MS).await;
                let refused = TcpStream::connect(&clone, at(7)).await.expect_err("there is no room for its own side");
                assert_eq!(refused, NetError::GroupFull(3));
            });
        },
    );
    let mut clients: Vec<_> = (0..5).map(|_| world.dial(7)).collect();
    world.sim.run_for(2 * MS);
    for client in &clients {
        world.write(client, b"hello");
    }
    let answered = |world: &mut World, clients: &[_]| -> Vec<_> { clients.iter().map(|client| !world.read(client).0.is_empty()).collect() };
    assert_eq!(answered(&mut world, &clients), [true, true, false, false, false]);
    clients.remove(1).close();
    world.sim.settle();
    assert_eq!(answered(&mut world, &clients), [false, true, false, false]);
    clients.remove(1).close();
    clients.remove(0).close();
    world.sim.settle();
    assert_eq!(answered(&mut world, &clients), [true, true]);
}

#[test]
fn s416_a_full_runtime_takes_no_more_than_a_poll_brings_and_then_nothing() {
    let mut world = World::with(
        Faults::default(),
        |config| config.sockets(3),
        |runtime| {
            let options = SockOptions::default().backlog(10);
            let mut listener = TcpListener::bind_with(runtime, at(7), &options).expect("the port is free");
            let clone = runtime.clone();
            go(runtime, async move {
                while let Ok((stream, _)) = listener.accept().await {
                    go(&clone, echo(stream));
                }
            });
        },
    );
    let clients: Vec<_> = (0..100).map(|_| world.dial(7)).collect();
    let taken = clients.iter().filter(|client| matches!(client.connected(), Poll::Ready(Ok(())))).count();
    // Two are served, ten wait in the system, and a poll brings up to 16.
    assert!((12..=28).contains(&taken), "{taken}");
    for client in &clients[..2] {
        world.write(client, b"hello");
        assert_eq!(world.read(client), (b"hello".to_vec(), false));
    }
}

#[test]
fn s416_an_accept_or_a_connect_that_is_dropped_leaves_nothing_behind() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::with(
        Faults { delay: 5 * MS, ..Faults::default() },
        |config| config.sockets(3),
        move |runtime| {
            let (mut listener, clone) = (listen(runtime, 7), runtime.clone());
            go(runtime, async move {
                let mut dropped = 0;
                loop {
                    match clone.timeout(MS, listener.accept()).await {
                        Ok(accepted) => say.say(format!("{} {}", accepted.is_ok(), dropped > 5)),
                        Err(_) => dropped += 1,
                    }
                }
            });
            let clone = runtime.clone();
            go(runtime, async move {
                for _ in 0..10 {
                    let in_time = clone.timeout(MS, TcpStream::connect(&clone, at(7))).await;
                    assert!(in_time.is_err(), "the way there takes five");
                }
                clone.sleep(20 * MS).await;
                assert!(TcpStream::connect(&clone, at(7)).await.is_ok(), "there is room");
            });
        },
    );
    world.sim.run_for(60 * MS);
    assert!(log.take().last().is_some_and(|last| last == "true true"));
}

#[test]
fn s417_a_connection_that_was_accepted_on_one_core_is_served_on_another() {
    let net: &'static net_impl_mem::MemNet = Box::leak(Box::new(net_impl_mem::MemNet::new(1, Faults::default())));
    let mut sim = lcore::sim::Sim::new(2);
    let config = move || lcore_async::Config::new().network(net, lcore::pool::BufGroup::new(16, 100));
    let on = |core: u16| lcore::CpuSet::of(lcore::CoreId(core));
    let serves = lcore::ThreadConfig::new("serves").cpus(on(1));
    let open = move |cx: &mut lcore::Cx<'_>| {
        let runtime = Runtime::new(cx, config()).expect("a runtime");
        assert!(cx.open_channel(runtime).is_none());
    };
    let there = sim.lib().spawn(serves, open).expect("a thread");
    let accepts = lcore::ThreadConfig::new("accepts").cpus(on(0));
    let accept = move |cx: &mut lcore::Cx<'_>| {
        // Its one socket is the listener.
        let runtime = Runtime::new(cx, config().sockets(1)).expect("a runtime");
        let mut listener = listen(&runtime, 7);
        go(&runtime, async move {
            loop {
                let socket = listener.accept_socket().await.expect("a listener goes on");
                let sent = there.send(move |cx: &mut lcore::Cx<'_>| {
                    assert_eq!(cx.core(), lcore::CoreId(1));
                    let runtime = cx.channel::<Runtime>().expect("it was opened").clone();
                    go(&runtime, echo(TcpStream::from_socket(&runtime, socket).expect("there is room")));
                });
                sent.map_err(|refused| refused.why).expect("a place in the mailbox");
            }
        });
    };
    sim.lib().spawn(accepts, accept).expect("a thread");
    sim.settle();
    let client = net.dial(at(7), &SockOptions::default()).expect("a free port");
    sim.settle();
    assert_eq!(client.write(b"over there"), Poll::Ready(Ok(10)));
    sim.settle();
    let mut back = [0; 10];
    assert_eq!((client.read(&mut back), &back), (Poll::Ready(Ok(10)), b"over there"));
}
