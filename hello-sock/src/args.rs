//! The command line of hello-sock.

use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Parser};
use lcore::AppOptions;
use serde::Deserialize;

/// Echoes over any linked network backend: a server with -S, otherwise a client that sends standard
/// input and prints what comes back.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    // Its -V is our -V.
    disable_version_flag = true,
    after_help = "Examples:\n  hello-sock -S -H 127.0.0.1 -P 9999                 an echo server\n  \
        cat file | hello-sock -P 9999 | cmp - file          a client in a pipe\n  \
        hello-sock -P 9999 --load 64,1,64,5                 64 connections, 1 message of 64 bytes on the way on each, 5 seconds"
)]
pub(crate) struct Args {
    /// Be the server.
    #[arg(short = 'S', long)]
    pub(crate) server: bool,
    /// Address to listen at or to connect to: IPv4 or IPv6, no names.
    #[arg(short = 'H', long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port. 0 lets a server take a free one, which it prints.
    #[arg(short = 'P', long, default_value_t = 9999)]
    pub(crate) port: u16,
    /// Say more: bytes in and out at the end.
    #[arg(short = 'V', long)]
    pub(crate) verbose: bool,
    /// Stop after so many seconds.
    #[arg(short = 't', long = "time", value_name = "SECONDS", value_parser = parse_seconds, conflicts_with = "load")]
    pub(crate) seconds: Option<Duration>,
    /// Be a load generator that verifies every byte: CONNECTIONS,DEPTH,SIZE,SECONDS (DEPTH messages
    /// of SIZE bytes on the way on each connection).
    #[arg(long, value_name = "C,D,SIZE,SECONDS", conflicts_with = "server")]
    pub(crate) load: Option<Load>,
    /// Print statistics at the end as one JSON object on standard output.
    #[arg(long)]
    pub(crate) json: bool,
    /// Connections that the server holds on each core. Default: 16384.
    #[arg(long, value_parser = parse_sockets)]
    pub(crate) sockets: Option<Sockets>,
    /// A listener on each core (SO_REUSEPORT) in place of handing connections over.
    #[arg(long, requires = "server")]
    pub(crate) reuseport: bool,
    /// Print the version.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(crate) app: AppOptions,
}

/// What the file of `-c` may say below `app`, where the command line leaves it open.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Keys {
    /// As `--sockets`.
    pub(crate) sockets: Option<Sockets>,
}

/// Connections of a group, of which its keys can tell so many apart.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Sockets(pub(crate) u32);

impl TryFrom<u32> for Sockets {
    type Error = String;

    fn try_from(sockets: u32) -> Result<Self, String> {
        let most = (1 << 24) - 2;
        if (1..=most).contains(&sockets) { Ok(Self(sockets)) } else { Err(format!("{sockets} connections are not between 1 and {most}")) }
    }
}

/// What `--load` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Messages on the way on each connection.
    pub(crate) depth: usize,
    /// Bytes of a message.
    pub(crate) size: usize,
    pub(crate) time: Duration,
}

/// Messages that may be on the way on all connections: the time of each is kept.
const MOST_MESSAGES: usize = 16 << 20;
/// Bytes that may be on the way on one connection.
const MOST_IN_FLIGHT: usize = 64 << 20;

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').collect();
        let [connections, depth, size, seconds] = parts[..] else {
            return Err(format!("{} parts where 4 belong: CONNECTIONS,DEPTH,SIZE,SECONDS", parts.len()));
        };
        let number = |what: &str, text: &str, most: usize| match text.parse::<usize>() {
            Ok(n) if (1..=most).contains(&n) => Ok(n),
            _ => Err(format!("{what} {text:?} is not a number from 1 to {most}")),
        };
        let load = Self {
            connections: number("CONNECTIONS", connections, 1 << 20)?,
            depth: number("DEPTH", depth, 1 << 16)?,
            size: number("SIZE", size, 16 << 20)?,
            time: parse_seconds(seconds)?,
        };
        if load.connections * load.depth > MOST_MESSAGES {
            return Err(format!("CONNECTIONS times DEPTH is {}, more than {MOST_MESSAGES} messages", load.connections * load.depth));
        }
        if load.depth * load.size > MOST_IN_FLIGHT {
            return Err(format!("DEPTH times SIZE is {}, more than {MOST_IN_FLIGHT} bytes", load.depth * load.size));
        }
        Ok(load)
    }
}

fn parse_sockets(text: &str) -> Result<Sockets, String> {
    text.parse::<u32>().map_err(|why| why.to_string())?.try_into()
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 1e9 => Ok(Duration::from_secs_f64(s)),
        _ => Err(format!("{text:?} is not a time in seconds, above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_read() {
        let load = Load { connections: 64, depth: 2, size: 1024, time: Duration::from_millis(2500) };
        assert_eq!("64,2,1024,2.5".parse(), Ok(load));
        assert!("256,65536,1,1".parse::<Load>().is_ok(), "the most");
    }

    #[test]
    fn a_wrong_load_says_what_is_wrong() {
        for (text, part) in [
            ("", "1 parts"),
            ("1,2,3", "3 parts"),
            ("0,1,1,1", "CONNECTIONS \"0\""),
            ("1,x,1,1", "DEPTH \"x\""),
            ("1,1,-1,1", "SIZE \"-1\""),
            ("1,1,1,0", "\"0\" is not a time"),
            ("1,1,1,nan", "not a time"),
            ("1,65536,16777216,1", "DEPTH times SIZE"),
            ("257,65536,1,1", "CONNECTIONS times DEPTH is 16842752"),
        ] {
            let why = text.parse::<Load>().unwrap_err();
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }

    #[test]
    fn the_command_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
