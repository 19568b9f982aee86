//! What has been sent and received on each connection, whatever the engine: the books of a run.
//!
//! For each stream, `received <= sent <= wanted`. An engine sends what lies between `sent` and
//! `wanted` and reports what came in; each message that has come back whole makes room for the next
//! one until the run stops.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

use crate::pattern::Pattern;

/// The longest latency that is told apart from longer ones, in nanoseconds: one minute.
const LONGEST: u64 = 60_000_000_000;

/// All connections of a run.
pub(crate) struct Streams {
    pattern: Pattern,
    size: usize,
    all: Vec<Stream>,
    /// New messages may be sent.
    pub(crate) sending: bool,
    /// Messages that come back are counted.
    pub(crate) measuring: bool,
    /// Messages that may still be sent, if the run is limited by their number.
    left: Option<u64>,
    /// Messages on the way.
    on_the_way: usize,
    pub(crate) echoes: u64,
    pub(crate) latency: Histogram<u64>,
}

#[derive(Default)]
struct Stream {
    wanted: u64,
    sent: u64,
    received: u64,
    /// When each message on the way was sent, the oldest in front; in nanoseconds.
    times: VecDeque<u64>,
}

impl Streams {
    pub(crate) fn new(count: usize, depth: usize, size: usize, limit: Option<u64>) -> Result<Self> {
        let stream = || Stream { times: VecDeque::with_capacity(depth), ..Stream::default() };
        Ok(Self {
            pattern: Pattern::new(depth * size),
            size,
            all: (0..count).map(|_| stream()).collect(),
            sending: false,
            measuring: false,
            left: limit,
            on_the_way: 0,
            echoes: 0,
            latency: Histogram::new_with_bounds(1, LONGEST, 3)?,
        })
    }

    /// Asks for one more message on a stream; nothing when the run has stopped.
    pub(crate) fn request(&mut self, stream: usize, now: u64) {
        if !self.sending {
            return;
        }
        if let Some(left) = &mut self.left {
            let Some(fewer) = left.checked_sub(1) else { return };
            *left = fewer;
        }
        self.force(stream, now);
    }

    /// Asks for one message in any case.
    pub(crate) fn force(&mut self, stream: usize, now: u64) {
        let size = self.size as u64;
        let stream = &mut self.all[stream];
        stream.wanted += size;
        stream.times.push_back(now);
        self.on_the_way += 1;
    }

    /// What a stream has to send.
    pub(crate) fn unsent(&self, index: usize) -> &[u8] {
        let stream = &self.all[index];
        self.pattern.slice(index, stream.sent, (stream.wanted - stream.sent) as usize)
    }

    pub(crate) fn sent(&mut self, stream: usize, n: usize) {
        self.all[stream].sent += n as u64;
    }

    /// Checks what came in, counts the messages that are whole by it, and asks for as many again.
    ///
    /// # Errors
    /// A byte is wrong, or more came back than was sent.
    pub(crate) fn received(&mut self, index: usize, bytes: &[u8], now: u64) -> Result<()> {
        let stream = &mut self.all[index];
        let offset = stream.received;
        if let Some(at) = self.pattern.mismatch(index, offset, bytes) {
            bail!("the server did not echo: byte {at} of connection {index} came back wrong");
        }
        stream.received += bytes.len() as u64;
        if stream.received > stream.sent {
            bail!("the server did not echo: connection {index} got {} bytes back of {} that it sent", stream.received, stream.sent);
        }
        let size = self.size as u64;
        for _ in 0..stream.received / size - offset / size {
            let sent = self.all[index].times.pop_front().unwrap_or(now);
            self.on_the_way -= 1;
            if self.measuring {
                self.echoes += 1;
                self.latency.saturating_record(now - sent);
            }
            self.request(index, now);
        }
        Ok(())
    }

    /// Whether all that was sent has come back.
    pub(crate) fn is_quiet(&self) -> bool {
        self.on_the_way == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(streams: &mut Streams, stream: usize, n: usize, now: u64) -> Result<()> {
        let bytes = streams.unsent(stream)[..n].to_vec();
        streams.sent(stream, n);
        streams.received(stream, &bytes, now)
    }

    #[test]
    fn messages_in_pieces_are_counted_when_whole_and_asked_for_again() {
        let mut streams = Streams::new(2, 2, 10, None).expect("a histogram");
        (streams.sending, streams.measuring) = (true, true);
        streams.request(1, 100);
        streams.request(1, 100);
        assert_eq!(streams.unsent(1).len(), 20);
        pass(&mut streams, 1, 7, 150).expect("right");
        assert_eq!(streams.echoes, 0);
        pass(&mut streams, 1, 13, 300).expect("right");
        assert_eq!((streams.echoes, streams.unsent(1).len(), streams.latency.max()), (2, 20, 200));
        streams.sending = false;
        pass(&mut streams, 1, 20, 400).expect("right");
        assert_eq!((streams.echoes, streams.unsent(1).len(), streams.is_quiet()), (4, 0, true));
    }

    #[test]
    fn a_limited_run_sends_no_more_than_its_limit() {
        let mut streams = Streams::new(1, 1, 4, Some(3)).expect("a histogram");
        (streams.sending, streams.measuring) = (true, true);
        streams.request(0, 0);
        for _ in 0..3 {
            pass(&mut streams, 0, 4, 1).expect("right");
        }
        assert_eq!((streams.echoes, streams.unsent(0).len(), streams.is_quiet()), (3, 0, true));
    }

    #[test]
    fn a_wrong_byte_and_a_byte_too_many_are_errors() {
        let mut streams = Streams::new(2, 1, 8, None).expect("a histogram");
        streams.force(0, 0);
        let mut bytes = streams.unsent(0).to_vec();
        assert!(streams.received(0, &bytes, 1).expect_err("never sent").to_string().contains("8 bytes back of 0"));
        let mut streams = Streams::new(2, 1, 8, None).expect("a histogram");
        streams.force(0, 0);
        streams.sent(0, 8);
        bytes[5] ^= 0x20;
        assert!(streams.received(0, &bytes, 1).expect_err("corrupt").to_string().contains("byte 5 of connection 0"));
    }
}
