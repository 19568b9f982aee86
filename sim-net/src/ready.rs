//! What a socket is, and what it is ready for.

/// What a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes connections.
    Listener,
    /// It is to be connected.
    Connect,
    /// Its connect is under way, or nobody has asked yet how it went.
    Connecting,
    /// A connection.
    Stream,
    /// A connection whose sending side has ended.
    Finished,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to be read, accepted, or known of a connect.
    pub read: bool,
    /// There is room to write.
    pub write: bool,
    /// The connection has failed.
    pub over: bool,
}
