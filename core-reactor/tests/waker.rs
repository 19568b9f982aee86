//! Wakers of threads (statement 13): a core that is about to sleep takes a turn when one is asked for. `platform-linux/tests/waker.rs` has the same for
//! a core that does sleep.

use core_reactor::sim::SimPlatform;
use core_reactor::{CoreId, CpuSet, Instant, ThreadConfig, ThreadLib, ThreadLibOptions};

#[test]
fn s13_a_wake_before_the_sleep_is_work_until_the_next_turn() {
    let sim = SimPlatform::new(1);
    let lib = ThreadLib::new(sim, CpuSet::of(CoreId(0)), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("t"), CoreId(0)).unwrap();
    assert!(!thread.has_work());
    thread.handle().waker().wake();
    assert!(thread.has_work(), "a core that looks before it sleeps must see it");
    thread.turn(Instant::ZERO);
    assert!(!thread.has_work());
    thread.handle().wake();
    assert!(thread.has_work());
}
