//! Kernels and tools of the distribution's other suites: fetched by apt with a configuration of its
//! own, unpacked into `target/vm`, and never installed.
//!
//! Where packages come from is what this computer's own sources say; only the suite is another.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::cache;
use super::kernel::by_version;
use crate::packages::{self, Needed};

/// Debian's suites with kernels newer than its releases'.
const SUITES: [&str; 2] = ["bookworm-backports", "trixie-backports"];

/// Debian's first release with tlshd, and the suite whose nvme-cli derives keys as NVMe/TCP says.
const TOOLS: [&str; 2] = ["trixie", "sid"];

const UNPACKERS: [Needed; 2] = [packages::program("dpkg", "dpkg-deb"), packages::program("zstd", "zstd")];

/// The package that stands for the newest kernel of its suite.
const META: &str = "linux-image-amd64";

/// Where a kernel was unpacked to: a folder with `boot` and `lib/modules`. `prefix` begins its
/// version; without one it is the newest that there is.
pub(super) fn get(prefix: Option<&str>) -> Result<PathBuf> {
    let folder = cache::folder()?.join("kernels");
    if let Some(there) = prefix.and_then(|prefix| unpacked(&folder, prefix)) {
        return Ok(there);
    }
    packages::need("a kernel of another suite", &UNPACKERS)?;
    let apt = Apt::new(&cache::folder()?.join("apt"), &SUITES)?;
    let (package, suites) = (apt.newest(prefix)?, SUITES.join(", "));
    let Some(package) = package else { bail!("none of {suites} has a kernel {}", prefix.unwrap_or("")) };
    let wanted = apt.parts(&package)?;
    let version = wanted
        .iter()
        .find_map(|name| name.strip_prefix("linux-image-"))
        .context("the newest kernel's package has another name than expected")?;
    let to = folder.join(version);
    if !to.is_dir() {
        println!("fetching the kernel {version} ({package})");
        apt.unpack(&wanted, &to)?;
    }
    Ok(to)
}

/// Where these packages of newer suites (`package/suite`) were unpacked to, all into one folder
/// whose name begins with `name`.
pub(super) fn newer(name: &str, wanted: &[&str]) -> Result<PathBuf> {
    // Another list of packages is another folder.
    let to = cache::folder()?.join(format!("{name}-{}", cache::key(&wanted)));
    if to.is_dir() {
        return Ok(to);
    }
    packages::need("tools of a newer release", &UNPACKERS)?;
    println!("fetching {name} ({} packages of {})", wanted.len(), TOOLS.join(", "));
    let apt = Apt::new(&cache::folder()?.join("apt-newer"), &TOOLS)?;
    let new = apt.unpacked(&wanted.iter().map(|&package| package.to_owned()).collect(), &to)?;
    fs::rename(&new, &to).with_context(|| format!("could not make {}", to.display()))?;
    Ok(to)
}

/// The newest of those that were unpacked before whose version begins like this.
fn unpacked(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let names = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| begins(name, prefix)).max_by(|a, b| by_version(a, b)).map(|name| folder.join(name))
}

/// Whether a version is `prefix`, or one of its: 6.1 is none of 6.12.
pub(super) fn begins(version: &str, prefix: &str) -> bool {
    version.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Apt with sources, lists and archives of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path, suites: &[&str]) -> Result<Self> {
        let apt = Self { folder: folder.into() };
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("could not make {}", folder.join(part).display()))?;
        }
        let sources = suites.iter().map(|suite| own_source().map(|(options, address)| format!("deb {options}{address} {suite} main\n")));
        let text = sources.collect::<Option<String>>().context("apt's sources on this computer name no archive of Debian")?;
        fs::write(folder.join("sources.list"), text).context("could not write apt's sources")?;
        apt.said("apt-get", &["-q", "update"])?;
        Ok(apt)
    }

    /// What a program of apt's says.
    fn said(&self, program: &str, args: &[&str]) -> Result<String> {
        let at = |part: &str| self.folder.join(part).display().to_string();
        let mut command = Command::new(program);
        for (name, value) in [
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::State::lists", at("lists")),
            ("Dir::Cache", at("cache")),
            // The folder is not one that apt's own user may write to.
            ("APT::Sandbox::User", "root".into()),
            ("Acquire::Languages", "none".into()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".into()),
        ] {
            command.args(["-o", &format!("{name}={value}")]);
        }
        let out = command.args(args).current_dir(&self.folder).output().with_context(|| format!("could not start {program}"))?;
        let complaint = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "{program} {}: {}", args.join(" "), complaint.trim());
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// The newest kernel, as `package=version`.
    fn newest(&self, prefix: Option<&str>) -> Result<Option<String>> {
        let versions = versions(&self.said("apt-cache", &["madison", META])?);
        let fits = |version: &String| prefix.is_none_or(|prefix| begins(version, prefix));
        Ok(versions.into_iter().filter(fits).max_by(|a, b| by_version(a, b)).map(|version| format!("{META}={version}")))
    }

    /// The packages of a kernel itself: newer ones come in several.
    fn parts(&self, package: &str) -> Result<BTreeSet<String>> {
        let (mut found, mut open) = (BTreeSet::new(), vec![package.to_owned()]);
        while let Some(package) = open.pop() {
            let parts = parts(&self.said("apt-cache", &["depends", &package])?);
            open.extend(parts.into_iter().filter(|part| found.insert(part.clone())));
        }
        Ok(found)
    }

    /// Unpacks these beside the place where they are to be, so that what was begun and not finished
    /// is not taken for whole.
    fn unpacked(&self, wanted: &BTreeSet<String>, to: &Path) -> Result<PathBuf> {
        let names: Vec<_> = wanted.iter().map(String::as_str).collect();
        self.said("apt-get", &[&["-q", "download"], &names[..]].concat())?;
        let new = to.with_extension("new");
        let _ = fs::remove_dir_all(&new);
        fs::create_dir_all(&new)?;
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?.path();
            if file.extension().is_none_or(|it| it != "deb") {
                continue;
            }
            run(Command::new("dpkg-deb").arg("-x").args([&file, &new]))?;
            fs::remove_file(&file)?;
        }
        Ok(new)
    }

    /// Unpacks a kernel.
    fn unpack(&self, wanted: &BTreeSet<String>, to: &Path) -> Result<()> {
        let new = self.unpacked(wanted, to)?;
        let version = to.file_name().and_then(|name| name.to_str()).context("it has a name")?;
        // Newer packages have modules and the kernel in other places than older ones.
        let image = format!("boot/vmlinuz-{version}");
        if !new.join("lib").exists() {
            symlink("usr/lib", new.join("lib"))?;
        }
        if !new.join(&image).exists() {
            fs::create_dir_all(new.join("boot"))?;
            symlink(format!("../lib/modules/{version}/vmlinuz"), new.join(&image))?;
        }
        let depmod = packages::find("depmod").context("depmod is not there")?;
        run(Command::new(depmod).arg("-b").arg(&new).arg(version))?;
        fs::rename(&new, to).with_context(|| format!("could not make {}", to.display()))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("could not start {command:?}"))?;
    ensure!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(())
}

/// `linux-image-amd64 | 6.12.95-1~bpo12+1 | …` of `apt-cache madison`.
fn versions(said: &str) -> Vec<String> {
    said.lines().filter_map(|line| line.split('|').nth(1)).map(|version| version.trim().to_owned()).collect()
}

/// The packages with a kernel's number in their names among what `apt-cache depends` says is
/// needed.
fn parts(said: &str) -> Vec<String> {
    let needed = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let kernels = ["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"];
    let numbered =
        |name: &&str| kernels.iter().any(|kind| name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
    needed.filter(numbered).map(str::to_owned).collect()
}

/// The options (`[signed-by=…] `) and the address of the archive that this computer's packages come
/// from.
fn own_source() -> Option<(String, String)> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?.trim_matches('"').to_owned();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())));
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| source_of(&text, &codename))
}

/// The source of the suite `codename` in either of apt's formats.
fn source_of(text: &str, codename: &str) -> Option<(String, String)> {
    let one_line = text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (format!("[{options}] "), rest),
            None => (String::new(), rest),
        };
        let mut words = rest.split_whitespace();
        let (address, suite) = (words.next()?, words.next()?);
        (suite == codename).then(|| (options, address.to_owned()))
    });
    one_line.or_else(|| {
        text.split("\n\n").find_map(|stanza| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            field("Suites:")?.split_whitespace().find(|suite| *suite == codename)?;
            let options = field("Signed-By:").map_or_else(String::new, |key| format!("[signed-by={key}] "));
            Some((options, field("URIs:")?.split_whitespace().next()?.to_owned()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_computers_own_source_is_found_in_both_formats() {
        let stanzas = "Types: deb\n# a comment\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
                       Types: deb\nURIs: http://a.example/security\nSuites: bookworm-security\n";
        assert_eq!(source_of(stanzas, "bookworm"), Some(("[signed-by=/k.gpg] ".into(), "http://a.example/debian".into())));
        assert_eq!(source_of(stanzas, "trixie"), None);
        let lines = "# deb http://no.example bookworm main\ndeb http://b.example/ other main\ndeb [arch=amd64] http://c.example/debian bookworm main\n";
        assert_eq!(source_of(lines, "bookworm"), Some(("[arch=amd64] ".into(), "http://c.example/debian".into())));
        assert_eq!(source_of("deb http://b.example/ sid main", "sid"), Some((String::new(), "http://b.example/".into())));
    }

    #[test]
    fn a_kernel_comes_in_one_package_or_in_several() {
        let old = "linux-image-amd64\n  Depends: linux-image-6.12.95+deb12-amd64\n";
        assert_eq!(parts(old), ["linux-image-6.12.95+deb12-amd64"]);
        let new = "linux-image-7.3.4+deb13-amd64\n  PreDepends: linux-base\n |Depends: dracut\n  Depends: linux-base-7.3.4+deb13-amd64\n  \
                   Depends: linux-binary-7.3.4+deb13-amd64\n  Depends: linux-modules-7.3.4+deb13-amd64\n  Suggests: linux-image-9-amd64\n";
        assert_eq!(parts(new), ["linux-base-7.3.4+deb13-amd64", "linux-binary-7.3.4+deb13-amd64", "linux-modules-7.3.4+deb13-amd64"]);
        let said = "linux-image-amd64 | 7.3.4-1~bpo13+1 | http://a.example trixie-backports/main amd64 Packages\nlinux-image-amd64 | 6.12.95-1 | x\n";
        assert_eq!(versions(said), ["7.3.4-1~bpo13+1", "6.12.95-1"]);
    }

    #[test]
    fn a_version_begins_with_whole_numbers() {
        assert!(begins("6.12.95+deb12-amd64", "6.12") && begins("6.12", "6.12") && begins("7.3.4-1", "7"));
        assert!(!begins("6.12.95", "6.1") && !begins("6.1.0-57-amd64", "6.12") && !begins("16.1", "6.1"));
    }
}
