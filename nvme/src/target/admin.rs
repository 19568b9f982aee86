//! What a controller tells of its subsystem: Identify and log pages.

use zerocopy::{FromZeros, IntoBytes};

use super::controller::{Config, Role};
use crate::command::{ALL_NAMESPACES, admin, io};
use crate::identify::{self, Descriptor, IndependentNamespace, LENGTH, LbaFormat, NvmController, cns, oncs};
use crate::log::{AnaGroup, AnaHeader, AnaState, DiscoveryEntry, DiscoveryHeader, Effects, Event, FirmwareSlots, Smart, Window};
use crate::status::Code;

/// A namespace as its controllers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// How many blocks it has.
    pub blocks: u64,
    /// A block has 2^n bytes; at least 9.
    pub shift: u8,
    /// NGUID; zeroes are none.
    pub nguid: [u8; 16],
    /// EUI64; zeroes are none.
    pub eui64: [u8; 8],
    /// UUID; zeroes are none.
    pub uuid: [u8; 16],
    /// Nobody may write.
    pub read_only: bool,
    /// Several controllers may have it.
    pub shared: bool,
    /// Deallocated blocks read as zeroes.
    pub zeroes: bool,
    /// Requests that do not cross a multiple of so many blocks are fastest; 0 if it is all the same.
    pub boundary: u16,
    /// Its ANA group.
    pub group: u32,
    /// RESCAP, as [`Reservations::capabilities`](super::Reservations::capabilities) says; 0
    /// without reservations.
    pub reservations: u8,
    /// Whether those outlive a loss of power.
    pub persists: bool,
}

/// What a controller asks of the subsystem that it belongs to.
pub trait Subsystem {
    /// SUBNQN.
    fn nqn(&self) -> &str;

    /// Serial number, up to 20 characters of ASCII.
    fn serial(&self) -> &str;

    /// Model number, up to 40 characters of ASCII.
    fn model(&self) -> &str;

    /// The largest NSID that there may ever be (NN).
    fn largest(&self) -> u32;

    /// A namespace.
    fn namespace(&self, nsid: u32) -> Option<Namespace>;

    /// The NSID of the next namespace behind `nsid`.
    fn after(&self, nsid: u32) -> Option<u32>;

    /// The ANA groups, in ascending order: that at `index`, its state, and its changes so far.
    fn group(&self, index: u32) -> Option<(u32, AnaState, u64)> {
        (index == 0).then_some((1, AnaState::Optimized, 0))
    }

    /// Whether ANA is reported.
    fn has_ana(&self) -> bool {
        false
    }

    /// Whether a device has a volatile write cache.
    fn has_cache(&self) -> bool {
        true
    }

    /// GENCTR of what the host may discover.
    fn generation(&self) -> u64 {
        0
    }

    /// What the host may discover, one after the other.
    fn discovered(&self, index: u64) -> Option<DiscoveryEntry> {
        let _ = index;
        None
    }
}

/// Firmware revision.
const FIRMWARE: &str = env!("CARGO_PKG_VERSION");

/// RAB, as SPDK's target has it. VID, SSVID and IEEE stay zero, as those of the kernel's target: they
/// are of makers of devices, and we are none.
const BURST: u8 = 6;

/// NVMe 2.0, as in VS.
pub(super) const VERSION: u32 = 0x0002_0000;

/// Fills `out`, of [`LENGTH`] bytes, with what Identify asks for.
pub(super) fn identify(cns: u8, nsid: u32, csi: u8, config: &Config, subsystem: &dyn Subsystem, out: &mut [u8]) -> Result<(), Code> {
    if out.len() != LENGTH {
        return Err(Code::SglLengthInvalid);
    }
    out.fill(0);
    let io = config.role == Role::Io;
    match cns {
        cns::CONTROLLER => controller(config, subsystem).write_to(out).map_err(|_| Code::InternalError),
        cns::NAMESPACE if io && nsid == ALL_NAMESPACES => {
            // What all namespaces have in common: the format.
            out.copy_from_slice(common_namespace().as_bytes());
            Ok(())
        }
        cns::NAMESPACE | cns::NAMESPACE_INDEPENDENT if io => {
            check(nsid, subsystem)?;
            // One that is not there is all zeroes.
            if let Some(it) = subsystem.namespace(nsid) {
                if cns == cns::NAMESPACE {
                    out.copy_from_slice(namespace(&it).as_bytes());
                } else {
                    out.copy_from_slice(independent(&it).as_bytes());
                }
            }
            Ok(())
        }
        cns::ACTIVE_NAMESPACES if io => active(nsid, subsystem, out),
        cns::DESCRIPTORS if io => {
            check(nsid, subsystem)?;
            descriptors(&subsystem.namespace(nsid).ok_or(Code::InvalidNamespace)?, out);
            Ok(())
        }
        // There is the NVM command set only, and it has nothing to add on a namespace.
        cns::NAMESPACE_OF_SET if io && csi == 0 => check(nsid, subsystem),
        cns::CONTROLLER_OF_SET if io && csi == 0 => {
            let limits = NvmController { dmrl: 0, ..NvmController::new_zeroed() };
            out.copy_from_slice(limits.as_bytes());
            Ok(())
        }
        cns::NAMESPACE_OF_SET | cns::CONTROLLER_OF_SET if io => Err(Code::InvalidIoCommandSet),
        _ => Err(Code::InvalidField),
    }
}

fn check(nsid: u32, subsystem: &dyn Subsystem) -> Result<(), Code> {
    if nsid == 0 || nsid > subsystem.largest() { Err(Code::InvalidNamespace) } else { Ok(()) }
}

//= NVMe Base 2.0, 5.17.2.1
fn controller(config: &Config, subsystem: &dyn Subsystem) -> identify::Controller {
    let io = config.role == Role::Io;
    let mut it = identify::Controller::empty();
    it.rab = BURST;
    it.serial = identify::text(subsystem.serial());
    it.model = identify::text(subsystem.model());
    it.firmware = identify::text(FIRMWARE);
    it.mdts = config.mdts;
    it.cntlid = config.cntlid.into();
    it.version = VERSION.into();
    it.oaes = config.events(subsystem).into();
    // Host identifiers of 16 bytes; any command keeps alive.
    it.ctratt = (1 << 0 | 1 << 6).into();
    it.kind = if io { 1 } else { 2 };
    it.aerl = super::controller::EVENT_REQUESTS as u8 - 1;
    it.acl = 3;
    // One slot, read only.
    it.frmw = 1 << 1 | 1;
    // Effects; offsets of Get Log Page.
    it.lpa = 1 << 1 | 1 << 2;
    it.kas = 1.into();
    it.maxcmd = config.entries.into();
    // Transport SGLs and offsets, without alignment.
    it.sgls = (1 << 20 | 1).into();
    let nqn = subsystem.nqn().as_bytes();
    let len = nqn.len().min(it.subnqn.len() - 1);
    it.subnqn[..len].copy_from_slice(&nqn[..len]);
    it.ofcs = 1.into();
    if io {
        it.sqes = 0x66;
        it.cqes = 0x44;
        it.cmic = 1 << 1 | 1;
        it.nn = subsystem.largest().into();
        it.mnan = subsystem.largest().into();
        let reservations = if config.reservations { oncs::RESERVATIONS } else { 0 };
        it.oncs = (oncs::COMPARE | oncs::DATASET_MANAGEMENT | oncs::WRITE_ZEROES | reservations).into();
        it.fuses = u16::from(config.fused > 0).into();
        it.acwu = config.fused.saturating_sub(1).into();
        it.vwc = 0b11 << 1 | u8::from(subsystem.has_cache());
        // A capsule has its command and the data in it.
        it.ioccsz = ((64 + config.in_capsule) / 16).into();
        it.iorcsz = 1.into();
        it.msdbd = 1;
        if subsystem.has_ana() {
            it.cmic |= 1 << 3;
            it.anatt = 10;
            // Every state, and groups that do not change.
            it.anacap = 0b0101_1111;
            let groups = (0..).take_while(|at| subsystem.group(*at).is_some()).count() as u32;
            it.anagrpmax = groups.into();
            it.nanagrpid = groups.into();
        }
    }
    it
}

//= NVM Command Set 1.0, 4.1.5.1
fn namespace(it: &Namespace) -> identify::Namespace {
    let mut id = common_namespace();
    id.nsze = it.blocks.into();
    id.ncap = it.blocks.into();
    id.nuse = it.blocks.into();
    id.nmic = u8::from(it.shared);
    id.rescap = it.reservations;
    id.dlfeat = if it.zeroes { 0b001 } else { 0 };
    id.noiob = it.boundary.into();
    id.anagrpid = it.group.into();
    id.nsattr = u8::from(it.read_only);
    id.nguid = it.nguid;
    id.eui64 = it.eui64;
    id.formats[0] = LbaFormat { metadata: 0.into(), shift: it.shift, performance: 0 };
    id
}

fn common_namespace() -> identify::Namespace {
    identify::Namespace::new_zeroed()
}

fn independent(it: &Namespace) -> IndependentNamespace {
    IndependentNamespace {
        nmic: u8::from(it.shared),
        rescap: it.reservations,
        anagrpid: it.group.into(),
        nsattr: u8::from(it.read_only),
        nstat: 1,
        ..IndependentNamespace::new_zeroed()
    }
}

fn active(nsid: u32, subsystem: &dyn Subsystem, out: &mut [u8]) -> Result<(), Code> {
    if nsid >= ALL_NAMESPACES - 1 {
        return Err(Code::InvalidNamespace);
    }
    let mut last = nsid;
    for place in out.chunks_exact_mut(4) {
        let Some(next) = subsystem.after(last) else { break };
        place.copy_from_slice(&next.to_le_bytes());
        last = next;
    }
    Ok(())
}

fn descriptors(it: &Namespace, out: &mut [u8]) {
    let mut list = Window::new(0, out);
    for (kind, id) in [(Descriptor::NGUID, it.nguid), (Descriptor::UUID, it.uuid)] {
        if id != [0; 16] {
            list.put(Descriptor::new(kind, 16).as_bytes());
            list.put(&id);
        }
    }
    // CSI: NVM.
    list.put(Descriptor::new(Descriptor::CSI, 1).as_bytes());
    list.put(&[0]);
}

pub(super) fn smart(log: &mut Window<'_>) {
    // 300 K; all of the spare is left.
    let page = Smart { temperature: 300.into(), spare: 100, spare_threshold: 1, ..Smart::new_zeroed() };
    log.put(page.as_bytes());
}

pub(super) fn firmware(log: &mut Window<'_>) {
    let mut page = FirmwareSlots { active: 1, ..FirmwareSlots::new_zeroed() };
    page.revisions[0] = identify::text(FIRMWARE);
    log.put(page.as_bytes());
}

pub(super) fn effects(config: &Config, log: &mut Window<'_>) {
    let mut page = Effects::new_zeroed();
    for opcode in [
        admin::GET_LOG_PAGE,
        admin::IDENTIFY,
        admin::ABORT,
        admin::SET_FEATURES,
        admin::GET_FEATURES,
        admin::ASYNC_EVENT,
        admin::KEEP_ALIVE,
    ] {
        page.admin[usize::from(opcode)] = Effects::SUPPORTED.into();
    }
    if config.role == Role::Io {
        if config.reservations {
            for opcode in [io::RESERVATION_REGISTER, io::RESERVATION_REPORT, io::RESERVATION_ACQUIRE, io::RESERVATION_RELEASE] {
                page.io[usize::from(opcode)] = Effects::SUPPORTED.into();
            }
        }
        for opcode in [io::FLUSH, io::READ, io::COMPARE] {
            page.io[usize::from(opcode)] = Effects::SUPPORTED.into();
        }
        for opcode in [io::WRITE, io::WRITE_ZEROES, io::DATASET_MANAGEMENT] {
            page.io[usize::from(opcode)] = (Effects::SUPPORTED | Effects::CHANGES_BLOCKS).into();
        }
    }
    log.put(page.as_bytes());
}

/// The namespaces of `group`.
fn members(subsystem: &dyn Subsystem, group: u32) -> impl Iterator<Item = u32> + '_ {
    core::iter::successors(subsystem.after(0), |nsid| subsystem.after(*nsid))
        .filter(move |nsid| subsystem.namespace(*nsid).is_some_and(|it| it.group == group))
}

//= NVMe Base 2.0, 5.16.1.13
pub(super) fn ana(subsystem: &dyn Subsystem, groups_only: bool, log: &mut Window<'_>) {
    let groups = || (0..).map_while(|at| subsystem.group(at));
    let changes = groups().map(|(_, _, changes)| changes).sum::<u64>();
    log.put(AnaHeader { changes: changes.into(), groups: (groups().count() as u16).into(), reserved: [0; 6] }.as_bytes());
    for (id, state, changes) in groups() {
        let namespaces = if groups_only { 0 } else { members(subsystem, id).count() as u32 };
        let head =
            AnaGroup { id: id.into(), namespaces: namespaces.into(), changes: changes.into(), state: state as u8, reserved: [0; 15] };
        log.put(head.as_bytes());
        if !groups_only {
            members(subsystem, id).for_each(|nsid| log.put(&nsid.to_le_bytes()));
        }
    }
}

//= NVMe Base 2.0, 5.16.1.23
pub(super) fn discovery(subsystem: &dyn Subsystem, log: &mut Window<'_>) {
    let entries = || (0..).map_while(|at| subsystem.discovered(at));
    let header = DiscoveryHeader {
        generation: subsystem.generation().into(),
        records: (entries().count() as u64).into(),
        ..DiscoveryHeader::new_zeroed()
    };
    log.put(header.as_bytes());
    entries().for_each(|entry| log.put(entry.as_bytes()));
}

impl Config {
    /// OAES: which events there are.
    pub(super) fn events(&self, subsystem: &dyn Subsystem) -> u32 {
        match self.role {
            Role::Discovery => Event::Discovery.bit(),
            Role::Io if subsystem.has_ana() => Event::Namespaces.bit() | Event::Ana.bit(),
            Role::Io => Event::Namespaces.bit(),
        }
    }
}
