//! What a queue and a group are asked to be, and what they are.

use core::time::Duration;

use pool::{BufGroup, Class};
use statistics::stats;

use super::{Frame, Text, TransportError};
use crate::setters::setters;

/// What a queue is asked to be. What is beyond the device, or cannot be honoured, is an error and
/// not cut down in silence (statement 32).
///
/// ```
/// use core_reactor::transport::QueueOptions;
///
/// let options = QueueOptions::default().send_depth(128).rnr_retry(6);
/// assert_eq!((options.send_depth, options.rnr_retry, options.gather), (128, Some(6), 4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueOptions {
    /// Sends, reads and writes that may be posted at a time. Default 64.
    pub send_depth: u32,
    /// Reads among them that may be under way, in each direction; the smaller of the two ends'
    /// counts. Default 16.
    pub reads: u32,
    /// Buffers that a frame may have. Default 4, the most that a [`Frame`](super::Frame) carries.
    pub gather: u32,
    /// Bytes up to which a message is copied when it is posted, where that saves the device a read.
    /// Default 64.
    pub inline: u32,
    /// How often a message *of the peer's* that finds no receive buffer here is tried again before
    /// its connection fails; at most 6. `None`, the default: for as long as it takes. The receiving
    /// end's choice, as InfiniBand's connection messages carry it.
    pub rnr_retry: Option<u8>,
    /// Time from [`attach`](super::QueueGroup::attach) to `Established`, after which the queue ends
    /// with [`TimedOut`](super::TransportError::TimedOut). Default 5 s.
    pub connect_timeout: Duration,
    /// Requests that may wait at a listener until they are delivered. Default 128.
    pub backlog: u32,
}

impl QueueOptions {
    setters! {
        send_depth: u32,
        reads: u32,
        gather: u32,
        inline: u32,
        rnr_retry: Option<u8>,
        connect_timeout: Duration,
        backlog: u32,
    }

    /// What no queue of any transport can be. Every transport asks this before it looks at its
    /// device.
    ///
    /// ```
    /// # use core_reactor::transport::QueueOptions;
    /// assert!(QueueOptions::default().check().is_ok());
    /// assert!(QueueOptions::default().send_depth(0).check().is_err(), "nothing could be posted");
    /// ```
    ///
    /// # Errors
    /// [`TransportError::Option`] or [`TransportError::Limit`], with the number.
    pub fn check(&self) -> Result<(), TransportError> {
        let odd = |option, why: &str| Err(TransportError::Option { option, why: Text::from(why) });
        match self {
            Self { send_depth: 0, .. } => odd("QueueOptions::send_depth", "a queue that can post nothing: 0"),
            Self { gather: 0, .. } => odd("QueueOptions::gather", "frames without buffers: 0"),
            Self { rnr_retry: Some(7..), .. } => {
                odd("QueueOptions::rnr_retry", "it is more than 6, the most that is counted; for as long as it takes, it is None")
            }
            Self { connect_timeout: Duration::ZERO, .. } => odd("QueueOptions::connect_timeout", "no connection is made in no time: 0 s"),
            Self { backlog: 0, .. } => odd("QueueOptions::backlog", "a listener at which no request can wait: 0"),
            Self { gather, .. } if *gather as usize > Frame::PARTS => Err(TransportError::Limit {
                what: "buffers of a frame (QueueOptions::gather)",
                asked: (*gather).into(),
                limit: Frame::PARTS as u64,
            }),
            _ => Ok(()),
        }
    }
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { send_depth: 64, reads: 16, gather: 4, inline: 64, rnr_retry: None, connect_timeout: Duration::from_secs(5), backlog: 128 }
    }
}

/// What a queue can do: what was asked for, within what the device and the peer can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Operations that may be posted at a time.
    pub sends: u32,
    /// Reads among them.
    pub reads: u32,
    /// Buffers that a frame may have.
    pub gather: u32,
    /// Bytes up to which a message is copied when it is posted.
    pub inline: u32,
    /// Bytes that one operation may move.
    pub message: u32,
    /// Messages that can arrive before buffers are needed, shared by the group's queues: what a
    /// protocol's credits have to come out of.
    pub receives: u32,
    /// The longest message that can be received.
    pub receive_size: u32,
}

/// The size of a group. Everything is allocated when it is made.
///
/// ```
/// use core_reactor::transport::{QueueGroupConfig, Wait};
///
/// let config = QueueGroupConfig::new(pool::BufGroup::new(256, 4096)).queues(16).wait(Wait::Events);
/// assert_eq!((config.queues, config.receives), (16, 256));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueGroupConfig {
    /// Queues and listeners it can hold. Default 256.
    pub queues: u32,
    /// The send depths of all its queues together: what its completion queue has room for beside
    /// receives. Default 16384.
    pub operations: u32,
    /// Receive buffers that its queues share; the group takes them out of `bufs` and takes more as
    /// they are handed out. Default 256.
    pub receives: u32,
    /// Buffers that may be exposed at a time. Default 1024.
    pub exposures: u32,
    /// How its core waits. Default [`Wait::Polled`].
    pub wait: Wait,
    /// Where messages are received.
    pub bufs: BufGroup,
}

impl QueueGroupConfig {
    setters! {
        queues: u32,
        operations: u32,
        receives: u32,
        exposures: u32,
        wait: Wait,
    }

    /// The defaults, over these buffers.
    ///
    /// ```
    /// use core_reactor::transport::{QueueGroupConfig, Wait};
    ///
    /// let config = QueueGroupConfig::new(pool::BufGroup::new(512, 4096)).receives(64);
    /// assert_eq!((config.receives, config.wait), (64, Wait::Polled));
    /// ```
    pub fn new(bufs: BufGroup) -> Self {
        Self { queues: 256, operations: 16384, receives: 256, exposures: 1024, wait: Wait::Polled, bufs }
    }

    /// What no group of any transport can be. Every transport asks this before it looks at its
    /// device. No exposures are no fault: a server may have none.
    ///
    /// ```
    /// # use core_reactor::transport::QueueGroupConfig;
    /// let deaf = QueueGroupConfig::new(pool::BufGroup::new(8, 4096)).receives(0);
    /// assert!(deaf.check().is_err());
    /// ```
    ///
    /// # Errors
    /// [`TransportError::Option`], with the number.
    pub fn check(&self) -> Result<(), TransportError> {
        let odd = |option, why: &str| Err(TransportError::Option { option, why: Text::from(why) });
        match self {
            Self { queues: 0, .. } => odd("QueueGroupConfig::queues", "a group without a place: 0"),
            Self { operations: 0, .. } => odd("QueueGroupConfig::operations", "a group whose queues can post nothing: 0"),
            Self { receives: 0, .. } => odd("QueueGroupConfig::receives", "a group without receive buffers: 0"),
            Self { bufs, .. } if bufs.buf_size() == 0 => odd("QueueGroupConfig::bufs", "buffers without room: 0 bytes"),
            _ => Ok(()),
        }
    }
}

/// How a group's core learns that there is something to poll (statement 30).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// It polls: nothing wakes it, and the group's poller is one that keeps its core awake
    /// ([`Schedule::Always`](crate::Schedule::Always)). The lowest latency.
    #[default]
    Polled,
    /// It may sleep: the device tells ([`Schedule::WhenAwake`](crate::Schedule::WhenAwake)).
    Events,
}

/// A group's window.
pub type QueueGroupView = crate::View<QueueGroupInfo>;

/// A group as it was when it was last asked.
#[derive(Clone, Debug, Default)]
pub struct QueueGroupInfo {
    /// What it has done.
    pub stats: QueueGroupStats,
    /// What became of its buffers, in the order of [`Class::ALL`].
    pub bufs: [pool::GroupStats; Class::COUNT],
}

stats! {
    /// What a group has done since it was made.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct QueueGroupStats {
        /// Queues and listeners in it now.
        pub queues: usize => gauge("lcore_queue_group_queues"),
        /// Polls.
        pub polls: u64 => counter("lcore_queue_group_polls_total"),
        /// Polls that appended at least one event.
        pub busy_polls: u64 => counter("lcore_queue_group_busy_polls_total"),
        /// Events delivered.
        pub events: u64 => counter("lcore_queue_group_events_total"),
        /// Messages sent that were done without an error.
        pub sends: u64 => counter("lcore_queue_group_sends_total"),
        /// Reads that were done without an error.
        pub reads: u64 => counter("lcore_queue_group_reads_total"),
        /// Writes that were done without an error.
        pub writes: u64 => counter("lcore_queue_group_writes_total"),
        /// Messages and tellings of writes received.
        pub receives: u64 => counter("lcore_queue_group_receives_total"),
        /// Bytes sent and written, and bytes that were read.
        pub bytes_out: u64 => counter("lcore_queue_group_sent_bytes_total"),
        /// Bytes of messages received.
        pub bytes_in: u64 => counter("lcore_queue_group_received_bytes_total"),
        /// Operations that failed or were flushed.
        pub errors: u64 => counter("lcore_queue_group_errors_total"),
        /// Times that the group had fewer receive buffers than it was made for, because all others
        /// were out.
        pub buffer_waits: u64 => counter("lcore_queue_group_buffer_waits_total"),
        /// Receive buffers that were lost with queues whose peers died in the middle of a message,
        /// and were posted anew.
        pub receives_lost: u64 => counter("lcore_queue_group_receives_lost_total"),
        /// Receive buffers in which a message has begun and not ended, now. More than there are
        /// queues: some of them are lost, and are found as soon as each queue that stands has
        /// received something, or has ended.
        pub receives_out: u64 => gauge("lcore_queue_group_receives_out"),
    }
}
