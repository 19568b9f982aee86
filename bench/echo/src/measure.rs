//! Interleaved runs: each server at each point, round after round.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::child::{Running, interrupted};
use crate::host::{CoreTime, Ports, process_seconds};
use crate::points::Point;
use crate::servers::{Programs, Server, command};
use crate::stats::{Median, median};

/// What the load generator reports, as far as it is used.
#[derive(Clone, Debug, Deserialize)]
struct Load {
    echoes: u64,
    echoes_per_second: f64,
    latency: Latency,
    generator_idle: f64,
    generator_cpu_seconds: f64,
    server_cpu_seconds: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Latency {
    p50: u64,
    p99: u64,
}

/// One run of a server at a point.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Processor time of the server for one echo.
    pub(crate) cpu_us: f64,
    /// Part of the time in which the generator had nothing to do.
    pub(crate) generator_idle: f64,
    /// Part of the two cores that other processes used.
    pub(crate) others: f64,
}

/// All runs of a server at a point with one engine of the generator.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) server: String,
    pub(crate) point: Point,
    pub(crate) engine: &'static str,
    pub(crate) samples: Vec<Sample>,
    /// Why it could not be measured in the end.
    pub(crate) error: Option<String>,
}

impl Cell {
    pub(crate) fn median(&self, of: impl Fn(&Sample) -> f64) -> Option<Median> {
        median(self.samples.iter().map(of))
    }
}

/// What all runs have in common.
pub(crate) struct Bench<'a> {
    pub(crate) args: &'a Args,
    pub(crate) programs: &'a Programs,
    pub(crate) ports: Ports,
}

impl Bench<'_> {
    /// Runs all rounds; returns the cells and how many rounds there were.
    pub(crate) fn rounds(&mut self, servers: &[Server], points: &[Point], began: Instant, bar: &ProgressBar) -> Result<(Vec<Cell>, u32)> {
        let mut cells = Vec::new();
        for engine in self.args.engines() {
            for point in points {
                cells.extend(servers.iter().map(|s| Cell {
                    server: s.name.clone(),
                    point: *point,
                    engine,
                    samples: Vec::new(),
                    error: None,
                }));
            }
        }
        let rounds = self.args.rounds();
        bar.set_length(cells.len() as u64 * u64::from(rounds));
        let mut longest = Duration::ZERO;
        for round in 0..rounds {
            let start = Instant::now();
            if round > 0 && self.args.limit().is_some_and(|limit| began.elapsed() + longest > limit) {
                return Ok((cells, round));
            }
            for (at, cell) in cells.iter_mut().enumerate() {
                let server = &servers[at % servers.len()];
                bar.set_message(format!("{} at {}", cell.server, cell.point));
                self.fill(cell, server)?;
                bar.inc(1);
            }
            longest = longest.max(start.elapsed());
        }
        Ok((cells, rounds))
    }

    /// One more run, unless one has failed before.
    fn fill(&mut self, cell: &mut Cell, server: &Server) -> Result<()> {
        if cell.error.is_some() {
            return Ok(());
        }
        match self.sample(server, &cell.point, cell.engine) {
            Ok(sample) => cell.samples.push(sample),
            Err(why) if interrupted() => return Err(why),
            Err(why) => cell.error = Some(format!("{why:#}")),
        }
        Ok(())
    }

    fn sample(&mut self, server: &Server, point: &Point, engine: &str) -> Result<Sample> {
        let port = self.ports.take()?;
        let mut running = self.start(server, port, &[])?;
        let seconds = self.args.seconds();
        let watch = running.pid().to_string();
        let options = ["--seconds", &seconds.to_string(), "--warm-up", &(seconds / 4.0).to_string(), "--engine", engine, "--watch", &watch];
        let cores = [self.args.cores.0, self.args.cores.1];
        let before = CoreTime::read(&cores)?;
        let load = self.load(&mut running, port, point, &options)?;
        let server_cpu = load.server_cpu_seconds.context("the load generator did not watch the server")?;
        let ours = process_seconds(running.pid())? + load.generator_cpu_seconds;
        let others = CoreTime::read(&cores)?.others(before, ours);
        Ok(Sample {
            rate: load.echoes_per_second,
            p50_us: load.latency.p50 as f64 / 1e3,
            p99_us: load.latency.p99 as f64 / 1e3,
            cpu_us: server_cpu * 1e6 / load.echoes as f64,
            generator_idle: load.generator_idle,
            others,
        })
    }

    /// Starts a server, under a tool if `tool` names one.
    pub(crate) fn start(&self, server: &Server, port: u16, tool: &[std::ffi::OsString]) -> Result<Running> {
        let core = self.args.cores.0;
        let words = server.words(self.programs, port, core).with_context(|| format!("{} has not been built", server.name))?;
        Running::start(&server.name, command(&[tool, &words].concat()), core)
    }

    fn load(&self, server: &mut Running, port: u16, point: &Point, options: &[&str]) -> Result<Load> {
        let text = self.run_load(server, port, point, options)?;
        serde_json::from_str(&text).map_err(|e| anyhow!("the load generator printed something else than expected: {e}"))
    }

    /// Runs the load generator against a server; returns what it prints.
    pub(crate) fn run_load(&self, server: &mut Running, port: u16, point: &Point, options: &[&str]) -> Result<String> {
        let core = self.args.cores.1;
        let mut load = command(&[self.programs.path("load").context("the load generator has not been built")?.into()]);
        load.arg(format!("127.0.0.1:{port}")).args(options).args(["--core", &core.to_string()]);
        for (option, value) in
            [("--connections", point.connections), ("--depth", point.depth), ("--size", point.size), ("--idle", point.idle)]
        {
            load.args([option, &value.to_string()]);
        }
        let patience = Duration::from_secs_f64(60.0 + 2.0 * self.args.seconds());
        Running::start("the load generator", load, core)?.finish(patience, || server.ensure_alive())
    }
}
