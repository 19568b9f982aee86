//! Peers that do nothing wrong, and must be served throughout.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::field::Field;
use crate::peer;

/// The largest message, and what a peer of the other kind streams in one life.
const MESSAGE: u64 = 64 << 10;
const STREAM: u64 = 4 << 20;

/// One peer from the beginning to the end of the field: connection after connection.
pub(crate) fn run(field: &Field, mut rng: Rng) -> Result<()> {
    while !field.is_over() {
        let (stream, of) = (connect(field, &mut rng)?, rng.u64(..));
        if rng.u8(..) < 32 { bulk(field, &stream, of, &mut rng)? } else { messages(field, &stream, of, &mut rng)? }
    }
    Ok(())
}

/// Connects and has a first echo, while no phase keeps the server from taking connections.
fn connect(field: &Field, rng: &mut Rng) -> Result<TcpStream> {
    let _may = field.may_connect();
    let began = field.clock.now();
    let stream = peer::connect(field, rng, None)?;
    peer::echo(field, &stream, 0, 0, 1).context("the first echo of a connection")?;
    field.served(began)?;
    Ok(stream)
}

/// Messages one after the other, each echo measured.
fn messages(field: &Field, stream: &TcpStream, of: u64, rng: &mut Rng) -> Result<()> {
    let (mut at, echoes) = (0, rng.usize(1..400));
    for _ in 0..echoes {
        let (bytes, began) = (peer::size(rng, MESSAGE), field.clock.now());
        peer::echo(field, stream, of, at, bytes)?;
        field.served(began)?;
        at += bytes;
        if field.is_over() {
            break;
        }
        // People's pace, so that the machine has time for the faults.
        thread::sleep(Duration::from_micros(rng.u64(0..10_000)));
    }
    peer::finish(field, stream, of, at, at)
}

/// A stream both ways at once.
fn bulk(field: &Field, stream: &TcpStream, of: u64, rng: &mut Rng) -> Result<()> {
    let all = peer::size(rng, STREAM);
    peer::both_ways(field, stream, of, all)?;
    peer::finish(field, stream, of, all, all)
}
