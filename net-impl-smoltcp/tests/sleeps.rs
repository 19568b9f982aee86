//! How long a core may sleep whose group waits for what nobody announces.

mod common;

use std::iter::from_fn;
use std::task::Waker;
use std::time::Duration;

use common::host::{Host, config, pair, until};
use common::wire::{Weather, wire};
use core_reactor::Platform;
use core_reactor::net::NetEvent;
use core_reactor::sim::SimPlatform;
use pool::{BufGroup, Class};

const MS: Duration = Duration::from_millis(1);

/// A pool that takes no more requests does not tell when it does. Nor does a later time, at which
/// somebody may be ended whose peer takes nothing, stand before that.
#[test]
fn s104_a_core_is_awake_in_time_to_ask_again_for_a_buffer() {
    let platform = SimPlatform::new(1);
    let [near, far] = wire(Weather::CALM);
    let bufs = BufGroup::new(8, 2048);
    let mut one = Host::new(&platform, near, &config(1));
    let mut two = Host::with(&platform, far, &config(2), |group| {
        (group.bufs, group.stall_limit) = (bufs.clone(), Some(Duration::from_secs(3600)));
    });
    let (id, _) = pair(&platform, &mut one, &mut two);
    let held: Vec<_> = from_fn(|| bufs.get()).collect();
    let others: Vec<_> = from_fn(|| bufs.request(Class::Small, 1, 0, Waker::noop()).ok()).collect();
    one.send(id, b"!");
    let mut polls = 0;
    until(&platform, [&mut one, &mut two], Duration::from_secs(60), "a silent second", |_, two| {
        polls += u32::from(two.group.stats().buffer_waits > 0);
        polls > 1000
    });
    let sleep = |host: &mut Host| {
        let (now, at) = (platform.now(), host.thread.next_deadline().expect("it would sleep for good"));
        assert!(at > now && at.since(now) <= 10 * MS, "{:?} of sleep", at.since(now));
        platform.advance(MS);
        host.poll();
        assert_eq!(host.thread.next_deadline(), Some(at), "who is awake before does not put it off");
        platform.advance(at.since(platform.now()));
        host.poll();
    };
    two.poll();
    (0..3).for_each(|_| sleep(&mut two));
    drop((held, others));
    sleep(&mut two);
    let heard = two.pick(|event| match event {
        NetEvent::Received { buf, .. } => Ok(buf.to_vec()),
        other => Err(other),
    });
    assert_eq!(heard.as_deref(), Some(&b"!"[..]));
}
