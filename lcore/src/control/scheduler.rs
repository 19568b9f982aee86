//! The methods that concern how threads are spread over the reactors.

use std::time::Duration;

use core_reactor::{CpuSet, Cx, ThreadHandle, balance};
use rpc::{Call, Error, Method, NoParams, Phases};
use serde::{Deserialize, Serialize};

use super::mask;
use crate::{AppHandle, Balance};

rpc::register!(
    Method::new("framework_get_scheduler", "Whether threads are moved between reactors, and how often that is looked at", |_, call| {
        let app = call.control().service::<AppHandle>();
        call.answer(|NoParams| Ok(Scheduler::of(&*app?)));
    })
    .phases(Phases::Any)
);

#[derive(Serialize)]
struct Scheduler {
    scheduler_name: &'static str,
    /// Microseconds.
    scheduler_period: u64,
    isolated_core_mask: String,
    scheduling_core: u16,
}

/// What `framework_set_scheduler` calls a way of balancing.
pub(super) fn name(balance: Balance) -> &'static str {
    match balance {
        Balance::Static => "static",
        Balance::Busy => "busy",
    }
}

impl Scheduler {
    fn of(app: &AppHandle) -> Self {
        let (balance, period) = app.balance();
        Self {
            scheduler_name: name(balance),
            scheduler_period: period.as_micros() as u64,
            isolated_core_mask: mask::to_hex(&CpuSet::EMPTY),
            scheduling_core: app.cores().iter().next().map_or(0, |core| core.0),
        }
    }
}

rpc::register!(
    Method::new("framework_set_scheduler", "Moves threads from busy reactors to idle ones (busy), or never (static)", |_, call| {
        let app = call.control().service::<AppHandle>();
        call.answer(|it: SetScheduler| it.carry_out(&*app?));
    })
    .phases(Phases::Any)
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetScheduler {
    name: String,
    /// Microseconds.
    period: Option<u64>,
    /// What SPDK's schedulers can be told besides; here it is as it is.
    load_limit: Option<u64>,
    core_busy: Option<u64>,
    core_limit: Option<u64>,
    mappings: Option<String>,
}

impl SetScheduler {
    /// What is asked for that is otherwise here.
    fn refusal(&self) -> Option<String> {
        let percent = |share: f64| (share * 100.0).round() as u64;
        let fixed = [("load_limit", self.load_limit, percent(balance::COOL)), ("core_busy", self.core_busy, percent(balance::HOT))];
        let fixed = fixed.into_iter().find(|(_, asked, is)| asked.is_some_and(|asked| asked != *is));
        match fixed {
            Some((name, _, is)) => Some(format!("{name}: it is {is} and cannot be changed")),
            None if self.core_limit.is_some() => {
                Some("core_limit: a reactor takes threads while load_limit allows it, and there is no other bound".into())
            }
            None if self.mappings.is_some() => Some("mappings: threads are placed by thread_set_cpumask".into()),
            None if self.period == Some(0) => Some("period: 1 microsecond at least".into()),
            None => None,
        }
    }

    fn carry_out(&self, app: &AppHandle) -> Result<bool, Error> {
        let balance = [Balance::Static, Balance::Busy].into_iter().find(|balance| name(*balance) == self.name);
        let balance = balance
            .ok_or_else(|| Error::params(format!("Invalid parameters: name: no scheduler {:?}; there are static and busy", self.name)))?;
        if let Some(why) = self.refusal() {
            return Err(Error::params(format!("Invalid parameters: {why}")));
        }
        app.set_balance(balance, self.period.map(Duration::from_micros)).map_err(|why| Error::internal(why.to_string()))?;
        Ok(true)
    }
}

rpc::register!(Method::new("thread_set_cpumask", "Changes the cores that a thread may be on; it moves if it has to", set_cpumask));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetCpumask {
    id: u64,
    cpumask: String,
}

fn set_cpumask(cx: &mut Cx<'_>, call: Call) {
    let Some((SetCpumask { id, cpumask }, reply)) = call.open() else { return };
    let (cpus, thread) = match find(cx, id, &cpumask) {
        Ok(found) => found,
        Err(why) => return reply.send::<()>(Err(why)),
    };
    let set: Box<dyn FnOnce(&mut Cx<'_>) + Send> = Box::new(move |cx| {
        let set = cx.set_cpus(cpus).map(|()| true);
        reply.send(set.map_err(|why| Error::new(-22, why.to_string())));
    });
    // Where it is refused, the reply that it carries says that there was no answer.
    let _ = thread.send(set);
}

fn find(cx: &Cx<'_>, id: u64, cpumask: &str) -> Result<(CpuSet, ThreadHandle), Error> {
    // As methods tell masks, without 0x, or as the command line takes them.
    let cpus = format!("0x{cpumask}").parse().or_else(|_| cpumask.parse());
    let cpus = cpus.map_err(|why| Error::params(format!("Invalid parameters: cpumask: {why}")))?;
    let thread = cx.lib().threads().into_iter().find(|thread| thread.id().number() == id);
    Ok((cpus, thread.ok_or_else(|| Error::new(-19, format!("No such device: there is no thread {id}")))?))
}
