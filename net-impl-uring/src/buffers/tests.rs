//! How many buffers lie ready, and that they come back.

use conformance::ordinary;
use core_uring::Ring;

use super::*;
use crate::Uring;

#[test]
fn s17_as_many_lie_ready_as_bursts_need_and_none_where_somebody_waits() {
    let ring = Ring::new(Uring::new().sizes).expect("a ring");
    let io = &mut *ring.io();
    let member = io.join(0).expect("the first");
    let ready = BufRing::open(io, member, 64).expect("memory");
    let mut buffers = Buffers::new(ready, 64, BufGroup::new(1024, 8));
    let lie = |buffers: &mut Buffers| {
        buffers.lay_out(io);
        buffers.lying()
    };
    assert_eq!(lie(&mut buffers), 32);
    buffers.ran_out();
    assert_eq!(lie(&mut buffers), 64);
    // Taken back again and again.
    for _ in 0..3 {
        assert!(buffers.renew(io).is_some());
        assert_eq!(buffers.lying(), 0);
        buffers.set_starving(true);
        assert_eq!(lie(&mut buffers), 0);
        buffers.set_starving(false);
        buffers.set_low(true);
        assert_eq!(lie(&mut buffers), 0);
        buffers.set_low(false);
        assert_eq!(lie(&mut buffers), 64);
    }
    buffers.end(io);
}

/// Buffers come back also where the ring that they lay in may not be locked again, which waits then
/// until it may.
#[test]
fn s17_s61_buffers_come_back_where_their_ring_cannot() {
    const LIMIT: u64 = 8 << 20;
    let name = "buffers::tests::s17_s61_buffers_come_back_where_their_ring_cannot";
    ordinary::with_locked_memory(name, LIMIT, || {
        let ring = Ring::new(Uring::new().sizes).expect("a ring");
        let io = &mut *ring.io();
        let member = io.join(0).expect("the first");
        let ready = BufRing::open(io, member, 64).expect("memory");
        let mut buffers = Buffers::new(ready, 64, BufGroup::new(1024, 8));
        for _ in 0..2 {
            buffers.lay_out(io);
            assert_eq!(buffers.lying(), 32);
            ordinary::may_lock(0);
            // Also a second time, of a ring that is away.
            for _ in 0..2 {
                assert!(buffers.renew(io).is_some());
                buffers.lay_out(io);
                assert_eq!(buffers.lying(), 0, "the kernel has no ring to take them");
            }
            ordinary::may_lock(LIMIT);
        }
        buffers.lay_out(io);
        assert_eq!(buffers.lying(), 32);
        ordinary::may_lock(0);
        buffers.renew(io);
        buffers.end(io);
        assert_eq!(buffers.pool().available(Class::Small), 1024);
    });
}
