//! What the requests of one turn ask of which shard, and how the answers become those of the
//! requests, in order.
//!
//! A request is made of pieces: text that is known at once, and answers that a shard gives. Pieces
//! are written down first, for all peers of a turn; each shard then answers all that it is asked
//! in one go, this core's own shard too; and the pieces are put together when all have answered.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use lcore::net::SockId;

use crate::resp::{self, Stop};
use crate::store::{Ask, Batch, Op};

/// Bytes of answers that one peer can have asked for in one turn, unless one is longer by itself.
const MOST_ANSWERS: usize = 256 << 10;
/// Pieces of one peer in one turn.
const MOST_PIECES: usize = 1024;

/// What all shards know.
pub(crate) struct Keys {
    pub(crate) shards: usize,
    /// With a secret of this process, so that nobody can make keys that all lie in one place.
    pub(crate) hasher: RandomState,
    /// Bytes of the longest value that there ever was, or more.
    pub(crate) longest: AtomicUsize,
}

/// The requests of a turn.
#[derive(Default)]
pub(crate) struct Round {
    pub(crate) number: u32,
    /// What is asked of each shard.
    #[allow(clippy::vec_box, reason = "each travels, as one pointer")]
    pub(crate) batches: Vec<Box<Batch>>,
    /// Batches that have not come back.
    pub(crate) missing: usize,
    parts: Vec<(SockId, usize)>,
    pieces: Vec<Piece>,
    text: Vec<u8>,
}

enum Piece {
    /// The next bytes of the text.
    Text(u32),
    /// The next answer of this shard,
    Answer(u16),
    /// a number to be added up,
    Addend(u16),
    /// the sum of those,
    Sum,
    /// one that counts only if it is an error,
    Quiet(u16),
    /// and what becomes of those.
    Done,
}

/// A peer's request that is under way.
#[derive(Default)]
pub(crate) struct Progress {
    /// Keys of it that have been asked for, in turns before.
    done: usize,
    sum: i64,
    error: Vec<u8>,
    /// There is more of its input to be looked at, which there was no room for in the turn.
    pub(crate) more: bool,
    /// The peer is to be told good-bye.
    pub(crate) over: bool,
}

/// A request: where its arguments lie.
struct Request<'a> {
    input: &'a [u8],
    args: &'a [Range<usize>],
}

impl<'a> Request<'a> {
    fn arg(&self, n: usize) -> &'a [u8] {
        self.args.get(n).map_or(&[], |arg| &self.input[arg.clone()])
    }
}

impl Round {
    /// Has room for what is asked of so many shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self { batches: (0..shards).map(|_| Box::default()).collect(), ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes up the requests that a peer has sent, as far as there is room for their answers. Tells
    /// how many bytes of `input` were requests, and whether there is anything to be answered.
    pub(crate) fn take_up(
        &mut self,
        id: SockId,
        input: &[u8],
        progress: &mut Progress,
        keys: &Keys,
        args: &mut Vec<Range<usize>>,
    ) -> (usize, bool) {
        let (first, mut at) = (self.pieces.len(), 0);
        progress.more = false;
        let mut asker = Asker::new(self, keys);
        while !progress.over {
            let bytes = match resp::parse(&input[at..], args) {
                Ok(bytes) => bytes,
                Err(Stop::Partial) => break,
                Err(Stop::Wrong(why)) => {
                    asker.error(&format!("Protocol error: {why}"));
                    progress.over = true;
                    break;
                }
            };
            if asker.is_full() || !asker.request(&Request { input: &input[at..], args }, progress) {
                progress.more = true;
                break;
            }
            progress.done = 0;
            at += bytes;
        }
        let asked = self.pieces.len() > first;
        if asked {
            self.parts.push((id, self.pieces.len()));
        }
        (at, asked)
    }

    fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.text.len();
        write(&mut self.text);
        self.pieces.push(Piece::Text((self.text.len() - before) as u32));
    }

    /// Puts the answers together, peer by peer: `answer` writes them into the list that it gets,
    /// with what is known of the peer's request, and says where they go. Empties the round.
    pub(crate) fn answer(&mut self, mut deliver: impl FnMut(SockId, &mut dyn FnMut(&mut Progress, &mut Vec<u8>))) {
        let Self { batches, parts, pieces, text, .. } = self;
        let (mut pieces, mut from, mut at) = (pieces.drain(..), 0, 0);
        for (id, to) in parts.drain(..) {
            deliver(id, &mut |progress, out| {
                for piece in pieces.by_ref().take(to - from) {
                    match piece {
                        Piece::Text(bytes) => {
                            out.extend_from_slice(&text[at..at + bytes as usize]);
                            at += bytes as usize;
                        }
                        Piece::Answer(shard) => out.extend_from_slice(batches[usize::from(shard)].next_answer()),
                        Piece::Addend(shard) => match batches[usize::from(shard)].next_answer() {
                            [b':', number @ .., b'\r', b'\n'] => progress.sum += resp::number(number).unwrap_or(0),
                            error => progress.error = error.to_vec(),
                        },
                        Piece::Quiet(shard) => match batches[usize::from(shard)].next_answer() {
                            [b'+', ..] => {}
                            error => progress.error = error.to_vec(),
                        },
                        Piece::Sum | Piece::Done if !progress.error.is_empty() => out.append(&mut progress.error),
                        Piece::Sum => resp::line(out, b':', progress.sum),
                        Piece::Done => out.extend_from_slice(b"+OK\r\n"),
                    }
                    if matches!(piece, Piece::Sum | Piece::Done) {
                        progress.sum = 0;
                    }
                }
            });
            from = to;
        }
        drop(pieces);
        text.clear();
        text.shrink_to(crate::KEPT);
        batches.iter_mut().for_each(|batch| batch.clear());
    }
}

/// Writes down what the requests of one peer ask.
struct Asker<'a> {
    round: &'a mut Round,
    keys: &'a Keys,
    /// As long as any value can be, and how many pieces the round may have, so that there is room
    /// for that.
    longest: usize,
    most: usize,
}

impl<'a> Asker<'a> {
    fn new(round: &'a mut Round, keys: &'a Keys) -> Self {
        let longest = keys.longest.load(Ordering::Relaxed);
        Self { most: round.pieces.len() + (MOST_ANSWERS / (longest + 32)).clamp(1, MOST_PIECES), round, keys, longest }
    }

    /// Whether it has asked for as much as there is room for in this turn.
    fn is_full(&self) -> bool {
        self.round.pieces.len() >= self.most
    }

    /// Takes up one request. False if there was no room for all of its keys: then it goes on there
    /// the next time.
    fn request(&mut self, request: &Request<'_>, progress: &mut Progress) -> bool {
        let count = request.args.len();
        let arg = |n| request.arg(n);
        let mut name = [0; 8];
        match (upper(arg(0), &mut name), count) {
            (_, 0) => {}
            (b"GET", 2) => self.get(arg(1)),
            (b"SET", 3) => self.set(arg(1), arg(2), 0, Piece::Answer),
            (b"SET", 5) => match (upper(arg(3), &mut [0; 8]), resp::number(arg(4)).filter(|lasts| *lasts > 0)) {
                (b"EX", Some(s)) => self.set(arg(1), arg(2), s.saturating_mul(1_000_000_000), Piece::Answer),
                (b"PX", Some(ms)) => self.set(arg(1), arg(2), ms.saturating_mul(1_000_000), Piece::Answer),
                (b"EX" | b"PX", None) => self.error("invalid expire time in 'set' command"),
                _ => self.error("syntax error"),
            },
            (b"INCR", 2) => self.ask(Op::Incr, arg(1), &[], 0, Piece::Answer),
            (b"DEL", 2) => self.ask(Op::Del, arg(1), &[], 0, Piece::Answer),
            (b"EXISTS", 2) => self.ask(Op::Exists, arg(1), &[], 0, Piece::Answer),
            (b"TTL", 2) => self.ask(Op::Ttl, arg(1), &[], 0, Piece::Answer),
            (b"EXPIRE", 3) => match resp::number(arg(2)) {
                Some(seconds) => self.ask(Op::Expire, arg(1), &[], seconds, Piece::Answer),
                None => self.error("value is not an integer or out of range"),
            },
            (b"MGET", 2..) => {
                if progress.done == 0 {
                    self.round.text(|text| resp::line(text, b'*', count as i64 - 1));
                }
                return self.each(1..count, progress, |asker, n| asker.get(arg(n)));
            }
            (b"MSET", 3..) if count % 2 == 1 => {
                let all = self.each((1..count).step_by(2), progress, |asker, n| asker.set(arg(n), arg(n + 1), 0, Piece::Quiet));
                return all && self.ends(Piece::Done);
            }
            (name @ (b"DEL" | b"EXISTS"), 3..) => {
                let op = if name == b"DEL" { Op::Del } else { Op::Exists };
                let all = self.each(1..count, progress, |asker, n| asker.ask(op, arg(n), &[], 0, Piece::Addend));
                return all && self.ends(Piece::Sum);
            }
            (b"DBSIZE", 1) => {
                for shard in 0..self.keys.shards {
                    self.ask_of(shard, Ask { op: Op::Count, hash: 0, number: 0, key: 0, value: 0 }, &[], &[], Piece::Addend);
                }
                return self.ends(Piece::Sum);
            }
            (b"PING", 1) => self.round.text(|text| text.extend_from_slice(b"+PONG\r\n")),
            (b"PING" | b"ECHO", 2) => self.round.text(|text| resp::bulk(text, arg(1))),
            (b"INFO", _) => {
                let info = format!("# Server\r\nredis_version:7.0.0\r\nserver_name:hello-kv\r\nshards:{}\r\n", self.keys.shards);
                self.round.text(|text| resp::bulk(text, info.as_bytes()));
            }
            // What redis-benchmark asks for: nothing is saved.
            (b"CONFIG", 3) if upper(arg(1), &mut [0; 8]) == b"GET" => self.round.text(|text| {
                resp::line(text, b'*', 2);
                resp::bulk(text, arg(2));
                resp::bulk(text, if arg(2) == b"appendonly" { b"no" } else { b"" });
            }),
            (b"COMMAND", _) => self.round.text(|text| resp::line(text, b'*', 0)),
            (b"QUIT", 1) => {
                self.round.text(|text| text.extend_from_slice(b"+OK\r\n"));
                progress.over = true;
            }
            (name, _) => {
                let known =
                    [&b"GET"[..], b"SET", b"INCR", b"DEL", b"EXISTS", b"TTL", b"EXPIRE", b"MGET", b"MSET", b"DBSIZE", b"PING", b"ECHO"];
                let why = if known.contains(&name) { "wrong number of arguments for" } else { "unknown" };
                let name = String::from_utf8_lossy(&arg(0)[..arg(0).len().min(64)]).escape_debug().to_string();
                self.error(&format!("{why} command '{name}'"));
            }
        }
        true
    }

    /// Does something for each key that is left, while there is room. Whether that was all.
    fn each(&mut self, keys: impl Iterator<Item = usize>, progress: &mut Progress, mut ask: impl FnMut(&mut Self, usize)) -> bool {
        let before = progress.done;
        for n in keys.skip(before) {
            // One at least, or it would never end.
            if progress.done > before && self.is_full() {
                return false;
            }
            ask(self, n);
            progress.done += 1;
        }
        true
    }

    fn ends(&mut self, piece: Piece) -> bool {
        self.round.pieces.push(piece);
        true
    }

    fn error(&mut self, why: &str) {
        self.round.text(|text| resp::error(text, why));
    }

    fn get(&mut self, key: &[u8]) {
        self.ask(Op::Get, key, &[], self.longest as i64, Piece::Answer);
    }

    fn set(&mut self, key: &[u8], value: &[u8], lasts: i64, piece: fn(u16) -> Piece) {
        if value.len() > self.longest {
            self.keys.longest.fetch_max(value.len(), Ordering::Relaxed);
            // What it asks from here on is for the next turn, which reckons with it.
            (self.longest, self.most) = (value.len(), 0);
        }
        self.ask(Op::Set, key, value, lasts, piece);
    }

    fn ask(&mut self, op: Op, key: &[u8], value: &[u8], number: i64, piece: fn(u16) -> Piece) {
        let mut hasher = self.keys.hasher.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        // Other bits than those by which a table finds its place.
        let shard = ((hash >> 32) as u16 as usize * self.keys.shards) >> 16;
        let ask = Ask { op, hash, number, key: key.len() as u32, value: value.len() as u32 };
        self.ask_of(shard, ask, key, value, piece);
    }

    fn ask_of(&mut self, shard: usize, ask: Ask, key: &[u8], value: &[u8], piece: fn(u16) -> Piece) {
        let batch = &mut self.round.batches[shard];
        batch.asks.push(ask);
        batch.bytes.extend_from_slice(key);
        batch.bytes.extend_from_slice(value);
        self.round.pieces.push(piece(shard as u16));
    }
}

/// A name in capitals; what is longer than `into` is no name, and stays as it is.
fn upper<'a>(name: &'a [u8], into: &'a mut [u8; 8]) -> &'a [u8] {
    let Some(into) = into.get_mut(..name.len()) else { return name };
    into.copy_from_slice(name);
    into.make_ascii_uppercase();
    into
}
