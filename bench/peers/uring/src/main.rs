//! An echo server that is a bare io_uring loop: the most that the completion interface gives, and
//! so a limit for all that use it.
//!
//! Multishot accept and multishot receive out of a ring of few buffers; a received piece is sent
//! from where it lies and goes home when it is sent. One send at a time for each connection keeps
//! the order. All is one enter for a batch: it submits the sends and runs what has arrived.
// UNSAFETY: submitting an entry promises that its memory stays; the buffers do until the process
// ends.

mod queue;
mod server;

use anyhow::{Context, Result};
use bufring::BufRing;
use clap::Parser;
use peer_common::BUFFER;

use crate::queue::Queue;
use crate::server::Server;

#[derive(Parser)]
#[command(about = "A bare io_uring echo server.")]
struct Args {
    #[command(flatten)]
    common: peer_common::Args,
    /// Never sleep: look for completions all the time.
    #[arg(long)]
    busy: bool,
}

/// Buffers and their size: half of a second-level cache, so that what is received is sent from
/// there.
const BUFFERS: (u16, u32) = (32, BUFFER as u32);

fn main() -> Result<()> {
    let args = Args::parse();
    args.common.pin()?;
    let listener = args.common.listen()?;
    let mut ring = queue::ring()?;
    let (count, size) = BUFFERS;
    let buffers = BufRing::register(&ring.submitter(), 0, count, size).context("could not make a ring of buffers")?;
    Server::new(Queue::new(&mut ring), buffers, listener).run(args.busy)
}
