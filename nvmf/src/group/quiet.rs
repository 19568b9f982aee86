//! Writes that outlive their queues, and who waits until devices have given them back.
//!
//! A device that is slow may write long after the queue has ended from which the write came. What
//! the same host writes on its next connection is newer, so that connection is answered only when
//! no older write can come any more; likewise whoever fences a host off, and a host that disables
//! its controller. Each group is asked, and answers when it has nothing left.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use core_reactor::{Cx, Instant};
use nvme::command::io;
use nvme::target::Tag;
use nvme::{Code, Status};

use super::Group;
use super::base::Base;
use super::queue::{Command, Queue, Role, State};
use crate::association::QueueKey;
use crate::{Association, Subsystem};

/// How long is waited. Less than hosts wait for an answer, and than they may take to connect.
const LIMIT: Duration = Duration::from_secs(5);

/// Polls of sockets in one go, until all that has come has been seen: more than any but a group
/// that is never at rest needs.
const LOOKS: usize = 8;

/// So many questions are looked at when one comes, and in each poll. Where there are more, each of
/// them costs others so much time until the next look: a look is one at all queues.
const FEW: usize = 8;
const MANY_COST: Duration = Duration::from_micros(100);

/// Whose writes.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    /// Those of a host, by its NQN: by this it is let in. Of queues that live, too, unless only a
    /// queue more is connected.
    Host { subsystem: Arc<Subsystem>, nqn: String, alive: bool },
    /// Those of these hosts, by their HOSTIDs, to a namespace.
    Hosts { subsystem: Arc<Subsystem>, ids: Arc<[[u8; 16]]>, nsid: u32 },
    /// Those of a controller whose queues were ended.
    Controller(Arc<Association>),
}

impl Of {
    fn includes(&self, association: &Arc<Association>) -> bool {
        match self {
            Self::Host { subsystem, nqn, .. } => Arc::ptr_eq(&association.subsystem, subsystem) && association.hostnqn() == nqn,
            Self::Hosts { subsystem, ids, .. } => Arc::ptr_eq(&association.subsystem, subsystem) && ids.contains(&association.hostid),
            Self::Controller(it) => Arc::ptr_eq(association, it),
        }
    }

    /// Whether those to this namespace count.
    fn is_to(&self, namespace: u32) -> bool {
        !matches!(self, Self::Hosts { nsid, .. } if *nsid != namespace)
    }

    /// Whether queues that live count.
    fn is_of_the_living(&self) -> bool {
        matches!(self, Self::Host { alive: true, .. } | Self::Hosts { .. })
    }
}

/// Who is to be told that there is nothing left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    group: usize,
    queue: QueueKey,
    /// Which question of that group.
    id: u64,
}

/// A question that this group has not answered.
pub(crate) struct Watch {
    of: Of,
    asker: Asker,
    /// Queues from which something may be unread that had come when this was asked. It may be a
    /// write, or the end of the queue.
    behind: Vec<Behind>,
    /// Writes that came later do not count: later than this was asked, and than all that had come
    /// by then was read.
    since: Instant,
    /// Who asked has given up by then.
    by: Instant,
}

/// A queue from which something may be unread that had come by some moment.
pub(crate) struct Behind {
    pub(super) queue: QueueKey,
    /// It is not, once it has begun so many commands in all: a host has no more on the way than
    /// the queue has entries.
    pub(super) bound: u64,
    /// The poll of that moment.
    pub(super) since: u64,
    /// Where its socket may have been full: when all has come.
    pub(super) settled_at: Option<Instant>,
}

/// What devices have of a queue that has ended.
pub(crate) struct Left {
    queue: QueueKey,
    association: Arc<Association>,
    nsid: u32,
    requests: u32,
}

/// A command that waits for answers: of groups, or that what it did is kept.
pub(crate) struct Waiting {
    id: u64,
    tag: Tag,
    /// Answers that have not come.
    parts: usize,
    by: Duration,
    then: Then,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is a Connect.
    Connect,
    /// It is answered with success, and this.
    Answer(u64),
}

/// Whether a command changes blocks.
fn changes(opcode: u8) -> bool {
    matches!(opcode, io::WRITE | io::WRITE_ZEROES | io::DATASET_MANAGEMENT)
}

impl Command {
    fn is_a_write_under_way(&self) -> bool {
        self.state == State::InDevice && changes(self.sqe.opcode)
    }
}

impl Queue {
    /// Has a command wait until no group has such writes.
    pub(super) fn wait_for(&mut self, base: &mut Base, tag: Tag, of: &Of, then: Then) {
        let id = base.question();
        let parts = self.ask(base, id, of);
        self.wait(base, tag, id, parts, then);
    }

    /// Has a command wait for so many answers to a question.
    pub(super) fn wait(&mut self, base: &Base, tag: Tag, id: u64, parts: usize, then: Then) {
        if let Some(Some(command)) = self.commands.get_mut(tag.index()) {
            command.state = State::Held;
        }
        self.waiting.push(Waiting { id, tag, parts, by: base.time().saturating_add(LIMIT), then });
    }

    /// Asks all groups for the end of such writes; how many those are.
    pub(super) fn ask(&self, base: &Base, id: u64, of: &Of) -> usize {
        let asker = Asker { group: base.index, queue: self.key, id };
        let mut asked = 0;
        for group in (0..base.peers.shards()).filter(|group| !base.peers.is_gone(*group)) {
            let of = Box::new(of.clone());
            base.peers.send(group, move |group, cx| group.watch(cx, *of, asker));
            asked += 1;
        }
        asked
    }

    /// One of the answers that a command waits for.
    fn answered(&mut self, base: &mut Base, cx: &mut Cx<'_>, id: u64, outcome: Code) {
        let Some(at) = self.waiting.iter().position(|it| it.id == id) else { return };
        self.waiting[at].parts -= 1;
        let is_bad = outcome != Code::Success;
        if self.waiting[at].parts > 0 && !is_bad {
            return;
        }
        let Waiting { tag, then, .. } = self.waiting.swap_remove(at);
        match then {
            _ if is_bad => self.complete(base, tag, outcome.into(), 0),
            Then::Connect => self.connect(base, cx, tag, true),
            Then::Answer(result) => self.complete(base, tag, Status::SUCCESS, result),
        }
    }

    /// Looks who has waited for too long.
    pub(super) fn look_for_unquiet(&mut self, base: &mut Base) {
        let now = base.time();
        while let Some(at) = self.waiting.iter().position(|it| now >= it.by) {
            let Waiting { tag, then, .. } = self.waiting.swap_remove(at);
            let (what, code) = match then {
                Then::Connect => ("it cannot connect yet", Code::ControllerBusy),
                Then::Answer(_) => ("its command has failed", Code::InternalError),
            };
            let name = self.name();
            logging::warn!("{}: {}; a disk has not done after {} s what is to be over before", name.as_str(), what, LIMIT.as_secs());
            self.complete(base, tag, code.into(), 0);
        }
    }

    /// What devices still have of it is remembered beyond its end.
    pub(super) fn leave_writes(&self, base: &mut Base) {
        let Role::Io { association, .. } = self.role.proven() else { return };
        for command in self.commands.iter().flatten().filter(|command| command.is_a_write_under_way()) {
            base.left.push(Left {
                queue: self.key,
                association: association.clone(),
                nsid: command.sqe.nsid.get(),
                requests: command.left,
            });
        }
    }

    /// Whether devices have writes of it that are as old as a question.
    fn has_writes(&self, watch: &Watch) -> bool {
        let Role::Io { association, .. } = self.role.proven() else { return false };
        let is_one = |it: &Command| it.is_a_write_under_way() && it.since <= watch.since && watch.of.is_to(it.sqe.nsid.get());
        watch.of.includes(association) && self.commands.iter().flatten().any(is_one)
    }
}

impl Base {
    /// A number for a question.
    pub(super) fn question(&mut self) -> u64 {
        self.questions += 1;
        self.questions
    }

    /// Tells a command, from whatever thread, whether what it did is kept.
    pub(super) fn on_kept(&self, queue: QueueKey, id: u64) -> impl FnOnce(bool) + Send + 'static {
        let (peers, group) = (self.peers.clone(), self.index);
        move |is_kept| {
            let outcome = if is_kept { Code::Success } else { Code::InternalError };
            peers.send(group, move |group, cx| group.answered(cx, queue, id, outcome));
        }
    }

    /// A request of a queue that has ended has come back.
    #[cold]
    pub(super) fn came_back(&mut self, queue: QueueKey, nsid: u32, changes: bool) {
        let is_it = |left: &Left| changes && left.queue == queue && left.nsid == nsid;
        if let Some(at) = self.left.iter().position(is_it) {
            self.left[at].requests -= 1;
            if self.left[at].requests == 0 {
                self.left.swap_remove(at);
            }
        }
    }
}

impl Group {
    /// Is asked to say when devices have no such writes any more.
    fn watch(&mut self, cx: &mut Cx<'_>, of: Of, asker: Asker) {
        self.base.now = cx.now();
        let now = self.base.now;
        let behind = self.behind(&of);
        self.base.watches.push(Watch { of, asker, behind, since: now, by: now + 2 * LIMIT });
        if self.base.watches.len() > FEW {
            // A look at all for each that comes would cost as much as there are, squared.
            return;
        }
        for _ in 0..LOOKS {
            let events = self.poll_sockets(cx);
            if self.catch_up(events) {
                break;
            }
        }
        self.poll_devices(cx);
        self.answer_watches();
        self.flush();
    }

    /// Queues from which something may be unread that counts. Writes of hosts that were fenced off
    /// are refused when they are read, and those of a controller that was disabled never are.
    fn behind(&mut self, of: &Of) -> Vec<Behind> {
        let Of::Host { .. } = of else { return Vec::new() };
        let is_one = |queue: &&mut Queue| matches!(queue.role.proven(), Role::Io { association, .. } if of.includes(association));
        let Self { base, queues, .. } = self;
        queues.iter().filter(is_one).map(|queue| queue.behind(base)).collect()
    }

    /// Looks which queues have caught up with the questions, after a poll of so many events.
    /// Whether all have.
    fn catch_up(&mut self, events: usize) -> bool {
        let Self { base, queues, .. } = self;
        let is_quiet = events < base.quiet_below;
        let (mut watches, mut all) = (core::mem::take(&mut base.watches), true);
        for watch in watches.iter_mut().filter(|watch| !watch.behind.is_empty()) {
            let before = watch.behind.len();
            watch.behind.retain_mut(|it| queues.peek(it.queue).is_some_and(|queue| queue.is_behind(it, base, is_quiet)));
            if watch.behind.len() < before {
                watch.since = base.now;
            }
            all &= watch.behind.is_empty();
        }
        base.watches = watches;
        all
    }

    /// Looks for whom there is an answer now, after a poll of sockets of so many events.
    pub(super) fn look_after_watches(&mut self, events: usize) {
        let (now, many) = (self.base.now, self.base.watches.len());
        if many > FEW {
            if now < self.base.answers_at {
                return;
            }
            self.base.answers_at = now + MANY_COST * many as u32;
        }
        self.catch_up(events);
        self.answer_watches();
    }

    /// Answers the questions of which nothing is left.
    fn answer_watches(&mut self) {
        let Self { base, queues, .. } = self;
        let now = base.now;
        let mut watches = core::mem::take(&mut base.watches);
        watches.retain(|watch| {
            let is_left = !watch.behind.is_empty()
                || base.left.iter().any(|left| watch.of.includes(&left.association) && watch.of.is_to(left.nsid))
                || watch.of.is_of_the_living() && queues.iter().any(|queue| queue.has_writes(watch));
            if !is_left {
                let Asker { group, queue, id } = watch.asker;
                base.peers.send(group, move |group, cx| group.answered(cx, queue, id, Code::Success));
            }
            is_left && now < watch.by
        });
        base.watches = watches;
    }

    /// An answer that a command of this group waits for.
    fn answered(&mut self, cx: &mut Cx<'_>, queue: QueueKey, id: u64, outcome: Code) {
        self.base.now = cx.now();
        if let Some(queue) = self.queues.get(queue) {
            queue.answered(&mut self.base, cx, id, outcome);
            self.flush();
        }
    }
}
