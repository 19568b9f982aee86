//! Statements 26, 28 and 42: groups that share a pool of buffers, and sizes of groups that cannot
//! work.

use std::io::{Read, Write};

use core_reactor::net::{Frame, GroupConfig, NetError, NetEvent, Token};
use core_reactor::{CpuSet, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::{Buf, BufGroup, Class, ClassConfig, DataPool, DataPoolConfig, ReserveConfig};

use super::driver::Setup;
use super::limits::need_descriptors;
use super::{Driver, Env, Peer};
use crate::platform::CORE;

const RESERVE: usize = 32;
const SHARED: usize = 64;
const SIZE: usize = 4096;

/// Somebody else has borrowed every shared buffer and keeps it; 500 connections of this group are
/// echoed out of its reserve of 32.
pub fn s26_a_group_echoes_from_its_reserve_while_another_holds_all_that_is_shared(env: &Env) {
    const SOCKETS: usize = 500;
    const ROUNDS: u8 = 4;
    need_descriptors(2 * SOCKETS as u64 + 100);
    let pool = shared_pool();
    let (greedy, mine) = (group(&pool), group(&pool));
    let held = take_all(&greedy);
    assert_eq!(held.len(), RESERVE + SHARED, "nothing shared is left");
    let setup = Setup { sockets: SOCKETS + 1, room: 256, bufs: RESERVE, ..Setup::default() };
    let mut driver = Driver::over(env, setup, mine);
    let (_, at) = driver.listen();
    let mut peers: Vec<_> = (0..SOCKETS).map(|n| driver.accept_from(at, Token(n as u64)).1).collect();
    for round in 0..ROUNDS {
        for (n, peer) in peers.iter_mut().enumerate() {
            peer.write_all(&message(n, round)).expect("sent");
        }
        let mut echoed = 0;
        driver.until("all echoes", |driver| {
            echoed += echo(driver);
            echoed == SOCKETS * message(0, 0).len()
        });
        // What the last events asked to send goes out with one more poll.
        driver.turns(1);
        for (n, peer) in peers.iter_mut().enumerate() {
            assert_eq!(receive(peer), message(n, round), "connection {n}");
        }
    }
    assert_eq!(pool.stats(Class::Small).free, 0, "and all the time the other had everything");
    drop(driver);
    drop(held);
}

/// A group that could hold nothing, send nothing or receive nothing is an error with the field and
/// the numbers, and nothing of it is left.
pub fn s42_sizes_that_cannot_work_are_refused_with_the_numbers(env: &Env) {
    let good = || GroupConfig::new(BufGroup::new(16, 4096));
    let none = ClassConfig { count: 0, size: 0 };
    let large = ClassConfig { count: 4, size: 4096 };
    let of_large = DataPool::on_heap(DataPoolConfig::DEFAULT.small(none).large(large).control(none).waiters(4)).expect("memory");
    let taken = DataPool::on_heap(DataPoolConfig::DEFAULT.small(large).large(none).control(none).waiters(4)).expect("memory");
    let _all = taken.group(ReserveConfig { small: 4, large: 0, control: 0 }).expect("nobody else has any");
    let share = |pool: &DataPool| pool.group(ReserveConfig { small: 0, large: 0, control: 0 }).expect("nothing is asked for");
    let refused = [
        (good().sockets(0), "GroupConfig::sockets", "0 is not between 1 and 16777215"),
        (good().sockets(1 << 24), "GroupConfig::sockets", "16777216 is not between"),
        (good().sockets(usize::MAX), "GroupConfig::sockets", "is not between"),
        (good().send_limit(0), "GroupConfig::send_limit", "at 0"),
        (good().send_frames(0), "GroupConfig::send_frames", "at 0"),
        (GroupConfig::new(share(&of_large)), "GroupConfig::bufs", "its pool has 0"),
        (GroupConfig::new(share(&taken)), "GroupConfig::bufs", "its pool has 4, 4 of them reserved"),
    ];
    let lib = ThreadLib::new(env.platform.clone(), CpuSet::of(CORE), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("refused"), CORE).expect("the platform has this core");
    for (config, field, says) in refused {
        match thread.with(|cx| env.backend.group(cx, config)) {
            Err(NetError::Option { option, why }) => assert!(option == field && why.contains(says), "{option}: {why}"),
            Err(other) => panic!("{field}: {other}"),
            Ok(_) => panic!("{field}: it was taken"),
        }
    }
    thread.handle().exit();
    let _ = thread.turn(env.platform.now());
    assert!(thread.is_exited(), "nothing of them holds the thread");
}

/// All buffers of the pool are out, on this core and another; the other core's come back, and what
/// the peer had sent arrives.
pub fn s28_a_group_that_waits_is_served_when_another_core_gives_back(env: &Env) {
    let pool = shared_pool();
    let (greedy, mine) = (group(&pool), group(&pool));
    let held: Vec<_> = take_all(&greedy).into_iter().map(Buf::into_send).collect();
    let mut driver = Driver::over(env, Setup { bufs: RESERVE + SHARED, ..Setup::default() }, mine);
    let own = driver.take_buffers();
    assert_eq!(own.len(), RESERVE);
    let (id, mut far) = driver.pair(Token(1));
    far.write_all(b"is anybody there?").expect("sent");
    driver.until("a wait for a buffer", |driver| driver.group().stats().buffer_waits > 0);
    assert!(driver.seen().next().is_none(), "nothing is read without a buffer");
    let other = std::thread::spawn(move || drop(held));
    assert_eq!(driver.receive(id, 17), b"is anybody there?");
    other.join().expect("it only drops");
    drop(own);
}

/// A pool for two groups, of which [`SHARED`] buffers are nobody's.
fn shared_pool() -> DataPool {
    let none = ClassConfig { count: 0, size: SIZE };
    let small = ClassConfig { count: 2 * RESERVE + SHARED, size: SIZE };
    DataPool::on_heap(DataPoolConfig::default().small(small).large(none).control(none)).expect("memory for a pool")
}

fn group(pool: &DataPool) -> BufGroup {
    pool.group(ReserveConfig { small: RESERVE, large: 0, control: 0 }).expect("a reserve")
}

fn take_all(group: &BufGroup) -> Vec<Buf> {
    std::iter::from_fn(|| group.get()).collect()
}

fn message(n: usize, round: u8) -> [u8; 64] {
    std::array::from_fn(|at| (n as u8).wrapping_mul(31) ^ round.wrapping_mul(101) ^ at as u8)
}

/// Sends back what has come; how many bytes that was.
fn echo(driver: &mut Driver) -> usize {
    let mut bytes = 0;
    while let Some(event) = driver.next_seen() {
        let NetEvent::Received { id, buf, .. } = event else { panic!("only bytes, not {}", super::driver::name(&event)) };
        bytes += buf.len();
        driver.send_frame(id, Frame::from(buf));
    }
    bytes
}

fn receive(peer: &mut Peer) -> [u8; 64] {
    let mut back = [0; 64];
    peer.read_exact(&mut back).expect("the echo");
    back
}
