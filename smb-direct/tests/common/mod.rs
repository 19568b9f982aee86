//! Two ends on a simulated link: nothing is lost or reordered, everything takes its time, and the
//! clock moves by hand.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::VecDeque;
use std::time::Duration;

use smb_direct::{Action, Connection, Ended, Message, Received, Settings};

pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;

/// A source of draws (SplitMix64), so that a failure can be had again.
pub(crate) struct Lot(pub(crate) u64);

impl Lot {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let n = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (n ^ n >> 31) % end
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// One end with what its application wants and has got.
pub(crate) struct End {
    pub(crate) conn: Connection,
    /// What is to be sent, oldest first; the first `sent` bytes of the first one are out.
    pub to_send: VecDeque<Vec<u8>>,
    sent: usize,
    /// Whole messages.
    pub(crate) got: Vec<Vec<u8>>,
    partial: Vec<u8>,
    /// Receive buffers posted and not filled.
    pub(crate) posted: u64,
    /// Receive buffers that the transport was asked for and has not posted.
    pub(crate) owed: u16,
    /// Receive buffers with something in them that the application has not looked at.
    pub(crate) unread: u16,
    pub(crate) sends: u64,
    pub(crate) empties: u64,
    pub(crate) ended: Option<Ended>,
    /// The application takes what comes, and the transport posts what it is asked for.
    pub(crate) takes: bool,
    pub(crate) posts: bool,
}

/// Two ends and what is between them.
pub(crate) struct Pair {
    pub(crate) ends: [End; 2],
    /// Messages on their way to each end, with the time of their arrival.
    pub(crate) wires: [VecDeque<(Duration, Vec<u8>)>; 2],
    pub(crate) now: Duration,
    lot: Lot,
    longest: u64,
}

impl End {
    fn new(conn: Connection) -> Self {
        Self {
            conn,
            to_send: VecDeque::new(),
            sent: 0,
            got: Vec::new(),
            partial: Vec::new(),
            // The one for the negotiate message.
            posted: 1,
            owed: 0,
            unread: 0,
            sends: 0,
            empties: 0,
            ended: None,
            takes: true,
            posts: true,
        }
    }

    fn receive(&mut self, now: Duration, message: &[u8]) {
        self.posted = self.posted.checked_sub(1).expect("no message comes without a receive buffer");
        let negotiated = self.conn.agreed().is_some();
        match self.conn.on_message(now, message) {
            Received::Fragment { bytes, first, remaining } => {
                assert_eq!(first, self.partial.is_empty());
                self.partial.extend_from_slice(&message[bytes]);
                if remaining == 0 {
                    self.got.push(std::mem::take(&mut self.partial));
                }
                self.unread += 1;
            }
            Received::Nothing if negotiated => self.conn.receives_freed(1),
            Received::Nothing | Received::Negotiated(_) => {}
        }
    }

    /// Does all that there is to do; what is sent.
    fn act(&mut self, now: Duration) -> Vec<Vec<u8>> {
        self.conn.on_time(now);
        if self.takes {
            self.conn.receives_freed(std::mem::take(&mut self.unread));
        }
        if self.posts {
            self.post(u16::MAX);
        }
        let mut out = Vec::new();
        while let Some(message) = self.next_piece() {
            out.push(message);
        }
        while let Some(action) = self.conn.next_action(now) {
            match action {
                Action::PostReceives(count) => {
                    self.owed += count;
                    if self.posts {
                        self.post(u16::MAX);
                    }
                }
                Action::Send(message) => self.push(&mut out, message),
                Action::SendLast(message, why) => {
                    self.push(&mut out, message);
                    self.ended = Some(why);
                }
                Action::Disconnect(why) => self.ended = Some(why),
            }
        }
        self.sends += out.len() as u64;
        out
    }

    pub(crate) fn post(&mut self, most: u16) {
        let count = self.owed.min(most);
        self.owed -= count;
        self.posted += u64::from(count);
        self.conn.receives_posted(count);
    }

    fn push(&mut self, out: &mut Vec<Vec<u8>>, message: Message) {
        self.empties += 1;
        out.push(message.to_vec());
    }

    fn next_piece(&mut self) -> Option<Vec<u8>> {
        if self.conn.unsent() == 0 {
            self.conn.start_message(self.to_send.front()?.len()).ok()?;
        }
        let message = self.to_send.front()?;
        let fragment = self.conn.next_fragment(message.len() - self.sent)?;
        let mut bytes = fragment.header.to_vec();
        bytes.extend_from_slice(&message[self.sent..self.sent + fragment.length]);
        self.sent += fragment.length;
        assert_eq!(message.len() - self.sent, fragment.remaining);
        if fragment.remaining == 0 {
            self.to_send.pop_front();
            self.sent = 0;
        }
        Some(bytes)
    }
}

impl Pair {
    /// Two ends; each message takes a drawn time up to `longest` microseconds.
    pub(crate) fn new(client: Settings, server: Settings, seed: u64, longest: u64) -> Self {
        let now = Duration::from_secs(1000);
        let ends = [Connection::client(client, now), Connection::server(server, now)];
        Self {
            ends: ends.map(|conn| End::new(conn.expect("settings that can be had"))),
            wires: Default::default(),
            now,
            lot: Lot(seed),
            longest,
        }
    }

    /// Both ends with these settings, negotiated.
    pub(crate) fn open(settings: Settings, seed: u64) -> Self {
        let mut pair = Self::new(settings, settings, seed, 50);
        pair.settle();
        assert!(pair.ends.iter().all(|end| end.conn.agreed().is_some()), "it was negotiated");
        pair
    }

    /// Lets both ends act, then the next message arrive; false if nothing is on its way.
    pub(crate) fn step(&mut self) -> bool {
        for who in [CLIENT, SERVER] {
            for message in self.ends[who].act(self.now) {
                self.send(who, message);
            }
        }
        self.check_credits();
        let Some(to) = [CLIENT, SERVER].into_iter().filter(|to| !self.wires[*to].is_empty()).min_by_key(|to| self.wires[*to][0].0) else {
            return false;
        };
        if let Some((at, message)) = self.wires[to].pop_front() {
            self.now = self.now.max(at);
            self.ends[to].receive(self.now, &message);
        }
        true
    }

    /// Puts a message on its way to the other end.
    pub(crate) fn send(&mut self, from: usize, message: Vec<u8>) {
        let to = 1 - from;
        let at = self.now + Duration::from_micros(self.lot.below(self.longest + 1));
        // It does not overtake the one before it.
        let at = self.wires[to].back().map_or(at, |last| last.0.max(at));
        self.wires[to].push_back((at, message));
    }

    /// Until nothing is on its way any more.
    pub(crate) fn settle(&mut self) {
        for _ in 0..2_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the two ends keep each other busy");
    }

    /// Credits are neither made nor lost: what one end may send, with what is on its way, is what
    /// the other has posted and granted.
    pub(crate) fn check_credits(&self) {
        for (who, peer) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
            if self.ends.iter().any(|end| end.conn.agreed().is_none()) {
                return;
            }
            let granted = |(_, message): &(Duration, Vec<u8>)| u64::from(u16::from_le_bytes([message[2], message[3]]));
            // Both have agreed, so the messages that did it have arrived, and all that is on its
            // way is data.
            let coming: u64 = self.wires[who].iter().map(granted).sum();
            let going = self.wires[peer].len() as u64;
            let (may, has) = (u64::from(self.ends[who].conn.send_credits()), u64::from(self.ends[peer].conn.receive_credits()));
            assert_eq!(may + coming + going, has, "credits of end {who}");
            let posted = has + u64::from(self.ends[peer].conn.ungranted());
            assert_eq!(self.ends[peer].posted, posted, "each credit stands for a receive that is posted");
        }
    }
}
