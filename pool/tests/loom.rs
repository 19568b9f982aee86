//! Model checks of what cores share: `RUSTFLAGS="--cfg loom" cargo test -p pool --release --test loom`.
//!
//! Each model names the bug that was seeded to see it fail. Threads are few and operations fewer: loom tries every interleaving.
//! Almost: to decide where to switch it looks at the last access to an atomic only, so a thread's own read can hide another's. Seed bugs, and
//! where one gets away let the two threads change roles.
#![cfg(loom)]

mod model {
    mod mempool;
    mod stack;
}
