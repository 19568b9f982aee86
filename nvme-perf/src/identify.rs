//! What a controller and its namespaces say of themselves, as people read it.

use std::fmt::Write as _;

use nvme::Sqe;
use nvme::identify::{Controller, Namespace, cns, oncs};
use serde_json::{Value, json};
use zerocopy::FromBytes;

use crate::admin::Admin;
use crate::args::Look;
use crate::error::Trouble;

/// Asks, and makes a text of the answers.
pub(crate) async fn print(admin: &Admin, args: &Look) -> Result<String, Trouble> {
    let bytes = admin.read("Identify of the controller", Sqe::identify(cns::CONTROLLER, 0), 4096).await?;
    let controller = read::<Controller>(&bytes)?;
    let mut namespaces = Vec::new();
    if !args.target.is_discovery() {
        let list = admin.read("Identify of the active namespaces", Sqe::identify(cns::ACTIVE_NAMESPACES, 0), 4096).await?;
        for nsid in self::namespaces(&list) {
            let bytes = admin.read("Identify of a namespace", Sqe::identify(cns::NAMESPACE, nsid), 4096).await?;
            let descriptors = admin.read("Identify of a namespace's names", Sqe::identify(cns::DESCRIPTORS, nsid), 4096).await?;
            namespaces.push((nsid, read::<Namespace>(&bytes)?, uuid_of(&descriptors)));
        }
    }
    Ok(if args.json { as_json(args, &controller, &namespaces).to_string() } else { as_text(args, &controller, &namespaces) })
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<T, Trouble> {
    T::read_from_bytes(bytes).map_err(|_| Trouble::Unfit("Identify has another length".into()))
}

/// The numbers in an active namespace list.
pub(crate) fn namespaces(list: &[u8]) -> Vec<u32> {
    let (words, _) = list.as_chunks::<4>();
    words.iter().map(|word| u32::from_le_bytes(*word)).take_while(|nsid| *nsid != 0).collect()
}

/// The UUID in a list of descriptors.
fn uuid_of(mut list: &[u8]) -> Option<[u8; 16]> {
    const UUID: u8 = nvme::identify::Descriptor::UUID;
    loop {
        match list {
            [UUID, 16, _, _, rest @ ..] => return rest.first_chunk().copied(),
            [0, ..] | [] => return None,
            [_, length, _, _, rest @ ..] => list = rest.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}

/// As it is written.
pub(crate) fn uuid(id: &[u8; 16]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    [&id[..4], &id[4..6], &id[6..8], &id[8..10], &id[10..]].map(hex).join("-")
}

/// A field of text: without its padding, and with nothing in it that a terminal would obey.
pub(crate) fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = String::from_utf8_lossy(&field[..end]);
    text.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn yes(yes: bool) -> &'static str {
    if yes { "Supported" } else { "Not Supported" }
}

/// The most data of one command, in bytes.
fn mdts(controller: &Controller) -> Option<u64> {
    (controller.mdts != 0).then(|| 4096_u64.checked_shl(controller.mdts.into()).unwrap_or(u64::MAX))
}

fn version(version: u32) -> String {
    match (version >> 16, version >> 8 & 0xFF, version & 0xFF) {
        (major, minor, 0) => format!("{major}.{minor}"),
        (major, minor, patch) => format!("{major}.{minor}.{patch}"),
    }
}

/// What a namespace's blocks have.
fn block(namespace: &Namespace) -> u64 {
    1_u64.checked_shl(namespace.formats[usize::from(namespace.flbas & 0xF)].shift.into()).unwrap_or(0)
}

fn as_text(args: &Look, it: &Controller, namespaces: &[(u32, Namespace, Option<[u8; 16]>)]) -> String {
    let line = "=".repeat(61);
    let mut out = format!("{line}\nController at {}: {}\n{line}\n", args.target.at, args.target.subnqn);
    let mut row = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = match name {
            "" => writeln!(out),
            _ => writeln!(out, "{:<39}{value}", format!("{name}:")),
        };
    };
    row("Vendor ID", format!("{:04x}", it.vid.get()));
    row("Serial Number", text(&it.serial));
    row("Model Number", text(&it.model));
    row("Firmware Version", text(&it.firmware));
    row("Subsystem NQN", text(&it.subnqn));
    row("Controller ID", it.cntlid.get().to_string());
    row(
        "Controller Type",
        match it.kind {
            1 => "I/O".into(),
            2 => "Discovery".into(),
            other => format!("{other}"),
        },
    );
    row("NVMe Specification Version (Identify)", version(it.version.get()));
    row("Max Data Transfer Size", mdts(it).map_or("no limit".into(), |most| most.to_string()));
    row("Max Number of Namespaces", it.nn.get().to_string());
    row("Max Commands of a Queue", it.maxcmd.get().to_string());
    row("I/O Capsule: data in a command", (u64::from(it.ioccsz.get()) * 16).saturating_sub(64).to_string());
    row("Keep Alive Granularity", format!("{} ms", u64::from(it.kas.get()) * 100));
    row("Async Event Request Limit", (u32::from(it.aerl) + 1).to_string());
    row("Abort Command Limit", (u32::from(it.acl) + 1).to_string());
    row("Multiple Controllers", yes(it.cmic & 2 != 0).into());
    row("Asymmetric Namespace Access", yes(it.cmic & 8 != 0).into());
    let oncs = it.oncs.get();
    row("Compare", yes(oncs & oncs::COMPARE != 0).into());
    row("Compare and Write (fused)", yes(it.fuses.get() & 1 != 0).into());
    row("Dataset Management", yes(oncs & oncs::DATASET_MANAGEMENT != 0).into());
    row("Write Zeroes", yes(oncs & oncs::WRITE_ZEROES != 0).into());
    row("Reservations", yes(oncs & oncs::RESERVATIONS != 0).into());
    row("Volatile Write Cache", if it.vwc & 1 != 0 { "Present" } else { "Not Present" }.into());
    for (nsid, it, id) in namespaces {
        let (blocks, size) = (it.nsze.get(), block(it));
        row("", String::new());
        row("Namespace ID", nsid.to_string());
        row("Size (in LBAs)", format!("{blocks} ({} MiB)", blocks.saturating_mul(size) >> 20));
        row("LBA Size", size.to_string());
        row("Write Protected", if it.nsattr & 1 != 0 { "Yes" } else { "No" }.into());
        row("Shared", if it.nmic & 1 != 0 { "Yes" } else { "No" }.into());
        row("ANA Group ID", it.anagrpid.get().to_string());
        row("NGUID", it.nguid.iter().fold(String::new(), |text, byte| text + &format!("{byte:02X}")));
        row("UUID", id.as_ref().map_or("none".into(), uuid));
    }
    out.trim_end().to_owned()
}

fn as_json(args: &Look, it: &Controller, namespaces: &[(u32, Namespace, Option<[u8; 16]>)]) -> Value {
    let oncs = it.oncs.get();
    let namespaces: Vec<Value> = namespaces
        .iter()
        .map(|(nsid, it, id)| {
            json!({
                "nsid": nsid, "blocks": it.nsze.get(), "block_size": block(it), "write_protected": it.nsattr & 1 != 0, "shared": it.nmic & 1 != 0,
                "ana_group": it.anagrpid.get(), "uuid": id.as_ref().map(uuid),
            })
        })
        .collect();
    json!({
        "mode": "identify", "address": args.target.at.to_string(), "subnqn": text(&it.subnqn), "vid": it.vid.get(), "serial": text(&it.serial),
        "model": text(&it.model), "firmware": text(&it.firmware), "cntlid": it.cntlid.get(), "version": version(it.version.get()), "max_transfer": mdts(it),
        "max_namespaces": it.nn.get(), "max_commands": it.maxcmd.get(), "in_capsule": (u64::from(it.ioccsz.get()) * 16).saturating_sub(64),
        "keep_alive_ms": u64::from(it.kas.get()) * 100, "ana": it.cmic & 8 != 0, "compare": oncs & oncs::COMPARE != 0,
        "fused_compare_and_write": it.fuses.get() & 1 != 0, "dataset_management": oncs & oncs::DATASET_MANAGEMENT != 0,
        "write_zeroes": oncs & oncs::WRITE_ZEROES != 0, "reservations": oncs & oncs::RESERVATIONS != 0, "namespaces": namespaces,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_found_among_other_names() {
        let mut list = vec![2, 16, 0, 0];
        list.extend([1; 16]);
        list.extend([3, 16, 0, 0]);
        list.extend(0..16);
        list.resize(4096, 0);
        assert_eq!(uuid_of(&list).map(|id| uuid(&id)).as_deref(), Some("00010203-0405-0607-0809-0a0b0c0d0e0f"));
        for bad in [&[][..], &[0; 4096], &[1], &[1, 200, 0, 0, 1], &[3, 16, 0, 0, 1]] {
            assert_eq!(uuid_of(bad), None);
        }
    }

    #[test]
    fn what_a_target_says_cannot_steer_a_terminal() {
        assert_eq!(text(b"SPDK \x1b[2J\n bdev   "), "SPDK ?[2J? bdev");
        assert_eq!(text(b"nqn.a\0rest"), "nqn.a");
        assert_eq!((version(0x0002_0000).as_str(), version(0x0001_0403).as_str()), ("2.0", "1.4.3"));
        assert_eq!(namespaces(&[1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]), [1, 5]);
    }
}
