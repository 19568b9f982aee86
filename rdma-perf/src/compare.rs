//! Ours beside perftest's, in turn, both ends of each on this machine.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::args::Args;

/// Time for one measurement.
const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a program that runs: seldom enough to cost nothing.
const LOOK: Duration = Duration::from_millis(20);

/// Round trips, and operations of 1 MiB: few, as an emulated machine on a busy one moves 10 MiB in
/// a second.
const TRIPS: &str = "500";
const MEGABYTES: &str = "32";

/// The first port of perftest's servers, each of which gets one of its own.
const THEIR_PORT: u16 = 18700;

/// Each end polls a core of its own. The locks keep other processes away, of which there are none
/// while this measures.
const SERVER_CORE: [&str; 3] = ["--no-cpumask-locks", "-m", "0x1"];
const CLIENT_CORE: [&str; 3] = ["--no-cpumask-locks", "-m", "0x2"];

/// Why there is no table.
#[derive(Debug, Error)]
pub(crate) enum CompareError {
    #[error("{program} cannot be started: {why} (perftest has ib_send_lat, ib_write_bw and ib_read_bw)")]
    Start { program: String, why: io::Error },
    #[error("{program} did not end in {LIMIT:?}")]
    Slow { program: String },
    #[error("{program} failed: {text}")]
    Failed { program: String, text: String },
    #[error("{program} printed no figure: {text}")]
    NoFigure { program: String, text: String },
    #[error("{doing}: {why}")]
    Io { doing: &'static str, why: io::Error },
    #[error(transparent)]
    Platform(#[from] lcore::PlatformError),
}

/// One row of the table: the same measurement with both.
struct Row {
    name: &'static str,
    unit: &'static str,
    ours: &'static [&'static str],
    /// How our server waits. Where it has nothing to do it sleeps, as perftest's does, and leaves
    /// its core to the emulated device.
    server: &'static [&'static str],
    theirs: &'static [&'static str],
    size: &'static str,
    /// The columns of the figure.
    columns: (usize, usize),
    aim: Aim,
}

#[derive(Clone, Copy)]
enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

const ROWS: [Row; 4] = [
    Row {
        name: "send, 64 bytes, half round trip, polled",
        unit: "us",
        ours: &["--test", "send-lat", "-s", "64", "-n", TRIPS],
        server: &[],
        theirs: &["ib_send_lat", "-F", "-s", "64", "-n", TRIPS],
        size: "64",
        columns: (4, 4),
        aim: Aim::AtMost(1.05),
    },
    Row {
        name: "send, 64 bytes, half round trip, event-driven",
        unit: "us",
        ours: &["--wait", "event", "--test", "send-lat", "-s", "64", "-n", TRIPS],
        server: &["--wait", "event"],
        theirs: &["ib_send_lat", "-e", "-F", "-s", "64", "-n", TRIPS],
        size: "64",
        columns: (4, 4),
        aim: Aim::AtMost(1.0),
    },
    Row {
        name: "WRITE, 1 MiB, depth 16, polled",
        unit: "MiB/s",
        ours: &["--test", "write-bw", "-s", "1048576", "-d", "16", "-n", MEGABYTES],
        server: &["--wait", "event"],
        theirs: &["ib_write_bw", "-F", "-s", "1048576", "-t", "16", "-n", MEGABYTES],
        size: "1048576",
        columns: (2, 3),
        aim: Aim::AtLeast(1.0),
    },
    Row {
        name: "READ, 1 MiB, depth 16, polled",
        unit: "MiB/s",
        ours: &["--test", "read-bw", "-s", "1048576", "-d", "16", "-n", MEGABYTES],
        server: &["--wait", "event"],
        theirs: &["ib_read_bw", "-F", "-s", "1048576", "-t", "16", "-n", MEGABYTES],
        size: "1048576",
        columns: (2, 3),
        aim: Aim::AtLeast(1.0),
    },
];

/// Runs all and prints the table.
pub(crate) fn run(args: &Args, at: SocketAddr) -> Result<(), CompareError> {
    let print = |why| CompareError::Io { doing: "write standard output", why };
    let mut output = lcore::platform::stdout()?;
    writeln!(output, "{} runs of each, in turn; medians, and least to most", args.runs).map_err(print)?;
    writeln!(output, "{:<46} {:<6} {:<28} {:<28} {:>6}  aim", "", "", "ours", "perftest", "ratio").map_err(print)?;
    let mut port = THEIR_PORT;
    for row in &ROWS {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for _ in 0..args.runs {
            ours.0.push(row.ours(at)?);
            theirs.0.push(row.theirs(at, port)?);
            port += 1;
        }
        let ratio = ours.median() / theirs.median();
        let (ours, theirs) = (ours.to_string(), theirs.to_string());
        let told = writeln!(output, "{:<46} {:<6} {ours:<28} {theirs:<28} {ratio:>6.3}  {}", row.name, row.unit, row.aim.judge(ratio));
        told.map_err(print)?;
    }
    Ok(())
}

impl Row {
    fn ours(&self, at: SocketAddr) -> Result<f64, CompareError> {
        let me = std::env::current_exe().map_err(|why| CompareError::Io { doing: "find this program", why })?;
        let me = me.to_string_lossy();
        let host = at.ip().to_string();
        let mut server = Program::start(Command::new(&*me).args(["--server", &host, "-P", "0"]).args(SERVER_CORE).args(self.server))?;
        let port = server.port()?;
        let client = Program::start(Command::new(&*me).args([&host, "-P", &port]).args(CLIENT_CORE).args(self.ours))?;
        let text = client.end()?;
        server.end()?;
        figure(&me, &text, self.size, self.columns.0)
    }

    fn theirs(&self, at: SocketAddr, port: u16) -> Result<f64, CompareError> {
        let (program, args) = (self.theirs[0], &self.theirs[1..]);
        let (host, port_text) = (at.ip().to_string(), port.to_string());
        let command = || {
            let mut command = Command::new(program);
            command.args(args).args(["-p", &port_text]);
            command
        };
        let mut server = Program::start(&mut command())?;
        server.listens(port)?;
        let text = Program::start(command().arg(&host))?.end()?;
        server.end()?;
        figure(program, &text, self.size, self.columns.1)
    }
}

/// The figure in a column of the line that begins with the size.
pub(crate) fn figure(program: &str, text: &str, size: &str, column: usize) -> Result<f64, CompareError> {
    let line = text.lines().rfind(|line| line.split_whitespace().next() == Some(size));
    let figure = line.and_then(|line| line.split_whitespace().nth(column)?.parse::<f64>().ok()).filter(|figure| *figure > 0.0);
    figure.ok_or_else(|| CompareError::NoFigure { program: program.into(), text: text.into() })
}

/// A program that runs, and is killed when it is dropped before its end.
struct Program {
    name: String,
    child: Child,
    until: Instant,
}

impl Program {
    fn start(command: &mut Command) -> Result<Self, CompareError> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|why| CompareError::Start { program: name.clone(), why })?;
        Ok(Self { name, child, until: Instant::now() + LIMIT })
    }

    /// The port that our server prints.
    fn port(&mut self) -> Result<String, CompareError> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            BufReader::new(stdout).read_line(&mut line).map_err(|why| CompareError::Io { doing: "read a server's output", why })?;
        }
        match line.trim().rsplit_once(':') {
            Some((_, port)) => Ok(port.into()),
            None => Err(self.failed()),
        }
    }

    /// Waits until it listens at a TCP port, as perftest does without saying so to a pipe.
    fn listens(&mut self, port: u16) -> Result<(), CompareError> {
        while !["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .any(|table| is_listening(&std::fs::read_to_string(table).unwrap_or_default(), port))
        {
            self.look()?;
        }
        Ok(())
    }

    /// Waits a little; true when it has ended.
    fn look(&mut self) -> Result<bool, CompareError> {
        let ended = self.child.try_wait().map_err(|why| CompareError::Io { doing: "wait for a program", why })?;
        match ended {
            Some(status) if status.success() => Ok(true),
            Some(_) => Err(self.failed()),
            None if Instant::now() > self.until => Err(CompareError::Slow { program: self.name.clone() }),
            None => {
                std::thread::sleep(LOOK);
                Ok(false)
            }
        }
    }

    /// Waits for its end: what it printed, which is less than a pipe holds.
    fn end(mut self) -> Result<String, CompareError> {
        while !self.look()? {}
        Ok(self.output())
    }

    fn output(&mut self) -> String {
        let mut text = Vec::new();
        if let Some(stdout) = &mut self.child.stdout {
            // What cannot be read is missed where a figure is looked for.
            let _ = stdout.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn failed(&mut self) -> CompareError {
        // Its pipes end with it.
        let _ = self.child.kill();
        let mut text = Vec::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_end(&mut text);
        }
        CompareError::Failed { program: self.name.clone(), text: String::from_utf8_lossy(&text).trim().into() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is neither killed nor waited for again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a table like /proc/net/tcp has a listener (state 0A) at the port.
pub(crate) fn is_listening(table: &str, port: u16) -> bool {
    let end = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&end)) && words.nth(1) == Some("0A")
    })
}

#[derive(Default)]
struct Figures(Vec<f64>);

impl Figures {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn median(&self) -> f64 {
        self.sorted()[self.0.len() / 2]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        write!(f, "{:.2} ({:.2} - {:.2})", self.median(), sorted[0], sorted[sorted.len() - 1])
    }
}

impl Aim {
    fn judge(self, ratio: f64) -> String {
        let (words, aim, held, missed) = match self {
            Self::AtMost(aim) => ("at most", aim, ratio <= aim, ratio / aim - 1.0),
            Self::AtLeast(aim) => ("at least", aim, ratio >= aim, 1.0 - ratio / aim),
        };
        let end = if held { "held".into() } else { format!("missed by {:.1} %", 100.0 * missed) };
        format!("{words} {aim:.2}: {end}")
    }
}
