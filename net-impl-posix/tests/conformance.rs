//! The suite that every network backend must pass.

use conformance::platform::SelfDriven;
use net_impl_posix::Posix;

conformance::net_suite!(&Posix, SelfDriven::new());
