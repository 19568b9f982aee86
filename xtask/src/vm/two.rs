//! Two machines on one wire: a server's command in the first, the client's in the second.
//!
//! The second waits until the server is ready, which is its first line, or one with a given text;
//! when the client has ended the server gets SIGINT.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result};

use super::guest::{self, Job};
use super::machine::{End, Event, READY, Session};
use super::run::{self, Ready};
use crate::{Exit, Usage};

const SERVER: usize = 0;
const CLIENT: usize = 1;
/// A server without a handler for it is ended by our SIGINT, which is no failure: 128 and the
/// signal's number.
const BY_SIGINT: u8 = 130;
/// A server has ended within this time of its SIGINT.
const SOON: Duration = Duration::from_secs(20);

/// Two machines.
#[derive(clap::Args)]
#[command(next_help_heading = "Two machines")]
pub(super) struct Options {
    /// Machines: 1, or 2 on one wire (virtio-net), at 10.77.0.1 (the server) and 10.77.0.2 (the
    /// client, which runs CMD).
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    hosts: u8,
    /// The same as --hosts 2.
    #[arg(long, conflicts_with = "hosts")]
    two: bool,
    /// The server's command, a line for the shell. It gets SIGINT when CMD has ended.
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// Start CMD when the server has printed a line with this text [default: any line].
    #[arg(long, value_name = "TEXT", requires = "server")]
    ready: Option<String>,
}

impl Options {
    /// The server's command, if there is to be one.
    pub(super) fn server(&self) -> Result<Option<&str>> {
        match (self.two || self.hosts == 2, self.server.as_deref()) {
            (true, None) => Err(Usage("two machines need --server with the command of the first".into()).into()),
            (false, Some(_)) => Err(Usage("--server needs a second machine: give --hosts 2 too".into()).into()),
            (_, server) => Ok(server),
        }
    }
}

pub(super) fn run(ready: &Ready, job: &Job, server: &str, options: &Options, words: &[String], limit: Duration) -> Result<()> {
    let (mut session, ended) = both_up(ready, job, server, options, words, limit)?;
    if let Some((machine, end)) = ended {
        return match end {
            End::Exit(code) => Err(Exit(1, format!("the server ended with exit code {code} before the client began")).into()),
            end => run::hand_on(&session, machine, end),
        };
    }
    session.tell(CLIENT, "start")?;
    let end = session.until_end(CLIENT, show)?;
    if !matches!(end, End::Exit(_)) {
        return run::hand_on(&session, CLIENT, end);
    }
    let servers = stop_server(&mut session)?;
    match (end, servers) {
        (End::Exit(0), End::Exit(0 | BY_SIGINT)) => Ok(()),
        (End::Exit(0), End::Exit(code)) => Err(Exit(code, format!("the client ended well, and the server with exit code {code}")).into()),
        (End::Exit(0), end) => run::hand_on(&session, SERVER, end),
        (end, _) => run::hand_on(&session, CLIENT, end),
    }
}

/// Boots both until the client is to begin, or one has ended. A kernel that dies before its command
/// begins is given another try, with its peer.
fn both_up(
    ready: &Ready,
    job: &Job,
    server: &str,
    options: &Options,
    words: &[String],
    limit: Duration,
) -> Result<(Session, Option<(usize, End)>)> {
    let mut boots = 0;
    loop {
        boots += 1;
        let mut session = Session::new(limit)?;
        let ended = match start(&mut session, ready, job, server, words)? {
            Some(end) => Some((SERVER, end)),
            None => introduce(&mut session, options.ready.as_deref().unwrap_or(""))?,
        };
        match &ended {
            Some((machine, _)) if session.boots_again(boots, *machine) => {}
            _ => return Ok((session, ended)),
        }
    }
}

/// Starts both, the server first, because QEMU makes its end of the wire at once and tries the
/// other only once.
fn start(session: &mut Session, ready: &Ready, job: &Job, server: &str, words: &[String]) -> Result<Option<End>> {
    let socket = ready.folder.path().join("wire");
    let mut first = ready.spec("server", &Job { host: SERVER, hosts: 2, ..job.clone() }, &guest::script(server))?;
    let mut second = ready.spec("client", &Job { host: CLIENT, hosts: 2, wait: true, ..job.clone() }, &guest::command(words))?;
    first.wire = Some((socket.clone(), true));
    second.wire = Some((socket.clone(), false));
    // A first try may have left it, and QEMU makes only what is not there.
    if let Err(error) = fs::remove_file(&socket)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error).context("could not remove the last try's wire");
    }
    session.start(&first)?;
    let end = session.until_made(SERVER, &socket)?;
    if end.is_none() {
        session.start(&second)?;
    }
    Ok(end)
}

/// Waits until the client's machine is up and the server has printed a line with `text`. Otherwise
/// says which machine ended, and how.
fn introduce(session: &mut Session, text: &str) -> Result<Option<(usize, End)>> {
    let (mut up, mut listens) = (false, false);
    while !(up && listens) {
        let (from, event) = match session.next()? {
            Ok(heard) => heard,
            Err(end) => return Ok(Some((if up { SERVER } else { CLIENT }, end))),
        };
        show(from, &event)?;
        match (from, &event) {
            (CLIENT, Event::Said(word)) => up |= word == READY,
            (SERVER, Event::Console(line)) => listens |= line.contains(text),
            _ => {}
        }
        if let Some(end) = session.end(from) {
            return Ok(Some((from, end)));
        }
    }
    Ok(None)
}

/// SIGINT for the server, and its end.
fn stop_server(session: &mut Session) -> Result<End> {
    session.allow(SOON);
    if session.end(SERVER).is_none() {
        session.tell(SERVER, "stop")?;
    }
    session.until_end(SERVER, show)
}

fn show(from: usize, event: &Event) -> Result<()> {
    run::show(if from == SERVER { "server | " } else { "client | " }, event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(hosts: u8, two: bool, server: Option<&str>) -> Options {
        Options { hosts, two, server: server.map(str::to_owned), ready: None }
    }

    #[test]
    fn two_machines_need_a_server_and_a_server_needs_two() {
        assert_eq!(options(2, false, Some("x")).server().expect("right"), Some("x"));
        assert_eq!(options(1, true, Some("x")).server().expect("right"), Some("x"));
        assert_eq!(options(1, false, None).server().expect("right"), None);
        let why = |options: Options| options.server().expect_err("refused").to_string();
        assert_eq!(why(options(2, false, None)), "two machines need --server with the command of the first");
        assert_eq!(why(options(1, false, Some("x"))), "--server needs a second machine: give --hosts 2 too");
    }
}
