//! The methods that switch tracepoints, and write what was traced to a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use core_reactor::{Cx, TRACE_GROUPS, ThreadLib};
use rpc::{Call, Error, Method, NoParams, Phases};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::elsewhere::Elsewhere;
use crate::trace_file;

/// Answers with what `f` makes of the parameters, not on a reactor: there is memory to be had, or a
/// file to be written.
fn answer_elsewhere<P, R>(cx: &mut Cx<'_>, call: Call, f: impl FnOnce(P, &ThreadLib) -> Result<R, Error> + Send + 'static)
where
    P: DeserializeOwned + Send + 'static,
    R: Serialize,
{
    let (lib, elsewhere) = (cx.lib(), call.control().service::<Elsewhere>());
    let Some((params, reply)) = call.open::<P>() else { return };
    match elsewhere {
        Ok(elsewhere) => elsewhere.run(move || reply.send(f(params, &lib))),
        Err(why) => reply.send::<R>(Err(why)),
    }
}

/// The group of that name, or all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Points {
    name: String,
    tpoint_mask: u64,
}

/// Has the tracepoints of the groups of this name be what `to` makes of them.
fn change(lib: &ThreadLib, name: &str, to: impl Fn(u8) -> u8) -> Result<bool, Error> {
    let is_meant = |group: &usize| name == "all" || TRACE_GROUPS[*group].name == name;
    let meant: Vec<_> = (0..TRACE_GROUPS.len()).filter(is_meant).collect();
    if meant.is_empty() {
        let known = TRACE_GROUPS.map(|group| group.name).join(", ");
        return Err(Error::params(format!("Invalid parameters: name: no group {name:?}; there are {known}, and all for each of them")));
    }
    meant.into_iter().for_each(|group| lib.set_traced(group, to(lib.traced(group))));
    Ok(true)
}

rpc::register!(
    Method::new("trace_enable_tpoint_group", "Traces what a group has, or all groups", |cx, call| {
        answer_elsewhere(cx, call, |it: Group, lib| change(lib, &it.name, |_| u8::MAX));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("trace_disable_tpoint_group", "Traces a group, or all, no more; what was traced is kept", |cx, call| {
        answer_elsewhere(cx, call, |it: Group, lib| change(lib, &it.name, |_| 0));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("trace_set_tpoint_mask", "Traces these tracepoints of a group, by their bits, too", |cx, call| {
        answer_elsewhere(cx, call, |it: Points, lib| change(lib, &it.name, |points| points | it.tpoint_mask as u8));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("trace_clear_tpoint_mask", "Traces these tracepoints of a group, by their bits, no more", |cx, call| {
        answer_elsewhere(cx, call, |it: Points, lib| change(lib, &it.name, |points| points & !(it.tpoint_mask as u8)));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("trace_clear", "Forgets what was traced", |cx, call| {
        let lib = cx.lib();
        call.answer(|NoParams| {
            lib.clear_trace();
            Ok(true)
        });
    })
    .phases(Phases::Any)
);

/// A mask as SPDK writes it.
fn hex(mask: u64) -> String {
    format!("0x{mask:x}")
}

/// The groups of which something is traced.
fn enabled(lib: &ThreadLib) -> String {
    hex((0..TRACE_GROUPS.len()).filter(|group| lib.traced(*group) != 0).fold(0, |mask, group| mask | 1 << group))
}

/// What is told of each group, by its name.
fn of_groups<T>(tell: impl Fn(usize) -> T) -> BTreeMap<&'static str, T> {
    TRACE_GROUPS.iter().enumerate().map(|(group, it)| (it.name, tell(group))).collect()
}

rpc::register!(
    Method::new("trace_get_tpoint_group_mask", "Which groups of tracepoints there are, and which are traced", |cx, call| {
        let lib = cx.lib();
        call.answer(|NoParams| {
            let groups = of_groups(|group| OneGroup { enabled: lib.traced(group) != 0, mask: hex(1 << group) });
            Ok(GroupMask { tpoint_group_mask: enabled(&lib), groups })
        });
    })
    .phases(Phases::Any)
);

#[derive(Serialize)]
struct GroupMask {
    tpoint_group_mask: String,
    #[serde(flatten)]
    groups: BTreeMap<&'static str, OneGroup>,
}

#[derive(Serialize)]
struct OneGroup {
    enabled: bool,
    mask: String,
}

rpc::register!(
    Method::new("trace_get_info", "Which tracepoints there are, and which are traced", |cx, call| {
        let lib = cx.lib();
        call.answer(|NoParams| {
            let groups =
                of_groups(|group| OneInfo { mask: hex(1 << group), tpoint_mask: hex(lib.traced(group).into()), tpoints: points(group) });
            Ok(Info { tpoint_shm_path: "", tpoint_group_mask: enabled(&lib), groups })
        });
    })
    .phases(Phases::Any)
);

/// The tracepoints of a group with their bits.
fn points(group: usize) -> BTreeMap<&'static str, String> {
    TRACE_GROUPS[group].points.iter().enumerate().map(|(at, name)| (*name, hex(1 << at))).collect()
}

#[derive(Serialize)]
struct Info {
    /// There is none: see `trace_dump`.
    tpoint_shm_path: &'static str,
    tpoint_group_mask: String,
    #[serde(flatten)]
    groups: BTreeMap<&'static str, OneInfo>,
}

#[derive(Serialize)]
struct OneInfo {
    mask: String,
    tpoint_mask: String,
    tpoints: BTreeMap<&'static str, String>,
}

rpc::register!(
    Method::new("trace_dump", "Writes what was traced to a new file, for Perfetto or chrome://tracing", |cx, call| {
        answer_elsewhere(cx, call, |it: Dump, lib| {
            let trace = lib.trace();
            if trace.is_empty() {
                return Err(Error::new(-61, "nothing is traced: call trace_enable_tpoint_group first"));
            }
            trace_file::write(&it.path, &trace)
                .map_err(|why| Error::new(-why.raw_os_error().unwrap_or(5), format!("{}: {why}", it.path.display())))?;
            let events = trace.iter().map(|core| core.events.len()).sum();
            Ok(Dumped { events, lost: trace.iter().map(|core| core.lost).sum() })
        });
    })
    .phases(Phases::Any)
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dump {
    path: PathBuf,
}

/// Events that are in the file, and those that had to make room for them.
#[derive(Serialize)]
struct Dumped {
    events: usize,
    lost: u64,
}
