//! The suite that every network backend must pass.

use conformance::platform::self_driven;
use net_impl_uring::Uring;

static URING: Uring = Uring::new();

conformance::net_suite!(&URING, self_driven());
