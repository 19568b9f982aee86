//! Neither a poller nor a message nor a visit can turn what it runs on.

use core_reactor::{Cx, Instant, Polled, Reactor, Schedule, Thread};

fn a_poller_that_owns_its_thread(mut thread: Thread) {
    thread.with(|cx| {
        cx.local_poller("nested", Schedule::Always, move |_: &mut Cx<'_>| {
            thread.turn(Instant::ZERO);
            Polled::Busy
        });
    });
}

fn a_message_that_turns(cx: &mut Cx<'_>) {
    cx.turn(Instant::ZERO);
}

fn a_visit_that_turns(cx: &mut Cx<'_>) {
    cx.for_each_core(|reactor: &Reactor| drop(reactor.turn()), |_: &mut Cx<'_>| {});
}

fn main() {}
