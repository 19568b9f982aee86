//! How many buffers lie ready, and that they come back.

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
        buffers.lay_out();
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
