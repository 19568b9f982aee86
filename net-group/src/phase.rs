//! The life of a socket in a group: its phases, and what holds up its reading.
//!
//! ```text
//!   attach ─ 1 ─► Listening
//!          ─ 1 ─► Connecting ─ 2 ─► Open ─ 3 ─► PeerDone ─ 4 ─► Ending
//!                           └─ 2 ─► Finishing ◄─ 5 ─ Open          ▲
//!                                      └─────────── 6 ─────────────┘
//!   Open, Finishing ─ 7 ─► Broken
//!   any ─ 8 ─► gone             any ─ 9 ─► Leaving ─ 10 ─► gone
//! ```
//!
//! | | from | to | when | who does it |
//! |---|---|---|---|---|
//! | 1 | | Listening, Connecting, Open, Finishing, Broken | it is attached, as [`Opened`](crate::Opened) says | `Group::attach_own` |
//! | 2 | Connecting | Open; Finishing if FIN was asked for | the backend says that it is connected | `Group::connected` |
//! | 3 | Open | PeerDone | the peer's end was delivered | `Group::peer_closed` |
//! | 4 | PeerDone | Ending | FIN is asked for | `Group::end_sending` |
//! | 5 | Open | Finishing | FIN is asked for; it goes out behind the queue | `Group::end_sending` |
//! | 6 | Finishing | Ending | the peer's end was delivered, and FIN is still behind the queue | `Group::peer_closed` |
//! | 7 | Open, Finishing | Broken | a send failed; what had been received is read first | `Group::send_failed` |
//! | 8 | any but Leaving | gone | the backend gives it back at once | `Group::end`, `Group::detach_own` |
//! | 9 | any but Leaving | Leaving | the system holds something of it | the same |
//! | 10 | Leaving | gone | the backend gives it back | `Group::released` |
//!
//! 8 or 9 come by `close`, `abort`, `detach`, a time limit, and by themselves: from Finishing with
//! FIN out at the peer's end, from Ending when FIN is out, from PeerDone and Ending when a send
//! fails or the connection is over, from Broken when nothing is left to be read, and from any on an
//! error. `gone` is where the slot is free and, unless it was detached, `Closed` told.

use crate::backend::Slot;
use crate::slab::{LISTS, REFUSED, STALLED, SlotState};

/// Where in its life a socket is. One bit each, so that one comparison asks for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Phase {
    /// It takes connections.
    Listening = 1,
    /// It is to be connected. Nothing is sent yet.
    Connecting = 1 << 1,
    /// Both ways are open.
    Open = 1 << 2,
    /// The peer's end was delivered; this side is open.
    PeerDone = 1 << 3,
    /// This side ends when its queue is out, or has ended ([`FIN_SENT`]); the peer's is open.
    Finishing = 1 << 4,
    /// The peer's end was delivered; this side ends when its queue is out.
    Ending = 1 << 5,
    /// A send failed. What had been received comes first, then the end.
    Broken = 1 << 6,
    /// Nothing more becomes of it but that the system gives back what it holds.
    Leaving = 1 << 7,
}

const PHASES: u32 = 0xFF;

/// A frame is taken for it.
pub(crate) const SENDS: u32 = Phase::Open as u32 | Phase::PeerDone as u32;
/// What is queued of it goes out.
pub(crate) const WRITES: u32 = SENDS | Phase::Finishing as u32 | Phase::Ending as u32;
/// Bytes may come of it.
pub(crate) const RECEIVES: u32 = Phase::Open as u32 | Phase::Finishing as u32 | Phase::Broken as u32;
/// The peer's end was delivered.
pub(crate) const PEER_IS_DONE: u32 = Phase::PeerDone as u32 | Phase::Ending as u32;

/// Holds: reading waits while one of these is set. The application does not want to read.
pub(crate) const PAUSED: u32 = 1 << 8;
/// It holds too much that its peer does not take.
pub(crate) const FULL: u32 = 1 << 9;
const HOLDS: u32 = PAUSED | FULL;

/// The backend has told that there may be something to read, and it was not read to the end.
pub(crate) const READABLE: u32 = 1 << 10;
/// A short read does not mean that all was read.
pub(crate) const DRAIN: u32 = 1 << 11;
/// The backend has told that the connection is over.
pub(crate) const OVER: u32 = 1 << 12;
/// The system takes no more: the backend tells when it does.
pub(crate) const BLOCKED: u32 = 1 << 13;
/// FIN goes out behind the queue.
pub(crate) const FIN_WANTED: u32 = 1 << 14;
/// FIN is out.
pub(crate) const FIN_SENT: u32 = 1 << 15;
/// The backend wants to know when bytes were handed out.
pub(crate) const ACKNOWLEDGE: u32 = 1 << 16;
/// It was to be detached, and the application has it, or waits for it: no `Closed` is told.
pub(crate) const DETACHED: u32 = 1 << 17;
/// The system has the bytes that it was given last, where they lie, until the backend tells what
/// became of them.
pub(crate) const PENDING: u32 = 1 << 18;
/// Nothing can be sent now.
pub(crate) const STUCK: u32 = BLOCKED | PENDING;

/// Lists of the group that a slot can be in. In the list of those to be served.
pub(crate) const IN_READY: u32 = 1 << 24;
/// In the list of those with frames to write.
pub(crate) const IN_DIRTY: u32 = 1 << 25;
/// In the list of those that wait for a buffer.
pub(crate) const IN_STARVING: u32 = 1 << 26;
/// In the list of listeners that wait for a descriptor.
pub(crate) const IN_NO_DESCRIPTOR: u32 = 1 << 27;

const _: () = assert!((IN_READY | IN_DIRTY | IN_STARVING | IN_NO_DESCRIPTOR) & !LISTS == 0);
const _: () = assert!(PENDING < STALLED && STALLED < REFUSED);

impl SlotState {
    /// An open connection of which nothing else is to be said, and which has nothing to send: all
    /// that an echo meets.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.flags == Phase::Open as u32 && self.frames == 0
    }

    /// Whether it is in this phase.
    #[inline]
    pub(crate) fn is_in(&self, phase: Phase) -> bool {
        self.flags & PHASES == phase as u32
    }

    /// Whether there is a socket in this slot that is not leaving.
    pub(crate) fn is_here(&self) -> bool {
        self.flags & PHASES & !(Phase::Leaving as u32) != 0
    }

    /// The next phase: see the table at the top.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.flags = self.flags & !PHASES | phase as u32;
    }

    /// Whether bytes, connections or the news of a connect are taken from it now. The one place
    /// that knows.
    #[inline]
    pub(crate) fn wants_reading(&self) -> bool {
        match self.flags & HOLDS {
            0 => true,
            // A connect is brought to its end whatever the application holds up.
            _ => self.is_in(Phase::Connecting),
        }
    }

    /// What is left of a socket that is leaving: no hold, mark or wish matters any more, but that
    /// the system has bytes.
    pub(crate) fn enter_leaving(&mut self, detached: bool) {
        self.flags = self.flags & (LISTS | PENDING) | Phase::Leaving as u32 | if detached { DETACHED } else { 0 };
    }

    /// What its backend calls it by.
    #[inline]
    pub(crate) fn slot(&self) -> Slot {
        Slot::new(self.id, self.fd)
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use core_reactor::net::Token;

    use super::*;
    use crate::Slab;

    #[test]
    fn an_open_connection_is_plain_while_nothing_waits_on_it() {
        let mut slab = Slab::<()>::new(1, 7);
        let place = slab.put(Box::new(()), 5, Token(0), 0).unwrap_or_else(|_| unreachable!("it is the first"));
        let state = slab.state_mut(place);
        state.enter(Phase::Open);
        assert!(state.is_plain());
        state.frames = 1;
        assert!(!state.is_plain());
        state.frames = 0;
        state.flags |= PAUSED;
        assert!(!state.is_plain());
        state.flags &= !PAUSED;
        state.enter(Phase::PeerDone);
        assert!(!state.is_plain());
    }
}
