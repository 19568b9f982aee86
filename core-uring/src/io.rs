//! The two rings that are shared with the kernel: requests in, completions out.
//!
//! UNSAFETY: requests name memory that the kernel reads and writes; see [`Io::push`].
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::{fmt, io};

use io_uring::squeue::Flags;
use io_uring::{IoUring, Submitter, cqueue, opcode, squeue, types};

use crate::error::RingError;
use crate::key::{Key, Member};
use crate::sys::{self, Eventfd, GET_EVENTS};

/// One completion.
#[derive(Clone, Copy)]
pub struct Completion {
    /// Of which request.
    pub key: Key,
    /// Result and flags in one, so that a completion is two words and stays in registers.
    answer: u64,
}

impl Completion {
    /// Of no request.
    pub const NOTHING: Self = Self { key: Key::from_raw(0), answer: 0 };

    /// One as the kernel might tell it, with `IORING_CQE_F_…`: for tests of what it seldom does.
    #[inline]
    pub fn new(key: Key, result: i32, flags: u32) -> Self {
        Self { key, answer: u64::from(flags) << 32 | u64::from(result as u32) }
    }

    /// What the system call would have answered, or minus the number of its error.
    #[inline]
    pub fn result(self) -> i32 {
        self.answer as i32
    }

    #[inline]
    fn flags(self) -> u32 {
        (self.answer >> 32) as u32
    }

    /// Whether its request goes on.
    #[inline]
    pub fn more(self) -> bool {
        cqueue::more(self.flags())
    }

    /// The number of the buffer that was received into.
    #[inline]
    pub fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags())
    }

    /// Whether it is the second one of a send without a copy: the memory is not read any more.
    #[inline]
    pub fn notif(self) -> bool {
        cqueue::notif(self.flags())
    }

    /// Whether it is the only one of a request.
    #[inline]
    pub fn is_plain(self) -> bool {
        !self.more() && !self.notif()
    }

    /// Whether a send that was to be without a copy was copied after all
    /// (`IORING_NOTIF_USAGE_ZC_COPIED`).
    pub fn was_copied(self) -> bool {
        self.notif() && self.result() < 0
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("key", &self.key).field("result", &self.result()).field("flags", &self.flags()).finish()
    }
}

impl From<cqueue::Entry> for Completion {
    #[inline]
    fn from(entry: cqueue::Entry) -> Self {
        Self::new(Key::from_raw(entry.user_data()), entry.result(), entry.flags())
    }
}

/// The rings of a [`Ring`](crate::Ring), for one call of a member at a time.
pub struct Io {
    uring: IoUring,
    /// Requests in the ring that the kernel has not been told of.
    queued: u32,
    /// Requests that found no room there, because the kernel took none.
    backlog: VecDeque<squeue::Entry>,
    /// The kernel does not let it enter, which was said.
    failed: bool,
    /// By their numbers.
    members: Vec<Option<Waiting>>,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.members.iter().flatten().count();
        let mut shown = f.debug_struct("Io");
        shown.field("members", &members).field("queued", &self.queued).field("backlog", &self.backlog.len()).finish_non_exhaustive()
    }
}

/// What waits for a member.
struct Waiting {
    /// Completions that somebody else took off the ring.
    put_by: VecDeque<Completion>,
    /// It has something to tell in its next poll.
    restless: bool,
}

impl Waiting {
    fn is_quiet(&self) -> bool {
        self.put_by.is_empty() && !self.restless
    }
}

// ---- What the ring and the buffers need

impl Io {
    /// For this flow of control.
    pub(crate) fn new(submissions: u32, completions: u32) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_clamp()
            .setup_cqsize(completions)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .dontfork();
        let plain = builder.clone();
        // Linux 6.6: one indirection less.
        builder.setup_no_sqarray();
        let uring = builder.build(submissions).or_else(|_| plain.build(submissions))?;
        Ok(Self { uring, queued: 0, backlog: VecDeque::new(), failed: false, members: Vec::new() })
    }

    pub(crate) fn register(&self, eventfd: &Eventfd) -> io::Result<()> {
        self.uring.submitter().register_eventfd(eventfd.fd())
    }

    /// Whether the eventfd is told.
    pub(crate) fn tell(&mut self, whether: bool) {
        let completions = self.uring.completion();
        if whether { completions.enable_eventfd() } else { completions.disable_eventfd() }
    }

    pub(crate) fn submitter(&self) -> Submitter<'_> {
        self.uring.submitter()
    }

    /// Whether nothing lies here for any member, and nothing is left to run.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let members = self.members.iter().flatten().all(Waiting::is_quiet);
        members && self.uring.completion().is_empty() && !self.has_news()
    }
}

// ---- Members

impl Io {
    /// Another member, which may have `pending` completions put by before memory is allocated.
    ///
    /// # Errors
    /// There are as many as can be told apart.
    pub fn join(&mut self, pending: usize) -> Result<Member, RingError> {
        let free = self.members.iter().position(Option::is_none);
        let number = free.unwrap_or(self.members.len());
        if number == Member::MOST {
            return Err(RingError::Members);
        }
        if free.is_none() {
            self.members.push(None);
        }
        self.members[number] = Some(Waiting { put_by: VecDeque::with_capacity(pending), restless: false });
        Ok(Member::new(number))
    }

    /// A member goes, whose name another may have then. What comes for it yet is thrown away: of
    /// its requests nothing but cancellations is to be with the kernel.
    pub fn leave(&mut self, member: Member) {
        self.members[member.index()] = None;
    }

    /// Whether a member has something to tell in its next poll, which the ring does not know of.
    #[inline]
    pub fn set_restless(&mut self, member: Member, restless: bool) {
        if let Some(Some(waiting)) = self.members.get_mut(member.index()) {
            waiting.restless = restless;
        }
    }
}

// ---- Requests

impl Io {
    /// Queues a request, after telling the kernel of those before it if there is no room. Flags of
    /// an entry are its own; what it is called by is `key`.
    ///
    /// # Safety
    /// The memory that `entry` names stays valid until the last completion of `key` was taken, or
    /// for ever where that is not seen, as when the ring goes before.
    #[inline(always)]
    pub unsafe fn push(&mut self, key: Key, entry: squeue::Entry) {
        let entry = entry.user_data(key.raw());
        // SAFETY: the caller's promise.
        if self.backlog.is_empty() && unsafe { self.uring.submission().push(&entry) }.is_ok() {
            self.queued += 1;
        } else {
            self.push_later(entry);
        }
    }

    /// There is no room: the kernel is told of those before.
    #[cold]
    fn push_later(&mut self, entry: squeue::Entry) {
        self.backlog.push_back(entry);
        self.enter_with(0);
    }

    /// Asks that a request be given up. Its last completion comes in any case.
    pub fn cancel(&mut self, key: Key) {
        let entry = opcode::AsyncCancel::new(key.raw()).build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: names no memory.
        unsafe { self.push(Key::new(key.member(), Key::CANCEL, 0), entry) }
    }

    /// Asks to be told after `time`.
    pub fn timer(&mut self, key: Key, time: &'static types::Timespec) {
        // SAFETY: the time lives for ever.
        unsafe { self.push(key, opcode::Timeout::new(time).build()) }
    }

    /// Requests that the kernel has not been told of.
    pub fn waiting(&self) -> usize {
        self.queued as usize + self.backlog.len()
    }
}

// ---- Entries into the kernel

impl Io {
    /// Whether the kernel has to be entered: to submit, or because it has something to run or to
    /// hand over.
    #[inline]
    pub fn wants_entry(&mut self) -> bool {
        self.queued > 0 || self.has_news()
    }

    /// Enters the kernel once, for a member: submits what is queued, and runs what is left to do,
    /// unless the member has not yet handled what was done before.
    pub fn enter(&mut self, member: Member) {
        let waits = self.members.get(member.index()).and_then(Option::as_ref);
        let handled = waits.is_none_or(Waiting::is_quiet) && self.uring.completion().is_empty();
        let flags = if handled && self.has_news() { GET_EVENTS } else { 0 };
        if flags != 0 || self.queued > 0 {
            self.enter_with(flags);
        }
    }

    /// Submits what is queued, and no more.
    pub fn submit(&mut self) {
        if self.queued > 0 {
            self.enter_with(0);
        }
    }

    /// Enters the kernel once and has it run what is left to do, told of or not.
    pub fn enter_for_events(&mut self) {
        self.enter_with(GET_EVENTS);
    }

    /// The same, and tells how it went. What the kernel did not take waits for the next entry.
    ///
    /// # Errors
    /// The system's, which the other entries log at most.
    pub fn try_enter_for_events(&mut self) -> Result<(), RingError> {
        self.try_enter(GET_EVENTS).map_err(|why| RingError::os("io_uring_enter", &why))
    }

    #[inline]
    fn enter_with(&mut self, flags: u32) {
        if let Err(why) = self.try_enter(flags) {
            self.entry_failed(&why);
        }
        if !self.backlog.is_empty() {
            self.work_off();
        }
    }

    #[inline]
    fn try_enter(&mut self, flags: u32) -> io::Result<()> {
        let taken = sys::enter(self.uring.as_raw_fd(), self.queued, flags)?;
        self.queued -= taken.min(self.queued);
        Ok(())
    }

    /// Interrupted or short of memory, the kernel does it with the next entry.
    #[cold]
    fn entry_failed(&mut self, why: &io::Error) {
        let passes = matches!(why.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM));
        if !passes && !self.failed {
            self.failed = true;
            log::error!("io_uring_enter: {why}: all that works with this ring stands still");
        }
    }

    #[cold]
    fn work_off(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            // SAFETY: whoever pushed it promised that what it names stays valid.
            if unsafe { self.uring.submission().push(&entry) }.is_err() {
                return self.backlog.push_front(entry);
            }
            self.queued += 1;
        }
    }

    #[inline]
    fn has_news(&mut self) -> bool {
        let submissions = self.uring.submission();
        submissions.taskrun() || submissions.cq_overflow()
    }

    /// Whether the kernel keeps completions that found no room in the ring.
    #[inline]
    pub(crate) fn has_overflown(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }
}

// ---- Completions

impl Io {
    /// Takes completions of a member off the ring, in order; tells how many.
    #[inline]
    pub fn take(&mut self, member: Member, into: &mut [Completion]) -> usize {
        let mut len = self.take_put_by(member, into);
        let mut completions = self.uring.completion();
        if let [_] = *self.members {
            // All are its own.
            for (into, entry) in into[len..].iter_mut().zip(&mut completions) {
                *into = entry.into();
                len += 1;
            }
            return len;
        }
        while len < into.len()
            && let Some(entry) = completions.next()
        {
            let completion = Completion::from(entry);
            if completion.key.member() == member {
                into[len] = completion;
                len += 1;
            } else if let Some(Some(other)) = self.members.get_mut(completion.key.member().index()) {
                // Nothing comes for a member that is gone but the answers to its cancellations.
                other.put_by.push_back(completion);
            }
        }
        len
    }

    #[inline]
    fn take_put_by(&mut self, member: Member, into: &mut [Completion]) -> usize {
        let Some(Some(waiting)) = self.members.get_mut(member.index()) else { return 0 };
        let len = waiting.put_by.len().min(into.len());
        waiting.put_by.drain(..len).zip(into).for_each(|(completion, into)| *into = completion);
        len
    }
}
