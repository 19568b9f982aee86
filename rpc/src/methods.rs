//! The methods that concern methods and phases.
#![allow(unsafe_code, reason = "a registration lies in a section of its own, which the lint takes for unsafe")]

use linkme::distributed_slice;
use serde::Deserialize;

use crate::{Call, LCORE_RPC_METHODS, Method, NoParams, Phases};

#[distributed_slice(LCORE_RPC_METHODS)]
static GET_METHODS: Method =
    Method::new("rpc_get_methods", "Names what can be called, now or at all", |_, call| get_methods(call)).phases(Phases::Any);

/// What `rpc_get_methods` takes.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Which {
    /// Only what can be called in this phase.
    current: bool,
    include_aliases: bool,
}

fn get_methods(call: Call) {
    let control = call.control().clone();
    call.answer(|which: Option<Which>| {
        let Which { current, include_aliases } = which.unwrap_or_default();
        let is_meant = |name: &str, method: &Method| {
            (!current || method.phases.allow(control.is_running())) && (include_aliases || method.name == name)
        };
        Ok(control.methods().iter().filter(|(name, method)| is_meant(name, method)).map(|(name, _)| name).collect::<Vec<_>>())
    });
}

#[distributed_slice(LCORE_RPC_METHODS)]
static WAIT_INIT: Method = Method::new("framework_wait_init", "Answers true when the application has started", |_, call| {
    let control = call.control().clone();
    if let Some((NoParams, reply)) = call.open() {
        control.when_running(reply);
    }
})
.phases(Phases::Any);
