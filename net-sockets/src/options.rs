//! [`SockOptions`] set on a socket and read back (statement 23).

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use core_reactor::net::{Keepalive, NetError, Placement, SockOptions};
use socket2::{Socket, TcpKeepalive};

use crate::error::{self, Errno};
use crate::sys;

/// Connections that may wait where nothing was asked for.
const BACKLOG: u32 = 1024;
/// Not in libc; the generic number of Linux (include/uapi/asm-generic/socket.h).
const SO_INCOMING_NAPI_ID: i32 = 56;

/// What the system does not keep for us, or not for the connections of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    backlog: Option<u32>,
    priority: Option<u32>,
    /// [`SockOptions::source`] of a connect.
    source: Option<SocketAddr>,
    /// Whether [`SockOptions::low_water`] is more than a byte.
    pub low_water: bool,
    /// [`SockOptions::quick_ack`].
    pub quick_ack: bool,
    /// [`SockOptions::zero_copy`].
    pub zero_copy: Option<usize>,
    /// It is a Unix socket. A read of one that returns less than was asked for has not emptied it:
    /// it ends at descriptors that were sent along.
    pub unix: bool,
}

impl Kept {
    /// Those of `options`.
    pub fn of(options: &SockOptions) -> Self {
        Self {
            backlog: options.backlog,
            priority: options.priority,
            source: options.source,
            low_water: options.low_water.is_some_and(|bytes| bytes > 1),
            quick_ack: options.quick_ack,
            zero_copy: options.zero_copy,
            unix: false,
        }
    }

    /// Those of a Unix socket: what only TCP has is not asked for.
    pub fn of_unix(options: &SockOptions) -> Self {
        Self { quick_ack: false, zero_copy: None, unix: true, ..Self::of(options) }
    }
}

/// Has a socket that is to connect come from `source`.
pub fn bind_source(socket: &Socket, source: SocketAddr) -> Result<(), NetError> {
    if source.port() == 0 {
        // Then the system looks for a free port when it knows where to, and one port serves many.
        sys::set_int(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1).map_err(|e| error::option("source", e))?;
    } else {
        // A connection from there that has just ended is no obstacle.
        set("source", socket.set_reuse_address(true))?;
    }
    socket.bind(&source.into()).map_err(|e| error::at("bind", Errno::of(&e), source))
}

/// Sets what a connection does not inherit from its listener. It may be gone by now, which reading
/// will tell.
pub fn apply_to_accepted(socket: &Socket, kept: &Kept) {
    if let Some(priority) = kept.priority {
        let _ = socket.set_priority(priority);
    }
    if kept.quick_ack {
        let _ = socket.set_tcp_quickack(true);
    }
}

/// Sets all options that belong before `listen` or `connect`.
pub fn apply(socket: &Socket, o: &SockOptions) -> Result<(), NetError> {
    apply_to_any(socket, o)?;
    if let Some(bytes) = o.low_water {
        set_int(socket, "low_water", libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)?;
        at_least("low_water", bytes, int(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT)?, "half of the receive buffer")?;
    }
    set("no_delay", socket.set_tcp_nodelay(o.no_delay))?;
    if o.quick_ack {
        set("quick_ack", socket.set_tcp_quickack(true))?;
    }
    if let Some(time) = o.user_timeout {
        let millis = whole("user_timeout", time, Duration::from_millis(1))?;
        set_int(socket, "user_timeout", libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, millis)?;
    }
    if let Some(probe) = o.keepalive {
        keepalive(socket, probe)?;
    }
    if let Some(time) = o.busy_poll {
        let micros = whole("busy_poll", time, Duration::from_micros(1))?;
        set_int(socket, "busy_poll", libc::SOL_SOCKET, libc::SO_BUSY_POLL, micros)?;
    }
    if o.reuse_port {
        set("reuse_port", socket.set_reuse_port(true))?;
    }
    if o.unpaced && paces(socket)? {
        // Before it is connected: a socket that was ever to be paced stays so. Every kernel has
        // both, and anybody may take the second.
        set("unpaced", socket.set_tcp_congestion(b"cubic").or_else(|_| socket.set_tcp_congestion(b"reno")))?;
    }
    Ok(())
}

/// Those that any socket has.
fn apply_to_any(socket: &Socket, o: &SockOptions) -> Result<(), NetError> {
    if let Some(bytes) = o.recv_buf {
        set("recv_buf", socket.set_recv_buffer_size(bytes))?;
        // The system counts its own overhead in, so it doubles what it grants; and it grants less
        // without a word.
        at_least("recv_buf", bytes, int(socket, libc::SOL_SOCKET, libc::SO_RCVBUF)? / 2, "net.core.rmem_max")?;
    }
    if let Some(bytes) = o.send_buf {
        set("send_buf", socket.set_send_buffer_size(bytes))?;
        at_least("send_buf", bytes, int(socket, libc::SOL_SOCKET, libc::SO_SNDBUF)? / 2, "net.core.wmem_max")?;
    }
    if let Some(priority) = o.priority {
        set("priority", socket.set_priority(priority))?;
    }
    Ok(())
}

/// Sets the options that a Unix socket has. What is for TCP alone is passed over; what is refused
/// would change what an application sees.
pub fn apply_to_unix(socket: &Socket, o: &SockOptions) -> Result<(), NetError> {
    let of_tcp = [("low_water", o.low_water.is_some_and(|bytes| bytes > 1)), ("reuse_port", o.reuse_port)];
    if let Some((option, _)) = of_tcp.into_iter().find(|(_, asked)| *asked) {
        return Err(NetError::Option { option, why: "a Unix socket has no such thing; leave it out".into() });
    }
    apply_to_any(socket, o)
}

/// The options as they are now.
pub fn read(socket: &Socket, kept: Kept, listens: bool) -> Result<SockOptions, NetError> {
    let of_socket = |name| int(socket, libc::SOL_SOCKET, name);
    if kept.unix {
        let bufs = SockOptions::default().recv_buf(of_socket(libc::SO_RCVBUF)?).send_buf(of_socket(libc::SO_SNDBUF)?);
        return Ok(bufs.priority(of_socket(libc::SO_PRIORITY)? as u32).backlog(kept.backlog));
    }
    let of_tcp = |name| int(socket, libc::IPPROTO_TCP, name);
    let keepalive = match of_socket(libc::SO_KEEPALIVE)? {
        0 => None,
        _ => Some(Keepalive {
            idle: Duration::from_secs(of_tcp(libc::TCP_KEEPIDLE)? as u64),
            interval: Duration::from_secs(of_tcp(libc::TCP_KEEPINTVL)? as u64),
            probes: of_tcp(libc::TCP_KEEPCNT)? as u32,
        }),
    };
    let backlog =
        if listens { Some(sys::backlog(socket.as_raw_fd()).map_err(|e| error::plain("getsockopt(TCP_INFO)", e))?) } else { kept.backlog };
    Ok(SockOptions::default()
        .recv_buf(of_socket(libc::SO_RCVBUF)?)
        .send_buf(of_socket(libc::SO_SNDBUF)?)
        .low_water(of_socket(libc::SO_RCVLOWAT)?)
        .priority(of_socket(libc::SO_PRIORITY)? as u32)
        .no_delay(of_tcp(libc::TCP_NODELAY)? != 0)
        .quick_ack(kept.quick_ack)
        .user_timeout(Some(of_tcp(libc::TCP_USER_TIMEOUT)? as u64).filter(|ms| *ms != 0).map(Duration::from_millis))
        .keepalive(keepalive)
        .zero_copy(kept.zero_copy)
        .backlog(backlog)
        .busy_poll(Some(of_socket(libc::SO_BUSY_POLL)? as u64).filter(|us| *us != 0).map(Duration::from_micros))
        .reuse_port(of_socket(libc::SO_REUSEPORT)? != 0)
        .unpaced(!paces(socket)?)
        .source(kept.source))
}

/// Whether its congestion control paces what is sent: those of Linux that do are BBR's versions.
fn paces(socket: &Socket) -> Result<bool, NetError> {
    let name = socket.tcp_congestion().map_err(|e| error::plain("getsockopt(TCP_CONGESTION)", Errno::of(&e)))?;
    Ok(name.starts_with(b"bbr"))
}

/// Where the packets of a socket arrive, as far as the system tells.
pub fn placement(fd: RawFd) -> Placement {
    let tell = |name| sys::get_int(fd, libc::SOL_SOCKET, name).ok().and_then(|n| u32::try_from(n).ok());
    // 0: no packet has come through a NAPI instance.
    Placement { napi_id: tell(SO_INCOMING_NAPI_ID).filter(|id| *id != 0), incoming_cpu: tell(libc::SO_INCOMING_CPU) }
}

/// Listens, with as many waiting connections as were asked for, or an error. Where nothing was
/// asked for, fewer are fine.
pub fn listen(socket: &Socket, backlog: Option<u32>) -> Result<(), NetError> {
    listen_unix(socket, backlog)?;
    let Some(backlog) = backlog else { return Ok(()) };
    let granted = sys::backlog(socket.as_raw_fd()).map_err(|e| error::plain("getsockopt(TCP_INFO)", e))?;
    at_least("backlog", backlog as usize, granted as usize, "net.core.somaxconn")
}

/// The same without a look at what is granted, which the system does not tell of a Unix socket.
pub fn listen_unix(socket: &Socket, backlog: Option<u32>) -> Result<(), NetError> {
    let asked = i32::try_from(backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX);
    socket.listen(asked).map_err(|e| error::plain("listen", Errno::of(&e)))
}

fn keepalive(socket: &Socket, probe: Keepalive) -> Result<(), NetError> {
    whole("keepalive.idle", probe.idle, Duration::from_secs(1))?;
    whole("keepalive.interval", probe.interval, Duration::from_secs(1))?;
    let how = TcpKeepalive::new().with_time(probe.idle).with_interval(probe.interval).with_retries(probe.probes);
    set("keepalive", socket.set_tcp_keepalive(&how))
}

fn set(option: &'static str, done: std::io::Result<()>) -> Result<(), NetError> {
    done.map_err(|e| error::option(option, Errno::of(&e)))
}

fn set_int(socket: &Socket, option: &'static str, level: i32, name: i32, value: usize) -> Result<(), NetError> {
    let value =
        i32::try_from(value).map_err(|_| NetError::Option { option, why: format!("{value} is more than the system counts").into() })?;
    sys::set_int(socket.as_raw_fd(), level, name, value).map_err(|e| error::option(option, e))
}

fn int(socket: &Socket, level: i32, name: i32) -> Result<usize, NetError> {
    let value = sys::get_int(socket.as_raw_fd(), level, name).map_err(|e| error::plain("getsockopt", e))?;
    Ok(usize::try_from(value).unwrap_or(0))
}

fn at_least(option: &'static str, asked: usize, granted: usize, limit: &str) -> Result<(), NetError> {
    if granted >= asked {
        return Ok(());
    }
    Err(NetError::Option { option, why: format!("{asked} was asked for, the system grants {granted} (see {limit})").into() })
}

/// `time` in whole `units`, at least one: a fraction would be rounded to "off" or to something else
/// than asked.
fn whole(option: &'static str, time: Duration, unit: Duration) -> Result<usize, NetError> {
    let units = time.as_nanos() / unit.as_nanos();
    if units == 0 || !time.as_nanos().is_multiple_of(unit.as_nanos()) {
        return Err(NetError::Option { option, why: format!("{time:?} is no whole number of {unit:?}").into() });
    }
    Ok(usize::try_from(units).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};

    use socket2::{Domain, Type};

    use super::*;

    /// A listener that BBR paces, where this system has BBR and lets us; and one connection of it.
    fn accepted(options: &SockOptions) -> Result<(Socket, Socket), NetError> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let has_bbr = listener.set_tcp_congestion(b"bbr").is_ok();
        assert_eq!(paces(&listener)?, has_bbr);
        apply(&listener, options)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bound");
        listen(&listener, None)?;
        let at = listener.local_addr().expect("told").as_socket().expect("IPv4");
        let _far = TcpStream::connect(at).expect("connected");
        let (near, _) = listener.accept().expect("a connection");
        assert_eq!(paces(&near)?, has_bbr && !options.unpaced);
        Ok((listener, near))
    }

    #[test]
    fn s479_where_the_system_paces_a_socket_need_not() {
        accepted(&SockOptions::default()).expect("as the system has it");
        let (listener, near) = accepted(&SockOptions::default().unpaced(true)).expect("unpaced");
        for socket in [&listener, &near] {
            let name = socket.tcp_congestion().expect("told");
            assert!(name.starts_with(b"cubic") || name.starts_with(b"reno"), "{name:?}");
        }
    }

    #[test]
    fn s479_what_does_not_pace_stays() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_tcp_congestion(b"reno").expect("anybody may");
        apply(&socket, &SockOptions::default().unpaced(true)).expect("nothing to do");
        assert!(socket.tcp_congestion().expect("told").starts_with(b"reno"));
    }
}
