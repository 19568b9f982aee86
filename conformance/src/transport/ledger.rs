//! The account of a group: what it owes, and what may still happen.

use std::collections::{HashMap, HashSet, VecDeque};

use core_reactor::transport::{ExposedKey, Op, QueueEvent, QueueId, Token};

/// What holds for every queue, checked at each event.
#[derive(Default)]
pub(super) struct Ledger {
    queues: HashMap<QueueId, Account>,
}

#[derive(Default)]
struct Account {
    token: Token,
    established: bool,
    closed: bool,
    /// Kind, tag and number of buffers of what has not come back.
    posted: VecDeque<(Op, u64, usize)>,
    exposed: HashSet<ExposedKey>,
    /// An operation has failed.
    failed: bool,
}

impl Ledger {
    pub(super) fn open(&mut self, id: QueueId, token: Token) {
        let before = self.queues.insert(id, Account { token, ..Account::default() });
        assert!(before.is_none(), "{id:?} is a key that was used before");
    }

    pub(super) fn posted(&mut self, id: QueueId, op: Op, tag: u64, bufs: usize) {
        let account = self.account(id);
        assert!(account.established && !account.closed, "{op:?} was taken outside of a connection");
        account.posted.push_back((op, tag, bufs));
    }

    pub(super) fn exposed(&mut self, id: QueueId, key: ExposedKey) {
        assert!(self.account(id).exposed.insert(key), "{key:?} is exposed twice");
    }

    pub(super) fn outstanding(&self, id: QueueId) -> usize {
        self.queues.get(&id).map_or(0, |account| account.posted.len())
    }

    fn account(&mut self, id: QueueId) -> &mut Account {
        self.queues.get_mut(&id).unwrap_or_else(|| panic!("{id:?} is not a key of this group"))
    }

    pub(super) fn enter(&mut self, event: &QueueEvent) {
        let (id, token) = whose(event);
        let what = name(event);
        let account = self.account(id);
        assert!(!account.closed, "{what} after Closed");
        assert_eq!(account.token, token, "{what} with another's token");
        match event {
            QueueEvent::Established { .. } => assert!(!std::mem::replace(&mut account.established, true), "{what} for the second time"),
            QueueEvent::Received { .. } | QueueEvent::Written { .. } => assert!(account.established, "{what} before Established"),
            QueueEvent::Done { tag, op, frame, error, .. } => {
                let posted = account.posted.pop_front();
                assert_eq!(posted, Some((*op, *tag, frame.parts().len())), "{what} is not the oldest that was posted");
                assert!(error.is_some() || !account.failed, "{what} succeeded behind one that failed");
                account.failed |= error.is_some();
            }
            QueueEvent::Withdrawn { key, .. } => assert!(account.exposed.remove(key), "{what} of a buffer that is not exposed"),
            QueueEvent::Closed { .. } => {
                assert!(account.posted.is_empty(), "{what} before these came back: {:?}", account.posted);
                assert!(account.exposed.is_empty(), "{what} before these came back: {:?}", account.exposed);
                account.closed = true;
            }
            _ => {}
        }
    }
}

/// Whose event it is.
pub(super) fn whose(event: &QueueEvent) -> (QueueId, Token) {
    match event {
        QueueEvent::Requested { id, token, .. }
        | QueueEvent::Established { id, token, .. }
        | QueueEvent::Received { id, token, .. }
        | QueueEvent::Written { id, token, .. }
        | QueueEvent::Done { id, token, .. }
        | QueueEvent::Withdrawn { id, token, .. }
        | QueueEvent::Closed { id, token, .. } => (*id, *token),
        _ => panic!("an event that this suite does not know"),
    }
}

/// An event for people.
pub(super) fn name(event: &QueueEvent) -> String {
    match event {
        QueueEvent::Requested { id, queue, .. } => format!("{id:?} Requested by {}", queue.peer_addr()),
        QueueEvent::Established { id, .. } => format!("{id:?} Established"),
        QueueEvent::Received { id, buf, imm, .. } => format!("{id:?} Received {} {imm:?}", buf.len()),
        QueueEvent::Written { id, imm, bytes, .. } => format!("{id:?} Written {bytes} {imm}"),
        QueueEvent::Done { id, tag, op, error, .. } => format!("{id:?} Done {op:?} {tag} {error:?}"),
        QueueEvent::Withdrawn { id, key, .. } => format!("{id:?} Withdrawn {key:?}"),
        QueueEvent::Closed { id, why, .. } => format!("{id:?} Closed {why:?}"),
        _ => "an event that this suite does not know".to_owned(),
    }
}
