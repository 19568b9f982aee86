//! Socket addresses to and from the C library's.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A `sockaddr` of either family.
#[repr(C)]
pub(super) union CAddr {
    any: libc::sockaddr,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl CAddr {
    pub(super) fn new(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(at) => Self {
                v4: libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: at.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(at.ip().octets()) },
                    sin_zero: [0; 8],
                },
            },
            SocketAddr::V6(at) => Self {
                v6: libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: at.port().to_be(),
                    sin6_flowinfo: at.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: at.ip().octets() },
                    sin6_scope_id: at.scope_id(),
                },
            },
        }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut *self).cast()
    }
}

/// The address in a `sockaddr_storage`, if it is one of IP.
pub(super) fn read(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let at: *const libc::sockaddr_storage = storage;
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which of the structures it is, and the storage has room and
            // alignment for each.
            let v4 = unsafe { &*at.cast::<libc::sockaddr_in>() };
            let ip = IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(ip, u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}
