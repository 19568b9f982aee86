//! Namespaces of a subsystem.

extern crate std;

use std::format;
use std::string::String;
use std::sync::Arc;

use bdev::{Bdevs, Uuid};
use rpc::{Control, Error, Method};
use serde::Deserialize;

use super::{ptpl, refuse, target};
use crate::{CLAIM, Namespace, NamespaceConfig};

rpc::register!(Method::new("nvmf_subsystem_add_ns", "Gives a subsystem a block device as a namespace", |_, call| {
    let control = call.control().clone();
    let Some((add, reply)) = call.open::<Add>() else { return };
    if add.namespace.ptpl_file.is_some() {
        // A file is read, which may take as long as it likes.
        ptpl::elsewhere(move || reply.send(add.make(&control)));
    } else {
        reply.send(add.make(&control));
    }
}));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    nqn: String,
    namespace: New,
    tgt_name: Option<String>,
}

impl Add {
    fn make(self, control: &Control) -> Result<u32, Error> {
        let target = target(control, self.tgt_name.as_deref())?;
        let mut config = self.namespace.read(&*control.service::<Bdevs>()?)?;
        let mut claim = None;
        if let Some(path) = self.namespace.ptpl_file {
            let wrong = |why| Error::params(format!("Invalid parameters: namespace.ptpl_file: {why}"));
            let path = ptpl::resolve(&path).map_err(wrong)?;
            claim = ptpl::Claim::new(&path);
            let is_its = |namespace: &Arc<Namespace>| namespace.config().keeper.as_ref().is_some_and(|it| ptpl::collide(it.name(), &path));
            let taken = target.subsystems().iter().any(|subsystem| subsystem.namespaces().iter().any(is_its));
            refuse("namespace.ptpl_file", taken || claim.is_none(), "another namespace keeps its reservations there")?;
            let file = ptpl::File::new(path, config.device.bdev().uuid());
            config.kept = file.read().map_err(wrong)?;
            config.keeper = Some(Arc::new(file));
        }
        let nsid = target.add_namespace(&self.nqn, config)?;
        drop(claim);
        Ok(nsid)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    bdev_name: String,
    nsid: Option<u32>,
    nguid: Option<String>,
    eui64: Option<String>,
    uuid: Option<String>,
    anagrpid: Option<u32>,
    ptpl_file: Option<String>,
    #[serde(default)]
    no_auto_visible: bool,
    /// Blocks have none.
    #[serde(default, rename = "hide_metadata")]
    _hide_metadata: bool,
}

impl New {
    fn read(&self, bdevs: &Bdevs) -> Result<NamespaceConfig, Error> {
        refuse("namespace.no_auto_visible", self.no_auto_visible, "each host that may connect sees every namespace here")?;
        let wrong = |why| Error::params(format!("Invalid parameters: namespace.bdev_name: {why}"));
        let device = bdevs.get(&self.bdev_name).and_then(|bdev| bdev.open_claimed(CLAIM)).map_err(wrong)?;
        // SPDK's 0 is none.
        let given = |number: Option<u32>| number.filter(|number| *number != 0);
        Ok(NamespaceConfig {
            device,
            nsid: given(self.nsid),
            uuid: self.uuid.as_deref().map(uuid).transpose()?.filter(|uuid| uuid.0 != 0),
            nguid: self.nguid.as_deref().map(|text| bytes("nguid", text)).transpose()?.filter(|nguid| *nguid != [0; 16]),
            eui64: self.eui64.as_deref().map(|text| bytes("eui64", text)).transpose()?.filter(|eui64| *eui64 != [0; 8]),
            anagrpid: given(self.anagrpid),
            keeper: None,
            kept: None,
        })
    }
}

fn uuid(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|why| Error::params(format!("Invalid parameters: namespace.{why}")))
}

/// Bytes of hexadecimal digits.
fn bytes<const N: usize>(key: &str, text: &str) -> Result<[u8; N], Error> {
    let digits = text.as_bytes();
    let is_one = digits.len() == 2 * N && digits.iter().all(u8::is_ascii_hexdigit);
    if !is_one {
        return Err(Error::params(format!("Invalid parameters: namespace.{key}: {text:?} has not {} hexadecimal digits", 2 * N)));
    }
    let digit = |at: usize| (digits[at] as char).to_digit(16).unwrap_or(0) as u8;
    Ok(core::array::from_fn(|n| digit(2 * n) << 4 | digit(2 * n + 1)))
}

/// Bytes as hexadecimal digits, as SPDK writes them.
pub(super) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    nqn: String,
    nsid: u32,
    tgt_name: Option<String>,
}

rpc::register!(Method::new("nvmf_subsystem_remove_ns", "Takes a namespace from a subsystem", |_, call| {
    let control = call.control().clone();
    call.answer(|remove: Remove| {
        target(&control, remove.tgt_name.as_deref())?.remove_namespace(&remove.nqn, remove.nsid)?;
        Ok(true)
    });
}));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s335_identifiers_are_digits_and_nothing_else() {
        assert_eq!(bytes("eui64", "0123456789abCDEF"), Ok([0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]));
        assert_eq!(digits(&[0x01, 0xAB]), "01AB");
        for wrong in ["", "0123456789abCDE", "0123456789abCDEF0", "0123456789abCDEG", "0x23456789abCDEF", "0123456789abCD\u{e9}"] {
            assert!(bytes::<8>("eui64", wrong).is_err(), "{wrong}");
        }
    }
}
