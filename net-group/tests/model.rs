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
    let seeds = std::env::var("MODEL_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let first = std::env::var("MODEL_FIRST").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
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

fn end(mut app: App) {
    app.calm_down();
    app.nothing_is_left();
    app.finish();
}
