//! nvmf-tgt: serves block devices over NVMe/TCP.
#![forbid(unsafe_code)]

mod args;
mod auth;
mod serve;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use bdev::Bdevs;
use keyring::Keyring;
// Links their modules and methods.
use lcore::App;
use nvmf::Target;
use {bdev_aio as _, bdev_fault as _, bdev_malloc as _, bdev_uring as _};

use crate::args::Args;

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("nvmf_tgt") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let bdevs = Arc::new(Bdevs::new(RandomState::new().hash_one("uuids")));
    let target = Arc::new(Target::new());
    let keyring = Arc::new(Keyring::new());
    let app = App::new("nvmf_tgt").options(args.app.clone()).network().rpc();
    let app = app.provide(bdevs.clone()).provide(target.clone()).provide(keyring.clone()).on_stopped(serve::report);
    app.run(move |_, app| serve::start(app, &args, &bdevs, &target, &keyring))
}
