//! What was measured, in perftest's columns.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::plan::Plan;

/// A finished measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Report {
    plan: Plan,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Microseconds.
    Latency { min: f64, max: f64, median: f64, mean: f64, deviation: f64, p99: f64, p999: f64 },
    /// MiB (2^20 bytes) per second, and millions of operations.
    Bandwidth { mib: f64, rate: f64 },
}

impl Report {
    /// `times` are nanoseconds of round trips, `took` the time of all operations.
    pub(crate) fn new(plan: Plan, times: &Histogram<u64>, took: Duration) -> Self {
        if !plan.test.is_latency() {
            let seconds = took.as_secs_f64().max(1e-9);
            let operations = f64::from(plan.iterations);
            let mib = operations * f64::from(plan.size) / f64::from(1 << 20) / seconds;
            return Self { plan, kind: Kind::Bandwidth { mib, rate: operations / seconds / 1e6 } };
        }
        // As in perftest, half of a round trip, and the whole of a read.
        let parts = if plan.test.is_ping_pong() { 2.0 } else { 1.0 };
        let micros = |nanos: f64| nanos / parts / 1000.0;
        let at = |quantile| micros(times.value_at_quantile(quantile) as f64);
        let (min, max) = (micros(times.min() as f64), micros(times.max() as f64));
        let (mean, deviation) = (micros(times.mean()), micros(times.stdev()));
        Self { plan, kind: Kind::Latency { min, max, median: at(0.5), mean, deviation, p99: at(0.99), p999: at(0.999) } }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { size, iterations, .. } = self.plan;
        match self.kind {
            Kind::Latency { min, max, median, mean, deviation, p99, p999 } => {
                writeln!(
                    f,
                    " #bytes #iterations  t_min[usec]  t_max[usec]  t_typical[usec]  t_avg[usec]  t_stdev[usec]  99%[usec]  99.9%[usec]"
                )?;
                write!(
                    f,
                    " {size:<6} {iterations:<11} {min:<12.2} {max:<12.2} {median:<16.2} {mean:<12.2} {deviation:<14.2} {p99:<10.2} {p999:.2}"
                )
            }
            Kind::Bandwidth { mib, rate } => {
                writeln!(f, " #bytes  #iterations  BW average[MiB/sec]  MsgRate[Mpps]")?;
                write!(f, " {size:<7} {iterations:<12} {mib:<20.2} {rate:.6}")
            }
        }
    }
}
