//! Statements 26, 27 and 29: the shared pool, the groups' reserves, and where buffers go.
#![cfg(not(loom))]

use std::thread;

use pool::{Buf, BufGroup, Class, ClassConfig, DATA_ALIGN, DataPool, DataPoolConfig, HeapMemory, PoolError, ReserveConfig};

/// Pages for buffers are dear in a test: small ones hold 64 bytes, large ones 8 KiB, control ones
/// 16 bytes.
fn config(small: usize, large: usize, control: usize) -> DataPoolConfig {
    DataPoolConfig::DEFAULT
        .small(ClassConfig { count: small, size: 64 })
        .large(ClassConfig { count: large, size: 8192 })
        .control(ClassConfig { count: control, size: 16 })
        .waiters(8)
}

fn data_pool(small: usize, large: usize, control: usize) -> DataPool {
    DataPool::on_heap(config(small, large, control)).unwrap()
}

fn reserve(small: usize, large: usize, control: usize) -> ReserveConfig {
    ReserveConfig { small, large, control }
}

fn all(group: &BufGroup, class: Class) -> Vec<Buf> {
    std::iter::from_fn(|| group.get_class(class)).collect()
}

#[test]
fn s26_the_classes_are_lent_apart_and_hold_what_was_asked_for() {
    let pool = data_pool(3, 2, 1);
    let group = pool.group(reserve(0, 0, 0)).unwrap();
    let out = Class::ALL.map(|class| all(&group, class));
    assert_eq!(out.each_ref().map(Vec::len), [3, 2, 1]);
    assert_eq!(out.each_ref().map(|bufs| bufs[0].spare_capacity()), [64, 8192, 16]);
    assert_eq!(Class::ALL.map(|class| group.size_of(class)), [64, 8192, 16]);
}

#[test]
fn s26_data_cannot_take_what_is_set_aside_for_control() {
    let pool = data_pool(4, 4, 2);
    let group = pool.group(reserve(1, 1, 1)).unwrap();
    let _data = (all(&group, Class::Small), all(&group, Class::Large));
    assert!(group.get().is_none());
    assert_eq!(all(&group, Class::Control).len(), 2);
}

#[test]
fn s26_a_group_makes_progress_whatever_the_others_do() {
    let pool = data_pool(10, 10, 0);
    let greedy = pool.group(reserve(2, 2, 0)).unwrap();
    let modest = pool.group(reserve(2, 2, 0)).unwrap();
    let _held = (all(&greedy, Class::Small), all(&greedy, Class::Large));
    assert_eq!(pool.stats(Class::Large).free, 0);
    assert_eq!((all(&modest, Class::Small).len(), all(&modest, Class::Large).len()), (2, 2));
}

#[test]
fn s26_reserves_that_cannot_be_filled_fail_with_the_numbers_and_take_nothing() {
    let pool = data_pool(10, 5, 3);
    let _first = pool.group(reserve(4, 2, 0)).unwrap();
    let refused = pool.group(reserve(6, 3, 4)).unwrap_err();
    assert_eq!(refused, PoolError::ReserveUnfilled { wanted: reserve(6, 3, 4), available: reserve(6, 3, 3) });
    assert!(refused.to_string().contains("6 small, 3 large and 4 control"), "{refused}");
    assert_eq!(Class::ALL.map(|class| (pool.stats(class).free, pool.stats(class).reserved)), [(6, 4), (3, 2), (3, 0)]);
    assert!(pool.group(reserve(6, 3, 3)).is_ok());
}

#[test]
fn a_group_tells_what_it_has_at_hand_could_have_now_and_could_have_at_the_most() {
    let pool = data_pool(10, 0, 0);
    let (group, other) = (pool.group(reserve(3, 0, 0)).unwrap(), pool.group(reserve(2, 0, 0)).unwrap());
    assert_eq!((group.buf_size(), pool.buf_size(Class::Small), pool.buf_size(Class::Large)), (64, 64, 8192));
    let of = |group: &BufGroup| (group.at_hand(Class::Small), group.available(Class::Small), group.capacity(Class::Small));
    assert_eq!((of(&group), of(&other)), ((3, 8, 8), (2, 7, 7)));
    let (own, mut out) = (group.get(), all(&other, Class::Small));
    assert_eq!((out.len(), of(&group), of(&other)), (7, (2, 2, 8), (0, 0, 7)));
    // What was borrowed goes back first; what comes home from another core is not at hand, and
    // still to be had.
    out.truncate(1);
    assert_eq!((of(&group), of(&other)), ((2, 7, 8), (1, 6, 7)));
    let sent = own.unwrap().into_send();
    thread::spawn(move || drop(sent)).join().unwrap();
    assert_eq!(of(&group), (2, 8, 8));
    // Nothing of the shared pool while somebody waits for it.
    let waiting = other.request(Class::Small, 7, 0, std::task::Waker::noop()).unwrap();
    assert_eq!((of(&group), of(&other)), ((2, 3, 8), (0, 1, 7)));
    drop(waiting);
    assert_eq!((of(&group), group.stats(Class::Small).high_water), ((2, 8, 8), 1));
}

#[test]
fn the_most_that_a_group_had_out_is_kept() {
    let group = BufGroup::new(4, 64);
    let most = |count: usize| {
        let out: Vec<_> = (0..count).map(|_| group.get().unwrap()).collect();
        drop(out);
        group.stats(Class::Small).high_water
    };
    assert_eq!([most(1), most(3), most(2), most(4), most(1)], [1, 3, 3, 4, 4]);
}

#[test]
fn s26_the_reserve_of_a_group_that_ends_returns() {
    let pool = data_pool(4, 0, 0);
    let group = pool.group(reserve(3, 0, 0)).unwrap();
    let (out, sent) = (group.get().unwrap(), group.get().unwrap().into_send());
    drop(group);
    assert_eq!(pool.stats(Class::Small).free, 1, "a buffer on its core keeps the group");
    drop(out);
    let stats = pool.stats(Class::Small);
    assert_eq!((stats.free, stats.reserved, stats.in_use), (3, 0, 1));
    thread::spawn(move || drop(sent)).join().unwrap();
    assert_eq!(pool.stats(Class::Small).free, 4);
}

#[test]
fn s26_the_footprint_is_fixed() {
    let config = config(3, 2, 1);
    assert_eq!(config.footprint(), 3 * 4096 + 2 * 8192 + 4096);
    let pool = DataPool::on_heap(config).unwrap();
    let groups: Vec<_> = (0..3).map(|_| pool.group(reserve(1, 0, 0)).unwrap()).collect();
    assert_eq!(pool.region().1, config.footprint());
    assert_eq!(groups.iter().map(|group| all(group, Class::Small).len()).sum::<usize>(), 3);
}

#[test]
fn s26_memory_that_does_not_fit_is_refused() {
    let memory = Box::new(HeapMemory::new(4096).unwrap());
    let refused = DataPool::new(config(2, 0, 0), memory).unwrap_err();
    assert_eq!(refused, PoolError::MemoryUnfit { wanted: 8192, given: 4096, align: DATA_ALIGN });
}

#[test]
fn s26_sizes_that_cannot_work_are_refused_with_the_numbers() {
    let none = ClassConfig { count: 0, size: 0 };
    let of = |small, control, waiters| {
        DataPool::on_heap(DataPoolConfig::DEFAULT.small(small).large(none).control(control).waiters(waiters)).map(drop)
    };
    let class = |count, size| ClassConfig { count, size };
    let useless = |class, count, size| Err(PoolError::NoBuffers { class, count, size });
    assert_eq!(of(none, none, 8), useless(Class::Small, 0, 0));
    assert_eq!(of(class(0, 64), none, 8), useless(Class::Small, 0, 64));
    assert_eq!(of(class(64, 0), none, 8), useless(Class::Small, 64, 0));
    assert_eq!(of(class(1, 1), class(3, 0), 8), useless(Class::Control, 3, 0));
    assert_eq!(of(none, class(1, 1), 0), Ok(()), "a class that nobody uses, and nobody who waits");
    let most = u32::MAX as usize - 1;
    let too_many = |what, wanted| Err(PoolError::TooMany { what, wanted, most });
    assert_eq!(of(class(most, 1), class(1, 1), 8), too_many("buffers", most + 1));
    assert_eq!(of(class(usize::MAX, 1), class(1, 1), 8), too_many("buffers", usize::MAX));
    assert_eq!(of(class(1, most + 1), none, 8), too_many("bytes of a buffer", most + 1));
    assert_eq!(of(class(1, 1), none, usize::MAX), too_many("requests that wait", usize::MAX));
    // Bytes that no address space has.
    assert!(matches!(of(class(most, most), none, 8), Err(PoolError::NoMemory { .. })));
}

#[test]
fn s27_a_reserve_hands_out_the_buffer_that_came_home_last() {
    let group = BufGroup::new(8, 64);
    let (first, second) = (group.get().unwrap(), group.get().unwrap());
    let index = first.index();
    drop(second);
    drop(first);
    assert_eq!(group.get().unwrap().index(), index);
}

#[test]
fn s27_a_buffer_dropped_on_another_core_goes_home_to_its_reserve() {
    let pool = data_pool(8, 0, 0);
    let home = pool.group(reserve(2, 0, 0)).unwrap();
    let mut buf = home.get().unwrap();
    buf.append(b"over there");
    let index = buf.index();
    let _rest = home.get().unwrap();
    let sent = buf.into_send();
    thread::scope(|scope| {
        scope.spawn(|| {
            let there = pool.group(reserve(1, 0, 0)).unwrap();
            let visitor = sent.into_local(&there);
            assert_eq!(&visitor[..], b"over there");
            drop(visitor);
            assert!(all(&there, Class::Small).iter().all(|buf| buf.index() != index), "it went home");
        });
    });
    let again = home.get().unwrap();
    assert_eq!((again.index(), again.len()), (index, 0));
    assert_eq!(home.stats(Class::Small).from_shared, 0);
}

#[test]
fn s27_a_buffer_that_travels_back_is_at_home_again() {
    let group = BufGroup::new(1, 64);
    let sent = group.get().unwrap().into_send();
    drop(sent.into_local(&group));
    assert_eq!((group.stats(Class::Small).in_use, group.at_hand(Class::Small)), (0, 1));
    let (other, sent) = (BufGroup::new(1, 64), group.get().unwrap().into_send());
    drop(sent.into_local(&other));
    assert_eq!((group.at_hand(Class::Small), group.available(Class::Small), other.at_hand(Class::Small)), (0, 1, 1), "home to its own");
    drop(group.get().unwrap().into_send().into_local(&group).into_send());
    assert!(group.get().is_some());
}

#[test]
fn s27_what_is_borrowed_goes_back_before_the_reserve_fills() {
    let pool = data_pool(6, 0, 0);
    let group = pool.group(reserve(2, 0, 0)).unwrap();
    let mut out = all(&group, Class::Small);
    assert_eq!((out.len(), pool.stats(Class::Small).free), (6, 0));
    let sent: Vec<_> = out.drain(..2).map(Buf::into_send).collect();
    thread::spawn(move || drop(sent)).join().unwrap();
    assert_eq!(pool.stats(Class::Small).free, 2, "from another core too");
    out.truncate(2);
    assert_eq!(pool.stats(Class::Small).free, 4);
    drop(out);
    assert_eq!((pool.stats(Class::Small).free, pool.stats(Class::Small).in_use), (4, 0));
    let stats = group.stats(Class::Small);
    assert_eq!((stats.reserve, stats.in_use, stats.high_water), (2, 0, 6));
    assert_eq!((stats.from_reserve, stats.from_shared), (2, 4));
    assert_eq!(pool.stats(Class::Small).high_water, 6);
}

#[test]
fn s27_the_memory_outlives_pool_and_group_until_the_last_buffer_is_gone() {
    let mut buf = BufGroup::new(1, 64).get().unwrap();
    buf.append(b"still here");
    let sent = buf.into_send();
    assert_eq!(thread::spawn(move || sent.to_vec()).join().unwrap(), b"still here");
}

#[test]
fn s29_buffers_are_aligned_and_lie_in_one_region() {
    let pool = data_pool(3, 2, 2);
    let group = pool.group(reserve(1, 1, 0)).unwrap();
    let (base, len) = pool.region();
    let mut out: Vec<_> = Class::ALL.into_iter().flat_map(|class| all(&group, class)).collect();
    let mut ends = 0;
    out.sort_by_key(Buf::index);
    for (index, buf) in out.iter_mut().enumerate() {
        let (at, offset) = (buf.spare_mut().as_ptr().addr(), buf.offset_in_region());
        assert_eq!((at % DATA_ALIGN, at), (0, base.as_ptr().addr() + offset));
        assert!(offset >= ends && offset + buf.spare_capacity() <= len, "no two share a byte");
        ends = offset + buf.spare_capacity();
        assert_eq!(buf.index(), index as u32, "each has a number");
    }
    assert_eq!(out.len(), 7);
}

#[test]
fn s29_fresh_memory_is_zeroed() {
    let group = BufGroup::new(4, 5000);
    assert!(all(&group, Class::Small).iter_mut().all(|buf| buf.spare_mut().iter().all(|&byte| byte == 0)));
}

#[test]
fn a_buffer_is_filled_read_and_emptied() {
    let mut buf = BufGroup::new(1, 10).get().unwrap();
    assert_eq!((buf.len(), buf.spare_capacity()), (0, 10));
    assert_eq!(buf.append(b"0123456"), 7);
    assert_eq!(buf.append(b"789abc"), 3, "as much as fits");
    buf.advance(2);
    buf.truncate(5);
    buf[0] = b'X';
    assert_eq!(buf.iter_mut().count(), 5);
    assert_eq!((&buf[..], buf.spare_capacity()), (&b"X3456"[..], 3));
    buf.spare_mut()[0] = b'Y';
    buf.grow(1);
    assert_eq!(&buf[..], b"X3456Y");
    buf.grow(100);
    assert_eq!((buf.len(), buf.spare_capacity()), (8, 0));
    buf.advance(100);
    assert!(buf.is_empty());
    buf.clear();
    assert_eq!((buf.len(), buf.spare_capacity()), (0, 10));
}

#[test]
fn what_was_dropped_from_the_front_makes_room_in_front() {
    let mut buf = BufGroup::new(1, 16).get().expect("a buffer");
    assert!(!buf.prepend(b"x"), "an empty one has none");
    buf.grow(4);
    buf.advance(4);
    buf.append(b"data");
    assert!(buf.prepend(b"by") && buf.prepend(b"") && buf.prepend(b"st"));
    assert!(!buf.prepend(b"x"));
    assert_eq!((&buf[..], buf.spare_capacity()), (&b"stbydata"[..], 8));
}
