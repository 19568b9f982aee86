//! What an application writes with the types of this crate: refusals and `?`, handles that are
//! compared, moments and sets in expressions, events that are looked at and printed.

use std::error::Error;
use std::time::Duration;

use core_reactor::net::{Events, Frame, NetError, NetEvent, SockId, Token};
use core_reactor::sim::Sim;
use core_reactor::transport::TransportError;
use core_reactor::{CoreId, CpuSet, EventList, Instant, PushError, Refused, ThreadConfig};
use pool::BufGroup;

#[test]
fn s150_a_question_mark_keeps_the_reason_of_a_refusal() {
    fn refused<E>(why: E) -> Result<(), Refused<&'static str, E>> {
        Err(Refused { item: "what was handed over", why })
    }
    fn net() -> Result<(), NetError> {
        Ok(refused(NetError::Stale)?)
    }
    fn transport() -> Result<(), TransportError> {
        Ok(refused(TransportError::Stale)?)
    }
    fn push() -> Result<(), PushError> {
        Ok(refused(PushError::Full)?)
    }
    fn start() -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(refused(NetError::Reset)?)
    }
    fn main() -> Result<(), Box<dyn Error>> {
        Ok(refused(PushError::Closed)?)
    }
    assert_eq!((net(), transport(), push()), (Err(NetError::Stale), Err(TransportError::Stale), Err(PushError::Full)));
    assert_eq!(start().unwrap_err().downcast_ref(), Some(&NetError::Reset));
    assert_eq!(main().unwrap_err().downcast_ref(), Some(&PushError::Closed));
}

#[test]
fn s151_handles_are_equal_where_they_reach_the_same_thread() {
    let (one, other) = (Sim::new(1), Sim::new(1));
    let spawn = |sim: &Sim| sim.lib().spawn(ThreadConfig::new("t"), |_| {}).expect("there is a reactor");
    let (first, second, elsewhere) = (spawn(&one), spawn(&one), spawn(&other));
    assert_eq!(first, one.lib().threads()[0]);
    assert_ne!(first, second);
    assert_eq!((first.id(), first.name()), (elsewhere.id(), elsewhere.name()));
    assert_ne!(first, elsewhere, "sets know nothing of each other");
}

#[test]
fn s152_moments_and_sets_of_cores_stand_in_expressions() {
    let (early, late) = (Instant::from_nanos(200), Instant::from_nanos(1_000));
    assert_eq!((late - early, early - late), (Duration::from_nanos(800), Duration::ZERO));
    let set = |cores: &[u16]| cores.iter().copied().map(CoreId).collect::<CpuSet>();
    let (a, b) = (set(&[0, 1, 2]), set(&[2, 3]));
    assert_eq!((a & b, a | b, a - b), (set(&[2]), set(&[0, 1, 2, 3]), set(&[0, 1])));
}

#[test]
fn s153_events_can_be_looked_at_where_they_are_and_say_whose_they_are() {
    let bufs = BufGroup::new(2, 64);
    let mut buf = bufs.get().expect("there are two");
    assert_eq!(buf.append(b"secret"), 6);
    let (id, other) = (SockId::new(3, 2, 1), SockId::new(4, 2, 1));
    let mut events = Events::new(4);
    events.append(NetEvent::Received { id, token: Token(7), buf });
    events.append(NetEvent::Sent { id: other, token: Token(8), frame: Frame::new(), written: 0, error: Some(NetError::Reset) });
    let whose: Vec<_> = events.iter().map(|event| (event.id(), event.token())).collect();
    assert_eq!(whose, [(id, Token(7)), (other, Token(8))]);
    assert_eq!((&events).into_iter().count(), events.len());
    let printed = format!("{events:?}");
    assert!(printed.contains("6 bytes") && printed.contains("SockId(1:3.2)") && printed.contains("Reset"), "{printed}");
    assert!(!printed.contains("secret"), "{printed}");
    assert_eq!(events.drain().count(), 2, "all are still there");
    assert!(format!("{:?}", EventList::<u8>::new(1)) == "[]");
}
