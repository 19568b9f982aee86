//! I/O commands: to the devices, and back.

use alloc::sync::Arc;

use bdev::{BdevError, Frame, Kind, Request};
use core_reactor::Cx;
use nvme::command::{ALL_NAMESPACES, Sqe, io};
use nvme::log::AnaState;
use nvme::target::{Fuse, Io, Sender, Tag, Transfer, compare_and_write, ranges};
use nvme::{Code, Status};

use super::base::Base;
use super::queue::{Command, Queue, Role, State};
use super::quiet::{Of, Then};
use crate::namespace::is_of_reservations;

impl Queue {
    /// Does an I/O command, all of whose data has come.
    #[inline]
    pub(super) fn io(&mut self, base: &mut Base, cx: &mut Cx<'_>, place: usize, tag: Tag) {
        let Some(Some(command)) = self.commands.get(tag.index()) else { return };
        let done = match command.fuse {
            Fuse::Single => self.start(base, cx, place, tag),
            Fuse::Missing => Err(Code::MissingFused),
            Fuse::Failed => Err(Code::FailedFused),
            Fuse::First => {
                let both = |it: &&Command| matches!(it.fuse, Fuse::Both { first, .. } if first == tag) && it.state == State::Ready;
                let second = self.commands.iter().flatten().find(both).map(|it| it.tag);
                return second.into_iter().for_each(|second| self.fused(base, cx, place, second));
            }
            Fuse::Both { .. } => return self.fused(base, cx, place, tag),
        };
        if let Err(code) = done {
            self.complete(base, tag, code.into(), 0);
        }
    }

    /// Hands a command to its device.
    fn start(&mut self, base: &mut Base, cx: &mut Cx<'_>, place: usize, tag: Tag) -> Result<(), Code> {
        let token = self.token(tag);
        let (Role::Io { association, .. }, Some(Some(command))) = (&self.role, self.commands.get_mut(tag.index())) else { return Ok(()) };
        let (sqe, now) = (command.sqe, base.now);
        let nsid = sqe.nsid.get();
        if sqe.opcode == io::FLUSH && nsid == ALL_NAMESPACES {
            return self.flush_all(base, cx, place, tag);
        }
        let device = base.device(cx, place, nsid)?;
        check_ana(association.listener.state(device.shown.group))?;
        if !device.namespace.allows(&association.hostid, &sqe) {
            return Err(Code::ReservationConflict);
        }
        if is_of_reservations(sqe.opcode) {
            return self.reservation(base, cx, place, tag);
        }
        let data = |command: &mut Command| command.buf.take().map(Frame::from).unwrap_or_default();
        let request = match Io::read(&sqe, &device.shown, command.length)? {
            Io::Read { slba, blocks } => Request::read(slba, blocks.into(), data(command)),
            Io::Write { slba, blocks, fua } => Request { fua, ..Request::write(slba, blocks.into(), data(command)) },
            Io::Compare { slba, blocks } => Request::compare(slba, blocks.into(), data(command)),
            Io::WriteZeroes { slba, blocks, fua, .. } => Request { fua, ..Request::write_zeroes(slba, blocks.into()) },
            Io::Flush => Request::flush(),
            Io::Deallocate { ranges } => return self.deallocate(base, cx, place, tag, ranges),
            Io::Nothing => {
                self.complete(base, tag, Status::SUCCESS, 0);
                return Ok(());
            }
        };
        command.state = State::InDevice;
        command.left = 1;
        device.submit(now, request.token(token)).map_err(|refused| code_of(&refused.why, sqe.opcode))
    }

    /// Does a write, all of whose data came with it, if its device can while the data is where it
    /// was received: it needs no buffer then. Whether it has; what is wrong is told by the long
    /// way.
    pub(super) fn write_at_once(&self, base: &mut Base, cx: &mut Cx<'_>, sqe: &Sqe, bytes: &[u8]) -> bool {
        let Role::Io { association, place, .. } = &self.role else { return false };
        if sqe.opcode != io::WRITE {
            return false;
        }
        let now = base.now;
        let Ok(device) = base.device(cx, *place, sqe.nsid.get()) else { return false };
        // Else all that follows would be done twice, as the long way does it.
        if !device.channel.writes_at_once() {
            return false;
        }
        let may = check_ana(association.listener.state(device.shown.group)).is_ok() && device.namespace.allows(&association.hostid, sqe);
        match Io::read(sqe, &device.shown, bytes.len() as u32) {
            Ok(Io::Write { slba, blocks, .. }) if may => device.write_at_once(now, slba, blocks.into(), bytes),
            _ => false,
        }
    }

    fn flush_all(&mut self, base: &mut Base, cx: &mut Cx<'_>, at: usize, tag: Tag) -> Result<(), Code> {
        base.refresh(cx, at);
        let (token, now) = (self.token(tag), base.now);
        let (Some(Some(place)), Some(Some(command))) = (base.places.get_mut(at), self.commands.get_mut(tag.index())) else {
            return Ok(());
        };
        command.state = State::InDevice;
        let mut first = place.is_short().then_some(Code::NamespaceNotReady);
        for device in &mut place.devices {
            match device.submit(now, Request::flush().token(token)) {
                Ok(()) => command.left += 1,
                Err(refused) => first = first.or(Some(code_of(&refused.why, io::FLUSH))),
            }
        }
        self.handed_in(base, tag, first)
    }

    /// Several requests were made of one command, or none.
    fn handed_in(&mut self, base: &mut Base, tag: Tag, failed: Option<Code>) -> Result<(), Code> {
        let Some(Some(command)) = self.commands.get_mut(tag.index()) else { return Ok(()) };
        if let Some(code) = failed {
            command.outcome = code;
        }
        if command.left == 0 {
            let outcome = command.outcome;
            self.complete(base, tag, outcome.into(), 0);
        }
        Ok(())
    }

    //= NVM Command Set 1.0, 3.2.3
    fn deallocate(&mut self, base: &mut Base, cx: &mut Cx<'_>, place: usize, tag: Tag, count: u16) -> Result<(), Code> {
        let (token, now) = (self.token(tag), base.now);
        let Some(Some(command)) = self.commands.get_mut(tag.index()) else { return Ok(()) };
        let device = base.device(cx, place, command.sqe.nsid.get())?;
        let buf = command.buf.take();
        let all = ranges(buf.as_deref().unwrap_or(&[]), count, &device.shown)?;
        command.state = State::InDevice;
        let mut failed = None;
        // It is a hint: a device that cannot has done what it can.
        let can = device.channel.bdev().shape().kinds.contains(Kind::Unmap);
        for (slba, blocks) in all.filter(|_| can) {
            match device.submit(now, Request::unmap(slba, blocks.into()).token(token)) {
                Ok(()) => command.left += 1,
                Err(refused) => failed = failed.or(Some(code_of(&refused.why, io::DATASET_MANAGEMENT))),
            }
        }
        self.handed_in(base, tag, failed)
    }

    fn reservation(&mut self, base: &mut Base, cx: &mut Cx<'_>, place: usize, tag: Tag) -> Result<(), Code> {
        let (Role::Io { association, .. }, Some(Some(command))) = (&self.role, self.commands.get_mut(tag.index())) else { return Ok(()) };
        let sqe = command.sqe;
        let device = base.device(cx, place, sqe.nsid.get())?;
        if sqe.opcode == io::RESERVATION_REPORT {
            let (Transfer::ToHost(length), Some(buf)) = (command.transfer, &mut command.buf) else { return Err(Code::SglLengthInvalid) };
            device.namespace.report(&sqe, &mut buf.spare_mut()[..length as usize])?;
            buf.grow(length as usize);
            self.respond(base, tag, 0);
            return Ok(());
        }
        let from = Sender { host: association.hostid, cntlid: association.cntlid() };
        let (nsid, association) = (sqe.nsid.get(), association.clone());
        let namespace = device.namespace.clone();
        let id = base.question();
        let data = command.buf.as_deref().unwrap_or(&[]);
        let (others, keeps) = namespace.reserve(from, &sqe, data, base.on_kept(self.key, id))?;
        let mut parts = usize::from(keeps);
        let subsystem = association.subsystem.clone();
        if others.abort {
            let ids: Arc<[_]> = others.hosts.into();
            base.abort_of_hosts(&subsystem, nsid, &ids);
            // It is done when nothing of theirs is, aborted or not.
            parts += self.ask(base, id, &Of::Hosts { subsystem: subsystem.clone(), ids, nsid });
        }
        for (host, notice) in others.notices {
            base.target.notice(&subsystem, &host, nsid, notice);
        }
        match parts {
            0 => self.complete(base, tag, Status::SUCCESS, 0),
            _ => self.wait(base, tag, id, parts, Then::Answer(0)),
        }
        Ok(())
    }

    /// Does two fused commands as one, if the data of both has come.
    fn fused(&mut self, base: &mut Base, cx: &mut Cx<'_>, place: usize, tag: Tag) {
        let token = self.token(tag);
        let Some(Some(Command { fuse: Fuse::Both { first, compare }, sqe: write, .. })) = self.commands.get(tag.index()) else { return };
        let (first, compare, write) = (*first, *compare, *write);
        // It is there: had it failed, so had this.
        let Some(Some(one)) = self.commands.get_mut(first.index()) else { return };
        if one.state != State::Ready {
            return;
        }
        let (length, data) = (one.length, one.buf.take());
        let outcome = self.compare_and_write(base, cx, place, (tag, token), (compare, write), length, data);
        if let Err(codes) = outcome {
            self.complete_both(base, [first, tag], codes);
        }
    }

    /// Answers two fused commands, each with what it came to.
    fn complete_both(&mut self, base: &mut Base, tags: [Tag; 2], codes: [Code; 2]) {
        for tag in tags {
            if let Some(Some(command)) = self.commands.get_mut(tag.index()) {
                command.fuse = Fuse::Single;
            }
        }
        for (tag, code) in tags.into_iter().zip(codes) {
            self.complete(base, tag, code.into(), 0);
        }
    }

    /// A command has failed: the other half of it, which fails with it. One that is still to come
    /// will.
    //= NVMe Base 2.0, 3.4.2
    #[cold]
    pub(super) fn other_half(&mut self, command: &Command) -> Option<Tag> {
        self.fused.failed(command.tag);
        match command.fuse {
            Fuse::First => self.second_of(command.tag).map(|second| second.tag),
            Fuse::Both { first, .. } => Some(first),
            Fuse::Single | Fuse::Missing | Fuse::Failed => None,
        }
    }

    pub(super) fn second_of(&self, tag: Tag) -> Option<&Command> {
        self.commands.iter().flatten().find(|it| matches!(it.fuse, Fuse::Both { first, .. } if first == tag))
    }

    /// The command that a device has for this one: where two are fused, the second.
    pub(super) fn in_device(&self, command: &Command) -> Option<Tag> {
        let it = if command.fuse == Fuse::First { self.second_of(command.tag)? } else { command };
        (it.state == State::InDevice).then_some(it.tag)
    }

    #[allow(clippy::too_many_arguments, reason = "two commands have twice as much to say")]
    fn compare_and_write(
        &mut self,
        base: &mut Base,
        cx: &mut Cx<'_>,
        place: usize,
        (tag, token): (Tag, bdev::Token),
        (compare, write): (Sqe, Sqe),
        length: u32,
        data: Option<pool::Buf>,
    ) -> Result<(), [Code; 2]> {
        let both = |code| [code, Code::FailedFused];
        let now = base.now;
        let (Role::Io { association, .. }, Some(Some(command))) = (&self.role, self.commands.get_mut(tag.index())) else { return Ok(()) };
        let device = base.device(cx, place, write.nsid.get()).map_err(both)?;
        check_ana(association.listener.state(device.shown.group)).map_err(both)?;
        if !device.namespace.allows(&association.hostid, &write) {
            return Err(both(Code::ReservationConflict));
        }
        let (slba, blocks, fua) = compare_and_write(&compare, &write, &device.shown, [length, command.length])?;
        let mut frame = Frame::new();
        for buf in data.into_iter().chain(command.buf.take()) {
            // A frame has room for two.
            let _ = frame.push(buf);
        }
        command.state = State::InDevice;
        command.left = 1;
        let request = Request { fua, ..Request::compare_and_write(slba, blocks.into(), frame).token(token) };
        device.submit(now, request).map_err(|refused| both(code_of(&refused.why, write.opcode)))
    }

    /// A request has come back.
    #[inline]
    pub(crate) fn done(&mut self, base: &mut Base, at: usize, request: Request, result: Result<(), BdevError>) {
        let Some(Some(command)) = self.commands.get_mut(at) else { return };
        if command.state != State::InDevice {
            return;
        }
        command.left -= 1;
        match result {
            Ok(()) if request.kind == Kind::Read => command.buf = request.data.into_single().ok(),
            Ok(()) => {}
            Err(why) if command.outcome == Code::Success => command.outcome = code_of(&why, command.sqe.opcode),
            Err(_) => {}
        }
        if command.left == 0 {
            let tag = command.tag;
            self.came_back(base, tag);
        }
    }

    /// No device has anything of a command any more: it is answered, and so is its first half.
    #[inline]
    fn came_back(&mut self, base: &mut Base, tag: Tag) {
        let Some(Some(command)) = self.commands.get(tag.index()) else { return };
        let outcome = command.outcome;
        if let Fuse::Both { first, .. } = command.fuse {
            let codes = match outcome {
                Code::Success => [outcome; 2],
                Code::AbortRequested if command.is_named => [Code::FailedFused, outcome],
                code => [code, Code::FailedFused],
            };
            self.complete_both(base, [first, tag], codes);
        } else if outcome == Code::Success && matches!(command.transfer, Transfer::ToHost(_)) {
            self.respond(base, tag, 0);
        } else {
            self.complete(base, tag, outcome.into(), 0);
        }
    }

    /// Asks devices to give a command back. What waits for room comes back at once.
    pub(super) fn give_up_device(&mut self, base: &mut Base, tag: Tag) {
        let token = self.token(tag);
        let (Role::Io { place, .. }, Some(Some(command))) = (self.role.proven(), self.commands.get_mut(tag.index())) else { return };
        let Some(Some(place)) = base.places.get_mut(*place) else { return };
        let nsid = command.sqe.nsid.get();
        let is_its = |id: u32| nsid == ALL_NAMESPACES || id == nsid;
        for device in place.devices.iter_mut().chain(&mut place.leaving).filter(|it| is_its(it.namespace.nsid())) {
            while device.withdraw(token).is_some() {
                command.outcome = Code::AbortRequested;
                command.left -= 1;
            }
            device.channel.abort(token);
        }
        if command.left == 0 {
            self.came_back(base, tag);
        }
    }

    /// The same for all that devices have.
    pub(super) fn give_up_devices(&mut self, base: &mut Base) {
        for at in 0..self.commands.len() {
            if let Some(Some(Command { tag, state: State::InDevice, .. })) = self.commands.get(at) {
                let tag = *tag;
                self.give_up_device(base, tag);
            }
        }
    }

    /// Gives up commands for a namespace, of a host whose reservation was preempted.
    pub(crate) fn give_up_namespace(&mut self, base: &mut Base, nsid: u32) {
        for at in 0..self.commands.len() {
            if let Some(Some(Command { tag, state: State::InDevice, sqe, .. })) = self.commands.get(at)
                && sqe.nsid.get() == nsid
            {
                let tag = *tag;
                self.give_up_device(base, tag);
            }
        }
    }
}

fn check_ana(state: AnaState) -> Result<(), Code> {
    match state {
        AnaState::Optimized | AnaState::NonOptimized => Ok(()),
        AnaState::Inaccessible => Err(Code::AnaInaccessible),
        AnaState::PersistentLoss => Err(Code::AnaPersistentLoss),
        AnaState::Change => Err(Code::AnaTransition),
    }
}

/// What a host is told of a device's error.
fn code_of(why: &BdevError, opcode: u8) -> Code {
    match why {
        BdevError::Miscompare(_) => Code::CompareFailure,
        BdevError::OutOfRange { .. } => Code::LbaOutOfRange,
        BdevError::ReadOnly => Code::WriteProtected,
        BdevError::Unsupported(_) => Code::InvalidOpcode,
        BdevError::TooLong { .. } => Code::AtomicWriteUnitExceeded,
        BdevError::Aborted => Code::AbortRequested,
        // The namespace goes with it.
        BdevError::Removed => Code::InvalidNamespace,
        BdevError::Io(_) | BdevError::Lost if opcode == io::WRITE => Code::WriteFault,
        BdevError::Io(_) | BdevError::Lost if opcode == io::READ => Code::UnrecoveredRead,
        // One that is none of ours says less than none.
        BdevError::Status { sct, sc } => Code::of(u16::from(*sct) << 8 | u16::from(*sc)).unwrap_or(Code::InternalError),
        _ => Code::InternalError,
    }
}
