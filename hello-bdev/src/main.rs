//! hello-bdev: opens a block device, writes to it, reads back, and says each step.
#![forbid(unsafe_code)]

mod hello;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use bdev::Bdevs;
// Links their modules and methods.
use clap::{ArgAction, Parser};
use lcore::{App, AppOptions, Failure};
use {bdev_aio as _, bdev_fault as _, bdev_malloc as _, bdev_uring as _};

use crate::hello::Hello;

/// Writes "Hello World!" to a block device, reads it back and compares, printing each step.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    disable_version_flag = true,
    after_help = "Examples:\n  hello-bdev -c bdev.json -b Malloc0            a device of a configuration\n  \
        hello-bdev --bdev malloc:name=Malloc0,size=64M   one that is made at once\n  \
        hello-bdev --bdev uring:path=disk.img            one that is a file"
)]
struct Args {
    /// The device to use, by its name, an alias or its uuid: without it the first that --bdev
    /// makes, or else Malloc0.
    #[arg(short = 'b', long = "name", value_name = "BDEV")]
    name: Option<String>,
    /// Make a device: MODULE:KEY=VALUE,… such as malloc:name=Malloc0,size=64M, null:size=1T,
    /// uring:path=disk.img or aio:path=disk.img. Can be given more than once.
    #[arg(long = "bdev", value_name = "DEVICE")]
    make: Vec<String>,
    /// Print the version.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    app: AppOptions,
}

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("hello_bdev") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let bdevs = Bdevs::new(RandomState::new().hash_one("uuids"));
    App::new("hello_bdev").options(args.app).provide(Arc::new(bdevs.clone())).run(move |cx, app| {
        log::info!("Successfully started the application");
        let mut name = args.name;
        for line in &args.make {
            let made = bdev::create(&bdevs, line).map_err(|why| Failure::Usage(format!("--bdev {line}: {why}")))?;
            name.get_or_insert_with(|| made.name().to_owned());
        }
        Hello::start(cx, app, &bdevs, name.as_deref().unwrap_or("Malloc0"))
    })
}
