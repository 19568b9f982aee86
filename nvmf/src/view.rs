//! A subsystem as one controller shows it at a moment.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use nvme::identify::text;
use nvme::log::{AnaState, DiscoveryEntry};
use nvme::target;
use zerocopy::FromZeros;

use crate::{Association, Listener, Subsystem, Target};

/// A subsystem as one controller shows it at a moment. Made for an admin command, which is rare.
pub(crate) struct View<'a> {
    association: &'a Association,
    namespaces: Vec<(u32, target::Namespace)>,
    has_cache: bool,
    /// The largest ANA group.
    groups: u32,
    entries: Vec<DiscoveryEntry>,
    generation: u64,
}

impl<'a> View<'a> {
    /// What `association` shows on a connection that the host has made to `local`.
    pub(crate) fn new(target: &Target, association: &'a Association, local: SocketAddr) -> Self {
        let all = association.subsystem.namespaces();
        // Read first: what changes in between makes the host look again.
        let generation = target.generation();
        let entries = if association.subsystem.is_discovery() { discoverable(target, association.hostnqn(), local) } else { Vec::new() };
        Self {
            association,
            has_cache: all.iter().any(|it| it.device().bdev().shape().has_write_cache),
            groups: all.iter().map(|it| it.anagrpid()).max().unwrap_or(1),
            namespaces: all.iter().map(|it| (it.nsid(), it.shown())).collect(),
            entries,
            generation,
        }
    }

    fn subsystem(&self) -> &Subsystem {
        &self.association.subsystem
    }
}

impl target::Subsystem for View<'_> {
    fn nqn(&self) -> &str {
        self.subsystem().nqn()
    }

    fn serial(&self) -> &str {
        &self.subsystem().config().serial_number
    }

    fn model(&self) -> &str {
        &self.subsystem().config().model_number
    }

    fn largest(&self) -> u32 {
        self.subsystem().config().max_namespaces
    }

    fn namespace(&self, nsid: u32) -> Option<target::Namespace> {
        self.namespaces.iter().find(|(id, _)| *id == nsid).map(|(_, shown)| *shown)
    }

    fn after(&self, nsid: u32) -> Option<u32> {
        self.namespaces.iter().map(|(id, _)| *id).find(|id| *id > nsid)
    }

    fn group(&self, index: u32) -> Option<(u32, AnaState, u64)> {
        let id = index + 1;
        let (state, changes) = self.association.listener.ana(id);
        (id <= self.groups).then_some((id, state, changes))
    }

    fn has_ana(&self) -> bool {
        self.subsystem().config().ana_reporting
    }

    fn has_cache(&self) -> bool {
        self.has_cache
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn discovered(&self, index: u64) -> Option<DiscoveryEntry> {
        self.entries.get(usize::try_from(index).ok()?).copied()
    }
}

/// What a host that has come to `local` may discover.
fn discoverable(target: &Target, hostnqn: &str, local: SocketAddr) -> Vec<DiscoveryEntry> {
    let mut entries = Vec::new();
    for subsystem in target.subsystems().iter().filter(|it| it.lets_in(hostnqn)) {
        for listener in subsystem.listeners() {
            entries.push(entry(subsystem, &listener, local));
        }
    }
    entries
}

//= NVMe Base 2.0, 5.16.1.23
fn entry(subsystem: &Arc<Subsystem>, listener: &Listener, local: SocketAddr) -> DiscoveryEntry {
    const TCP: u8 = 3;
    const NVM: u8 = 2;
    const THIS_DISCOVERY: u8 = 3;
    /// Whether a secure channel is required; hosts may do without flow control.
    const REQUIRED: u8 = 1 | 1 << 2;
    const NOT_REQUIRED: u8 = 2 | 1 << 2;
    /// SECTYPE of the transport's part (NVMe/TCP 1.0, 3.6.1.1).
    const TLS13: u8 = 2;
    let at = listener.address();
    // All addresses are none that a host could connect to: the one it has come to is.
    let ip = if at.ip().is_unspecified() && at.is_ipv4() == local.is_ipv4() { local.ip() } else { at.ip() };
    let mut entry = DiscoveryEntry {
        trtype: TCP,
        adrfam: match ip {
            IpAddr::V4(_) => 1,
            IpAddr::V6(_) => 2,
        },
        subtype: if subsystem.is_discovery() { THIS_DISCOVERY } else { NVM },
        treq: if listener.is_secure() { REQUIRED } else { NOT_REQUIRED },
        portid: at.port().into(),
        cntlid: nvme::fabrics::ANY_CONTROLLER.into(),
        asqsz: 128.into(),
        trsvcid: text(&format!("{}", at.port())),
        traddr: text(&ip.to_string()),
        ..DiscoveryEntry::new_zeroed()
    };
    let nqn = subsystem.nqn().as_bytes();
    entry.subnqn[..nqn.len()].copy_from_slice(nqn);
    if listener.is_secure() {
        entry.tsas[0] = TLS13;
    }
    entry
}
