//! `cargo xtask image run`: boots an image and hands its console through.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::build::Image;
use super::machine::{self, Kind, STOPPED};

/// An image that was asked to stop is killed after this time.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(image: &Image, kind: Kind, port: u16) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).context("could not take signals")?;
    }
    println!("boots {} ({} KiB) on {}; try: echo hi | nc -N 127.0.0.1 {port}", image.description.name, image.size >> 10, kind.name());
    println!("^C stops it");
    if image.description.has_frames() {
        println!("its messages: defmt-print -e {} < {}", image.file.display(), image.frames().display());
    }
    let mut command = machine::command(kind, image, port);
    let mut process = command.stdin(Stdio::piped()).spawn().context("could not start QEMU")?;
    let mut console = process.stdin.take().context("its input is piped")?;
    let mut kill_at = None;
    let status = loop {
        // Looks for its end for this long, then for a signal.
        if let Some(status) = machine::wait(&mut process, Instant::now() + Duration::from_millis(20)) {
            break status;
        }
        if kill_at.is_some_and(|at| Instant::now() > at) {
            process.kill().context("could not kill QEMU")?;
            process.wait()?;
            bail!("the image did not stop within {PATIENCE:?} of ^C, and QEMU was killed");
        }
        if stop.swap(false, Ordering::Relaxed) && kill_at.is_none() {
            kill_at = Some(Instant::now() + PATIENCE);
            // It may be ending already, and then does not read.
            let _ = console.write_all(&[3]);
        }
    };
    if status.code() == Some(STOPPED) {
        return Ok(());
    }
    bail!("the image {} has ended: {}", image.description.name, machine::ending(status))
}
