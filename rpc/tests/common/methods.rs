//! Methods that tests call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use core_reactor::Cx;
use rpc::{Call, Method, NoParams, Phases, Reply};
use serde::Deserialize;

use super::Served;

/// Bytes of a big answer.
pub(crate) const BIG: usize = 100_000;

/// What the methods of one server share.
#[derive(Default)]
pub(crate) struct State {
    held: Mutex<Vec<Reply>>,
    counted: AtomicUsize,
    bigs: AtomicUsize,
}

pub(crate) fn count(served: &Served) -> usize {
    // The call comes after all that were sent before.
    let _ = served.call("framework_wait_init");
    counted(&served.state)
}

pub(crate) fn counted(state: &State) -> usize {
    state.counted.load(Ordering::SeqCst)
}

pub(crate) fn bigs(served: &Served) -> usize {
    bigs_of(&served.state)
}

pub(crate) fn bigs_of(state: &State) -> usize {
    state.bigs.load(Ordering::SeqCst)
}

/// How many calls wait to be released.
pub(crate) fn held(served: &Served) -> usize {
    served.state.held.lock().unwrap().len()
}

/// The calls that wait to be released.
pub(crate) fn take_held(state: &State) -> Vec<Reply> {
    std::mem::take(&mut *state.held.lock().unwrap())
}

fn state(call: &Call) -> Arc<State> {
    call.control().service().expect("it was given")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    say: String,
}

rpc::register!(Method::new("test_echo", "Says it again", |_, call| call.answer(|it: Say| Ok(it.say))).aliases(&["test_old_name"]));

rpc::register!(Method::new("test_later", "Answers when it is released", |_, call| {
    let state = state(&call);
    if let Some((NoParams, reply)) = call.open() {
        state.held.lock().unwrap().push(reply);
    }
}));

rpc::register!(Method::new("test_release", "Releases those", |_, call| {
    let held = take_held(&state(&call));
    // From another thread, as answers may come.
    std::thread::spawn(move || held.into_iter().for_each(|reply| reply.send(Ok("released"))));
    call.answer(|NoParams| Ok(true));
}));

rpc::register!(Method::new("test_dropped", "Gives no answer", |_, _| {}));

rpc::register!(Method::new("test_count", "Counts", |_, call| {
    let state = state(&call);
    call.answer(|NoParams| Ok(state.counted.fetch_add(1, Ordering::SeqCst)));
}));

rpc::register!(Method::new("test_big", "Says much", |_, call| {
    let state = state(&call);
    call.answer(|NoParams| {
        state.bigs.fetch_add(1, Ordering::SeqCst);
        Ok("x".repeat(BIG))
    });
}));

rpc::register!(Method::new("test_start_only", "Is for the start", |_, call| call.answer(|NoParams| Ok(true))).phases(Phases::Startup));

rpc::register!(
    Method::new("test_run", "Ends the start", |_, call| {
        call.control().run();
        call.answer(|NoParams| Ok(true));
    })
    .phases(Phases::Any)
);

rpc::register!(Method::new("test_stop", "Stops the reactors", |cx, call| {
    cx.lib().stop();
    call.answer(|NoParams| Ok(true));
}));

rpc::register!(Method::new("test_parks", "How often its core has slept", parks));

fn parks(cx: &mut Cx<'_>, call: Call) {
    let parks = Arc::new(AtomicUsize::new(0));
    let found = parks.clone();
    let Some((NoParams, reply)) = call.open() else { return };
    cx.for_each_core(
        move |reactor| found.store(reactor.stats().parks as usize, Ordering::SeqCst),
        move |_| reply.send(Ok(parks.load(Ordering::SeqCst))),
    );
}
