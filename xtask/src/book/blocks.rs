//! Blocks of commands in the pages: each is run, or says why it is for hands.
//!
//! A comment above the block, which readers do not see, is `<!-- run -->` or
//! `<!-- by hand: why -->`. A block runs in an empty folder, with the programs that it may call in
//! front of the path, and has to end by itself and well.

use std::env;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::{pages, read};
use crate::program::{self, cargo};

/// What blocks that are run may call.
const PROGRAMS: [&str; 2] = ["hello-sock", "lcore-top"];
const RUN: &str = "<!-- run -->";
const BY_HAND: &str = "<!-- by hand: ";

/// A block, and what is said above it.
struct Block<'a> {
    /// The line of its fence.
    line: usize,
    mark: &'a str,
    commands: String,
}

/// Runs the blocks of the pages that are to be run. How many those are, and how many are not.
pub(super) fn run(sh: &Shell, docs: &Path) -> Result<(usize, usize)> {
    let (mut to_run, mut by_hand, mut unmarked) = (Vec::new(), 0, Vec::new());
    for page in pages(docs)? {
        let text = read(&docs.join(&page))?;
        for block in blocks(&text) {
            match block.mark {
                RUN => to_run.push((format!("{page}:{}", block.line), block.commands)),
                mark if mark.starts_with(BY_HAND) => by_hand += 1,
                _ => unmarked.push(format!("{page}:{}", block.line)),
            }
        }
    }
    ensure!(unmarked.is_empty(), "above a block of commands stands {RUN} or {BY_HAND}why -->:\n{}", unmarked.join("\n"));
    ensure!(!to_run.is_empty(), "no block of commands is run");
    let cargo = cargo();
    let packages = PROGRAMS.iter().flat_map(|package| ["-p", package]);
    cmd!(sh, "{cargo} build --quiet {packages...}").run()?;
    let folders = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([program::target()?.join("debug")].into_iter().chain(env::split_paths(&folders)))?;
    for (at, commands) in &to_run {
        let folder = sh.create_temp_dir()?;
        let _in = sh.push_dir(folder.path());
        cmd!(sh, "timeout 120 sh -eu -c {commands}").env("PATH", &path).run().with_context(|| format!("the commands of {at}"))?;
    }
    Ok((to_run.len(), by_hand))
}

/// The blocks of commands in `text`.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let (mut mark, mut is_in) = ("", false);
    for (at, line) in text.lines().enumerate() {
        if line == "```sh" {
            blocks.push(Block { line: at + 1, mark, commands: String::new() });
            is_in = true;
        } else if line == "```" {
            is_in = false;
        } else if is_in && let Some(block) = blocks.last_mut() {
            block.commands += line;
            block.commands.push('\n');
        }
        mark = line;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_what_is_said_above_them() {
        let text = "<!-- run -->\n```sh\na\nb\n```\n```text\nc\n```\nNothing:\n```sh\nd\n```\n";
        let found: Vec<_> = blocks(text).into_iter().map(|it| (it.line, it.mark, it.commands)).collect();
        assert_eq!(found, [(2, RUN, "a\nb\n".to_owned()), (10, "Nothing:", "d\n".to_owned())]);
    }
}
