//! A group that could not be opened is given no connections: the others serve all of them. The server module over lcore, in this process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use hello_sock::{Server, ServerConfig, ServerError};
use lcore::net::SockOptions;
use lcore::pool::{ClassConfig, DataPoolConfig, ReserveConfig};
use lcore::{App, AppOptions};

/// Nothing that is waited for takes this long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a server of two groups until the process ends. Its pool has what one of them reserves, and not what the other does. Tells of the outcome, and
/// hands the server itself out.
fn serve(net: &'static str) -> (Receiver<Result<SocketAddr, ServerError>>, Receiver<Server>) {
    let ((tell, told), (give, given)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let mut options = AppOptions::default();
        (options.no_cpumask_locks, options.net) = (true, Some(net.to_owned()));
        options.cores = Some("[0-1]".parse().expect("two cores"));
        let ran = App::new("test").options(options).network().try_run(move |_, app| {
            let none = ClassConfig { count: 0, size: 1 << 16 };
            let small = ClassConfig { count: 100, size: 16 << 10 };
            let pool = app.data_pool(DataPoolConfig { small, large: none, control: none, waiters: 16 })?.clone();
            let config = ServerConfig {
                net: app.net(),
                at: "127.0.0.1:0".parse()?,
                options: SockOptions::default(),
                sockets: 64,
                pool,
                reserve: ReserveConfig { small: 64, large: 0, control: 0 },
            };
            give.send(Server::start(app.lib(), app.cores(), config, move |_, outcome| tell.send(outcome).unwrap())?)?;
            Ok(())
        });
        panic!("the server ended: {ran:?}");
    });
    (told, given)
}

#[test]
fn s22_a_group_that_is_gone_gets_no_connections() {
    for net in ["posix", "uring"] {
        let (outcomes, server) = serve(net);
        let why = outcomes.recv_timeout(PATIENCE).expect("the second group is tried");
        assert!(matches!(why, Err(ServerError::Buffers(_))), "{net}: {why:?}");
        let server = server.recv_timeout(PATIENCE).expect("the server is there");
        let at = server.local_addr().expect("its first group listens");
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
