//! Keys of hosts that come by TLS.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use nvme::auth::{TlsIdentity, TlsKey, TlsPsk};

use crate::target::WeakTarget;
use crate::{HostKeys, NvmfError, Subsystem, Target};

/// Keys of hosts of one subsystem.
#[derive(Debug, Default)]
pub(crate) struct TlsKeys(Vec<(String, Arc<str>, TlsKey)>);

impl TlsKeys {
    fn of(&self, hostnqn: &str) -> Option<&(String, Arc<str>, TlsKey)> {
        self.0.iter().find(|(host, ..)| host == hostnqn)
    }

    pub(crate) fn remove(&mut self, hostnqn: &str) {
        self.0.retain(|(host, ..)| host != hostnqn);
    }
}

impl Subsystem {
    /// What the key is called by which a host has to come, if it has one.
    pub fn key_name(&self, hostnqn: &str) -> Option<Arc<str>> {
        self.state.lock().tls_keys.of(hostnqn).map(|(_, name, _)| name.clone())
    }
}

impl Target {
    /// As [`add_listener`](Self::add_listener); hosts that connect there speak TLS, and have a key.
    ///
    /// # Errors
    /// As there; another subsystem listens there without TLS.
    pub fn add_secure_listener(&self, nqn: &str, at: SocketAddr) -> Result<SocketAddr, NvmfError> {
        self.listen(nqn, at, true)
    }

    /// Lets a host in that has a key, by TLS alone. `name` is what the key is called, which is no
    /// secret. Other `keys` it shows on top of that.
    ///
    /// # Errors
    /// As [`add_host_with`](Self::add_host_with); the names are too long for a key of TLS.
    pub fn add_host_with_key(&self, nqn: &str, hostnqn: &str, (name, key): (&str, TlsKey), keys: &HostKeys) -> Result<(), NvmfError> {
        if key.psk(hostnqn, nqn, TlsIdentity::Names).is_none() {
            let why = format!("{hostnqn} and {nqn} are too long together for a key of TLS, which has room for 245 bytes");
            return Err(NvmfError::invalid("psk", why));
        }
        self.let_in(nqn, hostnqn, keys, |state| state.tls_keys.0.push((hostnqn.to_string(), name.into(), key)))
    }
}

impl WeakTarget {
    /// The key of this identity.
    pub(crate) fn psk(&self, identity: &str) -> Option<TlsPsk> {
        let (hostnqn, subnqn) = TlsPsk::names(identity)?;
        let subsystem = self.upgrade()?.subsystem(subnqn).ok()?;
        let key = subsystem.state.lock().tls_keys.of(hostnqn).map(|(.., key)| key.clone())?;
        let form = if identity.starts_with("NVMe1") { TlsIdentity::Digest } else { TlsIdentity::Names };
        key.psk(hostnqn, subnqn, form).filter(|psk| psk.identity == identity)
    }
}
