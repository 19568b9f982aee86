//! What the machine has room for, looked at before it is taken.

use std::fmt::Display;

use lcore::net::GroupConfig;
use lcore::platform::{Limits, available_memory};

/// Connections that a server holds on each core where nobody says.
const SOCKETS: u64 = 16384;

/// Connections for each of `cores`: those asked for, if the process can have them.
pub(crate) fn sockets(asked: Option<u32>, cores: usize) -> Result<usize, String> {
    let descriptors = Limits::read().descriptors.unwrap_or(u64::MAX);
    let sockets = match asked.map(u64::from) {
        None => SOCKETS.min(descriptors),
        Some(asked) if asked > descriptors => {
            let why = "each takes a descriptor, and this process may open";
            return Err(format!("--sockets {asked}: {why} {descriptors} (see ulimit -n)"));
        }
        Some(asked) => asked,
    };
    let bytes = (sockets as usize).saturating_mul(cores).saturating_mul(GroupConfig::BYTES_OF_A_SOCKET);
    memory(format_args!("--sockets {sockets} on {cores} cores"), bytes)?;
    Ok(sockets as usize)
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
        let may = Limits::read().descriptors.expect("tests run under a limit");
        assert_eq!(sockets(None, 1), Ok(may.min(SOCKETS) as usize));
        assert_eq!(sockets(Some(may as u32), 1), Ok(may as usize));
        let why = sockets(Some(may as u32 + 1), 1).unwrap_err();
        assert!(why.starts_with(&format!("--sockets {}: each takes", may + 1)) && why.contains(&format!("may open {may} ")), "{why}");
        // More cores than any machine has.
        let why = sockets(Some(may as u32), 1 << 30).unwrap_err();
        assert!(why.contains(" on 1073741824 cores: that takes ") && why.ends_with(" MiB are available"), "{why}");
        let available = available_memory().expect("this machine tells") as usize;
        assert_eq!(memory("half of it", available / 2), Ok(()));
        assert!(memory("twice as much", available * 2).is_err());
    }
}
