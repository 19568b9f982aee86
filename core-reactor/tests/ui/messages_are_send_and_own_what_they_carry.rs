//! A message may run on any core, long after its sender has returned.

use std::rc::Rc;

use core_reactor::{Cx, Msg, ThreadHandle};

fn not_send(to: &ThreadHandle) {
    let here = Rc::new(());
    let _ = to.send(move |_: &mut Cx<'_>| drop(here));
}

fn not_send_either() {
    let here = Rc::new(());
    drop(Msg::new(move |_: &mut Cx<'_>| drop(here)));
}

fn borrows(to: &ThreadHandle) {
    let local = 5;
    let _ = to.send(|_: &mut Cx<'_>| assert_eq!(local, 5));
}

fn main() {}
