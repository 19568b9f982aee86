//! Commands of the admin queue, and fabrics commands of the others.

use nvme::target::{Effect, Fuse, Tag, Transfer, Verdict};
use nvme::{Code, Status};

use super::auth::is_authentication;
use super::base::Base;
use super::queue::{Queue, Role, State};
use super::quiet::{Of, Then};
use crate::Association;
use crate::view::View;

impl Queue {
    pub(super) fn admin(&mut self, base: &mut Base, tag: Tag) {
        let Some(association) = self.association().cloned() else { return };
        let Some(Some(command)) = self.commands.get_mut(tag.index()) else { return };
        if self.auth.is_some() && is_authentication(&command.sqe) {
            return self.authenticate(base, tag);
        }
        let verdict = if matches!(self.role, Role::Io { .. }) {
            association.controller.lock().io_fabrics(&command.sqe)
        } else {
            let view = View::new(&base.target, &association, self.way.local);
            let (time, sqe) = (base.time(), command.sqe);
            let mut controller = association.controller.lock();
            match (command.transfer, &mut command.buf) {
                (Transfer::ToHost(length), Some(buf)) => {
                    let verdict = controller.admin(time, tag, &sqe, &[], &mut buf.spare_mut()[..length as usize], &view);
                    buf.grow(length as usize);
                    verdict
                }
                (_, Some(buf)) => controller.admin(time, tag, &sqe, buf, &mut [], &view),
                (_, None) => controller.admin(time, tag, &sqe, &[], &mut [], &view),
            }
        };
        match verdict {
            Verdict::Done { result, effect: Effect::Disabled | Effect::Shutdown, .. } => {
                base.target.close_io(&association);
                self.wait_for(base, tag, &Of::Controller(association), Then::Answer(result));
            }
            Verdict::Done { status, result, effect } => {
                if status.is_success() && matches!(command.transfer, Transfer::ToHost(_)) {
                    self.respond(base, tag, result);
                } else {
                    self.complete(base, tag, status, result);
                }
                if effect == Effect::Disconnect {
                    self.end(base);
                }
            }
            Verdict::Persist { nsid, persists } => self.persist(base, tag, &association, nsid, persists),
            Verdict::Held => command.state = State::Held,
            Verdict::Abort { qid: 0, cid } => {
                let held = self.proto.find(cid).filter(|held| association.controller.lock().take_request(*held));
                if let Some(held) = held {
                    self.complete(base, held, Code::AbortRequested.into(), 0);
                }
                self.complete(base, tag, Status::SUCCESS, held.is_none().into());
            }
            Verdict::Abort { qid, cid } => self.abort_elsewhere(base, tag, qid, cid),
        }
        self.tell(base);
    }

    /// Has reservations outlive a loss of power, or not: done when that is kept.
    fn persist(&mut self, base: &mut Base, tag: Tag, association: &Association, nsid: u32, persists: bool) {
        let id = base.question();
        let namespace = association.subsystem.namespaces().into_iter().find(|it| it.nsid() == nsid).ok_or(Code::InvalidNamespace);
        match namespace.and_then(|it| it.persist(persists, base.on_kept(self.key, id))) {
            Ok(true) => self.wait(base, tag, id, 1, Then::Answer(0)),
            Ok(false) => self.complete(base, tag, Status::SUCCESS, 0),
            Err(code) => self.complete(base, tag, code.into(), 0),
        }
    }

    /// Has the core of another queue look for a command that is to be aborted.
    fn abort_elsewhere(&mut self, base: &mut Base, tag: Tag, qid: u16, cid: u16) {
        let queues = self.association().map(|it| it.queues()).unwrap_or_default();
        let Some(queue) = queues.into_iter().find(|it| it.qid == qid) else {
            return self.complete(base, tag, Status::SUCCESS, 1);
        };
        if let Some(Some(command)) = self.commands.get_mut(tag.index()) {
            command.state = State::Held;
        }
        let (there, here) = (queue.key, self.key);
        let ask = move |group: &mut super::Group, cx: &mut core_reactor::Cx<'_>| group.abort(cx, there, cid);
        base.peers.ask(queue.group, ask, move |group, _, is_aborted| group.aborted(here, tag, is_aborted));
    }

    /// What came of that.
    pub(crate) fn aborted(&mut self, base: &mut Base, tag: Tag, is_aborted: bool) {
        if matches!(self.commands.get(tag.index()), Some(Some(command)) if command.state == State::Held) {
            self.complete(base, tag, Status::SUCCESS, (!is_aborted).into());
        }
    }

    /// Tells the host of events.
    pub(crate) fn tell(&mut self, base: &mut Base) {
        while let Role::Admin(association) = &self.role {
            let Some((tag, result)) = association.controller.lock().next_event() else { return };
            self.complete(base, tag, Status::SUCCESS, result);
        }
    }

    /// Gives up a command that is to be aborted, if that can be: `None` if there is none with this
    /// identifier, otherwise its tag and whether it is answered. A device may give it back later.
    pub(crate) fn abort(&mut self, base: &mut Base, cid: u16) -> Option<(Tag, bool)> {
        let tag = self.proto.find(cid)?;
        let command = self.commands.get(tag.index())?.as_ref()?;
        // Of two fused commands each has an Abort of its own, and is nothing without the other.
        if let Some(at) = self.in_device(command) {
            if let Some(Some(command)) = self.commands.get_mut(at.index()) {
                command.is_named = at == tag;
            }
            self.give_up_device(base, at);
            return Some((tag, false));
        }
        let has_a_second_that_waits = command.fuse == Fuse::First && self.second_of(tag).is_some_and(|it| it.state == State::Waits);
        match command.state {
            // All behind it waits with it, or with the second that would end with it.
            State::Waits if self.is_stalled() => None,
            _ if self.is_stalled() && has_a_second_that_waits => None,
            State::Waits | State::Receives | State::Ready => {
                self.complete(base, tag, Code::AbortRequested.into(), 0);
                Some((tag, true))
            }
            State::InDevice | State::Held => None,
        }
    }

    /// Whether a command is still there.
    pub(crate) fn has(&self, tag: Tag) -> bool {
        matches!(self.commands.get(tag.index()), Some(Some(_)))
    }
}
