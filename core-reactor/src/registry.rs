//! Where statistics register, for whoever gathers them.

use core::fmt;

use linkme::distributed_slice;
use statistics::Samples;

use crate::{Cx, Reactor};

/// Whoever has statistics in this program.
#[distributed_slice]
pub static LCORE_STATS: [Source];

/// Registers a [`Source`] of statistics at link time, beside what it counts. All that show
/// statistics show it: RPC, metrics, `lcore-top`.
///
/// ```
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use core_reactor::{Source, register_stats, statistics::stats};
///
/// static HITS: AtomicU64 = AtomicU64::new(0);
///
/// stats! {
///     /// What caches have done.
///     pub struct CacheStats {
///         /// Found.
///         pub hits: u64 => counter("cache_hits_total"),
///     }
/// }
///
/// register_stats!(Source::Process(|samples| samples.add(&[], &CacheStats { hits: HITS.load(Ordering::Relaxed) })));
/// ```
#[macro_export]
macro_rules! register_stats {
    ($source:expr) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::LCORE_STATS)]
            #[linkme(crate = $crate::linkme)]
            static __LCORE_SOURCE: $crate::Source = $source;
        };
    };
}

/// Puts a reference to something into a link-time slice, so that whoever registers needs no crate
/// for it.
#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    ([$slice:path] [$kind:ty] $(#[$attribute:meta])* $visible:vis static $name:ident = $what:expr) => {
        $(#[$attribute])*
        #[$crate::linkme::distributed_slice($slice)]
        #[linkme(crate = $crate::linkme)]
        $visible static $name: $kind = &$what;
    };
    ([$slice:path] [$kind:ty] $what:expr) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($slice)]
            #[linkme(crate = $crate::linkme)]
            static __LCORE_REGISTERED: $kind = &$what;
        };
    };
}

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
