//! Starts the poll groups, and serves what the command line asks for.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bdev::{Bdev, BdevError, Bdevs};
use keyring::{Key, Keyring};
use lcore::pool::{Class, ClassConfig, DataPool, DataPoolConfig};
use lcore::{AppHandle, Failure, ReactorStats};
use nvmf::{CLAIM, HostKeys, NamespaceConfig, NvmfError, Server, ServerConfig, SubsystemConfig, Target, Transport};

use crate::args::Args;
use crate::auth::Computer;

/// Small buffers take the data of a command of up to 8 KiB, large ones that of any. They take
/// memory once they are used.
const POOL: DataPoolConfig = DataPoolConfig::DEFAULT
    .small(ClassConfig { count: 1024, size: 16 << 10 })
    .large(ClassConfig { count: 64, size: 136 << 10 })
    .control(ClassConfig { count: 256, size: 4 << 10 })
    .waiters(256);

pub(crate) fn start(
    app: &AppHandle,
    args: &Args,
    bdevs: &Bdevs,
    target: &Target,
    keyring: &Keyring,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    target.set_helper(Arc::new(Computer::start()?));
    let serves = prepare(args, bdevs, target, keyring)?;
    let pool = app.data_pool(POOL)?.clone();
    let mut config = ServerConfig::new(app.net(), target.clone(), pool, app.cores().count());
    config.connections = args.connections as usize;
    log::info!("network backend: {}", app.selected());
    let (ready, args, target) = (app.clone(), args.clone(), target.clone());
    Server::start(app.lib(), app.cores(), config, move |_, outcome| {
        if let Err(why) = outcome {
            return ready.fail(&why);
        }
        log::info!("{} poll groups", ready.cores().count());
        if serves && let Err(why) = listen(&ready, &args, &target) {
            ready.fail(&why);
        }
    })?;
    Ok(())
}

/// Makes the devices and the subsystem that are asked for. Whether any are.
fn prepare(args: &Args, bdevs: &Bdevs, target: &Target, keyring: &Keyring) -> Result<bool, Failure> {
    let usage = |what: &str, why: &dyn std::fmt::Display| Failure::Usage(format!("{what}: {why}"));
    let mut made = Vec::new();
    for (what, line) in args.devices() {
        let bdev = bdev::create(bdevs, &line).map_err(|why| usage(&what, &why))?;
        made.push((what, bdev.open_claimed(CLAIM).map_err(|why| usage(&line, &why))?));
    }
    for path in &args.file {
        let what = format!("--file {path}");
        let bdev = file(bdevs, path).map_err(|why| usage(&what, &why))?;
        made.push((what.clone(), bdev.open_claimed(CLAIM).map_err(|why| usage(&what, &why))?));
    }
    if made.is_empty() {
        return Ok(false);
    }
    let mut subsystem = SubsystemConfig::new(&args.nqn);
    subsystem.allow_any_host = args.host.is_none();
    match target.create_transport(Transport::default()) {
        Ok(()) | Err(NvmfError::TransportExists) => {}
        Err(why) => return Err(usage("transport", &why)),
    }
    target.add_subsystem(subsystem).map_err(|why| usage("--nqn", &why))?;
    if let Some(host) = &args.host {
        let (key, controller) = ("--dhchap-key", "--dhchap-ctrlr-key");
        let keys = HostKeys {
            dhchap_key: self::key(keyring, "host_key", args.key.as_deref()).map_err(|why| usage(key, &why))?,
            dhchap_ctrlr_key: self::key(keyring, "controller_key", args.controller_key.as_deref())
                .map_err(|why| usage(controller, &why))?,
        };
        target.add_host_with(&args.nqn, host, &keys).map_err(|why| usage("--host", &why))?;
    }
    for (what, device) in made {
        target.add_namespace(&args.nqn, NamespaceConfig::new(device)).map_err(|why| usage(&what, &why))?;
    }
    Ok(true)
}

/// A key of the command line, as one of the keyring.
fn key(keyring: &Keyring, name: &str, path: Option<&Path>) -> Result<Option<Arc<Key>>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let wrong = |why: &dyn std::fmt::Display| Failure::Usage(why.to_string());
    let whole = std::fs::canonicalize(path).map_err(|why| wrong(&format!("{}: {why}", path.display())))?;
    let whole = whole.to_str().ok_or_else(|| wrong(&format!("{}: its whole path is no text", path.display())))?;
    keyring.add_file(name, whole).and_then(|()| keyring.get(name)).map(Some).map_err(|why| wrong(&why))
}

/// A file as a device: over io_uring, or over threads where the kernel has none.
fn file(bdevs: &Bdevs, path: &str) -> Result<Bdev, BdevError> {
    let config = bdev_uring::Config::new(path);
    match bdev_uring::uring(bdevs, &config) {
        Err(why @ BdevError::Invalid { what: "uring", .. }) => {
            log::info!("{why}");
            bdev_aio::aio(bdevs, &config)
        }
        other => other,
    }
}

/// Listens, and says how to connect.
fn listen(app: &AppHandle, args: &Args, target: &Target) -> Result<(), NvmfError> {
    for at in &args.listen {
        let at = target.add_listener(&args.nqn, *at)?;
        log::info!("Listening connection on {at} for {}", args.nqn);
        app.println(connect_line(at, args));
    }
    Ok(())
}

fn connect_line(at: SocketAddr, args: &Args) -> String {
    let mut line = format!("nvme connect -t tcp -a {} -s {} -n {}", at.ip(), at.port(), args.nqn);
    if let Some(host) = &args.host {
        line += &format!(" --hostnqn {host}");
    }
    for (option, file) in [("--dhchap-secret", &args.key), ("--dhchap-ctrl-secret", &args.controller_key)] {
        if let Some(file) = file {
            line += &format!(" {option} \"$(cat '{}')\"", file.display());
        }
    }
    line
}

/// Whether all buffers are home.
pub(crate) fn report(app: &AppHandle, _: &[ReactorStats]) {
    let Some(pool) = app.made_pool() else { return };
    let out: Vec<_> = [Class::Small, Class::Large, Class::Control].into_iter().map(|class| out(pool, class)).collect();
    if out.iter().all(|out| *out == 0) {
        log::info!("all buffers are home");
    } else {
        log::error!("{} small, {} large and {} control buffers are missing", out[0], out[1], out[2]);
        app.stop(1);
    }
}

fn out(pool: &DataPool, class: Class) -> usize {
    pool.stats(class).in_use
}
