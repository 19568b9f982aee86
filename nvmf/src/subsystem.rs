//! A subsystem: namespaces, where it listens, and which hosts may connect.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU32, Ordering};

use nvme::fabrics::{DISCOVERY_NQN, LARGEST_CNTLID, LONGEST_NQN};
use spin::Mutex;

use crate::hosts::Keys;
use crate::{AllowedHost, Association, Listener, Namespace, NvmfError};

/// What a subsystem is to be.
///
/// ```
/// use nvmf::SubsystemConfig;
///
/// let mut config = SubsystemConfig::new("nqn.2016-06.io.spdk:cnode1");
/// config.max_namespaces = 4;
/// assert!(!config.allow_any_host && config.any_host().allow_any_host);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubsystemConfig {
    /// Its NVMe qualified name.
    pub nqn: String,
    /// Serial number, up to 20 characters.
    pub serial_number: String,
    /// Model number, up to 40 characters.
    pub model_number: String,
    /// Any host may connect.
    pub allow_any_host: bool,
    /// Namespaces at most, and the largest NSID.
    pub max_namespaces: u32,
    /// Controllers have these numbers.
    pub cntlids: RangeInclusive<u16>,
    /// Hosts are told which way to the namespaces is how good.
    pub ana_reporting: bool,
}

impl SubsystemConfig {
    /// One that SPDK would make of a name alone: no host may connect yet.
    pub fn new(nqn: &str) -> Self {
        Self {
            nqn: nqn.into(),
            serial_number: "00000000000000000000".into(),
            model_number: "lcore bdev Controller".into(),
            allow_any_host: false,
            max_namespaces: 32,
            cntlids: 1..=LARGEST_CNTLID,
            ana_reporting: false,
        }
    }

    /// The same for every host.
    ///
    /// ```
    /// use nvmf::SubsystemConfig;
    ///
    /// assert!(SubsystemConfig::new("nqn.2016-06.io.spdk:cnode1").any_host().allow_any_host);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn any_host(mut self) -> Self {
        self.allow_any_host = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), NvmfError> {
        check_nqn("nqn", &self.nqn)?;
        for (what, text, most) in [("serial_number", &self.serial_number, 20), ("model_number", &self.model_number, 40)] {
            if text.is_empty() || text.len() > most || !text.bytes().all(|c| (0x20..0x7F).contains(&c)) {
                return Err(NvmfError::invalid(what, format!("{text:?} is not 1 to {most} characters of ASCII")));
            }
        }
        if !(1..=MOST_NAMESPACES).contains(&self.max_namespaces) {
            return Err(NvmfError::invalid("max_namespaces", format!("{} is not between 1 and {MOST_NAMESPACES}", self.max_namespaces)));
        }
        let (least, most) = (*self.cntlids.start(), *self.cntlids.end());
        if least == 0 || least > most || most > LARGEST_CNTLID {
            let why = format!("controllers {least} to {most} are none; they are between 1 and {LARGEST_CNTLID}");
            return Err(NvmfError::invalid("min_cntlid, max_cntlid", why));
        }
        Ok(())
    }
}

/// Namespaces of a subsystem: one list of NSIDs tells of so many.
const MOST_NAMESPACES: u32 = 1024;

/// Whether a text is an NVMe qualified name (NVMe Base 2.0, 4.5): `nqn.`, a year and a month, and a
/// name.
pub(crate) fn check_nqn(what: &'static str, nqn: &str) -> Result<(), NvmfError> {
    let wrong = |why: &str| Err(NvmfError::invalid(what, format!("{nqn:?} {why}, such as nqn.2016-06.io.spdk:disk1")));
    if nqn.len() > LONGEST_NQN {
        return wrong(&format!("has {} bytes; a name has up to {LONGEST_NQN}", nqn.len()));
    }
    let dated = nqn.strip_prefix("nqn.").and_then(|rest| rest.split_once('.'));
    let is_date = |date: &str| {
        let digits = |text: &str, n| text.len() == n && text.bytes().all(|c| c.is_ascii_digit());
        date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2) && ("01"..="12").contains(&month))
    };
    match dated {
        Some((date, name)) if is_date(date) && !name.is_empty() && !nqn.contains(|c: char| c.is_control() || c == ' ') => Ok(()),
        _ => wrong("is no NVMe qualified name"),
    }
}

/// A subsystem. What it has changes under a lock; poll groups look at one counter to see whether
/// anything has.
#[derive(Debug)]
pub struct Subsystem {
    config: SubsystemConfig,
    is_discovery: bool,
    /// Counts what poll groups have to look at: namespaces that came, went, or were resized.
    epoch: AtomicU32,
    pub(crate) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) is_removed: bool,
    pub(crate) allow_any_host: bool,
    pub(crate) hosts: Vec<AllowedHost>,
    /// Keys of hosts that come by TLS.
    #[cfg(feature = "tls")]
    pub(crate) tls_keys: crate::keys::TlsKeys,
    /// By NSID.
    pub(crate) namespaces: Vec<Arc<Namespace>>,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) controllers: Vec<Arc<Association>>,
    /// The CNTLID that was given last.
    last: u16,
}

impl State {
    fn lets_in(&self, hostnqn: &str) -> bool {
        self.allow_any_host || self.hosts.iter().any(|host| host.nqn() == hostnqn)
    }
}

impl Subsystem {
    pub(crate) fn new(config: SubsystemConfig) -> Self {
        let is_discovery = config.nqn == DISCOVERY_NQN;
        let state = State { allow_any_host: config.allow_any_host, ..State::default() };
        Self { config, is_discovery, epoch: AtomicU32::new(0), state: Mutex::new(state) }
    }

    /// Its name.
    pub fn nqn(&self) -> &str {
        &self.config.nqn
    }

    /// What it was asked to be. Whether any host may connect now, [`allows_any_host`] says.
    ///
    /// [`allows_any_host`]: Self::allows_any_host
    pub fn config(&self) -> &SubsystemConfig {
        &self.config
    }

    /// Whether it is the one that tells of the others.
    pub fn is_discovery(&self) -> bool {
        self.is_discovery
    }

    /// Whether any host may connect.
    pub fn allows_any_host(&self) -> bool {
        self.state.lock().allow_any_host
    }

    /// The hosts that may connect by name.
    pub fn hosts(&self) -> Vec<AllowedHost> {
        self.state.lock().hosts.clone()
    }

    /// Its namespaces, by NSID.
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.state.lock().namespaces.clone()
    }

    /// Where it listens.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        self.state.lock().listeners.clone()
    }

    /// The controllers that hosts have now.
    pub fn controllers(&self) -> Vec<Arc<Association>> {
        self.state.lock().controllers.clone()
    }

    /// Whether a host may connect.
    pub(crate) fn lets_in(&self, hostnqn: &str) -> bool {
        self.state.lock().lets_in(hostnqn)
    }

    /// The keys of a host that has to show who it is, whether or not any host may connect.
    pub(crate) fn keys(&self, hostnqn: &str) -> Option<Arc<Keys>> {
        self.state.lock().hosts.iter().find(|host| host.nqn() == hostnqn)?.keys.clone()
    }

    /// Whether a host has a key, and so has to come by TLS.
    pub(crate) fn has_key(&self, hostnqn: &str) -> bool {
        #[cfg(feature = "tls")]
        return self.key_name(hostnqn).is_some();
        #[cfg(not(feature = "tls"))]
        {
            let _ = hostnqn;
            false
        }
    }

    /// The listener at an address.
    pub(crate) fn listener(&self, at: SocketAddr) -> Option<Arc<Listener>> {
        self.state.lock().listeners.iter().find(|listener| listener.address() == at).cloned()
    }

    pub(crate) fn controller(&self, cntlid: u16) -> Option<Arc<Association>> {
        self.state.lock().controllers.iter().find(|it| it.cntlid() == cntlid).cloned()
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Poll groups are to look at the namespaces.
    pub(crate) fn changed(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Adds a controller, which `make` makes of a CNTLID that no other has: as long ago as can be,
    /// so that a host's old queues do not find the new one. `None` if all are taken, or if
    /// meanwhile the host is no longer let in, its listener or the subsystem gone.
    pub(crate) fn admit(
        &self,
        hostnqn: &str,
        listener: &Arc<Listener>,
        make: impl FnOnce(u16) -> Arc<Association>,
    ) -> Option<Arc<Association>> {
        let mut state = self.state.lock();
        let listens = self.is_discovery || state.listeners.iter().any(|it| Arc::ptr_eq(it, listener));
        if state.is_removed || !listens || !state.lets_in(hostnqn) {
            return None;
        }
        let range = self.config.cntlids.clone();
        let last = state.last.max(*range.start() - 1);
        let is_free = |id: &u16| !state.controllers.iter().any(|it| it.cntlid() == *id);
        let behind = last.saturating_add(1)..=*range.end();
        let cntlid = behind.chain(range).find(is_free)?;
        state.last = cntlid;
        let association = make(cntlid);
        state.controllers.push(association.clone());
        Some(association)
    }

    pub(crate) fn dismiss(&self, association: &Arc<Association>) {
        self.state.lock().controllers.retain(|it| !Arc::ptr_eq(it, association));
    }

    /// An error that says that it has no such namespace.
    pub(crate) fn no_namespace(&self, nsid: u32) -> NvmfError {
        NvmfError::NoNamespace { nqn: self.nqn().to_string().into(), nsid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s260_a_name_is_qualified_or_refused() {
        for good in ["nqn.2016-06.io.spdk:cnode1", "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001"] {
            assert!(check_nqn("nqn", good).is_ok(), "{good}");
        }
        let long = format!("nqn.2016-06.io.{}", "x".repeat(LONGEST_NQN));
        for bad in ["", "nqn.", "nqn.2016-13.io.x", "nqn.2016-6.io.x", "nqn.2016-06.", "iqn.2016-06.io.x", "nqn.2016-06.io x", &long] {
            assert!(matches!(check_nqn("nqn", bad), Err(NvmfError::Invalid { what: "nqn", .. })), "{bad}");
        }
    }

    #[test]
    fn s349_nothing_that_gets_into_logs_has_control_characters() {
        let name = "nqn.2016-06.io.spdk:cnode1";
        for odd in ["\n", "\x1b[2J", "\0", "\u{85}"] {
            assert!(check_nqn("nqn", &format!("{name}{odd}")).is_err(), "{odd:?}");
            let (serial, model) = (SubsystemConfig::new(name), SubsystemConfig::new(name));
            let told = SubsystemConfig { serial_number: format!("S{odd}"), ..serial }.check().expect_err("none").to_string();
            assert!(told.starts_with("serial_number") && !told.contains(char::is_control), "{told:?}");
            let told = SubsystemConfig { model_number: format!("M{odd}"), ..model }.check().expect_err("none").to_string();
            assert!(told.starts_with("model_number") && !told.contains(char::is_control), "{told:?}");
        }
    }
}
