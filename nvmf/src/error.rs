//! Why the target was not changed as it was asked to be.

use alloc::boxed::Box;
use core::net::SocketAddr;

use bdev::BdevError;
use core_reactor::net::NetError;
use nvme::auth::SecretError;

/// Why the target was not changed as it was asked to be. Nothing has changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NvmfError {
    /// There is no subsystem of that name.
    #[error("Subsystem with NQN '{0}' not found")]
    NoSubsystem(Box<str>),
    /// Its name is another's.
    #[error("Subsystem NQN '{0}' already exists")]
    SubsystemExists(Box<str>),
    /// There are as many as there may be.
    #[error("there are {0} subsystems, as many as this target has room for")]
    TooManySubsystems(usize),
    /// A parameter cannot be.
    #[error("{what}: {why}")]
    Invalid {
        /// Which one.
        what: &'static str,
        /// What is wrong with it, with its value.
        why: Box<str>,
    },
    /// Nobody has asked for this transport yet.
    #[error("there is no transport TCP; create it first (nvmf_create_transport)")]
    NoTransport,
    /// There is one.
    #[error("Transport type 'TCP' already exists")]
    TransportExists,
    /// The namespace is not there.
    #[error("subsystem {nqn} has no namespace {nsid}")]
    NoNamespace {
        /// The subsystem.
        nqn: Box<str>,
        /// NSID.
        nsid: u32,
    },
    /// Its NSID is another's.
    #[error("subsystem {nqn} has a namespace {nsid} already")]
    NamespaceExists {
        /// The subsystem.
        nqn: Box<str>,
        /// NSID.
        nsid: u32,
    },
    /// All NSIDs are taken.
    #[error("subsystem {nqn} has {most} namespaces, as many as it was made for (max_namespaces)")]
    TooManyNamespaces {
        /// The subsystem.
        nqn: Box<str>,
        /// How many there may be.
        most: u32,
    },
    /// The device cannot be a namespace.
    #[error(transparent)]
    Device(#[from] BdevError),
    /// It does not listen there.
    #[error("subsystem {nqn} does not listen at {at}")]
    NoListener {
        /// The subsystem.
        nqn: Box<str>,
        /// The address.
        at: SocketAddr,
    },
    /// It listens there.
    #[error("subsystem {nqn} listens at {at} already")]
    ListenerExists {
        /// The subsystem.
        nqn: Box<str>,
        /// The address.
        at: SocketAddr,
    },
    /// The address cannot be listened at.
    #[error("no listener at {at}: {why}")]
    Listen {
        /// The address.
        at: SocketAddr,
        /// What the system says.
        why: NetError,
    },
    /// The host is not one of those named.
    #[error("host {host} is not among those that may connect to {nqn}")]
    NoHost {
        /// The subsystem.
        nqn: Box<str>,
        /// HOSTNQN.
        host: Box<str>,
    },
    /// It is.
    #[error("host {host} may connect to {nqn} already")]
    HostExists {
        /// The subsystem.
        nqn: Box<str>,
        /// HOSTNQN.
        host: Box<str>,
    },
    /// A key is no secret.
    #[error("key '{name}': {why}")]
    Key {
        /// The key.
        name: Box<str>,
        /// What is wrong with it.
        why: SecretError,
    },
    /// A controller's key alone.
    #[error("a host that has a controller's key needs a key of its own (dhchap_key): who asks first shows who it is first")]
    ControllerKeyAlone,
    /// Nobody has said how.
    #[error("this program has no means to authenticate hosts")]
    NoAuthentication,
    /// The discovery subsystem has none of these.
    #[error("{nqn} is the discovery subsystem, which has no {what}")]
    Discovery {
        /// The subsystem.
        nqn: Box<str>,
        /// What it has not.
        what: &'static str,
    },
}

impl NvmfError {
    pub(crate) fn invalid(what: &'static str, why: impl Into<alloc::string::String>) -> Self {
        Self::Invalid { what, why: why.into().into() }
    }
}
