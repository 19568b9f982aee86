//! nvme-perf: see the library, which is all of it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    nvme_perf::main()
}
