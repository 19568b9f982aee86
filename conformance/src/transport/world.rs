//! Several groups on one thread, polled in turn.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use core_reactor::transport::{ExposedKey, Frame, Op, Queue, QueueEvent, QueueId, QueueOptions, Token, TransportError};
use pool::Buf;

use super::Env;
use super::driver::{Driver, Setup};
use super::ledger;
use super::lot::bytes_of;

/// Time after which a condition that does not come is a failure. Nothing waits this long in a run
/// that passes.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// The group that connects, in most tests.
pub const A: usize = 0;
/// The group that listens, in most tests.
pub const B: usize = 1;

/// The token of listeners.
pub const LISTENER: Token = Token(u64::MAX);

/// How an operation ended.
pub struct Done {
    /// The tag.
    pub tag: u64,
    /// What it was.
    pub op: Op,
    /// What came back.
    pub frame: Frame,
    /// Why it failed.
    pub error: Option<TransportError>,
}

impl Done {
    /// All bytes of the frame.
    pub fn bytes(&self) -> Vec<u8> {
        bytes_of(&self.frame)
    }
}

/// The groups of a test.
pub struct World {
    /// `A`, `B` and more.
    pub drivers: Vec<Driver>,
    env: Env,
}

impl World {
    /// Two groups of the usual size.
    pub fn new(env: &Env) -> Self {
        Self::with(env, &[Setup::default(), Setup::default()])
    }

    /// Groups of these sizes.
    pub fn with(env: &Env, setups: &[Setup]) -> Self {
        Self { drivers: setups.iter().map(|setup| Driver::new(env, *setup)).collect(), env: env.clone() }
    }

    /// A group.
    pub fn at(&mut self, who: usize) -> &mut Driver {
        &mut self.drivers[who]
    }

    /// A listener at a free port, attached to `who`'s group as `LISTENER`.
    pub fn listen(&mut self, who: usize, options: &QueueOptions) -> (QueueId, SocketAddr) {
        let listener = self.env.transport.listen(SocketAddr::new(self.env.host, 0), options).expect("a free port");
        let at = listener.local_addr();
        (self.at(who).listen(listener, LISTENER), at)
    }

    /// A connection from `A` to `B`, its tokens both `token`.
    pub fn connect(&mut self) -> (QueueId, QueueId) {
        self.connect_with(A, B, &QueueOptions::default(), Token(1))
    }

    /// A connection from one group to another, over a listener of its own that is gone afterwards.
    pub fn connect_with(&mut self, from: usize, to: usize, options: &QueueOptions, token: Token) -> (QueueId, QueueId) {
        let (listener, at) = self.listen(to, options);
        let pair = self.connect_at(from, to, at, options, token);
        self.at(to).disconnect(listener);
        assert_eq!(self.closed(to, listener), None, "a listener ends without an error");
        pair
    }

    /// A connection from one group to another, through the listener at `at`.
    pub fn connect_at(&mut self, from: usize, to: usize, at: SocketAddr, options: &QueueOptions, token: Token) -> (QueueId, QueueId) {
        let near = self.at(from).dial(at, options, token);
        let queue = self.requested(to);
        let far = self.at(to).attach(queue, token, &[]);
        self.established(from, near);
        self.established(to, far);
        (near, far)
    }

    /// Polls until `pick` takes an event of `who`'s. The others wait, in order, for a later call.
    pub fn wait<T>(&mut self, who: usize, what: &str, mut pick: impl FnMut(QueueEvent) -> Result<T, QueueEvent>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = self.at(who).take(&mut pick) {
                return found;
            }
            self.turn_before(end, what);
        }
    }

    /// Polls until `done`; it sees the world before each turn.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done(self) {
            self.turn_before(end, what);
        }
    }

    /// Polls every group this often.
    pub fn turns(&mut self, times: usize) {
        for _ in 0..times {
            self.turn();
        }
    }

    fn turn_before(&mut self, end: Instant, what: &str) {
        let seen = || self.drivers.iter().map(|driver| driver.seen.iter().map(ledger::name).collect::<Vec<_>>()).collect::<Vec<_>>();
        assert!(Instant::now() < end, "{what} did not come; instead: {:?}", seen());
        self.turn();
    }

    fn turn(&mut self) -> usize {
        let found = self.drivers.iter_mut().map(Driver::poll).sum();
        if found == 0 {
            // What carries the messages may need the core.
            std::thread::yield_now();
        }
        found
    }

    /// Waits for a request at `who`'s listener.
    pub fn requested(&mut self, who: usize) -> Box<dyn Queue> {
        self.wait(who, "a request", |event| match event {
            QueueEvent::Requested { queue, token: LISTENER, .. } => Ok(queue),
            other => Err(other),
        })
    }

    /// Waits for a connection to stand: what came with its acceptance.
    pub fn established(&mut self, who: usize, queue: QueueId) -> Box<[u8]> {
        self.wait(who, "Established", |event| match event {
            QueueEvent::Established { id, private_data, .. } if id == queue => Ok(private_data),
            other => Err(other),
        })
    }

    /// Waits for a message.
    pub fn received(&mut self, who: usize, queue: QueueId) -> (Buf, Option<u32>) {
        self.wait(who, "a message", |event| match event {
            QueueEvent::Received { id, buf, imm, .. } if id == queue => Ok((buf, imm)),
            other => Err(other),
        })
    }

    /// Waits for a message's bytes.
    pub fn message(&mut self, who: usize, queue: QueueId) -> Vec<u8> {
        self.received(who, queue).0.to_vec()
    }

    /// Waits for the next operation to end.
    pub fn done(&mut self, who: usize, queue: QueueId) -> Done {
        self.wait(who, "Done", |event| match event {
            QueueEvent::Done { id, tag, op, frame, error, .. } if id == queue => Ok(Done { tag, op, frame, error }),
            other => Err(other),
        })
    }

    /// Waits for the next operation to end well.
    pub fn well_done(&mut self, who: usize, queue: QueueId) -> Done {
        let done = self.done(who, queue);
        assert_eq!(done.error, None, "{:?} {}", done.op, done.tag);
        done
    }

    /// Waits for an exposed buffer to come back.
    pub fn withdrawn(&mut self, who: usize, exposed: ExposedKey) -> Buf {
        self.wait(who, "Withdrawn", |event| match event {
            QueueEvent::Withdrawn { key, buf, .. } if key == exposed => Ok(buf),
            other => Err(other),
        })
    }

    /// Waits for the end of a queue or listener.
    pub fn closed(&mut self, who: usize, queue: QueueId) -> Option<TransportError> {
        self.wait(who, "Closed", |event| match event {
            QueueEvent::Closed { id, why, .. } if id == queue => Ok(why),
            other => Err(other),
        })
    }
}
