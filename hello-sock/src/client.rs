//! The client: standard input goes to the server, what comes back goes to standard output.
//!
//! Both may block for any time (a pipe, a terminal, a disk), so each has an operating system's
//! thread of its own; bounded queues lie between them and the reactor, and an empty message wakes
//! it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

use lcore::net::{Events, Frame, GroupConfig, NetError, NetEvent, SockGroup, SockId, SockOptions, Token};
use lcore::platform::{stdin, stdout};
use lcore::pool::BufGroup;
use lcore::{App, AppHandle, Cx, PlatformError, Polled, Schedule, ThreadHandle, spawn_off_reactor};
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
        (config.sockets, config.hold_reads_at, config.stall_limit) = (1, usize::MAX, None);
        let mut group = app.net().group(cx, config)?;
        let id = group.attach(app.net().connect(&[to], &SockOptions::default())?, Token(0))?;
        let mut client = Client::new(group, id, &cx.handle())?;
        if let Some(time) = args.seconds {
            let app = app.clone();
            cx.after(time, move |_| app.stop(0));
        }
        let (app, mut events) = (app.clone(), Events::new(64));
        cx.local_poller("client", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            let busy = client.poll(&mut events);
            if cx.is_exiting() {
                client.stopped(to);
            }
            if client.has_written_all() {
                client.finish(&app, &args);
                return Polled::Done;
            }
            if busy { Polled::Busy } else { Polled::Idle }
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
    output: Output,
    /// The socket is not read, because the output is stuck.
    paused: bool,
    connected: bool,
    ended: bool,
    sent: u64,
    received: u64,
    /// Set at the end of the connection; what had come by then is still written.
    outcome: Option<Outcome>,
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

impl Client {
    fn new(group: Box<dyn SockGroup>, id: SockId, me: &ThreadHandle) -> Result<Self, PlatformError> {
        let (input, output) = (read_input(me.clone())?, Output::new(me.clone())?);
        let (piece, refused, outcome) = (None, None, None);
        Ok(Self { group, id, input, piece, refused, output, paused: false, connected: false, ended: false, sent: 0, received: 0, outcome })
    }

    /// One poll; tells whether anything moved.
    fn poll(&mut self, events: &mut Events) -> bool {
        let got = if self.outcome.is_none() { self.group.poll(events) } else { 0 };
        for event in events.drain() {
            match event {
                NetEvent::Connected { .. } => self.connected = true,
                NetEvent::Received { buf, .. } => {
                    self.received += buf.len() as u64;
                    self.output.queue.push_back(buf.to_vec());
                }
                // An echo server ends its side after us: there is nothing to wait for either way.
                NetEvent::PeerClosed { .. } => self.closed(None),
                NetEvent::Closed { why, .. } => self.closed(why),
                _ => {}
            }
        }
        let written = self.output.push();
        self.hold_back();
        let sent = self.connected && self.send();
        got > 0 || written || sent
    }

    /// While output is stuck the socket is not read.
    fn hold_back(&mut self) {
        let stuck = !self.output.queue.is_empty();
        if stuck != self.paused {
            self.paused = stuck;
            // The key is stale once the connection has ended; then there is nothing to hold back.
            let _ = if stuck { self.group.pause(self.id) } else { self.group.resume(self.id) };
        }
    }

    /// Whether the connection has ended and all that came is written, or nothing can be written any
    /// more.
    fn has_written_all(&mut self) -> bool {
        if self.outcome.is_some() && self.output.queue.is_empty() {
            self.output.send = None;
        }
        match self.output.ended.try_recv() {
            Ok(Ok(())) => true,
            Ok(Err(why)) => {
                self.outcome = Some(Err(format!("write standard output: {why}").into()));
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => {
                self.outcome = Some(Err("the writer of standard output panicked".into()));
                true
            }
        }
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

    /// Somebody wants us to end: the time is up, or a signal came.
    fn stopped(&mut self, to: SocketAddr) {
        let never = || Err(format!("it was ended before the connection to {to} had come up").into());
        let connected = self.connected;
        self.outcome.get_or_insert_with(|| if connected { Ok(()) } else { never() });
    }

    /// Reports and stops.
    fn finish(&mut self, app: &AppHandle, args: &Args) {
        if args.verbose {
            log::info!("{} bytes out, {} bytes in", self.sent, self.received);
        }
        let outcome = self.outcome.take().unwrap_or(Ok(()));
        if args.json {
            let mut head = report_head(app, "client");
            head["bytes_out"] = json!(self.sent);
            head["bytes_in"] = json!(self.received);
            app.println(head);
        }
        match outcome {
            Ok(()) => app.stop(0),
            Err(why) => app.fail(&*why),
        }
    }
}

/// Reads standard input in pieces until its end.
fn read_input(wake: ThreadHandle) -> Result<Receiver<io::Result<Vec<u8>>>, PlatformError> {
    let (send, receive) = sync_channel(PIECES);
    let input = stdin()?;
    spawn_off_reactor("input", move || {
        let mut input = input.lock();
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
    })?;
    Ok(receive)
}

/// Wakes the reactor. A full mailbox means that it is awake, an ended thread that nobody is
/// interested.
fn nudge(thread: &ThreadHandle) {
    let _ = thread.send(|_| {});
}

/// Standard output behind a queue.
struct Output {
    queue: VecDeque<Vec<u8>>,
    /// Taken away when nothing more will come.
    send: Option<SyncSender<Vec<u8>>>,
    /// How the writer ended.
    ended: Receiver<io::Result<()>>,
}

impl Output {
    fn new(wake: ThreadHandle) -> Result<Self, PlatformError> {
        let (send, receive) = sync_channel::<Vec<u8>>(PIECES);
        let (end, ended) = sync_channel(1);
        let output = stdout()?;
        spawn_off_reactor("output", move || {
            let write = |piece: Vec<u8>| {
                let mut output = output.lock();
                output.write_all(&piece).and_then(|()| output.flush())?;
                nudge(&wake);
                Ok(())
            };
            // The other end waits for this, unless it has been stopped by force.
            let _ = end.send(receive.into_iter().try_for_each(write));
            nudge(&wake);
        })?;
        Ok(Self { queue: VecDeque::new(), send: Some(send), ended })
    }

    /// Hands over what the writer has room for; tells whether that was anything.
    fn push(&mut self) -> bool {
        let mut moved = false;
        while let (Some(send), Some(piece)) = (&self.send, self.queue.pop_front()) {
            match send.try_send(piece) {
                Ok(()) => moved = true,
                Err(TrySendError::Full(piece)) => {
                    self.queue.push_front(piece);
                    break;
                }
                // The writer has ended, and tells why.
                Err(TrySendError::Disconnected(_)) => break,
            }
        }
        moved
    }
}
