//! An echo server that ends silent connections, and drains on SIGTERM.
//!
//! It shows a deadline for each connection, which whatever comes pushes forward, for the price of a
//! comparison; and an end in good order: nobody new is let in, what is owed is sent, and who takes
//! it too slowly is cut off. `tests/examples.rs` runs `serve` on a simulated clock.
//!
//! ```sh
//! cargo run --release -p lcore --example timeouts -- --idle 5 --drain 2
//! ```

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use lcore::clap::{self, Parser};
use lcore::net::{Events, GroupConfig, NetEvent, SockGroup, SockId, SockMap, SockOptions, Token};
use lcore::pool::BufGroup;
use lcore::{App, AppHandle, AppOptions, Cx, Deadlines, Instant, Polled, Schedule, ThreadLibOptions};

/// Connections at a time, beside the listener.
const SOCKETS: usize = 1024;

/// An echo server that waits for nobody for ever.
#[derive(Parser)]
pub(crate) struct Args {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:9999")]
    pub(crate) at: SocketAddr,
    /// Seconds of silence after which a connection is ended.
    #[arg(long, default_value_t = 30)]
    pub(crate) idle: u32,
    /// Seconds that the end may take to send what is owed.
    #[arg(long, default_value_t = 5)]
    pub(crate) drain: u32,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("timeouts") {
        Ok(args) => args,
        Err(code) => return code,
    };
    // A thread that does not end by itself is ended after this limit, so it is the longer one.
    let threads = ThreadLibOptions::default().exit_limit(Duration::from_secs(u64::from(args.drain) + 5));
    App::new("timeouts").options(args.app.clone()).threads(threads).network().run(move |cx, app| {
        let at = serve(cx, app, &args)?;
        app.println(format_args!("listens at {at}"));
        Ok(())
    })
}

/// Begins to serve; tells where it listens.
pub(crate) fn serve(cx: &mut Cx<'_>, app: &AppHandle, args: &Args) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    let mut group = app.net().group(cx, GroupConfig::new(BufGroup::new(256, 16 << 10)).sockets(SOCKETS + 1))?;
    let listener = app.net().listen(args.at, &SockOptions::default())?;
    let at = listener.local_addr()?;
    let listener = group.attach(listener, Token(0))?;
    let [idle, drain] = [args.idle, args.drain].map(|seconds| Duration::from_secs(seconds.into()));
    // A fiftieth of the time-out is as exact as it needs to be.
    let tick = (idle / 50).max(Duration::from_millis(1));
    let deadlines = Deadlines::new(SOCKETS + 1, tick);
    let server = Server { group, listener, connections: SockMap::new(), deadlines, idle, drain, leave_by: None };
    let (server, mut events) = (Rc::new(RefCell::new(server)), Events::new(64));
    // A core without work sleeps, and silence wakes nobody: that takes a timer of its own. It must
    // not keep the group, for which the thread's end waits.
    let timed = Rc::downgrade(&server);
    cx.local_poller("time-outs", Schedule::Every(tick), move |cx: &mut Cx<'_>| match timed.upgrade() {
        Some(server) => server.borrow_mut().end_silent(cx.now()),
        None => Polled::Done,
    });
    cx.local_poller("echo", Schedule::WhenAwake, move |cx: &mut Cx<'_>| server.borrow_mut().poll(cx, &mut events));
    Ok(at)
}

struct Server {
    group: Box<dyn SockGroup>,
    listener: SockId,
    connections: SockMap<()>,
    /// By the slot of a connection in its group.
    deadlines: Deadlines,
    idle: Duration,
    drain: Duration,
    /// Set when the end has begun.
    leave_by: Option<Instant>,
}

impl Server {
    fn poll(&mut self, cx: &mut Cx<'_>, events: &mut Events) -> Polled {
        let found = self.group.poll(events);
        events.drain().for_each(|event| self.handle(event, cx.now()));
        if cx.is_exiting() && self.leave_by.is_none() {
            self.begin_end(cx);
        }
        match self.leave_by {
            // Dropped, the group closes what is left.
            Some(by) if self.group.stats().unsent == 0 || cx.now() >= by => Polled::Done,
            _ if found == 0 => Polled::Idle,
            _ => Polled::Busy,
        }
    }

    fn handle(&mut self, event: NetEvent, now: Instant) {
        match event {
            NetEvent::Accepted { socket, .. } => {
                if let (None, Ok(id)) = (self.leave_by, self.group.attach(socket, Token(0))) {
                    self.connections.insert(id, ());
                    self.deadlines.set(id.index(), now + self.idle);
                }
            }
            NetEvent::Received { id, buf, .. } => {
                self.deadlines.set(id.index(), now + self.idle);
                // After `shutdown` nothing is owed any more for what comes.
                if self.group.send(id, buf.into()).is_err() && self.leave_by.is_none() {
                    let _ = self.group.abort(id);
                }
            }
            NetEvent::PeerClosed { id, .. } => drop(self.group.shutdown(id)),
            NetEvent::Closed { id, .. } if self.connections.remove(id).is_some() => self.deadlines.clear(id.index()),
            _ => {}
        }
    }

    /// Ends those whose deadline has passed: also one that takes no answers, whose bytes are lost.
    fn end_silent(&mut self, now: Instant) -> Polled {
        let mut polled = Polled::Idle;
        while let Some(slot) = self.deadlines.pop_expired(now) {
            if let Some(id) = self.connections.key_at(slot) {
                let _ = self.group.close(id);
                polled = Polled::Busy;
            }
        }
        polled
    }

    /// Nobody comes any more; everybody hears the end behind what is owed.
    fn begin_end(&mut self, cx: &mut Cx<'_>) {
        self.leave_by = Some(cx.now() + self.drain);
        // By then this core must be awake, whether or not anything happens.
        cx.after(self.drain, |_| {});
        let _ = self.group.close(self.listener);
        for (id, ()) in self.connections.iter() {
            let _ = self.group.shutdown(id);
        }
    }
}
