//! Keys of hosts and listeners with TLS, where there is TLS.

extern crate std;

use std::net::SocketAddr;

use rpc::{Control, Error};

use super::refuse;
use crate::{HostKeys, NvmfError, Target};

/// Has a subsystem listen, and lets in by TLS alone if that is asked for.
pub(super) fn listen(target: &Target, nqn: &str, at: SocketAddr, is_secure: bool) -> Result<Result<SocketAddr, NvmfError>, Error> {
    #[cfg(feature = "tls")]
    if is_secure {
        return Ok(target.add_secure_listener(nqn, at));
    }
    refuse("secure_channel", is_secure, "this program was built without TLS (feature tls)")?;
    Ok(target.add_listener(nqn, at))
}

/// Lets a host in: with a key, by TLS alone.
pub(super) fn add_host(
    control: &Control,
    target: &Target,
    (nqn, host): (&str, &str),
    keys: &HostKeys,
    psk: Option<&str>,
) -> Result<(), Error> {
    #[cfg(feature = "tls")]
    if let Some(name) = psk {
        use std::string::ToString;
        let key = control.service::<keyring::Keyring>()?.get(name).map_err(|why| Error::params(why.to_string()))?;
        let wrong = |why| Error::params(std::format!("Invalid parameters: psk: key {name:?}: {why}"));
        let key = nvme::auth::TlsKey::read(key.text()).map_err(wrong)?;
        return Ok(target.add_host_with_key(nqn, host, (name, key), keys)?);
    }
    let _ = control;
    refuse(
        "psk",
        psk.is_some(),
        "this program was built without TLS (feature tls), and a host that is to be let in by a key is let in by none",
    )?;
    Ok(target.add_host_with(nqn, host, keys)?)
}
