//! A backend with defaults for what an application leaves open.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use core_reactor::Cx;
use core_reactor::net::{GroupConfig, NetError, NetImpl, SockGroup, SockOptions, Socket, UnixAddress};

/// Another backend, whose sockets are like this where nothing else is asked for.
pub(crate) struct Tuned {
    of: &'static dyn NetImpl,
    listens: SockOptions,
    connects: SockOptions,
}

/// All that there are.
static ALL: Mutex<Vec<&'static Tuned>> = Mutex::new(Vec::new());

impl Tuned {
    /// `of` with these defaults. Backends are there for good, so what is made is kept, and found
    /// again where the same is asked for.
    pub(crate) fn new(of: &'static dyn NetImpl, listens: SockOptions, connects: SockOptions) -> &'static Self {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        // Statics without a size may have one address.
        let is_same =
            |it: &Self| it.of.name() == of.name() && std::ptr::addr_eq(it.of, of) && it.listens == listens && it.connects == connects;
        if let Some(same) = all.iter().find(|it| is_same(it)) {
            return same;
        }
        let tuned = Box::leak(Box::new(Self { of, listens, connects }));
        all.push(tuned);
        tuned
    }
}

/// What is asked for, and the defaults where it is left open. A switch that is off is open too.
fn over(asked: &SockOptions, defaults: &SockOptions) -> SockOptions {
    asked
        .clone()
        .recv_buf(asked.recv_buf.or(defaults.recv_buf))
        .send_buf(asked.send_buf.or(defaults.send_buf))
        .quick_ack(asked.quick_ack || defaults.quick_ack)
        .zero_copy(asked.zero_copy.or(defaults.zero_copy))
}

impl NetImpl for Tuned {
    fn name(&self) -> &'static str {
        self.of.name()
    }

    fn priority(&self) -> u8 {
        self.of.priority()
    }

    fn probe(&self) -> Result<(), NetError> {
        self.of.probe()
    }

    fn listen(&self, at: SocketAddr, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        self.of.listen(at, &over(options, &self.listens))
    }

    fn connect(&self, to: &[SocketAddr], options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        self.of.connect(to, &over(options, &self.connects))
    }

    fn listen_unix(&self, at: &UnixAddress, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        self.of.listen_unix(at, &over(options, &self.listens))
    }

    fn connect_unix(&self, to: &UnixAddress, options: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        self.of.connect_unix(to, &over(options, &self.connects))
    }

    fn group(&self, cx: &mut Cx<'_>, config: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        self.of.group(cx, config)
    }
}
