//! SMB Direct over any transport, as a library: a server over poll groups, for any number of
//! connections, and a client.
//!
#![doc = include_str!("../README.md")]
//!
//! A [`Server`] holds a transport's `QueueGroup` on each of its cores. For each connection there is
//! a [`Session`], which joins a `smb_direct::Connection` (what to do) to a queue (how); the
//! [`client`] uses it as well. Nothing here knows which transport it is.
#![forbid(unsafe_code)]

mod budget;
pub mod client;
mod clock;
mod memory;
mod pattern;
mod server;
mod session;
mod work;

pub use budget::Budget;
pub use memory::{Answer, Command, Kind, status};
pub use pattern::Pattern;
pub use server::{GroupReport, Server, ServerConfig, ServerError};
pub use session::{End, Session};

/// Reads the words of `--wait`.
///
/// # Errors
/// Neither `polled` nor `event`.
pub fn parse_wait(text: &str) -> Result<lcore::transport::Wait, String> {
    match text {
        "polled" => Ok(lcore::transport::Wait::Polled),
        "event" => Ok(lcore::transport::Wait::Events),
        _ => Err("it is polled or event".into()),
    }
}

/// What a client's private data asks for, in its first byte. A client that sends none, or zeros,
/// gets an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Each message comes back.
    Echo,
    /// Messages are [`Command`]s that move memory by RDMA.
    Memory,
}

impl Service {
    /// The private data that asks for it.
    pub fn private_data(self) -> [u8; 1] {
        [u8::from(self == Self::Memory)]
    }

    /// What `private_data` asks for; `None` if that is no service.
    pub fn asked_for(private_data: &[u8]) -> Option<Self> {
        match private_data.first() {
            None | Some(0) => Some(Self::Echo),
            Some(1) => Some(Self::Memory),
            Some(_) => None,
        }
    }
}
