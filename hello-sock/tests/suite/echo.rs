//! The server against peers of the standard library: text, streams, resets, a thousand at once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Server, echo, until};
use sha2::{Digest, Sha256};
use socket2::SockRef;

#[test]
fn text_comes_back_over_ipv4_and_ipv6() {
    for host in ["127.0.0.1", "::1", "[::1]"] {
        let mut server = Server::start(&format!("-H {host}"));
        assert_eq!(server.at.ip(), host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().unwrap());
        let mut peer = server.connect();
        assert_eq!(echo(&mut peer, b"hello\r\n"), b"hello\r\n");
        assert_eq!(echo(&mut peer, "grüße".as_bytes()), "grüße".as_bytes());
        let (from, to) = (peer.local_addr().unwrap(), server.at);
        let line = format!("Accepting a new connection from ({}, {}) to ({}, {})", from.ip(), from.port(), to.ip(), to.port());
        server.program.line_with(&line);
        drop(peer);
        server.program.line_with("Connection closed");
        server.stop();
    }
}

#[test]
fn s19_half_close_brings_the_rest_and_then_the_end() {
    let server = Server::start("");
    let mut peer = server.connect();
    let bytes = vec![7; 200_000];
    let (mut reader, sent) = (peer.try_clone().unwrap(), bytes.clone());
    let reader = thread::spawn(move || {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).map(|_| back)
    });
    peer.write_all(&sent).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.join().unwrap().expect("it ends in order"), bytes);
}

#[test]
fn a_large_stream_comes_back_whole_to_a_reader_slower_than_the_writer() {
    // 1 GiB and more by hand: HELLO_SOCK_MIB=1024.
    let mib: u64 = std::env::var("HELLO_SOCK_MIB").map_or(256, |n| n.parse().expect("HELLO_SOCK_MIB is a number"));
    let server = Server::start("");
    let before = server.program.resident();
    let (mut peer, written) = (server.connect(), AtomicU64::new(0));
    let mut reader = peer.try_clone().unwrap();
    let end = Ends(peer.try_clone().unwrap());
    let (out, back) = thread::scope(|scope| {
        let _end = end;
        let writer = scope.spawn(|| write_noise(&mut peer, mib << 20, &written));
        let back = read_haltingly(&mut reader, &written, mib << 20);
        (writer.join().unwrap(), back)
    });
    assert_eq!(out, back, "the SHA-256 of what was sent and of what came back");
    let grown = server.program.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "the server grew by {grown} bytes over a stream of {mib} MiB");
}

/// Sends `bytes` bytes of noise and the end. Gives their SHA-256.
fn write_noise(to: &mut TcpStream, bytes: u64, written: &AtomicU64) -> [u8; 32] {
    let (mut hash, mut block, mut state) = (Sha256::new(), vec![0; 1 << 20], 1u64);
    while written.load(Ordering::SeqCst) < bytes {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        hash.update(&block);
        for piece in block.chunks(64 << 10) {
            to.write_all(piece).expect("the server takes it");
            written.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
    }
    to.shutdown(Shutdown::Write).unwrap();
    hash.finalize().into()
}

/// Reads to the end, but stops three times until the writer can write no more. Gives the SHA-256.
fn read_haltingly(from: &mut TcpStream, written: &AtomicU64, bytes: u64) -> [u8; 32] {
    let (mut hash, mut block, mut read) = (Sha256::new(), vec![0; 256 << 10], 0u64);
    let mut halts = [0, bytes / 4, bytes / 2].into_iter().peekable();
    loop {
        if halts.next_if(|at| read >= *at).is_some() {
            let stuck_at = wait_until_stuck(written);
            assert!(stuck_at < bytes, "{stuck_at} bytes vanished into the server while {read} were read");
        }
        let n = from.read(&mut block).expect("the rest comes back");
        if n == 0 {
            return hash.finalize().into();
        }
        hash.update(&block[..n]);
        read += n as u64;
    }
}

/// Waits until `written` has not changed for a while.
fn wait_until_stuck(written: &AtomicU64) -> u64 {
    let (mut last, mut since) = (written.load(Ordering::SeqCst), Instant::now());
    until("the writer to be held back", || {
        let now = written.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (now > 0 && since.elapsed() > Duration::from_millis(200)).then_some(now)
    })
}

#[test]
fn s18_a_peer_that_never_reads_is_bounded_and_holds_nobody_up() {
    let server = Server::start("");
    let before = server.program.resident();
    let (mut deaf, written) = (server.connect(), AtomicU64::new(0));
    deaf.set_write_timeout(None).unwrap();
    let end = Ends(deaf.try_clone().unwrap());
    thread::scope(|scope| {
        let _end = end;
        scope.spawn(|| {
            let block = vec![1; 64 << 10];
            // Ends when the test takes the connection away.
            while deaf.write_all(&block).is_ok() {
                written.fetch_add(block.len() as u64, Ordering::SeqCst);
            }
        });
        let taken = wait_until_stuck(&written);
        assert_eq!(echo(&mut server.connect(), b"others"), b"others");
        let grown = server.program.resident().saturating_sub(before);
        println!("{taken} bytes were taken of a peer that does not read; the server grew by {grown}");
        assert!(grown < 32 << 20, "the server grew by {grown} bytes");
    });
    assert!(!server.program.stderr().iter().any(|line| line.contains("was not sent")), "{:#?}", server.program.stderr());
}

#[test]
fn a_thousand_connections_half_of_them_reset_in_the_middle_leave_nothing_behind() {
    const ALL: usize = 1000;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wide()).expect("the limit can be raised to its hard limit");
    let mut server = Server::start("-V --json");
    assert_eq!(echo(&mut server.connect(), b"before"), b"before");
    server.program.line_with("Connection closed");
    let before = server.program.descriptors();
    for round in 1..=2 {
        let mut peers: Vec<TcpStream> = (0..ALL).map(|_| server.connect()).collect();
        for (n, peer) in peers.iter_mut().enumerate() {
            let text = format!("{round}: this is {n}");
            assert_eq!(echo(peer, text.as_bytes()), text.as_bytes());
        }
        // In the middle: something is on its way to and fro.
        for peer in &mut peers {
            peer.write_all(&[9; 20_000]).unwrap();
        }
        for (n, mut peer) in peers.into_iter().enumerate() {
            if n % 2 == 0 {
                SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            } else {
                let mut back = vec![0; 20_000];
                peer.read_exact(&mut back).expect("the others are served meanwhile");
                assert!(back.iter().all(|b| *b == 9));
            }
        }
        server.program.nth_line_with("Connection closed", 1 + round * ALL);
        until("all descriptors to be given back", || (server.program.descriptors() == before).then_some(()));
        assert_eq!(echo(&mut server.connect(), b"still there"), b"still there");
    }
    let ended = server.stop();
    let figures: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("one JSON object");
    assert_eq!(figures["groups"][0]["accepted"], 2 * ALL + 3, "{figures}");
    let failed = figures["groups"][0]["failed"].as_u64().unwrap();
    assert!(failed <= ALL as u64, "no connection failed but those that were reset: {figures}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn s17_peers_that_do_not_read_hold_back_only_themselves() {
    let server = Server::start("");
    let block = vec![4; 64 << 10];
    let deaf: Vec<TcpStream> = (0..150).map(|_| deaf_peer(server.at)).collect();
    // Until none of them can write any more, twice: the server has as much of all of them as it
    // takes.
    let mut quiet_since = Instant::now();
    until("the deaf peers to be held back", || {
        for mut peer in &deaf {
            if peer.write(&block).is_ok() {
                quiet_since = Instant::now();
            }
        }
        (quiet_since.elapsed() > Duration::from_millis(300)).then_some(())
    });
    assert_eq!(echo(&mut server.connect(), &[8; 100_000]), [8; 100_000]);
}

/// A connection that takes little in and never blocks.
fn deaf_peer(at: std::net::SocketAddr) -> TcpStream {
    let peer = socket2::Socket::new(socket2::Domain::for_address(at), socket2::Type::STREAM, None).unwrap();
    peer.set_recv_buffer_size(4096).unwrap();
    peer.set_send_buffer_size(4096).unwrap();
    peer.connect(&at.into()).unwrap();
    peer.set_nonblocking(true).unwrap();
    peer.into()
}

/// Ends a connection when the test does, however it ends, so that the threads that use it end too.
struct Ends(TcpStream);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// As many descriptors as this process may have.
fn wide() -> rustix::process::Rlimit {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum }
}

#[test]
fn s20_connections_are_shared_among_the_cores() {
    let cores = crate::common::allowed_cores();
    assert!(cores.len() >= 2, "this test needs two cores");
    let mut server = Server::start(&format!("-m [{},{}] --json", cores[0], cores[1]));
    let mut peers: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    for (n, peer) in peers.iter_mut().enumerate() {
        assert_eq!(echo(peer, &[n as u8; 5000]), [n as u8; 5000]);
    }
    drop(peers);
    server.program.nth_line_with("Connection closed", 40);
    let figures: serde_json::Value = serde_json::from_slice(&server.stop().stdout).expect("one JSON object");
    let groups = figures["groups"].as_array().unwrap();
    let of = |key: &str| groups.iter().map(|g| g[key].as_u64().unwrap()).collect::<Vec<_>>();
    // A connection that comes before the second core's group is there stays with the first.
    assert_eq!(of("connections").iter().sum::<u64>(), 40, "{figures}");
    assert!(of("connections")[1] >= 19, "{figures}");
    assert_eq!(of("bytes_in").iter().sum::<u64>(), 40 * 5000);
    assert_eq!(of("bytes_out"), of("bytes_in"));
}

#[test]
fn reuse_port_listens_on_each_core() {
    let cores = crate::common::allowed_cores();
    assert!(cores.len() >= 2, "this test needs two cores");
    let server = Server::start(&format!("-m [{},{}] --reuseport", cores[0], cores[1]));
    let mut peers: Vec<TcpStream> = (0..64).map(|_| server.connect()).collect();
    for peer in &mut peers {
        assert_eq!(echo(peer, b"which?"), b"which?");
    }
}

#[test]
fn a_full_server_turns_connections_away_and_goes_on() {
    let server = Server::start("--sockets 2");
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(echo(&mut first, b"one"), b"one");
    assert_eq!(echo(&mut second, b"two"), b"two");
    let mut third = server.connect();
    assert!(matches!(third.read(&mut [0; 1]), Ok(0) | Err(_)), "it is turned away");
    server.program.line_with("turned away");
    drop(second);
    server.program.line_with("Connection closed");
    assert_eq!(echo(&mut server.connect(), b"three"), b"three");
    assert_eq!(echo(&mut first, b"one"), b"one");
}

#[test]
fn s20_a_firehose_does_not_starve_the_others() {
    let server = Server::start("");
    let hose = server.connect();
    let (mut tap, mut drain, end) = (hose.try_clone().unwrap(), hose.try_clone().unwrap(), Ends(hose));
    thread::scope(|scope| {
        let _end = end;
        scope.spawn(move || {
            let block = vec![3; 256 << 10];
            while tap.write_all(&block).is_ok() {}
        });
        scope.spawn(move || {
            let mut block = vec![0; 256 << 10];
            while matches!(drain.read(&mut block), Ok(1..)) {}
        });
        let mut peers: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
        let began = Instant::now();
        for round in 0..20u8 {
            for peer in &mut peers {
                assert_eq!(echo(peer, &[round; 64]), [round; 64]);
            }
        }
        println!("1000 echoes of others beside a firehose took {:?}", began.elapsed());
        assert!(began.elapsed() < PATIENCE);
    });
}
