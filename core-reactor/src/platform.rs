//! What a reactor needs from whatever it runs on.

use alloc::boxed::Box;

use crate::net::Text;
use crate::{CoreId, CpuSet, Instant};

/// Something that the platform can wait for beside its own wake-ups: a file descriptor on Linux, an
/// interrupt line in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitSource(pub i32);

/// The cores, clock and parking of a machine. Handed to `Reactors` and never global: two sets with
/// two platforms can live in one process.
///
/// # Parking
///
/// `park` and `unpark` are a latch for each core: an `unpark` that comes before its `park` makes
/// that `park` return at once. A park may return early for no reason; it may not sleep past
/// `until`, past an `unpark`, or while a watched source is ready.
///
/// # Panics
///
/// No method should. One that does is a panic of whoever called it: of a reactor, which ends the
/// set, or of the caller of `Reactors::run`. Nothing is lost or freed twice by it; a core that an
/// `unpark` did not reach sleeps on. If it comes on the way of another panic, it ends the process.
pub trait Platform: Send + Sync {
    /// The time. Never goes back. Read once per turn and again after work that took time; a few
    /// nanoseconds if it can be had. With the feature `observe` whoever wakes a sleeping core reads
    /// it too, so it is callable as [`unpark`](Self::unpark) is.
    fn now(&self) -> Instant;

    /// The cores that this process may use.
    fn cores(&self) -> CpuSet;

    /// Starts `entry` on its own flow of control pinned to `core`. Returns when it has started (so
    /// pinned, its errors known).
    ///
    /// # Errors
    /// The core is none of [`cores`](Self::cores), already runs an entry of this platform, or the
    /// system refuses.
    fn start(&self, core: CoreId, entry: Box<dyn FnOnce() + Send>) -> Result<(), PlatformError>;

    /// Waits until the entry started on `core` has returned. Returns at once if none runs there.
    ///
    /// # Errors
    /// [`PlatformError::Panicked`]: the entry ended by a panic.
    fn join(&self, core: CoreId) -> Result<(), PlatformError>;

    /// Makes the caller's own flow of control the one of `core`: pins it. For the core that the
    /// application starts on.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    fn adopt(&self, core: CoreId) -> Result<(), PlatformError>;

    /// Gives the caller back what [`adopt`](Self::adopt) changed (its affinity, its name).
    fn release(&self, core: CoreId);

    /// Sleeps on `core` until `until`, an [`unpark`](Self::unpark) or a watched source, whichever
    /// is first. Called by the core itself.
    fn park(&self, core: CoreId, until: Option<Instant>);

    /// Wakes `core`, now or at its next park. Callable from any thread and from a signal handler.
    fn unpark(&self, core: CoreId);

    /// From now on `core` does not sleep while `source` is ready (level-triggered).
    ///
    /// # Errors
    /// The system refuses the source.
    fn watch(&self, core: CoreId, source: WaitSource) -> Result<(), PlatformError>;

    /// Ends a [`watch`](Self::watch). Call it before the source is closed.
    fn unwatch(&self, core: CoreId, source: WaitSource);
}

/// Why a platform could not do what it was asked.
///
/// ```
/// use core_reactor::{CoreId, Platform, PlatformError, ReactorOptions, Reactors, sim::SimPlatform};
///
/// let options = ReactorOptions::new("0-3".parse()?);
/// let why = Reactors::new(SimPlatform::new(2), &options).map(drop);
/// assert!(matches!(why, Err(PlatformError::NoSuchCore { core: CoreId(2), .. })));
/// # Ok::<(), core_reactor::CpuSetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// An empty set of cores was asked for.
    #[error("no core was asked for")]
    NoCores,
    /// A bound that cannot work.
    #[error("{option} is {value}, and must be between 1 and {most}")]
    Bound {
        /// The field.
        option: &'static str,
        /// What it was set to.
        value: usize,
        /// The most that it can be.
        most: usize,
    },
    /// A core that is not there or not allowed.
    #[error("core {core} is not one of the cores that this process may use ({allowed})")]
    NoSuchCore {
        /// The core asked for.
        core: CoreId,
        /// The cores that could be asked for.
        allowed: CpuSet,
    },
    /// The core is taken, by this process or another.
    #[error("core {core} is taken by {by}")]
    CoreTaken {
        /// The core asked for.
        core: CoreId,
        /// Who has it.
        by: Text,
    },
    /// An entry ended by a panic.
    #[error("the reactor on core {core} panicked")]
    Panicked {
        /// The core it ran on.
        core: CoreId,
    },
    /// The system said no.
    #[error("{doing}: {text} (error {code})")]
    Os {
        /// What was attempted.
        doing: &'static str,
        /// The system's number for it.
        code: i32,
        /// The system's words for it.
        text: Text,
    },
}
