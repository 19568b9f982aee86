//! The command line of lcore-top.

use std::time::Duration;

use clap::Parser;

use crate::client::Address;

/// Shows what an application over lcore does: threads, pollers, cores, poll groups, pools, sockets
/// and statistics, with rates. It asks over the application's RPC socket, and can watch SPDK's
/// applications too.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "lcore-top",
    version,
    after_help = "Examples:\n  lcore-top                                 watch what serves at /var/tmp/spdk.sock\n  \
        lcore-top -r /tmp/echo.sock -i 0.5        another one, twice a second\n  \
        lcore-top --once --json | jq .threads     for scripts\n\nKeys: press h on the screen."
)]
pub(crate) struct Args {
    /// Where the application serves its RPC: the path of a socket, or an IP address, with :PORT or
    /// 5260.
    #[arg(short = 'r', long = "rpc-socket", value_name = "PATH|IP:PORT", default_value = Address::DEFAULT)]
    pub(crate) at: Address,
    /// Seconds from look to look.
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    /// Print all tables once, after two looks that are SECONDS apart, and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// As one JSON object.
    #[arg(long, requires = "once")]
    pub(crate) json: bool,
}

/// Looks are no closer than this...
pub(crate) const SHORTEST: Duration = Duration::from_millis(100);
/// ...and no farther apart than this.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let within = seconds.filter(|it| (SHORTEST..=LONGEST).contains(it));
    within.ok_or_else(|| format!("seconds, from {} to {}", SHORTEST.as_secs_f64(), LONGEST.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_checked() {
        let parse = |line: &str| Args::try_parse_from(std::iter::once("lcore-top").chain(line.split_whitespace()));
        let args = parse("").unwrap();
        assert_eq!((args.at, args.interval, args.once), ("/var/tmp/spdk.sock".parse().unwrap(), Duration::from_secs(1), false));
        assert_eq!(parse("-i 0.25").unwrap().interval, Duration::from_millis(250));
        for wrong in ["-i 0", "-i 0.09", "-i 3601", "-i x", "-i NaN", "-i -1", "-r spdk.sock", "-r localhost:1", "--json", "more"] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
