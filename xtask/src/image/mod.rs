//! `cargo xtask image`: images that boot without an operating system.

mod bench;
mod build;
mod description;
mod machine;
mod peer;
mod run;
mod size;
mod test;

use anyhow::Result;
use clap::Subcommand;

use build::Target;
use machine::Kind;

pub(crate) use test::step;

/// Build, boot and check images: the echo server without an operating system, in QEMU.
///
/// An image is described by a TOML file (those of image/images by their name, others by their
/// path): backend, address, port, memory, pools. What is wrong in it is said with its line. Booting
/// takes QEMU for x86, which is installed where that is allowed; there is no need of KVM.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build an image and tell where it is.
    Build {
        #[command(flatten)]
        image: Which,
        /// Show the images of the repository and build none.
        #[arg(long)]
        list: bool,
    },
    /// Build an image, boot it and show its console; ^C stops it.
    ///
    /// The exit code is 0 if it was stopped in order, and 1 with the reason otherwise.
    Run {
        #[command(flatten)]
        image: Which,
        /// QEMU's machine.
        #[arg(long, value_enum, default_value = "microvm")]
        machine: Kind,
        /// The port of 127.0.0.1 that leads to the image; 0 for a free one.
        #[arg(long, default_value_t = 9999)]
        port: u16,
    },
    /// Build the images of the repository, boot them on each machine, and check what they do.
    Test,
    /// Measure the time from QEMU's start to the first echo, on each machine.
    Bench {
        #[command(flatten)]
        image: Which,
        /// Boots on each machine; the median is told.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        runs: u32,
    },
    /// Tell the size of an image by its parts, and what the smallest example takes.
    Size {
        #[command(flatten)]
        image: Which,
    },
}

#[derive(clap::Args)]
struct Which {
    /// The image: a name in image/images, or the path of a description.
    #[arg(default_value = "hello")]
    image: String,
    /// What it is compiled for.
    #[arg(long, value_enum, default_value = "host")]
    target: Target,
}

impl Which {
    fn build(&self) -> Result<build::Image> {
        build::build(&self.image, self.target)
    }
}

pub(crate) fn main(args: &Args) -> Result<()> {
    match &args.command {
        Command::Build { list: true, .. } => description::names()?.iter().for_each(|name| println!("{name}")),
        Command::Build { image, .. } => {
            let image = image.build()?;
            println!("{}: {} bytes", image.file.display(), image.size);
        }
        Command::Run { image, machine, port } => {
            machine::need()?;
            let port = if *port == 0 { machine::free_port()? } else { *port };
            run::run(&image.build()?, *machine, port)?;
        }
        Command::Test => test::test()?,
        Command::Bench { image, runs } => {
            machine::need()?;
            let image = image.build()?;
            bench::bench(&image, Kind::Microvm, *runs)?;
            bench::bench(&image, Kind::Q35, *runs)?;
        }
        Command::Size { image } => {
            size::image(&image.build()?)?;
            size::smallest()?;
        }
    }
    Ok(())
}
