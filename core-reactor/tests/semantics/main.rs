//! The numbered statements of the behaviour that users can rely on, each held by tests named after
//! it (`s04_...` holds statement 4).
//!
//! They run on a simulated machine with a clock that the test moves, but for those that want real
//! concurrency (`machine`).

mod machine;
mod platforms;
mod record;
mod s01_turn;
mod s02_order;
mod s03_refusal;
mod s04_timers;
mod s04_timers_model;
mod s05_changes;
mod s06_figures;
mod s08_exit;
mod s09_visits;
mod s10_placement;
mod s110_sharded;
mod s114_later;
mod s11_cpu_sets;
mod s13_parking;
mod s150_face;
mod s430_io_devices;
mod s430_io_devices_model;
mod s436_ask;
mod sets;
mod soundness;
