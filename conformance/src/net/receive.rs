//! Statement 17: receiving.

use std::io::Write;

use core_reactor::net::Token;

use super::{Driver, Env, peer};

/// The first thing that a network is for.
pub fn s17_an_echo_comes_back(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    far.write_all(b"hello").expect("sent");
    let heard = driver.receive(id, 5);
    driver.send(id, &heard);
    driver.turns(1);
    assert_eq!(peer::read(&mut far, 5), b"hello");
}
