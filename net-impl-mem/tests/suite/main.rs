//! The suite that every network backend must pass, calm and in bad weather.

mod peers;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use conformance::net::Env;
use conformance::platform::self_driven;
use core_reactor::net::NetImpl;
use net_impl_mem::{Faults, MemNet};

use crate::peers::ByHand;

fn env(host: impl Into<IpAddr>, faults: Faults) -> Env {
    let (net, host, platform) = (MemNet::new(1, faults), host.into(), self_driven());
    net.set_clock(platform.clone());
    // A backend outlives its sockets; one for each test is little.
    let backend: &'static dyn NetImpl = Box::leak(Box::new(net.clone()));
    Env { backend, host, peer: host, peers: Arc::new(ByHand(net)), platform, world: None }
}

mod calm {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    conformance::net_suite_of!(env(Ipv4Addr::LOCALHOST, Faults::default()), env(Ipv6Addr::LOCALHOST, Faults::default()); net_statements);
}

mod storm {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const STORM: Faults = Faults {
        delay: Duration::from_micros(20),
        jitter: Duration::from_micros(100),
        window: 3000,
        short_per_mille: 300,
        reset_per_mille: 0,
        refuse_per_mille: 0,
    };

    conformance::net_suite_of!(env(Ipv4Addr::LOCALHOST, STORM), env(Ipv6Addr::LOCALHOST, STORM); net_statements);
}
