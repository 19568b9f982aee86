//! The file behind `-c`: the same options as JSON, keys of the application's own, and calls as
//! SPDK's configurations have them.

#[cfg(feature = "rpc")]
mod calls;
mod text;

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use core_reactor::{CpuSet, CpuSetError};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{AppOptions, Balance, LogFormat, LogLevel, OptionsError, logging};

#[cfg(feature = "rpc")]
pub(crate) use calls::{Calls, Planned};

/// The file's content. A key that is none of these is an error that names it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config<'a> {
    cpumask: Option<Cores>,
    #[serde(default)]
    logflags: Vec<LogFlag>,
    log_level: Option<LogLevel>,
    log_format: Option<LogFormat>,
    sock_impl: Option<String>,
    busy_poll: Option<bool>,
    idle_spin: Option<Number<0>>,
    #[cfg(feature = "observe")]
    stall_limit: Option<Number<0>>,
    cpumask_locks: Option<bool>,
    balance: Option<Balance>,
    small_pool_count: Option<Number<0>>,
    small_bufsize: Option<Number<1>>,
    large_pool_count: Option<Number<0>>,
    large_bufsize: Option<Number<1>>,
    #[cfg(feature = "metrics")]
    metrics: Option<At>,
    /// Keys of the application's own.
    #[serde(default, borrow, deserialize_with = "given")]
    app: Option<&'a RawValue>,
    /// What SPDK's configurations consist of.
    #[serde(default, borrow, deserialize_with = "given")]
    subsystems: Option<&'a RawValue>,
}

/// A value that is there, be it null.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// The application's own keys, of whatever type.
pub(crate) trait Own: Send {
    /// Reads the value of the key `app`.
    fn read(&mut self, part: Part<'_>) -> Result<(), Wrong>;

    /// The keys.
    fn finish(self: Box<Self>) -> Box<dyn Any + Send + Sync>;
}

/// See [`Own`].
pub(crate) struct Keys<T>(pub(crate) T);

impl<T: DeserializeOwned + Send + Sync + 'static> Own for Keys<T> {
    fn read(&mut self, part: Part<'_>) -> Result<(), Wrong> {
        let Braces(OfApp(keys)) = part.parse()?;
        self.0 = keys;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        Box::new(self.0)
    }
}

/// What is wrong with a part of the file: the path to it within the part, and why.
type Wrong = (String, serde_json::Error);

/// Reads the file at `path` into `options`, as far as they are open, and into the application's
/// own.
pub(crate) fn read(path: &Path, options: &mut AppOptions, own: Option<&mut Box<dyn Own>>) -> Result<(), OptionsError> {
    let text = text::read(path, text::IN_TIME).map_err(|why| OptionsError::ConfigUnreadable { path: path.into(), why })?;
    // Some editors put this before everything.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let wrong = |key: String, why| OptionsError::ConfigWrong { path: path.into(), key, why };
    let text = text::without_comments(text).map_err(|at| {
        let (line, column) = text::Lines::of(text).place(at);
        wrong("not JSON".into(), de::Error::custom(format!("the comment that begins at line {line} column {column} has no end")))
    })?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let Braces(config): Braces<Config<'_>> =
        serde_path_to_error::deserialize(&mut json).map_err(|why| wrong(place(&why, &text), why.into_inner()))?;
    json.end().map_err(|why| wrong("after the last brace".into(), why))?;
    if config.busy_poll == Some(true) && config.idle_spin.is_some() {
        return Err(wrong("idle_spin".into(), de::Error::custom("with busy_poll nothing is ever idle; leave one of them out")));
    }
    let part = |value| Part { text: &text, value };
    match (config.app.map(part), own) {
        (Some(part), Some(own)) => own.read(part).map_err(|(key, why)| wrong(under("app", &key), why))?,
        (Some(part), None) => return Err(wrong("app".into(), part.wrong("this application has no keys of its own"))),
        (None, _) => {}
    }
    if let Some(part) = config.subsystems.map(part) {
        #[cfg(feature = "rpc")]
        let read = Calls::read(path, part, options.rpc.json_ignore_init_errors).map(|calls| options.calls = calls.into());
        #[cfg(not(feature = "rpc"))]
        let read = Err((String::new(), part.wrong("calls of RPC, which this program is built without (lcore's cargo feature rpc)")));
        read.map_err(|(key, why)| wrong(under("subsystems", &key), why))?;
    }
    config.fill(options, path);
    Ok(())
}

/// A value within the text of a file, which errors go by.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    text: &'a str,
    value: &'a RawValue,
}

impl<'a> Part<'a> {
    /// The byte of the file that it begins at.
    fn begin(&self) -> usize {
        self.value.get().as_ptr().addr() - self.text.as_ptr().addr()
    }

    /// What it is, or the path within it to what is wrong, which has the file's lines.
    fn parse<T: Deserialize<'a>>(self) -> Result<T, Wrong> {
        let mut from = serde_json::Deserializer::from_str(self.value.get());
        serde_path_to_error::deserialize(&mut from).map_err(|why| (why.path().to_string(), self.again(why.into_inner())))
    }

    /// The same error, in the file's lines in place of the value's.
    fn again(self, why: serde_json::Error) -> serde_json::Error {
        let (said, (line, column)) = (why.to_string(), (why.line(), why.column()));
        let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
        let (first, indent) = text::Lines::of(self.text).place(self.begin());
        let column = if line <= 1 { column + indent - 1 } else { column };
        de::Error::custom(format!("{said} at line {} column {column}", first + line.saturating_sub(1)))
    }

    /// An error that concerns all of it.
    fn wrong(self, why: &str) -> serde_json::Error {
        let (line, column) = text::Lines::of(self.text).place(self.begin());
        de::Error::custom(format!("{why}, at line {line} column {column}"))
    }
}

/// The path to a key within `of`.
fn under(of: &str, key: &str) -> String {
    match key {
        "" | "." => of.into(),
        _ if key.starts_with('[') => format!("{of}{key}"),
        _ => format!("{of}.{key}"),
    }
}

/// What is wrong: a key, or that it is no JSON to begin with.
fn place(error: &serde_path_to_error::Error<serde_json::Error>, text: &str) -> String {
    let (why, key) = (error.inner(), error.path().to_string());
    let line = text.lines().nth(why.line().saturating_sub(1)).unwrap_or_default();
    let is_comment = line.as_bytes().get(why.column().saturating_sub(1)) == Some(&b'#');
    match key.as_str() {
        _ if (why.is_syntax() || why.is_eof()) && is_comment => "not JSON, whose comments begin with // here".into(),
        _ if why.is_syntax() || why.is_eof() => "not JSON".into(),
        "." => "top level".into(),
        _ => key,
    }
}

/// What stands in braces, of which serde would take a list without keys as well.
struct Braces<T>(T);

/// What may stand in braces.
trait InBraces {
    /// What is expected, with an example.
    const LIKE: &'static str;
}

impl InBraces for Config<'_> {
    const LIKE: &'static str = "options in braces, such as {\"cpumask\": \"[0]\"}";
}

/// The keys of an application.
#[derive(Deserialize)]
#[serde(transparent)]
struct OfApp<T>(T);

impl<T> InBraces for OfApp<T> {
    const LIKE: &'static str = "the application's own keys in braces";
}

impl<'de, T: Deserialize<'de> + InBraces> Deserialize<'de> for Braces<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + InBraces> Visitor<'de> for Fields<T> {
            type Value = Braces<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::LIKE)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Braces<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Braces)
            }
        }
        from.deserialize_map(Fields(PhantomData))
    }
}

impl Config<'_> {
    /// Fills in what the command line left open. It was read from `path`.
    fn fill(self, options: &mut AppOptions, path: &Path) {
        if let (None, Some(Cores(cores))) = (options.cores, self.cpumask) {
            (options.cores, options.cores_from) = (Some(cores), Some(path.into()));
        }
        if options.log_flags.is_empty() {
            options.log_flags = self.logflags.into_iter().map(|flag| flag.0).collect();
        }
        options.log_level = options.log_level.or(self.log_level);
        options.log_format = options.log_format.or(self.log_format);
        options.net = options.net.take().or(self.sock_impl);
        // Who asks for a spin on the command line wants no endless one.
        options.busy_poll |= options.idle_spin.is_none() && self.busy_poll.unwrap_or(false);
        options.idle_spin = options.idle_spin.or(self.idle_spin.map(|n| n.0 as u64));
        #[cfg(feature = "observe")]
        {
            options.stall_limit = options.stall_limit.or(self.stall_limit.map(|n| n.0 as u64));
        }
        options.balance = options.balance.or(self.balance);
        #[cfg(feature = "metrics")]
        {
            options.metrics = options.metrics.or(self.metrics.map(|at| at.0));
        }
        let pool = &mut options.pool;
        pool.small_pool_count = pool.small_pool_count.or(self.small_pool_count.map(|n| n.0));
        pool.small_bufsize = pool.small_bufsize.or(self.small_bufsize.map(|n| n.0));
        pool.large_pool_count = pool.large_pool_count.or(self.large_pool_count.map(|n| n.0));
        pool.large_bufsize = pool.large_bufsize.or(self.large_bufsize.map(|n| n.0));
        options.no_cpumask_locks |= !self.cpumask_locks.unwrap_or(true);
    }
}

/// A text that is checked where it is read, so that an error comes with its line.
struct Checked<T> {
    what: &'static str,
    check: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Checked<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.check)(text).map_err(E::custom)
    }
}

struct Cores(CpuSet);

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let check = |text: &str| text.parse().map(Self).map_err(|why: CpuSetError| why.to_string());
        from.deserialize_str(Checked { what: "a set of cores, as a string", check })
    }
}

#[cfg(feature = "metrics")]
struct At(std::net::SocketAddr);

#[cfg(feature = "metrics")]
impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let check = |text: &str| crate::metrics::parse_at(text).map(Self);
        from.deserialize_str(Checked { what: "an address with a port, as a string", check })
    }
}

/// A whole number, and the least that makes sense.
struct Number<const LEAST: u64>(usize);

impl<'de, const LEAST: u64> Deserialize<'de> for Number<LEAST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Whole<const LEAST: u64>;
        impl<const LEAST: u64> Visitor<'_> for Whole<LEAST> {
            type Value = Number<LEAST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {LEAST} on")
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Number<LEAST>, E> {
                let fits = usize::try_from(n).ok().filter(|_| n >= LEAST);
                fits.map(Number).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }
        }
        from.deserialize_u64(Whole)
    }
}

struct LogFlag(String);

impl<'de> Deserialize<'de> for LogFlag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let check = |text: &str| logging::check(&[text.to_owned()]).map(|()| Self(text.into())).map_err(|why| why.to_string());
        from.deserialize_str(Checked { what: "a log flag, as a string", check })
    }
}
