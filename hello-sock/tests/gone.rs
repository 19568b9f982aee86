//! A group that could not be opened is given no connections: the others serve all of them. The
//! server module over lcore, in this process.

mod in_process;

use std::io::{Read, Write};
use std::net::TcpStream;

use hello_sock::ServerError;
use in_process::{PATIENCE, Plan, start};
use lcore::pool::ClassConfig;

#[test]
fn s22_a_group_that_is_gone_gets_no_connections() {
    for net in ["posix", "uring"] {
        // Two groups, of a pool that has what one of them reserves, and not what the other does.
        let buffers = ClassConfig { count: 100, size: 16 << 10 };
        let (server, outcomes) = start(Plan { net, cores: Some("[0-1]"), buffers, reserve: 64 });
        let why = outcomes.recv_timeout(PATIENCE).expect("the second group is tried");
        assert!(matches!(why, Err(ServerError::Buffers(_))), "{net}: {why:?}");
        let server = server.recv_timeout(PATIENCE).expect("it was started");
        let at = server.local_addr().expect("the first group listens");
        let mut peers: Vec<_> = (0..20).map(|_| TcpStream::connect(at).expect("it accepts")).collect();
        for (n, peer) in peers.iter_mut().enumerate() {
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.write_all(&[n as u8; 100]).expect("it is taken");
            let mut back = [0; 100];
            peer.read_exact(&mut back).unwrap_or_else(|why| panic!("connection {n} over {net}: {why}"));
            assert_eq!(back, [n as u8; 100]);
        }
    }
}
