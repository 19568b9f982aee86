//! Building an image: for the host's own target, which every toolchain has, or for `x86_64-unknown-none`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use xshell::{Shell, cmd};

use super::description::Description;
use crate::program::cargo;
use crate::repository;

/// What an image is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    /// The host's own target, without its standard library: nothing to install.
    Host,
    /// x86_64-unknown-none (`rustup target add x86_64-unknown-none`).
    None,
}

pub(super) const NONE: &str = "x86_64-unknown-none";

impl Image {
    /// Where its machine writes its defmt frames.
    pub(super) fn frames(&self) -> PathBuf {
        self.file.with_extension("defmt")
    }
}

/// A built image.
pub(super) struct Image {
    pub(super) description: Description,
    pub(super) file: PathBuf,
    /// Bytes of the file.
    pub(super) size: u64,
}

/// The image that goes wrong on purpose, with the memory of `hello`.
pub(super) fn faults() -> Result<Image> {
    build_program("faults", "hello", Target::Host)
}

pub(super) fn build(image: &str, target: Target) -> Result<Image> {
    build_program("hello-image", image, target)
}

fn build_program(program: &str, image: &str, target: Target) -> Result<Image> {
    let description = Description::read(image)?;
    ensure!(
        cfg!(all(target_arch = "x86_64", target_os = "linux")) || target == Target::None,
        "images are for x86-64, and this host is something else: build with --target none"
    );
    if target == Target::None {
        ensure!(is_installed(NONE)?, "{NONE} is not installed: `rustup target add {NONE}`, or build without --target none");
    }
    let source = write_source(&description)?;
    let mut command = Command::new(cargo());
    command.current_dir(repository().join("image")).env("LCORE_IMAGE", &source).env_remove("RUSTFLAGS");
    command.args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "hello-image",
        "--bin",
        program,
        "--features",
        description.features(),
    ]);
    if target == Target::None {
        command.args(["--target", NONE]);
    }
    if description.has_frames() {
        // The texts of the frames are symbols of the file.
        command.args(["--config", "profile.release.strip=false"]).env("DEFMT_LOG", "debug");
    }
    let status = command.status().context("could not start cargo build")?;
    ensure!(status.success(), "the image {} did not build ({status})", description.name);
    let triple = if target == Target::None { NONE.to_owned() } else { host()? };
    let built = repository().join("target/image").join(triple).join("release").join(program);
    let file = if program == "faults" { source.with_file_name("faults.elf") } else { source.with_extension("elf") };
    let size = std::fs::copy(&built, &file).with_context(|| format!("could not copy {}", built.display()))?;
    Ok(Image { description, file, size })
}

/// Writes the source of an image's description, as its build needs it.
pub(super) fn describe(image: &str) -> Result<()> {
    write_source(&Description::read(image)?).map(drop)
}

fn write_source(description: &Description) -> Result<PathBuf> {
    let folder = repository().join("target/image/images");
    std::fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    let source = folder.join(format!("{}.rs", description.name));
    write_if_changed(&source, &description.source())?;
    Ok(source)
}

/// Writes only what is new, so that cargo does not compile again what is the same.
fn write_if_changed(path: &PathBuf, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
}

/// The host's target.
pub(super) fn host() -> Result<String> {
    let sh = Shell::new()?;
    let said = cmd!(sh, "rustc -vV").quiet().read()?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV does not name its host")?.to_owned())
}

/// Whether the toolchain has the core library of a target.
pub(super) fn is_installed(target: &str) -> Result<bool> {
    let sh = Shell::new()?;
    let folder = cmd!(sh, "rustc --print target-libdir --target {target}").quiet().ignore_stderr().read()?;
    Ok(std::path::Path::new(&folder).is_dir())
}
