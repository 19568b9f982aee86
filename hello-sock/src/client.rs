//! The client: standard input goes to the server, what comes back goes to standard output.
//!
//! Both may block for any time (a pipe, a terminal, a disk), so each has an operating system's thread of its own; bounded queues lie between them and
//! the reactor, and an empty message wakes it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use lcore::net::{Events, Frame, GroupConfig, NetError, NetEvent, SockGroup, SockId, SockOptions, Token};
use lcore::pool::BufGroup;
use lcore::{App, AppHandle, Cx, Polled, Schedule, ThreadHandle};
use serde_json::json;

use crate::args::Args;
use crate::report_head;

/// Bytes of a piece of input, and pieces that each queue holds.
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

pub(crate) fn run(app: App, args: Args, to: SocketAddr) -> ExitCode {
    app.run(move |cx, app| {
        log::info!("Connecting to the server on {to} with sock_impl({})", app.net().name());
        let mut config = GroupConfig::new(BufGroup::new(256, 16 << 10));
        // What comes back must be read however much is still to be sent: the server waits for that.
        (config.sockets, config.hold_reads_at) = (1, usize::MAX);
        let mut group = app.net().group(cx, config)?;
        let id = group.attach(app.net().connect(&[to], &SockOptions::default())?, Token(0)).map_err(|r| r.why)?;
        let mut client = Client::new(group, id, &cx.handle());
        if let Some(time) = args.seconds {
            let app = app.clone();
            cx.poller("time", Schedule::Every(time), move |_: &mut Cx<'_>| {
                app.stop(0);
                Polled::Done
            });
        }
        let (app, mut events) = (app.clone(), Events::new(64));
        cx.local_poller("client", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            let busy = client.poll(&mut events);
            match client.outcome.take() {
                Some(outcome) => client.finish(outcome, &app, &args),
                None if !cx.is_exiting() => return if busy { Polled::Busy } else { Polled::Idle },
                None => {}
            }
            Polled::Done
        });
        Ok(())
    })
}

struct Client {
    group: Box<dyn SockGroup>,
    id: SockId,
    input: Receiver<io::Result<Vec<u8>>>,
    /// The piece that is being sent, from this byte on.
    piece: Option<(Vec<u8>, usize)>,
    /// A frame that the socket had no room for.
    refused: Option<Frame>,
    output: Option<Output>,
    connected: bool,
    ended: bool,
    sent: u64,
    received: u64,
    outcome: Option<Result<(), Box<dyn std::error::Error>>>,
}

impl Client {
    fn new(group: Box<dyn SockGroup>, id: SockId, me: &ThreadHandle) -> Self {
        let (input, output) = (read_input(me.clone()), Some(Output::new(me.clone())));
        let (piece, refused, outcome) = (None, None, None);
        Self { group, id, input, piece, refused, output, connected: false, ended: false, sent: 0, received: 0, outcome }
    }

    /// One poll; tells whether anything moved.
    fn poll(&mut self, events: &mut Events) -> bool {
        let got = self.group.poll(events);
        for event in events.drain() {
            match event {
                NetEvent::Connected { .. } => self.connected = true,
                NetEvent::Received { buf, .. } => {
                    self.received += buf.len() as u64;
                    if let Some(out) = &mut self.output {
                        out.queue.push_back(buf.to_vec());
                    }
                }
                NetEvent::Closed { why, .. } => self.closed(why),
                _ => {}
            }
        }
        let written = self.write();
        let sent = self.connected && self.send();
        got > 0 || written || sent
    }

    /// Passes output on; while it is stuck the socket is not read.
    fn write(&mut self) -> bool {
        let Some(out) = &mut self.output else { return false };
        let was_stuck = out.is_stuck();
        let moved = match out.push() {
            Ok(moved) => moved,
            Err(why) => {
                self.outcome.get_or_insert(Err(why));
                return true;
            }
        };
        // The key is stale once the connection has ended; then there is nothing to hold back.
        let _ = match (was_stuck, self.output.as_ref().is_some_and(Output::is_stuck)) {
            (false, true) => self.group.pause(self.id),
            (true, false) => self.group.resume(self.id),
            _ => Ok(()),
        };
        moved
    }

    /// Sends input while the socket takes it; at its end the FIN follows the last byte.
    fn send(&mut self) -> bool {
        let mut moved = false;
        while !self.ended && self.outcome.is_none() {
            if let Some(frame) = self.refused.take() {
                match self.group.send(self.id, frame) {
                    Ok(()) => moved = true,
                    Err(refused) => {
                        self.refused = matches!(refused.why, NetError::SendLimit { .. }).then_some(refused.item);
                        break;
                    }
                }
            }
            if self.piece.is_none() && !self.next_piece() {
                break;
            }
            let Some((bytes, from)) = &mut self.piece else { continue };
            let Some(mut buf) = self.group.buffer() else { break };
            let n = buf.append(&bytes[*from..]);
            *from += n;
            self.sent += n as u64;
            if *from == bytes.len() {
                self.piece = None;
            }
            self.refused = Some(Frame::from(buf));
        }
        moved
    }

    /// Takes the next piece of input; false if there is none now.
    fn next_piece(&mut self) -> bool {
        match self.input.try_recv() {
            Ok(Ok(bytes)) => self.piece = Some((bytes, 0)),
            Ok(Err(why)) => self.outcome = Some(Err(format!("read standard input: {why}").into())),
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                // A stale key means that the connection has ended, which `Closed` tells.
                let _ = self.group.shutdown(self.id);
            }
        }
        true
    }

    fn closed(&mut self, why: Option<NetError>) {
        let outcome = match why {
            Some(why) => Err(why.into()),
            None if self.ended && self.received == self.sent => Ok(()),
            None => Err(format!("the server closed the connection: {} of {} bytes came back", self.received, self.sent).into()),
        };
        self.outcome.get_or_insert(outcome);
    }

    /// Lets the output drain, reports and stops.
    fn finish(&mut self, outcome: Result<(), Box<dyn std::error::Error>>, app: &AppHandle, args: &Args) {
        let flushed = self.output.take().map_or(Ok(()), Output::finish);
        if args.verbose {
            log::info!("{} bytes out, {} bytes in", self.sent, self.received);
        }
        if args.json {
            let mut head = report_head(app, "client");
            head["bytes_out"] = json!(self.sent);
            head["bytes_in"] = json!(self.received);
            println!("{head}");
        }
        match outcome.and(flushed) {
            Ok(()) => app.stop(0),
            Err(why) => app.fail(&*why),
        }
    }
}

/// Reads standard input in pieces until its end.
fn read_input(wake: ThreadHandle) -> Receiver<io::Result<Vec<u8>>> {
    let (send, receive) = sync_channel(PIECES);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut piece = vec![0; PIECE];
            let outcome = match input.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => {
                    piece.truncate(n);
                    Ok(piece)
                }
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => Err(why),
            };
            let failed = outcome.is_err();
            if send.send(outcome).is_err() {
                break;
            }
            nudge(&wake);
            if failed {
                break;
            }
        }
        drop(send);
        nudge(&wake);
    });
    receive
}

/// Wakes the reactor. A full mailbox means that it is awake, an ended thread that nobody is interested.
fn nudge(thread: &ThreadHandle) {
    let _ = thread.send(|_| {});
}

/// Standard output behind a queue.
struct Output {
    queue: VecDeque<Vec<u8>>,
    send: SyncSender<Vec<u8>>,
    writer: JoinHandle<io::Result<()>>,
}

impl Output {
    fn new(wake: ThreadHandle) -> Self {
        let (send, receive) = sync_channel::<Vec<u8>>(PIECES);
        let writer = thread::spawn(move || {
            let mut output = io::stdout().lock();
            for piece in receive {
                output.write_all(&piece)?;
                output.flush()?;
                nudge(&wake);
            }
            Ok(())
        });
        Self { queue: VecDeque::new(), send, writer }
    }

    fn is_stuck(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Hands over what the writer has room for; tells whether that was anything.
    fn push(&mut self) -> Result<bool, Box<dyn std::error::Error>> {
        let mut moved = false;
        while let Some(piece) = self.queue.pop_front() {
            match self.send.try_send(piece) {
                Ok(()) => moved = true,
                Err(TrySendError::Full(piece)) => {
                    self.queue.push_front(piece);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => return Err("standard output was closed".into()),
            }
        }
        Ok(moved)
    }

    /// Writes what is left. Blocks: there is nothing else to do any more.
    fn finish(self) -> Result<(), Box<dyn std::error::Error>> {
        for piece in self.queue {
            if self.send.send(piece).is_err() {
                break;
            }
        }
        drop(self.send);
        match self.writer.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(format!("write standard output: {why}").into()),
            Err(_) => Err("the writer of standard output panicked".into()),
        }
    }
}
