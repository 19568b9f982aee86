//! The methods that concern the application as a whole.

use rpc::{Call, Error, Method, NoParams, Phases};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use core_reactor::Cx;

use super::{Held, start_with};
use crate::AppHandle;

/// The release of SPDK whose methods these are.
const AS_SPDK: (u32, u32, u32) = (26, 9, 0);

rpc::register!(
    Method::new("spdk_get_version", "The release of SPDK that is spoken here, and which lcore speaks it", |_, call| {
        call.answer(|NoParams| Ok(Version::own()));
    })
    .phases(Phases::Any)
);

#[derive(Serialize)]
struct Version {
    version: String,
    fields: Fields,
}

#[derive(Serialize)]
struct Fields {
    major: u32,
    minor: u32,
    patch: u32,
    suffix: String,
}

impl Version {
    fn own() -> Self {
        let (major, minor, patch) = AS_SPDK;
        let suffix = format!(" (lcore v{})", env!("CARGO_PKG_VERSION"));
        Self { version: format!("SPDK v{major}.{minor:02}{suffix}"), fields: Fields { major, minor, patch, suffix } }
    }
}

rpc::register!(
    Method::new("spdk_kill_instance", "Sends the application a signal: SIGTERM or SIGINT for an orderly stop", |_, call| {
        call.answer(|kill: Kill| {
            let signal = signal(&kill.sig_name)
                .ok_or_else(|| Error::params(format!("Invalid parameters: sig_name: no signal {:?}", kill.sig_name)))?;
            kill_process(getpid(), signal).map_err(|why| Error::new(-why.raw_os_error(), why.to_string()))?;
            Ok(true)
        });
    })
    .phases(Phases::Any)
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kill {
    sig_name: String,
}

/// The signals that SPDK sends, by name, with or without SIG, or by number.
fn signal(name: &str) -> Option<Signal> {
    let signals = [
        ("INT", Signal::INT),
        ("TERM", Signal::TERM),
        ("QUIT", Signal::QUIT),
        ("HUP", Signal::HUP),
        ("KILL", Signal::KILL),
        ("USR1", Signal::USR1),
    ];
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    signals.into_iter().find(|(known, signal)| *known == bare || signal.as_raw().to_string() == name).map(|(_, signal)| signal)
}

rpc::register!(
    Method::new("framework_start_init", "Ends the start-up phase of --wait-for-rpc: the application starts", start_init)
        .phases(Phases::Startup)
);

fn start_init(cx: &mut Cx<'_>, call: Call) {
    let control = call.control().clone();
    let Some((NoParams, reply)) = call.open() else { return };
    let found = control.service::<Held>().and_then(|held| Ok((held, control.service::<AppHandle>()?)));
    let (held, app) = match found {
        Ok(found) => found,
        Err(why) => return reply.send::<()>(Err(why)),
    };
    let Some(start) = held.take() else { return reply.send::<()>(Err(Error::internal("the application has begun to start"))) };
    start_with(cx, &app, &control, start, move |_, started| reply.send(started.map(|()| true).map_err(Error::internal)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_by_name_and_number() {
        for name in ["SIGTERM", "TERM", "15"] {
            assert_eq!(signal(name), Some(Signal::TERM), "{name}");
        }
        for name in ["", "SIG", "term", "SIGSEGV", "11", "-15", "SIG15"] {
            assert_eq!(signal(name), None, "{name}");
        }
    }

    #[test]
    fn the_version_is_its_fields_joined() {
        let Version { version, fields } = Version::own();
        assert_eq!(version, format!("SPDK v{}.{:02}{}", fields.major, fields.minor, fields.suffix));
        assert!(version.contains("lcore v"));
    }
}
