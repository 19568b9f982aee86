//! `cargo xtask image size`: what an image and the smallest example take, in the file and in
//! memory.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::{self, Image};
use crate::program::cargo;
use crate::repository;

/// Where the smallest example is built, if the toolchain can: targets without an operating system.
const BARE: [&str; 2] = ["thumbv7em-none-eabihf", "riscv32imac-unknown-none-elf"];

/// The parts of a 64-bit ELF file that are loaded: bytes of code, of constants, of data, and of
/// memory that begins as zeros.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    code: u64,
    constants: u64,
    data: u64,
    zeros: u64,
}

impl Parts {
    /// Reads the program headers (ELF-64 Object File Format, 1.5, "Program Header").
    fn read(elf: &[u8]) -> Option<Self> {
        const LOAD: u32 = 1;
        let word = |at: usize| Some(u64::from_le_bytes(elf.get(at..at + 8)?.try_into().ok()?));
        let half = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
        if elf.get(..5)? != b"\x7fELF\x02" {
            return None;
        }
        let (first, sizes) = (word(32)? as usize, half(54)?);
        let (size, count) = ((sizes & 0xffff) as usize, (sizes >> 16) as usize);
        let mut parts = Self::default();
        for at in (0..count).map(|n| first + n * size) {
            if half(at)? != LOAD {
                continue;
            }
            let (flags, file, memory) = (half(at + 4)?, word(at + 32)?, word(at + 40)?);
            let part = match flags & 3 {
                1 => &mut parts.code,
                0 => &mut parts.constants,
                _ => &mut parts.data,
            };
            *part += file;
            parts.zeros += memory.checked_sub(file)?;
        }
        Some(parts)
    }
}

fn tell(what: &str, file: &Path) -> Result<()> {
    let elf = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    let parts = Parts::read(&elf).with_context(|| format!("{} is no ELF file of 64 bits", file.display()))?;
    let Parts { code, constants, data, zeros } = parts;
    println!("{what}: file {} bytes; code {code}, constants {constants}, data {data}, zeroed memory {zeros}", elf.len());
    Ok(())
}

pub(super) fn image(image: &Image) -> Result<()> {
    tell(&format!("image {}", image.description.name), &image.file)
}

/// Builds the smallest example for the host's target and runs it, and builds it for bare targets
/// where they are installed.
pub(super) fn smallest() -> Result<()> {
    let build = |target: &[&str]| -> Result<()> {
        let mut command = Command::new(cargo());
        command.current_dir(repository().join("image")).env_remove("RUSTFLAGS").env("CARGO_TARGET_DIR", build::folder()?);
        command.args(["build", "--quiet", "--release", "--locked", "--package", "smallest"]).args(target);
        let status = command.status().context("could not start cargo build")?;
        ensure!(status.success(), "the smallest example did not build {} ({status})", target.join(" "));
        Ok(())
    };
    build(&[])?;
    let file = build::folder()?.join(build::host()?).join("release/smallest");
    tell("smallest example", &file)?;
    let out = Command::new(&file).output().context("could not start the smallest example")?;
    let said = String::from_utf8_lossy(&out.stdout);
    ensure!(out.status.success(), "the smallest example ended with {}: {said}", out.status);
    print!("{said}");
    for target in BARE {
        if build::is_installed(target)? {
            build(&["--target", target])?;
            println!("smallest example: builds for {target}");
        } else {
            println!("smallest example: {target} is not installed here, so not built for it");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_program_headers() {
        let mut elf = b"\x7fELF\x02".to_vec();
        elf.resize(64, 0);
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 3;
        for (kind, flags, file, memory) in [(1_u32, 5_u32, 100_u64, 100_u64), (1, 6, 10, 30), (4, 4, 7, 7)] {
            elf.extend([kind.to_le_bytes(), flags.to_le_bytes()].concat());
            elf.extend([0; 24]);
            elf.extend([file.to_le_bytes(), memory.to_le_bytes(), [0; 8]].concat());
        }
        assert_eq!(Parts::read(&elf), Some(Parts { code: 100, constants: 0, data: 10, zeros: 20 }));
        assert_eq!(Parts::read(&elf[..130]), None);
        assert_eq!(Parts::read(b"#!/bin/sh"), None);
    }
}
