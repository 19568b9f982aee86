//! A device behind the filter, as smoltcp sees it.

use core::cell::RefCell;
use core::mem;

use core_reactor::WaitSource;
use smoltcp::iface::{Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::device::NetDevice;
use crate::filter::{Filter, Stored};
use crate::frame;
use crate::track::Pass;

/// A device of any type with its filter.
pub(crate) trait Port: Send {
    /// Takes one frame into the sockets; false if there is none.
    fn ingress(&mut self, at: Instant, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> bool;
    /// Sends at most one segment of each socket; true if any went out.
    fn egress(&mut self, at: Instant, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> bool;
    /// Sends a frame that is not smoltcp's past the filter; false if there is no room for it.
    fn send(&mut self, at: Instant, frame: &[u8]) -> bool;
    fn filter(&mut self) -> &mut Filter;
    fn wait_source(&self) -> Option<WaitSource>;
    fn arm(&mut self) -> bool;
    fn disarm(&mut self);
}

/// A device of this type with its filter, which both tokens of a frame need.
pub(crate) struct Filtered<D> {
    device: D,
    filter: RefCell<Filter>,
}

impl<D> Filtered<D> {
    pub(crate) fn new(device: D, filter: Filter) -> Self {
        Self { device, filter: RefCell::new(filter) }
    }
}

impl<D: NetDevice + Send> Port for Filtered<D> {
    fn ingress(&mut self, at: Instant, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> bool {
        iface.poll_ingress_single(at, self, sockets) != PollIngressSingleResult::None
    }

    fn egress(&mut self, at: Instant, iface: &mut Interface, sockets: &mut SocketSet<'_>) -> bool {
        iface.poll_egress(at, self, sockets) == PollResult::SocketStateChanged
    }

    fn send(&mut self, at: Instant, frame: &[u8]) -> bool {
        self.device.transmit(at).map(|token| token.consume(frame.len(), |to| to.copy_from_slice(frame))).is_some()
    }

    fn filter(&mut self) -> &mut Filter {
        self.filter.get_mut()
    }

    fn wait_source(&self) -> Option<WaitSource> {
        self.device.wait_source()
    }

    fn arm(&mut self) -> bool {
        self.device.arm()
    }

    fn disarm(&mut self) {
        self.device.disarm();
    }
}

impl<D: Device> Device for Filtered<D> {
    type RxToken<'a>
        = FilteredRx<'a, D::RxToken<'a>>
    where
        D: 'a;
    type TxToken<'a>
        = FilteredTx<'a, D::TxToken<'a>>
    where
        D: 'a;

    fn receive(&mut self, at: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let Self { device, filter } = self;
        let has_frames = filter.get_mut().receive(at);
        let filter = &*filter;
        let (from, token) = if has_frames {
            let token = device.transmit(at)?;
            let frame = filter.borrow_mut().next_frame()?;
            (From::Filter(Out { filter, frame, loops_back: false }), token)
        } else {
            let (rx, tx) = device.receive(at)?;
            (From::Device(rx), tx)
        };
        Some((FilteredRx { from, filter }, FilteredTx { token, filter, of_socket: false }))
    }

    fn transmit(&mut self, at: Instant) -> Option<Self::TxToken<'_>> {
        let Self { device, filter } = self;
        let token = device.transmit(at).filter(|_| filter.get_mut().begin_segment())?;
        Some(FilteredTx { token, filter, of_socket: true })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

/// Where a frame comes from.
enum From<'a, R> {
    Device(R),
    Filter(Out<'a>),
}

/// A frame that is out of the filter while others need the filter too. It goes back also when a
/// device unwinds.
struct Out<'a> {
    filter: &'a RefCell<Filter>,
    frame: Stored,
    /// It is for the host itself.
    loops_back: bool,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        self.filter.borrow_mut().put_back(mem::take(&mut self.frame), self.loops_back);
    }
}

pub(crate) struct FilteredRx<'a, R> {
    from: From<'a, R>,
    filter: &'a RefCell<Filter>,
}

impl<R: RxToken> RxToken for FilteredRx<'_, R> {
    fn consume<T, F: FnOnce(&[u8]) -> T>(self, f: F) -> T {
        let filter = self.filter;
        let look = |frame: &[u8]| filter.borrow_mut().incoming(frame);
        match self.from {
            From::Device(token) => token.consume(|frame| show(frame, look(frame), f)),
            // The answer, which is given inside `f`, needs the filter too.
            From::Filter(out) => {
                let pass = if out.frame.is_admitted() { Pass::AsItIs } else { look(out.frame.bytes()) };
                show(out.frame.bytes(), pass, f)
            }
        }
    }

    fn meta(&self) -> PacketMeta {
        match &self.from {
            From::Device(token) => token.meta(),
            From::Filter(_) => PacketMeta::default(),
        }
    }
}

/// Shows smoltcp what it is to see of a frame: one without bytes, which it passes over, in place of
/// one that it is not to see. `f` is most of smoltcp, so it is called at one place.
#[inline]
fn show<T>(frame: &[u8], pass: Pass, f: impl FnOnce(&[u8]) -> T) -> T {
    let mut copy = None;
    f(match pass {
        Pass::Nothing => &[],
        Pass::AsItIs => frame,
        Pass::As(seq) => amended(frame, seq, &mut copy),
    })
}

/// A bare acknowledgement with another sequence number.
#[cold]
fn amended<'a>(frame: &[u8], seq: u32, copy: &'a mut Option<[u8; frame::MOST_BARE]>) -> &'a [u8] {
    // What is more than the longest is behind the end of the packet.
    let copy = &mut copy.insert([0; frame::MOST_BARE])[..frame.len().min(frame::MOST_BARE)];
    copy.copy_from_slice(&frame[..copy.len()]);
    frame::set_sequence(copy, seq);
    copy
}

pub(crate) struct FilteredTx<'a, T> {
    token: T,
    filter: &'a RefCell<Filter>,
    /// A socket has asked for it, which it does only with something to send.
    of_socket: bool,
}

impl<T: TxToken> TxToken for FilteredTx<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let filter = self.filter;
        if self.of_socket {
            filter.borrow_mut().end_segment();
        }
        let write = |frame: &mut [u8]| {
            let done = f(frame);
            filter.borrow_mut().outgoing(frame);
            done
        };
        // Where a frame is written whose way is not known yet.
        let Some(frame) = filter.borrow_mut().scratch(len) else { return self.token.consume(len, write) };
        let mut out = Out { filter, frame, loops_back: false };
        let done = write(out.frame.bytes_mut());
        out.loops_back = filter.borrow().is_own(out.frame.bytes());
        if !out.loops_back {
            self.token.consume(len, |to| to.copy_from_slice(out.frame.bytes()));
        }
        done
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.token.set_meta(meta);
    }
}
