//! From a connection to a controller that is ready.

use thiserror::Error;
use zerocopy::FromBytes;

use super::Payload;
use crate::command::{Sqe, admin};
use crate::fabrics::{ANY_CONTROLLER, ConnectData, asks_who, cap, cc, csts, property};
use crate::identify::{self, LENGTH, cns};
use crate::log::feature;
use crate::status::Status;

/// Takes an admin queue to a controller that is ready, one command after the other: what
/// [`step`](Self::step) says is submitted, and its completion handed to [`done`](Self::done).
///
/// ```text
///  Connect ─► (Authenticate) ─► CAP ─► CC.EN ─► CSTS until RDY ─► Identify ─► queues (I/O controllers) ─► Ready
/// ```
#[derive(Clone, Debug)]
pub struct Bringup {
    at: At,
    connect: ConnectData,
    kato: u32,
    entries: u16,
    queues: u16,
    cntlid: u16,
    /// IOCCSZ in bytes of data, and MDTS.
    limits: (u32, u8),
    mqes: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Connect,
    Authenticate,
    Capabilities,
    Enable,
    Status,
    Identify,
    Queues,
    Ready,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Submit this; [`Bringup::data`] is what it sends.
    Submit(Sqe, Payload),
    /// Show who this host is, on this queue, and say [`Bringup::authenticated`]. Until then the
    /// controller does nothing else, and so it will be with each I/O queue.
    Authenticate,
    /// The controller is ready.
    Ready,
}

/// Why there is no controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failed {
    /// A command failed.
    #[error("{what} failed: {status}")]
    Command {
        /// Which.
        what: &'static str,
        /// Its status.
        status: Status,
        /// Its DW0.
        result: u64,
    },
    /// CSTS.CFS.
    #[error("the controller says that it has failed (CSTS.CFS)")]
    Fatal,
    /// Identify says another CNTLID than Connect.
    #[error("controller {connected} calls itself {identified}")]
    Another {
        /// By Connect.
        connected: u16,
        /// By Identify.
        identified: u16,
    },
    /// Its queues, or what it says of itself, are too small.
    #[error("the controller says that {0}")]
    Unfit(&'static str),
}

impl Bringup {
    /// For an admin queue of `entries`, with a keep alive of `kato` milliseconds, and `queues` I/O
    /// queues; none for a discovery controller. CNTLID of `connect` is set.
    pub fn new(connect: ConnectData, entries: u16, kato: u32, queues: u16) -> Self {
        let connect = ConnectData { cntlid: ANY_CONTROLLER.into(), ..connect };
        Self { at: At::Connect, connect, kato, entries, queues, cntlid: 0, limits: (0, 0), mqes: 0 }
    }

    /// What to do next.
    ///
    /// ```
    /// use nvme::fabrics::{ConnectData, DISCOVERY_NQN};
    /// use nvme::host::{Bringup, Payload, Step};
    ///
    /// let connect = ConnectData::new([1; 16], 0, DISCOVERY_NQN, "nqn.2014-08.org.example:host").expect("the names fit");
    /// let bringup = Bringup::new(connect, 32, 15_000, 0);
    /// // Connect is first, and has 1024 bytes of data.
    /// assert!(matches!(bringup.step(), Step::Submit(_, Payload::Send(1024))));
    /// ```
    pub fn step(&self) -> Step {
        let sizes = if self.queues == 0 { 0 } else { cc::ENTRY_SIZES };
        let sqe = match self.at {
            At::Connect => return Step::Submit(Sqe::connect(0, self.entries, self.kato), Payload::Send(size_of::<ConnectData>() as u32)),
            At::Identify => return Step::Submit(Sqe::identify(cns::CONTROLLER, 0), Payload::Receive(LENGTH as u32)),
            At::Authenticate => return Step::Authenticate,
            At::Ready => return Step::Ready,
            At::Capabilities => Sqe::property_get(property::CAP, true),
            At::Enable => Sqe::property_set(property::CC, cc::EN | sizes),
            At::Status => Sqe::property_get(property::CSTS, false),
            At::Queues => {
                let less_one = u32::from(self.queues - 1);
                Sqe::set_feature(feature::QUEUES, less_one << 16 | less_one)
            }
        };
        Step::Submit(sqe, Payload::None)
    }

    /// What Connect sends.
    pub fn data(&self) -> &ConnectData {
        &self.connect
    }

    /// The command of [`step`](Self::step) is done; `data` is what it read.
    ///
    /// # Errors
    /// There will be no controller.
    pub fn done(&mut self, status: Status, result: u64, data: &[u8]) -> Result<(), Failed> {
        if !status.is_success() {
            return Err(Failed::Command { what: self.what(), status, result });
        }
        self.at = match self.at {
            At::Connect => {
                self.cntlid = result as u16;
                if asks_who(result) { At::Authenticate } else { At::Capabilities }
            }
            At::Capabilities => {
                self.mqes = cap::mqes(result);
                At::Enable
            }
            At::Enable => At::Status,
            At::Status if result as u32 & csts::CFS != 0 => return Err(Failed::Fatal),
            At::Status if result as u32 & csts::RDY == 0 => At::Status,
            At::Status => At::Identify,
            At::Identify => self.identified(data)?,
            At::Queues => {
                let granted = (result as u16).min((result >> 16) as u16);
                self.queues = self.queues.min(granted.saturating_add(1));
                At::Ready
            }
            ended @ (At::Authenticate | At::Ready) => ended,
        };
        Ok(())
    }

    fn identified(&mut self, data: &[u8]) -> Result<At, Failed> {
        let it = identify::Controller::ref_from_bytes(data).map_err(|_| Failed::Unfit("Identify has another length"))?;
        if it.cntlid.get() != self.cntlid {
            return Err(Failed::Another { connected: self.cntlid, identified: it.cntlid.get() });
        }
        if self.queues == 0 {
            return Ok(At::Ready);
        }
        if it.ioccsz.get() < 4 {
            return Err(Failed::Unfit("a command does not fit into its capsule (IOCCSZ)"));
        }
        if it.icdoff.get() != 0 {
            return Err(Failed::Unfit("data in a capsule does not follow the command (ICDOFF)"));
        }
        self.limits = (it.ioccsz.get().saturating_mul(16) - 64, it.mdts);
        Ok(At::Queues)
    }

    fn what(&self) -> &'static str {
        match self.at {
            At::Connect => "Connect",
            At::Capabilities => "Property Get of CAP",
            At::Enable => "Property Set of CC",
            At::Status => "Property Get of CSTS",
            At::Identify => "Identify",
            At::Queues | At::Ready => "Set Features",
            At::Authenticate => "authentication",
        }
    }

    /// The host has shown who it is.
    pub fn authenticated(&mut self) {
        if self.at == At::Authenticate {
            self.at = At::Capabilities;
        }
    }

    /// CNTLID, for the Connect of I/O queues.
    pub fn cntlid(&self) -> u16 {
        self.cntlid
    }

    /// How many I/O queues there may be.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// The most entries of an I/O queue.
    pub fn entries(&self) -> u32 {
        u32::from(self.mqes) + 1
    }

    /// The most data in the capsule of an I/O command.
    pub fn in_capsule(&self) -> u32 {
        self.limits.0
    }

    /// The most data of any command; `None` if there is no limit.
    pub fn max_transfer(&self) -> Option<u32> {
        (self.limits.1 != 0).then(|| 1u32.checked_shl(12 + u32::from(self.limits.1)).unwrap_or(u32::MAX))
    }

    /// A Keep Alive, to be sent when nothing else was for half of KATO.
    pub fn keep_alive() -> Sqe {
        Sqe::new(admin::KEEP_ALIVE, 0)
    }
}
