//! The parts that the engine is made of, one by one and at their bounds: limits, supply, frames and
//! slots.

use core_reactor::Refused;
use core_reactor::net::{Frame, GroupConfig, GroupStats, NetError, NetEvent, SockId, Token};
use net_group::slab::{LISTS, REFUSED, STALLED};
use net_group::{Frames, Limits, SPARING, Slab, SlotState, Supply};
use pool::{Buf, BufGroup};

/// Says of a socket that its system takes nothing.
const BLOCKED: u32 = 1;
/// Buffers of a [`Parts`].
const BUFS: usize = 64;
/// The default stall limit, nanoseconds.
const LIMIT: u64 = 2_000_000_000;

struct Parts {
    bufs: BufGroup,
    limits: Limits,
    supply: Supply,
    slab: Slab<u8>,
    frames: Frames,
    stats: GroupStats,
}

impl Parts {
    fn new(change: impl FnOnce(&mut GroupConfig)) -> Self {
        let bufs = BufGroup::new(BUFS, 8);
        let mut config = GroupConfig::new(bufs.clone());
        config.sockets = 4;
        change(&mut config);
        let (limits, supply) = (Limits::new(&config), Supply::new(&config));
        Self { bufs, limits, supply, slab: Slab::new(config.sockets, 7), frames: Frames::new(4), stats: GroupStats::default() }
    }

    /// A socket that its system takes nothing of, with so many buffers to be sent, one in each
    /// frame.
    fn blocked(&mut self, bufs: usize) -> usize {
        let place = self.slab.put(Box::new(0), 5, Token(9), BLOCKED).expect("there is room");
        (0..bufs).for_each(|_| self.push(place, b"four"));
        place
    }

    fn buf(&self, bytes: &[u8]) -> Buf {
        let mut buf = self.bufs.get().expect("one is left");
        buf.append(bytes);
        buf
    }

    fn push(&mut self, place: usize, bytes: &[u8]) {
        let buf = self.buf(bytes);
        self.frames.push(self.slab.state_mut(place), buf.into());
    }

    fn written(&mut self, place: usize, n: usize) {
        let id = self.slab.state_mut(place).id;
        self.frames.written(&self.limits, self.slab.state_mut(place), id, n);
    }

    fn look(&mut self, lying: usize) -> (bool, bool) {
        let new = self.supply.look(lying, &mut self.limits, &mut self.stats);
        (new, self.supply.is_low())
    }

    fn hold_reads(&mut self, place: usize) -> bool {
        self.limits.hold_reads(self.slab.state_mut(place))
    }

    /// Who is to be ended at a time, and the error.
    fn stalled(&mut self, now: u64) -> Vec<(SockId, NetError)> {
        self.look(0);
        self.supply.stalled(&mut self.slab, &self.frames, BLOCKED, now)
    }

    fn next_report(&mut self) -> Option<NetEvent> {
        self.frames.next_report(&self.limits, &mut self.slab).map(|(event, _)| event)
    }

    /// Has a send refused.
    fn refuse(&mut self, place: usize) -> NetError {
        let frame = Frame::from(self.buf(b"late"));
        let state = self.slab.state_mut(place);
        assert!(self.limits.refuse_sends(state));
        let Refused { item, why } = self.limits.refused(state, frame);
        assert_eq!(item.bytes(), 4, "it comes back");
        why
    }
}

#[test]
fn s73_buffers_are_low_under_half_until_five_eighths_are_left() {
    let mut parts = Parts::new(|_| {});
    let mut out: Vec<Buf> = (0..BUFS / 2).filter_map(|_| parts.bufs.get()).collect();
    assert!(!parts.supply.may_be_low(0));
    assert_eq!(parts.look(0), (false, false), "half is not under half");
    out.extend(parts.bufs.get());
    // What lies with the system, empty, counts as left.
    assert_eq!((parts.supply.may_be_low(0), parts.supply.may_be_low(1)), (true, false));
    assert_eq!(parts.look(1), (false, false));
    assert_eq!((parts.look(0), parts.look(0), parts.stats.buffers_low), ((true, true), (false, true), 1));
    out.truncate(BUFS * 3 / 8 + 1);
    assert_eq!((parts.look(0), parts.supply.may_be_low(0)), ((false, true), true), "until it was looked");
    out.pop();
    assert_eq!((parts.look(0), parts.supply.may_be_low(0)), ((false, false), false));
    out.extend((0..9).filter_map(|_| parts.bufs.get()));
    assert_eq!((parts.look(0), parts.stats.buffers_low), ((true, true), 2));
}

#[test]
fn s73_a_single_buffer_is_low_when_it_is_out() {
    let bufs = BufGroup::new(1, 8);
    let (mut limits, mut supply) = (Limits::new(&GroupConfig::new(bufs.clone())), Supply::new(&GroupConfig::new(bufs.clone())));
    let mut look = || supply.look(0, &mut limits, &mut GroupStats::default());
    assert!(!look());
    let _out = bufs.get();
    assert!(look());
}

#[test]
fn s73_while_buffers_are_low_only_who_holds_nothing_is_read_and_a_little_at_a_time() {
    let mut parts = Parts::new(|config| config.send_frames = 24);
    let place = parts.blocked(1);
    let calm = parts.limits.turn();
    assert_eq!((calm, parts.limits.plain_turn(), parts.limits.answers_first(), parts.hold_reads(place)), (12, 12, false, false));
    assert_eq!((parts.limits.at_once(SPARING + 1), parts.limits.at_once(5)), (SPARING + 1, 5));
    let out: Vec<_> = (0..40).filter_map(|_| parts.bufs.get()).collect();
    assert!(parts.look(0).1);
    assert_eq!((parts.limits.turn(), parts.limits.plain_turn(), parts.limits.answers_first(), parts.hold_reads(place)), (1, 0, true, true));
    assert_eq!((parts.limits.at_once(SPARING + 1), parts.limits.at_once(5)), (SPARING, 5));
    parts.written(place, 4);
    assert!(!parts.hold_reads(place));
    drop(out);
    assert!(!parts.look(0).1);
    assert_eq!((parts.limits.turn(), parts.limits.plain_turn(), parts.limits.answers_first()), (calm, calm, false));
}

#[test]
fn s73_a_group_that_never_holds_reads_reads_on_while_buffers_are_low() {
    let mut parts = Parts::new(|config| config.hold_reads_at = usize::MAX);
    let place = parts.blocked(40);
    let calm = parts.limits.turn();
    assert_eq!(parts.look(0), (true, true));
    assert_eq!((parts.limits.turn(), parts.limits.answers_first(), parts.hold_reads(place)), (calm, false, false));
}

#[test]
fn s74_nobody_is_ended_before_buffers_are_short_or_without_a_limit() {
    for (bufs, limit, ends) in [(56, Some(LIMIT), false), (57, Some(LIMIT), true), (57, None, false)] {
        let mut parts = Parts::new(|config| config.stall_limit = limit.map(std::time::Duration::from_nanos));
        parts.blocked(bufs);
        let ended: Vec<_> = [0, LIMIT / 4, LIMIT].into_iter().map(|now| parts.stalled(now).len()).collect();
        assert_eq!(ended, [0, 0, usize::from(ends)], "{bufs} buffers, {limit:?}");
        assert_eq!(parts.supply.ends_stalled(), ends);
    }
    // Once short, until a quarter is left.
    let mut parts = Parts::new(|_| {});
    let place = parts.blocked(57);
    let short: Vec<_> = [0, 8, 1].map(|sent| (parts.written(place, 4 * sent), parts.look(0), parts.supply.ends_stalled()).2).into();
    assert_eq!(short, [true, true, false]);
}

#[test]
fn s74_the_longest_stalled_are_ended_first_and_no_more_than_are_needed() {
    let mut parts = Parts::new(|_| {});
    let mut out: Vec<_> = (0..48).filter_map(|_| parts.bufs.get()).collect();
    let [last, first, other] = [3, 4, 4].map(|bufs| parts.blocked(bufs));
    let id = |parts: &mut Parts, place: usize| parts.slab.state_mut(place).id;
    let (first_id, other_id) = (id(&mut parts, first), id(&mut parts, other));
    parts.slab.state_mut(last).flags = 0;
    assert_eq!(parts.stalled(1_000), []);
    // Looks are a quarter of the limit apart; from here on the last one is blocked, too.
    parts.slab.state_mut(last).flags = BLOCKED;
    assert_eq!(parts.stalled(1_000 + LIMIT / 4 - 1), []);
    assert!(!parts.slab.state_mut(last).is(STALLED) && parts.slab.state_mut(first).is(STALLED));
    assert_eq!(parts.stalled(1_000 + LIMIT / 4), []);
    assert!(parts.slab.state_mut(last).is(STALLED));
    // 5 are free, 16 are a quarter: 11 are wanted, which these have with those of the last.
    assert_eq!(parts.stalled(1_000 + LIMIT - 1), []);
    let error = |for_ms| NetError::Stalled { queued: 16, for_ms, free: 5, of: BUFS };
    let both = [(first_id, error(2_499)), (other_id, error(2_499))];
    assert_eq!(parts.stalled(1_000 + LIMIT + LIMIT / 4 - 1), both, "the last has not been stalled for so long");
    let ended = parts.stalled(1_000 + 2 * LIMIT);
    assert_eq!(ended.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [first_id, other_id, id(&mut parts, last)]);
    // With 8 free there are 8 wanted, and the last is spared.
    out.truncate(45);
    let ended = parts.stalled(1_000 + 3 * LIMIT);
    assert_eq!(ended.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [first_id, other_id]);
}

#[test]
fn s74_who_takes_something_is_not_stalled_from_then_on() {
    let mut parts = Parts::new(|_| {});
    let place = parts.blocked(60);
    assert_eq!(parts.stalled(0), []);
    parts.written(place, 0);
    assert!(parts.slab.state_mut(place).is(STALLED), "nothing was taken");
    parts.written(place, 1);
    assert!(!parts.slab.state_mut(place).is(STALLED));
    assert_eq!((parts.stalled(LIMIT), parts.stalled(2 * LIMIT).len()), (vec![], 1));
    // Nor who has nothing to be sent, can send, or is on the way out.
    let looks = |parts: &mut Parts, from: u64| [from, from + LIMIT].map(|now| parts.stalled(now).len());
    parts.slab.state_mut(place).flags &= !BLOCKED;
    assert_eq!(looks(&mut parts, 4 * LIMIT), [0, 0]);
    assert!(!parts.slab.state_mut(place).is(STALLED));
    parts.slab.state_mut(place).flags |= BLOCKED;
    parts.slab.retire(place);
    assert_eq!(looks(&mut parts, 8 * LIMIT), [0, 0]);
    let mut parts = Parts::new(|_| {});
    let _out: Vec<_> = (0..60).filter_map(|_| parts.bufs.get()).collect();
    parts.blocked(0);
    assert_eq!(looks(&mut parts, 0), [0, 0]);
}

#[test]
fn s71_who_was_refused_hears_once_that_half_of_its_room_is_back() {
    // Bytes and frames that are queued at the refusal, and left when there is room again.
    for (send_limit, send_frames, frames, left) in [(32, 64, 8, 4), (1000, 8, 8, 4), (33, 64, 9, 4), (1000, 7, 7, 3)] {
        let mut parts = Parts::new(|config| (config.send_limit, config.send_frames) = (send_limit, send_frames));
        let place = parts.blocked(frames);
        let why = parts.refuse(place);
        assert_eq!(why, NetError::SendLimit { queued: 4 * frames, limit: send_limit, frames, limit_frames: send_frames });
        let bytes = 4 * (frames - left);
        parts.written(place, bytes - 1);
        assert!(parts.slab.state_mut(place).is(REFUSED) && !parts.frames.has_reports(), "{send_limit} {send_frames}");
        parts.written(place, 1);
        let id = parts.slab.state_mut(place).id;
        assert!(matches!(parts.next_report(), Some(NetEvent::Writable { id: of, token: Token(9) }) if of == id));
        assert!(!parts.slab.state_mut(place).is(REFUSED));
        parts.written(place, 1);
        assert!(parts.next_report().is_none(), "once");
    }
}

#[test]
fn s71_what_was_sent_with_a_tag_takes_its_place_until_it_is_told() {
    let mut parts = Parts::new(|config| config.send_frames = 2);
    let place = parts.blocked(0);
    for tag in [1, 2] {
        let frame = Frame::from(parts.buf(b"four")).tagged(tag);
        parts.frames.push(parts.slab.state_mut(place), frame);
    }
    parts.refuse(place);
    parts.written(place, 8);
    assert_eq!(parts.slab.state_mut(place).frames, 2);
    let told: Vec<_> = std::iter::from_fn(|| parts.next_report()).collect();
    assert!(matches!(&told[..], [NetEvent::Sent { .. }, NetEvent::Sent { .. }, NetEvent::Writable { .. }]), "{}", told.len());
    assert_eq!(parts.slab.state_mut(place).frames, 0);
}

#[test]
fn a_socket_that_is_gone_is_not_told_that_it_has_room() {
    for detached in [true, false] {
        let mut parts = Parts::new(|config| config.send_frames = 2);
        let place = parts.blocked(2);
        parts.refuse(place);
        parts.written(place, 8);
        if detached {
            parts.slab.retire(place);
        }
        assert_eq!((parts.frames.has_reports(), parts.next_report().is_some()), (true, !detached));
        assert!(!parts.frames.has_reports());
    }
}

#[test]
fn an_only_buffer_that_is_not_empty_is_found_without_a_walk() {
    let mut parts = Parts::new(|_| {});
    let single = |parts: &mut Parts, place: usize| parts.slab.state_mut(place).queue.single().map(<[u8]>::to_vec);
    let [one, empty, two] = [1, 0, 2].map(|bufs| parts.blocked(bufs));
    parts.push(empty, b"");
    assert_eq!([one, empty, two].map(|place| single(&mut parts, place)), [Some(b"four".to_vec()), None, None]);
    assert!(!parts.slab.state_mut(empty).queue.is_empty());
}

fn flags(state: &SlotState) -> (u32, u32) {
    (state.flags & LISTS, state.flags & !LISTS)
}

#[test]
fn what_lists_a_slot_is_in_outlives_its_socket_and_all_else_does_not() {
    let mut slab = Slab::new(2, 7);
    let list = 1 << 24;
    let generation = slab.state_mut(0).generation();
    assert!(slab.state_mut_of(0, generation).is_none(), "it is empty");
    let place = slab.put(Box::new(1_u8), 5, Token(1), BLOCKED).expect("there is room");
    let id = slab.state_mut(place).id;
    assert_eq!((id.index(), id.generation(), slab.state_mut(place).generation()), (0, 1, 1));
    assert_eq!([slab.state_mut(place).enlist(list), slab.state_mut(place).enlist(list)], [true, false]);
    slab.state_mut(place).flags |= REFUSED | STALLED;
    assert_eq!(slab.socket_mut(place).map(|socket| std::mem::replace(socket, 2)), Some(1));
    slab.state_mut(place).queued = 11;
    assert_eq!((slab.queued(), slab.sockets()), (11, 1));
    slab.retire(place);
    assert_eq!((slab.find(id), flags(slab.state_mut(place))), (None, (list, BLOCKED)), "its own flags stay while it does");
    assert!(slab.state_mut_of(place, 1).is_some());
    assert_eq!(slab.take(place).as_deref(), Some(&2));
    assert_eq!((flags(slab.state_mut(place)), slab.queued(), slab.state_mut(place).generation()), ((list, 0), 0, 2));
    assert_eq!(slab.put(Box::new(3), 5, Token(1), BLOCKED).ok(), Some(place));
    assert_eq!(flags(slab.state_mut(place)), (list, BLOCKED));
    assert!(!slab.state_mut(place).enlist(list), "it is in the list still");
}
