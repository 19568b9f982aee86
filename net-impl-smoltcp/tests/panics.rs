//! A device that panics loses a frame at most: the host goes on, and its lock is free (statement
//! 84).

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::host::{Host, address, config};
use common::wire::{End, Rx, Tx, Weather, wire};
use core_reactor::WaitSource;
use core_reactor::net::{NetEvent, SockId, Token};
use core_reactor::sim::SimPlatform;
use net_impl_smoltcp::NetDevice;
use net_impl_smoltcp::smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use net_impl_smoltcp::smoltcp::time::Instant;

/// Where a device panics, once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Receive,
    Transmit,
    BeforeRead,
    AfterRead,
    BeforeWrite,
    AfterWrite,
}

const ALL: [At; 6] = [At::Receive, At::Transmit, At::BeforeRead, At::AfterRead, At::BeforeWrite, At::AfterWrite];

#[derive(Clone)]
struct Trap(Arc<AtomicU32>);

impl Trap {
    fn set(&self, at: At) {
        self.0.store(at as u32, Ordering::Relaxed);
    }

    fn pass(&self, at: At) {
        if self.0.compare_exchange(at as u32, u32::MAX, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            panic!("the device does, {at:?}");
        }
    }
}

struct Fragile {
    end: End,
    trap: Trap,
}

impl Device for Fragile {
    type RxToken<'a> = Guarded<Rx>;
    type TxToken<'a> = Guarded<Tx>;

    fn receive(&mut self, now: Instant) -> Option<(Guarded<Rx>, Guarded<Tx>)> {
        let (rx, tx) = self.end.receive(now)?;
        self.trap.pass(At::Receive);
        Some((Guarded(rx, self.trap.clone()), Guarded(tx, self.trap.clone())))
    }

    fn transmit(&mut self, now: Instant) -> Option<Guarded<Tx>> {
        self.trap.pass(At::Transmit);
        self.end.transmit(now).map(|tx| Guarded(tx, self.trap.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.end.capabilities()
    }
}

impl NetDevice for Fragile {
    fn wait_source(&self) -> Option<WaitSource> {
        None
    }
}

struct Guarded<T>(T, Trap);

impl RxToken for Guarded<Rx> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        self.1.pass(At::BeforeRead);
        self.0.consume(|frame| {
            let done = f(frame);
            self.1.pass(At::AfterRead);
            done
        })
    }
}

impl TxToken for Guarded<Tx> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.1.pass(At::BeforeWrite);
        let done = self.0.consume(len, f);
        self.1.pass(At::AfterWrite);
        done
    }
}

struct World {
    platform: Arc<SimPlatform>,
    /// On the device that panics; it echoes.
    fragile: Host,
    other: Host,
    panics: usize,
}

impl World {
    fn new() -> (Self, Trap) {
        let platform = SimPlatform::new(1);
        let [near, far] = wire(Weather::CALM);
        let trap = Trap(Arc::new(AtomicU32::new(u32::MAX)));
        let mut fragile = Host::new(&platform, Fragile { end: near, trap: trap.clone() }, &config(1));
        fragile.listen(7);
        let other = Host::new(&platform, far, &config(2));
        (Self { platform, fragile, other, panics: 0 }, trap)
    }

    fn step(&mut self) {
        let polled = catch_unwind(AssertUnwindSafe(|| self.fragile.poll()));
        self.panics += usize::from(polled.is_err());
        for event in std::mem::take(&mut self.fragile.seen) {
            match event {
                NetEvent::Accepted { socket, .. } => drop(self.fragile.attach(socket, Token(2))),
                NetEvent::Received { id, token: Token(2), buf } => drop(self.fragile.group.send(id, buf.into())),
                NetEvent::PeerClosed { id, token: Token(2) } => self.fragile.group.shutdown(id).expect("it is there"),
                other => self.other.seen.push(other),
            }
        }
        self.other.poll();
        self.platform.advance(Duration::from_millis(1));
    }

    /// An echo on a new connection, of the other host or of the fragile one to itself.
    fn echo(&mut self, to_itself: bool) {
        let to = (address(1), 7).into();
        let id = if to_itself { self.fragile.connect(to, Token(1)) } else { self.other.connect(to, Token(1)) };
        let (mut heard, mut connected) = (Vec::<u8>::new(), false);
        for _ in 0..20_000 {
            self.step();
            for event in std::mem::take(&mut self.other.seen) {
                match event {
                    NetEvent::Connected { .. } => connected = true,
                    NetEvent::Received { buf, .. } => heard.extend(&*buf),
                    // Of those before.
                    NetEvent::PeerClosed { id: of, .. } | NetEvent::Closed { id: of, .. } if of != id => {}
                    other => panic!("{}", common::name(&other)),
                }
            }
            if std::mem::take(&mut connected) {
                self.client(to_itself).send(id, &[9; 2000]);
            }
            if heard.len() == 2000 {
                self.close(id, to_itself);
                return;
            }
        }
        panic!("{} bytes came back", heard.len());
    }

    fn client(&mut self, is_itself: bool) -> &mut Host {
        if is_itself { &mut self.fragile } else { &mut self.other }
    }

    fn close(&mut self, id: SockId, is_itself: bool) {
        self.client(is_itself).group.close(id).expect("it is there");
        self.step();
        self.other.seen.clear();
    }
}

#[test]
fn s84_a_device_that_panics_loses_a_frame_at_most() {
    for to_itself in [false, true] {
        for at in ALL {
            println!("{at:?}, to itself: {to_itself}");
            let (mut world, trap) = World::new();
            // Every time in another phase of a connection: it panics at each frame, as it were.
            for steps in 0..12 {
                let before = world.panics;
                for _ in 0..steps {
                    world.step();
                }
                trap.set(at);
                world.echo(false);
                assert_eq!(world.panics, before + 1, "it did panic");
                world.echo(to_itself);
                assert!(world.fragile.net.stats().is_some(), "the lock is free");
            }
        }
    }
}
