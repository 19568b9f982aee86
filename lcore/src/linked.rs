//! The one page that says which backends are linked. A cargo feature adds a line here, and the line
//! is what links it: a crate that only stands in Cargo.toml leaves its registration out of the
//! program without a word, and so does one in a static library whose registration nothing refers
//! to.

use std::hint::black_box;

use core_reactor::net::NetImpl;
use core_reactor::transport::Transport;

static NET: &[&&'static dyn NetImpl] = &[
    #[cfg(feature = "posix")]
    &net_impl_posix::POSIX,
    #[cfg(feature = "uring")]
    &net_impl_uring::URING,
];

static TRANSPORTS: &[&&'static dyn Transport] = &[
    #[cfg(feature = "rdma")]
    &transport_rdma::LINKED,
];

/// The cargo features that bring a network backend, each called like its backend.
pub const NET_FEATURES: &[&str] = &["posix", "uring"];

/// The cargo features that bring a transport, each called like its transport.
pub const TRANSPORT_FEATURES: &[&str] = &["rdma"];

/// The names of the linked network backends, the one that is tried first in front.
///
/// ```
/// assert!(lcore::net_backends().iter().all(|name| lcore::NET_FEATURES.contains(name)));
/// ```
pub fn net_backends() -> Vec<&'static str> {
    net().iter().map(|backend| backend.name()).collect()
}

/// The names of the linked transports, the one that is tried first in front.
pub fn transports() -> Vec<&'static str> {
    transport().iter().map(|transport| transport.name()).collect()
}

/// The linked network backends, ranked. Whoever looks for them refers to them here: the slice in
/// which they are found names none of them, so a linker that is given an archive (lcore in a C
/// program) would leave them there.
pub(crate) fn net() -> Vec<&'static dyn NetImpl> {
    black_box(NET);
    core_reactor::net::linked()
}

/// The linked transports, likewise.
pub(crate) fn transport() -> Vec<&'static dyn Transport> {
    black_box(TRANSPORTS);
    core_reactor::transport::linked()
}
