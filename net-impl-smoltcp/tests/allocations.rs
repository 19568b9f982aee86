//! Nothing is allocated per echo. A program of its own, because its heap counts.

mod common;

use std::time::Duration;

use common::host::{pair, two};
use common::wire::Weather;
use conformance::heap::CountingHeap;
use core_reactor::net::NetEvent;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap;

#[test]
fn s17_s18_nothing_is_allocated_per_echo() {
    let (platform, mut one, mut two) = two(Weather::CALM);
    let (near, _) = pair(&platform, &mut one, &mut two);
    let mut round = |len: usize| {
        let frame = one.frame(&[7; 2048][..len]).expect("a buffer");
        let frame = if len.is_multiple_of(2) { frame.tagged(1) } else { frame };
        one.group.send(near, frame).map_err(|refused| refused.why).expect("it is taken");
        let mut heard = 0;
        while heard < len {
            one.poll();
            two.poll();
            for event in two.seen.drain(..) {
                if let NetEvent::Received { id, buf, .. } = event {
                    two.group.send(id, buf.into()).map_err(|refused| refused.why).expect("it is taken");
                }
            }
            for event in one.seen.drain(..) {
                if let NetEvent::Received { buf, .. } = event {
                    heard += buf.len();
                }
            }
            platform.advance(Duration::from_millis(1));
        }
    };
    (1..300).for_each(|n| round(1 + n * 7 % 2048));
    let spent = HEAP.during(|| (1..1000).for_each(|n| round(1 + n * 7 % 2048)));
    assert_eq!(spent.allocations, 0, "{spent:?}");
}
