//! Reservations of a namespace (NVMe Base 2.0, 8.19): which hosts are registered, and who holds it.

use alloc::vec::Vec;

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::command::{Sqe, io};
use crate::fabrics::ANY_CONTROLLER;
use crate::log::{Notice, Window};
use crate::reservation::{Acquire, Kind, Register, Registrant, Release, Report};
use crate::status::Code;

/// The most hosts that are registered; one more is told that there is no room.
const HOSTS: usize = 128;

/// The reservations of one namespace. Hosts are told apart by their HOSTID.
///
/// ```
/// use nvme::target::{Kept, Reservations};
///
/// let host = [7; 16];
/// let kept = Kept { hosts: vec![(host, 0xABCD)], held: None };
/// let reservations = Reservations::restored(&kept).expect("that can be");
/// assert!(reservations.persists());
/// assert_eq!(reservations.kept(), Some(kept), "as they were");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Reservations {
    hosts: Vec<Host>,
    held: Option<Held>,
    generation: u32,
    persists: bool,
    /// Whether they can be made to outlive a loss of power.
    persistent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Host {
    id: [u8; 16],
    key: u64,
    cntlid: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    by: [u8; 16],
    kind: Kind,
}

impl Held {
    fn by_all(self) -> bool {
        matches!(self.kind, Kind::WriteExclusiveAll | Kind::ExclusiveAccessAll)
    }
}

/// Who sends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// HOSTID.
    pub host: [u8; 16],
    /// CNTLID.
    pub cntlid: u16,
}

/// What a reservation command has done to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToOthers {
    /// The hosts that are no longer registered.
    pub hosts: Vec<[u8; 16]>,
    /// Whether their commands are to be aborted.
    pub abort: bool,
    /// Hosts that are to be told, and what.
    pub notices: Vec<([u8; 16], Notice)>,
}

/// Reservations as they outlive a loss of power.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Who is registered, with which key.
    pub hosts: Vec<([u8; 16], u64)>,
    /// Which kind is held, and by whom; by the first where all registrants hold it.
    pub held: Option<(Kind, [u8; 16])>,
}

impl Reservations {
    /// None yet; `persistent` is whether they can be made to outlive a loss of power.
    pub fn new(persistent: bool) -> Self {
        Self { persistent, ..Self::default() }
    }

    /// RESCAP of Identify Namespace: every kind there is, and persistence.
    pub fn capabilities(&self) -> u8 {
        0b0111_1110 | u8::from(self.persistent)
    }

    /// Those that have outlived a loss of power.
    ///
    /// ```
    /// use nvme::reservation::Kind;
    /// use nvme::target::{Kept, Reservations};
    ///
    /// let nobody = Kept { hosts: vec![], held: Some((Kind::WriteExclusive, [7; 16])) };
    /// assert!(Reservations::restored(&nobody).is_err(), "who holds it is not registered");
    /// ```
    ///
    /// # Errors
    /// What cannot be, in words.
    pub fn restored(kept: &Kept) -> Result<Self, &'static str> {
        let mut all = Self { persists: true, ..Self::new(true) };
        for (id, key) in &kept.hosts {
            if *key == 0 {
                return Err("a host is registered with the key 0");
            }
            if all.hosts.iter().any(|it| it.id == *id) {
                return Err("a host is registered twice");
            }
            all.hosts.push(Host { id: *id, key: *key, cntlid: ANY_CONTROLLER });
        }
        if all.hosts.len() > HOSTS {
            return Err("more than 128 hosts are registered");
        }
        all.held = kept.held.map(|(kind, by)| Held { by, kind });
        if all.held.is_some_and(|held| !all.hosts.iter().any(|it| it.id == held.by)) {
            return Err("the host that holds it is not registered");
        }
        Ok(all)
    }

    /// What is to outlive a loss of power; `None` if nothing is.
    pub fn kept(&self) -> Option<Kept> {
        let held = self.held.map(|held| (held.kind, if held.by_all() { self.hosts.first().map_or(held.by, |it| it.id) } else { held.by }));
        self.persists.then(|| Kept { hosts: self.hosts.iter().map(|it| (it.id, it.key)).collect(), held })
    }

    /// Whether they can be made to outlive a loss of power.
    pub fn can_persist(&self) -> bool {
        self.persistent
    }

    /// Whether they are to outlive a loss of power (PTPL).
    pub fn persists(&self) -> bool {
        self.persists
    }

    /// Has them outlive a loss of power, or not, as feature 83h says.
    ///
    /// ```
    /// use nvme::target::Reservations;
    ///
    /// assert!(Reservations::new(false).persist(true).is_err());
    /// let mut kept = Reservations::new(true);
    /// assert!(kept.persist(true).is_ok() && kept.persists());
    /// ```
    ///
    /// # Errors
    /// They cannot.
    //= NVMe Base 2.0, 5.27.1.26
    pub fn persist(&mut self, persists: bool) -> Result<(), Code> {
        if persists && !self.persistent {
            return Err(Code::InvalidField);
        }
        self.persists = persists;
        Ok(())
    }

    /// Whether a command may be done, by what it does.
    //= NVMe Base 2.0, 8.19.1
    pub fn allows(&self, host: &[u8; 16], sqe: &Sqe) -> bool {
        let Some(held) = self.held else { return true };
        let registered = self.hosts.iter().any(|it| it.id == *host);
        let holds = if held.by_all() { registered } else { held.by == *host };
        let reads = matches!(sqe.opcode, io::READ | io::COMPARE);
        let changes = matches!(sqe.opcode, io::WRITE | io::WRITE_ZEROES | io::DATASET_MANAGEMENT | io::FLUSH);
        match held.kind {
            _ if holds || !(reads || changes) => true,
            Kind::WriteExclusive => reads,
            Kind::ExclusiveAccess => false,
            Kind::WriteExclusiveRegistrants | Kind::WriteExclusiveAll => reads || registered,
            Kind::ExclusiveAccessRegistrants | Kind::ExclusiveAccessAll => registered,
        }
    }

    /// Does Reservation Register, Acquire or Release.
    ///
    /// # Errors
    /// The status that it is to get; nothing has changed.
    pub fn change(&mut self, from: Sender, sqe: &Sqe, data: &[u8]) -> Result<ToOthers, Code> {
        match sqe.opcode {
            io::RESERVATION_REGISTER => self.register(from, sqe, &read(data)?),
            io::RESERVATION_ACQUIRE => self.acquire(from, sqe, &read(data)?),
            io::RESERVATION_RELEASE => self.release(from, sqe, &read(data)?),
            _ => Err(Code::InvalidOpcode),
        }
    }

    //= NVMe Base 2.0, 7.3
    fn register(&mut self, from: Sender, sqe: &Sqe, data: &Register) -> Result<ToOthers, Code> {
        let word = sqe.cdw10.get();
        let (ignores_key, persistence) = (word & 1 << 3 != 0, word >> 30);
        if persistence == 0b01 || (persistence == 0b11 && !self.persistent) {
            return Err(Code::InvalidField);
        }
        let at = self.hosts.iter().position(|it| it.id == from.host);
        let mut others = ToOthers::default();
        let matches = at.filter(|at| ignores_key || self.hosts[*at].key == data.current.get());
        match word & 0b111 {
            0 | 2 if data.new.get() == 0 => return Err(Code::InvalidField),
            0 => self.enter(from, at, data.new.get())?,
            1 => {
                let (id, was) = (self.hosts.remove(matches.ok_or(Code::ReservationConflict)?).id, self.held);
                self.left(&id);
                if self.held.is_none() {
                    others.notices = self.released(was, &id);
                }
            }
            2 => self.hosts[matches.ok_or(Code::ReservationConflict)?].key = data.new.get(),
            _ => return Err(Code::InvalidField),
        }
        self.generation = self.generation.wrapping_add(1);
        if persistence != 0 {
            self.persists = persistence == 0b11;
        }
        Ok(others)
    }

    /// Who is told that what registrants held is free: all that are registered but one.
    //= NVMe Base 2.0, 8.19.5
    fn released(&self, was: Option<Held>, but: &[u8; 16]) -> Vec<([u8; 16], Notice)> {
        match was {
            Some(held) if !matches!(held.kind, Kind::WriteExclusive | Kind::ExclusiveAccess) => {
                self.notices(but, Notice::ReservationReleased)
            }
            _ => Vec::new(),
        }
    }

    fn notices(&self, but: &[u8; 16], notice: Notice) -> Vec<([u8; 16], Notice)> {
        self.hosts.iter().filter(|it| it.id != *but).map(|it| (it.id, notice)).collect()
    }

    fn enter(&mut self, from: Sender, at: Option<usize>, key: u64) -> Result<(), Code> {
        match at {
            Some(at) if self.hosts[at].key == key => Ok(()),
            Some(_) => Err(Code::ReservationConflict),
            None if self.hosts.len() == HOSTS => Err(Code::CapacityExceeded),
            None => {
                self.hosts.push(Host { id: from.host, key, cntlid: from.cntlid });
                Ok(())
            }
        }
    }

    /// A host is no longer registered: what it held alone is free.
    fn left(&mut self, id: &[u8; 16]) {
        if self.held.is_some_and(|held| if held.by_all() { self.hosts.is_empty() } else { held.by == *id }) {
            self.held = None;
        }
    }

    fn registered(&self, from: Sender, key: u64) -> Result<(), Code> {
        let known = self.hosts.iter().any(|it| it.id == from.host && it.key == key);
        if known { Ok(()) } else { Err(Code::ReservationConflict) }
    }

    //= NVMe Base 2.0, 7.2
    fn acquire(&mut self, from: Sender, sqe: &Sqe, data: &Acquire) -> Result<ToOthers, Code> {
        let word = sqe.cdw10.get();
        let kind = Kind::of((word >> 8) as u8).filter(|_| word & 1 << 3 == 0).ok_or(Code::InvalidField)?;
        self.registered(from, data.current.get())?;
        let wanted = Held { by: from.host, kind };
        match word & 0b111 {
            0 => match self.held {
                Some(held) if held.kind != kind || (held.by != from.host && !held.by_all()) => Err(Code::ReservationConflict),
                Some(_) => Ok(ToOthers::default()),
                None => {
                    self.held = Some(wanted);
                    Ok(ToOthers::default())
                }
            },
            action @ (1 | 2) => self.preempt(wanted, data.preempted.get(), action == 2),
            _ => Err(Code::InvalidField),
        }
    }

    //= NVMe Base 2.0, 8.19.7
    fn preempt(&mut self, wanted: Held, key: u64, abort: bool) -> Result<ToOthers, Code> {
        let all = key == 0 && self.held.is_some_and(Held::by_all);
        if key == 0 && !all {
            return Err(Code::InvalidField);
        }
        let hit = |it: &Host| all || it.key == key;
        if !self.hosts.iter().any(hit) {
            return Err(Code::ReservationConflict);
        }
        // Of a holder it takes the reservation over; of others, their registration only.
        let takes = match self.held {
            Some(held) if held.by_all() => all,
            Some(held) => self.hosts.iter().any(|it| it.id == held.by && it.key == key),
            None => false,
        };
        let mut others = ToOthers { abort, ..ToOthers::default() };
        self.hosts.retain(|it| {
            let goes = hit(it) && it.id != wanted.by;
            if goes {
                others.hosts.push(it.id);
                others.notices.push((it.id, Notice::RegistrationPreempted));
            }
            !goes
        });
        if takes {
            let was = self.held.replace(wanted);
            if was.is_some_and(|held| held.kind != wanted.kind) {
                others.notices.extend(self.notices(&wanted.by, Notice::ReservationReleased));
            }
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(others)
    }

    //= NVMe Base 2.0, 7.4
    fn release(&mut self, from: Sender, sqe: &Sqe, data: &Release) -> Result<ToOthers, Code> {
        let word = sqe.cdw10.get();
        if word & 1 << 3 != 0 {
            return Err(Code::InvalidField);
        }
        self.registered(from, data.current.get())?;
        match word & 0b111 {
            0 => match self.held.filter(|held| held.by == from.host || held.by_all()) {
                Some(held) if held.kind as u8 != (word >> 8) as u8 => Err(Code::InvalidField),
                was @ Some(_) => {
                    self.held = None;
                    Ok(ToOthers { notices: self.released(was, &from.host), ..ToOthers::default() })
                }
                None => Ok(ToOthers::default()),
            },
            1 => {
                self.held = None;
                let notices = self.notices(&from.host, Notice::ReservationPreempted);
                let hosts = self.hosts.drain(..).map(|it| it.id).filter(|id| *id != from.host).collect();
                self.generation = self.generation.wrapping_add(1);
                Ok(ToOthers { hosts, abort: false, notices })
            }
            _ => Err(Code::InvalidField),
        }
    }

    /// Reservation Report into `out`.
    ///
    /// # Errors
    /// The status that it is to get.
    //= NVMe Base 2.0, 7.5
    pub fn report(&self, sqe: &Sqe, out: &mut [u8]) -> Result<(), Code> {
        // EDS: identifiers of hosts have 16 bytes.
        if sqe.cdw11.get() & 1 == 0 {
            return Err(Code::HostIdInconsistent);
        }
        if (u64::from(sqe.cdw10.get()) + 1) * 4 != out.len() as u64 {
            return Err(Code::SglLengthInvalid);
        }
        let mut log = Window::new(0, out);
        let header = Report {
            generation: self.generation.into(),
            kind: self.held.map_or(0, |held| held.kind as u8),
            controllers: (self.hosts.len() as u16).into(),
            persists: self.persists.into(),
            ..Report::new_zeroed()
        };
        log.put(header.as_bytes());
        for it in &self.hosts {
            let holds = self.held.is_some_and(|held| held.by_all() || held.by == it.id);
            let (cntlid, key) = (it.cntlid.into(), it.key.into());
            log.put(Registrant { cntlid, status: holds.into(), key, host: it.id, ..Registrant::new_zeroed() }.as_bytes());
        }
        Ok(())
    }
}

fn read<T: FromBytes>(data: &[u8]) -> Result<T, Code> {
    T::read_from_bytes(data).map_err(|_| Code::SglLengthInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 6] = [
        Kind::WriteExclusive,
        Kind::ExclusiveAccess,
        Kind::WriteExclusiveRegistrants,
        Kind::ExclusiveAccessRegistrants,
        Kind::WriteExclusiveAll,
        Kind::ExclusiveAccessAll,
    ];

    fn host(id: u8) -> Sender {
        Sender { host: [id; 16], cntlid: id.into() }
    }

    fn send(all: &mut Reservations, id: u8, opcode: u8, word: u32, keys: [u64; 2]) -> Result<ToOthers, Code> {
        let sqe = Sqe { cdw10: word.into(), ..Sqe::new(opcode, 1) };
        let data = [keys[0].to_le_bytes(), keys[1].to_le_bytes()];
        let length = if opcode == io::RESERVATION_RELEASE { 8 } else { 16 };
        all.change(host(id), &sqe, &data.as_bytes()[..length])
    }

    fn register(all: &mut Reservations, id: u8, key: u64) {
        assert_eq!(send(all, id, io::RESERVATION_REGISTER, 0, [0, key]), Ok(ToOthers::default()));
    }

    fn acquire(all: &mut Reservations, id: u8, kind: Kind, key: u64) -> Result<ToOthers, Code> {
        send(all, id, io::RESERVATION_ACQUIRE, (kind as u32) << 8, [key, 0])
    }

    /// Host 1 holds, 2 is registered, 3 is not.
    #[test]
    fn s252_each_kind_lets_those_in_whom_it_names() {
        let may = |all: &Reservations, id: u8, opcode| all.allows(&[id; 16], &Sqe::new(opcode, 1));
        for (kind, registrant, stranger) in [
            (KINDS[0], [true, false], [true, false]),
            (KINDS[1], [false, false], [false, false]),
            (KINDS[2], [true, true], [true, false]),
            (KINDS[3], [true, true], [false, false]),
            (KINDS[4], [true, true], [true, false]),
            (KINDS[5], [true, true], [false, false]),
        ] {
            let mut all = Reservations::new(false);
            register(&mut all, 1, 11);
            register(&mut all, 2, 22);
            assert!(may(&all, 3, io::WRITE));
            assert!(acquire(&mut all, 1, kind, 11).is_ok());
            for (id, wanted) in [(1, [true, true]), (2, registrant), (3, stranger)] {
                assert_eq!([may(&all, id, io::READ), may(&all, id, io::WRITE)], wanted, "{kind:?}, host {id}");
                assert_eq!(may(&all, id, io::COMPARE), wanted[0]);
                for opcode in [io::WRITE_ZEROES, io::DATASET_MANAGEMENT] {
                    assert_eq!(may(&all, id, opcode), wanted[1]);
                }
            }
        }
    }

    #[test]
    fn s252_registrations_need_their_key() {
        let mut all = Reservations::new(false);
        register(&mut all, 1, 11);
        register(&mut all, 1, 11);
        let reg = io::RESERVATION_REGISTER;
        for (id, word, keys, answer) in [
            (1, 0, [0, 12], Err(Code::ReservationConflict)),
            (1, 0, [0, 0], Err(Code::InvalidField)),
            (1, 2, [99, 12], Err(Code::ReservationConflict)),
            (2, 1, [11, 0], Err(Code::ReservationConflict)),
            (1, 1, [99, 0], Err(Code::ReservationConflict)),
            (1, 3, [11, 0], Err(Code::InvalidField)),
            (1, 0b11 << 30, [0, 11], Err(Code::InvalidField)),
            (1, 2, [11, 12], Ok(ToOthers::default())),
            (1, 2 | 1 << 3, [0, 13], Ok(ToOthers::default())),
            (1, 1, [13, 0], Ok(ToOthers::default())),
            (1, 1, [13, 0], Err(Code::ReservationConflict)),
        ] {
            assert_eq!(send(&mut all, id, reg, word, keys), answer, "{word:#x} {keys:?}");
        }
        assert_eq!(acquire(&mut all, 1, KINDS[0], 13), Err(Code::ReservationConflict));
        assert!(send(&mut Reservations::new(true), 1, reg, 0b11 << 30, [0, 11]).is_ok());
    }

    #[test]
    fn s252_one_holds_it_until_it_lets_go() {
        let mut all = Reservations::new(false);
        register(&mut all, 1, 11);
        register(&mut all, 2, 22);
        assert!(acquire(&mut all, 1, KINDS[0], 11).is_ok() && acquire(&mut all, 1, KINDS[0], 11).is_ok());
        assert_eq!(acquire(&mut all, 1, KINDS[1], 11), Err(Code::ReservationConflict));
        assert_eq!(acquire(&mut all, 2, KINDS[0], 22), Err(Code::ReservationConflict));
        let rel = io::RESERVATION_RELEASE;
        assert_eq!(send(&mut all, 2, rel, 1 << 8, [22, 0]), Ok(ToOthers::default()), "not its own: nothing happens");
        assert_eq!(acquire(&mut all, 2, KINDS[0], 22), Err(Code::ReservationConflict));
        assert_eq!(send(&mut all, 1, rel, 2 << 8, [11, 0]), Err(Code::InvalidField));
        assert!(send(&mut all, 1, rel, 1 << 8, [11, 0]).is_ok());
        assert!(acquire(&mut all, 2, KINDS[0], 22).is_ok());
        // Who leaves lets go.
        assert!(send(&mut all, 2, io::RESERVATION_REGISTER, 1, [22, 0]).is_ok());
        assert!(acquire(&mut all, 1, KINDS[4], 11).is_ok());
        assert_eq!(send(&mut all, 1, rel, 1, [11, 0]).map(|it| it.hosts.len()), Ok(0));
        assert!(all.allows(&[3; 16], &Sqe::new(io::WRITE, 1)));
    }

    #[test]
    fn s252_a_preempted_host_is_out() {
        let mut all = Reservations::new(false);
        for id in 1..=3 {
            register(&mut all, id, u64::from(id) * 11);
        }
        let acq = io::RESERVATION_ACQUIRE;
        assert!(acquire(&mut all, 1, KINDS[1], 11).is_ok());
        // Of one who does not hold it: the registration only.
        let gone = send(&mut all, 2, acq, 1 | 1 << 8, [22, 33]).unwrap();
        assert_eq!((gone.hosts, gone.abort), (alloc::vec![[3; 16]], false));
        assert!(!all.allows(&[2; 16], &Sqe::new(io::READ, 1)));
        assert_eq!(send(&mut all, 2, acq, 1 | 1 << 8, [22, 33]), Err(Code::ReservationConflict));
        assert_eq!(send(&mut all, 2, acq, 1 | 1 << 8, [22, 0]), Err(Code::InvalidField));
        // Of the holder: it changes hands.
        let gone = send(&mut all, 2, acq, 2 | 1 << 8, [22, 11]).unwrap();
        assert_eq!((gone.hosts, gone.abort), (alloc::vec![[1; 16]], true));
        assert!(all.allows(&[2; 16], &Sqe::new(io::WRITE, 1)) && !all.allows(&[1; 16], &Sqe::new(io::WRITE, 1)));
    }

    #[test]
    fn s380_who_is_affected_is_told_and_nobody_else() {
        use Notice::{RegistrationPreempted, ReservationPreempted, ReservationReleased};
        let told = |kind: Kind, id: u8, opcode, word: u32, keys: [u64; 2]| {
            let mut all = Reservations::new(false);
            (1..=3).for_each(|id| register(&mut all, id, u64::from(id) * 11));
            assert!(acquire(&mut all, 1, kind, 11).is_ok());
            let done = send(&mut all, id, opcode, word, keys).expect("it can be done");
            done.notices.into_iter().map(|(id, notice)| (id[0], notice)).collect::<Vec<_>>()
        };
        let (reg, acq, rel) = (io::RESERVATION_REGISTER, io::RESERVATION_ACQUIRE, io::RESERVATION_RELEASE);
        let released = alloc::vec![(2, ReservationReleased), (3, ReservationReleased)];
        for kind in KINDS {
            let registrants = !matches!(kind, Kind::WriteExclusive | Kind::ExclusiveAccess);
            let wanted = if registrants { released.clone() } else { Vec::new() };
            assert_eq!(told(kind, 1, rel, (kind as u32) << 8, [11, 0]), wanted, "{kind:?} released");
            let wanted = if matches!(kind as u8, 3 | 4) { released.clone() } else { Vec::new() };
            assert_eq!(told(kind, 1, reg, 1, [11, 0]), wanted, "{kind:?}: its holder leaves");
            let others = [(1, ReservationPreempted), (3, ReservationPreempted)];
            assert_eq!(told(kind, 2, rel, 1, [22, 0]), others, "{kind:?} cleared");
        }
        let preempted = (1, RegistrationPreempted);
        assert_eq!(told(KINDS[0], 2, acq, 1 | 1 << 8, [22, 11]), [preempted]);
        assert_eq!(told(KINDS[0], 2, acq, 1 | 2 << 8, [22, 11]), [preempted, (3, ReservationReleased)], "another kind");
        assert_eq!(told(KINDS[0], 2, acq, 1 | 1 << 8, [22, 33]), [(3, RegistrationPreempted)]);
    }

    #[test]
    fn s252_a_host_that_has_left_holds_nothing_with_all() {
        for kind in [KINDS[4], KINDS[5]] {
            let mut all = Reservations::new(false);
            (1..=2).for_each(|id| register(&mut all, id, u64::from(id) * 11));
            assert!(acquire(&mut all, 1, kind, 11).is_ok());
            assert!(send(&mut all, 1, io::RESERVATION_REGISTER, 1, [11, 0]).is_ok());
            let may = |id: u8| all.allows(&[id; 16], &Sqe::new(io::WRITE, 1));
            assert!(!may(1) && may(2), "{kind:?}");
        }
    }

    #[test]
    fn s378_what_is_kept_is_what_was() {
        for kind in KINDS {
            let mut all = Reservations::new(true);
            assert!(send(&mut all, 1, io::RESERVATION_REGISTER, 0b11 << 30, [0, 11]).is_ok());
            register(&mut all, 2, 22);
            assert!(acquire(&mut all, 2, kind, 22).is_ok());
            let kept = all.kept().expect("it is kept");
            let again = Reservations::restored(&kept).expect("it can be");
            assert_eq!(again.kept(), Some(kept));
            for id in 1..=3 {
                for opcode in [io::READ, io::WRITE] {
                    let may = |all: &Reservations| all.allows(&[id; 16], &Sqe::new(opcode, 1));
                    assert_eq!(may(&all), may(&again), "{kind:?}, host {id}");
                }
            }
            assert!(send(&mut all, 1, io::RESERVATION_REGISTER, 2 | 0b10 << 30, [11, 12]).is_ok());
            assert_eq!(all.kept(), None);
        }
        let host = |id: u8, key| ([id; 16], key);
        for (hosts, held) in [
            (alloc::vec![host(1, 0)], None),
            (alloc::vec![host(1, 1), host(1, 2)], None),
            (alloc::vec![host(1, 1)], Some((KINDS[0], [2; 16]))),
            ((0..=HOSTS as u8).map(|id| host(id, 1)).collect(), None),
        ] {
            assert!(Reservations::restored(&Kept { hosts, held }).is_err());
        }
    }

    #[test]
    fn s252_a_report_says_who_holds_it() {
        let mut all = Reservations::new(false);
        register(&mut all, 1, 11);
        register(&mut all, 2, 22);
        assert!(acquire(&mut all, 2, KINDS[2], 22).is_ok());
        let mut out = [0xEE; 192];
        let sqe = Sqe { cdw10: 47.into(), cdw11: 1.into(), ..Sqe::new(io::RESERVATION_REPORT, 1) };
        assert_eq!(all.report(&sqe, &mut out), Ok(()));
        let header: Report = read(&out[..64]).unwrap();
        assert_eq!((header.generation.get(), header.kind, header.controllers.get(), header.persists), (2, 3, 2, 0));
        let two: Registrant = read(&out[128..]).unwrap();
        assert_eq!((two.cntlid.get(), two.status, two.key.get(), two.host), (2, 1, 22, [2; 16]));
        assert_eq!(out[64 + 2], 0);
        assert_eq!(all.report(&Sqe { cdw11: 0.into(), ..sqe }, &mut out), Err(Code::HostIdInconsistent));
        assert_eq!(all.report(&sqe, &mut out[..64]), Err(Code::SglLengthInvalid));
    }

    #[test]
    fn s252_there_is_a_bound() {
        let mut all = Reservations::new(false);
        for id in 0..HOSTS {
            register(&mut all, id as u8, 1);
        }
        assert_eq!(send(&mut all, 200, io::RESERVATION_REGISTER, 0, [0, 1]), Err(Code::CapacityExceeded));
    }
}
