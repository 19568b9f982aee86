//! The file behind `-c`: the same options as JSON.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use core_reactor::{CpuSet, CpuSetError};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{AppOptions, Balance, OptionsError, logging};

/// The file's content. A key that is none of these is an error that names it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    cpumask: Option<Cores>,
    #[serde(default)]
    logflags: Vec<LogFlag>,
    sock_impl: Option<String>,
    busy_poll: Option<bool>,
    idle_spin: Option<Number<0>>,
    cpumask_locks: Option<bool>,
    balance: Option<Balance>,
    small_pool_count: Option<Number<0>>,
    small_bufsize: Option<Number<1>>,
    large_pool_count: Option<Number<0>>,
    large_bufsize: Option<Number<1>>,
}

/// Bytes that a file has at most: a device that never ends is given up where no configuration
/// reaches.
const MOST: u64 = 1 << 20;
/// How long all of it takes at most: a pipe has its bytes when its writer has written them.
const IN_TIME: Duration = Duration::from_secs(10);

/// Reads the file.
pub(crate) fn read(path: &Path) -> Result<Config, OptionsError> {
    let text = text(path, IN_TIME).map_err(|why| OptionsError::ConfigUnreadable { path: path.into(), why })?;
    // Some editors put this before everything.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let mut json = serde_json::Deserializer::from_str(text);
    let wrong = |key: String, why| OptionsError::ConfigWrong { path: path.into(), key, why };
    let Object(config) = serde_path_to_error::deserialize(&mut json).map_err(|why| wrong(place(&why, text), why.into_inner()))?;
    json.end().map_err(|why| wrong("after the last brace".into(), why))?;
    if config.busy_poll == Some(true) && config.idle_spin.is_some() {
        return Err(wrong("idle_spin".into(), de::Error::custom("with busy_poll nothing is ever idle; leave one of them out")));
    }
    Ok(config)
}

/// All of the file, whatever it is: `-c <(…)` names a pipe.
fn text(path: &Path, in_time: Duration) -> io::Result<String> {
    let (tell, told) = mpsc::channel();
    let of = path.to_owned();
    // A thread may wait for ever in opening a pipe that nobody writes; it is left to that, and ends
    // with the program.
    thread::Builder::new().name("config".into()).spawn(move || {
        // Who no longer waits for it has said why.
        let _ = tell.send(bytes(&of));
    })?;
    let bytes = match told.recv_timeout(in_time) {
        Ok(bytes) => bytes?,
        Err(RecvTimeoutError::Timeout) => {
            let why = format!("it has not come to its end within {in_time:?}; a pipe does when its writer closes it");
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its reader panicked")),
    };
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other(format!("more than {MOST} bytes, which no configuration has")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8, which JSON is"))
}

/// The file's bytes, and one more where those are too many.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is wrong: a key, or that it is no JSON to begin with.
fn place(error: &serde_path_to_error::Error<serde_json::Error>, text: &str) -> String {
    let (why, key) = (error.inner(), error.path().to_string());
    let line = text.lines().nth(why.line().saturating_sub(1)).unwrap_or_default();
    let is_comment = matches!(line.as_bytes().get(why.column().saturating_sub(1)), Some(b'/' | b'#'));
    match key.as_str() {
        _ if (why.is_syntax() || why.is_eof()) && is_comment => "not JSON, which has no comments".into(),
        _ if why.is_syntax() || why.is_eof() => "not JSON".into(),
        "." => "top level".into(),
        "subsystems" => "subsystems (of SPDK's configurations, which are lists of calls; here stand options)".into(),
        _ => key,
    }
}

/// The whole file, of which serde would take a list without keys as well.
struct Object(Config);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("options in braces, such as {\"cpumask\": \"[0]\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
                Config::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        from.deserialize_map(Fields)
    }
}

impl Config {
    /// Fills in what the command line left open. It was read from `path`.
    pub(crate) fn fill(self, options: &mut AppOptions, path: &Path) {
        if let (None, Some(Cores(cores))) = (options.cores, self.cpumask) {
            (options.cores, options.cores_from) = (Some(cores), Some(path.into()));
        }
        if options.log_flags.is_empty() {
            options.log_flags = self.logflags.into_iter().map(|flag| flag.0).collect();
        }
        options.net = options.net.take().or(self.sock_impl);
        // Who asks for a spin on the command line wants no endless one.
        options.busy_poll |= options.idle_spin.is_none() && self.busy_poll.unwrap_or(false);
        options.idle_spin = options.idle_spin.or(self.idle_spin.map(|n| n.0 as u64));
        options.balance = options.balance.or(self.balance);
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

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};
    use std::os::fd::AsRawFd;

    use super::*;

    /// Nothing that is waited for takes this long, on any machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn s99_what_a_shell_puts_in_place_of_a_file_is_read_to_its_end() {
        let (reader, mut writer) = pipe().unwrap();
        let name = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let reading = thread::spawn(move || text(Path::new(&name), PATIENCE));
        for part in ["{\"busy_poll\"", ": true}"] {
            writer.write_all(part.as_bytes()).unwrap();
        }
        drop(writer);
        assert_eq!(reading.join().unwrap().unwrap(), "{\"busy_poll\": true}");
        drop(reader);
    }

    #[test]
    fn s99_a_pipe_without_a_writer_or_an_end_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(b"{}").unwrap();
        let open = format!("/proc/self/fd/{}", reader.as_raw_fd());
        for path in [fifo.as_path(), Path::new(&open)] {
            let why = text(path, Duration::from_millis(1)).unwrap_err();
            assert!(why.to_string().contains("not come to its end within 1ms"), "{}: {why}", path.display());
        }
        // The thread that opens it goes on, and ends.
        File::options().read(true).write(true).open(&fifo).unwrap();
    }
}
