//! The one page that says which backends are linked. A cargo feature adds a line here, and naming the crate is what links it: a crate that only
//! stands in Cargo.toml leaves its registration out of the program without a word.

#[cfg(feature = "posix")]
use net_impl_posix as _;
#[cfg(feature = "uring")]
use net_impl_uring as _;
#[cfg(feature = "rdma")]
use transport_rdma as _;

/// The cargo features that bring a network backend, each called like its backend.
pub const NET_FEATURES: &[&str] = &["posix", "uring"];

/// The cargo features that bring a transport, each called like its transport.
pub const TRANSPORT_FEATURES: &[&str] = &["rdma"];

/// The names of the linked network backends, the one that is tried first in front.
pub fn net_backends() -> Vec<&'static str> {
    core_reactor::net::linked().iter().map(|backend| backend.name()).collect()
}

/// The names of the linked transports, the one that is tried first in front.
pub fn transports() -> Vec<&'static str> {
    core_reactor::transport::linked().iter().map(|transport| transport.name()).collect()
}
