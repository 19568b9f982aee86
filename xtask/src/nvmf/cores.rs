//! Our target on two cores against one.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::table::median;
use super::{Device, Measured, Target, free_port};

/// Four queues of each initiator's core, so that each core of the target has some.
const LOAD: &str = "-q 64 -o 4k -w randread -P 4";

/// What it did on one core and on two, round by round.
pub(super) struct Cores {
    /// Cores of this process: the first two are the target's.
    cores: Vec<u16>,
    rounds: Vec<[Measured; 2]>,
}

impl Cores {
    pub(super) fn new(cores: Vec<u16>) -> Self {
        Self { cores, rounds: Vec::new() }
    }

    /// Whether there are two cores.
    pub(super) fn can(&self) -> bool {
        self.cores.len() >= 2
    }

    /// Where the initiators are: on cores of their own where there are some.
    fn initiators(&self) -> &[u16] {
        if self.has_spare() { &self.cores[2..] } else { &self.cores }
    }

    /// Whether the initiators have as many cores of their own as the target.
    fn has_spare(&self) -> bool {
        self.cores.len() >= 4
    }

    pub(super) fn round(&mut self, nvmf_tgt: &Path, nvme_perf: &Path, seconds: f64) -> Result<()> {
        let of = |count: usize| {
            let target = Target::ours(nvmf_tgt, Device::Null, &self.cores[..count], free_port()?)?;
            let measured = target.load(nvme_perf, self.initiators(), LOAD, seconds)?;
            target.stop()?;
            Ok::<_, anyhow::Error>(measured)
        };
        self.rounds.push([of(1)?, of(2)?]);
        Ok(())
    }

    /// Medians over the rounds, on so many cores less one.
    fn at(&self, index: usize, what: fn(&Measured) -> f64) -> f64 {
        median(self.rounds.iter().map(|it| what(&it[index])))
    }

    /// Two cores against one: of the rates, and of what the target would do if each of its cores
    /// had a processor to itself, by the time that it used for each command.
    fn ratios(&self) -> [f64; 2] {
        [
            median(self.rounds.iter().map(|[one, two]| two.run.total.iops / one.run.total.iops)),
            median(self.rounds.iter().map(|[one, two]| 2.0 * one.each / two.each)),
        ]
    }

    pub(super) fn json(&self) -> Value {
        let [rate, time] = self.ratios();
        let of = |index| json!({"iops": self.at(index, |it| it.run.total.iops), "cpu_us_per_io": self.at(index, |it| it.each)});
        json!({"one": of(0), "two": of(1), "ratio": rate, "ratio_by_cpu_time": time, "spare_cores": self.has_spare()})
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rounds.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n| cores of lcore, null, 4k randread | kIOPS | CPU µs each | share of a core |\n|---|--:|--:|--:|")?;
        for index in 0..2 {
            let iops = self.at(index, |it| it.run.total.iops / 1e3);
            writeln!(f, "| {} | {iops:.1} | {:.2} | {:.2} |", index + 1, self.at(index, |it| it.each), self.at(index, |it| it.share))?;
        }
        let [rate, time] = self.ratios();
        writeln!(f, "\n2 cores against 1: {rate:.2} times the IOPS; {time:.2} by the processor time of a command")?;
        if !self.has_spare() {
            writeln!(f, "(the rate is bounded by the initiators, which share these {} processors with the target)", self.cores.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::measured;
    use super::*;

    #[test]
    fn two_cores_are_told_against_one() {
        let mut it = Cores::new(vec![0, 1]);
        it.rounds = vec![[measured(1e5, 2.0), measured(1.1e5, 2.5)]];
        assert_eq!(it.initiators(), [0, 1]);
        let text = it.to_string();
        assert!(text.contains("2 cores against 1: 1.10 times the IOPS; 1.60 by the processor time"), "{text}");
        assert!(text.contains("share these 2 processors"), "{text}");
        let it = Cores { cores: vec![0, 2, 4, 6], ..it };
        assert_eq!(it.initiators(), [4, 6]);
        assert!(!it.to_string().contains("share these"));
    }
}
