//! Requests that do not run their course: aborts, resets, removal, other sizes.

use bdev::{BdevError, BdevEvent, Channel, Mode, Request, Token};
use pool::Class;

use crate::bench::Patience;
use crate::{Bench, Subject};

/// Hands in `n` writes and reads, with tokens from `first` on.
fn many(bench: &Bench, channel: &mut Channel, first: u64, n: u64) {
    for token in first..first + n {
        let request = match token % 2 {
            0 => Request::write(token, 1, bench.filled(1, token)),
            _ => Request::read(token, 1, bench.empty()),
        };
        channel.submit(bench.now(), request.token(Token(token))).map_err(|refused| refused.why).expect("there is room");
    }
}

/// Whether a request may have ended so.
fn is_an_end(subject: &Subject, result: &Result<(), BdevError>, also: &BdevError) -> bool {
    match result {
        Ok(()) => true,
        Err(BdevError::Io(_)) => subject.fails,
        Err(why) => why == also,
    }
}

/// Each request that is aborted comes back once, and the others as if nothing were.
pub fn abort(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let mut channel = bench.channel(0, 16);
    many(&bench, &mut channel, 0, 16);
    for token in [3, 4, 4, 99] {
        channel.abort(Token(token));
    }
    let mut tokens = Vec::new();
    for done in bench.settle(&mut channel) {
        let token = done.request.token.0;
        let may_be_aborted = [3, 4].contains(&token) && done.result == Err(BdevError::Aborted);
        assert!(may_be_aborted || is_an_end(subject, &done.result, &BdevError::Lost), "{token}: {:?}", done.result);
        tokens.push(token);
    }
    tokens.sort_unstable();
    assert!(tokens.into_iter().eq(0..16), "each once");
    bench.run(&mut channel, Request::read(0, 1, bench.empty()));
}

/// A reset comes back when nothing from before it is under way on any channel.
pub fn reset(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let [mut near, mut far] = [bench.channel(0, 16), bench.channel(1, 16)];
    many(&bench, &mut far, 0, 8);
    many(&bench, &mut near, 20, 8);
    near.submit(bench.now(), Request::reset().token(Token(100))).map_err(|refused| refused.why).expect("there is room");
    let (mut back, mut after, patience) = (Vec::new(), 0, Patience::new());
    // All of its own, and a while longer.
    while after < 100 {
        after += u32::from(back.len() >= 8);
        back.extend(bench.poll(&mut near));
        bench.moment();
        patience.wait("requests do not come back");
    }
    let is_reset = |event: &BdevEvent| matches!(event, BdevEvent::Done(done) if done.request.token == Token(100));
    assert!(back.len() == 8 && !back.iter().any(is_reset), "the other core has not answered");
    many(&bench, &mut far, 40, 1);
    let far_back = bench.settle(&mut far);
    assert_eq!(far_back.len(), 9);
    for done in far_back.iter().filter(|done| done.request.token.0 < 40) {
        assert!(is_an_end(subject, &done.result, &BdevError::Aborted), "{:?}", done.result);
    }
    let last = bench.settle(&mut near);
    assert!(last.len() == 1 && last[0].request.token == Token(100) && last[0].result == Ok(()), "{last:?}");
    // A channel that is dropped holds nobody up, nor does one that came later.
    near.submit(bench.now(), Request::reset()).map_err(|refused| refused.why).expect("there is room");
    let later = bench.channel(1, 1);
    assert!(bench.poll(&mut near).is_empty());
    drop(far);
    assert_eq!(bench.settle(&mut near).len(), 1);
    drop(later);
}

/// A device that is removed while it is used: every request comes back, and then one last event.
pub fn removal(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let [mut near, mut far] = [bench.channel(0, 16), bench.channel(1, 16)];
    many(&bench, &mut near, 0, 8);
    many(&bench, &mut far, 0, 8);
    let name = bench.bdev.name().to_owned();
    near.submit(bench.now(), Request::reset().token(Token(100))).map_err(|refused| refused.why).expect("there is room");
    bench.bdevs.remove(&name).expect("it is there");
    assert!(bench.bdev.is_removed() && bench.bdevs.get(&name).is_err());
    assert_eq!(bench.bdevs.remove(&name).unwrap_err(), BdevError::NotFound(name.as_str().into()));
    assert_eq!(bench.bdev.open(Mode::ReadOnly).unwrap_err(), BdevError::Removed);
    for (channel, taken) in [(&mut near, 9), (&mut far, 8)] {
        let request = Request::write(0, 1, bench.filled(1, 1));
        assert_eq!(bench.refused(channel, request), BdevError::Removed, "at once, before it has been polled");
        let mut tokens = Vec::new();
        let mut is_told = false;
        let (mut after, patience) = (0, Patience::new());
        while after < 100 {
            after += u32::from(is_told);
            patience.wait("requests do not come back");
            for event in bench.poll(channel) {
                assert!(!is_told, "the last event");
                match event {
                    BdevEvent::Done(done) => {
                        let also = if done.request.token == Token(100) { BdevError::Removed } else { BdevError::Aborted };
                        assert!(is_an_end(subject, &done.result, &also), "{:?}", done.result);
                        tokens.push(done.request.token.0);
                    }
                    BdevEvent::Removed => is_told = true,
                    other => panic!("{other:?}"),
                }
            }
            bench.moment();
        }
        tokens.sort_unstable();
        tokens.dedup();
        assert!(is_told && tokens.len() == taken, "{tokens:?}");
        let request = Request::flush();
        assert_eq!(bench.refused(channel, request), BdevError::Removed);
    }
    // Its name is free, and the old channels are of the old device.
    let again = bench.bdevs.clone();
    assert!(again.get(&name).is_err() && again.list().iter().all(|bdev| bdev.name() != name));
}

/// A write that has come back is there after a reset, and one that was given up is there or not, as
/// a whole.
pub fn reset_keeps(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let [mut near, mut far] = [bench.channel(0, 16), bench.channel(1, 16)];
    // What each block may hold; nobody knows at first, nor after a write that failed.
    let mut may_hold: Vec<Option<Vec<u64>>> = vec![None; 8];
    for round in 1..20u64 {
        for block in 0..8 {
            let request = Request::write(block, 1, bench.filled(1, 100 * round + block));
            near.submit(bench.now(), request.token(Token(block))).map_err(|refused| refused.why).expect("there is room");
        }
        let mut done: Vec<_> = (0..round % 4).flat_map(|_| bench.poll(&mut near)).collect();
        far.submit(bench.now(), Request::reset().token(Token(99))).map_err(|refused| refused.why).expect("there is room");
        let patience = Patience::new();
        while near.under_way() + far.under_way() > 0 {
            done.extend(bench.poll(&mut near));
            done.extend(bench.poll(&mut far));
            bench.moment();
            patience.wait("requests do not come back");
        }
        for event in done {
            let BdevEvent::Done(done) = event else { panic!("{event:?} was not expected") };
            let (Token(token), result) = (done.request.token, done.result);
            assert!(is_an_end(subject, &result, &BdevError::Aborted), "{result:?}");
            let Some(may_hold) = may_hold.get_mut(token as usize) else { continue };
            match (result, may_hold) {
                (Ok(()), may_hold) => *may_hold = Some(vec![100 * round + token]),
                (Err(BdevError::Aborted), Some(seeds)) => seeds.push(100 * round + token),
                (_, may_hold) => *may_hold = None,
            }
        }
        for (block, may_hold) in may_hold.iter_mut().enumerate() {
            let read = bench.run(&mut near, Request::read(block as u64, 1, bench.empty()));
            let (Ok(()), Some(seeds), true) = (read.result, &may_hold, subject.keeps) else { continue };
            let there = &*read.request.data.parts()[0];
            let found = seeds.iter().find(|seed| *bench.filled(1, **seed) == *there);
            let found = found.unwrap_or_else(|| panic!("round {round}: block {block} holds none of {seeds:?}"));
            *may_hold = Some(vec![*found]);
        }
    }
}

/// Another size is heard of by each channel, and holds from then on.
pub fn resize(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let [mut near, mut far] = [bench.channel(0, 16), bench.channel(1, 16)];
    let of = bench.bdev.blocks();
    if !subject.resizes {
        assert!(matches!(bench.bdev.resize(of + 1), Err(BdevError::Invalid { .. })));
        assert_eq!((bench.bdev.blocks(), bench.poll(&mut near).len()), (of, 0));
        return;
    }
    many(&bench, &mut near, 0, 8);
    assert!(matches!(bench.bdev.resize(0), Err(BdevError::Invalid { .. })));
    for blocks in [of * 2, of / 2] {
        bench.bdev.resize(blocks).expect("it can");
        let (mut told, mut after, patience) = ([0, 0], 0, Patience::new());
        while after < 100 {
            after += u32::from(told == [1, 1] && near.under_way() == 0);
            patience.wait("a size is not told");
            for (channel, told) in [&mut near, &mut far].into_iter().zip(&mut told) {
                let is_size = |event: &BdevEvent| matches!(event, BdevEvent::Resized { blocks: now } if *now == blocks);
                *told += bench.poll(channel).iter().filter(|event| is_size(event)).count();
            }
            bench.moment();
        }
        assert_eq!(told, [1, 1]);
        let last = bench.run(&mut far, Request::read(blocks - 1, 1, bench.empty()));
        assert!(last.result.is_ok() || subject.fails);
        let request = Request::read(blocks, 1, bench.empty());
        assert_eq!(bench.refused(&mut far, request), BdevError::OutOfRange { block: blocks, blocks: 1, of: blocks });
    }
    assert_eq!(near.under_way(), 0);
}

/// A channel that is dropped takes with it what is under way: the buffers are home.
pub fn dropped(subject: &Subject) {
    let mut bench = Bench::new(subject);
    let mut channel = bench.channel(0, 16);
    let free = bench.bufs.at_hand(Class::Small);
    many(&bench, &mut channel, 0, 8);
    assert_eq!(bench.bufs.at_hand(Class::Small), free - 8);
    drop(channel);
    assert_eq!((bench.bufs.at_hand(Class::Small), bench.bdev.opens()), (free, (0, 0)));
}
