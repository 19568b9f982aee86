//! An image's description: a small TOML file. What is wrong in it is one sentence with its line.

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use toml::Spanned;

use crate::{Usage, repository};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    backend: Spanned<String>,
    server: Option<Spanned<String>>,
    address: Spanned<String>,
    router: Option<Spanned<String>>,
    port: Spanned<i64>,
    memory: Spanned<String>,
    log: Spanned<String>,
    pools: Pools,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pools {
    connections: Spanned<i64>,
    backlog: Spanned<i64>,
    window: Spanned<String>,
    buffers: Spanned<i64>,
    reserve: Spanned<i64>,
    buffer: Spanned<String>,
    mailbox: Spanned<i64>,
}

/// A description without a mistake.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) has_backend: bool,
    /// The server is tasks and no pollers.
    has_tasks: bool,
    /// Address, prefix and router; `None` for DHCP.
    pub(super) address: Option<(IpAddr, u8, Option<IpAddr>)>,
    pub(super) port: u16,
    /// Bytes.
    pub(super) memory: u64,
    log: String,
    connections: u64,
    backlog: u64,
    window: u64,
    buffers: u64,
    reserve: u64,
    buffer: u64,
    mailbox: u64,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "defmt"];
/// What an image takes beside its pools: itself, its stack and tables, the card's buffers, the
/// mailboxes; and what the machine keeps for itself.
const BESIDE: u64 = 2 << 20;

impl Description {
    /// Reads `image`: a file, or the name of one in `image/images`.
    pub(super) fn read(image: &str) -> Result<Self> {
        let path = match image.ends_with(".toml") {
            true => PathBuf::from(image),
            false => repository().join("image/images").join(format!("{image}.toml")),
        };
        let text = std::fs::read_to_string(&path).map_err(|why| {
            let known = "`cargo xtask image build --list` names those that are here, and a file's name ends in .toml";
            Usage(format!("could not read the image's description {}: {why} ({known})", path.display()))
        })?;
        let name = path.file_stem().and_then(|name| name.to_str()).context("an image's description has a name")?;
        let wrong = |(at, why): Wrong| {
            let line = text[..at.start.min(text.len())].matches('\n').count() + 1;
            Usage(format!("{}, line {line}: {why}", path.display()))
        };
        Ok(Self::parse(name, &text).map_err(wrong)?)
    }

    fn parse(name: &str, text: &str) -> Result<Self, Wrong> {
        let file: File = toml::from_str(text).map_err(|why| (why.span().unwrap_or(0..0), why.message().replace('\n', ", ")))?;
        let pools = &file.pools;
        let log = file.log.get_ref();
        if !LEVELS.contains(&log.as_str()) {
            return Err((file.log.span(), format!("log = {log:?} is none of {}", LEVELS.join(", "))));
        }
        let has_backend = match file.backend.get_ref().as_str() {
            "smoltcp" => true,
            "none" => false,
            other => return Err((file.backend.span(), format!("backend = {other:?} is none of smoltcp, none"))),
        };
        let has_tasks = match file.server.as_ref().map(|server| (server.get_ref().as_str(), server)) {
            None | Some(("pollers", _)) => false,
            Some(("tasks", _)) => true,
            Some((other, server)) => return Err((server.span(), format!("server = {other:?} is none of pollers, tasks"))),
        };
        let description = Self {
            name: name.to_owned(),
            has_backend,
            has_tasks,
            address: address(&file.address, file.router.as_ref())?,
            port: number("port", &file.port, 1..=65535)? as u16,
            memory: bytes("memory", &file.memory, 4 << 20..=3 << 30)?,
            log: log.clone(),
            connections: number("connections", &pools.connections, 1..=4096)?,
            backlog: number("backlog", &pools.backlog, 1..=1024)?,
            window: bytes("window", &pools.window, 2048..=1 << 24)?,
            buffers: number("buffers", &pools.buffers, 1..=65536)?,
            reserve: number("reserve", &pools.reserve, 1..=65536)?,
            buffer: bytes("buffer", &pools.buffer, 64..=1 << 20)?,
            mailbox: number("mailbox", &pools.mailbox, 2..=65536)?,
        };
        if description.reserve > description.buffers {
            return Err((
                pools.reserve.span(),
                format!("reserve = {} is more than there are buffers ({})", description.reserve, description.buffers),
            ));
        }
        let (takes, has) = (description.takes(), description.memory);
        if takes > has {
            let why =
                format!("memory = {} MiB is too little: the pools and the image take about {} MiB", has >> 20, takes.div_ceil(1 << 20));
            return Err((file.memory.span(), why));
        }
        Ok(description)
    }

    /// Bytes that it will take, about.
    fn takes(&self) -> u64 {
        let windows = (self.connections + self.backlog) * 2 * self.window;
        windows + self.buffers * self.buffer.next_multiple_of(4096) + 4 * self.mailbox * 64 + BESIDE
    }

    /// Whether its messages are defmt frames on the debug console and no text on the serial port.
    pub(super) fn has_frames(&self) -> bool {
        self.log == "defmt"
    }

    /// The cargo features of its build: what it does not use is left out.
    pub(super) fn features(&self) -> String {
        let address = match self.address {
            None => "dhcp",
            Some((own, ..)) if own.is_ipv6() => "ipv6",
            Some(_) => "",
        };
        let network = if self.has_backend { ["smoltcp", address] } else { [""; 2] };
        let server = if self.has_tasks { "tasks" } else { "pollers" };
        let all = network.into_iter().chain([server, if self.has_frames() { "defmt" } else { "log" }]);
        all.filter(|feature| !feature.is_empty()).collect::<Vec<_>>().join(",")
    }

    /// As a value in the image's source.
    pub(super) fn source(&self) -> String {
        let ip = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => format!("::core::net::IpAddr::V4(::core::net::Ipv4Addr::from_bits({}))", ip.to_bits()),
            IpAddr::V6(ip) => format!("::core::net::IpAddr::V6(::core::net::Ipv6Addr::from_bits({}))", ip.to_bits()),
        };
        let address = self.address.map(|(own, prefix, router)| {
            let router = router.map_or("None".into(), |router| format!("Some({})", ip(router)));
            format!("({}, {prefix}, {router})", ip(own))
        });
        let address = address.map_or("None".into(), |address| format!("Some({address})"));
        let Self { name, port, connections, backlog, window, buffers, reserve, buffer, mailbox, .. } = self;
        let log = if self.has_frames() { "off" } else { &self.log };
        let level = log[..1].to_uppercase() + &log[1..];
        format!(
            "Description {{ name: {name:?}, address: {address}, port: {port}, connections: {connections}, backlog: {backlog}, window: {window}, \
             buffers: {buffers}, reserve: {reserve}, buffer_size: {buffer}, mailbox: {mailbox}, log: ::log::LevelFilter::{level} }}\n"
        )
    }
}

/// Where in the file, and what.
type Wrong = (Range<usize>, String);

fn number(name: &str, value: &Spanned<i64>, range: std::ops::RangeInclusive<u64>) -> Result<u64, Wrong> {
    let why = || (value.span(), format!("{name} = {} is not between {} and {}", value.get_ref(), range.start(), range.end()));
    u64::try_from(*value.get_ref()).ok().filter(|n| range.contains(n)).ok_or_else(why)
}

/// Bytes: a number with K, M or G for powers of 1024, or none.
fn bytes(name: &str, value: &Spanned<String>, range: std::ops::RangeInclusive<u64>) -> Result<u64, Wrong> {
    let text = value.get_ref().as_str();
    let (digits, shift) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((digits, "K")) => (digits, 10),
        Some((digits, "M")) => (digits, 20),
        Some((digits, "G")) => (digits, 30),
        _ => (text, 0),
    };
    let n = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    n.filter(|n| range.contains(n)).ok_or_else(|| {
        let why = format!("{name} = {text:?} is no size between {} and {} bytes, such as \"16K\" or \"8M\"", range.start(), range.end());
        (value.span(), why)
    })
}

type Address = Option<(IpAddr, u8, Option<IpAddr>)>;

fn address(value: &Spanned<String>, router: Option<&Spanned<String>>) -> Result<Address, Wrong> {
    let text = value.get_ref();
    if text == "dhcp" {
        return match router {
            None => Ok(None),
            Some(router) => Err((router.span(), "router is what DHCP tells: leave it out, or give an address".into())),
        };
    }
    let why = || (value.span(), format!("address = {text:?} is neither \"dhcp\" nor an address with its prefix, such as \"10.0.2.15/24\""));
    let (own, prefix) = text.split_once('/').ok_or_else(why)?;
    let (own, prefix): (IpAddr, u8) = (own.parse().map_err(|_| why())?, prefix.parse().map_err(|_| why())?);
    let longest = if own.is_ipv4() { 32 } else { 128 };
    if prefix > longest || own.is_unspecified() || own.is_multicast() {
        return Err(why());
    }
    let router = router.map(|router| {
        let why = || (router.span(), format!("router = {:?} is no address of the image's family", router.get_ref()));
        router.get_ref().parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == own.is_ipv4()).ok_or_else(why)
    });
    Ok(Some((own, prefix, router.transpose()?)))
}

/// The names of the descriptions in `image/images`, sorted.
pub(super) fn names() -> Result<Vec<String>> {
    let folder = repository().join("image/images");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))?;
    let stem =
        |path: &Path| path.extension().is_some_and(|e| e == "toml").then(|| path.file_stem().map(|s| s.to_string_lossy().into_owned()));
    let mut names: Vec<String> = entries.filter_map(|entry| stem(&entry.ok()?.path()).flatten()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
