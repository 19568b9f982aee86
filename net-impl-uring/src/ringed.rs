//! A group's sockets over a ring that it shares with the other groups of its core: what the engine
//! asks, in requests, and what their completions say.
//!
//! What is told comes in two queues: *quiet* what the application does not hear of and what may be
//! told before anything that came earlier; *told* what is served when it is a socket's turn. The
//! two kinds of completions that an echo consists of are told without a queue.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use core_reactor::net::{GroupConfig, NetError, SockId};
use core_reactor::{Cx, Refused, WaitSource, Watch};
use core_uring::{BufRing, Completion, Inbox, Member, Ring, Sizes};
use net_group::{
    Accept, Backend, Bufs, Connecting, Happened, Opened, Outgoing, PerSlot, Ready, Recv, Release, Released, SPARING, Sending, Slot,
};
use net_sockets::{Errno, error, sys as calls};
use pool::Buf;

use crate::buffers::Buffers;
use crate::error::net_error;
use crate::gather::Gathers;
use crate::key::{self, Op, Tag};
use crate::slot::{News, SlotData};
use crate::socket::{NAME, UringSocket};
use crate::timers::{Timers, Which};

/// Milliseconds after which a group tries again what waits for descriptors or memory that others
/// hold. Their return is not announced, and the core may be asleep.
const RETRY: u32 = 10;

/// Entries in a row that bring nothing, after which the kernel is not waited for to end what
/// receives. There is as much to end as the group has sockets.
const SOON: usize = 16;

/// See the module's documentation.
pub(crate) struct Ringed {
    /// Dropped first: a watch ends before its source is closed.
    _watch: Watch,
    bell: OwnedFd,
    ring: Rc<Ring>,
    /// Which of the ring's members it is.
    member: Member,
    inbox: Inbox,
    tag: Tag,
    slots: PerSlot<Box<SlotData>>,
    buffers: Buffers,
    lists: Gathers,
    /// Slots for which something may have to be asked of the kernel.
    todo: Vec<u32>,
    /// Slots that wait until the machine may have again what it was short of.
    short: Vec<u32>,
    told: VecDeque<(SockId, Ready)>,
    quiet: VecDeque<Happened<UringSocket>>,
    timers: Timers,
    /// The group's buffers are low.
    low: bool,
    /// That memory to be sent without a copy was short was logged.
    copies_said: bool,
}

impl Ringed {
    pub(crate) fn new(cx: &mut Cx<'_>, config: &GroupConfig, sizes: Sizes, buffers: u16) -> Result<Self, NetError> {
        let sockets = config.sockets;
        let ring = Ring::here(sizes).map_err(net_error)?;
        let bell = ring.bell().map_err(net_error)?;
        let watch = cx.watch_bell(WaitSource(bell.as_raw_fd()), ring.clone())?;
        let mut io = ring.io();
        // Room for two completions of each socket, and for buffers received.
        let member = io.join(2 * sockets + usize::from(buffers)).map_err(net_error)?;
        let ready = BufRing::open(&io, member, buffers).inspect_err(|_| io.leave(member)).map_err(net_error)?;
        drop(io);
        Ok(Self {
            _watch: watch,
            bell,
            ring,
            member,
            inbox: Inbox::new(member),
            tag: Tag::default(),
            slots: PerSlot::of(sockets),
            buffers: Buffers::new(ready, buffers, config.bufs.clone()),
            lists: Gathers::default(),
            todo: Vec::with_capacity(sockets),
            short: Vec::new(),
            told: VecDeque::with_capacity(sockets),
            quiet: VecDeque::with_capacity(sockets.min(64)),
            timers: Timers::default(),
            low: false,
            copies_said: false,
        })
    }

    fn data(&mut self, slot: Slot) -> Option<&mut SlotData> {
        self.slots.get_mut(slot.index()).map(|data| &mut **data)
    }

    // ---- What is asked of the kernel

    /// Has it looked whether something is to be asked for a slot.
    fn look_at(&mut self, index: usize) {
        if self.slots.get_mut(index).is_some_and(|data| data.enlist()) {
            self.todo.push(index as u32);
        }
    }

    /// Asks for what is wanted of each slot in the list, and gives up what is not.
    #[inline]
    fn ask(&mut self) {
        if !self.todo.is_empty() || self.timers.are_wanted() {
            self.ask_for_all();
        }
    }

    #[inline(never)]
    fn ask_for_all(&mut self) {
        let io = &mut *self.ring.io();
        for index in self.todo.drain(..) {
            if let Some(data) = self.slots.get_mut(index as usize) {
                data.ask(io, self.buffers.ring(), self.low);
            }
        }
        if self.timers.are_wanted() {
            self.timers.request(io, self.member);
        }
    }

    // ---- What completions say

    /// What was queued to be told, or else whether there are more completions.
    #[inline(never)]
    fn refill(&mut self, room: usize) -> Result<bool, Happened<UringSocket>> {
        if room == 0 {
            return Ok(false);
        }
        if let Some(quiet) = self.quiet.pop_front() {
            return Err(quiet);
        }
        match self.told.pop_front() {
            Some((id, ready)) => Err(Happened::Ready(id, ready)),
            None => Ok(self.inbox.refill(&mut self.ring.io(), room)),
        }
    }

    /// Bytes, of a receive that goes on.
    #[inline]
    fn plain_bytes(&mut self, completion: Completion) -> Option<Happened<UringSocket>> {
        if completion.result() <= 0 || !completion.more() {
            return None;
        }
        let buf = self.buffers.take(completion)?;
        Some(Happened::Bytes(self.tag.id(completion.key), buf))
    }

    /// A send of one piece that was taken.
    #[inline]
    fn plain_sent(&mut self, completion: Completion) -> Option<Happened<UringSocket>> {
        let is_plain = self.slots.get_mut(key::index(completion.key))?.sent_plainly(completion);
        is_plain.then(|| Happened::Sent(self.tag.id(completion.key), completion.result() as usize))
    }

    /// Any other completion.
    #[inline(never)]
    fn on(&mut self, completion: Completion) {
        let (index, n) = (key::index(completion.key), completion.result());
        // Nobody waits for a cancellation.
        let Some(op) = Op::of(completion.key) else { return };
        if op == Op::Timer {
            return self.on_timer(completion);
        }
        // Taken before anything else, so that it is not lost whatever becomes of it.
        let bytes = self.buffers.take(completion).filter(|_| n > 0);
        let Some(data) = self.slots.get_mut(index) else { return };
        let news = match op {
            Op::Recv => data.received(completion, bytes),
            Op::Poll => data.polled(completion),
            Op::Send => data.sent(&mut self.lists, completion),
            _ => {
                data.watch_told(completion);
                News::Nothing
            }
        };
        let (id, leaving) = (data.id(), data.is_leaving());
        match news {
            News::Ready(ready) if !leaving => self.told.push_back((id, ready)),
            News::NoBuffers if !leaving => {
                self.buffers.ran_out();
                self.told.push_back((id, Ready::READ));
            }
            News::Sent(n) => self.quiet.push_back(Happened::Sent(id, n)),
            News::NeedsCopy(why) => {
                self.quiet.push_back(Happened::Sent(id, 0));
                self.say_copies(why);
            }
            News::Short if !leaving => self.fall_short(index),
            _ => {}
        }
        self.conclude(index);
    }

    /// Tells of an end that was waiting for this completion, and has it looked what is to be asked
    /// for now.
    fn conclude(&mut self, index: usize) {
        let Some(data) = self.slots.get_mut(index) else { return };
        if data.is_leaving() {
            if !data.is_with_kernel()
                && let Some(data) = self.slots.take(index)
            {
                self.quiet.push_back(Happened::Released(data.id(), data.into_socket()));
            }
            return;
        }
        match data.end_to_tell() {
            Some(Happened::Ready(id, ready)) => self.told.push_back((id, ready)),
            Some(end) => self.quiet.push_back(end),
            None => {}
        }
        self.look_at(index);
    }

    /// Said once, as it is short for others too.
    #[cold]
    fn say_copies(&mut self, why: Errno) {
        if !std::mem::replace(&mut self.copies_said, true) {
            log::warn!("{}: it is sent with a copy (see ulimit -l, or switch zero_copy off)", error::plain("send without a copy", why));
        }
    }

    /// Has a slot wait until the machine may have again what it was short of.
    #[cold]
    fn fall_short(&mut self, index: usize) {
        self.short.push(index as u32);
        self.timers.want(Which::Retry, RETRY);
    }

    fn on_timer(&mut self, completion: Completion) {
        self.quiet.push_back(Happened::Time);
        if self.timers.ended(completion.key) == Which::Look {
            return;
        }
        for index in std::mem::take(&mut self.short) {
            let Some(data) = self.slots.get_mut(index as usize) else { continue };
            if data.retry() {
                self.quiet.push_back(Happened::Sent(data.id(), 0));
            }
            self.look_at(index as usize);
        }
    }

    /// Handles all that has completed, outside of a poll: what the application is to be told of is
    /// told in the next one. Whether there was anything.
    #[cold]
    fn hear(&mut self) -> bool {
        let mut any = false;
        loop {
            while let Some(completion) = self.inbox.next() {
                self.on(completion);
                any = true;
            }
            if !self.inbox.refill(&mut self.ring.io(), usize::MAX) {
                break;
            }
        }
        self.ring.io().set_restless(self.member, !self.told.is_empty() || !self.quiet.is_empty());
        any
    }

    /// Has the kernel do what is left to do, and hears of it. Whether anything came of it.
    fn press(&mut self) -> bool {
        let waiting = self.ring.io().waiting();
        self.ring.io().enter_for_events();
        let fewer = self.ring.io().waiting() < waiting;
        self.hear() || fewer
    }

    /// Takes back all buffers that lie ready, and hands out one of them. A kernel may be about to
    /// receive into any of them, on a worker thread of its own. So every receive of the group is
    /// given up; when the last completion of each has come nobody receives, and the buffer ring is
    /// exchanged for an empty one. The receives are asked for again in the next poll, which finds
    /// them ended. If the kernel does not give them up the buffers stay where they are.
    #[cold]
    fn recall(&mut self) -> Option<Buf> {
        // What has been received into must be known, which is what completions tell.
        if self.buffers.lying() > 0 {
            self.press();
        }
        if self.buffers.lying() == 0 {
            return None;
        }
        self.slots.iter_mut().for_each(|(_, data)| data.give_up_receiving(&mut self.ring.io()));
        let mut in_vain = 0;
        while in_vain < SOON {
            in_vain = if self.press() { 0 } else { in_vain + 1 };
            if !self.slots.iter_mut().any(|(_, data)| data.reader().is_receiving()) {
                return self.buffers.renew(&self.ring.io());
            }
        }
        None
    }
}

impl Backend for Ringed {
    type Socket = UringSocket;

    const NAME: &'static str = NAME;

    fn open(&mut self, slot: Slot, socket: Box<UringSocket>) -> Result<Opened, Refused<Box<UringSocket>, NetError>> {
        self.tag = Tag::of(slot.id());
        let mut data = Box::new(SlotData::new(self.member, slot.id(), socket, self.buffers.pool()));
        let opened = data.opened();
        if data.reader().keeps_some() {
            self.told.push_back((slot.id(), Ready::READ));
        }
        self.slots.set(slot.index(), Some(data));
        self.look_at(slot.index());
        Ok(opened)
    }

    fn release(&mut self, slot: Slot, how: Release) -> Released<UringSocket> {
        let Some(data) = self.data(slot) else { return Released::Stays(NetError::Stale) };
        data.leave(how);
        if data.is_with_kernel() {
            self.look_at(slot.index());
            return Released::Later;
        }
        match self.slots.take(slot.index()) {
            Some(data) => Released::Now(data.into_socket()),
            None => Released::Stays(NetError::Stale),
        }
    }

    fn socket(&self, slot: Slot) -> Option<&UringSocket> {
        self.slots.get(slot.index()).map(|data| data.socket())
    }

    fn recv(&mut self, slot: Slot, bufs: &mut Bufs<'_>) -> Recv {
        let Some(data) = self.data(slot) else { return Recv::Empty };
        if let Some((buf, more)) = data.reader().next() {
            if !more {
                self.look_at(slot.index());
            }
            return Recv::Bytes(buf, more);
        }
        if !data.reader().is_direct() {
            return Recv::Empty;
        }
        let others_wait = bufs.others_wait();
        let buf = bufs.take().or_else(|| self.recall());
        let received = match (self.data(slot), buf) {
            (None, _) => Ok(Recv::Empty),
            (Some(data), Some(buf)) => {
                let room = bufs.at_once(buf.spare_capacity());
                data.receive(buf, room)
            }
            (Some(data), None) => data.receive_without_buffer(),
        };
        self.buffers.set_starving(others_wait || matches!(received, Ok(Recv::NoBuffer)));
        self.look_at(slot.index());
        received.unwrap_or_else(|_| {
            self.fall_short(slot.index());
            Recv::Empty
        })
    }

    fn accept(&mut self, slot: Slot) -> Accept<UringSocket> {
        let accept = self.data(slot).map_or(Accept::Empty, |data| data.accept());
        self.look_at(slot.index());
        accept
    }

    fn connect(&mut self, slot: Slot) -> Connecting {
        let Some(data) = self.data(slot) else { return Connecting::Failed(NetError::Stale) };
        let connecting = data.connect();
        if data.is_to_ask_again() {
            self.fall_short(slot.index());
        }
        self.look_at(slot.index());
        connecting
    }

    /// Inlined by force, so that one piece need not pass through memory: see `Epolled::recv`.
    #[inline(always)]
    fn send(&mut self, slot: Slot, out: Outgoing<'_>) -> Sending {
        if let Some(data) = self.slots.get_mut(slot.index()) {
            data.send(&mut self.ring.io(), &mut self.lists, slot.number(), out);
        }
        Sending::Pending
    }

    fn fin(&mut self, slot: Slot) {
        if let Some(data) = self.data(slot) {
            data.fin();
        }
    }

    #[inline]
    fn poll(&mut self) {
        self.ask();
        let io = &mut *self.ring.io();
        io.set_restless(self.member, !self.told.is_empty() || !self.quiet.is_empty());
        if io.wants_entry() {
            self.buffers.lay_out(io);
            io.enter(self.member);
        }
    }

    #[inline]
    fn next(&mut self, room: usize) -> Option<Happened<UringSocket>> {
        loop {
            let Some(completion) = self.inbox.next() else {
                match self.refill(room) {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(told) => return Some(told),
                }
            };
            let plain = match Op::of(completion.key) {
                Some(Op::Recv) if room > 0 => self.plain_bytes(completion),
                Some(Op::Send) => self.plain_sent(completion),
                _ => None,
            };
            if plain.is_some() {
                return plain;
            }
            self.on(completion);
        }
    }

    fn flush(&mut self) {
        self.ask();
        self.ring.io().submit();
    }

    fn want(&mut self, slot: Slot, reading: bool) {
        if let Some(data) = self.data(slot) {
            data.reader().want(reading);
            self.look_at(slot.index());
        }
    }

    fn keep(&mut self, slot: Slot, buf: Buf) {
        // Where more is kept than one buffer its receive is ended.
        if self.data(slot).is_some_and(|data| data.keep(buf)) {
            self.look_at(slot.index());
        }
    }

    fn error(&mut self, slot: Slot) -> Option<NetError> {
        self.data(slot)?.error()
    }

    fn has_room(&mut self, slot: Slot) -> bool {
        let has_room = calls::has_room(slot.number());
        if !has_room && let Some(data) = self.data(slot) {
            data.reader().wait_for_room();
            self.look_at(slot.index());
        }
        has_room
    }

    fn has_much(&mut self, slot: Slot) -> bool {
        calls::unread(slot.number()) > SPARING
    }

    /// The system goes back to delaying acknowledgements by itself (tcp(7)), so the wish is
    /// renewed.
    #[cold]
    fn acknowledge(&mut self, slot: Slot) {
        if let Some(data) = self.data(slot) {
            // The connection may be gone; the next receive tells.
            let _ = data.socket().socket.set_tcp_quickack(true);
        }
    }

    /// Nothing is received again and again while buffers are low, since the kernel would fill whole
    /// buffers without asking.
    fn set_low(&mut self, low: bool) {
        self.low = low;
        self.buffers.set_low(low);
        for (index, data) in self.slots.iter_mut().filter(|_| low) {
            if data.reader().is_receiving() && data.enlist() {
                self.todo.push(index as u32);
            }
        }
    }

    #[inline]
    fn lying(&self) -> usize {
        self.buffers.lying()
    }

    fn retract(&mut self) -> Option<Buf> {
        self.recall()
    }

    fn wake_later(&mut self) -> bool {
        self.timers.want(Which::Retry, RETRY);
        true
    }

    fn wake_for_look(&mut self, millis: u32) -> bool {
        self.timers.want(Which::Look, millis);
        true
    }

    #[cold]
    fn out_of_descriptors(&mut self, slot: Slot) {
        let at = self.data(slot).and_then(|data| data.socket().local().ok());
        let at = at.map_or_else(|| "a listener".to_owned(), |at| at.to_string());
        log::warn!("out of file descriptors: {at} accepts nothing until some are free (see ulimit -n)");
    }

    fn wait_source(&self) -> Option<WaitSource> {
        Some(WaitSource(self.bell.as_raw_fd()))
    }

    fn urge(&mut self) -> bool {
        self.ask();
        self.press()
    }

    fn next_quiet(&mut self) -> Option<Happened<UringSocket>> {
        if self.quiet.is_empty() {
            self.hear();
        }
        self.quiet.pop_front()
    }

    fn detach_now(&mut self, slot: Slot) -> Result<Box<UringSocket>, NetError> {
        self.data(slot).ok_or(NetError::Stale)?.go_on_elsewhere()
    }

    /// A connection whose peer does not take what is sent without a copy is reset, which takes it
    /// back.
    fn abandon(&mut self) {
        for (_, data) in self.slots.iter_mut().filter(|(_, data)| data.is_with_kernel()) {
            calls::disconnect(data.socket().fd());
        }
    }
}

impl Drop for Ringed {
    fn drop(&mut self) {
        let kept = self.slots.iter_mut().filter(|(_, data)| data.is_with_kernel()).count();
        // Who panicked on the way of the group's end was woken by a buffer that came home; those
        // that lie ready, which leak by themselves, may wake another.
        if kept > 0 || std::thread::panicking() {
            let (slots, lists) = (std::mem::take(&mut self.slots), std::mem::take(&mut self.lists));
            Box::leak(Box::new((slots, lists, self.ring.clone())));
            return log::error!("the kernel keeps requests of {kept} sockets of a group that has ended: their memory is lost");
        }
        let io = &mut *self.ring.io();
        self.timers.cancel(io, self.member);
        io.enter_for_events();
        io.leave(self.member);
        // Nothing of it is with the kernel from here on, and what follows may wake somebody who
        // panics.
        self.buffers.end(io);
    }
}

#[cfg(test)]
impl Ringed {
    pub(crate) fn ring(&self) -> Rc<Ring> {
        self.ring.clone()
    }

    pub(crate) fn at(&mut self, index: usize) -> &mut SlotData {
        self.slots.get_mut(index).expect("it is there")
    }

    pub(crate) fn copies_said(&self) -> bool {
        self.copies_said
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Completions that nobody hears of then.
    pub(crate) fn take(&self, into: &mut [Completion]) -> usize {
        self.ring.io().take(self.member, into)
    }

    /// As the kernel might answer.
    pub(crate) fn pretend(&mut self, completion: Completion) {
        self.on(completion);
    }

    /// Has it looked what is to be asked for a slot after a test has changed it.
    pub(crate) fn changed(&mut self, index: usize) {
        self.look_at(index);
    }
}
