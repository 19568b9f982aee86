//! NVMe over fabrics in the machine: the tools beside the kernel's own host and target.

use anyhow::{Context, Result};

use super::tree::Tree;
use crate::packages::{self, Needed, program};

/// The modules: the host, the target, block devices for it to serve, and what TLS takes.
pub(super) const MODULES: &[&str] = &["nvme_tcp", "nvmet_tcp", "null_blk", "loop", "ext4", "tls", "ctr", "gcm"];

const PACKAGES: [Needed; 3] = [program("nvme-cli", "nvme"), program("fio", "fio"), program("e2fsprogs", "mkfs.ext4")];

const TOOLS: [&str; 3] = ["nvme", "fio", "mkfs.ext4"];

/// Who the machine is to a target: newer kernels want both, and these two to agree.
const HOST: &str = "2d1f4b7e-90a5-4c1d-8d55-3b6c70d1a9e4";

/// Carries the tools with their libraries, of which fio has 80 MB: so not every machine has them.
pub(super) fn carry(tree: &mut Tree) -> Result<()> {
    packages::need("NVMe over fabrics in the machine", &PACKAGES)?;
    for tool in TOOLS {
        let file = packages::find(tool).with_context(|| format!("{tool} is not there"))?;
        tree.program(&format!("/bin/{tool}"), &file)?;
    }
    tree.text("/etc/nvme/hostid", 0o644, format!("{HOST}\n"));
    tree.text("/etc/nvme/hostnqn", 0o644, format!("nqn.2014-08.org.nvmexpress:uuid:{HOST}\n"));
    Ok(())
}
