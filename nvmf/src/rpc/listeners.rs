//! Where subsystems listen, and how good each way is.

extern crate std;

use std::string::String;
use std::vec::Vec;

use nvme::log::AnaState;
use rpc::Method;
use serde::{Deserialize, Serialize};

use super::{Address, OfSubsystem, ToldAddress, secure, target};
use crate::{Listener, Subsystem};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    nqn: String,
    listen_address: Address,
    tgt_name: Option<String>,
    #[serde(default)]
    secure_channel: bool,
    ana_state: Option<State>,
    /// Sockets are all of the backend that the program was started with.
    #[serde(rename = "sock_impl")]
    _sock_impl: Option<String>,
}

rpc::register!(Method::new("nvmf_subsystem_add_listener", "Has a subsystem listen at an address", |_, call| {
    let control = call.control().clone();
    call.answer(|add: Add| {
        let target = target(&control, add.tgt_name.as_deref())?;
        let at = secure::listen(&target, &add.nqn, add.listen_address.read()?, add.secure_channel)??;
        if let Some(state) = add.ana_state.filter(|state| *state != State::Optimized)
            && let Err(why) = target.set_ana_state(&add.nqn, at, None, state.into())
        {
            target.remove_listener(&add.nqn, at)?;
            return Err(why.into());
        }
        Ok(true)
    });
}));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    nqn: String,
    listen_address: Address,
    tgt_name: Option<String>,
}

rpc::register!(Method::new(
    "nvmf_subsystem_remove_listener",
    "Has a subsystem listen no more, and disconnects who came that way",
    |_, call| {
        let control = call.control().clone();
        call.answer(|remove: Remove| {
            target(&control, remove.tgt_name.as_deref())?.remove_listener(&remove.nqn, remove.listen_address.read()?)?;
            Ok(true)
        });
    }
));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetAnaState {
    nqn: String,
    listen_address: Address,
    ana_state: State,
    /// 0, and none, are all groups.
    #[serde(default)]
    anagrpid: u32,
    tgt_name: Option<String>,
}

rpc::register!(Method::new("nvmf_subsystem_listener_set_ana_state", "Says how good a way to namespaces is", |_, call| {
    let control = call.control().clone();
    call.answer(|set: SetAnaState| {
        let group = Some(set.anagrpid).filter(|group| *group != 0);
        target(&control, set.tgt_name.as_deref())?.set_ana_state(&set.nqn, set.listen_address.read()?, group, set.ana_state.into())?;
        Ok(true)
    });
}));

rpc::register!(Method::new("nvmf_subsystem_get_listeners", "Where a subsystem listens, and how good each way is", |_, call| {
    let control = call.control().clone();
    call.answer(|of: OfSubsystem| {
        let subsystem = target(&control, of.tgt_name.as_deref())?.subsystem(&of.nqn)?;
        Ok(subsystem.listeners().iter().map(|listener| ToldListener::of(&subsystem, listener)).collect::<Vec<_>>())
    });
}));

/// The states that clients may set.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum State {
    Optimized,
    NonOptimized,
    Inaccessible,
}

impl From<State> for AnaState {
    fn from(state: State) -> Self {
        match state {
            State::Optimized => Self::Optimized,
            State::NonOptimized => Self::NonOptimized,
            State::Inaccessible => Self::Inaccessible,
        }
    }
}

/// As SPDK names them.
pub(super) fn name(state: AnaState) -> &'static str {
    match state {
        AnaState::Optimized => "optimized",
        AnaState::NonOptimized => "non_optimized",
        AnaState::Inaccessible => "inaccessible",
        AnaState::PersistentLoss => "persistent_loss",
        AnaState::Change => "change",
    }
}

#[derive(Serialize)]
struct ToldListener {
    address: ToldAddress,
    #[serde(skip_serializing_if = "Option::is_none")]
    ana_states: Option<Vec<ToldState>>,
}

#[derive(Serialize)]
struct ToldState {
    ana_group: u32,
    ana_state: &'static str,
}

impl ToldListener {
    fn of(subsystem: &Subsystem, listener: &Listener) -> Self {
        let state = |ana_group| ToldState { ana_group, ana_state: name(listener.ana(ana_group).0) };
        let config = subsystem.config();
        let ana_states = config.ana_reporting.then(|| (1..=config.max_namespaces).map(state).collect());
        Self { address: listener.address().into(), ana_states }
    }
}
