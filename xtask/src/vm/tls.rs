//! What TLS takes of the kernel's NVMe host: `tlshd`, which shakes hands for the kernel, and an
//! nvme-cli that puts keys into the kernel's keyring. This computer's release may have neither, so
//! they come from a newer one, with libraries and loader of their own.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::suites;
use super::tree::{self, Tree};

/// A kernel whose host speaks TLS has this module.
pub(super) const MODULE: &str = "nvme_keyring";

/// The tools, and what they are linked to.
const PACKAGES: [&str; 23] = [
    "ktls-utils/trixie",
    "libatomic1/trixie",
    "libc6/trixie",
    "libffi8/trixie",
    "libglib2.0-0t64/trixie",
    "libgmp10/trixie",
    "libgnutls30t64/trixie",
    "libhogweed6t64/trixie",
    "libidn2-0/trixie",
    "libjson-c5/trixie",
    "libkeyutils1/trixie",
    "libnettle8t64/trixie",
    "libnl-3-200/trixie",
    "libnl-genl-3-200/trixie",
    "libnvme1t64/sid",
    "libp11-kit0/trixie",
    "libpcre2-8-0/trixie",
    "libssl3t64/trixie",
    "libtasn1-6/trixie",
    "libunistring5/trixie",
    "libzstd1/trixie",
    "nvme-cli/sid",
    "zlib1g/trixie",
];

/// As which command the machine has each program.
const PROGRAMS: [(&str, &str); 2] = [("tlshd", "usr/sbin/tlshd"), ("newer-nvme", "usr/sbin/nvme")];

const LOADER: &str = "ld-linux-x86-64.so.2";

/// Where tlshd finds keys, and that it says why it refuses somebody.
const CONFIGURATION: &str = "[debug]\nloglevel=1\ntls=0\nnl=0\n\n[authenticate]\nkeyrings=.nvme\n";

pub(super) fn carry(tree: &mut Tree) -> Result<()> {
    let root = suites::newer("tls-tools", &PACKAGES)?;
    let folder = root.join("usr/lib/x86_64-linux-gnu");
    let loader = folder.join(LOADER);
    tree.file(&format!("/newer/lib/{LOADER}"), &loader)?;
    for (name, file) in PROGRAMS {
        let file = root.join(file);
        let out = Command::new(&loader).arg("--library-path").arg(&folder).arg("--list").arg(&file).output();
        let out = out.with_context(|| format!("could not start {}", loader.display()))?;
        ensure!(out.status.success(), "{} is not whole: {}", file.display(), String::from_utf8_lossy(&out.stderr).trim());
        let libraries = tree::by_ldd(&String::from_utf8_lossy(&out.stdout)).with_context(|| format!("{} is not whole", file.display()))?;
        // The loader is in the list by its place in the program, which is this computer's.
        for library in libraries.iter().filter(|library| library.starts_with(&folder)) {
            let name = library.file_name().and_then(|name| name.to_str()).context("a library has a name")?;
            tree.file(&format!("/newer/lib/{name}"), library)?;
        }
        tree.file(&format!("/newer/{name}"), &file)?;
        let start = format!("#!/bin/sh\nexec /newer/lib/{LOADER} --library-path /newer/lib /newer/{name} \"$@\"\n");
        tree.text(&format!("/bin/{name}"), 0o755, start);
    }
    tree.text("/etc/tlshd.conf", 0o644, CONFIGURATION);
    Ok(())
}
