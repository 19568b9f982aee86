//! The phases of a run, by the clock: warm-up, measurement, and waiting for what is still on the
//! way.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

use crate::args::Args;
use crate::report::{self, Report};
use crate::streams::Streams;

/// How long the server may keep still before it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A run, and what it has measured.
pub(crate) struct Run {
    args: Args,
    start: Instant,
    pub(crate) streams: Streams,
    /// Bytes of a message.
    pub(crate) size: usize,
    phase: Phase,
    window: Window,
    /// When something came in last, and when it was looked last.
    last_event: u64,
    last_look: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp { until: u64 },
    Measuring { until: u64 },
    Draining,
    Over,
}

/// What is read at both ends of the measurement, and in between.
#[derive(Default)]
struct Window {
    from: u64,
    to: u64,
    idle: u64,
    server: Option<(Duration, Duration)>,
}

impl Run {
    pub(crate) fn new(args: &Args) -> Result<Self> {
        let (depth, size) = (args.depth as usize, args.size as usize);
        Ok(Self {
            args: args.clone(),
            start: Instant::now(),
            streams: Streams::new(args.total(), depth, size, args.echoes)?,
            size,
            phase: Phase::WarmUp { until: 0 },
            window: Window::default(),
            last_event: 0,
            last_look: 0,
        })
    }

    /// Nanoseconds since the program began.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Begins: each of the busy connections asks for its messages.
    pub(crate) fn begin(&mut self, busy: impl Iterator<Item = usize>) -> Result<()> {
        let now = self.now();
        (self.last_event, self.last_look) = (now, now);
        self.streams.sending = true;
        self.phase = match self.args.echoes {
            None => Phase::WarmUp { until: now + self.args.warm_up.as_nanos() as u64 },
            Some(_) => self.measure(now)?,
        };
        for stream in busy {
            for _ in 0..self.args.depth {
                self.streams.request(stream, now);
            }
        }
        Ok(())
    }

    /// To be called after each look for something that came in, with the number of those things.
    /// False when the run is over.
    ///
    /// # Errors
    /// Nothing has come in for too long.
    pub(crate) fn goes_on(&mut self, now: u64, events: usize) -> Result<bool> {
        if events > 0 {
            self.last_event = now;
        } else {
            self.window.idle += if self.streams.measuring { now - self.last_look } else { 0 };
            if now - self.last_event > PATIENCE.as_nanos() as u64 {
                bail!("the server did not echo: nothing came back for {} s", PATIENCE.as_secs());
            }
        }
        self.last_look = now;
        self.phase = match self.phase {
            Phase::WarmUp { until } if now >= until => self.measure(now)?,
            Phase::Measuring { until } if now >= until || self.streams.is_quiet() => self.drain(now)?,
            Phase::Draining if self.streams.is_quiet() => Phase::Over,
            same => same,
        };
        Ok(self.phase != Phase::Over)
    }

    fn measure(&mut self, now: u64) -> Result<Phase> {
        self.streams.measuring = true;
        self.window.from = now;
        self.window.server = self.server_time()?.map(|t| (t, t));
        let length = self.args.echoes.map_or(self.args.seconds.as_nanos() as u64, |_| u64::MAX - now);
        Ok(Phase::Measuring { until: now + length })
    }

    fn drain(&mut self, now: u64) -> Result<Phase> {
        (self.streams.measuring, self.streams.sending) = (false, false);
        self.window.to = now;
        let end = self.server_time()?;
        self.window.server = self.window.server.zip(end).map(|((from, _), to)| (from, to));
        Ok(Phase::Draining)
    }

    /// Processor time that the watched process has used so far.
    fn server_time(&self) -> Result<Option<Duration>> {
        self.args.watch.map(report::processor_time).transpose()
    }

    pub(crate) fn report(&self) -> Result<Report> {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let window = Duration::from_nanos(self.window.to - self.window.from);
        let server = self.window.server.map(|(from, to)| to.saturating_sub(from));
        let idle = Duration::from_nanos(self.window.idle);
        Ok(Report::new(&self.args, &self.streams, window, idle, server, Duration::try_from(own)?))
    }
}
