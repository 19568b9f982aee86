//! The methods that tell of what is built in, and how it would be set up again.

use rpc::{Error, LCORE_RPC_SUBSYSTEMS, Method, NoParams, Subsystem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::buffers::Sizes;
use super::{scheduler, sockets};
use crate::AppHandle;

/// What every application is made of, in the order in which it starts; those that are linked beside
/// these come behind.
const OWN: [&str; 3] = ["scheduler", "sock", "iobuf"];

/// What an application is made of, in the order in which it starts.
fn names(app: &AppHandle) -> impl Iterator<Item = &'static str> + use<> {
    let has_net = app.has_net();
    let linked = Subsystem::linked().into_iter().map(|subsystem| subsystem.name);
    OWN.into_iter().filter(move |name| *name != "sock" || has_net).chain(linked)
}

/// Whether there can be a part of that name.
pub(crate) fn has_subsystem(name: &str) -> bool {
    OWN.contains(&name) || linked(name).is_some()
}

/// Whether a method that is not there belongs to a module of that part which is not there either.
pub(crate) fn is_of_others(subsystem: &str, method: &str) -> bool {
    linked(subsystem).is_some_and(|subsystem| subsystem.of_others.contains(&method))
}

fn linked(name: &str) -> Option<&'static Subsystem> {
    LCORE_RPC_SUBSYSTEMS.iter().find(|subsystem| subsystem.name == name)
}

#[derive(Serialize)]
struct Told {
    subsystem: &'static str,
    depends_on: Vec<&'static str>,
}

rpc::register!(Method::new("framework_get_subsystems", "The parts that can be set up, in the order in which they start", |_, call| {
    let app = call.control().service::<AppHandle>();
    call.answer(|NoParams| {
        let names: Vec<_> = names(&*app?).collect();
        // Clients look up each that is named.
        let depends_on = |name| {
            let all = linked(name).map_or(&[][..], |subsystem| subsystem.depends_on);
            all.iter().copied().filter(|other| names.contains(other)).collect()
        };
        Ok(names.iter().map(|name| Told { subsystem: name, depends_on: depends_on(name) }).collect::<Vec<_>>())
    });
}));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    name: String,
    /// SPDK's own client says it always; there are no batches here.
    #[serde(default, rename = "with_batches")]
    _with_batches: bool,
}

rpc::register!(Method::new("framework_get_config", "The calls that would set a part up as it is", |_, call| {
    let control = call.control().clone();
    call.answer(|which: Which| {
        let app = control.service::<AppHandle>()?;
        if !names(&app).any(|name| name == which.name) {
            return Err(Error::params(format!("Subsystem '{}' not found", which.name)));
        }
        linked(&which.name).map_or_else(|| Ok(calls(&app, &which.name)), |subsystem| subsystem.config(&control))
    });
}));

fn calls(app: &AppHandle, name: &str) -> Vec<Value> {
    match name {
        "scheduler" => {
            let (balance, period) = app.balance();
            let params = json!({"name": scheduler::name(balance), "period": period.as_micros() as u64});
            vec![json!({"method": "framework_set_scheduler", "params": params})]
        }
        "sock" => sockets::calls(app),
        "iobuf" => {
            let made = app.made_pool().map(|pool| json!({"method": "iobuf_set_options", "params": Sizes::of(pool)}));
            made.into_iter().collect()
        }
        _ => Vec::new(),
    }
}
