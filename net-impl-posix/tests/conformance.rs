//! The suite that every network backend must pass.

use conformance::platform::self_driven;
use net_impl_posix::Posix;

conformance::net_suite!(&Posix, self_driven());
