//! Tasks and time, on a simulated core.

mod world;

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use lcore::Instant;
use lcore_async::{Aborted, JoinHandle, Runtime, SpawnError, TcpListener, yield_now};
use net_impl_mem::Faults;
use world::{Log, MS, World, at, listen};

/// Says that it is dropped.
struct Dropped(Log, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

fn spawn<F: Future + 'static>(runtime: &Runtime, future: F) -> JoinHandle<F::Output> {
    runtime.spawn_local(future).map_err(|refused| refused.why).expect("a place for a task")
}

/// A task that always has something to do, from the first millisecond on.
fn spin(runtime: &Runtime) {
    let sleep = runtime.sleep(MS);
    drop(spawn(runtime, async move {
        sleep.await;
        loop {
            yield_now().await;
        }
    }));
}

#[test]
fn s400_a_task_is_polled_when_it_was_woken_and_once_however_often() {
    let (polls, kept) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None::<Waker>)));
    let (count, keep) = (polls.clone(), kept.clone());
    let mut world = World::new(move |runtime| {
        let stays_here = Rc::new(());
        let future = poll_fn(move |cx| {
            count.fetch_add(Rc::strong_count(&stays_here), Ordering::Relaxed);
            *keep.lock().expect("nobody panics with it") = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        drop(spawn(runtime, future));
    });
    let waker = kept.lock().expect("nobody panics with it").clone().expect("it has run");
    world.sim.settle();
    assert_eq!(polls.load(Ordering::Relaxed), 1);
    (0..3).for_each(|_| waker.wake_by_ref());
    assert!(world.sim.settle() > 0);
    assert_eq!(polls.load(Ordering::Relaxed), 2);
    assert_eq!(world.sim.reactors[0].next_deadline(), None, "the core may sleep");
    std::thread::spawn(move || waker.wake()).join().expect("a waker goes anywhere");
    world.sim.settle();
    assert_eq!(polls.load(Ordering::Relaxed), 3);
}

#[test]
fn s400_tasks_that_wake_each_other_do_not_keep_the_others_from_their_turn() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        spin(runtime);
        let (runtime, clone) = (runtime.clone(), runtime.clone());
        drop(spawn(&clone, async move {
            runtime.sleep(2 * MS).await;
            say.say("slept");
        }));
    });
    for _ in 0..2 {
        assert!(log.take().is_empty());
        world.sim.platform.advance(MS);
        for _ in 0..3 {
            let _ = world.sim.turn();
        }
    }
    assert_eq!(log.take(), ["slept"]);
}

#[test]
fn s401_a_handle_tells_the_outcome_and_dropped_it_lets_the_task_go_on() {
    let log = Log::default();
    let say = log.clone();
    World::new(move |runtime| {
        let (detached, outer) = (say.clone(), runtime.clone());
        drop(spawn(runtime, async move { detached.say("went on") }));
        let slow = spawn(runtime, async {
            yield_now().await;
            7
        });
        drop(spawn(runtime, async move {
            say.say(format!("{:?} {:?}", slow.await, spawn(&outer, async { "at once" }).await));
        }));
    });
    assert_eq!(log.take(), ["went on", "Ok(7) Ok(\"at once\")"]);
}

#[test]
fn s401_an_aborted_task_is_dropped_at_once_and_its_place_is_anothers() {
    let log = Log::default();
    let say = log.clone();
    World::with(
        Faults::default(),
        |config| config.tasks(2),
        move |runtime| {
            let (outer, guard) = (runtime.clone(), Dropped(say.clone(), "dropped"));
            let all = async move {
                let waits = spawn(&outer, async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                yield_now().await;
                waits.abort();
                say.say(format!("{:?}", waits.is_finished()));
                say.say(format!("{:?}", waits.await));
                // Aborted before it ran: its number is still among those that are woken.
                for _ in 0..5 {
                    let never = spawn(&outer, async { 1 });
                    never.abort();
                    assert_eq!(never.await, Err(Aborted));
                    assert!(outer.spawn_local(async {}).is_err(), "its place is free when its number is not in the ring");
                    yield_now().await;
                }
                let full = spawn(&outer, pending::<()>());
                let refused = outer.spawn_local(async { 3 }).expect_err("there are two");
                assert_eq!(refused.why, SpawnError::Full(2));
                full.abort();
                full.abort();
                yield_now().await;
                say.say(format!("{:?}", spawn(&outer, refused.item).await));
            };
            drop(spawn(runtime, all));
        },
    );
    assert_eq!(log.take(), ["dropped", "true", "Err(Aborted)", "Ok(3)"]);
}

#[test]
fn s401_a_task_that_aborts_itself_runs_to_its_next_wait() {
    let log = Log::default();
    let say = log.clone();
    World::new(move |runtime| {
        let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let (mine, guard) = (own.clone(), Dropped(say.clone(), "dropped"));
        let task = spawn(runtime, async move {
            let _guard = guard;
            mine.borrow().as_ref().expect("it was put there").abort();
            say.say("still here");
            yield_now().await;
            say.say("never");
        });
        *own.borrow_mut() = Some(task);
    });
    assert_eq!(log.take(), ["still here", "dropped"]);
}

thread_local! {
    static KEPT: RefCell<Option<(Runtime, TcpListener)>> = const { RefCell::new(None) };
}

#[test]
fn s402_a_panic_in_a_task_is_one_of_its_thread_and_leaves_nothing_behind() {
    let log = Log::default();
    let (say, kept) = (log.clone(), Arc::new(Mutex::new(None::<Waker>)));
    let keep = kept.clone();
    let mut world = World::new(move |runtime| {
        KEPT.set(Some((runtime.clone(), listen(runtime, 8))));
        let (guard, runtime) = (Dropped(say.clone(), "the other is dropped"), runtime.clone());
        let (listener, clone) = (listen(&runtime, 7), runtime.clone());
        drop(spawn(&runtime, async move {
            let (_guard, _listener) = (guard, listener);
            pending::<()>().await;
        }));
        let guard = Dropped(say, "it is dropped");
        drop(spawn(&runtime, async move {
            let _guard = guard;
            let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            *keep.lock().expect("nobody panics with it") = Some(waker);
            clone.sleep(MS).await;
            panic!("on purpose");
        }));
    });
    world.sim.platform.advance(MS);
    assert!(catch_unwind(AssertUnwindSafe(|| world.sim.settle())).is_err());
    assert_eq!(log.take(), ["it is dropped", "the other is dropped"]);
    world.sim.settle();
    kept.lock().expect("nobody panics with it").take().expect("it has run").wake();
    world.sim.settle();
    let (runtime, mut listener) = KEPT.take().expect("it was put there");
    assert_eq!(runtime.spawn_local(async {}).expect_err("it has ended").why, SpawnError::Ended);
    let mut accept = Box::pin(listener.accept());
    assert!(matches!(accept.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())), Poll::Ready(Err(_))));
    drop(accept);
    for port in [7, 8] {
        let client = world.dial(port);
        assert!(matches!(client.connected(), Poll::Ready(Err(_))), "its listeners are closed");
    }
}

#[test]
fn s403_at_the_exit_tasks_are_dropped_and_the_thread_ends() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        let (guard, runtime) = (Dropped(say.clone(), "dropped"), runtime.clone());
        let clone = runtime.clone();
        drop(spawn(&runtime, async move {
            let _guard = guard;
            clone.exiting().await;
            say.say("asked");
            pending::<()>().await;
        }));
        spin(&runtime);
    });
    world.sim.platform.advance(MS);
    for _ in 0..5 {
        let _ = world.sim.turn();
    }
    assert!(log.take().is_empty());
    world.thread.exit();
    for _ in 0..5 {
        let _ = world.sim.turn();
    }
    assert_eq!(log.take(), ["asked", "dropped"]);
    assert!(world.has_ended());
}

#[test]
fn s403_an_exit_waits_for_who_holds_it_and_for_the_drain_limit_at_most() {
    for (works_for, ends_after) in [(20, 20), (5_000, 1_000)] {
        let log = Log::default();
        let say = log.clone();
        let mut world = World::new(move |runtime| {
            let (clone, guard) = (runtime.clone(), Dropped(say.clone(), "dropped"));
            drop(spawn(runtime, async move {
                let _guard = guard;
                let busy = clone.hold_exit();
                clone.exiting().await;
                clone.sleep(works_for * MS).await;
                say.say("done");
                drop(busy);
                pending::<()>().await;
            }));
        });
        world.exit((ends_after - 1) * MS);
        assert!(!world.has_ended() && log.take().is_empty());
        world.sim.run_for(MS);
        assert!(world.has_ended());
        assert_eq!(log.take(), if works_for == ends_after { &["done", "dropped"][..] } else { &["dropped"] });
    }
}

#[test]
fn s459_what_waits_until_the_exit_is_dropped_then_and_from_then_on_nothing_is_ready() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        let clone = runtime.clone();
        drop(spawn(runtime, async move {
            let _busy = clone.hold_exit();
            say.say(format!("{:?}", clone.until_exit(clone.sleep(MS)).await));
            let guard = Dropped(say.clone(), "dropped");
            let later = async {
                let _guard = guard;
                clone.sleep(MS).await;
            };
            say.say(format!("{:?}", clone.until_exit(later).await));
            say.say(format!("{:?}", clone.until_exit(async {}).await));
        }));
    });
    world.sim.run_for(MS);
    assert_eq!(log.take(), ["Some(())"]);
    world.thread.exit();
    world.sim.settle();
    assert_eq!(log.take(), ["dropped", "None", "None"]);
    assert!(world.has_ended());
}

#[test]
fn s404_sleeps_are_over_at_their_time_and_not_before_and_the_core_sleeps_until_then() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        for ms in [5, 3, 4, 3] {
            let (runtime, say) = (runtime.clone(), say.clone());
            let clone = runtime.clone();
            drop(spawn(&clone, async move {
                runtime.sleep(ms * MS).await;
                say.say(format!("{ms} at {:?}", runtime.now()));
            }));
        }
        let clone = runtime.clone();
        drop(spawn(runtime, async move {
            // One that is dropped is none.
            assert!(clone.timeout(MS, clone.sleep(2 * MS)).await.is_err());
            assert!(clone.timeout(50 * MS, clone.sleep(MS)).await.is_ok());
        }));
    });
    let next = |world: &World| world.sim.reactors[0].next_deadline();
    assert_eq!(next(&world), Some(Instant::ZERO + MS));
    world.sim.run_for(MS);
    assert_eq!(next(&world), Some(Instant::ZERO + 2 * MS));
    world.sim.run_for(2 * MS - Duration::from_nanos(1));
    assert!(log.take().is_empty());
    world.sim.run_for(Duration::from_nanos(1));
    assert_eq!(log.take(), ["3 at 3ms", "3 at 3ms"]);
    world.sim.run_for(2 * MS);
    assert_eq!(log.take(), ["4 at 4ms", "5 at 5ms"]);
    assert_eq!(next(&world), None);
}

#[test]
fn s404_a_sleep_can_be_given_another_deadline() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        let clone = runtime.clone();
        drop(spawn(runtime, async move {
            let mut sleep = clone.sleep(10 * MS);
            let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut sleep).poll(cx))).await;
            assert_eq!(first, Poll::Pending);
            sleep.reset(clone.now() + 2 * MS);
            (&mut sleep).await;
            say.say(format!("{:?}", clone.now()));
            sleep.reset(clone.now() + 3 * MS);
            sleep.await;
            say.say(format!("{:?}", clone.now()));
        }));
    });
    world.sim.run_for(20 * MS);
    assert_eq!(log.take(), ["2ms", "5ms"]);
}

#[test]
fn s404_a_time_that_a_message_counts_begins_when_it_runs_however_long_its_core_has_slept() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(|runtime| KEPT.set(Some((runtime.clone(), listen(runtime, 8)))));
    world.sim.platform.advance(30_000 * MS);
    let message = move |cx: &mut lcore::Cx<'_>| {
        let (runtime, _) = KEPT.take().expect("it was put there");
        assert_eq!(runtime.now(), cx.now());
        let (limited, late) = (runtime.timeout(10 * MS, pending::<()>()), runtime.clone());
        drop(spawn(&runtime, async move {
            assert!(limited.await.is_err());
            say.say(format!("{:?}", late.now()));
        }));
    };
    world.thread.send(message).map_err(|refused| refused.why).expect("a place in the mailbox");
    world.sim.run_for(100 * MS);
    assert_eq!(log.take(), ["30.01s"]);
}

#[test]
fn s405_an_interval_comes_at_whole_periods_and_once_for_those_that_were_missed() {
    let log = Log::default();
    let say = log.clone();
    let mut world = World::new(move |runtime| {
        let clone = runtime.clone();
        drop(spawn(runtime, async move {
            let mut interval = clone.interval(10 * MS);
            loop {
                let due = interval.tick().await;
                say.say(format!("{due:?} at {:?}", clone.now()));
            }
        }));
    });
    world.sim.run_for(25 * MS);
    assert_eq!(log.take(), ["10ms at 10ms", "20ms at 20ms"]);
    world.sim.advance(30 * MS);
    assert_eq!(log.take(), ["30ms at 55ms"]);
    world.sim.run_for(10 * MS);
    assert_eq!(log.take(), ["60ms at 60ms"]);
}

#[test]
fn s406_a_size_that_cannot_work_is_refused_with_the_numbers() {
    let log = Log::default();
    let say = log.clone();
    let mut sim = lcore::sim::Sim::new(1);
    let start = move |cx: &mut lcore::Cx<'_>| {
        for tasks in [0, 65_409] {
            let why = Runtime::new(cx, lcore_async::Config::new().tasks(tasks)).expect_err("it cannot work");
            say.say(why);
        }
        let runtime = Runtime::new(cx, lcore_async::Config::new().tasks(65_408)).expect("it can work");
        say.say(TcpListener::bind(&runtime, at(1)).expect_err("it has no network"));
    };
    sim.lib().spawn(lcore::ThreadConfig::new("async"), start).expect("a thread");
    sim.settle();
    let said = log.take();
    assert!(said[0].contains("Config::tasks") && said[0].contains("0 is not between 1 and 65408"), "{said:?}");
    assert!(said[1].contains("65409 is not") && said[2].contains("Config::network"), "{said:?}");
}
