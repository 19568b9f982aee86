//! A `Cx` is lent for one run.

use core_reactor::{Cx, Polled, Schedule, Thread};

fn out_of_a_run(mut thread: Thread) {
    let mut kept: Option<&mut Cx<'_>> = None;
    thread.with(|cx| kept = Some(cx));
}

fn in_a_poller(cx: &mut Cx<'_>) {
    let mut kept: Option<&'static mut Cx<'static>> = None;
    cx.local_poller("keeps", Schedule::Always, move |cx: &mut Cx<'_>| {
        kept = Some(cx);
        Polled::Idle
    });
}

fn for_another(mut one: Thread, mut two: Thread) {
    one.with(|first| two.with(|second| std::mem::swap(first, second)));
}

fn main() {}
