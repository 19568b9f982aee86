//! Subsystems, and the hosts that may connect to them.

extern crate std;

use std::format;
use std::string::String;

use keyring::Keyring;
use rpc::{Control, Error, Method};
use serde::Deserialize;

use super::{OfSubsystem, refuse, secure, target};
use crate::{HostKeys, SubsystemConfig};

rpc::register!(Method::new("nvmf_create_subsystem", "Makes a subsystem", |_, call| {
    let control = call.control().clone();
    call.answer(|create: Create| {
        target(&control, create.tgt_name.as_deref())?.add_subsystem(create.read()?)?;
        Ok(true)
    });
}));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    nqn: String,
    tgt_name: Option<String>,
    serial_number: Option<String>,
    model_number: Option<String>,
    max_namespaces: Option<u32>,
    #[serde(default)]
    allow_any_host: bool,
    #[serde(default)]
    ana_reporting: bool,
    min_cntlid: Option<u16>,
    max_cntlid: Option<u16>,
    #[serde(default)]
    passthrough: bool,
    #[serde(default)]
    enable_nssr: bool,
    /// These are about requests that a target need not take in one; here it takes what hosts may
    /// ask for.
    #[serde(rename = "dmrsl")]
    _dmrsl: Option<u32>,
    #[serde(rename = "wzsl")]
    _wzsl: Option<u8>,
    #[serde(rename = "max_discard_size_kib")]
    _max_discard_size_kib: Option<u64>,
    #[serde(rename = "max_write_zeroes_size_kib")]
    _max_write_zeroes_size_kib: Option<u64>,
    /// A name for people, which no host needs.
    #[serde(rename = "admin_label")]
    _admin_label: Option<String>,
}

impl Create {
    fn read(&self) -> Result<SubsystemConfig, Error> {
        refuse("passthrough", self.passthrough, "no device here takes commands as hosts say them")?;
        refuse("enable_nssr", self.enable_nssr, "hosts cannot reset a subsystem here")?;
        let mut config = SubsystemConfig::new(&self.nqn);
        if let Some(serial) = &self.serial_number {
            config.serial_number.clone_from(serial);
        }
        if let Some(model) = &self.model_number {
            config.model_number.clone_from(model);
        }
        // SPDK's 0 is its default too.
        if let Some(most) = self.max_namespaces.filter(|most| *most > 0) {
            config.max_namespaces = most;
        }
        let (least, most) = (self.min_cntlid.unwrap_or(*config.cntlids.start()), self.max_cntlid.unwrap_or(*config.cntlids.end()));
        config.cntlids = least..=most;
        (config.allow_any_host, config.ana_reporting) = (self.allow_any_host, self.ana_reporting);
        Ok(config)
    }
}

rpc::register!(Method::new("nvmf_delete_subsystem", "Removes a subsystem; its hosts are disconnected", |_, call| {
    let control = call.control().clone();
    call.answer(|of: OfSubsystem| {
        target(&control, of.tgt_name.as_deref())?.remove_subsystem(&of.nqn)?;
        Ok(true)
    });
}));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddHost {
    nqn: String,
    host: String,
    tgt_name: Option<String>,
    psk: Option<String>,
    dhchap_key: Option<String>,
    dhchap_ctrlr_key: Option<String>,
}

rpc::register!(Method::new("nvmf_subsystem_add_host", "Lets a host connect to a subsystem", |_, call| {
    let control = call.control().clone();
    call.answer(|add: AddHost| {
        let keys = keys(&control, add.dhchap_key.as_deref(), add.dhchap_ctrlr_key.as_deref())?;
        let target = target(&control, add.tgt_name.as_deref())?;
        secure::add_host(&control, &target, (&add.nqn, &add.host), &keys, add.psk.as_deref())?;
        Ok(true)
    });
}));

/// The keys of these names.
fn keys(control: &Control, host: Option<&str>, controller: Option<&str>) -> Result<HostKeys, Error> {
    let find = |name: Option<&str>| match name {
        None => Ok(None),
        Some(name) => match control.service::<Keyring>()?.get(name) {
            Ok(key) => Ok(Some(key)),
            Err(why) => Err(Error::params(format!("Invalid parameters: {why}"))),
        },
    };
    Ok(HostKeys { dhchap_key: find(host)?, dhchap_ctrlr_key: find(controller)? })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetKeys {
    nqn: String,
    host: String,
    tgt_name: Option<String>,
    dhchap_key: Option<String>,
    dhchap_ctrlr_key: Option<String>,
}

rpc::register!(Method::new("nvmf_subsystem_set_keys", "Gives a host other keys, or none", |_, call| {
    let control = call.control().clone();
    call.answer(|set: SetKeys| {
        let keys = keys(&control, set.dhchap_key.as_deref(), set.dhchap_ctrlr_key.as_deref())?;
        target(&control, set.tgt_name.as_deref())?.set_keys(&set.nqn, &set.host, &keys)?;
        Ok(true)
    });
}));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveHost {
    nqn: String,
    host: String,
    tgt_name: Option<String>,
    /// It is disconnected at once.
    #[serde(rename = "timeout_ms")]
    _timeout_ms: Option<u64>,
}

rpc::register!(Method::new("nvmf_subsystem_remove_host", "Lets a host connect no more, and disconnects it", |_, call| {
    let control = call.control().clone();
    call.answer(|remove: RemoveHost| {
        target(&control, remove.tgt_name.as_deref())?.remove_host(&remove.nqn, &remove.host)?;
        Ok(true)
    });
}));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowAnyHost {
    nqn: String,
    allow_any_host: bool,
    tgt_name: Option<String>,
}

rpc::register!(Method::new("nvmf_subsystem_allow_any_host", "Lets any host connect, or only those that were named", |_, call| {
    let control = call.control().clone();
    call.answer(|allow: AllowAnyHost| {
        target(&control, allow.tgt_name.as_deref())?.allow_any_host(&allow.nqn, allow.allow_any_host)?;
        Ok(true)
    });
}));
