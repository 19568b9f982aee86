//! The engine against a backend that answers with everything that is legal, in every order (statements 100 to 104).
//!
//! What is looked for: each byte once and in order; each frame sent or given back, once; exactly one `Closed` of each socket, and nothing behind it; no slot,
//! socket or buffer leaked; and a core that sleeps has left nothing undone.

#[path = "model/app.rs"]
mod app;
#[path = "model/choose.rs"]
mod choose;
#[path = "model/world.rs"]
mod world;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use app::App;
use choose::Chooser;
use world::WireKind;

/// Lives of so many sockets, chosen by chance; a failure names its seed.
#[test]
fn s100_whatever_happens_in_whatever_order() {
    let of = |name, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (first, seeds) = (of("MODEL_FIRST", 1), of("MODEL_SEEDS", 4_000));
    for seed in first..first + seeds {
        let run = || {
            let mut app = App::new(Chooser::of_seed(seed));
            app.begin(WireKind::Stream);
            app.begin(WireKind::Listener { waiting: VecDeque::new() });
            app.begin(WireKind::Connect { begun: false, answer: None });
            for _ in 0..120 {
                app.step();
            }
            end(app);
        };
        if let Err(why) = catch_unwind(AssertUnwindSafe(run)) {
            eprintln!("seed {seed}");
            resume_unwind(why);
        }
    }
}

/// Runs a story with the backend answering in each way that there is, as far as its first `most` decisions go.
fn each_way(most: usize, story: impl Fn(&mut App)) {
    let (mut way, mut ways) = (Some(Chooser::first(most)), 0);
    while let Some(choose) = way.take() {
        let decisions = format!("{choose:?}");
        let walk = || {
            let mut app = App::new(choose);
            story(&mut app);
            end(app).next_way()
        };
        way = catch_unwind(AssertUnwindSafe(walk)).unwrap_or_else(|why| {
            eprintln!("on the way {decisions}");
            resume_unwind(why)
        });
        ways += 1;
    }
    assert!(ways > 200, "only {ways} ways were walked");
}

/// Everything comes to rest, is as it should be, and ends.
fn end(mut app: App) -> Chooser {
    app.calm_down();
    app.nothing_is_left();
    app.finish()
}

#[test]
fn s101_bytes_and_a_reset_right_behind_them() {
    each_way(7, |app| {
        app.begin(WireKind::Stream);
        app.world().peer_sends(0, 7);
        app.world().peer_resets(0);
        app.poll();
        app.send();
        app.poll();
    });
}

#[test]
fn s101_a_connection_that_is_reset_before_it_is_taken() {
    each_way(7, |app| {
        app.begin(WireKind::Listener { waiting: VecDeque::new() });
        app.world().peer_connects(0);
        app.world().peer_sends(1, 3);
        app.world().peer_resets(1);
        app.poll();
        app.attach();
        app.poll();
    });
}

#[test]
fn s102_frames_on_their_way_when_a_socket_is_detached() {
    each_way(8, |app| {
        app.begin(WireKind::Stream);
        app.send();
        app.poll();
        app.send();
        app.detach();
        app.attach();
        app.poll();
    });
}

#[test]
fn s102_frames_on_their_way_when_a_socket_is_closed() {
    each_way(8, |app| {
        app.begin(WireKind::Stream);
        app.send();
        app.poll();
        app.send();
        app.close();
        app.poll();
    });
}

#[test]
fn s103_both_ends_in_either_order() {
    for peer_first in [false, true] {
        each_way(7, |app| {
            app.begin(WireKind::Stream);
            app.send();
            app.world().peer_sends(0, 3);
            if peer_first {
                app.world().peer_ends(0);
                app.poll();
            }
            app.shutdown();
            app.poll();
            app.world().peer_ends(0);
        });
    }
}

#[test]
fn s103_an_end_that_is_asked_for_before_there_is_a_connection() {
    each_way(7, |app| {
        app.begin(WireKind::Connect { begun: false, answer: None });
        app.shutdown();
        app.world().peer_answers(0, true);
        app.poll();
        app.world().peer_sends(0, 3);
        app.world().peer_ends(0);
        app.poll();
    });
}

/// Two peers that take nothing of their answers, and one that does: it goes on, and the group does not forget the others.
#[test]
fn s104_deaf_peers_and_the_last_buffers() {
    each_way(8, |app| {
        app.answers = true;
        (0..3).for_each(|_| app.begin(WireKind::Stream));
        for _ in 0..3 {
            for wire in 0..3 {
                app.world().peer_sends(wire, 15);
            }
            app.world().peer_takes(2, 15);
            app.poll();
            app.time_passes();
        }
    });
}

/// What is queued behind a frame that the system has goes out when that comes back, though nothing else happens.
#[test]
fn s104_frames_behind_one_that_is_on_its_way() {
    each_way(7, |app| {
        app.answers = false;
        app.begin(WireKind::Stream);
        app.send();
        app.poll();
        app.send();
        app.send();
    });
}

/// Nothing announces the one behind them.
#[test]
fn s104_twenty_connections_that_are_gone_before_they_are_accepted() {
    each_way(7, |app| {
        app.begin(WireKind::Listener { waiting: VecDeque::new() });
        app.world().gone = 20;
        (0..21).for_each(|_| app.world().peer_connects(0));
    });
}

#[test]
fn s71_who_has_closed_hears_of_no_room() {
    each_way(8, |app| {
        app.answers = false;
        app.begin(WireKind::Stream);
        (0..6).for_each(|_| app.send());
        app.flush();
        app.close();
        app.poll();
    });
}
