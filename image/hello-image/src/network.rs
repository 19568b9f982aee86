//! Gives the backend what it needs of the machine: a card and an address.

use alloc::string::String;

use platform_x86::{Exit, Machine};

#[cfg(feature = "smoltcp")]
use self::smoltcp as linked;

#[cfg(not(feature = "smoltcp"))]
use self::none as linked;

pub(crate) use linked::{address, start};

/// Why the network cannot be used.
pub(crate) type Failure = (Exit, String);

#[cfg(feature = "smoltcp")]
mod smoltcp {
    use alloc::format;

    use net_impl_smoltcp::{Addresses, SMOLTCP, StackConfig};
    use platform_x86::println;

    use super::{Exit, Failure, Machine, String};
    use crate::description::IMAGE;

    pub(crate) fn start(machine: &mut Machine) -> Result<(), Failure> {
        let Some(devices) = machine.devices() else { return Ok(()) };
        let card = virtio_net::find(devices).map_err(|why| (Exit::NoDevice, format!("{why}")))?;
        let [a, b, c, d, e, f] = card.hardware();
        let line = card.line().map_or("polled".into(), |line| format!("interrupt {line}"));
        println!("network card     {}, {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, {line}", card.bus());
        let addresses = match IMAGE.address {
            Some((address, prefix, router)) => Addresses::one(address, prefix, router),
            None => Addresses::Dhcp,
        };
        let mut config = StackConfig::new(card.hardware(), addresses);
        config.seed = machine.seed();
        config.sockets = IMAGE.connections + IMAGE.backlog as usize;
        (config.recv_buf, config.send_buf, config.backlog) = (IMAGE.window, IMAGE.window, IMAGE.backlog);
        SMOLTCP.start(card, &config).map_err(|why| (Exit::Setup, format!("{why}")))
    }

    /// The image's address, once it has one.
    pub(crate) fn address() -> Option<String> {
        let Addresses::Static { own, .. } = SMOLTCP.addresses() else { return None };
        own.first().map(|own| format!("{}/{}", own.address, own.prefix))
    }
}

#[cfg(not(feature = "smoltcp"))]
mod none {
    use super::{Failure, Machine, String};

    pub(crate) fn start(_: &mut Machine) -> Result<(), Failure> {
        Ok(())
    }

    pub(crate) fn address() -> Option<String> {
        None
    }
}
