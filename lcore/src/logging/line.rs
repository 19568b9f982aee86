//! How a line of the log looks.

use std::cell::Cell;
use std::fmt;
use std::io::Write;
use std::time::{Instant, SystemTime};

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use platform_linux::core_of_caller;
use serde::ser::{SerializeMap, Serializer};

use super::parts;
use crate::LogFormat;

/// What the lines of a process have in common.
pub(super) struct Style {
    pub(super) started: Instant,
    pub(super) name: String,
    pub(super) format: LogFormat,
}

/// The largest buffers that a thread keeps for its next line.
const KEPT: usize = 16 << 10;

thread_local! {
    /// The buffers of the last line, so that the next one allocates nothing. Taken out while they
    /// are in use: what is logged may log.
    static BUFFERS: Cell<Buffers> = const { Cell::new(Buffers { line: Vec::new(), message: String::new() }) };
}

#[derive(Default)]
struct Buffers {
    line: Vec<u8>,
    message: String,
}

impl Style {
    /// Hands over the line that a record makes.
    pub(super) fn write(&self, record: &Record<'_>, to: impl FnOnce(&[u8])) {
        let mut buffers = BUFFERS.try_with(Cell::take).unwrap_or_default();
        buffers.line.clear();
        buffers.message.clear();
        if fmt::write(&mut buffers.message, *record.args()).is_err() {
            buffers.message.push_str("(the rest cannot be formatted)");
        }
        self.append(record, &mut buffers);
        buffers.line.push(b'\n');
        to(&buffers.line);
        if buffers.line.capacity().max(buffers.message.capacity()) <= KEPT {
            // A thread at its very end has no place for them.
            let _ = BUFFERS.try_with(|kept| kept.set(buffers));
        }
    }

    /// As `write`, for what comes from no record.
    pub(super) fn write_as(&self, level: Level, message: fmt::Arguments<'_>, to: impl FnOnce(&[u8])) {
        self.write(&Record::builder().level(level).target("lcore").args(message).build(), to);
    }

    fn append(&self, record: &Record<'_>, Buffers { line, message }: &mut Buffers) {
        // A write into memory does not fail.
        let _ = match self.format {
            LogFormat::Text => {
                let at = self.started.elapsed();
                write!(line, "[{:>5}.{:06}] ", at.as_secs(), at.subsec_micros())
            }
            LogFormat::Time => write!(line, "{} ", now()),
            LogFormat::Json => return json(record, message, line),
        };
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let _ = write!(line, "{}: {level}: {message}", self.name);
        let _ = record.key_values().visit(&mut Pairs(line));
    }
}

/// Now, by the wall clock, in UTC.
fn now() -> humantime::Rfc3339Timestamp {
    // A clock before that year is one that nobody has set.
    humantime::format_rfc3339_micros(SystemTime::now().max(SystemTime::UNIX_EPOCH))
}

struct Pairs<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        Ok(write!(self.0, " {key}={value}")?)
    }
}

/// An object that holds all that is known. Nothing in a message ends it or its line.
fn json(record: &Record<'_>, message: &str, line: &mut Vec<u8>) {
    let thread = std::thread::current();
    let object = |to: &mut serde_json::Serializer<&mut Vec<u8>>| {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("timestamp", &format_args!("{}", now()))?;
        map.serialize_entry("level", record.level().as_str())?;
        map.serialize_entry("part", parts::name_of(record.target()))?;
        map.serialize_entry("target", record.target())?;
        map.serialize_entry("core", &core_of_caller().map(|core| core.0))?;
        map.serialize_entry("thread", &thread.name())?;
        map.serialize_entry("message", message)?;
        if record.key_values().count() > 0 {
            map.serialize_entry("kv", &Values(record.key_values()))?;
        }
        SerializeMap::end(map)
    };
    // A value of the application's own that cannot be written leaves the line without any.
    if object(&mut serde_json::Serializer::new(&mut *line)).is_err() {
        line.clear();
        let short = serde_json::json!({"timestamp": now().to_string(), "level": record.level().as_str(), "message": message});
        let _ = serde_json::to_writer(line, &short);
    }
}

/// Key-values, as an object: numbers and truth values as such, all else as text.
struct Values<'a>(&'a dyn kv::Source);

impl serde::Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        struct Each<'a, M: SerializeMap>(&'a mut M, Option<M::Error>);
        impl<'kvs, M: SerializeMap> VisitSource<'kvs> for Each<'_, M> {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
                let (map, key) = (&mut *self.0, key.as_str());
                let outcome = if let Some(value) = value.to_bool() {
                    map.serialize_entry(key, &value)
                } else if let Some(value) = value.to_i64() {
                    map.serialize_entry(key, &value)
                } else if let Some(value) = value.to_u64() {
                    map.serialize_entry(key, &value)
                } else if let Some(value) = value.to_f64().filter(|value| value.is_finite()) {
                    map.serialize_entry(key, &value)
                } else {
                    map.serialize_entry(key, &text(&value))
                };
                self.1 = outcome.err();
                if self.1.is_some() { Err(kv::Error::msg("not written")) } else { Ok(()) }
            }
        }
        let mut map = to.serialize_map(None)?;
        let mut each = Each(&mut map, None);
        let visited = self.0.visit(&mut each);
        match (each.1, visited) {
            (Some(why), _) => Err(why),
            (None, Err(why)) => Err(serde::ser::Error::custom(why)),
            (None, Ok(())) => map.end(),
        }
    }
}

/// A value as text, as far as it can be formatted.
fn text(value: &Value<'_>) -> String {
    let mut text = String::new();
    // What there is of it is all that can be said.
    let _ = fmt::write(&mut text, format_args!("{value}"));
    text
}
