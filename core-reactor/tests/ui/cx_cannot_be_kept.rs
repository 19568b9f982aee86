//! A `Cx` is lent for one run.

use core_reactor::{Cx, Thread};

fn out_of_a_run(mut thread: Thread) {
    let mut kept: Option<&mut Cx<'_>> = None;
    thread.with(|cx| kept = Some(cx));
}

fn for_another(mut one: Thread, mut two: Thread) {
    one.with(|first| two.with(|second| std::mem::swap(first, second)));
}

fn main() {}
