//! What is given back.

use alloc::boxed::Box;
use core::error::Error;
use core::fmt;

/// What was handed over and could not be taken, with the reason.
///
/// `?` keeps the reason and drops the thing, in a function whose error is that reason or
/// `Box<dyn Error>`. Where the error is another that is made of the reason, there is
/// [`why`](field@Self::why):
///
/// ```
/// use core_reactor::net::{NetError, SockGroup, Socket, Token};
///
/// struct NoService(NetError);
/// impl From<NetError> for NoService {
///     fn from(why: NetError) -> Self {
///         Self(why)
///     }
/// }
///
/// fn listen(group: &mut dyn SockGroup, socket: Box<dyn Socket>) -> Result<(), NetError> {
///     group.attach(socket, Token(0))?;
///     Ok(())
/// }
/// fn serve(group: &mut dyn SockGroup, socket: Box<dyn Socket>) -> Result<(), NoService> {
///     group.attach(socket, Token(0)).map_err(|refused| refused.why)?;
///     Ok(())
/// }
/// ```
pub struct Refused<T, E> {
    /// The thing, unharmed.
    pub item: T,
    /// Why it was refused.
    pub why: E,
}

impl<T, E: fmt::Debug> fmt::Debug for Refused<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("why", &self.why).finish_non_exhaustive()
    }
}

/// The reason. It is no [`Error`]: what was refused may belong to a core, and errors go anywhere.
impl<T, E: fmt::Display> fmt::Display for Refused<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<T, E: Error + Send + Sync + 'static> From<Refused<T, E>> for Box<dyn Error + Send + Sync> {
    fn from(refused: Refused<T, E>) -> Self {
        refused.why.into()
    }
}

impl<T, E: Error + 'static> From<Refused<T, E>> for Box<dyn Error> {
    fn from(refused: Refused<T, E>) -> Self {
        refused.why.into()
    }
}
