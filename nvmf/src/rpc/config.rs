//! The part `nvmf` of a configuration.

extern crate std;

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use nvme::auth::Policy;
use nvme::log::AnaState;
use rpc::{Error, Method, Phases};
use serde::Deserialize;
use serde_json::{Value, json};

use super::namespaces::digits;
use super::transports::ToldTransport;
use super::{ToldAddress, listeners, refuse, target};
use crate::{AllowedHost, Listener, Namespace, Subsystem, Target};

rpc::register_subsystem!(rpc::Subsystem::new("nvmf", &["bdev", "keyring", "sock"], |control| {
    Ok(calls(&*control.service::<Target>()?))
}));

/// The calls that make it again. Subsystems listen when all of them are whole.
fn calls(target: &Target) -> Vec<Value> {
    let call = rpc::Subsystem::call;
    let mut calls = std::vec![
        call("nvmf_set_config", set_config(&target.policy())),
        call("nvmf_set_max_subsystems", json!({"max_subsystems": target.max_subsystems()})),
    ];
    calls.extend(target.transport().map(|transport| call("nvmf_create_transport", json!(ToldTransport::of(transport)))));
    let subsystems = target.subsystems();
    for subsystem in &subsystems {
        let nqn = subsystem.nqn();
        calls.extend((!subsystem.is_discovery()).then(|| call("nvmf_create_subsystem", created(subsystem))));
        calls.extend(subsystem.hosts().iter().map(|host| call("nvmf_subsystem_add_host", let_in(subsystem, host))));
        let namespaces = subsystem.namespaces();
        let add = |it: &Namespace| call("nvmf_subsystem_add_ns", json!({"nqn": nqn, "namespace": added(it)}));
        calls.extend(namespaces.iter().map(|namespace| add(namespace)));
    }
    calls.extend(subsystems.iter().flat_map(|subsystem| listening(subsystem)));
    calls
}

fn set_config(policy: &Policy) -> Value {
    let digests: Vec<_> = policy.hashes.iter().map(|hash| hash.name()).collect();
    let groups: Vec<_> = policy.groups.iter().map(|group| group.name()).collect();
    json!({"discovery_filter": MATCH_ANY, "dhchap_digests": digests, "dhchap_dhgroups": groups})
}

/// Keys by their names: what they are, the keyring's files say.
fn let_in(subsystem: &Subsystem, host: &AllowedHost) -> Value {
    let mut params = json!({"nqn": subsystem.nqn(), "host": host.nqn()});
    #[cfg(feature = "tls")]
    if let Some(name) = subsystem.key_name(host.nqn()) {
        params["psk"] = json!(*name);
    }
    for (name, key) in [("dhchap_key", host.dhchap_key()), ("dhchap_ctrlr_key", host.dhchap_ctrlr_key())] {
        if let Some(key) = key {
            params[name] = json!(key.name());
        }
    }
    params
}

fn created(subsystem: &Subsystem) -> Value {
    let config = subsystem.config();
    json!({
        "nqn": subsystem.nqn(),
        "allow_any_host": subsystem.allows_any_host(),
        "serial_number": config.serial_number,
        "model_number": config.model_number,
        "max_namespaces": config.max_namespaces,
        "min_cntlid": config.cntlids.start(),
        "max_cntlid": config.cntlids.end(),
        "ana_reporting": config.ana_reporting,
    })
}

fn added(namespace: &Namespace) -> Value {
    let mut params = json!({
        "nsid": namespace.nsid(),
        "bdev_name": namespace.device().bdev().name(),
        "nguid": digits(&namespace.nguid()),
        "uuid": namespace.uuid().to_string(),
        "anagrpid": namespace.anagrpid(),
    });
    if let Some(keeper) = &namespace.config().keeper {
        params["ptpl_file"] = json!(keeper.name());
    }
    if namespace.eui64() != [0; 8] {
        params["eui64"] = json!(digits(&namespace.eui64()));
    }
    params
}

fn listening(subsystem: &Subsystem) -> Vec<Value> {
    let nqn = subsystem.nqn();
    let mut calls = Vec::new();
    for listener in subsystem.listeners() {
        let address = json!(ToldAddress::from(listener.address()));
        let mut params = json!({"nqn": nqn, "listen_address": address});
        if listener.is_secure() {
            params["secure_channel"] = json!(true);
        }
        calls.push(rpc::Subsystem::call("nvmf_subsystem_add_listener", params));
        for (group, state) in odd_states(subsystem, &listener) {
            let params = json!({"nqn": nqn, "listen_address": address, "ana_state": listeners::name(state), "anagrpid": group});
            calls.push(rpc::Subsystem::call("nvmf_subsystem_listener_set_ana_state", params));
        }
    }
    calls
}

/// The ANA groups to which a way is not the best.
fn odd_states(subsystem: &Subsystem, listener: &Listener) -> Vec<(u32, AnaState)> {
    let config = subsystem.config();
    let most = if config.ana_reporting { config.max_namespaces } else { 0 };
    (1..=most).map(|group| (group, listener.ana(group).0)).filter(|(_, state)| *state != AnaState::Optimized).collect()
}

/// Hosts discover whatever there is.
const MATCH_ANY: &str = "match_any";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetConfig {
    #[serde(default)]
    admin_cmd_passthru: BTreeMap<String, bool>,
    poll_groups_mask: Option<String>,
    discovery_filter: Option<String>,
    discovery_filters: Option<Vec<String>>,
    dup_host_policy: Option<String>,
    /// With which of these hosts may show who they are.
    dhchap_digests: Option<Vec<String>>,
    dhchap_dhgroups: Option<Vec<String>>,
}

impl SetConfig {
    /// Of those that are allowed the cheapest first: who wants more leaves the others out.
    fn policy(&self) -> Result<Policy, Error> {
        let all = Policy::default();
        let hashes = allowed("dhchap_digests", self.dhchap_digests.as_deref(), all.hashes, |hash| hash.name())?;
        let groups = allowed("dhchap_dhgroups", self.dhchap_dhgroups.as_deref(), all.groups, |group| group.name())?;
        Ok(Policy { hashes, groups })
    }
}

/// Those of `all` that are named, or all where nothing is said.
fn allowed<T: Copy>(key: &str, names: Option<&[String]>, all: Vec<T>, name: fn(T) -> &'static str) -> Result<Vec<T>, Error> {
    let Some(names) = names else { return Ok(all) };
    let wrong = |why: String| Error::params(format!("Invalid parameters: {key}: {why}"));
    let known = || all.iter().map(|it| name(*it)).collect::<Vec<_>>().join(", ");
    if let Some(other) = names.iter().find(|said| !all.iter().any(|it| name(*it) == said.as_str())) {
        return Err(wrong(format!("there is no {other:?}; there are {}", known())));
    }
    if names.is_empty() {
        return Err(wrong(format!("none is allowed, and one is needed of {}", known())));
    }
    Ok(all.iter().copied().filter(|it| names.iter().any(|said| said == name(*it))).collect())
}

rpc::register!(
    Method::new("nvmf_set_config", "Takes what SPDK's configurations say of its target", |_, call| {
        let control = call.control().clone();
        call.answer(|set: SetConfig| {
            let passes = set.admin_cmd_passthru.values().any(|passes| *passes);
            refuse("admin_cmd_passthru", passes, "no device here takes commands as hosts say them")?;
            refuse("poll_groups_mask", set.poll_groups_mask.is_some(), "there is a poll group on each core of the program (-m)")?;
            let filters = set.discovery_filter.iter().chain(set.discovery_filters.iter().flatten());
            refuse(
                "discovery_filter",
                filters.into_iter().any(|it| it != MATCH_ANY),
                "hosts discover all that they may connect to: match_any",
            )?;
            refuse(
                "dup_host_policy",
                set.dup_host_policy.as_ref().is_some_and(|it| it != "allow"),
                "a host may have several controllers: allow",
            )?;
            if set.dhchap_digests.is_some() || set.dhchap_dhgroups.is_some() {
                target(&control, None)?.set_policy(set.policy()?);
            }
            Ok(true)
        });
    })
    .phases(Phases::Startup)
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetMaxSubsystems {
    max_subsystems: u32,
}

rpc::register!(
    Method::new("nvmf_set_max_subsystems", "How many subsystems there may be", |_, call| {
        let control = call.control().clone();
        call.answer(|set: SetMaxSubsystems| {
            target(&control, None)?.set_max_subsystems(set.max_subsystems as usize)?;
            Ok(true)
        });
    })
    .phases(Phases::Startup)
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetCrdt {
    #[serde(default)]
    crdt1: u16,
    #[serde(default)]
    crdt2: u16,
    #[serde(default)]
    crdt3: u16,
}

rpc::register!(
    Method::new("nvmf_set_crdt", "Takes delays of commands that are tried again: none", |_, call| {
        call.answer(|set: SetCrdt| {
            let has_delay = [set.crdt1, set.crdt2, set.crdt3] != [0; 3];
            refuse("crdt1, crdt2, crdt3", has_delay, "hosts are never asked to try a command again later: 0")?;
            Ok::<_, Error>(true)
        });
    })
    .phases(Phases::Startup)
);
