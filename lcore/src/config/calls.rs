//! Calls of a configuration in SPDK's form, which `save_config` writes.
//!
//! What can be known before anything starts is told then: entries of a wrong form, and methods
//! that are not there. What a method makes of its parameters shows when it is called.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rpc::{Method, Methods, Params};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::text::Lines;
use super::{Braces, InBraces, Part, Wrong, given};
use crate::control;

/// Methods that wait for, or make, what a file is a part of.
const NOT_HERE: [&str; 2] = ["framework_start_init", "framework_wait_init"];

/// Calls that a sentence names.
const MOST_NAMED: usize = 4;

/// The calls of a file, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) path: PathBuf,
    pub(crate) calls: Vec<Planned>,
    /// What is not called, a sentence each.
    pub(crate) passed_over: Vec<String>,
}

/// A call that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) method: &'static Method,
    pub(crate) params: Option<Params>,
    /// The line that it is in.
    pub(crate) line: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subsystem<'a> {
    #[serde(borrow)]
    subsystem: Cow<'a, str>,
    /// Must be there, and may be null.
    #[serde(borrow, deserialize_with = "Option::deserialize")]
    config: Option<Vec<Entries<'a>>>,
}

impl InBraces for Subsystem<'_> {
    const LIKE: &'static str = "a subsystem in braces, such as {\"subsystem\": \"sock\", \"config\": []}";
}

/// A call, or several in brackets.
struct Entries<'a>(Vec<Entry<'a>>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow)]
    method: Name<'a>,
    #[serde(default, borrow, deserialize_with = "given")]
    params: Option<&'a RawValue>,
}

/// A string, and where it is.
struct Name<'a> {
    name: String,
    raw: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(from)?;
        let wrong = |_| de::Error::custom(format!("invalid value {raw}, expected the name of a method, as a string"));
        Ok(Self { name: serde_json::from_str(raw.get()).map_err(wrong)?, raw })
    }
}

impl InBraces for Entry<'_> {
    const LIKE: &'static str = "a call in braces, such as {\"method\": \"log_set_flag\", \"params\": {\"flag\": \"app\"}}";
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Entry::LIKE)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Entry::deserialize(MapAccessDeserializer::new(map)).map(|entry| Entries(vec![entry]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut batch: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(Braces(entry)) = batch.next_element()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_any(OneOrMany)
    }
}

impl Calls {
    /// Reads the value of the key `subsystems`. What is wrong is told by the path to it. Methods
    /// that are not there are wrong where their subsystem is, unless they are to be passed over.
    pub(super) fn read(path: &Path, part: Part<'_>, ignores: bool) -> Result<Self, Wrong> {
        let subsystems: Vec<Braces<Subsystem<'_>>> = part.parse()?;
        let methods = Methods::linked().map_err(|why| (String::new(), de::Error::custom(why)))?;
        let mut reading = Reading { part, lines: Lines::of(part.text), methods, ignores, calls: Vec::new(), passed_over: BTreeMap::new() };
        for (n, Braces(subsystem)) in subsystems.iter().enumerate() {
            for (m, Entries(entries)) in subsystem.config.iter().flatten().enumerate() {
                entries
                    .iter()
                    .try_for_each(|entry| reading.add(&subsystem.subsystem, entry).map_err(|why| (format!("[{n}].config[{m}]"), why)))?;
            }
        }
        let passed_over = reading.passed_over.iter().map(sentence).collect();
        Ok(Self { path: path.into(), calls: reading.calls, passed_over })
    }
}

struct Reading<'a> {
    part: Part<'a>,
    lines: Lines,
    methods: Methods,
    ignores: bool,
    calls: Vec<Planned>,
    /// Calls that are not made, by their subsystems.
    passed_over: BTreeMap<String, Vec<String>>,
}

impl Reading<'_> {
    fn add(&mut self, subsystem: &str, entry: &Entry<'_>) -> Result<(), serde_json::Error> {
        let (name, (line, column)) = (&*entry.method.name, self.place(entry.method.raw));
        if NOT_HERE.contains(&name) {
            let why = "is no call of a file, which is played before and behind the start by itself";
            return Err(de::Error::custom(format!("{name} {why}, at line {line} column {column}")));
        }
        let Some(method) = self.methods.get(name) else {
            if self.ignores || !control::has_subsystem(subsystem) || control::is_of_others(subsystem, name) {
                let calls = self.passed_over.entry(subsystem.to_owned()).or_default();
                calls.push(format!("{name} (line {line})"));
                return Ok(());
            }
            let why = format!("no method of this program is called {name:?} (see rpc_get_methods)");
            return Err(de::Error::custom(format!("{why}, at line {line} column {column}")));
        };
        let params = entry.params.filter(|params| params.get() != "null").map(|params| {
            let (line, column) = self.place(params);
            Params { text: params.get().into(), line, column }
        });
        self.calls.push(Planned { method, params, line });
        Ok(())
    }

    fn place(&self, value: &RawValue) -> (usize, usize) {
        self.lines.place(Part { text: self.part.text, value }.begin())
    }
}

/// A sentence on the calls of a subsystem that are passed over.
fn sentence((subsystem, calls): (&String, &Vec<String>)) -> String {
    let (named, more) = calls.split_at(calls.len().min(MOST_NAMED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    let has = if control::has_subsystem(subsystem) { "has only a part of" } else { "has nothing for" };
    format!("this program {has} subsystem {subsystem:?}: passed over are {}{more}", named.join(", "))
}
