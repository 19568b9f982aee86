//! Where a target is, as SPDK's tools write it: `trtype:TCP adrfam:IPv4 traddr:127.0.0.1
//! trsvcid:4420 subnqn:nqn.2016-06.io.spdk:cnode1`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use lcore::net::{NetError, parse_address};
use nvme::fabrics::{DISCOVERY_NQN, LONGEST_NQN};
use thiserror::Error;

/// The port of NVMe/TCP.
const PORT: u16 = 4420;

/// The port of discovery controllers.
const DISCOVERY_PORT: u16 = 8009;

/// What a host connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `traddr` and `trsvcid`.
    pub at: SocketAddr,
    /// `subnqn`; the discovery subsystem's where none is given.
    pub subnqn: String,
    /// `hostnqn`, if it is given here.
    pub hostnqn: Option<String>,
    /// `ns`, if it is given.
    pub nsid: Option<u32>,
}

/// Why a text names no target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Something without a value.
    #[error("{0:?} is no KEY:VALUE; write 'trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:4420 subnqn:NQN'")]
    NoPair(String),
    /// A key that is none.
    #[error("there is no key {0:?}; there are trtype, adrfam, traddr, trsvcid, subnqn, hostnqn and ns")]
    Key(String),
    /// A key twice.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// A value that does not fit its key.
    #[error("{key}:{value}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// No address.
    #[error("traddr is missing: the address of the target")]
    NoAddress,
}

const KEYS: [&str; 7] = ["trtype", "adrfam", "traddr", "trsvcid", "subnqn", "hostnqn", "ns"];

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let mut values: [Option<&str>; KEYS.len()] = [None; _];
        for part in text.split_whitespace() {
            // An address of IPv6 has more colons.
            let at = part.find([':', '=']).filter(|at| at + 1 < part.len()).ok_or_else(|| TargetError::NoPair(part.into()))?;
            let (key, value) = (&part[..at], &part[at + 1..]);
            let index = KEYS.iter().position(|known| known.eq_ignore_ascii_case(key)).ok_or_else(|| TargetError::Key(key.into()))?;
            if values[index].replace(value).is_some() {
                return Err(TargetError::Twice(KEYS[index]));
            }
        }
        let [trtype, adrfam, traddr, trsvcid, subnqn, hostnqn, ns] = values;
        let wrong = |key, value: &str, why: &str| TargetError::Value { key, value: value.into(), why: why.into() };
        if let Some(other) = trtype.filter(|it| !it.eq_ignore_ascii_case("tcp")) {
            return Err(wrong("trtype", other, "there is TCP alone"));
        }
        for (key, name) in [("subnqn", subnqn), ("hostnqn", hostnqn)] {
            if let Some(long) = name.filter(|name| name.len() > LONGEST_NQN) {
                return Err(wrong(key, long, "an NQN has 223 bytes at most"));
            }
        }
        let nsid = ns.map(|ns| ns.parse().ok().filter(|ns| *ns > 0).ok_or_else(|| wrong("ns", ns, "not the number of a namespace")));
        let subnqn = subnqn.unwrap_or(DISCOVERY_NQN);
        let default = if trsvcid.is_none() && subnqn == DISCOVERY_NQN { DISCOVERY_PORT } else { PORT };
        let port = trsvcid.map_or(Ok(default), |port| port.parse().map_err(|_| wrong("trsvcid", port, "not a port, 1 to 65535")))?;
        let at = parse_address(traddr.ok_or(TargetError::NoAddress)?, port)
            .map_err(|why: NetError| wrong("traddr", traddr.unwrap_or(""), &why.to_string()))?;
        if let Some(family) = adrfam.filter(|it| !it.eq_ignore_ascii_case(if at.is_ipv4() { "ipv4" } else { "ipv6" })) {
            return Err(wrong("adrfam", family, &format!("{} is none of that family", at.ip())));
        }
        Ok(Self { at, subnqn: subnqn.into(), hostnqn: hostnqn.map(Into::into), nsid: nsid.transpose()? })
    }
}

impl Target {
    /// Whether it is a discovery subsystem.
    pub fn is_discovery(&self) -> bool {
        self.subnqn == DISCOVERY_NQN
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TCP (addr:{} subnqn:{})", self.at, self.subnqn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s306_a_target_is_read_as_spdk_writes_it() {
        let it: Target = "trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:4421 subnqn:nqn.2016-06.io.spdk:cnode1".parse().unwrap();
        assert_eq!((it.at.to_string().as_str(), it.subnqn.as_str(), it.nsid), ("127.0.0.1:4421", "nqn.2016-06.io.spdk:cnode1", None));
        let it: Target = " TRTYPE=tcp traddr:::1\ttrsvcid:4420 subnqn:nqn.a:b hostnqn:nqn.c ns:7 ".parse().unwrap();
        assert_eq!((it.at.to_string().as_str(), it.subnqn.as_str(), it.nsid), ("[::1]:4420", "nqn.a:b", Some(7)));
        assert_eq!(it.hostnqn.as_deref(), Some("nqn.c"));
        let it: Target = "traddr:127.0.0.1".parse().unwrap();
        assert!(it.is_discovery() && it.at.port() == 8009);
        let it: Target = "traddr:127.0.0.1 subnqn:nqn.a".parse().unwrap();
        assert_eq!((it.is_discovery(), it.at.port()), (false, 4420));
        assert_eq!(it.to_string(), "TCP (addr:127.0.0.1:4420 subnqn:nqn.a)");
    }

    #[test]
    fn s306_what_names_no_target_says_why() {
        let long = format!("traddr:127.0.0.1 subnqn:{}", "n".repeat(224));
        for (text, part) in [
            ("", "traddr is missing"),
            ("trtype:TCP subnqn:a", "traddr is missing"),
            ("127.0.0.1", "\"127.0.0.1\" is no KEY:VALUE"),
            ("traddr:", "is no KEY:VALUE"),
            ("address:127.0.0.1", "no key \"address\""),
            ("traddr:127.0.0.1 traddr:127.0.0.2", "traddr is given twice"),
            ("trtype:RDMA traddr:127.0.0.1", "there is TCP alone"),
            ("traddr:localhost", "names are not looked up"),
            ("adrfam:IPv6 traddr:127.0.0.1", "127.0.0.1 is none of that family"),
            ("adrfam:IPv4 traddr:::1", "::1 is none of that family"),
            ("traddr:127.0.0.1 trsvcid:x", "not a port"),
            ("traddr:127.0.0.1 trsvcid:65536", "not a port"),
            ("traddr:127.0.0.1 ns:0", "not the number of a namespace"),
            (&long, "223 bytes"),
        ] {
            let why = text.parse::<Target>().unwrap_err().to_string();
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }
}
