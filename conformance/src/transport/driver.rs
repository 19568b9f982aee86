//! One group and what was asked of it.
//!
//! Whatever a test is about, its driver also checks what holds for every event of every queue
//! (`ledger.rs`), and at its end that every buffer has come home.

use std::collections::VecDeque;
use std::sync::Arc;

use core_reactor::transport::{
    Access, ExposedKey, Frame, Listener, Op, Queue, QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueGroupView, QueueId,
    QueueOptions, RemoteMemory, Token, TransportError, Wait,
};
use core_reactor::{CpuSet, Refused, Thread, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::{Buf, BufGroup};

use super::Env;
use super::ledger::Ledger;

/// The size of a driver's group.
#[derive(Clone, Copy)]
pub struct Setup {
    /// [`QueueGroupConfig::queues`].
    pub queues: u32,
    /// [`QueueGroupConfig::operations`].
    pub operations: u32,
    /// [`QueueGroupConfig::receives`].
    pub receives: u32,
    /// [`QueueGroupConfig::exposures`].
    pub exposures: u32,
    /// [`QueueGroupConfig::wait`].
    pub wait: Wait,
    /// Room of the event list.
    pub room: usize,
    /// Buffers of the group.
    pub bufs: usize,
    /// Bytes of each.
    pub buf_size: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { queues: 64, operations: 4096, receives: 32, exposures: 64, wait: Wait::Polled, room: 64, bufs: 192, buf_size: 4096 }
    }
}

/// A group with its thread, buffers and events.
pub struct Driver {
    group: Option<Box<dyn QueueGroup>>,
    events: QueueEvents,
    /// Events that nobody has asked for yet.
    pub(super) seen: VecDeque<QueueEvent>,
    ledger: Ledger,
    bufs: BufGroup,
    setup: Setup,
    env: Env,
    /// Last, so that it outlives the group, which holds it.
    thread: Thread,
}

impl Driver {
    /// A group of this size.
    pub fn new(env: &Env, setup: Setup) -> Self {
        Self::try_new(env, setup).expect("a group")
    }

    /// A group of this size, if the transport can give one.
    pub fn try_new(env: &Env, setup: Setup) -> Result<Self, TransportError> {
        let bufs = BufGroup::new(setup.bufs, setup.buf_size);
        let config = QueueGroupConfig::new(bufs.clone())
            .queues(setup.queues)
            .operations(setup.operations)
            .receives(setup.receives)
            .exposures(setup.exposures)
            .wait(setup.wait);
        let core = env.core();
        let lib = ThreadLib::new(env.platform.clone(), CpuSet::of(core), &ThreadLibOptions::default());
        let mut thread = lib.create(ThreadConfig::new("driver"), core).expect("the platform has this core");
        let group = thread.with(|cx| env.transport.group(cx, config))?;
        Ok(Self {
            group: Some(group),
            events: QueueEvents::new(setup.room),
            seen: VecDeque::new(),
            ledger: Ledger::default(),
            bufs,
            setup,
            env: env.clone(),
            thread,
        })
    }

    /// The window of its group.
    pub fn view(&mut self) -> Option<Arc<QueueGroupView>> {
        self.thread.with(|cx| cx.views()).pop()
    }

    /// The group, for what needs no account.
    pub fn group(&mut self) -> &mut dyn QueueGroup {
        &mut **self.group.as_mut().expect("it is there until the end")
    }

    /// Attaches a queue, with the account of it opened.
    pub fn try_attach(
        &mut self,
        queue: Box<dyn Queue>,
        token: Token,
        private_data: &[u8],
    ) -> Result<QueueId, Refused<Box<dyn Queue>, TransportError>> {
        let id = self.group().attach(queue, token, private_data)?;
        self.ledger.open(id, token);
        Ok(id)
    }

    /// Attaches a queue, which must be taken.
    pub fn attach(&mut self, queue: Box<dyn Queue>, token: Token, private_data: &[u8]) -> QueueId {
        self.try_attach(queue, token, private_data).map_err(|refused| refused.why).expect("room in the group")
    }

    /// Attaches a listener, which must be taken.
    pub fn listen(&mut self, listener: Box<dyn Listener>, token: Token) -> QueueId {
        let id = self.group().listen(listener, token).map_err(|refused| refused.why).expect("room in the group");
        self.ledger.open(id, token);
        id
    }

    /// A queue that connects to `to`, attached.
    pub fn dial(&mut self, to: std::net::SocketAddr, options: &QueueOptions, token: Token) -> QueueId {
        let queue = self.env.transport.connect(to, options).expect("a queue");
        self.attach(queue, token, &[])
    }

    /// Posts a message.
    pub fn try_send(&mut self, id: QueueId, frame: Frame, imm: Option<u32>, tag: u64) -> Result<(), Refused<Frame, TransportError>> {
        let bufs = frame.parts().len();
        self.group().send(id, frame, imm, tag)?;
        self.ledger.posted(id, Op::Message, tag, bufs);
        Ok(())
    }

    /// Posts a read.
    pub fn try_read(&mut self, id: QueueId, into: Frame, from: RemoteMemory, tag: u64) -> Result<(), Refused<Frame, TransportError>> {
        let bufs = into.parts().len();
        self.group().read(id, into, from, tag)?;
        self.ledger.posted(id, Op::Read, tag, bufs);
        Ok(())
    }

    /// Posts a write.
    pub fn try_write(
        &mut self,
        id: QueueId,
        frame: Frame,
        to: RemoteMemory,
        imm: Option<u32>,
        tag: u64,
    ) -> Result<(), Refused<Frame, TransportError>> {
        let bufs = frame.parts().len();
        self.group().write(id, frame, to, imm, tag)?;
        self.ledger.posted(id, Op::Write, tag, bufs);
        Ok(())
    }

    /// Exposes a buffer.
    pub fn try_expose(
        &mut self,
        id: QueueId,
        buf: Buf,
        access: Access,
    ) -> Result<(RemoteMemory, ExposedKey), Refused<Buf, TransportError>> {
        let (memory, key) = self.group().expose(id, buf, access)?;
        self.ledger.exposed(id, key);
        Ok((memory, key))
    }

    /// Posts a message of these bytes, which must be taken.
    pub fn send(&mut self, id: QueueId, bytes: &[u8], tag: u64) {
        let frame = self.fill(bytes).into();
        self.try_send(id, frame, None, tag).map_err(|refused| refused.why).expect("the message is taken");
    }

    /// Posts a read of all of `from` into one buffer, which must be taken.
    pub fn read(&mut self, id: QueueId, from: RemoteMemory, tag: u64) {
        let into = self.fill(&[]).into();
        self.try_read(id, into, from, tag).map_err(|refused| refused.why).expect("the read is taken");
    }

    /// Posts a write of these bytes, which must be taken.
    pub fn write(&mut self, id: QueueId, bytes: &[u8], to: RemoteMemory, imm: Option<u32>, tag: u64) {
        let frame = self.fill(bytes).into();
        self.try_write(id, frame, to, imm, tag).map_err(|refused| refused.why).expect("the write is taken");
    }

    /// Exposes a buffer with these bytes in it, which must be taken.
    pub fn expose(&mut self, id: QueueId, bytes: &[u8], access: Access) -> (RemoteMemory, ExposedKey) {
        let buf = self.fill(bytes);
        self.try_expose(id, buf, access).map_err(|refused| refused.why).expect("the buffer is taken")
    }

    /// Ends a queue or listener, which must be there.
    pub fn disconnect(&mut self, id: QueueId) {
        self.group().disconnect(id).expect("it is there");
    }

    /// A buffer with these bytes, which must fit.
    pub fn fill(&mut self, bytes: &[u8]) -> Buf {
        let mut buf = self.group().buffer().expect("a buffer");
        assert_eq!(buf.append(bytes), bytes.len(), "they fit a buffer");
        buf
    }

    /// Polls once, checks what it found, and keeps it for who asks. Tells how much it was.
    pub fn poll(&mut self) -> usize {
        let group = self.group.as_mut().expect("it is there until the end");
        let told = group.poll(&mut self.events);
        assert_eq!(told, self.events.len(), "poll tells how many events it appended");
        for event in self.events.drain() {
            self.ledger.enter(&event);
            self.seen.push_back(event);
        }
        told
    }

    /// Takes the first event that `pick` wants; the others stay in order.
    pub fn take<T>(&mut self, mut pick: impl FnMut(QueueEvent) -> Result<T, QueueEvent>) -> Option<T> {
        let mut passed = VecDeque::new();
        let mut found = None;
        while let Some(event) = self.seen.pop_front() {
            match pick(event) {
                Ok(it) => {
                    found = Some(it);
                    break;
                }
                Err(event) => passed.push_back(event),
            }
        }
        passed.append(&mut self.seen);
        self.seen = passed;
        found
    }

    /// Operations posted on a queue that have not come back.
    pub fn outstanding(&self, id: QueueId) -> usize {
        self.ledger.outstanding(id)
    }

    /// Ends the group with all that is in it, and forgets what was not asked for.
    pub fn drop_group(&mut self) {
        self.group = None;
        self.seen.clear();
    }

    /// Fails unless every buffer is home, once the group is gone.
    fn check_home(&self) {
        let home: Vec<_> = std::iter::from_fn(|| self.bufs.get()).collect();
        assert_eq!(home.len(), self.setup.bufs, "every buffer has come home");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.drop_group();
        self.check_home();
    }
}
