//! The suite over each device that needs nothing but memory.

use std::time::Duration;

use bdev::Limits;
use bdev_conformance::{Subject, suite};
use bdev_fault::{Faults, Latencies, delay, errors, fault};
use bdev_malloc::{Config, malloc, null};

const MALLOC: Subject =
    Subject { make: |bdevs| malloc(bdevs, Config::new(512, 4_000).name("m")), keeps: true, resizes: false, fails: false };

suite!(malloc_512, MALLOC);
// Blocks of which no whole number fills 64 KiB, so that stripes end elsewhere.
suite!(malloc_1536, Subject { make: |bdevs| malloc(bdevs, Config::new(1536, 301)), ..MALLOC });
// One block for each stripe: each longer request crosses borders.
suite!(malloc_64k, Subject { make: |bdevs| malloc(bdevs, Config::new(65_536, 300)), ..MALLOC });
suite!(null_device, Subject { make: |bdevs| null(bdevs, Config::new(512, 4_000)), keeps: false, resizes: true, fails: false });

fn over_malloc(bdevs: &bdev::Bdevs, faults: Faults) -> Result<bdev::Bdev, bdev::BdevError> {
    malloc(bdevs, Config::new(512, 4_000).name("base"))?;
    fault(bdevs, "f", "base", faults)
}

const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);

suite!(fault_none, Subject { make: |bdevs| over_malloc(bdevs, Faults::none(1)), ..MALLOC });
suite!(fault_delays, Subject { make: |bdevs| over_malloc(bdevs, Faults { delay: MICRO..=MILLI, ..Faults::none(2) }), ..MALLOC });
suite!(
    fault_errors,
    Subject {
        make: |bdevs| over_malloc(bdevs, Faults { delay: Duration::ZERO..=MILLI, errors: 100_000, torn: 100_000, ..Faults::none(3) }),
        fails: true,
        ..MALLOC
    }
);
suite!(
    fault_over_null,
    Subject {
        make: |bdevs| {
            null(bdevs, Config::new(512, 4_000).name("base"))?;
            fault(bdevs, "f", "base", Faults { delay: MICRO..=MILLI, ..Faults::none(4) })
        },
        keeps: false,
        resizes: true,
        fails: false,
    }
);

suite!(
    errors_unasked,
    Subject {
        make: |bdevs| {
            malloc(bdevs, Config::new(512, 4_000).name("base"))?;
            errors(bdevs, "base", None)
        },
        ..MALLOC
    }
);
suite!(
    delay_of_what_was_done,
    Subject {
        make: |bdevs| {
            malloc(bdevs, Config::new(512, 4_000).name("base"))?;
            let latencies = Latencies { avg_read: MICRO, p99_read: MILLI, avg_write: 3 * MICRO, p99_write: MILLI };
            delay(bdevs, "d", "base", None, latencies, 5)
        },
        ..MALLOC
    }
);
// Each of the four limits holds requests up.
suite!(
    limited,
    Subject {
        make: |bdevs| {
            let bdev = malloc(bdevs, Config::new(512, 4_000).name("m"))?;
            bdev.set_limits(Limits { ios: 200_000, bytes: 100_000_000, read_bytes: 90_000_000, write_bytes: 80_000_000 });
            Ok(bdev)
        },
        ..MALLOC
    }
);
