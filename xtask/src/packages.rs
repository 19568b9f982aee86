//! What comes from packages of the distribution, or of Python: which are missing, and getting them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::program;
use crate::vm::Kernel;

/// Programs of a user who is not root are looked for here too.
const SYSTEM: &str = "/usr/sbin:/sbin";
/// Where the libraries of bindgen are that rdma-sys can do with; newer ones make its build panic.
const LLVM: &str = "/usr/lib/llvm-14/lib";

/// A package, by one thing that it brings.
pub(crate) struct Needed {
    package: &'static str,
    by: Mark,
}

enum Mark {
    Kernel,
    Program(&'static str),
    File(&'static str),
    Provider,
}

/// A package that is wanted for a program of that name.
pub(crate) const fn program(package: &'static str, name: &'static str) -> Needed {
    Needed { package, by: Mark::Program(name) }
}

/// What making and booting a machine takes.
const TO_BOOT: [Needed; 12] = [
    program("qemu-system-x86", "qemu-system-x86_64"),
    Needed { package: "linux-image-amd64", by: Mark::Kernel },
    program("xz-utils", "xz"),
    program("kmod", "modprobe"),
    program("busybox-static", "busybox"),
    program("binutils", "strip"),
    program("libc-bin", "ldd"),
    program("iproute2", "rdma"),
    Needed { package: "ibverbs-providers", by: Mark::Provider },
    program("ibverbs-utils", "ibv_rc_pingpong"),
    program("rdmacm-utils", "rping"),
    program("perftest", "ib_send_lat"),
];

/// What building with the cargo feature `rdma` takes on top.
const TO_BUILD: [Needed; 4] = [
    Needed { package: "libibverbs-dev", by: Mark::File("/usr/include/infiniband/verbs.h") },
    Needed { package: "librdmacm-dev", by: Mark::File("/usr/include/rdma/rdma_cma.h") },
    Needed { package: "libclang-14-dev", by: Mark::File("/usr/lib/llvm-14/lib/libclang.so") },
    Needed { package: "clang-14", by: Mark::Program("clang-14") },
];

/// Makes sure that a virtual machine with an RDMA device can be made here.
pub(crate) fn to_boot() -> Result<()> {
    ensure!(cfg!(all(target_arch = "x86_64", target_os = "linux")), "the machine is one for x86-64 Linux, and this is none");
    need("the machine in a box", &TO_BOOT)
}

/// Makes sure that what uses rdma-sys builds here, and tells `cargo` where the libclang is that it
/// can do with.
pub(crate) fn to_build(cargo: &mut Command) -> Result<()> {
    need("a build with RDMA", &TO_BUILD)?;
    if std::env::var_os("LIBCLANG_PATH").is_none() {
        cargo.env("LIBCLANG_PATH", LLVM);
    }
    Ok(())
}

/// Makes sure that `what` has its packages: installs the missing ones where that is allowed, and
/// says which they are otherwise.
pub(crate) fn need(what: &str, needed: &[Needed]) -> Result<()> {
    let missing = missing(needed);
    if missing.is_empty() {
        return Ok(());
    }
    let can_install = rustix::process::geteuid().is_root() && find("apt-get").is_some();
    ensure!(
        can_install,
        "{what} takes packages that are not installed here: run `{}` as root, or install what your distribution calls them",
        command(&missing)
    );
    println!("{what} takes packages that are not installed here: {}", command(&missing));
    let install = || apt_get(&[&["install", "-y", "--no-install-recommends"], &missing[..]].concat());
    // The first attempt fails where the lists of packages are old or were never there.
    if !install()? {
        ensure!(apt_get(&["update"])? && install()?, "`{}` failed: install them by hand", command(&missing));
    }
    let still = self::missing(needed);
    ensure!(still.is_empty(), "installed {}, but {what} still does not find what it needs of: {}", missing.join(" "), still.join(" "));
    Ok(())
}

fn command(packages: &[&str]) -> String {
    format!("apt-get install -y --no-install-recommends {}", packages.join(" "))
}

fn apt_get(args: &[&str]) -> Result<bool> {
    let mut command = Command::new("apt-get");
    command.args(["-q"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command.status().context("could not start apt-get")?.success())
}

fn missing(needed: &[Needed]) -> Vec<&'static str> {
    needed.iter().filter(|needed| !needed.by.is_here()).map(|needed| needed.package).collect()
}

impl Mark {
    fn is_here(&self) -> bool {
        match self {
            Self::Kernel => Kernel::newest().is_some(),
            Self::Program(name) => find(name).is_some(),
            Self::File(path) => Path::new(path).exists(),
            Self::Provider => provider().is_some(),
        }
    }
}

/// A program of these releases (`name==version`) of Python packages, in an environment of its own
/// below `target/`, which is made once.
pub(crate) fn from_pip(sh: &Shell, folder: &str, releases: &[&str], name: &str) -> Result<PathBuf> {
    let home = program::target()?.join(folder);
    let (found, python, kept) = (home.join("bin").join(name), home.join("bin/python"), home.join("lcore-releases"));
    let said = releases.join(" ");
    if sh.read_file(&kept).is_ok_and(|kept| kept == said) && sh.path_exists(&found) {
        return Ok(found);
    }
    cmd!(sh, "python3 -m venv --clear {home}")
        .run()
        .context("there is no Python that makes environments of its own: install python3 and python3-venv")?;
    cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check --retries 2 --timeout 20 {releases...}")
        .run()
        .with_context(|| format!("{said} could not be installed with pip: the step needs a package index that has them"))?;
    ensure!(sh.path_exists(&found), "{said} have no program {name}");
    sh.write_file(&kept, &said)?;
    Ok(found)
}

/// The program of that name on the search path, or among those of the system.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(std::env::split_paths(SYSTEM));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The library that speaks to Soft-RoCE on behalf of libibverbs, which loads it by name at run
/// time.
pub(crate) fn provider() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu/libibverbs", "/usr/lib64/libibverbs"];
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().filter_map(|entry| Some(entry.ok()?.path()));
    files.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("librxe-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_its_package_and_what_is_here_is_not() {
        let needed = [program("a", "sh"), program("b", "no-such-program"), Needed { package: "c", by: Mark::File("/no/such/file") }];
        assert_eq!(missing(&needed), ["b", "c"]);
        assert_eq!(command(&missing(&needed)), "apt-get install -y --no-install-recommends b c");
    }
}
