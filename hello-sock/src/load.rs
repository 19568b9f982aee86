//! The load generator: keeps a number of messages on the way on each of many connections, and
//! verifies every byte that comes back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use hdrhistogram::Histogram;
use lcore::net::{Events, Frame, GroupConfig, NetError, NetEvent, SockGroup, SockId, SockOptions, Token};
use lcore::pool::BufGroup;
use lcore::{App, AppHandle, Cx, Instant, Polled, Schedule};
use serde_json::json;

use crate::args::{Args, Load};
use crate::pattern::Pattern;
use crate::{report_head, room};

/// How long nothing may come back when the time is up and something is still on the way; and, on
/// top of the load's own time, how long no connection may come up while some are still to.
const GRACE: Duration = Duration::from_secs(2);
/// Connections that are begun in one go.
const CONNECTS: usize = 256;
/// Buffers for sending and for receiving, and their size. They are apart: were all of them waiting
/// to be sent, nothing could be read, and a server that waits for that would take nothing more.
const SEND_BUFS: usize = 1024;
const RECEIVE_BUFS: usize = 512;
const BUF_SIZE: usize = 16 << 10;

pub(crate) fn run(app: App, args: Args, to: SocketAddr, load: Load) -> ExitCode {
    app.run(move |cx, app| {
        log::info!("Connecting {} times to the server on {to} with sock_impl({})", load.connections, app.net().name());
        let each = GroupConfig::BYTES_OF_A_SOCKET + size_of::<Connection>() + 2 * load.depth * size_of::<Instant>();
        room::memory(format_args!("--load with {} connections", load.connections), load.connections * each)?;
        let mut config = GroupConfig::new(BufGroup::new(RECEIVE_BUFS, BUF_SIZE));
        config.sockets = load.connections;
        config.send_limit = (2 * load.depth * load.size).max(config.send_limit);
        config.send_frames = (load.depth * load.size / BUF_SIZE + 2).max(config.send_frames);
        (config.hold_reads_at, config.stall_limit) = (usize::MAX, None);
        let group = app.net().group(cx, config)?;
        let mut loader = Loader::new(group, load, to, cx.now())?;
        let (app, mut events) = (app.clone(), Events::new(256));
        cx.local_poller("load", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            let connects = match loader.connect(&app) {
                Ok(connects) => connects,
                Err(why) => {
                    app.fail(&why);
                    return Polled::Done;
                }
            };
            let got = connects + loader.poll(cx, &mut events);
            if !loader.is_finished(cx.now()) && !cx.is_exiting() {
                return if got > 0 { Polled::Busy } else { Polled::Idle };
            }
            loader.finish(cx.now(), &app, &args);
            Polled::Done
        });
        // Wakes the core at the ends of the phases, in case that nothing else does.
        cx.poller("clock", Schedule::Every(Duration::from_millis(10)), |cx: &mut Cx<'_>| match cx.is_exiting() {
            true => Polled::Done,
            false => Polled::Idle,
        });
        Ok(())
    })
}

struct Loader {
    load: Load,
    to: SocketAddr,
    group: Box<dyn SockGroup>,
    /// What is sent.
    bufs: BufGroup,
    pattern: Pattern,
    connections: Vec<Connection>,
    /// Connections that found no buffer to send from, or no room to send.
    starved: VecDeque<usize>,
    /// Connections that are still to come up.
    connecting: usize,
    /// Connections that live.
    open: usize,
    started: Option<Instant>,
    stopped: Option<Instant>,
    /// When something last came back.
    heard: Instant,
    echoes: u64,
    /// Those that came back before the time was up.
    in_time: u64,
    bytes: u64,
    mismatches: u64,
    errors: u64,
    first_error: Option<NetError>,
    latency: Histogram<u64>,
}

/// One stream: `received <= sent <= want` bytes of it.
struct Connection {
    id: SockId,
    state: State,
    sent: u64,
    want: u64,
    received: u64,
    /// When each message on the way was sent, the oldest in front.
    times: VecDeque<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    Ended,
}

impl Loader {
    fn new(group: Box<dyn SockGroup>, load: Load, to: SocketAddr, now: Instant) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self {
            load,
            to,
            group,
            bufs: BufGroup::new(SEND_BUFS, BUF_SIZE),
            pattern: Pattern::new(),
            connections: Vec::with_capacity(load.connections),
            starved: VecDeque::with_capacity(load.connections),
            connecting: load.connections,
            open: 0,
            started: None,
            stopped: None,
            heard: now,
            echoes: 0,
            in_time: 0,
            bytes: 0,
            mismatches: 0,
            errors: 0,
            first_error: None,
            // 1 ns to 1 minute, to three digits.
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        })
    }

    /// Begins some of the connections that are still to be made, so that a signal is heard between
    /// them, and tells how many.
    fn connect(&mut self, app: &AppHandle) -> Result<usize, NetError> {
        let begun = self.connections.len();
        let some = begun..self.load.connections.min(begun + CONNECTS);
        for index in some.clone() {
            let socket = app.net().connect(&[self.to], &SockOptions::default())?;
            let id = self.group.attach(socket, Token(index as u64)).map_err(|refused| refused.why)?;
            let times = VecDeque::with_capacity(self.load.depth);
            self.connections.push(Connection { id, state: State::Connecting, sent: 0, want: 0, received: 0, times });
        }
        Ok(some.len())
    }

    /// One poll of all connections; how many events there were.
    fn poll(&mut self, cx: &mut Cx<'_>, events: &mut Events) -> usize {
        let got = self.group.poll(events);
        if got > 0 {
            // Read once per batch: latency is what is measured here, and the turn's time is from
            // before the poll.
            let now = cx.clock();
            for event in events.drain() {
                self.handle(event, now);
            }
        }
        for _ in 0..self.starved.len() {
            if let Some(index) = self.starved.pop_front() {
                self.pump(index, cx.now());
            }
        }
        if self.started.is_none() && self.connecting == 0 && self.open > 0 {
            self.start(cx.now());
        }
        if self.stopped.is_none() && self.started.is_some_and(|t| cx.now().since(t) >= self.load.time) {
            self.stop(cx.now());
        }
        got
    }

    /// All connections are up: the first messages go out, and the time runs.
    fn start(&mut self, now: Instant) {
        self.started = Some(now);
        let window = (self.load.depth * self.load.size) as u64;
        for index in 0..self.connections.len() {
            self.connections[index].want = window;
            self.pump(index, now);
        }
    }

    /// The time is up: nothing more is sent.
    fn stop(&mut self, now: Instant) {
        (self.stopped, self.heard) = (Some(now), now);
        self.in_time = self.echoes;
    }

    fn handle(&mut self, event: NetEvent, now: Instant) {
        match event {
            NetEvent::Connected { token, .. } => {
                self.connections[token.0 as usize].state = State::Open;
                self.connecting -= 1;
                self.open += 1;
                self.heard = now;
            }
            NetEvent::Received { token, buf, .. } => self.received(token.0 as usize, &buf, now),
            // The server ended its side, which it has no reason to; `Closed` follows.
            NetEvent::PeerClosed { id, .. } => drop(self.group.close(id)),
            NetEvent::Closed { token, why, .. } => {
                match std::mem::replace(&mut self.connections[token.0 as usize].state, State::Ended) {
                    State::Connecting => self.connecting -= 1,
                    State::Open => self.open -= 1,
                    State::Ended => {}
                }
                self.errors += 1;
                self.first_error = self.first_error.take().or(why);
            }
            _ => {}
        }
    }

    fn received(&mut self, index: usize, bytes: &[u8], now: Instant) {
        let size = self.load.size as u64;
        self.heard = now;
        let c = &mut self.connections[index];
        if !self.pattern.matches(index, c.received, bytes) {
            self.mismatches += 1;
        }
        let before = c.received / size;
        c.received += bytes.len() as u64;
        self.bytes += bytes.len() as u64;
        for _ in before..c.received / size {
            self.echoes += 1;
            if let Some(sent) = c.times.pop_front() {
                self.latency.saturating_record(now.nanos_since(sent));
            }
            if self.stopped.is_none() {
                c.want += size;
            }
        }
        self.pump(index, now);
    }

    /// Sends what the connection may have on the way and has not.
    fn pump(&mut self, index: usize, now: Instant) {
        let size = self.load.size as u64;
        while self.connections[index].state == State::Open && self.connections[index].sent < self.connections[index].want {
            let Some(mut buf) = self.bufs.get() else {
                self.group.flush();
                self.starved.push_back(index);
                return;
            };
            let c = &mut self.connections[index];
            let n = (c.want - c.sent).min(buf.spare_capacity() as u64);
            self.pattern.fill(index, c.sent, &mut buf.spare_mut()[..n as usize]);
            buf.grow(n as usize);
            match self.group.send(c.id, Frame::from(buf)).map_err(|refused| refused.why) {
                Ok(()) => {}
                // Small echoes made many small frames.
                Err(NetError::SendLimit { .. }) => return self.starved.push_back(index),
                // The end of the connection, which `Closed` tells with its reason.
                Err(_) => return,
            }
            let begun = |offset: u64| offset.div_ceil(size);
            for _ in begun(c.sent)..begun(c.sent + n) {
                c.times.push_back(now);
            }
            c.sent += n;
        }
    }

    fn is_finished(&self, now: Instant) -> bool {
        match self.stopped {
            _ if self.connecting == 0 && self.open == 0 => true,
            Some(_) => self.missing() == 0 || now.since(self.heard) >= GRACE,
            // A server may answer no SYN at all, and the system goes on sending them for minutes.
            None => self.connecting > 0 && now.since(self.heard) >= self.load.time + GRACE,
        }
    }

    /// Living connections that have not got everything back.
    fn missing(&self) -> usize {
        self.connections.iter().filter(|c| c.state == State::Open && c.received != c.sent).count()
    }

    fn finish(&mut self, now: Instant, app: &AppHandle, args: &Args) {
        // Ended by a signal, or by the end of all connections: then nothing is missing that was
        // still waited for.
        let missing = if self.stopped.is_some() { self.missing() as u64 } else { 0 };
        if self.stopped.is_none() {
            self.stop(now);
        }
        let seconds = match (self.started, self.stopped) {
            (Some(a), Some(b)) => b.since(a).as_secs_f64(),
            _ => 0.0,
        };
        let rate = if seconds > 0.0 { self.in_time as f64 / seconds } else { 0.0 };
        let at = |q: f64| self.latency.value_at_quantile(q);
        log::info!(
            "{} echoes verified in {seconds:.2} s over {} connections: {rate:.0} per second, p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us",
            self.echoes,
            self.load.connections,
            at(0.5) as f64 / 1e3,
            at(0.99) as f64 / 1e3,
            at(0.999) as f64 / 1e3
        );
        if args.json {
            app.println(self.json(app, seconds, rate, missing));
        }
        match self.verdict(missing) {
            Ok(()) => app.stop(0),
            Err(why) => app.fail(&*why),
        }
    }

    fn verdict(&self, missing: u64) -> Result<(), Box<dyn std::error::Error>> {
        let (errors, all) = (self.errors, self.load.connections);
        match &self.first_error {
            _ if self.mismatches > 0 => Err(format!("{} pieces came back wrong", self.mismatches).into()),
            Some(why) => Err(format!("{errors} of {all} connections failed; the first: {why}").into()),
            None if errors > 0 => Err(format!("{errors} of {all} connections were closed by the server").into()),
            None if self.connecting > 0 => Err(format!("{} of {all} connections to {} did not come up", self.connecting, self.to).into()),
            None if missing > 0 => Err(format!("{missing} of {all} connections did not get everything back").into()),
            None if self.echoes == 0 => Err("it was ended before an echo came back".into()),
            None => Ok(()),
        }
    }

    fn json(&self, app: &AppHandle, seconds: f64, rate: f64, missing: u64) -> serde_json::Value {
        let at = |q: f64| self.latency.value_at_quantile(q);
        let buckets = self.latency.iter_log(1000, 2.0).filter(|b| b.count_since_last_iteration() > 0);
        let histogram: Vec<_> =
            buckets.map(|b| json!({"up_to_ns": b.value_iterated_to(), "count": b.count_since_last_iteration()})).collect();
        let mut head = report_head(app, "load");
        let rest = json!({
            "connections": self.load.connections, "depth": self.load.depth, "size": self.load.size, "seconds": seconds,
            "echoes": self.echoes, "bytes": self.bytes, "mismatches": self.mismatches,
            "errors": self.errors + missing + self.connecting as u64, "rate": rate,
            "latency_ns": {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": self.latency.max()},
            "histogram": histogram,
        });
        if let (Some(head), serde_json::Value::Object(rest)) = (head.as_object_mut(), rest) {
            head.extend(rest);
        }
        head
    }
}
