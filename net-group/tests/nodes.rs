//! Frames that are sent again and again take no memory but the first time.

use conformance::heap::{CountingHeap, Heap};
use core_reactor::net::{Frame, GroupConfig, Token};
use net_group::{Frames, Limits, Slab};
use pool::BufGroup;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap;

#[test]
fn s18_nodes_are_used_again() {
    let bufs = BufGroup::new(4, 8);
    let (limits, mut frames) = (Limits::new(&GroupConfig::new(bufs.clone())), Frames::new(0));
    let mut slab = Slab::<()>::new(1, 7);
    let place = slab.put(Box::new(()), 5, Token(0), 0).expect("there is room");
    let id = slab.state_mut(place).id;
    let mut round = || {
        for tag in [None, Some(1), None] {
            let mut buf = bufs.get().expect("they come home");
            buf.append(b"four");
            let frame = Frame::from(buf);
            frames.push(slab.state_mut(place), tag.map_or(Frame::new(), |tag| Frame::new().tagged(tag)));
            frames.push(slab.state_mut(place), frame);
        }
        frames.written(&limits, slab.state_mut(place), id, 12);
        while frames.next_report(&limits, &mut slab).is_some() {}
    };
    round();
    assert_eq!(HEAP.during(|| (0..1_000).for_each(|_| round())), Heap::default());
}
