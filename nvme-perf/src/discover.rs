//! The discovery log, as nvme-cli prints it.

use std::fmt::Write as _;

use nvme::Sqe;
use nvme::log::{DiscoveryEntry, DiscoveryHeader, GetLogPage, lid};
use serde_json::{Value, json};
use zerocopy::FromBytes;

use crate::admin::Admin;
use crate::args::Look;
use crate::error::Trouble;
use crate::identify::text;

/// Bytes of the header, and of an entry.
const ENTRY: usize = size_of::<DiscoveryEntry>();
/// Entries that are read at a time.
const AT_ONCE: u64 = 4;
/// Entries that are believed in.
const MOST: u64 = 65_536;
/// How often a log that changes meanwhile is read again.
const TRIES: usize = 10;

/// Asks, and makes a text of the answers.
pub(crate) async fn print(admin: &Admin, args: &Look) -> Result<String, Trouble> {
    for _ in 0..TRIES {
        let header = header(admin).await?;
        let records = header.records.get();
        if records > MOST {
            return Err(Trouble::Unfit(format!("the discovery log says that it has {records} entries, which nobody believes")));
        }
        let mut entries = Vec::new();
        let mut at = 0;
        while at < records {
            let some = (records - at).min(AT_ONCE);
            let bytes = page(admin, ENTRY as u64 * (1 + at), some as u32 * ENTRY as u32).await?;
            entries.extend(bytes.chunks_exact(ENTRY).filter_map(|bytes| DiscoveryEntry::read_from_bytes(bytes).ok()));
            at += some;
        }
        if self::header(admin).await?.generation == header.generation {
            return Ok(if args.json {
                as_json(header.generation.get(), &entries).to_string()
            } else {
                as_text(header.generation.get(), &entries)
            });
        }
    }
    Err(Trouble::Unfit(format!("the discovery log changed each of {TRIES} times that it was read")))
}

async fn header(admin: &Admin) -> Result<DiscoveryHeader, Trouble> {
    let bytes = page(admin, 0, ENTRY as u32).await?;
    DiscoveryHeader::read_from_bytes(&bytes).map_err(|_| Trouble::Unfit("the discovery log has another length".into()))
}

async fn page(admin: &Admin, offset: u64, length: u32) -> Result<Vec<u8>, Trouble> {
    let page = GetLogPage::new(lid::DISCOVERY, GetLogPage::RETAIN, offset, length);
    admin.read("Get Log Page of the discovery log", Sqe::get_log_page(0, &page), length).await
}

fn transport(it: &DiscoveryEntry) -> String {
    match it.trtype {
        1 => "rdma".into(),
        2 => "fc".into(),
        3 => "tcp".into(),
        254 => "loop".into(),
        other => format!("{other}"),
    }
}

fn family(it: &DiscoveryEntry) -> String {
    match it.adrfam {
        1 => "ipv4".into(),
        2 => "ipv6".into(),
        other => format!("{other}"),
    }
}

fn kind(it: &DiscoveryEntry) -> String {
    match it.subtype {
        1 => "discovery subsystem referral".into(),
        2 => "nvme subsystem".into(),
        3 => "current discovery subsystem".into(),
        other => format!("{other}"),
    }
}

fn as_text(generation: u64, entries: &[DiscoveryEntry]) -> String {
    let mut out = format!("Discovery Log Number of Records {}, Generation counter {generation}", entries.len());
    for (index, it) in entries.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(out, "\n=====Discovery Log Entry {index}======");
        for (name, value) in [
            ("trtype", transport(it)),
            ("adrfam", family(it)),
            ("subtype", kind(it)),
            (
                "treq",
                if it.treq & 3 == 1 {
                    "required"
                } else if it.treq & 3 == 2 {
                    "not required"
                } else {
                    "not specified"
                }
                .into(),
            ),
            ("portid", it.portid.get().to_string()),
            ("trsvcid", text(&it.trsvcid)),
            ("subnqn", text(&it.subnqn)),
            ("traddr", text(&it.traddr)),
        ] {
            let _ = write!(out, "\n{:<9}{value}", format!("{name}:"));
        }
    }
    out
}

fn as_json(generation: u64, entries: &[DiscoveryEntry]) -> Value {
    let records: Vec<Value> = entries
        .iter()
        .map(|it| {
            json!({
                "trtype": transport(it), "adrfam": family(it), "subtype": kind(it), "portid": it.portid.get(),
                "trsvcid": text(&it.trsvcid), "subnqn": text(&it.subnqn), "traddr": text(&it.traddr),
            })
        })
        .collect();
    json!({"mode": "discover", "genctr": generation, "records": records})
}
