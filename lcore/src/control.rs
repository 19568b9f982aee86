//! An application's control plane: where it is served, and the methods that concern every
//! application. Those of its parts register beside them.

mod app;
mod buffers;
mod elsewhere;
mod groups;
mod logging;
mod mask;
mod play;
mod reactors;
mod said;
mod scheduler;
#[cfg(feature = "observe")]
mod seen;
mod sockets;
mod statistics;
mod subsystems;
mod threads;
#[cfg(feature = "observe")]
mod tracing;
mod visits;

use std::sync::{Arc, Mutex, PoisonError};

use core_reactor::Cx;
use rpc::{Address, Bound, Control, Disposal};

use crate::AppHandle;
use crate::app::Start;

pub(crate) use said::Said;
pub(crate) use subsystems::{has_subsystem, is_of_others};

use play::play;
use reactors::Seats;

/// Ticks of a second, for methods that tell times: all are nanoseconds.
const TICK_RATE: u64 = 1_000_000_000;

/// Where an application serves RPC, with SPDK's letter.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "RPC options")]
#[non_exhaustive]
pub struct RpcOptions {
    /// Serve RPC at this socket, or at IP:PORT for whoever reaches that. Default:
    /// /var/tmp/spdk.sock for servers, nowhere for clients.
    // Named as its option is, like all of them: an application has fields of its own.
    #[arg(id = "rpc_socket", short = 'r', long = "rpc-socket", value_name = "PATH")]
    pub at: Option<Address>,
    /// Serve no RPC.
    #[arg(long, conflicts_with = "rpc_socket")]
    pub no_rpc: bool,
    /// Start only when the method framework_start_init is called.
    #[arg(long, conflicts_with = "no_rpc")]
    pub wait_for_rpc: bool,
    /// Go on where a call of the file of -c fails, or has no method here.
    #[arg(long, requires = "config")]
    pub json_ignore_init_errors: bool,
}

impl RpcOptions {
    /// Whether it is to be served, wherever.
    fn is_asked(&self) -> bool {
        self.at.is_some() || self.wait_for_rpc
    }
}

/// What is to run when `framework_start_init` is called.
pub(crate) struct Held(Mutex<Option<Start>>);

impl Held {
    pub(crate) fn take(&self) -> Option<Start> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What the application gives to methods.
pub(crate) type Services = Vec<Box<dyn FnOnce(&Control) + Send>>;

/// Starts the application: with the calls of its file before and behind that, and with RPC if it is
/// asked for, or if the application serves it `by_default`. Where it cannot be served, though it
/// was asked for, the application fails.
pub(crate) fn begin(cx: &mut Cx<'_>, app: &AppHandle, by_default: bool, services: Services, start: Start) {
    if let Err(why) = try_begin(cx, app, by_default, services, start) {
        app.fail(&*why);
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn try_begin(cx: &mut Cx<'_>, app: &AppHandle, by_default: bool, services: Services, start: Start) -> Result<(), Failed> {
    let bound = bind(&app.options().rpc, by_default)?;
    let calls = &app.options().calls;
    calls.passed_over.iter().for_each(|what| log::info!("-c {}: {what}", calls.path.display()));
    if bound.is_none() && calls.calls.is_empty() {
        // What failed has been said.
        let _ = app.start(cx, start);
        return Ok(());
    }
    let control = Control::new(false)?;
    control.provide(Arc::new(app.clone()));
    control.provide(Arc::new(Seats::look(app.cores())?));
    control.provide(Arc::new(visits::Visits::default()));
    let elsewhere = Arc::new(elsewhere::Elsewhere::start()?);
    control.provide(elsewhere.clone());
    control.provide(Arc::new(Disposal::new(move |memory| elsewhere.run(move || drop(memory)))));
    services.into_iter().for_each(|provide| provide(&control));
    let (whose, with) = (app.clone(), control.clone());
    play(cx, app, &control, true, move |cx, played| {
        if played.is_err() {
            return;
        }
        if whose.options().rpc.wait_for_rpc {
            with.provide(Arc::new(Held(Mutex::new(Some(start)))));
            serve(cx, &whose, with, bound);
            log::info!("waiting for the call of framework_start_init");
            return;
        }
        // Clients that have come meanwhile wait until all is as the file says.
        let (app, control) = (whose.clone(), with.clone());
        start_with(cx, &whose, &with, start, move |cx, started| {
            if started.is_ok() {
                serve(cx, &app, control, bound);
            }
        });
    });
    Ok(())
}

/// Starts the application and makes the calls that come behind that; `then` hears whether all went
/// well. What failed has been said.
fn start_with<F>(cx: &mut Cx<'_>, app: &AppHandle, control: &Arc<Control>, start: Start, then: F)
where
    F: FnOnce(&mut Cx<'_>, Result<(), String>) + Send + 'static,
{
    app.said().settle(app);
    if let Err(why) = app.start(cx, start) {
        return then(cx, Err(why));
    }
    let running = control.clone();
    play(cx, app, control, false, move |cx, played| {
        if played.is_ok() {
            running.run();
        }
        then(cx, played);
    });
}

/// Where RPC will be served, if it is.
fn bind(options: &RpcOptions, by_default: bool) -> Result<Option<Bound>, Failed> {
    if options.no_rpc || !(options.is_asked() || by_default) {
        return Ok(None);
    }
    let at = options.at.clone().unwrap_or_else(|| Address::Unix(Address::DEFAULT.into()));
    match Bound::open(&at) {
        Ok(bound) => {
            log::info!("RPC is served at {}", bound.at());
            Ok(Some(bound))
        }
        Err(why) if options.is_asked() => Err(why.into()),
        Err(why) => {
            // Nobody has asked for it.
            log::info!("no RPC is served: {why}");
            Ok(None)
        }
    }
}

/// Serves those who connect.
fn serve(cx: &mut Cx<'_>, app: &AppHandle, control: Arc<Control>, bound: Option<Bound>) {
    if let Some(bound) = bound
        && let Err(why) = bound.serve(cx, control)
    {
        if app.options().rpc.is_asked() {
            app.fail(&why);
        } else {
            log::info!("no RPC is served: {why}");
        }
    }
}
