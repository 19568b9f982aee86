//! Falling asleep under the model checker, by itself (`loom_reactor` has the reactor that does it):
//! no interleaving leaves a core asleep with a message before it, also when the message's thread
//! moves to another core meanwhile. See `loom_ring` for how to run it.
#![cfg(loom)]

use std::sync::Arc;

use core_reactor::{Receiver, Ring, Sleep};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

/// A core: its sleep, and what parks it. A lost wake-up is a deadlock, which the model checker
/// reports.
struct Core {
    sleep: Sleep,
    latch: Mutex<bool>,
    wake: Condvar,
}

impl Core {
    fn new() -> Self {
        Self { sleep: Sleep::new(), latch: Mutex::new(false), wake: Condvar::new() }
    }

    /// What every sender does after its push.
    fn wake(&self) {
        if self.sleep.wake() {
            *self.latch.lock().expect("nobody panics") = true;
            self.wake.notify_one();
        }
    }

    /// Takes the next item, asleep until there is one, as a reactor that parks at once.
    fn next<T>(&self, receiver: &mut Receiver<T>) -> T {
        loop {
            if let Some(item) = receiver.pop() {
                receiver.publish(1, 1);
                return item;
            }
            self.sleep.fall_asleep();
            if receiver.is_empty() {
                let mut woken = self.latch.lock().expect("nobody panics");
                while !*woken {
                    woken = self.wake.wait(woken).expect("nobody panics");
                }
                *woken = false;
            } else {
                // A sender has claimed and not filled yet.
                thread::yield_now();
            }
            self.sleep.wake_up();
        }
    }
}

fn model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    core_reactor::SLEEP_IS_MODELLED.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// Seen to fail without the fences in `fall_asleep` or in `wake` (which stand for the sequential
/// consistency of what comes before and behind them), and with a receiver that looks first and then
/// says that it sleeps.
#[test]
fn a_sleeper_sees_the_message_or_the_sender_sees_the_sleeper() {
    model(3, || {
        let core = Arc::new(Core::new());
        let (ring, mut receiver) = Ring::new(2);
        let other = core.clone();
        let sender = thread::spawn(move || {
            for n in 1..=2 {
                ring.push(n).map_err(|refused| refused.why).expect("there is room");
                other.wake();
            }
        });
        assert_eq!((core.next(&mut receiver), core.next(&mut receiver)), (1, 2));
        sender.join().expect("the sender does not panic");
    });
}

#[test]
fn of_two_senders_one_wakes_the_sleeper() {
    model(2, || {
        let core = Arc::new(Core::new());
        let (ring, mut receiver) = Ring::new(2);
        let senders = [1, 2].map(|n| {
            let (core, ring) = (core.clone(), ring.clone());
            thread::spawn(move || {
                ring.push(n).map_err(|refused| refused.why).expect("there is room");
                core.wake();
            })
        });
        assert_eq!(core.next(&mut receiver) + core.next(&mut receiver), 3);
        senders.into_iter().for_each(|sender| sender.join().expect("the sender does not panic"));
    });
}

/// The mailbox moves from core 0 to core 1 as a thread does: what senders read of its core is
/// changed, then it goes as an event. A sender that still reads the old index wakes the old core;
/// then the new one sees the message before it sleeps.
///
/// Seen to fail with an index that is changed after the event was sent, and without the fence
/// beside the claim of a position.
#[test]
fn a_message_to_a_thread_that_moves_wakes_the_core_that_has_it() {
    model(2, || {
        let cores = Arc::new([Core::new(), Core::new()]);
        let core_index = Arc::new(AtomicUsize::new(0));
        let (mailbox, inbox) = Ring::new(2);
        let (events, mut arrivals) = Ring::new(2);
        let sender = {
            let (cores, core_index) = (cores.clone(), core_index.clone());
            thread::spawn(move || {
                mailbox.push(7).map_err(|refused| refused.why).expect("there is room");
                cores[core_index.load(Ordering::SeqCst)].wake();
            })
        };
        let mover = {
            let cores = cores.clone();
            thread::spawn(move || {
                core_index.store(1, Ordering::SeqCst);
                events.push(inbox).map_err(|refused| refused.why).expect("there is room");
                cores[1].wake();
            })
        };
        let mut inbox = cores[1].next(&mut arrivals);
        assert_eq!(cores[1].next(&mut inbox), 7);
        sender.join().expect("the sender does not panic");
        mover.join().expect("the mover does not panic");
    });
}
