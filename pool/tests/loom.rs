//! Model checks of what cores share:
//! `RUSTFLAGS="--cfg loom" cargo test -p lcore-pool --release --test loom`.
//!
//! Each model names the bug that was seeded to see it fail. Threads are few and operations fewer:
//! loom tries every interleaving. Almost: to decide where to switch it looks at the last access to
//! an atomic only, so a thread's own load hides another's earlier one. A [`Toss`] on both sides of
//! a race makes it try both orders; seed bugs to see that it does.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};

mod model {
    mod data;
    mod mempool;
    mod stack;
}

/// An atomic that both sides of a race change before it, which orders nothing but gives loom a
/// reason to let either go first.
#[derive(Clone)]
struct Toss(Arc<AtomicUsize>);

impl Toss {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}
