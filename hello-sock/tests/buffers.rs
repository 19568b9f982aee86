//! Whatever the size of a buffer, no byte of an echo is lost: the server module over lcore, in this process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hello_sock::{Server, ServerConfig};
use lcore::net::SockOptions;
use lcore::pool::{ClassConfig, DataPoolConfig, ReserveConfig};
use lcore::{App, AppOptions};

/// Nothing that is waited for takes this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a server whose buffers have `size` bytes until the process ends; tells where.
fn serve(net: &'static str, size: usize) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut options = AppOptions::default();
        (options.no_cpumask_locks, options.net) = (true, Some(net.to_owned()));
        let ran = App::new("test").options(options).network().try_run(move |_, app| {
            let none = ClassConfig { count: 0, size: 1 << 16 };
            let small = ClassConfig { count: 128, size };
            let pool = app.data_pool(DataPoolConfig { small, large: none, control: none, waiters: 16 })?.clone();
            let reserve = ReserveConfig { small: 64, large: 0, control: 0 };
            let (at, options) = ("127.0.0.1:0".parse()?, SockOptions::default());
            let config = ServerConfig { net: app.net(), at, options, sockets: 16, pool, reserve };
            Server::start(app.lib(), app.cores(), config, move |_, at| tell.send(at.expect("it listens")).unwrap())?;
            Ok(())
        });
        panic!("the server ended: {ran:?}");
    });
    told.recv_timeout(PATIENCE).expect("it listens")
}

#[test]
fn s18_no_echo_is_lost_whatever_the_size_of_buffers() {
    for net in ["posix", "uring"] {
        for size in [1, 7, 100, 4096, 64 << 10, 256 << 10, 1 << 20] {
            let mut peer = TcpStream::connect(serve(net, size)).expect("it accepts");
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
