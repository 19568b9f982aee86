//! A poller that is not `Send` has to say that it pins its thread (`local_poller`).

use std::rc::Rc;

use core_reactor::{Cx, Polled, Schedule};

fn register(cx: &mut Cx<'_>) {
    let here = Rc::new(());
    cx.poller("here", Schedule::Always, move |_: &mut Cx<'_>| {
        let _ = &here;
        Polled::Idle
    });
}

fn main() {}
