//! Connects: to one address after the other until one answers.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use core_reactor::net::NetError;
use net_group::Connecting;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{IpAddress, IpEndpoint};

use crate::family;
use crate::place::{End, Role, Wants};
use crate::socket::{Kind, SmolSocket};
use crate::stack::Stack;

/// Begins a connect, or looks how far it is; on to the next address for as long as they fail at
/// once.
pub(crate) fn go_on(stack: &mut Stack, socket: &mut SmolSocket) -> Connecting {
    loop {
        let Kind::Connect(number, connect) = &mut socket.kind else { return Connecting::Connected };
        let number = *number;
        let why = if connect.under_way {
            match stack.tcp(number).state() {
                State::SynSent | State::SynReceived => return Connecting::UnderWay(number as i32),
                State::Closed => outcome(stack, number, socket.peer),
                _ => {
                    socket.kind = Kind::Stream(number);
                    return Connecting::Connected;
                }
            }
        } else {
            match start(stack, socket) {
                Ok(()) => return Connecting::UnderWay(number as i32),
                Err(why) => why,
            }
        };
        if !next_address(socket) {
            return Connecting::Failed(why);
        }
    }
}

fn start(stack: &mut Stack, socket: &mut SmolSocket) -> Result<(), NetError> {
    let Kind::Connect(number, connect) = &mut socket.kind else { return Ok(()) };
    let to = *connect.addresses.get(connect.at).ok_or(NetError::NoAddress)?;
    socket.peer = Some(to);
    connect.under_way = true;
    socket.local = stack.connect(*number, to)?;
    Ok(())
}

/// Why a connect failed.
fn outcome(stack: &Stack, number: u32, to: Option<SocketAddr>) -> NetError {
    match (stack.places[number as usize].end, to) {
        (Some(End::TimedOut), _) | (_, None) => NetError::TimedOut,
        (_, Some(to)) => NetError::ConnectRefused(to),
    }
}

/// On to the next address; false if there is none.
fn next_address(socket: &mut SmolSocket) -> bool {
    let Kind::Connect(_, connect) = &mut socket.kind else { return false };
    connect.at += 1;
    connect.under_way = false;
    connect.at < connect.addresses.len()
}

impl Stack {
    pub(crate) fn take_for_connect(&mut self, wants: Wants) -> Result<u32, NetError> {
        self.take_free(Role::Owned, wants).ok_or_else(|| self.none_free())
    }

    /// Tells a socket to connect. Tells its own address.
    fn connect(&mut self, at: u32, to: SocketAddr) -> Result<SocketAddr, NetError> {
        let way = family::of(to.ip()).filter(|remote| to.port() != 0 && remote.is_unicast() && self.has_way(*remote));
        let remote = way.ok_or(NetError::Unreachable(to))?;
        if self.is_own(remote) {
            self.loop_back();
        }
        let port = self.free_port().ok_or(NetError::AddressUnavailable(unspecified(&to)))?;
        self.renew(at);
        let place = &mut self.places[at as usize];
        place.end = None;
        let socket = self.sockets.get_mut::<smoltcp::socket::tcp::Socket>(place.handle);
        socket.connect(self.iface.context(), IpEndpoint::new(remote, to.port()), port).map_err(|_| NetError::Unreachable(to))?;
        self.unsent = true;
        Ok(self.ends(at).map_or(unspecified(&to), |(local, _)| local))
    }

    /// Whether the host has an address of the family, and a network or a router on the way.
    fn has_way(&self, to: IpAddress) -> bool {
        let own = self.iface.ip_addrs();
        let broadcast =
            own.iter().any(|cidr| matches!(cidr, smoltcp::wire::IpCidr::Ipv4(v4) if v4.broadcast().map(IpAddress::Ipv4) == Some(to)));
        let family = own.iter().any(|cidr| cidr.address().version() == to.version());
        !broadcast && family && self.next_hop(to).is_some()
    }
}

/// What a socket is bound to that is bound to nothing.
pub(crate) fn unspecified(to: &SocketAddr) -> SocketAddr {
    let ip = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(ip, 0)
}
