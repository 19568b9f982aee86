//! The target: its subsystems, and whatever can be changed while it runs.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};

use core_reactor::net::NetError;
use nvme::auth::{self, Policy};
use nvme::fabrics::DISCOVERY_NQN;
use nvme::log::{AnaState, Event, Notice};
use spin::{Mutex, Once};

use crate::atomic::AtomicU64;
use crate::hosts::{Helpers, Keys};
use crate::subsystem::{State, check_nqn};
use crate::{
    AllowedHost, Association, GroupFigures, Helper, HostKeys, Listener, Namespace, NamespaceConfig, NvmfError, Subsystem, SubsystemConfig,
    Transport,
};

/// The target, for any thread: clones are the same one.
///
/// Locks are taken in this order: ports, the list of subsystems, a subsystem, a controller.
#[derive(Clone)]
pub struct Target(Arc<Inner>);

/// A target that does not live for this.
pub(crate) struct WeakTarget(Weak<Inner>);

impl WeakTarget {
    pub(crate) fn upgrade(&self) -> Option<Target> {
        self.0.upgrade().map(Target)
    }
}

struct Inner {
    subsystems: Mutex<Vec<Arc<Subsystem>>>,
    most_subsystems: AtomicUsize,
    transport: Once<Transport>,
    /// GENCTR of discovery.
    generation: AtomicU64,
    /// Where the poll groups listen, for whatever subsystems.
    ports: Mutex<Vec<Port>>,
    groups: Once<Box<dyn Groups>>,
    /// How hosts show who they are, and with whose help.
    policy: Mutex<Policy>,
    helpers: Once<Helpers>,
}

/// Where poll groups listen.
#[derive(Clone, Copy)]
struct Port {
    at: SocketAddr,
    is_secure: bool,
}

/// What the target asks of its poll groups, from any thread.
pub(crate) trait Groups: Send + Sync {
    /// Listens; where, if the port was 0. Connections are secured by TLS if `is_secure`.
    fn listen(&self, at: SocketAddr, is_secure: bool) -> Result<SocketAddr, NetError>;
    /// Listens there no longer.
    fn unlisten(&self, at: SocketAddr);
    /// Closes the queues of a controller; the admin queue, too, if `all`.
    fn close(&self, association: &Arc<Association>, all: bool);
    /// A controller may have an event to tell.
    fn tell(&self, association: &Arc<Association>);
    /// The namespaces of a subsystem have changed.
    fn refresh(&self, subsystem: &Arc<Subsystem>);
    /// What each group has done.
    fn figures(&self) -> Vec<Arc<GroupFigures>>;
}

/// SPDK's.
const MOST_SUBSYSTEMS: usize = 1024;

impl Default for Target {
    fn default() -> Self {
        Self::new()
    }
}

impl Target {
    /// A target with nothing but a discovery subsystem, which any host may ask.
    pub fn new() -> Self {
        let discovery = Subsystem::new(SubsystemConfig::new(DISCOVERY_NQN).any_host());
        Self(Arc::new(Inner {
            subsystems: Mutex::new(alloc::vec![Arc::new(discovery)]),
            most_subsystems: AtomicUsize::new(MOST_SUBSYSTEMS),
            transport: Once::new(),
            generation: AtomicU64::new(1),
            ports: Mutex::default(),
            groups: Once::new(),
            policy: Mutex::default(),
            helpers: Once::new(),
        }))
    }

    /// Makes the transport, which listeners need.
    ///
    /// # Errors
    /// There is one; a value cannot be.
    pub fn create_transport(&self, transport: Transport) -> Result<(), NvmfError> {
        transport.check()?;
        let mut transport = Some(transport);
        self.0.transport.call_once(|| transport.take().unwrap_or_default());
        if transport.is_some() { Err(NvmfError::TransportExists) } else { Ok(()) }
    }

    /// The transport, once it is made.
    pub fn transport(&self) -> Option<&Transport> {
        self.0.transport.get()
    }

    /// Adds a subsystem.
    ///
    /// ```
    /// # use nvmf::{HostKeys, NamespaceConfig, SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// let subsystem = target.add_subsystem(SubsystemConfig::new(nqn))?;
    /// assert!(!subsystem.allows_any_host() && subsystem.namespaces().is_empty());
    /// assert!(target.add_subsystem(SubsystemConfig::new(nqn)).is_err(), "there is one of that name");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Its name is taken; a value cannot be; there are too many.
    pub fn add_subsystem(&self, config: SubsystemConfig) -> Result<Arc<Subsystem>, NvmfError> {
        config.check()?;
        let mut subsystems = self.0.subsystems.lock();
        if subsystems.iter().any(|it| it.nqn() == config.nqn) {
            return Err(NvmfError::SubsystemExists(config.nqn.into()));
        }
        // That of discovery is not counted.
        if subsystems.len() > self.max_subsystems() {
            return Err(NvmfError::TooManySubsystems(self.max_subsystems()));
        }
        let subsystem = Arc::new(Subsystem::new(config));
        subsystems.push(subsystem.clone());
        Ok(subsystem)
    }

    /// How many subsystems there may be, beside that of discovery.
    pub fn max_subsystems(&self) -> usize {
        self.0.most_subsystems.load(Ordering::Relaxed)
    }

    /// Lets there be so many.
    ///
    /// ```
    /// # use nvmf::{HostKeys, NamespaceConfig, SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// target.set_max_subsystems(1)?;
    /// target.add_subsystem(SubsystemConfig::new(nqn))?;
    /// assert!(target.add_subsystem(SubsystemConfig::new("nqn.2016-06.io.spdk:cnode2")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There are more, or this is more than a target can have.
    pub fn set_max_subsystems(&self, most: usize) -> Result<(), NvmfError> {
        let there = self.0.subsystems.lock().len() - 1;
        if !(there.max(1)..=MOST_SUBSYSTEMS).contains(&most) {
            return Err(NvmfError::invalid("max_subsystems", format!("{most} is not between {} and {MOST_SUBSYSTEMS}", there.max(1))));
        }
        self.0.most_subsystems.store(most, Ordering::Relaxed);
        Ok(())
    }

    /// Removes a subsystem: its hosts are disconnected, and its devices closed once all that was
    /// under way has come back.
    ///
    /// ```
    /// # use nvmf::{HostKeys, NamespaceConfig, SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// target.add_subsystem(SubsystemConfig::new(nqn))?;
    /// target.remove_subsystem(nqn)?;
    /// assert!(target.subsystem(nqn).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is none of that name; it is that of discovery.
    pub fn remove_subsystem(&self, nqn: &str) -> Result<(), NvmfError> {
        let subsystem = self.subsystem(nqn)?;
        if subsystem.is_discovery() {
            return Err(NvmfError::Discovery { nqn: nqn.into(), what: "end" });
        }
        self.0.subsystems.lock().retain(|it| !Arc::ptr_eq(it, &subsystem));
        let (listeners, controllers) = {
            let mut state = subsystem.state.lock();
            state.is_removed = true;
            state.namespaces.clear();
            (core::mem::take(&mut state.listeners), state.controllers.clone())
        };
        self.close_all(controllers);
        self.refresh(&subsystem);
        listeners.iter().for_each(|listener| self.leave_port(listener.address()));
        self.discovery_changed();
        Ok(())
    }

    /// The subsystem of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn subsystem(&self, nqn: &str) -> Result<Arc<Subsystem>, NvmfError> {
        let found = self.0.subsystems.lock().iter().find(|it| it.nqn() == nqn).cloned();
        found.ok_or_else(|| NvmfError::NoSubsystem(nqn.into()))
    }

    /// All subsystems, the discovery subsystem first.
    ///
    /// ```
    /// # use nvmf::{SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// target.add_subsystem(SubsystemConfig::new(nqn))?;
    /// let names: Vec<_> = target.subsystems().iter().map(|subsystem| subsystem.nqn().to_owned()).collect();
    /// assert!(names.iter().any(|name| name == nqn));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subsystems(&self) -> Vec<Arc<Subsystem>> {
        self.0.subsystems.lock().clone()
    }

    /// Adds a namespace; its NSID.
    ///
    /// ```
    /// # use nvmf::{HostKeys, NamespaceConfig, SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// use bdev::Mode;
    ///
    /// let bdevs = bdev::Bdevs::new(1);
    /// let disk = bdev_malloc::malloc(&bdevs, bdev_malloc::Config::new(512, 2048))?;
    /// let subsystem = target.add_subsystem(SubsystemConfig::new(nqn))?;
    /// let nsid = target.add_namespace(nqn, NamespaceConfig::new(disk.open(Mode::ReadWrite)?))?;
    /// assert_eq!((nsid, subsystem.namespaces()[0].uuid()), (1, disk.uuid()));
    /// target.remove_namespace(nqn, nsid)?;
    /// assert!(subsystem.namespaces().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no such subsystem; the NSID is taken or too large; hosts cannot use the device.
    pub fn add_namespace(&self, nqn: &str, config: NamespaceConfig) -> Result<u32, NvmfError> {
        let subsystem = self.subsystem(nqn)?;
        if subsystem.is_discovery() {
            return Err(NvmfError::Discovery { nqn: nqn.into(), what: "namespaces" });
        }
        let most = subsystem.config().max_namespaces;
        let nsid = {
            let mut state = subsystem.state.lock();
            if state.is_removed {
                return Err(NvmfError::NoSubsystem(nqn.into()));
            }
            let is_taken = |nsid: u32| state.namespaces.iter().any(|it| it.nsid() == nsid);
            let nsid = match config.nsid {
                Some(nsid) if !(1..=most).contains(&nsid) => {
                    return Err(NvmfError::invalid("nsid", format!("{nsid} is not between 1 and {most} (max_namespaces)")));
                }
                Some(nsid) if is_taken(nsid) => return Err(NvmfError::NamespaceExists { nqn: nqn.into(), nsid }),
                Some(nsid) => nsid,
                None => (1..=most).find(|nsid| !is_taken(*nsid)).ok_or_else(|| NvmfError::TooManyNamespaces { nqn: nqn.into(), most })?,
            };
            if let Some(group) = config.anagrpid.filter(|group| !(1..=most).contains(group)) {
                return Err(NvmfError::invalid("anagrpid", format!("{group} is not between 1 and {most} (max_namespaces)")));
            }
            let namespace = Arc::new(Namespace::new(nsid, config)?);
            let at = state.namespaces.partition_point(|it| it.nsid() < nsid);
            state.namespaces.insert(at, namespace);
            nsid
        };
        self.namespace_changed(&subsystem, nsid);
        Ok(nsid)
    }

    /// Removes a namespace: commands for it that are under way end, and its device is closed once
    /// they have.
    ///
    /// # Errors
    /// There is no such subsystem or namespace.
    pub fn remove_namespace(&self, nqn: &str, nsid: u32) -> Result<(), NvmfError> {
        let subsystem = self.subsystem(nqn)?;
        self.take_namespace(&subsystem, |it| it.nsid() == nsid).ok_or_else(|| subsystem.no_namespace(nsid))
    }

    /// The device of a namespace is gone.
    pub(crate) fn device_gone(&self, subsystem: &Arc<Subsystem>, namespace: &Arc<Namespace>) {
        if self.take_namespace(subsystem, |it| Arc::ptr_eq(it, namespace)).is_some() {
            let (nsid, nqn) = (namespace.nsid(), subsystem.nqn());
            logging::warn!("the device of namespace {} of {} was removed, and the namespace with it", nsid, nqn);
        }
    }

    fn take_namespace(&self, subsystem: &Arc<Subsystem>, which: impl Fn(&Arc<Namespace>) -> bool) -> Option<()> {
        let gone = {
            let mut state = subsystem.state.lock();
            let at = state.namespaces.iter().position(which)?;
            state.namespaces.remove(at)
        };
        self.namespace_changed(subsystem, gone.nsid());
        Some(())
    }

    /// A namespace came, went, or has another size.
    pub(crate) fn namespace_changed(&self, subsystem: &Arc<Subsystem>, nsid: u32) {
        self.refresh(subsystem);
        for association in subsystem.controllers() {
            association.controller.lock().namespace_changed(nsid);
            self.tell(&association);
        }
    }

    /// Tells a host, by each of its controllers, what was done to a reservation.
    pub(crate) fn notice(&self, subsystem: &Subsystem, hostid: &[u8; 16], nsid: u32, notice: Notice) {
        for association in subsystem.controllers().into_iter().filter(|it| it.hostid == *hostid) {
            association.controller.lock().notice(nsid, notice);
            self.tell(&association);
        }
    }

    /// Has a subsystem listen at an address; where, if its port was 0.
    ///
    /// ```
    /// # use nvmf::{HostKeys, NamespaceConfig, SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// let subsystem = target.add_subsystem(SubsystemConfig::new(nqn).any_host())?;
    /// let at = target.add_listener(nqn, "127.0.0.1:4420".parse()?)?;
    /// assert_eq!((subsystem.listeners()[0].address(), subsystem.listeners()[0].is_secure()), (at, false));
    /// target.remove_listener(nqn, at)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no such subsystem, or no transport; it listens there already; the address cannot be
    /// had.
    pub fn add_listener(&self, nqn: &str, at: SocketAddr) -> Result<SocketAddr, NvmfError> {
        self.listen(nqn, at, false)
    }

    pub(crate) fn listen(&self, nqn: &str, at: SocketAddr, is_secure: bool) -> Result<SocketAddr, NvmfError> {
        let subsystem = self.subsystem(nqn)?;
        if self.transport().is_none() {
            return Err(NvmfError::NoTransport);
        }
        let mut ports = self.0.ports.lock();
        if subsystem.listener(at).is_some() {
            return Err(NvmfError::ListenerExists { nqn: nqn.into(), at });
        }
        let port = ports.iter().find(|port| port.at == at);
        if port.is_some_and(|port| port.is_secure != is_secure) {
            let how = if is_secure { "without" } else { "with" };
            return Err(NvmfError::invalid("secure_channel", format!("another subsystem listens at {at} {how} TLS; all do or none")));
        }
        let at = match self.0.groups.get() {
            _ if port.is_some() => at,
            Some(groups) => groups.listen(at, is_secure).map_err(|why| NvmfError::Listen { at, why })?,
            None if at.port() == 0 => {
                return Err(NvmfError::invalid("trsvcid", "0, a free port, can be had once the target runs"));
            }
            None => at,
        };
        if !ports.iter().any(|port| port.at == at) {
            ports.push(Port { at, is_secure });
        }
        let removed = {
            let mut state = subsystem.state.lock();
            if !state.is_removed {
                state.listeners.push(Arc::new(Listener::new(at, is_secure)));
            }
            state.is_removed
        };
        drop(ports);
        if removed {
            self.leave_port(at);
            return Err(NvmfError::NoSubsystem(nqn.into()));
        }
        self.discovery_changed();
        Ok(at)
    }

    /// Has a subsystem listen somewhere no longer: the controllers that came that way are
    /// disconnected.
    ///
    /// # Errors
    /// There is no such subsystem; it does not listen there.
    pub fn remove_listener(&self, nqn: &str, at: SocketAddr) -> Result<(), NvmfError> {
        let subsystem = self.subsystem(nqn)?;
        let gone = {
            let mut state = subsystem.state.lock();
            let found = state.listeners.iter().position(|it| it.address() == at);
            let found = found.ok_or_else(|| NvmfError::NoListener { nqn: nqn.into(), at })?;
            state.listeners.remove(found)
        };
        self.close_all(subsystem.controllers().into_iter().filter(|it| Arc::ptr_eq(&it.listener, &gone)));
        self.leave_port(at);
        self.discovery_changed();
        Ok(())
    }

    /// Nobody may listen at a port any more.
    fn leave_port(&self, at: SocketAddr) {
        let mut ports = self.0.ports.lock();
        if self.subsystems().iter().any(|it| it.listener(at).is_some()) {
            return;
        }
        ports.retain(|port| port.at != at);
        if let Some(groups) = self.0.groups.get() {
            groups.unlisten(at);
        }
    }

    /// Lets a host in.
    ///
    /// ```
    /// # use nvmf::{HostKeys, NamespaceConfig, SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// let subsystem = target.add_subsystem(SubsystemConfig::new(nqn))?;
    /// target.add_host(nqn, "nqn.2014-08.org.nvmexpress:uuid:0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11")?;
    /// assert_eq!(subsystem.hosts().len(), 1);
    /// assert!(target.add_host(nqn, "anybody").is_err(), "no name of a host");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no such subsystem; the name is none, or is let in already.
    pub fn add_host(&self, nqn: &str, hostnqn: &str) -> Result<(), NvmfError> {
        self.add_host_with(nqn, hostnqn, &HostKeys::default())
    }

    /// Lets a host in that shows that it has a key, if one is given; with the controller's key the
    /// same is shown to a host that asks.
    ///
    /// # Errors
    /// Those of [`add_host`](Self::add_host); a key is no secret; nobody
    /// [helps](Self::set_helper).
    pub fn add_host_with(&self, nqn: &str, hostnqn: &str, keys: &HostKeys) -> Result<(), NvmfError> {
        self.let_in(nqn, hostnqn, keys, |_| ())
    }

    /// The same, and what else belongs to a host: all of it or nothing, whoever asks for the same
    /// at once.
    pub(crate) fn let_in(&self, nqn: &str, hostnqn: &str, keys: &HostKeys, with: impl FnOnce(&mut State)) -> Result<(), NvmfError> {
        check_nqn("host", hostnqn)?;
        let keys = self.read(keys)?;
        {
            let subsystem = self.subsystem(nqn)?;
            let mut state = subsystem.state.lock();
            if state.hosts.iter().any(|host| host.nqn() == hostnqn) {
                return Err(NvmfError::HostExists { nqn: nqn.into(), host: hostnqn.into() });
            }
            state.hosts.push(AllowedHost::new(hostnqn, keys));
            with(&mut state);
        }
        self.discovery_changed();
        Ok(())
    }

    /// Gives a host other keys, or none. Connections that there are go on, and show the new ones
    /// when they show some again.
    ///
    /// # Errors
    /// There is no such subsystem; the host was not let in by its name; a key is no secret.
    pub fn set_keys(&self, nqn: &str, hostnqn: &str, keys: &HostKeys) -> Result<(), NvmfError> {
        let keys = self.read(keys)?;
        let subsystem = self.subsystem(nqn)?;
        let mut state = subsystem.state.lock();
        let host = state.hosts.iter_mut().find(|host| host.nqn() == hostnqn);
        host.ok_or_else(|| NvmfError::NoHost { nqn: nqn.into(), host: hostnqn.into() })?.keys = keys;
        Ok(())
    }

    fn read(&self, keys: &HostKeys) -> Result<Option<Arc<Keys>>, NvmfError> {
        let keys = keys.read()?;
        if keys.is_some() && self.0.helpers.get().is_none() {
            return Err(NvmfError::NoAuthentication);
        }
        Ok(keys)
    }

    /// Has `helper` help to authenticate hosts. The first one stays.
    pub fn set_helper(&self, helper: Arc<dyn Helper>) {
        self.0.helpers.call_once(|| Helpers::new(helper));
    }

    pub(crate) fn helpers(&self) -> Option<&Helpers> {
        self.0.helpers.get()
    }

    /// By which hashes and groups hosts show who they are: of those that a host offers, the first.
    /// All of them to begin with, the cheapest first.
    pub fn policy(&self) -> Policy {
        self.0.policy.lock().clone()
    }

    /// Sets that, for queues that connect from now on.
    pub fn set_policy(&self, policy: Policy) {
        *self.0.policy.lock() = policy;
    }

    /// What a queue of this host is to go through before it is served, if anything.
    pub(crate) fn authentication(&self, subsystem: &Subsystem, hostnqn: &str) -> Option<Box<auth::Target>> {
        let keys = subsystem.keys(hostnqn)?;
        Some(Box::new(auth::Target::new(self.policy(), hostnqn, subsystem.nqn(), &keys.host.1, keys.controller.as_ref().map(|it| &it.1))))
    }

    /// Lets a host in no longer: it is disconnected, unless any host may connect.
    ///
    /// ```
    /// # use nvmf::{SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// let host = "nqn.2014-08.org.nvmexpress:uuid:0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11";
    /// let subsystem = target.add_subsystem(SubsystemConfig::new(nqn))?;
    /// target.add_host(nqn, host)?;
    /// target.remove_host(nqn, host)?;
    /// assert!(subsystem.hosts().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no such subsystem; the host was not let in by its name.
    pub fn remove_host(&self, nqn: &str, hostnqn: &str) -> Result<(), NvmfError> {
        let subsystem = self.subsystem(nqn)?;
        {
            let mut state = subsystem.state.lock();
            let at = state.hosts.iter().position(|host| host.nqn() == hostnqn);
            let at = at.ok_or_else(|| NvmfError::NoHost { nqn: nqn.into(), host: hostnqn.into() })?;
            state.hosts.remove(at);
            #[cfg(feature = "tls")]
            state.tls_keys.remove(hostnqn);
        }
        if !subsystem.lets_in(hostnqn) {
            self.close_all(subsystem.controllers().into_iter().filter(|it| it.hostnqn() == hostnqn));
        }
        self.discovery_changed();
        Ok(())
    }

    /// Whether any host may connect from now on. Those that are connected stay.
    ///
    /// ```
    /// # use nvmf::{SubsystemConfig, Target, Transport};
    /// # let target = Target::new();
    /// # target.create_transport(Transport::default())?;
    /// # let nqn = "nqn.2016-06.io.spdk:cnode1";
    /// let subsystem = target.add_subsystem(SubsystemConfig::new(nqn))?;
    /// target.allow_any_host(nqn, true)?;
    /// assert!(subsystem.allows_any_host());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// There is no such subsystem.
    pub fn allow_any_host(&self, nqn: &str, allow: bool) -> Result<(), NvmfError> {
        let subsystem = self.subsystem(nqn)?;
        subsystem.state.lock().allow_any_host = allow;
        self.discovery_changed();
        Ok(())
    }

    /// Sets how good the way by a listener is to the namespaces of an ANA group, or of all.
    ///
    /// # Errors
    /// There is no such subsystem; it does not listen there; it does not report ANA states.
    pub fn set_ana_state(&self, nqn: &str, at: SocketAddr, group: Option<u32>, state: AnaState) -> Result<(), NvmfError> {
        let subsystem = self.subsystem(nqn)?;
        if !subsystem.config().ana_reporting {
            return Err(NvmfError::invalid("nqn", format!("{nqn} does not report ANA states (ana_reporting)")));
        }
        let most = subsystem.config().max_namespaces;
        if let Some(group) = group.filter(|group| !(1..=most).contains(group)) {
            return Err(NvmfError::invalid("anagrpid", format!("{group} is not between 1 and {most} (max_namespaces)")));
        }
        let listener = subsystem.listener(at).ok_or_else(|| NvmfError::NoListener { nqn: nqn.into(), at })?;
        listener.set(group, state);
        for association in subsystem.controllers().into_iter().filter(|it| Arc::ptr_eq(&it.listener, &listener)) {
            association.controller.lock().raise(Event::Ana);
            self.tell(&association);
        }
        Ok(())
    }

    /// How often what can be discovered has changed (GENCTR).
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// What each poll group has done; none before the target runs.
    pub fn figures(&self) -> Vec<Arc<GroupFigures>> {
        self.0.groups.get().map(|groups| groups.figures()).unwrap_or_default()
    }

    /// What hosts can discover has changed.
    fn discovery_changed(&self) {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        for subsystem in self.subsystems().into_iter().filter(|it| it.is_discovery()) {
            for association in subsystem.controllers() {
                association.controller.lock().raise(Event::Discovery);
                self.tell(&association);
            }
        }
    }

    pub(crate) fn downgrade(&self) -> WeakTarget {
        WeakTarget(Arc::downgrade(&self.0))
    }

    /// The poll groups run: they listen where subsystems do.
    pub(crate) fn started(&self, groups: Box<dyn Groups>) -> Result<(), NetError> {
        let ports = self.0.ports.lock();
        for port in ports.iter() {
            groups.listen(port.at, port.is_secure)?;
        }
        self.0.groups.call_once(|| groups);
        Ok(())
    }

    /// Ends a controller: its queues are closed, wherever they are.
    pub(crate) fn close(&self, association: &Arc<Association>) {
        if association.end() {
            association.subsystem.dismiss(association);
            if let Some(groups) = self.0.groups.get() {
                groups.close(association, true);
            }
        }
    }

    /// Closes the I/O queues of a controller, wherever they are.
    pub(crate) fn close_io(&self, association: &Arc<Association>) {
        if let Some(groups) = self.0.groups.get() {
            groups.close(association, false);
        }
    }

    fn close_all(&self, associations: impl IntoIterator<Item = Arc<Association>>) {
        associations.into_iter().for_each(|it| self.close(&it));
    }

    fn tell(&self, association: &Arc<Association>) {
        if let Some(groups) = self.0.groups.get() {
            groups.tell(association);
        }
    }

    fn refresh(&self, subsystem: &Arc<Subsystem>) {
        subsystem.changed();
        if let Some(groups) = self.0.groups.get() {
            groups.refresh(subsystem);
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.subsystems().iter().map(|it| it.nqn().to_string())).finish()
    }
}
