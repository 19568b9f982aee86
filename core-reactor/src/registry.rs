//! Where statistics register, for whoever gathers them.

use core::fmt;

use linkme::distributed_slice;
use statistics::Samples;

use crate::{Cx, Reactor};

/// Whoever has statistics in this program. One adds itself beside what it counts:
///
/// ```ignore
/// #[distributed_slice(core_reactor::LCORE_STATS)]
/// static OF_CACHES: Source = Source::Process(|samples| samples.add(&[], &CACHES));
/// ```
///
/// and is shown by all that show statistics: RPC, metrics, `lcore-top`.
#[distributed_slice]
pub static LCORE_STATS: [Source];

/// Where statistics are read. Each is called as often as somebody looks, and must not hold up whom
/// it is called by.
#[derive(Clone, Copy)]
pub enum Source {
    /// On each thread, in a message of its own: what belongs to the thread.
    Thread(fn(&mut Cx<'_>, &mut Samples)),
    /// On each reactor, between two turns: what belongs to its core.
    Core(fn(&Reactor, &mut Samples)),
    /// Anywhere: what may be read from anywhere.
    Process(fn(&mut Samples)),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread(_) => "of each thread",
            Self::Core(_) => "of each core",
            Self::Process(_) => "of the process",
        })
    }
}
