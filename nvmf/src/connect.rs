//! Who may connect where.

use alloc::sync::Arc;
use core::net::SocketAddr;
use core::time::Duration;

use nvme::Code;
use nvme::fabrics::Parameter;
use nvme::target::{Config, Controller, Refusal, Request, Role};

use crate::{Association, Listener, Subsystem, Target, Transport};

/// What a Connect is about, as far as it can be let in.
pub(crate) struct Found {
    pub(crate) subsystem: Arc<Subsystem>,
    listener: Arc<Listener>,
    /// The controller that is there, for an I/O queue.
    association: Option<Arc<Association>>,
}

/// Whether a Connect can be let in as things are: nothing changes by that. Where the connection is
/// secured, `names` are of whom its key is, the host and the subsystem.
///
/// # Errors
/// The answer that it gets.
pub(crate) fn check(target: &Target, port: SocketAddr, names: Option<(&str, &str)>, request: &Request<'_>) -> Result<Found, Refusal> {
    let subsystem = target.subsystem(request.subnqn).map_err(|_| Refusal::from(Parameter::SUBNQN))?;
    let listener = match subsystem.listener(port) {
        // It may have been plain when the connection was made.
        Some(listener) if listener.is_secure() != names.is_some() => return Err(Code::InvalidHost.into()),
        Some(listener) => listener,
        // Whoever finds a port finds out what is there, as with SPDK.
        None if subsystem.is_discovery() => Arc::new(Listener::new(port, names.is_some())),
        None => return Err(Parameter::SUBNQN.into()),
    };
    if !subsystem.lets_in(request.hostnqn) {
        return Err(Code::InvalidHost.into());
    }
    match names {
        // A key is of one host and one subsystem (NVMe/TCP 1.0, 3.6.1.2).
        Some(names) if names != (request.hostnqn, request.subnqn) => return Err(Code::InvalidHost.into()),
        // Whoever just says its name must not come in beside the one that has the key.
        None if subsystem.has_key(request.hostnqn) => return Err(Code::InvalidHost.into()),
        _ => {}
    }
    let mut association = None;
    if request.qid != 0 {
        let found = subsystem.controller(request.cntlid).filter(|it| !it.is_over());
        let found = found.filter(|it| it.listener.address() == port).ok_or(Refusal::from(Parameter::CNTLID))?;
        found.controller.lock().may_connect(request)?;
        association = Some(found);
    }
    Ok(Found { subsystem, listener, association })
}

impl Found {
    /// The controller whose queue the Connect asks for: a new one for an admin queue.
    ///
    /// # Errors
    /// The answer that it gets.
    pub(crate) fn connect(
        self,
        transport: &Transport,
        max_transfer: u32,
        request: &Request<'_>,
        now: Duration,
    ) -> Result<Arc<Association>, Refusal> {
        let Self { subsystem, listener, association } = self;
        if let Some(association) = association {
            association.controller.lock().connect(request)?;
            return Ok(association);
        }
        let config = config(&subsystem, transport, max_transfer);
        let make = |cntlid| {
            let controller = Controller::new(Config { cntlid, ..config }, request, now);
            Arc::new(Association::new(subsystem.clone(), listener.clone(), controller, request.hostid, now))
        };
        subsystem.admit(request.hostnqn, &listener, make).ok_or(Code::ControllerBusy.into())
    }
}

fn config(subsystem: &Subsystem, transport: &Transport, max_transfer: u32) -> Config {
    let fused = subsystem.namespaces().iter().map(|it| it.fused()).min();
    Config {
        role: if subsystem.is_discovery() { Role::Discovery } else { Role::Io },
        cntlid: 0,
        queues: transport.max_io_qpairs_per_ctrlr,
        entries: transport.max_queue_depth,
        mdts: (max_transfer / 4096).trailing_zeros() as u8,
        in_capsule: transport.in_capsule_data_size.min(max_transfer),
        fused: fused.unwrap_or(1),
        reservations: true,
    }
}
