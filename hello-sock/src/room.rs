//! What the machine has room for, looked at before it is taken.

use std::fmt::Display;

use lcore::net::GroupConfig;
use lcore::platform::{Limits, available_memory};

/// Connections that a server holds on each core where nobody says.
const SOCKETS: u64 = 16384;

/// Connections for each of `cores`: those asked for, if the process can have them.
pub(crate) fn sockets(asked: Option<u32>, cores: usize) -> Result<usize, String> {
    let sockets = of_descriptors(asked, Limits::read().most_descriptors.unwrap_or(u64::MAX))? as usize;
    let bytes = sockets.saturating_mul(cores).saturating_mul(GroupConfig::BYTES_OF_A_SOCKET);
    memory(format_args!("--sockets {sockets} on {cores} cores"), bytes)?;
    Ok(sockets)
}

/// Each connection takes a descriptor. What is there may be raised while the server runs, up to the
/// hard limit.
fn of_descriptors(asked: Option<u32>, there: u64) -> Result<u64, String> {
    match asked.map(u64::from) {
        None => Ok(SOCKETS),
        Some(asked) if asked > there => {
            Err(format!("--sockets {asked}: each takes a descriptor, and this process may open {there} at most (see ulimit -Hn)"))
        }
        Some(asked) => Ok(asked),
    }
}

/// Whether there are so many bytes for `what`. The system grants more than there are, and ends some
/// process when they are written to.
pub(crate) fn memory(what: impl Display, bytes: usize) -> Result<(), String> {
    match available_memory() {
        Some(available) if bytes as u64 > available => {
            Err(format!("{what}: that takes {} MiB of memory, and {} MiB are available", bytes >> 20, available >> 20))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s99_what_there_is_no_room_for_is_refused_with_the_numbers() {
        assert_eq!(of_descriptors(None, 1000), Ok(SOCKETS), "nobody has asked for so many");
        assert_eq!(of_descriptors(Some(1000), 1000), Ok(1000));
        let why = of_descriptors(Some(1001), 1000).unwrap_err();
        assert!(why.starts_with("--sockets 1001: each takes") && why.contains("may open 1000 "), "{why}");
        let may = Limits::read().most_descriptors.unwrap_or(SOCKETS).min(SOCKETS);
        // More cores than any machine has.
        let why = sockets(Some(may as u32), 1 << 30).unwrap_err();
        assert!(why.contains(" on 1073741824 cores: that takes ") && why.ends_with(" MiB are available"), "{why}");
        let available = available_memory().expect("this machine tells") as usize;
        assert_eq!(memory("half of it", available / 2), Ok(()));
        assert!(memory("twice as much", available * 2).is_err());
    }
}
