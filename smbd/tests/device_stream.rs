//! 64 MiB over a device, in a test program of its own: that takes a minute where the device and the
//! processors are emulated.

mod common;

use common::negotiate_stream_and_memory;

#[test]
fn s30_s33_negotiated_streamed_and_moved_by_descriptor_by_events() {
    negotiate_stream_and_memory("event", 64);
}
