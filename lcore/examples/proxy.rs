//! A TCP proxy: what comes at one address goes to another, and back.
//!
//! It shows back-pressure in both directions (a side is not read while the other takes nothing),
//! half-closes that are passed on behind the last byte, and resets that are passed on as resets. In
//! which order events come is told by the table in the documentation of `lcore::net`.
//!
//! ```sh
//! cargo run --release -p lcore --example proxy -- 127.0.0.1:8000 127.0.0.1:9999
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitCode;

use lcore::net::{Events, Frame, GroupConfig, NetError, NetEvent, NetImpl, SockGroup, SockId, SockMap, SockOptions, Socket, Token};
use lcore::pool::BufGroup;
use lcore::{App, AppHandle, Cx, Polled, Schedule};

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    App::new("proxy").network().run(|cx, app| {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [at, to] = &args[..] else { return Err("two addresses are needed: where to listen, and where to connect to".into()) };
        let address = |text: &String| text.parse().map_err(|_| format!("{text:?} is no address with a port, such as 127.0.0.1:9999"));
        let at = serve(cx, app, address(at)?, address(to)?)?;
        app.println(format_args!("listens at {at}"));
        Ok(())
    })
}

/// Begins to serve; tells where it listens.
pub(crate) fn serve(cx: &mut Cx<'_>, app: &AppHandle, at: SocketAddr, to: SocketAddr) -> Result<SocketAddr, Failed> {
    // Of 1,024 buffers one socket holds 16 at most, so that a peer that does not read leaves most
    // of them to the others. What stops the reading is `forward`, which looks at the other side;
    // the group's own rule, which looks at the same socket, would be the wrong one.
    let config = GroupConfig::new(BufGroup::new(1024, 16 << 10)).send_frames(16).hold_reads_at(usize::MAX);
    let mut group = app.net().group(cx, config)?;
    let listener = app.net().listen(at, &SockOptions::default())?;
    let listens = listener.local_addr()?;
    group.attach(listener, Token(0))?;
    let mut proxy = Proxy { net: app.net(), to, group, sides: SockMap::new() };
    let mut events = Events::new(64);
    cx.local_poller("proxy", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
        if cx.is_exiting() {
            return Polled::Done;
        }
        let found = proxy.group.poll(&mut events);
        events.drain().for_each(|event| proxy.handle(event));
        if found == 0 { Polled::Idle } else { Polled::Busy }
    });
    Ok(listens)
}

struct Proxy {
    net: &'static dyn NetImpl,
    to: SocketAddr,
    group: Box<dyn SockGroup>,
    sides: SockMap<Side>,
}

/// One side of a connection that is passed on.
struct Side {
    other: SockId,
    /// What came from here and the other side had no room for. While there is something, this side
    /// is not read, so it is what one poll had brought already.
    held: VecDeque<Frame>,
    /// This side has ended, which the other hears behind `held`.
    ended: bool,
}

impl Proxy {
    fn handle(&mut self, event: NetEvent) {
        match event {
            NetEvent::Accepted { socket, .. } => self.accepted(socket),
            // Only now can anything be sent there.
            NetEvent::Connected { id, .. } => self.release(id),
            NetEvent::Received { id, buf, .. } => self.forward(id, buf.into()),
            NetEvent::Writable { id, .. } => self.release(id),
            NetEvent::PeerClosed { id, .. } => {
                if let Some(side) = self.sides.get_mut(id) {
                    side.ended = true;
                    self.pass_on(id);
                }
            }
            NetEvent::Closed { id, why, .. } => {
                // A side that ended in good order has passed that on. Bytes may be missing behind
                // any other end, so the other side must not take it for one.
                if let (Some(side), Some(_)) = (self.sides.remove(id), why) {
                    let _ = self.group.abort(side.other);
                }
            }
            _ => {}
        }
    }

    /// Connects for a client, which is not read before that has succeeded.
    fn accepted(&mut self, socket: Box<dyn Socket>) {
        let Ok(client) = self.group.attach(socket, Token(0)) else { return };
        let server = self.net.connect(&[self.to], &SockOptions::default()).and_then(|socket| Ok(self.group.attach(socket, Token(0))?));
        let Ok(server) = server else { return drop(self.group.abort(client)) };
        for (id, other) in [(client, server), (server, client)] {
            self.sides.insert(id, Side { other, held: VecDeque::new(), ended: false });
        }
        let _ = self.group.pause(client);
    }

    /// Sends what came from `id` to the other side, or holds it until there is room.
    fn forward(&mut self, id: SockId, frame: Frame) {
        let Some(side) = self.sides.get_mut(id) else { return };
        side.held.push_back(frame);
        self.pass_on(id);
    }

    /// There is room on side `id`: for what the other one holds.
    fn release(&mut self, id: SockId) {
        if let Some(side) = self.sides.get(id) {
            self.pass_on(side.other);
        }
    }

    /// Passes on what side `from` holds, as far as the other takes it, and then its end.
    fn pass_on(&mut self, from: SockId) {
        let Some(side) = self.sides.get_mut(from) else { return };
        while let Some(frame) = side.held.pop_front() {
            match self.group.send(side.other, frame) {
                Ok(()) => {}
                Err(refused) if matches!(refused.why, NetError::SendLimit { .. }) => {
                    side.held.push_front(refused.item);
                    let _ = self.group.pause(from);
                    return;
                }
                // The other side has just ended; its `Closed` ends this one.
                Err(_) => return,
            }
        }
        let _ = self.group.resume(from);
        if side.ended {
            let _ = self.group.shutdown(side.other);
        }
    }
}
