//! What keeps a core awake that is about to sleep (statement 13): a turn that was asked for, a
//! critical message, a request to exit. `platform-linux/tests/waker.rs` has the same for a core
//! that does sleep.

use std::task::Waker;

use core_reactor::sim::SimPlatform;
use core_reactor::{CoreId, CpuSet, Instant, ThreadConfig, ThreadHandle, ThreadLib, ThreadLibOptions};

#[test]
fn s13_a_wake_before_the_sleep_is_work_until_the_next_turn() {
    let sim = SimPlatform::new(1);
    let lib = ThreadLib::new(sim, CpuSet::of(CoreId(0)), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
    assert!(!thread.has_work());
    for wake in [|waker: Waker| waker.wake(), |waker: Waker| waker.wake_by_ref()] {
        wake(thread.handle().waker());
        assert!(thread.has_work(), "a core that looks before it sleeps must see it");
        thread.turn(Instant::ZERO);
        assert!(!thread.has_work());
    }
    thread.handle().wake();
    assert!(thread.has_work());
}

#[test]
fn s13_whatever_was_asked_of_a_thread_before_the_sleep_is_work_until_the_next_turn() {
    type Ask = fn(&ThreadHandle);
    let asks: [(&str, Ask); 4] = [
        ("a message", |thread| thread.send(|_| {}).expect("there is room")),
        ("a critical message", |thread| thread.send_critical(|_| {}).expect("none is pending")),
        ("a wake", ThreadHandle::wake),
        ("an exit", ThreadHandle::exit),
    ];
    for (what, ask) in asks {
        let sim = SimPlatform::new(1);
        let lib = ThreadLib::new(sim, CpuSet::of(CoreId(0)), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
        // Kept from ending, so that an exit that has been seen is no work any more.
        let hold = thread.with(|cx| cx.hold("the test"));
        assert!(!thread.has_work(), "{what}");
        ask(&thread.handle());
        assert!(thread.has_work(), "{what}");
        thread.turn(Instant::ZERO);
        assert!(!thread.has_work(), "{what}");
        drop(hold);
    }
}
