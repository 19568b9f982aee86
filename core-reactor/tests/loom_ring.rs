//! The ring under the model checker: every interleaving of a few operations, with the reorderings
//! that the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p core-reactor --release --test
//! "loom*"`
#![cfg(loom)]

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};

use core_reactor::{PushError, Receiver, Ring};
use loom::thread;

/// Explores up to this many involuntary switches between threads; more finds nothing new here and
/// takes hours.
fn model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// Takes what is there.
fn take(receiver: &mut Receiver<u32>, most: usize, into: &mut Vec<u32>) {
    let ready = receiver.ready(most);
    for _ in 0..ready {
        into.push(receiver.pop().expect("it was counted"));
    }
    receiver.publish(ready, most);
}

/// Each sender's items are received in order, but for those that came back.
fn check(senders: &[Vec<u32>], refused: &[Vec<u32>], received: &[u32]) {
    assert_eq!(received.len() + refused.iter().map(Vec::len).sum::<usize>(), senders.iter().map(Vec::len).sum::<usize>());
    for (sent, refused) in senders.iter().zip(refused) {
        let expected: Vec<u32> = sent.iter().copied().filter(|n| !refused.contains(n)).collect();
        let got: Vec<u32> = received.iter().copied().filter(|n| sent.contains(n)).collect();
        assert_eq!(got, expected);
    }
}

/// Two senders of two items each, one receiver that takes while they send. With two slots the ring
/// is full at times and its slots are used again.
///
/// Seen to fail with: Relaxed for Release where `fill` stores the sequence; Relaxed for Acquire in
/// `is_published`; Relaxed for Release where `publish` stores `head`; Relaxed for Acquire where
/// `look_at_head` loads it.
fn two_senders(slots: usize, preemptions: usize) {
    model(preemptions, move || {
        let (ring, mut receiver) = Ring::new(slots);
        let senders = [vec![1, 2], vec![11, 12]];
        let threads = senders.clone().map(|items| {
            let ring = ring.clone();
            thread::spawn(move || {
                let refused = items.into_iter().filter_map(|item| ring.push(item).err());
                refused.map(|refused| (assert_eq!(refused.why, PushError::Full), refused.item).1).collect::<Vec<_>>()
            })
        });
        let mut received = Vec::new();
        for _ in 0..2 {
            take(&mut receiver, 8, &mut received);
        }
        let refused = threads.map(|thread| thread.join().expect("the sender does not panic"));
        take(&mut receiver, 8, &mut received);
        assert!(receiver.is_empty());
        check(&senders, &refused, &received);
        assert!(slots == 2 || refused.iter().all(Vec::is_empty));
        assert!((1..=slots).contains(&ring.high_water()) && ring.depth() == 0);
    });
}

#[test]
fn two_senders_with_room_for_all_lose_nothing_and_keep_their_order() {
    two_senders(4, 2);
}

#[test]
fn two_senders_without_room_for_all_get_back_what_does_not_fit() {
    two_senders(2, 2);
}

#[test]
fn bulks_and_single_items_lose_nothing_and_keep_their_order() {
    model(2, || {
        let (ring, mut receiver) = Ring::new(2);
        let other = ring.clone();
        let bulk = thread::spawn(move || {
            let mut items = [1, 2, 3].into();
            let sent = other.push_bulk(&mut items).unwrap_or(0);
            assert_eq!(sent + items.len(), 3);
            Vec::from(items)
        });
        let single = ring.push(11).err().map(|refused| refused.item);
        let mut received = Vec::new();
        take(&mut receiver, 8, &mut received);
        let refused = bulk.join().expect("the sender does not panic");
        take(&mut receiver, 8, &mut received);
        check(&[vec![1, 2, 3], vec![11]], &[refused, single.into_iter().collect()], &received);
    });
}

/// The position goes round the ring: the second lap must not touch a slot before the receiver has
/// read the first.
#[test]
fn a_slot_is_used_again_only_when_it_has_been_read() {
    model(3, || {
        let (ring, mut receiver) = Ring::new(2);
        let other = ring.clone();
        let sender = thread::spawn(move || {
            let mut refused = Vec::new();
            for n in 1..=5 {
                refused.extend(other.push(n).err().map(|r| r.item));
            }
            refused
        });
        let mut received = Vec::new();
        for _ in 0..4 {
            take(&mut receiver, 1, &mut received);
        }
        let refused = sender.join().expect("the sender does not panic");
        while !receiver.is_empty() {
            take(&mut receiver, 1, &mut received);
        }
        check(&[vec![1, 2, 3, 4, 5]], &[refused], &received);
    });
}

/// One sender finds room by what the other one saw of the receiver.
///
/// Seen to fail with: Relaxed for Release where `look_at_head` stores `seen_head`; Relaxed for
/// Acquire where `claim` loads it.
#[test]
fn a_slot_is_used_again_only_when_it_has_been_read_whichever_sender_saw_that() {
    model(3, || {
        let (ring, mut receiver) = Ring::new(2);
        for n in [1, 2] {
            ring.push(n).map_err(|refused| refused.why).expect("there is room");
        }
        let threads = [3, 4].map(|n| {
            let ring = ring.clone();
            thread::spawn(move || ring.push(n).err().map(|refused| refused.item))
        });
        let mut received = Vec::new();
        take(&mut receiver, 2, &mut received);
        let refused = threads.map(|thread| thread.join().expect("the sender does not panic").into_iter().collect());
        take(&mut receiver, 2, &mut received);
        let [three, four] = refused;
        check(&[vec![1, 2], vec![3], vec![4]], &[vec![], three, four], &received);
    });
}

/// An item is received, or refused because the ring was closed: never taken and lost.
///
/// Seen to fail with a `close_if_empty` that looks at the tail and then sets the bit.
#[test]
fn closing_an_empty_ring_loses_no_item() {
    model(3, || {
        let (ring, mut receiver) = Ring::new(2);
        let threads = [1, 2].map(|n| {
            let ring = ring.clone();
            thread::spawn(move || ring.push(n).map_err(|refused| refused.why))
        });
        let mut received = Vec::new();
        take(&mut receiver, 8, &mut received);
        let closed = receiver.close_if_empty();
        let before = received.len();
        let sent = threads.map(|thread| thread.join().expect("the sender does not panic"));
        take(&mut receiver, 8, &mut received);
        assert!(!closed || received.len() == before, "a closed ring stays empty");
        let taken = sent.iter().filter(|sent| sent.is_ok()).count();
        assert_eq!(taken, received.len());
        assert!(sent.iter().flat_map(|sent| sent.err()).all(|why| closed && why == PushError::Closed));
        assert!(closed || taken == 2);
    });
}

/// Counts its drops. The counter is no part of the model.
struct Counted(StdArc<Count>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Seen to fail with a `Drop for Ring` that does nothing (an item filled after the receiver had
/// looked is never dropped) and with a `Drop for Receiver` that does not store `head` (items are
/// dropped twice).
#[test]
fn a_receiver_dropped_while_others_send_has_each_item_dropped_once() {
    model(3, || {
        let drops = StdArc::new(Count::new(0));
        let (ring, mut receiver) = Ring::new(2);
        assert!(ring.push(Counted(drops.clone())).is_ok());
        let threads = [(), ()].map(|()| {
            let (ring, drops) = (ring.clone(), drops.clone());
            thread::spawn(move || drop(ring.push(Counted(drops))))
        });
        drop(receiver.pop());
        receiver.publish(1, 1);
        drop(receiver);
        drop(ring);
        threads.into_iter().for_each(|thread| thread.join().expect("the sender does not panic"));
        assert_eq!(drops.load(Relaxed), 3);
    });
}
