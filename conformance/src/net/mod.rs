//! The suite for network backends.

#[doc(hidden)]
pub mod accept;
#[doc(hidden)]
pub mod connect;
mod driver;
#[doc(hidden)]
pub mod ends;
#[doc(hidden)]
pub mod fairness;
#[doc(hidden)]
pub mod keys;
mod limits;
#[doc(hidden)]
pub mod options;
mod peer;
#[doc(hidden)]
pub mod receive;
#[doc(hidden)]
pub mod send;
#[doc(hidden)]
pub mod stream;

pub use driver::{Driver, Setup};
pub use limits::{Descriptors, alone, beside_others};

use std::net::IpAddr;
use std::sync::Arc;

use core_reactor::Platform;
use core_reactor::net::NetImpl;

/// What a test runs on.
#[derive(Clone)]
pub struct Env {
    /// The backend under test.
    pub backend: &'static dyn NetImpl,
    /// A loopback address.
    pub host: IpAddr,
    /// The platform of the test's threads.
    pub platform: Arc<dyn Platform>,
}

/// One `#[test]` for each property of a network backend, in the modules `v4` and `v6`.
///
/// The first argument is an expression for the backend (`&'static dyn NetImpl`), the second one for a platform (`Arc<dyn Platform>`).
#[macro_export]
macro_rules! net_suite {
    ($backend:expr, $platform:expr) => {
        $crate::net_tests!(v4, std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), $backend, $platform);
        $crate::net_tests!(v6, std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), $backend, $platform);
    };
}

/// The tests of one address family.
#[doc(hidden)]
#[macro_export]
macro_rules! net_tests {
    ($family:ident, $host:expr, $backend:expr, $platform:expr) => {
        mod $family {
            #[allow(unused_imports)]
            use super::*;

            fn env() -> $crate::net::Env {
                $crate::net::Env { backend: $backend, host: $host, platform: $platform }
            }

            $crate::net_statements! {}
        }
    };
}

/// The list of all tests. A test of this crate's own sees to it that it is complete.
#[doc(hidden)]
#[macro_export]
macro_rules! net_statements {
    () => {
        $crate::net_cases! { beside_others
            receive { s17_an_echo_comes_back }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! net_cases {
    ($company:ident $($module:ident { $($name:ident)* })*) => {
        $($(
            #[test]
            fn $name() {
                let _company = $crate::net::$company();
                $crate::net::$module::$name(&env());
            }
        )*)*
    };
}
