//! An application's life: start, stop, failures, panics, signals, and several lives in one process.
//!
//! A signal reaches every application of the process and a core can be claimed by one, so these
//! tests run one after the other.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lcore::{App, AppHandle, AppOptions, CoreId, CpuSet, Cx, Failure, Platform, PlatformError, Polled, Schedule, ThreadConfig};
use rustix::process::{Signal, getpid, kill_process};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn app() -> App {
    App::new("test").options(options())
}

fn options() -> AppOptions {
    let mut options = AppOptions::default();
    // Other programs and tests may use the cores.
    options.no_cpumask_locks = true;
    options
}

/// Two cores of this process.
fn two_cores() -> CpuSet {
    let cores: CpuSet = allowed().iter().take(2).collect();
    assert_eq!(cores.count(), 2, "this test needs two cores");
    cores
}

fn allowed() -> CpuSet {
    lcore::platform::LinuxPlatform::new().unwrap().cores()
}

fn on_two_cores() -> App {
    let mut options = options();
    options.cores = Some(two_cores());
    App::new("test").options(options)
}

/// Spawns a thread on the second core with a poller that counts its runs and ends when asked to.
fn count_on_the_second_core(app: &AppHandle, runs: Arc<AtomicU64>) {
    let second = app.cores().iter().nth(1).unwrap();
    let config = ThreadConfig::new("counter").cpus(CpuSet::of(second));
    let start = move |cx: &mut Cx<'_>| {
        cx.poller("count", Schedule::Always, move |cx: &mut Cx<'_>| {
            runs.fetch_add(1, Ordering::SeqCst);
            if cx.is_exiting() { Polled::Done } else { Polled::Busy }
        });
    };
    app.lib().spawn(config, start).unwrap();
}

/// The names of this process' threads.
fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end while the list is read.
    tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok()).map(|name| name.trim().to_owned()).collect()
}

fn assert_no_reactor_runs() {
    let left: Vec<_> = thread_names().into_iter().filter(|name| name.starts_with("reactor_")).collect();
    assert!(left.is_empty(), "{left:?} still run");
}

#[test]
fn stop_gives_the_exit_code_and_the_first_that_is_not_0_counts() {
    let _alone = alone();
    let run = |codes: &'static [u8]| {
        app().try_run(move |_, app| {
            codes.iter().for_each(|code| app.stop(*code));
            Ok(())
        })
    };
    assert_eq!(run(&[0]).unwrap(), 0);
    assert_eq!(run(&[7]).unwrap(), 7);
    assert_eq!(run(&[0, 3, 0, 5]).unwrap(), 3);
}

#[test]
fn start_runs_on_the_first_thread_of_the_first_core() {
    let _alone = alone();
    let cores = two_cores();
    let first = cores.iter().next().unwrap();
    let code = on_two_cores().try_run(move |cx, app| {
        assert_eq!((cx.handle().name(), cx.core()), ("app_thread", first));
        assert_eq!(*app.cores(), cores);
        assert!(thread_names().contains(&format!("reactor_{first}")));
        app.stop(0);
        Ok(())
    });
    assert_eq!(code.unwrap(), 0);
    assert_no_reactor_runs();
}

#[test]
fn a_start_function_that_fails_ends_it_with_1_and_other_cores_stop() {
    let _alone = alone();
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let code = on_two_cores().try_run(move |_, app| {
        count_on_the_second_core(app, counted);
        Err("nothing to start".into())
    });
    assert_eq!(code.unwrap(), 1);
    assert_no_reactor_runs();
}

#[test]
fn a_start_function_may_fail_with_a_failure_of_its_own_code() {
    let _alone = alone();
    let code = app().try_run(|_, _| Err(Box::new(Failure::Usage("--colour: red is none".into()))));
    assert_eq!(code.unwrap(), 2);
}

#[test]
fn a_panic_anywhere_is_101_and_other_reactors_stop() {
    let _alone = alone();
    let start = |place: &'static str| {
        move |cx: &mut Cx<'_>, app: &AppHandle| {
            match place {
                "start" => panic!("in start"),
                "poller" => drop(cx.poller("bad", Schedule::Always, |_: &mut Cx<'_>| panic!("in a poller"))),
                "message" => drop(cx.handle().send(|_| panic!("in a message"))),
                _ => {
                    let second = app.cores().iter().nth(1).unwrap();
                    app.lib().spawn(ThreadConfig::new("bad").cpus(CpuSet::of(second)), |_| panic!("on the other core"))?;
                }
            }
            Ok(())
        }
    };
    for place in ["start", "poller", "message", "other core"] {
        let why = on_two_cores().try_run(start(place)).expect_err("it panicked");
        assert_eq!(why.exit_code(), 101, "{place}: {why}");
        assert_no_reactor_runs();
        assert_eq!(allowed().and(&two_cores()), two_cores(), "{place}: the caller may use its cores again");
    }
}

#[test]
fn a_panic_stops_a_core_that_sends_to_the_one_that_panicked() {
    let _alone = alone();
    let why = on_two_cores().try_run(|cx, app| {
        let second = app.cores().iter().nth(1).unwrap();
        app.lib().spawn(ThreadConfig::new("bad").cpus(CpuSet::of(second)), |cx| {
            cx.poller("bad", Schedule::Every(Duration::from_millis(5)), |_: &mut Cx<'_>| panic!("after a while"));
        })?;
        cx.poller("visits", Schedule::Always, |cx: &mut Cx<'_>| {
            cx.for_each_core(|_| {}, |_| {});
            if cx.is_exiting() { Polled::Done } else { Polled::Busy }
        });
        Ok(())
    });
    assert_eq!(why.expect_err("it panicked").exit_code(), 101);
    assert_no_reactor_runs();
}

#[test]
fn s12_a_signal_ends_an_application_that_never_calls_stop() {
    let _alone = alone();
    for signal in [Signal::INT, Signal::TERM] {
        let code = app().try_run(move |_, _| {
            kill_process(getpid(), signal)?;
            Ok(())
        });
        assert_eq!(code.unwrap(), 0);
    }
}

#[test]
fn s12_a_signal_wakes_a_core_that_sleeps() {
    let _alone = alone();
    let code = app().try_run(|_, app| {
        let lib = app.lib().clone();
        thread::spawn(move || {
            // The reactor spins for 20 us, so by then it sleeps; were it awake, the test would pass
            // as well.
            thread::sleep(Duration::from_millis(50));
            assert!(!lib.is_stopping());
            kill_process(getpid(), Signal::INT).unwrap();
        });
        Ok(())
    });
    assert_eq!(code.unwrap(), 0);
}

#[test]
fn s12_the_shutdown_callback_runs_once_on_the_first_thread_and_decides_when_to_stop() {
    let _alone = alone();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let app = app().on_shutdown(move |cx, app| {
        assert_eq!(cx.handle().name(), "app_thread");
        counted.fetch_add(1, Ordering::SeqCst);
        let app = app.clone();
        cx.poller("later", Schedule::Every(Duration::from_millis(30)), move |_: &mut Cx<'_>| {
            app.stop(9);
            Polled::Done
        });
    });
    let code = app.try_run(|_, _| {
        kill_process(getpid(), Signal::TERM)?;
        Ok(())
    });
    assert_eq!((code.unwrap(), calls.load(Ordering::SeqCst)), (9, 1));
}

#[test]
fn the_end_of_the_first_thread_is_the_end() {
    let _alone = alone();
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let code = on_two_cores().try_run(move |cx, app| {
        count_on_the_second_core(app, counted);
        cx.exit();
        Ok(())
    });
    assert_eq!(code.unwrap(), 0);
}

#[test]
fn threads_spawned_while_it_stops_end_too() {
    let _alone = alone();
    for _ in 0..20 {
        let code = on_two_cores().try_run(|_, app| {
            let spawner = app.clone();
            thread::spawn(move || while spawner.lib().spawn(ThreadConfig::new("late"), |_| {}).is_ok() {});
            app.stop(0);
            Ok(())
        });
        assert_eq!(code.unwrap(), 0);
    }
}

#[test]
fn figures_come_last_one_for_each_core() {
    let _alone = alone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let app = on_two_cores().on_stopped(move |app, figures| {
        assert!(app.lib().is_stopping());
        *told.lock().unwrap() = figures.iter().map(|f| f.core).collect();
    });
    let code = app.try_run(|_, app| {
        app.stop(0);
        Ok(())
    });
    assert_eq!(code.unwrap(), 0);
    assert_eq!(*seen.lock().unwrap(), two_cores().iter().collect::<Vec<CoreId>>());
}

#[test]
fn s8_what_does_not_end_is_stopped_by_force_after_the_limit() {
    let _alone = alone();
    let (began, left) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    struct Left(Arc<AtomicBool>);
    impl Drop for Left {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let kept = Left(left.clone());
    let code = app().try_run(move |cx, app| {
        cx.poller("stubborn", Schedule::WhenAwake, move |_: &mut Cx<'_>| {
            let _ = &kept;
            Polled::Idle
        });
        app.stop(4);
        Ok(())
    });
    assert_eq!(code.unwrap(), 4);
    assert!(left.load(Ordering::SeqCst), "the poller was dropped");
    assert!(began.elapsed() >= Duration::from_secs(5), "it had its 5 s: {:?}", began.elapsed());
}

#[test]
fn s12_a_start_that_fails_half_way_leaves_nothing_and_the_next_one_works() {
    let _alone = alone();
    let core = CpuSet::of(allowed().iter().next().unwrap());
    let mut wrong = options();
    (wrong.cores, wrong.net) = (Some(core), Some("nope".into()));
    for _ in 0..3 {
        let why = App::new("test").options(wrong.clone()).network().try_run(|_, _| unreachable!("it must not start"));
        assert_eq!(why.unwrap_err().exit_code(), 2);
    }
    // Fails while it runs: what it had is free again for the next.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let run = move || {
        app().network().try_run(move |_, app| {
            let listener = app.net().listen(at, &lcore::net::SockOptions::default())?;
            drop(listener);
            app.stop(0);
            Ok(())
        })
    };
    assert_eq!(run().unwrap(), 1);
    drop(taken);
    assert_eq!(run().unwrap(), 0);
    assert_no_reactor_runs();
}

#[test]
fn core_locks_are_released_at_the_end_however_it_comes() {
    let _alone = alone();
    let mut locked = AppOptions::default();
    // Another process may have a core for a while; one of them is free some time.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut cores = allowed().iter().collect::<Vec<_>>().into_iter().cycle();
    let claimed = loop {
        let core = CpuSet::of(cores.next().unwrap());
        match lcore::platform::CpuLocks::claim(&core) {
            Ok(claimed) => break claimed,
            Err(why) => assert!(Instant::now() < deadline, "{why}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    locked.cores = Some(claimed.cores());
    let run = |options: &AppOptions, code: u8| {
        App::new("test").options(options.clone()).try_run(move |_, app| {
            app.stop(code);
            Ok(())
        })
    };
    let why = run(&locked, 0).unwrap_err();
    assert_eq!(why.exit_code(), 1);
    assert!(matches!(why, Failure::Locked(PlatformError::CoreTaken { .. })), "{why}");
    assert!(why.to_string().contains("--no-cpumask-locks"), "{why}");
    let mut shared = locked.clone();
    shared.no_cpumask_locks = true;
    assert_eq!(run(&shared, 5).unwrap(), 5);
    drop(claimed);
    for code in [0, 3] {
        assert_eq!(run(&locked, code).unwrap(), code);
    }
    let panicked = App::new("test").options(locked.clone()).try_run(|_, _| panic!("with the lock held"));
    assert_eq!(panicked.unwrap_err().exit_code(), 101);
    assert_eq!(run(&locked, 0).unwrap(), 0);
}

#[test]
fn two_applications_run_side_by_side() {
    let _alone = alone();
    let cores: Vec<CoreId> = two_cores().iter().collect();
    let (there, here) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let run = |core: CoreId, mine: Arc<AtomicBool>, other: Arc<AtomicBool>| {
        move || {
            let mut options = options();
            options.cores = Some(CpuSet::of(core));
            App::new("test").options(options).try_run(move |cx, app| {
                mine.store(true, Ordering::SeqCst);
                let app = app.clone();
                cx.poller("meet", Schedule::Always, move |_: &mut Cx<'_>| {
                    if !other.load(Ordering::SeqCst) {
                        return Polled::Idle;
                    }
                    app.stop(0);
                    Polled::Done
                });
                Ok(())
            })
        }
    };
    let one = thread::spawn(run(cores[0], here.clone(), there.clone()));
    let two = thread::spawn(run(cores[1], there, here));
    assert_eq!((one.join().unwrap().unwrap(), two.join().unwrap().unwrap()), (0, 0));
}

#[test]
fn the_calling_thread_gets_its_name_and_cores_back() {
    let _alone = alone();
    let name = || std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    let before = (name(), allowed());
    app()
        .try_run(|_, app| {
            app.stop(0);
            Ok(())
        })
        .unwrap();
    assert_eq!((name(), allowed()), before);
}
