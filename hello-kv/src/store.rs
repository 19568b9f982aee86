//! The keys of one shard, with their values and when they expire.

use std::collections::BTreeSet;
use std::hint::black_box;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;
use lcore::Instant;
use smallvec::SmallVec;

use crate::resp;

/// Questions whose keys are fetched at once; the nearest cache has room for them.
const SOME: usize = 64;
const FULL: &[u8] = b"-OOM the memory for keys and values is used up\r\n";

/// What is done to one key. Each has one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    /// The value, if it has no more bytes than `number`, which the asker reckoned with.
    Get,
    /// For `number` nanoseconds, if that is not 0.
    Set,
    Del,
    Exists,
    Incr,
    /// In `number` seconds.
    Expire,
    Ttl,
    /// How many keys there are, whatever the key.
    Count,
}

/// One thing to be done, as it travels: its key and value lie in the batch, one after the other.
pub(crate) struct Ask {
    pub(crate) op: Op,
    pub(crate) hash: u64,
    pub(crate) number: i64,
    pub(crate) key: u32,
    pub(crate) value: u32,
}

/// What is asked of a shard in one turn, and then its answers. It goes there and comes back, and is
/// used again.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) asks: Vec<Ask>,
    pub(crate) bytes: Vec<u8>,
    answers: Vec<u8>,
    ends: Vec<usize>,
    taken: usize,
}

impl Batch {
    /// The next answer, in the order of the questions.
    pub(crate) fn next_answer(&mut self) -> &[u8] {
        let begin = if self.taken == 0 { 0 } else { self.ends.get(self.taken - 1).copied().unwrap_or(0) };
        self.taken += 1;
        match self.ends.get(self.taken - 1) {
            Some(end) => &self.answers[begin..*end],
            None => b"-ERR the core that has this key is gone\r\n",
        }
    }

    /// Empties it. Its memory stays, as long as it is no more than a usual turn takes.
    pub(crate) fn clear(&mut self) {
        self.taken = 0;
        self.asks.clear();
        self.ends.clear();
        for bytes in [&mut self.bytes, &mut self.answers] {
            bytes.clear();
            bytes.shrink_to(crate::KEPT);
        }
    }
}

pub(crate) struct Store {
    entries: HashTable<Entry>,
    /// When something expires, and the hash of its key.
    timers: BTreeSet<(Instant, u64)>,
    bytes: usize,
    most_bytes: usize,
    /// A number that is being written.
    text: Vec<u8>,
}

/// One cache line of the table, and so one wait for memory, where key and value are short.
#[repr(align(64))]
struct Entry {
    hash: u64,
    /// [`Instant::MAX`]: never.
    expires: Instant,
    /// The key, and behind it the value.
    data: SmallVec<[u8; 32]>,
    key: u32,
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    /// What it takes, roughly, with its part of the table.
    const COST: usize = 2 * size_of::<Self>();

    fn new(hash: u64, key: &[u8], value: &[u8]) -> Self {
        let mut data = SmallVec::with_capacity(key.len() + value.len());
        data.extend_from_slice(key);
        data.extend_from_slice(value);
        Self { hash, expires: Instant::MAX, data, key: key.len() as u32 }
    }

    fn is(&self, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && self.data[..self.key as usize] == *key
    }

    fn value(&self) -> &[u8] {
        &self.data[self.key as usize..]
    }

    fn set(&mut self, value: &[u8]) {
        self.data.truncate(self.key as usize);
        self.data.extend_from_slice(value);
        if self.data.capacity() > 2 * self.data.len() + 64 {
            self.data.shrink_to_fit();
        }
    }

    fn cost(&self) -> usize {
        Self::COST + if self.data.spilled() { self.data.capacity() } else { 0 }
    }
}

impl Store {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { entries: HashTable::new(), timers: BTreeSet::new(), bytes: 0, most_bytes, text: Vec::new() }
    }

    /// Answers all that a batch asks.
    pub(crate) fn serve(&mut self, batch: &mut Batch, now: Instant) {
        let Batch { asks, bytes, answers, ends, .. } = batch;
        let mut rest = &bytes[..];
        for some in asks.chunks(SOME) {
            some.iter().for_each(|ask| self.touch(ask.hash));
            for ask in some {
                let (key, value);
                (key, rest) = rest.split_at(ask.key as usize);
                (value, rest) = rest.split_at(ask.value as usize);
                self.answer(ask, key, value, now, answers);
                ends.push(answers.len());
            }
        }
    }

    /// Looks at what is looked up next. Nothing here waits for the memory before, as answers do, so
    /// the processor fetches that of many keys at once.
    fn touch(&self, hash: u64) {
        let entry = self.entries.find(hash, |entry| entry.hash == hash);
        black_box(entry.and_then(|entry| entry.data.first()).copied());
    }

    fn answer(&mut self, ask: &Ask, key: &[u8], value: &[u8], now: Instant, out: &mut Vec<u8>) {
        match ask.op {
            Op::Get => match self.find(ask.hash, key, now) {
                None => out.extend_from_slice(b"$-1\r\n"),
                Some(entry) if entry.value().len() as i64 > ask.number => {
                    out.extend_from_slice(b"-TRYAGAIN the value has just become longer than any other was\r\n");
                }
                Some(entry) => resp::bulk(out, entry.value()),
            },
            Op::Set => match self.set(ask.hash, key, value, now, ask.number) {
                true => out.extend_from_slice(b"+OK\r\n"),
                false => out.extend_from_slice(FULL),
            },
            Op::Del => {
                let found = self.find(ask.hash, key, now).is_some();
                self.remove(ask.hash, |entry| entry.is(ask.hash, key));
                resp::line(out, b':', found.into());
            }
            Op::Exists => resp::line(out, b':', self.find(ask.hash, key, now).is_some().into()),
            Op::Incr => self.incr(ask.hash, key, now, out),
            Op::Expire => {
                let found = self.find(ask.hash, key, now).is_some();
                if ask.number <= 0 {
                    self.remove(ask.hash, |entry| entry.is(ask.hash, key));
                } else if found {
                    self.expire(ask.hash, key, now.plus_nanos((ask.number as u64).saturating_mul(1_000_000_000)));
                }
                resp::line(out, b':', found.into());
            }
            Op::Ttl => {
                let seconds = match self.find(ask.hash, key, now).map(|entry| entry.expires) {
                    None => -2,
                    Some(Instant::MAX) => -1,
                    Some(at) => (at.since(now).as_millis() as i64 + 500) / 1000,
                };
                resp::line(out, b':', seconds);
            }
            Op::Count => resp::line(out, b':', self.entries.len() as i64),
        }
    }

    /// A key that is there and has not expired.
    fn find(&self, hash: u64, key: &[u8], now: Instant) -> Option<&Entry> {
        self.entries.find(hash, |entry| entry.is(hash, key)).filter(|entry| entry.expires > now)
    }

    /// False if there is no memory for it.
    fn set(&mut self, hash: u64, key: &[u8], value: &[u8], now: Instant, lasts: i64) -> bool {
        if self.bytes + Entry::COST + key.len() + value.len() > self.most_bytes {
            return false;
        }
        let old = match self.entries.entry(hash, |entry| entry.is(hash, key), |entry| entry.hash) {
            Place::Occupied(mut place) => {
                let entry = place.get_mut();
                self.bytes -= entry.cost();
                entry.set(value);
                self.bytes += entry.cost();
                entry.expires
            }
            Place::Vacant(place) => {
                let entry = Entry::new(hash, key, value);
                self.bytes += entry.cost();
                place.insert(entry);
                Instant::MAX
            }
        };
        if lasts != 0 || old != Instant::MAX {
            self.expire(hash, key, if lasts == 0 { Instant::MAX } else { now.plus_nanos(lasts as u64) });
        }
        true
    }

    fn incr(&mut self, hash: u64, key: &[u8], now: Instant, out: &mut Vec<u8>) {
        let old = self.find(hash, key, now);
        let Some(number) = old.map_or(Some(0), |entry| resp::number(entry.value())) else {
            return resp::error(out, "value is not an integer or out of range");
        };
        let Some(number) = number.checked_add(1) else { return resp::error(out, "increment or decrement would overflow") };
        // It lasts as long as before.
        let lasts = old.map(|entry| entry.expires).filter(|at| *at < Instant::MAX).map_or(0, |at| at.nanos_since(now) as i64);
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        resp::decimal(&mut text, number);
        match self.set(hash, key, &text, now, lasts) {
            true => resp::line(out, b':', number),
            false => out.extend_from_slice(FULL),
        }
        self.text = text;
    }

    /// Changes when a key expires that is there.
    fn expire(&mut self, hash: u64, key: &[u8], at: Instant) {
        let Some(entry) = self.entries.find_mut(hash, |entry| entry.is(hash, key)) else { return };
        self.timers.remove(&(entry.expires, hash));
        entry.expires = at;
        if at != Instant::MAX {
            self.timers.insert((at, hash));
        }
    }

    fn remove(&mut self, hash: u64, is: impl Fn(&Entry) -> bool) {
        if let Ok(place) = self.entries.find_entry(hash, is) {
            let (entry, _) = place.remove();
            self.timers.remove(&(entry.expires, hash));
            self.bytes -= entry.cost();
        }
    }

    /// Gives back the memory of keys that have expired, of some in each turn. Whether there were
    /// any.
    pub(crate) fn sweep(&mut self, now: Instant) -> bool {
        for n in 0..64 {
            match self.timers.first().copied() {
                Some((at, hash)) if at <= now => {
                    self.timers.remove(&(at, hash));
                    self.remove(hash, |entry| entry.hash == hash && entry.expires == at);
                }
                _ => return n > 0,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked of the key `k`.
    fn batch(op: Op, number: i64, value: &[u8]) -> Batch {
        let ask = Ask { op, hash: 7, number, key: 1, value: value.len() as u32 };
        Batch { asks: vec![ask], bytes: [b"k", value].concat(), ..Batch::default() }
    }

    #[test]
    fn s421_who_has_not_reckoned_with_so_long_a_value_is_told_to_ask_again() {
        let (mut store, now) = (Store::new(1 << 20), Instant::ZERO);
        let mut answer = |mut batch: Batch| {
            store.serve(&mut batch, now);
            String::from_utf8_lossy(batch.next_answer()).into_owned()
        };
        assert_eq!(answer(batch(Op::Set, 0, b"four")), "+OK\r\n");
        assert_eq!(answer(batch(Op::Get, 3, b"")), "-TRYAGAIN the value has just become longer than any other was\r\n");
        assert_eq!(answer(batch(Op::Get, 4, b"")), "$4\r\nfour\r\n");
    }

    #[test]
    fn s455_a_shorter_value_gives_back_what_a_longer_one_took() {
        let (mut store, now) = (Store::new(1 << 20), Instant::ZERO);
        let mut set = |length: usize| {
            let value = vec![b'v'; length];
            assert!(store.set(7, b"key", &value, now, 0));
            assert_eq!(store.find(7, b"key", now).map(Entry::value), Some(&value[..]));
            store.bytes
        };
        let short = set(1);
        assert_eq!((set(29), set(0)), (short, short), "in its cache line");
        assert!((30..100).contains(&(set(30) - short)), "out of it");
        assert!((50_000..100_000).contains(&set(50_000)));
        assert!(set(200) < 1_000);
        assert_eq!(set(2), short);
        store.remove(7, |_| true);
        assert_eq!(store.bytes, 0);
    }
}
