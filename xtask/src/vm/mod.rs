//! `cargo xtask vm`: a machine in a box with an RDMA device, in seconds, on any computer that has
//! QEMU.
//!
//! The kernel is the distribution's ([`kernel`]), its first file system ([`base`], [`tree`],
//! [`cpio`]) is all there is: busybox, RDMA's user space, what is to run, and init ([`guest`]),
//! which brings up Soft-RoCE on a dummy network device, or on the wire to a second machine
//! ([`two`]). QEMU emulates ([`machine`]).

mod base;
mod build;
mod cache;
mod cpio;
mod guest;
mod kernel;
mod machine;
mod nvme;
mod nvmf;
mod options;
mod run;
mod signals;
mod suites;
mod test;
mod tls;
mod tree;
mod two;

use anyhow::Result;

use clap::Subcommand;
pub(crate) use kernel::Kernel;

/// A virtual machine with an RDMA device (Soft-RoCE): made from the distribution's packages, booted
/// in seconds, without hardware and without KVM.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Build(Build),
    Run(run::Run),
    Test(test::Args),
    Shell(run::Shell),
}

/// Make the machine's pieces, in target/vm, without booting it; the other commands do so too.
/// Packages that are missing are installed when this is run by root, and named otherwise.
#[derive(clap::Args)]
#[command(after_help = "Example:
  cargo xtask vm build
  cargo xtask vm build --kernel newest")]
struct Build {
    /// The kernel: `installed` (the newest that is), a version such as 6.12 (of an installed one,
    /// or of another suite of the distribution), or `newest` (of all suites).
    #[arg(long, value_name = "WHICH", default_value = "installed")]
    kernel: kernel::Choice,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    match &args.what {
        What::Build(args) => build_pieces(&args.kernel),
        What::Run(args) => run::run(args),
        What::Test(args) => test::main(args),
        What::Shell(args) => run::shell(args),
    }
}

/// Checks the code of the tests that `vm test` runs.
pub(crate) fn lint() -> Result<()> {
    test::lint()
}

fn build_pieces(kernel: &kernel::Choice) -> Result<()> {
    let base = base::Base::get(kernel)?;
    println!("kernel       {}", base.kernel.version);
    for (what, file) in [("its ELF", &base.elf), ("file system", &base.archive)] {
        println!("{what:<12} {} ({} MiB)", file.display(), std::fs::metadata(file)?.len() >> 20);
    }
    println!("tools        {}, and busybox's", base::TOOLS.join(", "));
    Ok(())
}
