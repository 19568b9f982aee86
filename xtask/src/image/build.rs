//! Building an image: for the host's own target, which every toolchain has, or for
//! `x86_64-unknown-none`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use xshell::{Shell, cmd};

use super::description::Description;
use crate::program::{self, cargo};
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

fn build_program(name: &str, image: &str, target: Target) -> Result<Image> {
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
    command.env("CARGO_TARGET_DIR", folder()?);
    command.args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "hello-image",
        "--bin",
        name,
        "--features",
        &description.features(),
    ]);
    command.args(["--config", &format!("build.rustflags={:?}", short_paths()?)]);
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
    let built = folder()?.join(triple).join("release").join(name);
    let file = if name == "faults" { source.with_file_name("faults.elf") } else { source.with_extension("elf") };
    let size = std::fs::copy(&built, &file).with_context(|| format!("could not copy {}", built.display()))?;
    Ok(Image { description, file, size })
}

/// Flags that shorten the paths of sources, which panics name: to those of the repository, and to
/// the package and its version.
fn short_paths() -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let sources = home.context("cargo's folder is unknown: set CARGO_HOME")?.join("registry/src");
    let registries = std::fs::read_dir(&sources).with_context(|| format!("could not list {}", sources.display()))?;
    let registries = registries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let folders = registries.into_iter().chain([repository().to_path_buf()]);
    Ok(folders.map(|folder| format!("--remap-path-prefix={}/=", folder.display())).collect())
}

/// Where images are built: named to cargo, since what the environment says would go before the
/// configuration of their workspace.
pub(super) fn folder() -> Result<PathBuf> {
    Ok(program::target()?.join("image"))
}

/// Writes the source of an image's description, as its build needs it, and tells where it is.
pub(super) fn describe(image: &str) -> Result<PathBuf> {
    write_source(&Description::read(image)?)
}

fn write_source(description: &Description) -> Result<PathBuf> {
    let folder = folder()?.join("images");
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
