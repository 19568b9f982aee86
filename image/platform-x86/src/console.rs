//! What the image says: text on the serial port, and where it is asked for, defmt frames on QEMU's
//! debug console.

use core::fmt::{self, Write};

use crate::serial::{self, Serial};

pub(crate) fn init() {
    serial::init();
}

/// Writes text to the serial port.
pub fn print(text: fmt::Arguments<'_>) {
    // A serial port takes everything.
    let _ = Serial.write_fmt(text);
}

/// Whether the operator has typed ^C since the last time.
pub fn interrupted() -> bool {
    const CONTROL_C: u8 = 3;
    let mut found = false;
    while let Some(byte) = serial::typed() {
        found |= byte == CONTROL_C;
    }
    found
}

/// Writes a line to the serial port.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::print(format_args!("{}\n", format_args!($($arg)*))) };
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, message: &log::Metadata<'_>) -> bool {
        // What the driver of the card negotiates is a detail; it calls it information.
        message.level() != log::Level::Info || !message.target().starts_with("virtio_drivers")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match record.level() {
            log::Level::Info => print(format_args!("{}\n", record.args())),
            level => print(format_args!("{level}: {}\n", record.args())),
        }
    }

    fn flush(&self) {}
}

/// Sends the messages of the `log` crate from `level` on to the serial port.
pub fn log_to_serial(level: log::LevelFilter) {
    static LOG: Log = Log;
    // Fails if there is a logger already, which is then the one that is wanted.
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(level);
    }
}
