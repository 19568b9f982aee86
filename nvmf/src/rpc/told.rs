//! What there is, who is connected, and what was done.

extern crate std;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use core::sync::atomic::Ordering::Relaxed;

use keyring::Key;
use rpc::{Error, Method};
use serde::{Deserialize, Serialize};

use super::namespaces::digits;
use super::{OfSubsystem, ToldAddress, target};
use crate::{AllowedHost, Association, GroupFigures, Namespace, QueueInfo, Subsystem};

/// Ticks of a second: times are nanoseconds.
const TICK_RATE: u64 = 1_000_000_000;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    nqn: Option<String>,
    tgt_name: Option<String>,
}

rpc::register!(Method::new("nvmf_get_subsystems", "The subsystems, or one of them", |_, call| {
    let control = call.control().clone();
    call.answer(|which: Option<Which>| {
        let Which { nqn, tgt_name } = which.unwrap_or_default();
        let target = target(&control, tgt_name.as_deref())?;
        let found = match nqn {
            Some(nqn) => std::vec![target.subsystem(&nqn).map_err(|why| Error::new(-19, why.to_string()))?],
            None => target.subsystems(),
        };
        Ok(found.iter().map(|subsystem| ToldSubsystem::of(subsystem)).collect::<Vec<_>>())
    });
}));

#[derive(Serialize)]
struct ToldSubsystem {
    nqn: String,
    subtype: &'static str,
    listen_addresses: Vec<ToldAddress>,
    allow_any_host: bool,
    hosts: Vec<ToldHost>,
    #[serde(flatten)]
    nvme: Option<ToldNvme>,
}

#[derive(Serialize)]
struct ToldHost {
    nqn: String,
    /// The keys' names.
    #[serde(skip_serializing_if = "Option::is_none")]
    dhchap_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dhchap_ctrlr_key: Option<String>,
}

impl ToldHost {
    fn of(host: &AllowedHost) -> Self {
        let name = |key: Option<&Key>| key.map(|key| key.name().to_string());
        Self { nqn: host.nqn().into(), dhchap_key: name(host.dhchap_key()), dhchap_ctrlr_key: name(host.dhchap_ctrlr_key()) }
    }
}

/// What the discovery subsystem has not.
#[derive(Serialize)]
struct ToldNvme {
    serial_number: String,
    model_number: String,
    max_namespaces: u32,
    passthrough: bool,
    min_cntlid: u16,
    max_cntlid: u16,
    /// 0: no limits.
    dmrsl: u32,
    wzsl: u8,
    namespaces: Vec<ToldNamespace>,
}

#[derive(Serialize)]
struct ToldNamespace {
    nsid: u32,
    bdev_name: String,
    /// The same, for older clients.
    name: String,
    nguid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    eui64: Option<String>,
    uuid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    anagrpid: Option<u32>,
}

impl ToldSubsystem {
    fn of(subsystem: &Subsystem) -> Self {
        let is_discovery = subsystem.is_discovery();
        Self {
            nqn: subsystem.nqn().into(),
            subtype: if is_discovery { "Discovery" } else { "NVMe" },
            listen_addresses: subsystem.listeners().iter().map(|listener| listener.address().into()).collect(),
            allow_any_host: subsystem.allows_any_host(),
            hosts: subsystem.hosts().into_iter().map(|host| ToldHost::of(&host)).collect(),
            nvme: (!is_discovery).then(|| ToldNvme::of(subsystem)),
        }
    }
}

impl ToldNvme {
    fn of(subsystem: &Subsystem) -> Self {
        let config = subsystem.config();
        let namespaces = subsystem.namespaces();
        Self {
            serial_number: config.serial_number.clone(),
            model_number: config.model_number.clone(),
            max_namespaces: config.max_namespaces,
            passthrough: false,
            min_cntlid: *config.cntlids.start(),
            max_cntlid: *config.cntlids.end(),
            dmrsl: 0,
            wzsl: 0,
            namespaces: namespaces.iter().map(|namespace| ToldNamespace::of(namespace, config.ana_reporting)).collect(),
        }
    }
}

impl ToldNamespace {
    fn of(namespace: &Namespace, has_groups: bool) -> Self {
        let name = namespace.device().bdev().name().to_string();
        let eui64 = namespace.eui64();
        Self {
            nsid: namespace.nsid(),
            bdev_name: name.clone(),
            name,
            nguid: digits(&namespace.nguid()),
            eui64: (eui64 != [0; 8]).then(|| digits(&eui64)),
            uuid: namespace.uuid().to_string(),
            anagrpid: has_groups.then(|| namespace.anagrpid()),
        }
    }
}

rpc::register!(Method::new("nvmf_subsystem_get_controllers", "The controllers that hosts have of a subsystem", |_, call| {
    let control = call.control().clone();
    call.answer(|of: OfSubsystem| {
        let subsystem = target(&control, of.tgt_name.as_deref())?.subsystem(&of.nqn)?;
        Ok(subsystem.controllers().iter().map(|it| ToldController::of(it)).collect::<Vec<_>>())
    });
}));

#[derive(Serialize)]
struct ToldController {
    cntlid: u16,
    cntrltype: &'static str,
    hostnqn: String,
    hostid: String,
    num_io_qpairs: usize,
}

impl ToldController {
    fn of(it: &Association) -> Self {
        Self {
            cntlid: it.cntlid(),
            cntrltype: if it.subsystem().is_discovery() { "discovery" } else { "io" },
            hostnqn: it.hostnqn().into(),
            hostid: bdev::Uuid(u128::from_be_bytes(it.hostid())).to_string(),
            num_io_qpairs: it.queues().iter().filter(|queue| queue.qid != 0).count(),
        }
    }
}

rpc::register!(Method::new("nvmf_subsystem_get_qpairs", "The queues that hosts have of a subsystem", |_, call| {
    let control = call.control().clone();
    call.answer(|of: OfSubsystem| {
        let subsystem = target(&control, of.tgt_name.as_deref())?.subsystem(&of.nqn)?;
        let of = |it: &Association| it.queues().into_iter().map(|queue| ToldQueue::of(it, queue)).collect::<Vec<_>>();
        Ok(subsystem.controllers().iter().flat_map(|it| of(it)).collect::<Vec<_>>())
    });
}));

#[derive(Serialize)]
struct ToldQueue {
    cntlid: u16,
    qid: u16,
    state: &'static str,
    thread: String,
    hostnqn: String,
    listen_address: ToldAddress,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_address: Option<ToldAddress>,
}

impl ToldQueue {
    fn of(it: &Association, queue: QueueInfo) -> Self {
        Self {
            cntlid: it.cntlid(),
            qid: queue.qid,
            state: "enabled",
            thread: thread(queue.group),
            hostnqn: it.hostnqn().into(),
            listen_address: queue.local.into(),
            peer_address: queue.peer.map(ToldAddress::from),
        }
    }
}

/// The thread of a poll group.
fn thread(group: usize) -> String {
    format!("nvmf_tgt_poll_group_{group}")
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTarget {
    tgt_name: Option<String>,
}

rpc::register!(Method::new("nvmf_get_stats", "What each poll group has done", |_, call| {
    let control = call.control().clone();
    call.answer(|of: Option<OfTarget>| {
        let target = target(&control, of.unwrap_or_default().tgt_name.as_deref())?;
        let transports = target.transport().map(|_| ToldType { trtype: "TCP" });
        let group = |(n, figures): (usize, &GroupFigures)| ToldGroup::of(n, figures, transports.clone());
        let figures = target.figures();
        Ok(Stats { tick_rate: TICK_RATE, poll_groups: figures.iter().map(|it| &**it).enumerate().map(group).collect() })
    });
}));

#[derive(Serialize)]
struct Stats {
    tick_rate: u64,
    poll_groups: Vec<ToldGroup>,
}

#[derive(Clone, Serialize)]
struct ToldType {
    trtype: &'static str,
}

#[derive(Serialize)]
struct ToldGroup {
    name: String,
    admin_qpairs: u64,
    io_qpairs: u64,
    current_admin_qpairs: u64,
    current_io_qpairs: u64,
    current_unassociated_qpairs: u64,
    pending_bdev_io: u64,
    completed_nvme_io: u64,
    transports: Vec<ToldType>,
}

impl ToldGroup {
    fn of(n: usize, figures: &GroupFigures, transports: Option<ToldType>) -> Self {
        Self {
            name: thread(n),
            admin_qpairs: figures.admin_queues.load(Relaxed),
            io_qpairs: figures.io_queues.load(Relaxed),
            current_admin_qpairs: figures.current_admin_queues.load(Relaxed),
            current_io_qpairs: figures.current_io_queues.load(Relaxed),
            current_unassociated_qpairs: figures.current_connecting.load(Relaxed),
            pending_bdev_io: figures.pending_io.load(Relaxed),
            completed_nvme_io: figures.commands.load(Relaxed),
            transports: transports.into_iter().collect(),
        }
    }
}
