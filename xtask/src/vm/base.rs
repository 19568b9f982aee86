//! The first archive, which is the same for every run: busybox, the kernel's modules, RDMA's user
//! space and its tools, and init.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kernel::{Choice, Kernel};
use super::tree::Tree;
use super::{cache, guest, nvme};
use crate::packages;

/// Tools that the machine carries beside busybox's.
pub(super) const TOOLS: [&str; 11] = [
    "ip",
    "rdma",
    "ibv_devinfo",
    "ibv_rc_pingpong",
    "rping",
    "ib_send_lat",
    "ib_send_bw",
    "ib_write_lat",
    "ib_write_bw",
    "ib_read_lat",
    "ib_read_bw",
];

/// Groups of modules that init loads by name.
const MODULES: [(&str, &[&str]); 5] = [
    ("rdma", &[CRC32, "rdma_rxe", "rdma_ucm", "ib_uverbs"]),
    ("dummy", &["dummy"]),
    ("virtio_net", &["virtio_pci", "virtio_net"]),
    ("share", &["virtio_pci", "9pnet_virtio", "9p"]),
    ("nvme", nvme::MODULES),
];

/// Without it `rdma link add` says ENOENT, where Soft-RoCE looks for its checksum by name; kernels
/// in which it does not have no such module.
const CRC32: &str = "crc32_generic";

/// The kernel and the archive that every machine boots with.
pub(super) struct Base {
    pub(super) kernel: Kernel,
    pub(super) elf: PathBuf,
    pub(super) tree: Tree,
    pub(super) archive: PathBuf,
}

impl Base {
    /// Makes what is not there yet, packages included.
    pub(super) fn get(choice: &Choice) -> Result<Self> {
        packages::to_boot()?;
        let kernel = Kernel::get(choice)?;
        let elf = kernel.elf()?;
        let tree = tree(&kernel)?;
        let archive = cache::get(&format!("base-{}.cpio", kernel.version), &tree.key(), |file| {
            println!("making the machine's file system");
            tree.write(BufWriter::new(file)).map(drop)
        })?;
        Ok(Self { kernel, elf, tree, archive })
    }

    /// The programs that a command may name, busybox's left out.
    pub(super) fn has_program(&self, name: &str) -> bool {
        self.tree.has(&format!("/bin/{name}"))
    }
}

fn tree(kernel: &Kernel) -> Result<Tree> {
    let mut tree = Tree::default();
    for folder in ["/dev", "/etc", "/out", "/proc", "/root", "/run", "/sys", "/tmp", "/var", "/job"] {
        tree.folder(folder);
    }
    tree.link("/var/run", "/run");
    tree.text("/init", 0o755, guest::INIT);
    tree.text("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n");
    tree.text("/etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n");
    tree.text("/etc/machine-id", 0o644, "6f1c2b0a55d34c0e9a1e7b8f0d2c4e11\n");
    tree.text("/etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n");
    busybox(&mut tree)?;
    for tool in TOOLS {
        let file = packages::find(tool).with_context(|| format!("{tool} is not there"))?;
        tree.program(&format!("/bin/{tool}"), &file)?;
    }
    provider(&mut tree)?;
    modules(&mut tree, kernel)?;
    Ok(tree)
}

/// Busybox and a link for each of its commands; the real tools come over those.
fn busybox(tree: &mut Tree) -> Result<()> {
    let file = packages::find("busybox").context("busybox is not there")?;
    tree.program("/bin/busybox", &file)?;
    let out = Command::new(&file).arg("--list").output().context("could not start busybox")?;
    ensure!(out.status.success(), "busybox --list ended with {}", out.status);
    for name in String::from_utf8_lossy(&out.stdout).lines().filter(|&name| name != "busybox") {
        tree.link(&format!("/bin/{name}"), "busybox");
    }
    Ok(())
}

fn provider(tree: &mut Tree) -> Result<()> {
    let library = packages::provider().context("Soft-RoCE's provider library is not there")?;
    tree.program(library.to_str().context("its path is text")?, &library)?;
    tree.text("/etc/libibverbs.d/rxe.driver", 0o644, "driver rxe\n");
    Ok(())
}

/// Each module's file, and for each group a list of names and files in the order of loading.
fn modules(tree: &mut Tree, kernel: &Kernel) -> Result<()> {
    for (group, modules) in MODULES {
        let mut list = String::new();
        for module in modules.iter().filter(|&&module| module != CRC32 || kernel.has_module(module)) {
            for (name, file) in kernel.module(module)? {
                let path = format!("/lib/modules/{name}.ko");
                list += &format!("{} {path}\n", name.replace('-', "_"));
                tree.file(&path, &file)?;
            }
        }
        tree.text(&format!("/vm/modules/{group}"), 0o644, list);
    }
    Ok(())
}

/// One file for QEMU: the base, and behind it what this run adds.
pub(super) fn append(base: &Base, more: &[&Tree], to: &mut File) -> Result<()> {
    let mut archive = File::open(&base.archive).context("open the machine's file system")?;
    std::io::copy(&mut archive, to).context("copy the machine's file system")?;
    let mut to = BufWriter::new(to);
    for tree in more {
        to = tree.write(to)?;
    }
    Ok(())
}
