//! A pipe that nobody reads.

use std::io::{PipeReader, PipeWriter, Write, pipe};

use rustix::fs::{OFlags, fcntl_setfl};

/// A pipe with no room in it: the next write waits for a reader.
pub fn full() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("two descriptors");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("it is a pipe");
    while writer.write(&[b'.'; 4096]).is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).expect("it is a pipe");
    (reader, writer)
}
