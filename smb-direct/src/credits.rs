//! The credits of one end: what it may send, and what it lets the peer send.

use crate::{Ended, Settings};

/// The credits of one end.
///
/// A receive buffer goes round: asked for, posted, granted, used by a message of the peer's, held
/// by the application until it gives it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credits {
    /// Messages that may be sent (Connection.SendCredits).
    send: u32,
    /// The most receives for the peer (Connection.ReceiveCreditMax).
    most: u16,
    /// How many it would like to have (Connection.ReceiveCreditTarget).
    target: u16,
    /// To be posted by the transport.
    asked: u16,
    /// Posted and not granted yet.
    posted: u16,
    /// Granted and not used yet.
    granted: u16,
    /// Used, and not given back by the application.
    held: u16,
}

impl Credits {
    pub(crate) fn new(most: u16) -> Self {
        Self { send: 0, most, target: 0, asked: 0, posted: 0, granted: 0, held: 0 }
    }

    /// The peer asks for `wanted` credits in all.
    pub(crate) fn aim_at(&mut self, wanted: u16) {
        self.target = wanted.max(Settings::LEAST_CREDITS).min(self.most);
    }

    /// Receives that the transport should post now; they count as asked for from here on.
    //= MS-SMBD 3.1.5.9
    pub(crate) fn ask(&mut self) -> Option<u16> {
        let there = u32::from(self.asked) + u32::from(self.posted) + u32::from(self.granted) + u32::from(self.held);
        let more = u32::from(self.target).checked_sub(there).filter(|more| *more > 0)? as u16;
        self.asked += more;
        Some(more)
    }

    /// The transport has posted some of what was asked for.
    pub(crate) fn post(&mut self, count: u16) {
        let count = count.min(self.asked);
        self.asked -= count;
        self.posted += count;
    }

    /// The application has given some back.
    pub(crate) fn free(&mut self, count: u16) {
        self.held -= count.min(self.held);
    }

    /// A message has come.
    //= MS-SMBD 3.1.5.8
    pub(crate) fn receive(&mut self) -> Result<(), Ended> {
        self.granted = self.granted.checked_sub(1).ok_or(Ended::Credit)?;
        self.held += 1;
        Ok(())
    }

    /// The peer grants more.
    pub(crate) fn earn(&mut self, count: u16) {
        self.send = self.send.saturating_add(count.into());
    }

    /// Spends a credit on a message, which grants what comes back; `None` if it has to wait.
    //= MS-SMBD 3.1.5.1
    pub(crate) fn spend(&mut self) -> Option<u16> {
        if !self.can_spend() {
            return None;
        }
        self.send -= 1;
        Some(self.grant())
    }

    /// The last credit is spent only on what grants some.
    //= MS-SMBD 3.1.5.1
    pub(crate) fn can_spend(&self) -> bool {
        self.send > 1 || (self.send == 1 && self.posted > 0)
    }

    /// Grants all that is posted.
    pub(crate) fn grant(&mut self) -> u16 {
        let granted = core::mem::take(&mut self.posted);
        self.granted += granted;
        granted
    }

    /// Whether the peer should be granted credits now, though there is nothing else to tell it: it
    /// is about to run out, or half of all are to be had.
    //= MS-SMBD 3.1.5.9
    pub(crate) fn grant_is_due(&self) -> bool {
        self.posted > 0 && (self.granted <= 1 || self.posted >= self.target / 2)
    }

    pub(crate) fn sendable(&self) -> u32 {
        self.send
    }

    pub(crate) fn granted(&self) -> u16 {
        self.granted
    }

    pub(crate) fn posted(&self) -> u16 {
        self.posted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_due_with_half_of_all_or_when_the_peer_is_about_to_run_out() {
        let due = |posted, granted| Credits { target: 10, posted, granted, ..Credits::new(10) }.grant_is_due();
        assert!(due(5, 5) && !due(4, 6), "half");
        assert!(due(1, 1) && due(1, 0) && !due(1, 2), "the last one");
        assert!(!due(0, 0), "there is nothing to grant");
    }
}
