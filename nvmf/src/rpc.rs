//! The methods by which SPDK's clients set a target up, look at it and take it down.
//!
//! The program gives them its [`Target`](crate::Target) and its `Bdevs`, as services of its control
//! plane.

extern crate std;

mod config;
mod listeners;
mod namespaces;
mod ptpl;
mod secure;
mod subsystems;
mod told;
mod transports;

use std::format;
use std::net::{IpAddr, SocketAddr};
use std::string::{String, ToString};
use std::sync::Arc;

use rpc::{Control, Error};
use serde::{Deserialize, Serialize};

use crate::{NvmfError, Target};

impl From<NvmfError> for Error {
    /// With the code that SPDK has for it.
    fn from(why: NvmfError) -> Self {
        let code = match &why {
            NvmfError::SubsystemExists(_)
            | NvmfError::TooManySubsystems(_)
            | NvmfError::TransportExists
            | NvmfError::NoHost { .. }
            | NvmfError::HostExists { .. } => Self::INTERNAL,
            _ => Self::PARAMS,
        };
        Self::new(code, why.to_string())
    }
}

/// The name that SPDK's target has, and that its clients may say.
const NAME: &str = "nvmf_tgt";

/// The target, which is meant by its name or by none.
fn target(control: &Control, name: Option<&str>) -> Result<Arc<Target>, Error> {
    match name {
        None | Some(NAME) => control.service(),
        Some(other) => Err(Error::internal(format!("Unable to find a target: {other:?}; the one that there is, is {NAME:?}"))),
    }
}

/// What is asked of a subsystem by its name alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfSubsystem {
    nqn: String,
    tgt_name: Option<String>,
}

/// An address as clients say it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    trtype: String,
    adrfam: Option<String>,
    traddr: String,
    trsvcid: Option<String>,
}

impl Address {
    fn read(&self) -> Result<SocketAddr, Error> {
        let Self { trtype, adrfam, traddr, trsvcid } = self;
        is_tcp(trtype)?;
        let wrong = |what: &str, why: String| Err(Error::params(format!("Invalid parameters: listen_address.{what}: {why}")));
        let Ok(ip) = traddr.parse::<IpAddr>() else {
            return wrong("traddr", format!("{traddr:?} is no address, such as 127.0.0.1 or ::1"));
        };
        match adrfam.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("ipv4") | None if ip.is_ipv4() => {}
            // SPDK takes it for IPv4 where nothing is said, and fails.
            Some("ipv6") | None if ip.is_ipv6() => {}
            Some(other) => return wrong("adrfam", format!("{other:?} is not that of {traddr}: IPv4 or IPv6")),
            None => {}
        }
        let Some(port) = trsvcid.as_deref().and_then(|text| text.parse().ok()) else {
            return wrong("trsvcid", format!("{:?} is no port, such as \"4420\"", trsvcid.as_deref().unwrap_or("")));
        };
        Ok(SocketAddr::new(ip, port))
    }
}

/// There is one transport.
fn is_tcp(trtype: &str) -> Result<(), Error> {
    if trtype.eq_ignore_ascii_case("tcp") {
        return Ok(());
    }
    Err(Error::params(format!("Invalid transport type '{trtype}': this target speaks TCP")))
}

/// An address as clients are told it.
#[derive(Serialize)]
struct ToldAddress {
    trtype: &'static str,
    adrfam: &'static str,
    traddr: String,
    trsvcid: String,
}

impl From<SocketAddr> for ToldAddress {
    fn from(at: SocketAddr) -> Self {
        let adrfam = if at.is_ipv4() { "IPv4" } else { "IPv6" };
        Self { trtype: "TCP", adrfam, traddr: at.ip().to_string(), trsvcid: at.port().to_string() }
    }
}

/// Refuses what SPDK can do, and this target cannot.
fn refuse(key: &str, is_asked: bool, why: &str) -> Result<(), Error> {
    if is_asked { Err(Error::params(format!("Invalid parameters: {key}: {why}"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s335_an_address_is_told_as_it_was_said() {
        let read = |trtype: &str, adrfam: Option<&str>, traddr: &str, trsvcid: Option<&str>| {
            let own = |text: Option<&str>| text.map(String::from);
            Address { trtype: trtype.into(), adrfam: own(adrfam), traddr: traddr.into(), trsvcid: own(trsvcid) }.read()
        };
        assert_eq!(read("tcp", None, "127.0.0.1", Some("4420")), Ok(([127, 0, 0, 1], 4420).into()));
        let six = read("TCP", Some("IPv6"), "::1", Some("1")).expect("it is one");
        assert_eq!(six, read("TCP", None, "::1", Some("1")).expect("it is one"));
        let told = ToldAddress::from(six);
        assert_eq!((told.trtype, told.adrfam, &*told.traddr, &*told.trsvcid), ("TCP", "IPv6", "::1", "1"));
        for (trtype, adrfam, traddr, trsvcid, part) in [
            ("rdma", None, "127.0.0.1", Some("4420"), "'rdma'"),
            ("tcp", Some("ipv6"), "127.0.0.1", Some("4420"), "adrfam"),
            ("tcp", Some("ib"), "127.0.0.1", Some("4420"), "adrfam"),
            ("tcp", None, "localhost", Some("4420"), "traddr"),
            ("tcp", None, "127.0.0.1", Some("65536"), "trsvcid"),
            ("tcp", None, "127.0.0.1", None, "trsvcid"),
        ] {
            let why = read(trtype, adrfam, traddr, trsvcid).expect_err("it is none");
            assert!(why.code() == Error::PARAMS && why.message().contains(part), "{why}");
        }
    }
}
