//! The suite that every block device must pass, written once.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bench;
mod ends;
mod integrity;
mod limits;

pub use bench::{Bench, Subject};
pub use ends::{abort, dropped, removal, reset, reset_keeps, resize};
pub use integrity::{cores, model, steady};
pub use limits::{at_once, boundaries, opening, refusals};

/// Each test of the suite as a test of the program's, in a module of this name.
#[macro_export]
macro_rules! suite {
    ($name:ident, $subject:expr) => {
        mod $name {
            use super::*;

            $crate::suite!(@ $subject, s221_opening: opening, s222_boundaries: boundaries, s223_refusals: refusals, s224_model: model,
                s225_abort: abort, s226_reset: reset, s227_removal: removal, s228_resize: resize, s229_dropped: dropped,
                s301_reset_keeps: reset_keeps, s480_at_once: at_once);

            #[test]
            fn s224_cores() {
                $crate::cores(&$subject);
            }
        }
    };
    (@ $subject:expr, $($test:ident: $f:ident),*) => {
        $(#[test]
        fn $test() {
            $crate::$f(&$subject);
        })*
    };
}
