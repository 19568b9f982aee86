//! `cargo xtask image bench`: how long an image takes from QEMU's start to its first echo.

use std::time::Duration;

use anyhow::Result;

use super::build::Image;
use super::machine::{Guest, Kind};
use super::peer;

pub(super) fn bench(image: &Image, kind: Kind, runs: u32) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let mut guest = Guest::start(kind, image)?;
        // A connection that comes before would wait for QEMU's network to send its SYN again, which
        // it does after six seconds.
        guest.line("Listening connection on", Duration::from_secs(30))?;
        peer::echo(guest.at)?;
        times.push(guest.started.elapsed());
    }
    times.sort();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    let (first, last) = (times.first().map_or(0.0, ms), times.last().map_or(0.0, ms));
    println!(
        "{}: from QEMU's start to the first echo {:.0} ms (median of {runs}; {first:.0} to {last:.0})",
        kind.name(),
        ms(&times[times.len() / 2])
    );
    Ok(())
}
