//! Why a run ends.

use std::net::SocketAddr;
use std::time::Duration;

use lcore::net::NetError;
use lcore::pool::PoolError;
use lcore::{DataPoolError, SpawnError};
use nvme::auth::HostError;
use nvme::host::{Failed, Refused};
use nvme::{Fault, Status};
use thiserror::Error;

/// What one connection, or the whole run, ended with.
#[derive(Debug, Error)]
pub(crate) enum Trouble {
    #[error("{at}: {why}")]
    Net { at: SocketAddr, why: NetError },
    #[cfg(feature = "tls")]
    #[error("{at}: {why}")]
    Tls { at: SocketAddr, why: String },
    #[error("{at} closed the connection{during}")]
    Closed { at: SocketAddr, during: String },
    #[error("{at}: {why}")]
    Protocol { at: SocketAddr, why: Fault },
    #[error("{at} says that this host broke the protocol (C2HTermReq, FES {fes:#x}, FEI {fei:#x}) and ended the connection")]
    Terminated { at: SocketAddr, fes: u16, fei: u32 },
    #[error("{at} did not answer for {} s", .patience.as_secs())]
    Silent { at: SocketAddr, patience: Duration },
    #[error("{at}: {why}")]
    BringUp { at: SocketAddr, why: Failed },
    #[error("{at}: {what} failed: {status}")]
    Command { at: SocketAddr, what: &'static str, status: Status },
    #[error("{at}: {why}")]
    Unproven { at: SocketAddr, why: HostError },
    #[error("{at} wants to know who this host is: give --dhchap-key, and --hostnqn as the target knows it")]
    NoKey { at: SocketAddr },
    #[error("{at} does not show who it is, and --dhchap-ctrlr-key wants it to: it lets this host in without a key")]
    NotAsked { at: SocketAddr },
    #[error("a command was not submitted: {0}")]
    Refused(#[from] Refused),
    #[error("the group: {0}")]
    Group(#[from] NetError),
    #[error("the buffer pool: {0}")]
    Buffers(#[from] PoolError),
    #[error(transparent)]
    Pool(#[from] DataPoolError),
    #[error("the thread of a core: {0}")]
    Thread(#[from] SpawnError),
    #[error("the buffers for sending ran out: give more with --large-pool-count")]
    NoBuffer,
    #[error("{0}")]
    Unfit(String),
    #[error("ended before anything was measured")]
    Interrupted,
}
