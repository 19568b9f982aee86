//! Devices that do not do as they are asked, and what a channel makes of them.

use bdev::{Bdev, BdevError, BdevEvent, Bdevs, Device, DeviceChannel, Io, Kind, Kinds, NewBdev, Request, Shape, Token};
use bdev_conformance::{Bench, Subject};
use bdev_fault::{Faults, fault};
use bdev_malloc::{Config, malloc};
use core_reactor::{Cx, Instant};

/// What every device of [`Stubborn`] does in this test's thread, in its next polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Nothing,
    FillsAndFails,
    Drops,
}

thread_local! {
    static DOES: std::cell::Cell<Does> = const { std::cell::Cell::new(Does::Nothing) };
}

/// Holds on to all requests, and does not listen to who wants them given up.
struct Stubborn;
struct Holder(Vec<Io>);

impl Device for Stubborn {
    fn channel(&self, _: &mut Cx<'_>, _: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
        Ok(Box::new(Holder(Vec::new())))
    }
}

impl DeviceChannel for Holder {
    fn submit(&mut self, _: Instant, io: Io) {
        self.0.push(io);
    }

    fn poll(&mut self, _: Instant) {
        match DOES.get() {
            Does::Nothing => {}
            Does::Drops => self.0.clear(),
            Does::FillsAndFails => self.0.drain(..).for_each(|mut io| {
                if io.request().kind == Kind::Read {
                    io.request_mut().fill(&[9; 100]);
                }
                io.finish(Err(BdevError::Io("in the middle")));
            }),
        }
    }

    fn cancel(&mut self, _: &dyn Fn(&Request) -> bool) {}
}

const STUBBORN: Subject = Subject {
    make: |bdevs: &Bdevs| -> Result<Bdev, BdevError> {
        let shape = Shape {
            product: "Stubborn disk",
            block_size: 512,
            align: 1,
            optimal_boundary: 0,
            most_compare_and_write: 0,
            kinds: Kinds::of(&[Kind::Read, Kind::Write]),
            has_write_cache: false,
        };
        bdevs.add(NewBdev { name: "s".into(), aliases: Vec::new(), uuid: None, blocks: 300, shape }, Box::new(Stubborn))
    },
    keeps: false,
    resizes: false,
    fails: true,
};

#[test]
fn s225_what_a_device_drops_comes_back_as_lost_and_what_it_half_read_is_not_shown() {
    for (does, why) in [(Does::Drops, BdevError::Lost), (Does::FillsAndFails, BdevError::Io("in the middle"))] {
        DOES.set(does);
        let mut bench = Bench::new(&STUBBORN);
        let mut channel = bench.channel(0, 2);
        let read = bench.run(&mut channel, Request::read(0, 1, bench.empty()));
        assert_eq!((read.result, read.request.data.bytes(), read.request.data.parts().len()), (Err(why), 0, 1));
        assert_eq!(bench.bdev.stats().errors, 1);
    }
}

#[test]
fn s226_a_reset_waits_for_what_a_device_does_not_give_up() {
    DOES.set(Does::Nothing);
    let mut bench = Bench::new(&STUBBORN);
    let [mut near, mut far] = [bench.channel(0, 2), bench.channel(1, 2)];
    far.submit(bench.now(), Request::read(0, 1, bench.empty())).expect("there is room");
    near.submit(bench.now(), Request::reset().token(Token(1))).expect("there is room");
    for _ in 0..10 {
        assert_eq!((bench.poll(&mut far).len(), bench.poll(&mut near).len()), (0, 0));
    }
    DOES.set(Does::FillsAndFails);
    assert_eq!(bench.poll(&mut far).len(), 1);
    let done = bench.settle(&mut near);
    assert_eq!((done.len(), &done[0].result), (1, &Ok(())));
}

#[test]
fn s227_the_removal_is_told_when_a_device_has_given_everything_back() {
    DOES.set(Does::Nothing);
    let mut bench = Bench::new(&STUBBORN);
    let mut channel = bench.channel(0, 2);
    channel.submit(bench.now(), Request::read(0, 1, bench.empty())).expect("there is room");
    bench.bdevs.remove("s").unwrap();
    for _ in 0..10 {
        assert_eq!(bench.poll(&mut channel).len(), 0);
    }
    DOES.set(Does::FillsAndFails);
    let told = bench.poll(&mut channel);
    assert!(matches!(told[..], [BdevEvent::Done(_), BdevEvent::Removed]), "{told:?}");
    assert_eq!(bench.poll(&mut channel).len(), 0, "once");
}

/// A torn write leaves its first blocks, and gives its buffers back whole.
#[test]
fn s224_a_torn_write_has_written_its_first_blocks() {
    let subject = Subject {
        make: |bdevs| {
            malloc(bdevs, Config::new(512, 300).name("base"))?;
            fault(bdevs, "f", "base", Faults { torn: 1_000_000, ..Faults::none(5) })
        },
        keeps: true,
        resizes: false,
        fails: true,
    };
    let mut bench = Bench::new(&subject);
    let mut channel = bench.channel(0, 1);
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 1..40 {
        assert_eq!(bench.run(&mut channel, Request::write_zeroes(0, 8)).result, Ok(()));
        let written = bench.run(&mut channel, Request::write(0, 8, bench.filled(8, seed)));
        assert_eq!((written.result, written.request.data.bytes()), (Err(BdevError::Io("a torn write that was asked for")), 8 * 512));
        assert_eq!(*written.request.data.parts()[0], *bench.filled(8, seed), "the buffers are as they were");
        let read = bench.run(&mut channel, Request::read(0, 8, bench.empty()));
        let blocks = |frame: &bdev::Frame| frame.parts()[0].chunks(512).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (wanted, there) = (blocks(&written.request.data), blocks(&read.request.data));
        let torn = there.iter().position(|block| block.iter().all(|byte| *byte == 0)).expect("not all of them");
        assert!(there[..torn] == wanted[..torn] && there[torn..].iter().flatten().all(|byte| *byte == 0));
        lengths.insert(torn);
    }
    assert!(lengths.len() > 4 && lengths.contains(&0), "{lengths:?}");
}
