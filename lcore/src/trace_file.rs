//! What was traced as a file for Perfetto and chrome://tracing: Chrome's trace-event format.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use core_reactor::{CoreTrace, TraceEvent};
use serde::Serialize;
use serde_json::value::RawValue;

/// Writes a file that is not there yet and nobody else can read: whoever calls may be no friend of
/// whoever runs the program, so nothing is overwritten, and no link is followed.
///
/// # Errors
/// It is there, or the system refuses; then none is left.
pub(crate) fn write(path: &Path, trace: &[CoreTrace]) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let written = write_to(BufWriter::new(file), trace);
    if written.is_err() {
        fs::remove_file(path)?;
    }
    written
}

fn write_to(mut to: impl Write, trace: &[CoreTrace]) -> io::Result<()> {
    let pid = std::process::id();
    to.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n")?;
    let mut separator = "";
    for core in trace {
        let tid = core.core.0;
        let name = Name { name: "thread_name", ph: "M", pid, tid, args: Core { name: format!("core {tid}") } };
        write!(to, "{separator}{}", serde_json::to_string(&name)?)?;
        separator = ",\n";
        for event in &core.events {
            write!(to, "{separator}{}", serde_json::to_string(&Event::of(event, pid, tid)?)?)?;
        }
    }
    to.write_all(b"\n]}\n")?;
    to.flush()
}

/// A name for the line of a core.
#[derive(Serialize)]
struct Name {
    name: &'static str,
    ph: &'static str,
    pid: u32,
    tid: u16,
    args: Core,
}

#[derive(Serialize)]
struct Core {
    name: String,
}

/// Something with a beginning and a duration ("X"), or a moment on its line ("i" with scope "t").
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'static str,
    ts: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    pid: u32,
    tid: u16,
    args: Args<'a>,
}

#[derive(Serialize)]
struct Args<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    thread: &'a str,
    value: u64,
}

impl<'a> Event<'a> {
    fn of(event: &'a TraceEvent, pid: u32, tid: u16) -> io::Result<Self> {
        let is_moment = matches!(event.group, "app" | "sock") && event.duration.is_zero();
        Ok(Self {
            name: if event.name.is_empty() { event.point } else { &event.name },
            cat: event.group,
            ph: if is_moment { "i" } else { "X" },
            ts: micros(event.start.as_nanos())?,
            dur: if is_moment { None } else { Some(micros(event.duration.as_nanos() as u64)?) },
            s: is_moment.then_some("t"),
            pid,
            tid,
            args: Args { thread: &event.thread, value: event.value },
        })
    }
}

/// The format's microseconds, exactly: as floating-point numbers, times after the machine's start
/// would lose their nanoseconds within weeks.
fn micros(nanos: u64) -> io::Result<Box<RawValue>> {
    Ok(RawValue::from_string(format!("{}.{:03}", nanos / 1_000, nanos % 1_000))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core_reactor::sim::Sim;
    use core_reactor::{Cx, Polled, Schedule, TRACE_GROUPS, ThreadConfig};
    use serde_json::Value;
    use std::time::Duration;

    fn traced() -> Vec<CoreTrace> {
        let mut sim = Sim::new(2);
        sim.platform.tick(Duration::from_nanos(7));
        let lib = sim.lib().clone();
        let moment = lib.tracepoint("a \"moment\"\u{1}");
        for group in 0..TRACE_GROUPS.len() {
            lib.set_traced(group, u8::MAX);
        }
        let start = move |cx: &mut Cx<'_>| {
            cx.poller("busy", Schedule::Always, move |cx: &mut Cx<'_>| {
                cx.trace(moment, 3);
                Polled::Busy
            });
        };
        lib.spawn(ThreadConfig::new("t"), start).unwrap();
        for _ in 0..5 {
            let _ = sim.turn();
        }
        lib.trace()
    }

    #[test]
    fn s186_the_file_is_what_was_traced() {
        let mut text = Vec::new();
        let trace = traced();
        write_to(&mut text, &trace).unwrap();
        let file: Value = serde_json::from_slice(&text).unwrap();
        let events = file["traceEvents"].as_array().unwrap();
        let of = |ph: &str| events.iter().filter(|event| event["ph"] == ph).collect::<Vec<_>>();
        let told: usize = trace.iter().map(|core| core.events.len()).sum();
        assert_eq!((of("M").len(), of("X").len() + of("i").len()), (2, told));
        assert_eq!(of("M")[1]["args"]["name"], "core 1");
        let moment = of("i")[0];
        assert_eq!((&moment["name"], &moment["s"], &moment["args"]["value"]), (&"a \"moment\"\u{1}".into(), &"t".into(), &3.into()));
        let busy = of("X").into_iter().find(|event| event["name"] == "busy").unwrap();
        assert_eq!((&busy["cat"], &busy["args"]["thread"], &busy["tid"]), (&"thread".into(), &"t".into(), &0.into()));
    }

    #[test]
    fn s186_times_keep_their_nanoseconds() {
        let told = |nanos| micros(nanos).unwrap().get().to_owned();
        assert_eq!([told(0), told(1), told(u64::MAX)], ["0.000", "0.001", "18446744073709551.615"]);
    }

    #[test]
    fn s186_nothing_is_overwritten_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("trace.json"), dir.path().join("link"));
        write(&path, &traced()).unwrap();
        let before = fs::read(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        for there in [&path, &link] {
            assert_eq!(write(there, &[]).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(!dir.path().join("elsewhere").exists());
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
