//! Whatever the size of a buffer, no byte of an echo is lost: the server module over lcore, in this
//! process.

mod in_process;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use in_process::{PATIENCE, serve};
use lcore::pool::ClassConfig;

#[test]
fn s18_no_echo_is_lost_whatever_the_size_of_buffers() {
    for net in ["posix", "uring"] {
        for size in [1, 7, 100, 4096, 64 << 10, 256 << 10, 1 << 20] {
            let mut peer = TcpStream::connect(serve(net, ClassConfig { count: 128, size }, 64)).expect("it accepts");
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            let bytes: Vec<u8> = (0..(size * 2000).clamp(20_000, 6 << 20)).map(|n| (n / 251) as u8).collect();
            let mut back = vec![0; bytes.len()];
            thread::scope(|scope| {
                scope.spawn(|| (&peer).write_all(&bytes).expect("it is taken"));
                // So that the server holds answers before the first of them is read.
                let mut waiting = [0];
                while peer.peek(&mut waiting).expect("it comes back") == 0 {}
                (&peer).read_exact(&mut back).unwrap_or_else(|why| panic!("{net}, buffers of {size} bytes: {why}"));
            });
            assert!(back == bytes, "{net}, buffers of {size} bytes: something else came back");
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(peer.read(&mut [0]).expect("it ends"), 0);
        }
    }
}
