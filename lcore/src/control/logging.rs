//! The methods that concern the log.
//!
//! SPDK's NOTICE is what lcore says at `info`; its INFO and DEBUG are details (`debug`, `trace`),
//! which are printed of the parts that are switched on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use log::LevelFilter;
use rpc::{Error, Method, NoParams, Phases};
use serde::Deserialize;

use crate::logging;

/// The levels by SPDK's names, in the order of [`LevelFilter`]'s but for its first.
const LEVELS: [(&str, LevelFilter); 5] = [
    ("ERROR", LevelFilter::Error),
    ("WARNING", LevelFilter::Warn),
    ("NOTICE", LevelFilter::Info),
    ("INFO", LevelFilter::Debug),
    ("DEBUG", LevelFilter::Trace),
];

/// What goes to the system's log, with SPDK. Nothing does here; it is kept for clients that ask.
static KEPT: AtomicUsize = AtomicUsize::new(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flag {
    flag: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    level: String,
}

impl Named {
    fn place(&self) -> Result<usize, Error> {
        let known = || LEVELS.map(|(name, _)| name).join(", ");
        let place = LEVELS.iter().position(|(name, _)| name.eq_ignore_ascii_case(&self.level));
        place.ok_or_else(|| Error::params(format!("Invalid parameters: level: no level {:?}; there are {}", self.level, known())))
    }
}

fn switch(flag: &str, on: bool) -> Result<bool, Error> {
    if logging::switch(flag, on) {
        return Ok(true);
    }
    Err(Error::params(format!("invalid log flag {flag:?}; there are {}", logging::known())))
}

rpc::register!(
    Method::new("log_get_flags", "Which parts' details are logged", |_, call| {
        call.answer(|NoParams| Ok(logging::switches().into_iter().collect::<BTreeMap<_, _>>()));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("log_set_flag", "Logs the details of a part, or of all, from now on", |_, call| {
        call.answer(|it: Flag| switch(&it.flag, true));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("log_clear_flag", "Logs the details of a part, or of all, no more", |_, call| {
        call.answer(|it: Flag| switch(&it.flag, false));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("log_get_print_level", "The least urgent level that is printed", |_, call| {
        call.answer(|NoParams| Ok(LEVELS.iter().find(|(_, level)| *level == logging::printed()).map_or("ERROR", |(name, _)| name)));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("log_set_print_level", "Prints this level and more urgent ones", |_, call| {
        call.answer(|it: Named| {
            logging::print(LEVELS[it.place()?].1);
            Ok(true)
        });
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("log_get_level", "The level of log_set_level", |_, call| {
        call.answer(|NoParams| Ok(LEVELS[KEPT.load(Ordering::Relaxed)].0));
    })
    .phases(Phases::Any)
);

rpc::register!(
    Method::new("log_set_level", "Is kept, and without effect: nothing goes to the system's log", |_, call| {
        call.answer(|it: Named| {
            KEPT.store(it.place()?, Ordering::Relaxed);
            Ok(true)
        });
    })
    .phases(Phases::Any)
);
