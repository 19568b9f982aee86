//! How the host of a queue shows who it is (NVMe Base 2.0, 8.13).
//!
//! ```text
//!  Connect ──a key is known──► Unproven ──Authentication Send, Receive──► served
//!                                 │ a failure that was told, or too late
//!                                 └──► the queue ends (the controller, if it is the admin queue)
//! ```
//!
//! What takes a power in a group of the key exchange is done by the target's helper, with the whole
//! state of the authentication; it comes back by a message.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::time::Duration;

use nvme::auth::Target;
use nvme::command::{FABRICS, Sqe};
use nvme::fabrics::{AUTHENTICATION_RECEIVE, AUTHENTICATION_SEND};
use nvme::target::Tag;
use nvme::{Code, Status};

use super::base::Base;
use super::queue::{Queue, Role, State};
use crate::atomic::bump;
use crate::hosts::Room;

/// The most data of a command of authentication: hosts have room for 4096 bytes.
const MOST_DATA: u32 = 8192;

/// How the host of a queue shows who it is.
pub(crate) struct Auth {
    /// Away while something is computed for it.
    end: Option<Box<Target>>,
    /// When it has to be through with what it has begun.
    by: Duration,
    /// That it has failed was said.
    has_failed: bool,
}

impl Auth {
    /// So much time is not its host's.
    pub(super) fn excuse(&mut self, time: Duration) {
        self.by = self.by.saturating_add(time);
    }

    /// A host that was not heard has lost nothing.
    fn stand_as(&mut self, before: Option<Before>) {
        if let Some(Before { end, by }) = before {
            self.by = by;
            if end.is_some() {
                self.end = end;
            }
        }
    }
}

/// What comes back from the helper: the state, and what becomes of the command.
pub(crate) struct Computed {
    end: Box<Target>,
    outcome: Result<(), Code>,
    before: Option<Before>,
    /// Free again once this has come back to its core.
    _room: Option<Room>,
}

/// How a host stood that had shown who it is, before it began to do so again.
struct Before {
    /// Where it goes on with the keys of then: the same end.
    end: Option<Box<Target>>,
    by: Duration,
}

/// Whether a command is one of authentication.
pub(super) fn is_authentication(sqe: &Sqe) -> bool {
    sqe.opcode == FABRICS && matches!(sqe.fctype(), AUTHENTICATION_SEND | AUTHENTICATION_RECEIVE)
}

impl Queue {
    /// The host of this queue, which has just connected, has to show who it is.
    pub(super) fn has_to_prove(&mut self, base: &Base, end: Box<Target>) {
        self.auth = Some(Auth { end: Some(end), by: time_limit(base), has_failed: false });
        self.lock();
    }

    /// Nothing more is done for the host.
    fn lock(&mut self) {
        self.role = match core::mem::replace(&mut self.role, Role::Over) {
            role @ (Role::Admin(_) | Role::Io { .. }) => Role::Unproven(Box::new(role)),
            other => other,
        };
    }

    /// Whether a command may be looked at: of a host that has not shown who it is, those by which
    /// it does, one at a time.
    pub(super) fn let_through(&self, sqe: &Sqe, length: u32) -> Result<(), Code> {
        if !matches!(self.role, Role::Unproven(_)) {
            return Ok(());
        }
        match sqe {
            _ if !is_authentication(sqe) => Err(Code::AuthenticationRequired),
            _ if length > MOST_DATA => Err(Code::InvalidField),
            _ if self.commands.iter().flatten().any(|it| is_authentication(&it.sqe)) => Err(Code::CommandSequenceError),
            _ => Ok(()),
        }
    }

    /// Does a command of authentication.
    pub(super) fn authenticate(&mut self, base: &mut Base, tag: Tag) {
        let Some(Some(command)) = self.commands.get(tag.index()) else { return };
        let is_send = command.sqe.fctype() == AUTHENTICATION_SEND;
        if self.auth.as_ref().is_none_or(|auth| auth.end.is_none()) {
            // Something is computed.
            return self.complete(base, tag, Code::CommandSequenceError.into(), 0);
        }
        if is_send { self.take_message(base, tag) } else { self.give_message(base, tag) }
    }

    fn take_message(&mut self, base: &mut Base, tag: Tag) {
        let before = self.begin_again(base);
        let (Some(Some(command)), Some(auth)) = (self.commands.get_mut(tag.index()), &mut self.auth) else { return };
        let (Some(mut end), Some(helpers)) = (auth.end.take(), base.target.helpers()) else { return };
        let (sqe, data) = (command.sqe, command.buf.as_deref().unwrap_or(&[]));
        if !end.takes_long(data) {
            let outcome = end.send(&sqe, data, &mut |bytes| helpers.helper().random(bytes));
            return self.computed(base, tag, Computed { end, outcome, before, _room: None });
        }
        let Some(room) = helpers.room(self.way.peer.map(|peer| peer.ip())) else {
            auth.end = Some(end);
            auth.stand_as(before);
            bump(&base.figures.auth_turned_away, 1);
            logging::warn!("{} is turned away: too many hosts show who they are at once", self.name().as_str());
            return self.complete(base, tag, Status::retry(Code::Interrupted), 0);
        };
        command.state = State::Held;
        let data: Box<[u8]> = data.into();
        let (helper, peers, group, key) = (helpers.helper().clone(), base.peers.clone(), base.index, self.key);
        let random = Arc::clone(&helper);
        helper.compute(Box::new(move || {
            let outcome = end.send(&sqe, &data, &mut |bytes| random.random(bytes));
            let computed = Box::new(Computed { end, outcome, before, _room: Some(room) });
            peers.send(group, move |group, cx| group.computed(cx, key, tag, *computed));
        }));
    }

    /// A host that is known and shows again who it is does it with the keys that it has now; how it
    /// stood before, where it begins now.
    fn begin_again(&mut self, base: &Base) -> Option<Before> {
        if matches!(self.role, Role::Unproven(_)) {
            return None;
        }
        let fresh = self.association().and_then(|it| base.target.authentication(&it.subsystem, it.hostnqn()));
        let auth = self.auth.as_mut()?;
        if auth.end.as_ref().is_none_or(|end| end.is_under_way()) {
            return None;
        }
        let by = core::mem::replace(&mut auth.by, time_limit(base));
        // Without keys, which were taken from it meanwhile, it goes on with those of then.
        let end = fresh.and_then(|fresh| auth.end.replace(fresh));
        Some(Before { end, by })
    }

    fn give_message(&mut self, base: &mut Base, tag: Tag) {
        let (Some(Some(command)), Some(auth)) = (self.commands.get_mut(tag.index()), &mut self.auth) else { return };
        let Some(end) = &mut auth.end else { return };
        let length = command.length as usize;
        let said = match &mut command.buf {
            Some(buf) => {
                let said = end.receive(&command.sqe, &mut buf.spare_mut()[..length]);
                buf.grow(length);
                said
            }
            None => Err(Code::InvalidField),
        };
        match said {
            Ok(_) => self.respond(base, tag, 0),
            Err(why) => self.complete(base, tag, why.into(), 0),
        }
        self.look_how_it_stands(base);
    }

    /// What a message came to.
    pub(crate) fn computed(&mut self, base: &mut Base, tag: Tag, Computed { end, outcome, before: stood, .. }: Computed) {
        let Some(auth) = &mut self.auth else { return };
        let before = end.failure();
        auth.end = Some(end);
        if outcome.is_err() {
            // Nothing has begun.
            auth.stand_as(stood);
        }
        let status = outcome.map_or_else(Status::from, |()| Status::SUCCESS);
        self.complete(base, tag, status, 0);
        if let Some(why) = before {
            self.has_failed(base, &format!("{why}"));
        }
        self.look_how_it_stands(base);
    }

    /// The host has not shown who it is.
    fn has_failed(&mut self, base: &Base, why: &str) {
        let is_new = self.auth.as_mut().is_some_and(|auth| !core::mem::replace(&mut auth.has_failed, true));
        if is_new {
            logging::warn!("{} has not shown that it is who it says: {}", self.name().as_str(), why);
            bump(&base.figures.unauthenticated, 1);
            self.lock();
        }
    }

    /// Serves a host that has shown who it is, and ends the queue of one that was told that it has
    /// not.
    fn look_how_it_stands(&mut self, base: &mut Base) {
        let Some(Auth { end: Some(end), by, .. }) = &mut self.auth else { return };
        if end.is_over() {
            return self.end(base);
        }
        if !end.is_authenticated() || end.is_under_way() {
            return;
        }
        *by = Duration::MAX;
        bump(&base.figures.authenticated, 1);
        self.role = match core::mem::replace(&mut self.role, Role::Over) {
            Role::Unproven(role) => *role,
            role => role,
        };
    }

    /// Ends a host that has begun to show who it is, and is not through with it in time.
    pub(super) fn look_who_is_unproven(&mut self, base: &mut Base) {
        if self.auth.as_ref().is_some_and(|auth| base.time() >= auth.by) {
            bump(&base.figures.late, 1);
            self.has_failed(base, "it took too long");
            self.end(base);
        }
    }
}

/// When a host that begins now has to be through: as it has to be with Connect.
fn time_limit(base: &Base) -> Duration {
    base.time().saturating_add(base.settings.connect_timeout)
}
