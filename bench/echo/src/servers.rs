//! The servers that are compared, how each is started, and against which limit it stands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::Usage;

/// A server of the table.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The bare loop on the same kernel interface that idles in the same way.
    pub(crate) limit: Option<&'static str>,
    pub(crate) start: Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare loop.
    Limit,
    /// Somebody else's.
    Peer,
    Ours,
}

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// A package of this workspace, with options.
    Package(&'static str, &'static [&'static str]),
    /// hello-sock, with the name of a backend and options.
    HelloSock(&'static str, &'static [&'static str]),
    /// A command of the user's for the shell.
    Shell(String),
}

/// A server that the user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extra {
    name: String,
    command: String,
}

impl FromStr for Extra {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, command)) = text.split_once('=').filter(|(name, command)| !name.is_empty() && !command.is_empty()) else {
            return Err("not NAME='COMMAND {port}'".to_owned());
        };
        if !command.contains("{port}") {
            return Err(format!("the command of {name} has no {{port}}: it would not be told where to listen"));
        }
        if built_in().iter().any(|server| server.name == name) {
            return Err(format!("there is a server {name} already: take another name"));
        }
        Ok(Self { name: name.to_owned(), command: command.to_owned() })
    }
}

/// The servers to run: those built in and `extra`, of which `only` are kept if it names any.
pub(crate) fn choose(extra: &[Extra], only: &[String]) -> Result<Vec<Server>, Usage> {
    let mut servers = built_in();
    servers.extend(extra.iter().map(|e| Server {
        name: e.name.clone(),
        kind: Kind::Peer,
        limit: None,
        start: Start::Shell(e.command.clone()),
    }));
    let names = servers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = only.iter().find(|prefix| !servers.iter().any(|s| s.name.starts_with(prefix.as_str()))) {
        return Err(Usage(format!("--only: there is no server {unknown:?}; there are {names}")));
    }
    if !only.is_empty() {
        let exact = |s: &Server, name: &String| s.name == *name;
        let begins = |s: &Server, name: &String| s.name.starts_with(name.as_str());
        let whole: Vec<_> = only.iter().map(|name| servers.iter().any(|s| exact(s, name))).collect();
        servers.retain(|s| only.iter().zip(&whole).any(|(name, whole)| if *whole { exact(s, name) } else { begins(s, name) }));
    }
    Ok(servers)
}

fn built_in() -> Vec<Server> {
    use Kind::{Limit, Ours, Peer};
    use Start::{HelloSock, Package};
    let server = |name: &str, kind, limit, start| Server { name: name.to_owned(), kind, limit, start };
    vec![
        server("raw-epoll", Limit, None, Package("peer-epoll", &[])),
        server("raw-epoll-busy", Limit, None, Package("peer-epoll", &["--busy"])),
        server("raw-uring", Limit, None, Package("peer-uring", &[])),
        server("raw-uring-busy", Limit, None, Package("peer-uring", &["--busy"])),
        server("tokio", Peer, Some("raw-epoll"), Package("peer-tokio", &[])),
        server("monoio", Peer, Some("raw-uring"), Package("peer-monoio", &[])),
        server("glommio", Peer, Some("raw-uring"), Package("peer-glommio", &[])),
        server("compio", Peer, Some("raw-uring"), Package("peer-compio", &[])),
        server("lcore-posix", Ours, Some("raw-epoll"), HelloSock("posix", &[])),
        server("lcore-posix-busy", Ours, Some("raw-epoll-busy"), HelloSock("posix", &["--busy-poll"])),
        server("lcore-uring", Ours, Some("raw-uring"), HelloSock("uring", &[])),
        server("lcore-uring-busy", Ours, Some("raw-uring-busy"), HelloSock("uring", &["--busy-poll"])),
        server("lcore-async-posix", Ours, Some("raw-epoll"), Package("peer-lcore-async", &["--backend", "posix"])),
        server("lcore-async-uring", Ours, Some("raw-uring"), Package("peer-lcore-async", &["--backend", "uring"])),
    ]
}

/// Where the programs are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs(pub(crate) Vec<(String, PathBuf)>);

impl Programs {
    pub(crate) fn path(&self, name: &str) -> Option<&Path> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, path)| path.as_path())
    }
}

impl Server {
    /// The program that must have been built for it.
    pub(crate) fn program(&self) -> Option<&'static str> {
        match self.start {
            Start::Package(name, _) => Some(name),
            Start::HelloSock(..) => Some("hello-sock"),
            Start::Shell(_) => None,
        }
    }

    /// Whether instructions for an echo can be counted: a server that never sleeps would be counted
    /// asleep.
    pub(crate) fn is_counted(&self) -> bool {
        match self.start {
            Start::Package(_, options) | Start::HelloSock(_, options) => !options.iter().any(|option| option.starts_with("--busy")),
            // A shell stands between.
            Start::Shell(_) => false,
        }
    }

    /// Program and arguments that start it on a port and a core; `None` if its program is not
    /// there.
    pub(crate) fn words(&self, programs: &Programs, port: u16, core: usize) -> Option<Vec<OsString>> {
        let mut words = match self.program() {
            Some(name) => vec![programs.path(name)?.into()],
            None => vec!["sh".into(), "-c".into()],
        };
        let (port, core) = (port.to_string(), core.to_string());
        let mut add = |more: &[&str]| words.extend(more.iter().map(OsString::from));
        match &self.start {
            Start::Package(_, options) => {
                add(&[&port, "--core", &core]);
                add(options);
            }
            Start::HelloSock(backend, options) => {
                add(&["-S", "-P", &port, "-m", &format!("[{core}]"), "--no-cpumask-locks", "-N", backend]);
                add(options);
            }
            Start::Shell(command) => add(&[&format!("exec {}", command.replace("{port}", &port))]),
        }
        Some(words)
    }
}

/// A command of `words`, the first of which is the program.
pub(crate) fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(extra: &[Extra], only: &[&str]) -> Vec<String> {
        let only: Vec<_> = only.iter().map(ToString::to_string).collect();
        choose(extra, &only).expect("known names").into_iter().map(|s| s.name).collect()
    }

    #[test]
    fn every_limit_is_a_bare_loop_of_the_table() {
        let servers = built_in();
        for limit in servers.iter().filter_map(|s| s.limit) {
            assert!(servers.iter().any(|s| s.name == limit && s.kind == Kind::Limit), "{limit}");
        }
    }

    #[test]
    fn only_takes_exact_names_first_and_beginnings_otherwise() {
        assert_eq!(names(&[], &["raw-epoll"]), ["raw-epoll"]);
        assert_eq!(names(&[], &["lcore-p", "tokio"]), ["tokio", "lcore-posix", "lcore-posix-busy"]);
        let why = choose(&[], &["nginx".to_owned()]).expect_err("unknown").to_string();
        assert!(why.contains("nginx") && why.contains("raw-epoll-busy"), "{why}");
    }

    #[test]
    fn an_extra_server_is_added_under_its_name() {
        let extra: Extra = "mine=./server --port={port} -v".parse().expect("well formed");
        assert_eq!(names(std::slice::from_ref(&extra), &["mine"]), ["mine"]);
        let server = choose(&[extra], &["mine".to_owned()]).expect("known").remove(0);
        let words = server.words(&Programs::default(), 4711, 0).expect("needs no program");
        assert_eq!(words, ["sh", "-c", "exec ./server --port=4711 -v"]);
    }

    #[test]
    fn a_wrong_extra_server_says_what_is_wrong() {
        for (text, part) in [("x", "not NAME="), ("=x {port}", "not NAME="), ("x=y", "no {port}"), ("tokio=y {port}", "tokio already")] {
            let why = text.parse::<Extra>().expect_err(text);
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }
}
