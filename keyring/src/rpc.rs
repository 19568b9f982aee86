//! The methods by which SPDK's clients add, list and remove keys.
//!
//! The program gives them its [`Keyring`], as a service of its control plane. What a key is, none
//! of them says.

extern crate std;

use std::string::{String, ToString};
use std::vec::Vec;

use rpc::{Error, Method, NoParams, Subsystem};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{KeyError, Keyring, Listed};

/// What SPDK calls the part that takes keys from files.
const MODULE: &str = "keyring_file";

/// Linux's number for a key that is not there.
const NO_KEY: i32 = -126;

impl From<KeyError> for Error {
    /// With the code that SPDK has for it.
    fn from(why: KeyError) -> Self {
        let code = match &why {
            KeyError::Exists(_) => errno(Errno::EXIST),
            KeyError::Unknown(_) => NO_KEY,
            KeyError::Relative(_) | KeyError::Permissions { .. } => errno(Errno::PERM),
            KeyError::File { why, .. } => errno(*why),
            KeyError::NoName | KeyError::Content { .. } => Self::PARAMS,
        };
        Self::new(code, why.to_string())
    }
}

fn errno(code: Errno) -> i32 {
    -code.raw_os_error()
}

rpc::register_subsystem!(
    Subsystem::new("keyring", &[], |control| {
        let there = control.service::<Keyring>()?.list().into_iter().filter(|it| !it.is_removed);
        let added = |it: Listed| Some(Subsystem::call("keyring_file_add_key", json!({"name": it.key.name(), "path": it.key.path()?})));
        Ok(there.filter_map(added).collect())
    })
    .of_others(&["keyring_linux_set_options"])
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    name: String,
    path: String,
}

rpc::register!(Method::new("keyring_file_add_key", "Adds a key that is in a file, which nobody else can read", |_, call| {
    let keyring = call.control().service::<Keyring>();
    call.answer(|add: Add| {
        keyring?.add_file(&add.name, &add.path)?;
        Ok(true)
    });
}));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    name: String,
}

rpc::register!(Method::new("keyring_file_remove_key", "Removes a key; those who have it keep it", |_, call| {
    let keyring = call.control().service::<Keyring>();
    call.answer(|remove: Remove| {
        keyring?.remove(&remove.name)?;
        Ok(true)
    });
}));

rpc::register!(Method::new("keyring_get_keys", "The keys by their names, and not what they are", |_, call| {
    let keyring = call.control().service::<Keyring>();
    call.answer(|_: NoParams| Ok(keyring?.list().iter().map(ToldKey::of).collect::<Vec<_>>()));
}));

#[derive(Serialize)]
struct ToldKey {
    name: String,
    module: &'static str,
    removed: bool,
    probed: bool,
    refcnt: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl ToldKey {
    fn of(it: &Listed) -> Self {
        let path = it.key.path().filter(|_| !it.is_removed).map(String::from);
        Self { name: it.key.name().into(), module: MODULE, removed: it.is_removed, probed: false, refcnt: it.users, path }
    }
}
