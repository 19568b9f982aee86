//! epoll, level-triggered, with one send and one receive for each batch of a connection's messages.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use super::BUFFER;
use crate::connections::Connections;
use crate::run::Run;

/// Events taken from one look.
const BATCH: usize = 512;

pub(crate) fn run(connections: &mut Connections, run: &mut Run) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("could not make an epoll set")?;
    for (index, socket) in connections.sockets.iter().enumerate() {
        epoll::add(&epoll, socket, EventData::new_u64(index as u64), EventFlags::IN).context("could not add to the epoll set")?;
    }
    let waits = vec![false; connections.sockets.len()];
    let mut engine = Engine { epoll, connections, waits, buf: vec![0; BUFFER] };
    run.begin(engine.connections.busy())?;
    for index in engine.connections.busy() {
        engine.send(run, index)?;
    }
    let mut events = Vec::with_capacity(BATCH);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        events.clear();
        match epoll::wait(&engine.epoll, rustix::buffer::spare_capacity(&mut events), Some(&at_once)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("could not wait for events"),
        }
        let mut now = run.now();
        for event in &events {
            now = engine.ready(run, event.data.u64() as usize)?;
        }
        if !run.goes_on(now, events.len())? {
            return Ok(());
        }
    }
}

struct Engine<'a> {
    epoll: OwnedFd,
    connections: &'a mut Connections,
    /// Connections that have more to send than they could take.
    waits: Vec<bool>,
    buf: Vec<u8>,
}

impl Engine<'_> {
    /// Takes in what is there and sends what is to be sent; returns the time.
    fn ready(&mut self, run: &mut Run, index: usize) -> Result<u64> {
        match self.connections.sockets[index].read(&mut self.buf) {
            Ok(0) => bail!("the server closed connection {index}"),
            Ok(n) => {
                // Read for each message: a batch of many connections takes longer than the latency
                // of one.
                let now = run.now();
                run.streams.received(index, &self.buf[..n], now)?;
                self.send(run, index)?;
                Ok(now)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.send(run, index)?;
                Ok(run.now())
            }
            Err(e) => Err(e).with_context(|| format!("the server broke connection {index}")),
        }
    }

    fn send(&mut self, run: &mut Run, index: usize) -> Result<()> {
        let unsent = run.streams.unsent(index);
        if unsent.is_empty() {
            return Ok(());
        }
        let (all, socket) = (unsent.len(), &mut self.connections.sockets[index]);
        let sent = match socket.write(unsent) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(e) => return Err(e).with_context(|| format!("the server broke connection {index}")),
        };
        run.streams.sent(index, sent);
        if self.waits[index] != (sent < all) {
            let more = if sent < all { EventFlags::OUT } else { EventFlags::empty() };
            epoll::modify(&self.epoll, &*socket, EventData::new_u64(index as u64), EventFlags::IN | more)?;
            self.waits[index] = sent < all;
        }
        Ok(())
    }
}
