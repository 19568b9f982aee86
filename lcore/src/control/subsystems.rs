//! The methods that tell of what is built in, and how it would be set up again.

use linkme::distributed_slice;
use rpc::{Error, LCORE_RPC_METHODS, Method, NoParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::buffers::Sizes;
use super::{scheduler, sockets};
use crate::AppHandle;

/// What an application is made of, in the order in which it starts.
fn names(app: &AppHandle) -> impl Iterator<Item = &'static str> + use<> {
    let has_net = app.has_net();
    ALL.into_iter().filter(move |name| *name != "sock" || has_net)
}

/// What there can be.
const ALL: [&str; 3] = ["scheduler", "sock", "iobuf"];

/// Whether there can be a part of that name.
pub(crate) fn has_subsystem(name: &str) -> bool {
    ALL.contains(&name)
}

#[derive(Serialize)]
struct Subsystem {
    subsystem: &'static str,
    depends_on: Vec<&'static str>,
}

#[distributed_slice(LCORE_RPC_METHODS)]
static GET_SUBSYSTEMS: Method =
    Method::new("framework_get_subsystems", "The parts that can be set up, in the order in which they start", |_, call| {
        let app = call.control().service::<AppHandle>();
        call.answer(|NoParams| Ok(names(&*app?).map(|subsystem| Subsystem { subsystem, depends_on: Vec::new() }).collect::<Vec<_>>()));
    });

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    name: String,
    /// SPDK's own client says it always; there are no batches here.
    #[serde(default, rename = "with_batches")]
    _with_batches: bool,
}

#[distributed_slice(LCORE_RPC_METHODS)]
static GET_CONFIG: Method = Method::new("framework_get_config", "The calls that would set a part up as it is", |_, call| {
    let app = call.control().service::<AppHandle>();
    call.answer(|which: Which| {
        let app = app?;
        if !names(&app).any(|name| name == which.name) {
            return Err(Error::params(format!("Subsystem '{}' not found", which.name)));
        }
        Ok(calls(&app, &which.name))
    });
});

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
