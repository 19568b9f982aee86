//! A controller: what an association has in common, whatever its queues.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use zerocopy::{FromZeros, IntoBytes};

use super::admin::{self, Subsystem};
use super::{Refusal, Request, Tag};
use crate::command::{ALL_NAMESPACES, FABRICS, Sqe, admin as opcode};
use crate::fabrics::{self, Disconnect, Parameter, Property, cap, cc, csts, property};
use crate::log::{ANA_GROUPS_ONLY, Event, GetLogPage, Notice, ReservationPage, Window, feature, lid};
use crate::status::{Code, Status};

/// Asynchronous event requests that a controller keeps.
pub(super) const EVENT_REQUESTS: usize = 4;

/// Past KATO before a host counts as gone: what a busy machine may be late by.
const TOLERANCE: Duration = Duration::from_secs(1);

/// The most changed namespaces that are remembered one by one (NVMe Base 2.0, 5.16.1.5).
const CHANGED: usize = 1024;

/// Reservation notices that are kept for a host.
const NOTICES: usize = 255;

/// Where an event is among those pending.
fn mark(event: Event) -> u32 {
    1 << event as u32
}

/// What a feature can do, as Get Features tells it: whether it is a namespace's, and can be changed.
fn capabilities(id: u8) -> u64 {
    match id {
        feature::QUEUES | feature::EVENTS | feature::KEEP_ALIVE => 1 << 2,
        feature::RESERVATION_MASK | feature::RESERVATION_PERSISTENCE => 1 << 2 | 1 << 1,
        _ => 0,
    }
}

/// What a controller is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads and writes.
    Io,
    /// Tells where subsystems are.
    Discovery,
}

/// What a controller may do.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What it is for.
    pub role: Role,
    /// CNTLID.
    pub cntlid: u16,
    /// I/O queues it has at most; up to 128.
    pub queues: u16,
    /// Entries that an I/O queue has at most, at least 3.
    pub entries: u16,
    /// MDTS: most data of a command, 2^n times 4 KiB.
    pub mdts: u8,
    /// The most data in the capsule of an I/O command, a multiple of 16.
    pub in_capsule: u32,
    /// The most blocks of a fused compare and write; 0 if there is none.
    pub fused: u16,
    /// Whether namespaces have reservations.
    pub reservations: bool,
}

/// What is to be done beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The controller was disabled: close its I/O queues.
    Disabled,
    /// The host shuts it down: close its I/O queues; it will close the admin queue.
    Shutdown,
    /// The host disconnects this queue: close it once the answer is sent.
    Disconnect,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is done. With success and data to the host, all of `out` is to be sent.
    Done {
        /// Its status.
        status: Status,
        /// DW0 and DW1.
        result: u64,
        /// What else.
        effect: Effect,
    },
    /// It is an Asynchronous Event Request; its tag is kept, and comes back from
    /// [`Controller::next_event`].
    Held,
    /// Abort this command if it can be, and complete with 0, or with 1 if it cannot be.
    Abort {
        /// SQID.
        qid: u16,
        /// CID.
        cid: u16,
    },
    /// Have the reservations of a namespace outlive a loss of power, or not, and complete when that
    /// itself does.
    Persist {
        /// NSID.
        nsid: u32,
        /// Whether they do.
        persists: bool,
    },
}

/// A controller, from the Connect of its admin queue on.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    hostid: [u8; 16],
    hostnqn: String,
    cc: u32,
    csts: u32,
    kato: Duration,
    heard: Duration,
    /// I/O queues that are connected, by QID less one.
    queues: u128,
    requests: [Option<Tag>; EVENT_REQUESTS],
    /// Feature 0Bh.
    wanted: u32,
    /// Events that are to be told, and those told whose log page was not read since.
    pending: u32,
    muted: u32,
    changed: Vec<u32>,
    /// What a host was not told yet of reservations, and how much there was.
    notices: VecDeque<(u32, Notice)>,
    noticed: u64,
    /// What it does not want to be told, by namespace.
    masks: Vec<(u32, u32)>,
}

impl Controller {
    /// A controller whose admin queue's Connect was `request`.
    pub fn new(config: Config, request: &Request<'_>, now: Duration) -> Self {
        Self {
            config,
            hostid: request.hostid,
            hostnqn: request.hostnqn.into(),
            cc: 0,
            csts: 0,
            kato: request.kato,
            heard: now,
            queues: 0,
            requests: [None; EVENT_REQUESTS],
            wanted: if config.role == Role::Discovery { Event::Discovery.bit() } else { 0 },
            pending: 0,
            muted: 0,
            changed: Vec::new(),
            notices: VecDeque::new(),
            noticed: 0,
            masks: Vec::new(),
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// HOSTNQN.
    pub fn hostnqn(&self) -> &str {
        &self.hostnqn
    }

    /// CSTS.RDY.
    pub fn is_ready(&self) -> bool {
        self.csts & csts::RDY != 0
    }

    /// Connects an I/O queue.
    ///
    /// # Errors
    /// The response that Connect is to get; those connected are left alone.
    //= NVMe Base 2.0, 6.3
    pub fn connect(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        self.may_connect(request)?;
        self.queues |= 1 << (request.qid - 1);
        Ok(())
    }

    /// Whether [`connect`](Self::connect) would take it now.
    ///
    /// # Errors
    /// The same.
    pub fn may_connect(&self, request: &Request<'_>) -> Result<(), Refusal> {
        if request.cntlid != self.config.cntlid {
            return Err(Parameter::CNTLID.into());
        }
        if request.hostnqn != self.hostnqn {
            return Err(Parameter::HOSTNQN.into());
        }
        if request.hostid != self.hostid {
            return Err(Parameter::HOSTID.into());
        }
        if request.qid == 0 || request.qid > self.config.queues.min(128) || self.config.role == Role::Discovery {
            return Err(Parameter::QID.into());
        }
        if request.entries > self.config.entries {
            return Err(Parameter::SQSIZE.into());
        }
        if !self.is_ready() {
            return Err(Code::CommandSequenceError.into());
        }
        if self.queues & 1 << (request.qid - 1) != 0 {
            return Err(Code::CommandSequenceError.into());
        }
        Ok(())
    }

    /// An I/O queue is closed.
    pub fn disconnected(&mut self, qid: u16) {
        if (1..=128).contains(&qid) {
            self.queues &= !(1 << (qid - 1));
        }
    }

    /// Something came from the host, on whatever queue, as late as `now`.
    pub fn hear(&mut self, now: Duration) {
        self.heard = self.heard.max(now);
    }

    /// The moment at which the host counts as gone, if it is not heard before.
    pub fn deadline(&self) -> Duration {
        if self.kato.is_zero() { Duration::MAX } else { self.heard.saturating_add(self.kato).saturating_add(TOLERANCE) }
    }

    /// Whether the host is gone: close all queues.
    pub fn is_gone(&self, now: Duration) -> bool {
        now >= self.deadline()
    }

    /// Does a command of the admin queue. `data` is what came with it; `out`, as long as the
    /// command's data, takes what the host reads.
    pub fn admin(&mut self, now: Duration, tag: Tag, sqe: &Sqe, data: &[u8], out: &mut [u8], subsystem: &dyn Subsystem) -> Verdict {
        self.hear(now);
        let done = match sqe.opcode {
            FABRICS => self.fabrics(sqe),
            _ if !self.is_ready() => Err(Code::CommandSequenceError),
            opcode::IDENTIFY => self.identify(sqe, out, subsystem),
            opcode::GET_LOG_PAGE => self.log_page(sqe, out, subsystem),
            opcode::SET_FEATURES if sqe.cdw10.get() & 0xFF == u32::from(feature::RESERVATION_PERSISTENCE) => {
                match self.persistence(sqe, subsystem) {
                    Ok(verdict) => return verdict,
                    Err(code) => Err(code),
                }
            }
            opcode::SET_FEATURES => self.set_feature(sqe, data, subsystem),
            opcode::GET_FEATURES => self.get_feature(sqe, out, subsystem),
            opcode::KEEP_ALIVE => Ok((0, Effect::None)),
            opcode::ASYNC_EVENT => match self.requests.iter_mut().find(|place| place.is_none()) {
                Some(place) => {
                    *place = Some(tag);
                    return Verdict::Held;
                }
                None => Err(Code::AsyncEventLimit),
            },
            opcode::ABORT => {
                let word = sqe.cdw10.get();
                return Verdict::Abort { qid: word as u16, cid: (word >> 16) as u16 };
            }
            _ => Err(Code::InvalidOpcode),
        };
        match done {
            Ok((result, effect)) => Verdict::Done { status: Status::SUCCESS, result, effect },
            Err(code) => Verdict::Done { status: code.into(), result: 0, effect: Effect::None },
        }
    }

    /// Does a fabrics command of an I/O queue.
    pub fn io_fabrics(&mut self, sqe: &Sqe) -> Verdict {
        let done = if sqe.fctype() == fabrics::DISCONNECT { self.fabrics(sqe) } else { Err(Code::InvalidField) };
        match done {
            Ok((result, effect)) => Verdict::Done { status: Status::SUCCESS, result, effect },
            Err(code) => Verdict::Done { status: code.into(), result: 0, effect: Effect::None },
        }
    }

    fn fabrics(&mut self, sqe: &Sqe) -> Result<(u64, Effect), Code> {
        match sqe.fctype() {
            fabrics::PROPERTY_GET => self.get_property(&sqe.words()).map(|value| (value, Effect::None)),
            fabrics::PROPERTY_SET => self.set_property(&sqe.words()).map(|effect| (0, effect)),
            fabrics::DISCONNECT => {
                let words: Disconnect = sqe.words();
                if words.recfmt.get() == 0 { Ok((0, Effect::Disconnect)) } else { Err(Code::IncompatibleFormat) }
            }
            _ => Err(Code::InvalidOpcode),
        }
    }

    //= NVMe Base 2.0, 6.5
    fn get_property(&self, words: &Property) -> Result<u64, Code> {
        let wide = words.attrib & 0b111 == 1;
        let (value, is_wide) = match words.offset.get() {
            // Ready within 7.5 s at the most.
            property::CAP => (cap::new(self.config.entries, 15), true),
            property::VS => (admin::VERSION.into(), false),
            property::CC => (self.cc.into(), false),
            property::CSTS => (self.csts.into(), false),
            _ => return Err(Code::InvalidField),
        };
        if wide == is_wide && words.attrib & 0b111 <= 1 { Ok(value) } else { Err(Code::InvalidField) }
    }

    //= NVMe Base 2.0, 6.6
    //= NVMe Base 2.0, 3.1.3.5
    fn set_property(&mut self, words: &Property) -> Result<Effect, Code> {
        if words.offset.get() != property::CC || words.attrib & 0b111 != 0 {
            return Err(Code::InvalidField);
        }
        let new = words.value.get() as u32;
        let (was, is) = (self.cc & cc::EN != 0, new & cc::EN != 0);
        if is && !was {
            let sizes = new & cc::ENTRY_SIZES_MASK;
            // A discovery controller has no I/O queues, so its sizes may be 0.
            let sized = sizes == cc::ENTRY_SIZES || (sizes == 0 && self.config.role == Role::Discovery);
            if new & (cc::CSS | cc::MPS | cc::AMS) != 0 || !sized {
                return Err(Code::InvalidField);
            }
        }
        self.cc = new;
        let shuts_down = new & cc::SHN != 0;
        self.csts = if is { csts::RDY } else { 0 } | if shuts_down { csts::SHUTDOWN_COMPLETE } else { 0 };
        if was && !is {
            self.reset();
            return Ok(Effect::Disabled);
        }
        Ok(if shuts_down { Effect::Shutdown } else { Effect::None })
    }

    /// What is forgotten when the controller is disabled. Its event requests stay: their queue does.
    fn reset(&mut self) {
        self.pending = 0;
        self.muted = 0;
        self.changed.clear();
        self.notices.clear();
        self.masks.clear();
        if self.config.role == Role::Io {
            self.wanted = 0;
        }
    }

    fn identify(&self, sqe: &Sqe, out: &mut [u8], subsystem: &dyn Subsystem) -> Result<(u64, Effect), Code> {
        let cns = sqe.cdw10.get() as u8;
        let csi = (sqe.cdw11.get() >> 24) as u8;
        admin::identify(cns, sqe.nsid.get(), csi, &self.config, subsystem, out).map(|()| (0, Effect::None))
    }

    //= NVMe Base 2.0, 5.16
    fn log_page(&mut self, sqe: &Sqe, out: &mut [u8], subsystem: &dyn Subsystem) -> Result<(u64, Effect), Code> {
        let words: GetLogPage = sqe.words();
        let offset = words.offset.get();
        if words.length() != out.len() as u64 {
            return Err(Code::SglLengthInvalid);
        }
        if !offset.is_multiple_of(4) {
            return Err(Code::InvalidField);
        }
        let mut log = Window::new(offset, out);
        let io = self.config.role == Role::Io;
        match words.lid {
            lid::SUPPORTED => self.supported(subsystem, &mut log),
            lid::ERRORS => log.put(&[0; 64]),
            lid::SMART if io => admin::smart(&mut log),
            lid::FIRMWARE if io => admin::firmware(&mut log),
            lid::EFFECTS => admin::effects(&self.config, &mut log),
            lid::CHANGED_NAMESPACES if io => self.changed_namespaces(&mut log),
            lid::ANA if io && subsystem.has_ana() => admin::ana(subsystem, words.flags & ANA_GROUPS_ONLY != 0, &mut log),
            lid::DISCOVERY if !io => admin::discovery(subsystem, &mut log),
            lid::RESERVATIONS if io && self.config.reservations => self.reservation_notice(&mut log),
            _ => return Err(Code::InvalidLogPage),
        }
        if offset > 0 && offset >= log.length() {
            return Err(Code::InvalidField);
        }
        if words.flags & GetLogPage::RETAIN == 0 {
            for event in Event::ALL.into_iter().filter(|event| event.lid() == words.lid) {
                self.muted &= !mark(event);
                match event {
                    Event::Namespaces => self.changed.clear(),
                    // The next one is told by an event of its own.
                    Event::Reservations if offset == 0 && self.notices.pop_front().is_some() && !self.notices.is_empty() => {
                        self.pending |= mark(event);
                    }
                    _ => {}
                }
            }
        }
        Ok((0, Effect::None))
    }

    fn supported(&self, subsystem: &dyn Subsystem, log: &mut Window<'_>) {
        let io = self.config.role == Role::Io;
        for id in 0..=255 {
            let there = match id {
                lid::SUPPORTED | lid::ERRORS | lid::EFFECTS => true,
                lid::SMART | lid::FIRMWARE | lid::CHANGED_NAMESPACES => io,
                lid::ANA => io && subsystem.has_ana(),
                lid::DISCOVERY => !io,
                lid::RESERVATIONS => io && self.config.reservations,
                _ => false,
            };
            log.put(&u32::from(there).to_le_bytes());
        }
    }

    fn changed_namespaces(&self, log: &mut Window<'_>) {
        let mut page = [0; CHANGED * 4];
        if self.changed.len() > CHANGED {
            page[..4].copy_from_slice(&ALL_NAMESPACES.to_le_bytes());
        } else {
            for (place, nsid) in page.chunks_exact_mut(4).zip(&self.changed) {
                place.copy_from_slice(&nsid.to_le_bytes());
            }
        }
        log.put(&page);
    }

    //= NVMe Base 2.0, 5.16.1.24
    fn reservation_notice(&self, log: &mut Window<'_>) {
        let mut page = ReservationPage::new_zeroed();
        if let Some((nsid, notice)) = self.notices.front() {
            let behind = self.notices.len() as u64 - 1;
            page.count = (self.noticed - behind).into();
            (page.kind, page.behind, page.nsid) = (*notice as u8, behind.min(255) as u8, (*nsid).into());
        }
        log.put(page.as_bytes());
    }

    /// Feature 82h: a host keeps notices of a namespace, or of all, away.
    //= NVMe Base 2.0, 5.27.1.25
    fn mask(&mut self, nsid: u32, mask: u32, subsystem: &dyn Subsystem) -> Result<(), Code> {
        let mut set = |nsid: u32| match self.masks.iter_mut().find(|(of, _)| *of == nsid) {
            Some((_, old)) => *old = mask,
            None => self.masks.push((nsid, mask)),
        };
        if nsid == ALL_NAMESPACES {
            core::iter::successors(subsystem.after(0), |nsid| subsystem.after(*nsid)).for_each(set);
            return Ok(());
        }
        subsystem.namespace(nsid).ok_or(Code::InvalidNamespace)?;
        set(nsid);
        Ok(())
    }

    fn masked(&self, nsid: u32) -> u32 {
        self.masks.iter().find(|(of, _)| *of == nsid).map_or(0, |(_, mask)| *mask)
    }

    /// Feature 83h, which is the namespace's.
    fn persistence(&self, sqe: &Sqe, subsystem: &dyn Subsystem) -> Result<Verdict, Code> {
        let nsid = sqe.nsid.get();
        subsystem.namespace(nsid).filter(|_| self.config.reservations).ok_or(Code::InvalidNamespace)?;
        Ok(Verdict::Persist { nsid, persists: sqe.cdw11.get() & 1 != 0 })
    }

    //= NVMe Base 2.0, 5.27
    fn set_feature(&mut self, sqe: &Sqe, _data: &[u8], subsystem: &dyn Subsystem) -> Result<(u64, Effect), Code> {
        const SAVE: u32 = 1 << 31;
        if sqe.cdw10.get() & SAVE != 0 {
            return Err(Code::FeatureNotSaveable);
        }
        let value = sqe.cdw11.get();
        match sqe.cdw10.get() as u8 {
            feature::QUEUES if self.config.role == Role::Io => {
                let (submission, completion) = (value as u16, (value >> 16) as u16);
                if submission == 0xFFFF || completion == 0xFFFF {
                    return Err(Code::InvalidField);
                }
                if self.queues != 0 {
                    return Err(Code::CommandSequenceError);
                }
                Ok((self.queue_count(), Effect::None))
            }
            feature::EVENTS => {
                self.wanted = value;
                Ok((0, Effect::None))
            }
            feature::KEEP_ALIVE => {
                self.kato = Duration::from_millis(value.into());
                Ok((0, Effect::None))
            }
            feature::RESERVATION_MASK if self.config.reservations => {
                self.mask(sqe.nsid.get(), value, subsystem)?;
                Ok((0, Effect::None))
            }
            // Fabrics hosts say who they are in Connect.
            feature::HOST_ID => Err(Code::CommandSequenceError),
            feature::ARBITRATION
            | feature::POWER
            | feature::TEMPERATURE
            | feature::ERROR_RECOVERY
            | feature::WRITE_CACHE
            | feature::ATOMICITY => Err(Code::FeatureNotChangeable),
            _ => Err(Code::InvalidField),
        }
    }

    fn queue_count(&self) -> u64 {
        let less_one = u64::from(self.config.queues.clamp(1, 128) - 1);
        less_one << 16 | less_one
    }

    //= NVMe Base 2.0, 5.15
    fn get_feature(&self, sqe: &Sqe, out: &mut [u8], subsystem: &dyn Subsystem) -> Result<(u64, Effect), Code> {
        out.fill(0);
        let id = sqe.cdw10.get() as u8;
        let select = sqe.cdw10.get() >> 8 & 0b111;
        let value = match id {
            feature::QUEUES if self.config.role == Role::Io => self.queue_count(),
            feature::EVENTS => self.wanted.into(),
            feature::KEEP_ALIVE => self.kato.as_millis() as u64,
            feature::WRITE_CACHE if self.config.role == Role::Io => subsystem.has_cache().into(),
            feature::HOST_ID => {
                // EXHID: hosts on fabrics have 16 bytes.
                if sqe.cdw11.get() & 1 == 0 {
                    return Err(Code::HostIdInconsistent);
                }
                out.get_mut(..16).ok_or(Code::SglLengthInvalid)?.copy_from_slice(&self.hostid);
                0
            }
            feature::RESERVATION_MASK if self.config.reservations => {
                let nsid = sqe.nsid.get();
                subsystem.namespace(nsid).ok_or(Code::InvalidNamespace)?;
                self.masked(nsid).into()
            }
            feature::RESERVATION_PERSISTENCE if self.config.reservations => {
                subsystem.namespace(sqe.nsid.get()).ok_or(Code::InvalidNamespace)?.persists.into()
            }
            feature::ARBITRATION | feature::POWER | feature::TEMPERATURE | feature::ERROR_RECOVERY | feature::ATOMICITY => 0,
            _ => return Err(Code::InvalidField),
        };
        match select {
            0b000 => Ok((value, Effect::None)),
            // What there is to begin with, and nothing is saved.
            0b001 | 0b010 => Ok((if matches!(id, feature::QUEUES | feature::WRITE_CACHE) { value } else { 0 }, Effect::None)),
            // Changeable, or not.
            0b011 => Ok((capabilities(id), Effect::None)),
            _ => Err(Code::InvalidField),
        }
    }

    /// Something has changed; the host is told by the next [`next_event`](Self::next_event) if it
    /// wants to know.
    pub fn raise(&mut self, event: Event) {
        if event.bit() == 0 || self.wanted & event.bit() != 0 {
            self.pending |= mark(event);
        }
    }

    /// A reservation notice for its host, unless that does not want it.
    pub fn notice(&mut self, nsid: u32, notice: Notice) {
        if self.masked(nsid) & notice.bit() != 0 {
            return;
        }
        self.noticed += 1;
        // A host that never looks has the oldest forgotten, which the count shows.
        if self.notices.len() == NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back((nsid, notice));
        self.raise(Event::Reservations);
    }

    /// A namespace came, went, or changed.
    pub fn namespace_changed(&mut self, nsid: u32) {
        // One more than can be told one by one says that there are too many.
        if self.changed.len() <= CHANGED && !self.changed.contains(&nsid) {
            self.changed.push(nsid);
        }
        self.raise(Event::Namespaces);
    }

    /// An event request to complete, and its DW0. An event is told once until its log page was
    /// read.
    pub fn next_event(&mut self) -> Option<(Tag, u64)> {
        let event = Event::ALL.into_iter().find(|event| self.pending & !self.muted & mark(*event) != 0)?;
        let tag = self.requests.iter_mut().find_map(Option::take)?;
        self.pending &= !mark(event);
        self.muted |= mark(event);
        Some((tag, event.dw0().into()))
    }

    /// An event request that Abort names: it is to be completed as aborted.
    pub fn take_request(&mut self, tag: Tag) -> bool {
        self.requests.iter_mut().filter(|place| **place == Some(tag)).map(Option::take).count() > 0
    }
}
