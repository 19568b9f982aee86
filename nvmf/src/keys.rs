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

#[cfg(test)]
mod tests {
    extern crate std;

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::SubsystemConfig;

    const NQN: &str = "nqn.2016-06.io.spdk:cnode1";
    const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001";

    /// Two who add the same host at once: one of them has, with its key.
    #[test]
    fn s399_a_host_is_added_with_its_key_or_not_at_all() {
        let target = Target::new();
        let subsystem = target.add_subsystem(SubsystemConfig::new(NQN)).expect("it is new");
        for _ in 0..50 {
            let arrived = AtomicUsize::new(0);
            let add = |name: &'static str| {
                let key = TlsKey::read("NVMeTLSkey-1:00:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:").expect("a key");
                arrived.fetch_add(1, Ordering::AcqRel);
                target.add_host_with_key(NQN, HOST, (name, key), &HostKeys::default()).is_ok()
            };
            let added = thread::scope(|scope| {
                // Both are stopped at the same place, as far as that can be had.
                let state = subsystem.state.lock();
                let both = ["one", "two"].map(|name| (name, scope.spawn(move || add(name))));
                while arrived.load(Ordering::Acquire) < 2 {
                    thread::yield_now();
                }
                (0..3).for_each(|_| thread::yield_now());
                drop(state);
                both.map(|(name, it)| it.join().expect("it ends").then_some(name))
            });
            let named = subsystem.key_name(HOST);
            let [one, two] = added;
            assert!(one.is_some() != two.is_some() && named.as_deref() == one.or(two), "{added:?}: {named:?}");
            target.remove_host(NQN, HOST).expect("it is there");
        }
    }
}
