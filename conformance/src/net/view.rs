//! What is seen of a group from outside of the poller that owns it.

use std::net::SocketAddr;

use core_reactor::net::Token;

use super::{Driver, Env};

/// Told in the poll that follows a question, and only as much as is asked for.
pub fn s216_a_group_tells_who_looks_what_it_has(env: &Env) {
    let mut driver = Driver::new(env);
    let (_, at) = driver.listen();
    let (id, _peer) = driver.accept_from(at, Token(7));
    let view = driver.view().expect("a group is listed with its thread");
    driver.turns(2);
    assert_eq!(view.seen().stats.polls, 0, "nobody has asked");

    view.ask(0);
    driver.until("the figures", |_| view.seen().stats.polls > 0);
    let seen = view.seen();
    assert_eq!((view.backend(), seen.stats.sockets, seen.stats.accepted, seen.sockets.len()), (env.backend.name(), 2, 1, 0));

    driver.group().pause(id).expect("it is there");
    view.ask(64);
    driver.until("the sockets", |_| !view.seen().sockets.is_empty());
    let told = |token| view.seen().sockets.into_iter().find(|socket| socket.token == token).expect("it is told");
    let (listener, stream) = (told(super::driver::LISTENER), told(Token(7)));
    let addresses: (SocketAddr, Option<SocketAddr>) = driver.group().addresses(id).expect("it is there");
    assert_eq!((stream.state, stream.local, stream.peer, stream.is_paused), ("open", Some(addresses.0), addresses.1, true));
    assert_eq!((listener.state, listener.local, listener.peer, listener.is_paused), ("listening", Some(at), None, false));

    view.ask(1);
    driver.until("one of the two", |_| view.seen().sockets.len() == 1);
    drop(driver);
    assert_eq!(std::sync::Arc::strong_count(&view), 1, "it goes with its group");
}
