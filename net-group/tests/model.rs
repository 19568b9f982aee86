//! The engine against a backend that answers with everything that is legal, in every order
//! (statements 100 to 104).
//!
//! What is looked for: each byte once and in order; each frame sent or given back, once; exactly
//! one `Closed` of each socket, and nothing behind it; no slot, socket or buffer leaked; and a core
//! that sleeps has left nothing undone.

#[path = "model/app.rs"]
mod app;
#[path = "model/choose.rs"]
mod choose;
#[path = "model/world.rs"]
mod world;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use app::{App, Settings};
use choose::Chooser;
use world::WireKind;

/// Lives of so many sockets, chosen by chance; a failure names its seed.
#[test]
fn s100_whatever_happens_in_whatever_order() {
    let of = |name, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (first, seeds) = (of("MODEL_FIRST", 1), of("MODEL_SEEDS", 4_000));
    for seed in first..first + seeds {
        let run = || {
            let mut choose = Chooser::of_seed(seed);
            let (how, window) = (Settings::by(&mut choose), [100, 3, 0][choose.pick(3)]);
            let mut app = App::new(choose, how);
            app.begin(WireKind::Stream, window);
            app.begin(WireKind::Listener { waiting: VecDeque::new() }, 0);
            app.begin(WireKind::Connect { begun: false, answer: None }, window);
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

/// Runs a story with the backend answering in each way that there is, as far as its first `most`
/// decisions go.
fn each_way(most: usize, how: impl Fn() -> Settings, story: impl Fn(&mut App)) {
    each_way_to(most, how, story, end);
}

/// The same, with another end.
fn each_way_to(most: usize, how: impl Fn() -> Settings, story: impl Fn(&mut App), end: impl Fn(App) -> Chooser) {
    let (mut way, mut ways) = (Some(Chooser::first(most)), 0);
    while let Some(choose) = way.take() {
        let decisions = format!("{choose:?}");
        let walk = || {
            let mut app = App::new(choose, how());
            story(&mut app);
            end(app).next_way()
        };
        way = catch_unwind(AssertUnwindSafe(walk)).unwrap_or_else(|why| {
            eprintln!("on the way {decisions}");
            resume_unwind(why)
        });
        ways += 1;
    }
    assert!(ways > 100, "only {ways} ways were walked");
}

/// Everything comes to rest, is as it should be, and ends.
fn end(mut app: App) -> Chooser {
    app.calm_down();
    app.nothing_is_left();
    app.finish()
}

#[test]
fn s101_bytes_and_a_reset_right_behind_them() {
    each_way(9, Settings::default, |app| {
        app.begin(WireKind::Stream, 3);
        app.world().peer_sends(0, 7);
        app.world().peer_resets(0);
        app.poll();
        app.send();
        app.poll();
    });
}

#[test]
fn s101_a_connection_that_is_reset_before_it_is_taken() {
    each_way(9, Settings::default, |app| {
        app.begin(WireKind::Listener { waiting: VecDeque::new() }, 0);
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
    each_way(10, Settings::default, |app| {
        app.begin(WireKind::Stream, 3);
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
    each_way(10, Settings::default, |app| {
        app.begin(WireKind::Stream, 3);
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
        each_way(9, Settings::default, |app| {
            app.begin(WireKind::Stream, 3);
            app.send();
            app.world().peer_sends(0, 3);
            if peer_first {
                app.world().peer_ends(0);
                app.poll();
                app.send();
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
    each_way(9, Settings::default, |app| {
        app.begin(WireKind::Connect { begun: false, answer: None }, 3);
        app.shutdown();
        app.world().peer_answers(0, true);
        app.poll();
        app.world().peer_sends(0, 3);
        app.world().peer_ends(0);
        app.poll();
    });
}

/// It goes on meanwhile, and is told where the socket is in the end.
#[test]
fn s131_a_connect_that_changes_its_group_again_and_again() {
    each_way(9, Settings::default, |app| {
        app.begin(WireKind::Connect { begun: false, answer: None }, 3);
        for turn in 0..3 {
            app.detach();
            if turn == 1 {
                app.world().peer_answers(0, true);
                app.world().peer_sends(0, 3);
            }
            app.attach();
        }
        app.poll();
    });
}

/// Two peers that take nothing of their answers, and one that does: it goes on, and the group does
/// not forget the others. With bytes that are asked for and bytes that come by themselves, which
/// need no other buffer; and with a limit for who takes nothing.
#[test]
fn s104_deaf_peers_and_the_last_buffers() {
    for (pushes, stall_limit) in [(0, None), (1, None), (1, Some(Duration::from_millis(50)))] {
        let how = || Settings { answers: true, pushes, stall_limit, ..Settings::default() };
        each_way(8, how, |app| {
            [3, 3, 100].into_iter().for_each(|window| app.begin(WireKind::Stream, window));
            for _ in 0..3 {
                for wire in 0..3 {
                    app.world().peer_sends(wire, 15);
                }
                app.world().peer_takes(2, 15);
                (0..9).for_each(|_| app.poll());
                app.time_passes();
            }
        });
    }
}

/// One takes nothing of what is sent to it, and all buffers are out.
fn short_of_buffers(stall_limit: Duration) -> App {
    let mut app = App::new(Chooser::first(0), Settings { stall_limit: Some(stall_limit), ..Settings::default() });
    app.begin(WireKind::Stream, 0);
    app.send();
    app.hold_all_buffers();
    app.rest(true);
    app
}

/// A core that is short of buffers sleeps from one look for who takes nothing to the next, and is
/// woken for each of them though nothing else happens.
#[test]
fn s74_a_core_sleeps_until_the_next_look_for_who_takes_nothing() {
    let mut app = short_of_buffers(Duration::from_secs(3600));
    for alarm in 1..=4 {
        assert!(!app.is_over(), "alarm {alarm}: its hour is not over");
        assert!(app.sleep(), "alarm {alarm}: nothing would wake the core");
        app.rest(false);
    }
    assert!(app.is_over(), "the fourth look is an hour after the first");
    end(app);
}

/// What is to be tried again soon does not wait for the next look, nor is that forgotten for it.
#[test]
fn s74_what_is_tried_again_and_the_next_look_do_not_forget_each_other() {
    let mut app = short_of_buffers(Duration::from_secs(3600));
    app.begin(WireKind::Listener { waiting: VecDeque::new() }, 0);
    app.world().descriptors = false;
    app.world().peer_connects(1);
    app.rest(false);
    for again in 1..=3 {
        let before = app.now();
        assert!(app.sleep(), "time {again}: nothing would wake the core");
        app.rest(false);
        assert_eq!((app.now() - before, app.accepted()), (Duration::from_millis(10), 0), "there are no descriptors");
    }
    app.world().descriptors = true;
    assert!(app.sleep());
    app.rest(false);
    assert_eq!(app.accepted(), 1);
    assert!(app.sleep() && app.now() >= Duration::from_secs(900), "the look comes");
    end(app);
}

/// A pool that takes no more requests does not tell when it does, so it is tried again and again.
#[test]
fn s104_a_buffer_that_could_not_be_asked_for_is_asked_for_later() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Stream, 100);
    app.hold_all_buffers();
    let others = app.all_requests();
    app.world().peer_sends(0, 5);
    app.rest(false);
    for again in 1..=3 {
        assert!(app.sleep(), "time {again}: nothing would wake the core");
        app.rest(false);
    }
    drop(others);
    assert!(app.sleep());
    app.rest(false);
    app.gives_one_back();
    app.rest(false);
    assert_eq!(app.heard(), [0], "the buffer was announced");
    end(app);
}

/// What a backend could not give back at first is for those that wait, when it can.
#[test]
fn s104_who_waits_has_the_buffers_of_the_backend_too() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Stream, 100);
    app.backend_takes_a_buffer();
    app.hold_all_buffers();
    app.world().peer_sends(0, 5);
    (0..2).for_each(|_| app.poll());
    assert_eq!(app.heard(), [0]);
    end(app);
}

/// Buffers that come home while a group is polled are for those that wait since just then.
#[test]
fn s64_nobody_receives_past_those_that_wait() {
    let mut app = App::new(Chooser::first(0), Settings { keeps: 20, ..Settings::default() });
    (0..3).for_each(|_| app.begin(WireKind::Stream, 100));
    app.rest(true);
    app.two_come_home_when_there_is_none_for(1);
    (0..3).for_each(|wire| app.world().peer_sends(wire, 5));
    (0..3).for_each(|_| drop(app.poll_with_room(8)));
    assert_eq!(app.heard(), [0, 1]);
    end(app);
}

/// Who asks little is served between those that send much.
#[test]
fn s64_who_waits_for_a_buffer_is_served_by_how_much_waits() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    (0..3).for_each(|_| app.begin(WireKind::Stream, 100));
    app.hold_all_buffers();
    for (wire, bytes) in [(0, 4097), (1, 4097), (2, 4096)] {
        app.world().peer_sends(wire, bytes);
        app.rest(false);
    }
    for _ in 0..3 {
        app.gives_one_back();
        app.poll();
    }
    assert_eq!(app.heard()[..3], [0, 2, 1]);
    end(app);
}

/// However often it is told of in a poll: who connects while the others are taken is no end of
/// them.
#[test]
fn s65_a_listener_hands_out_sixteen_connections_a_poll() {
    for to_come in [0, 39] {
        let mut app = App::new(Chooser::first(0), Settings::default());
        app.begin(WireKind::Listener { waiting: VecDeque::new() }, 0);
        app.world().to_come = to_come;
        (to_come..40).for_each(|_| app.world().peer_connects(0));
        while app.accepted() < 40 {
            let before = app.accepted();
            app.poll_with_room(64);
            assert!((1..=16).contains(&(app.accepted() - before)), "{} in one poll", app.accepted() - before);
        }
        end(app);
    }
}

/// What is queued behind a frame that the system has goes out when that comes back, though nothing
/// else happens.
#[test]
fn s104_frames_behind_one_that_is_on_its_way() {
    each_way(9, Settings::default, |app| {
        app.begin(WireKind::Stream, 3);
        app.poll();
        app.send();
        app.poll();
        app.send();
        app.send();
    });
}

/// A frame without bytes asks nothing of the backend, which looks, and is not in the way of the
/// next one.
#[test]
fn s18_a_frame_without_bytes_is_sent_without_a_call() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Stream, 100);
    app.poll();
    app.send_nothing(0);
    app.poll();
    app.send_nothing(0);
    app.send();
    end(app);
}

/// Nothing announces the one behind them.
#[test]
fn s104_forty_connections_that_are_gone_before_they_are_accepted() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Listener { waiting: VecDeque::new() }, 0);
    app.world().gone = 40;
    (0..41).for_each(|_| app.world().peer_connects(0));
    end(app);
}

#[test]
fn s71_who_has_closed_hears_of_no_room() {
    each_way(10, Settings::default, |app| {
        app.begin(WireKind::Stream, 3);
        (0..6).for_each(|_| app.send());
        app.flush();
        app.close();
        app.poll();
    });
}

/// Somebody panics who is woken by the buffer of the first frame that is sent: the frames of the
/// others still go out.
#[test]
fn s104_a_panic_on_the_way_loses_nobody() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    (0..3).for_each(|_| app.begin(WireKind::Stream, 100));
    app.poll();
    (0..3).for_each(|at| app.send_on(at));
    let waits = app.panics_when_a_buffer_comes_home();
    assert!(catch_unwind(AssertUnwindSafe(|| app.flush())).is_err());
    drop(waits);
    end(app);
}

/// Bytes that come by themselves do not go past those that were kept.
#[test]
fn s104_what_was_kept_comes_first() {
    let how = || Settings { pushes: 1, ..Settings::default() };
    each_way(8, how, |app| {
        app.begin(WireKind::Stream, 3);
        app.world().peer_sends(0, 15);
        app.poll();
        app.world().peer_sends(0, 5);
        app.poll();
        app.poll();
    });
}

/// Buffers come home one by one, to three that wait for one each.
#[test]
fn s104_who_waits_for_a_buffer_is_woken_for_it() {
    let how = || Settings { keeps: 20, ..Settings::default() };
    each_way(8, how, |app| {
        (0..3).for_each(|_| app.begin(WireKind::Stream, 3));
        (0..3).for_each(|wire| app.world().peer_sends(wire, 5));
        app.hold_all_buffers();
        (0..3).for_each(|_| app.poll());
    });
}

/// The place of one that is leaving is had as soon as the system can be urged to let go of it.
#[test]
fn s102_who_leaves_makes_room() {
    each_way(10, Settings::default, |app| {
        (0..3).for_each(|_| app.begin(WireKind::Stream, 3));
        app.send();
        app.flush();
        app.close();
        app.begin(WireKind::Stream, 3);
    });
}

#[test]
fn s102_a_group_that_ends_waits_for_what_the_system_has() {
    let story = |app: &mut App| {
        (0..2).for_each(|_| app.begin(WireKind::Stream, 3));
        app.send();
        app.flush();
        app.close();
    };
    each_way_to(10, Settings::default, story, App::drop_group);
}

/// While its frames wait only because the system takes nothing, no more is read that would need an
/// answer.
#[test]
fn s73_who_queues_behind_what_is_not_taken_is_not_read() {
    let mut app = App::new(Chooser::first(0), Settings { send_limit: 1000, ..Settings::default() });
    app.begin(WireKind::Stream, 0);
    app.poll();
    app.send_on(0);
    app.flush();
    assert!(app.world().wires[0].reading);
    (0..3).for_each(|_| app.send_on(0));
    assert!(!app.world().wires[0].reading);
    end(app);
}

#[test]
fn s73_buffers_that_the_application_has_are_not_counted_as_left() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    for (more, times) in [(5, 0), (1, 1)] {
        app.hold_buffers(more);
        app.poll();
        assert_eq!((app.stats().buffers_low, app.world().low), (times, times > 0));
    }
    end(app);
}

/// It is the clock that ends who takes nothing: a backend's timer has the core wake for it, and
/// without one it does not sleep.
#[test]
fn s74_a_core_that_sleeps_is_woken_to_end_who_takes_nothing() {
    for has_timer in [true, false] {
        let stall_limit = Some(Duration::from_millis(50));
        let mut app = App::new(Chooser::first(0), Settings { has_timer, stall_limit, ..Settings::default() });
        app.begin(WireKind::Stream, 0);
        app.poll();
        app.send_on(0);
        app.hold_all_buffers();
        let mut looks = 0;
        while app.stats().stalled == 0 {
            app.poll();
            assert_eq!((app.world().timer.is_some(), app.is_woken()), (has_timer, !has_timer), "after {looks} looks");
            app.time_passes();
            looks += 1;
            assert!(looks < 10, "it is ended");
        }
        app.let_go();
        end(app);
    }
}

#[test]
fn s102_what_a_system_keeps_of_a_group_that_ends_is_left_to_it() {
    let story = |app: &mut App| {
        (0..2).for_each(|_| app.begin(WireKind::Stream, 3));
        app.send();
        app.flush();
        app.close();
    };
    each_way_to(10, Settings::default, story, App::lose_group);
}

/// Reports have half of a poll's room, rounded up and down in turn, and bytes the rest.
#[test]
fn s20_a_sender_that_always_hears_of_more_leaves_room_for_bytes() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Stream, 100);
    (0..2).for_each(|_| app.poll());
    let mut heard = Vec::new();
    for _ in 0..2 {
        app.send_tagged(0, 3);
        app.flush();
        app.world().peer_sends(0, 5);
        heard.push(app.poll_with_room(5));
        (0..2).for_each(|_| app.poll());
    }
    assert_eq!(heard, ["SSSR", "SSRS"]);
    end(app);
}

/// Who waits for its turn has it in a poll that has found something else.
#[test]
fn s20_whoever_was_ready_before_is_served() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    (0..2).for_each(|_| app.begin(WireKind::Stream, 100));
    (0..2).for_each(|_| app.poll());
    (0..2).for_each(|wire| app.world().peer_sends(wire, 5));
    assert_eq!(app.poll_with_room(1), "R");
    app.send_tagged(0, 1);
    app.flush();
    assert_eq!(app.poll_with_room(4), "SR");
    end(app);
}

#[test]
fn polls_and_events_are_counted_as_they_are() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Stream, 100);
    app.poll();
    app.world().peer_sends(0, 5);
    let before = app.stats();
    assert_eq!(app.poll_behind(), 0, "the second finds nothing");
    let after = app.stats();
    let counted = [(before.polls, after.polls), (before.busy_polls, after.busy_polls), (before.events, after.events)];
    assert_eq!(counted.map(|(before, after)| after - before), [2, 1, 1]);
    end(app);
}

/// Three that wait have their buffers in one poll, if there are three.
#[test]
fn s104_all_that_wait_are_served_when_there_are_buffers() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    (0..3).for_each(|_| app.begin(WireKind::Stream, 100));
    (0..2).for_each(|_| app.poll());
    app.hold_all_buffers();
    (0..3).for_each(|wire| app.world().peer_sends(wire, 5));
    assert_eq!(app.poll_with_room(4), "");
    app.let_go();
    assert_eq!(app.poll_with_room(4), "RRR");
    end(app);
}

/// The place of one that waited for a buffer is a listener's now, which needs none.
#[test]
fn s104_who_comes_after_one_that_waited_is_not_read_for_it() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Stream, 100);
    (0..2).for_each(|_| app.poll());
    app.hold_all_buffers();
    app.world().peer_sends(0, 5);
    app.poll();
    app.close();
    app.begin(WireKind::Listener { waiting: VecDeque::new() }, 0);
    app.poll();
    app.world().peer_connects(1);
    app.let_go();
    end(app);
}

#[test]
fn s16_a_want_of_descriptors_is_told_once_until_it_is_over() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Listener { waiting: VecDeque::new() }, 0);
    for times in 1..3 {
        app.world().descriptors = false;
        app.world().peer_connects(0);
        for _ in 0..3 {
            app.time_passes();
            app.poll();
            assert_eq!((app.stats().accept_pauses, app.world().told_out), (times, times as usize));
        }
        app.world().descriptors = true;
        app.time_passes();
        (0..3).for_each(|_| app.poll());
    }
    end(app);
}

#[test]
fn s73_without_room_for_an_answer_nothing_is_read_while_buffers_are_low() {
    let mut app = App::new(Chooser::first(0), Settings::default());
    app.begin(WireKind::Stream, 0);
    app.hold_buffers(6);
    app.poll();
    app.world().peer_sends(0, 5);
    assert_eq!(app.poll_with_room(4), "");
    assert!(!app.world().wires[0].reading);
    app.world().peer_takes(0, 5);
    assert_eq!(app.poll_with_room(4), "R");
    app.let_go();
    end(app);
}

/// Also of bytes that come by themselves.
#[test]
fn s72_while_too_much_is_not_told_of_no_bytes_are_handed_out() {
    let mut app = App::new(Chooser::first(0), Settings { pushes: 1, ..Settings::default() });
    app.begin(WireKind::Stream, 100);
    (0..2).for_each(|_| app.poll());
    for _ in 0..2 {
        app.send_tagged(0, 2);
        app.flush();
        app.world().peer_sends(0, 5);
        assert_eq!(app.poll_with_room(1), "S");
        (0..2).for_each(|_| drop(app.poll_with_room(4)));
    }
    app.world().peer_sends(0, 5);
    assert_eq!(app.poll_with_room(4), "R");
    end(app);
}

/// Neither what was said of a connect, nor what was said too early, ends a connection whose peer
/// ends its side.
#[test]
fn s103_who_only_seemed_to_be_over_goes_on_behind_the_peers_end() {
    for kind in [WireKind::Stream, WireKind::Connect { begun: false, answer: None }] {
        let mut app = App::new(Chooser::first(0), Settings::default());
        app.begin(kind, 100);
        (0..2).for_each(|_| app.poll());
        app.world().seems_over(0);
        (0..2).for_each(|_| app.poll());
        app.world().peer_answers(0, true);
        (0..2).for_each(|_| app.poll());
        app.world().peer_ends(0);
        assert_eq!(app.poll_with_room(4), "P");
        assert_eq!(app.poll_with_room(4), "");
        app.send_on(0);
        end(app);
    }
}
