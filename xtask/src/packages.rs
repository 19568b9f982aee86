//! Programs that come from packages of the distribution: which are missing, and getting them.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// A package, and the program of it that is looked for.
pub(crate) type Package = (&'static str, &'static str);

/// Makes sure that the programs are here: installs the missing packages where that is allowed, and says which are missing otherwise.
pub(crate) fn need(packages: &[Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() || !is_here("apt-get") {
        bail!("not installed here: run `{command}` as root, or install what your distribution calls it");
    }
    println!("not installed here: {command}");
    let install = || apt_get(&[&["install", "-y", "--no-install-recommends"], &missing[..]].concat());
    // The first attempt fails where the lists of packages are old or were never there.
    if !install()? {
        ensure!(apt_get(&["update"])? && install()?, "`{command}` failed: install it by hand");
    }
    Ok(())
}

fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().filter(|(_, program)| !is_here(program)).map(|(package, _)| *package).collect()
}

fn is_here(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).is_file())
}

fn apt_get(args: &[&str]) -> Result<bool> {
    let mut command = Command::new("apt-get");
    command.arg("-q").args(args).env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command.status().context("could not start apt-get")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_its_package() {
        assert_eq!(missing(&[("a", "sh"), ("b", "no-such-program")]), ["b"]);
    }
}
