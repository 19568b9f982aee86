//! An application's control plane: where it is served, and the methods that concern every
//! application. Those of its parts register beside them.
#![allow(unsafe_code, reason = "a registration lies in a section of its own, which the lint takes for unsafe")]

mod app;
mod buffers;
mod logging;
mod mask;
mod reactors;
mod said;
mod scheduler;
#[cfg(feature = "observe")]
mod seen;
mod sockets;
mod subsystems;
mod threads;

use std::sync::{Arc, Mutex, PoisonError};

use core_reactor::Cx;
use rpc::{Address, Control};

use crate::AppHandle;
use crate::app::Start;

pub(crate) use reactors::Seats;
pub(crate) use said::Said;

/// Ticks of a second, for methods that tell times: all are nanoseconds.
const TICK_RATE: u64 = 1_000_000_000;

/// Where an application serves RPC, with SPDK's letter.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "RPC options")]
#[non_exhaustive]
pub struct RpcOptions {
    /// Serve RPC at this socket, or at IP:PORT for whoever reaches that. Default:
    /// /var/tmp/spdk.sock for servers, nowhere for clients.
    #[arg(short = 'r', long = "rpc-socket", value_name = "PATH")]
    pub at: Option<Address>,
    /// Serve no RPC.
    #[arg(long, conflicts_with = "at")]
    pub no_rpc: bool,
    /// Start only when the method framework_start_init is called.
    #[arg(long, conflicts_with = "no_rpc")]
    pub wait_for_rpc: bool,
}

/// What is to run when `framework_start_init` is called.
pub(crate) struct Held(Mutex<Option<Start>>);

impl Held {
    pub(crate) fn take(&self) -> Option<Start> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves RPC if it is asked for, or if the application does so `by_default`; then what the
/// application starts with comes back, unless it is to wait. Where it cannot be served, though it
/// was asked for, the application fails.
pub(crate) fn begin(cx: &mut Cx<'_>, app: &AppHandle, by_default: bool, start: Start) -> Option<Start> {
    let options = &app.options().rpc;
    let is_asked = options.at.is_some() || options.wait_for_rpc;
    if options.no_rpc || !(is_asked || by_default) {
        return Some(start);
    }
    match serve(cx, app) {
        Ok(control) if options.wait_for_rpc => {
            control.provide(Arc::new(Held(Mutex::new(Some(start)))));
            log::info!("waiting for the call of framework_start_init");
            None
        }
        Ok(_) => Some(start),
        Err(why) if is_asked => {
            app.fail(&*why);
            None
        }
        Err(why) => {
            // Nobody has asked for it.
            log::info!("no RPC is served: {why}");
            Some(start)
        }
    }
}

fn serve(cx: &mut Cx<'_>, app: &AppHandle) -> Result<Arc<Control>, Box<dyn std::error::Error + Send + Sync>> {
    let options = &app.options().rpc;
    let control = Control::new(!options.wait_for_rpc)?;
    control.provide(Arc::new(app.clone()));
    control.provide(Arc::new(Seats::look(app.cores())));
    let at = options.at.clone().unwrap_or_else(|| Address::Unix(Address::DEFAULT.into()));
    let at = rpc::serve(cx, &at, control.clone())?;
    log::info!("RPC is served at {at}");
    Ok(control)
}
