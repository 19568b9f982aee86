//! The transport.

extern crate std;

use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use rpc::{Error, Method};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{is_tcp, refuse, target};
use crate::Transport;

rpc::register!(Method::new("nvmf_create_transport", "Makes the transport TCP, which listeners need", |_, call| {
    let control = call.control().clone();
    call.answer(|create: Create| {
        target(&control, create.tgt_name.as_deref())?.create_transport(create.read()?)?;
        Ok(true)
    });
}));

#[derive(Deserialize)]
struct Create {
    trtype: String,
    tgt_name: Option<String>,
    max_queue_depth: Option<u16>,
    max_io_qpairs_per_ctrlr: Option<u16>,
    /// The older name, which counts the admin queue.
    max_qpairs_per_ctrlr: Option<u16>,
    in_capsule_data_size: Option<u32>,
    max_io_size: Option<u32>,
    c2h_success: Option<bool>,
    #[serde(default)]
    dif_insert_or_strip: bool,
    #[serde(default)]
    masked_oncs: Vec<String>,
    #[serde(default)]
    masked_fuses: Vec<String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// What clients say besides: it is about other transports, or about how SPDK does something, and
/// without effect here.
const OTHERS: [&str; 24] = [
    "abort_timeout_sec",
    "acceptor_backlog",
    "acceptor_poll_rate",
    "ack_timeout",
    "buf_cache_size",
    "control_msg_num",
    "data_wr_pool_size",
    "disable_adaptive_irq",
    "disable_command_passthru",
    "disable_mappable_bar0",
    "disable_shadow_doorbells",
    "io_unit_size",
    "iobuf_large_cache_size",
    "iobuf_small_cache_size",
    "kas",
    "max_aq_depth",
    "max_srq_depth",
    "min_kato",
    "no_srq",
    "no_wr_batching",
    "num_cqe",
    "num_shared_buffers",
    "sock_priority",
    "zcopy",
];

impl Create {
    fn read(&self) -> Result<Transport, Error> {
        is_tcp(&self.trtype)?;
        if let Some(key) = self.others.keys().find(|key| !OTHERS.contains(&key.as_str())) {
            return Err(Error::params(format!("Invalid parameters: unknown field `{key}`")));
        }
        refuse("dif_insert_or_strip", self.dif_insert_or_strip, "blocks have no metadata here")?;
        let masks = !self.masked_oncs.is_empty() || !self.masked_fuses.is_empty();
        refuse("masked_oncs, masked_fuses", masks, "hosts are always told of every command that the devices have")?;
        let default = Transport::default();
        let queues = self.max_io_qpairs_per_ctrlr.or(self.max_qpairs_per_ctrlr.map(|all| all.saturating_sub(1)));
        Ok(Transport {
            max_queue_depth: self.max_queue_depth.unwrap_or(default.max_queue_depth),
            max_io_qpairs_per_ctrlr: queues.unwrap_or(default.max_io_qpairs_per_ctrlr),
            in_capsule_data_size: self.in_capsule_data_size.unwrap_or(default.in_capsule_data_size),
            max_io_size: self.max_io_size.unwrap_or(default.max_io_size),
            c2h_success: self.c2h_success.unwrap_or(default.c2h_success),
        })
    }
}

rpc::register!(Method::new("nvmf_get_transports", "The transports that were made", |_, call| {
    let control = call.control().clone();
    call.answer(|which: Option<Which>| {
        let Which { trtype, tgt_name } = which.unwrap_or_default();
        let target = target(&control, tgt_name.as_deref())?;
        let told: Vec<_> = target.transport().map(ToldTransport::of).into_iter().collect();
        match trtype {
            Some(trtype) if told.is_empty() || is_tcp(&trtype).is_err() => {
                Err(Error::new(-19, format!("transport '{trtype}' does not exist")))
            }
            _ => Ok(told),
        }
    });
}));

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    trtype: Option<String>,
    tgt_name: Option<String>,
}

/// A transport as clients are told it, and as it is saved.
#[derive(Serialize)]
pub(super) struct ToldTransport {
    trtype: &'static str,
    max_queue_depth: u16,
    max_io_qpairs_per_ctrlr: u16,
    in_capsule_data_size: u32,
    max_io_size: u32,
    max_aq_depth: u32,
    iobuf_small_cache_size: u32,
    iobuf_large_cache_size: u32,
    dif_insert_or_strip: bool,
    zcopy: bool,
    c2h_success: bool,
    sock_priority: u32,
    abort_timeout_sec: u32,
    ack_timeout: u32,
    data_wr_pool_size: u32,
    disable_command_passthru: bool,
    /// In units of 100 ms.
    kas: u16,
    min_kato: u32,
}

impl ToldTransport {
    pub(super) fn of(transport: &Transport) -> Self {
        Self {
            trtype: "TCP",
            max_queue_depth: transport.max_queue_depth,
            max_io_qpairs_per_ctrlr: transport.max_io_qpairs_per_ctrlr,
            in_capsule_data_size: transport.in_capsule_data_size,
            max_io_size: transport.max_io_size,
            max_aq_depth: nvme::target::MOST_ADMIN_ENTRIES.into(),
            // What SPDK says where nothing was.
            iobuf_small_cache_size: u32::MAX,
            iobuf_large_cache_size: u32::MAX,
            dif_insert_or_strip: false,
            zcopy: false,
            c2h_success: transport.c2h_success,
            sock_priority: 0,
            abort_timeout_sec: 1,
            ack_timeout: 0,
            data_wr_pool_size: 0,
            disable_command_passthru: true,
            kas: 1,
            min_kato: 0,
        }
    }
}
