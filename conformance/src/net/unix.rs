//! Unix stream sockets, where a backend has them.

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use core_reactor::net::{Keepalive, NetError, NetEvent, SockId, SockOptions, Token, UnixAddress};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};

use super::limits::open_descriptors;
use super::{Driver, Env, LISTENER, PATIENCE};

/// Names that no other test has.
fn name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("lcore-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A directory as long as a test runs.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(name());
        fs::create_dir(&dir).expect("a directory");
        Self(dir)
    }

    fn socket(&self) -> (PathBuf, UnixAddress) {
        let path = self.0.join("s");
        let at = format!("unix:{}", path.display()).parse().expect("a short path");
        (path, at)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn listen(env: &Env, at: &UnixAddress) -> Result<Box<dyn core_reactor::net::Socket>, NetError> {
    env.backend.listen_unix(at, &SockOptions::default())
}

/// A socket of the group, and its peer, by a name without a file.
fn pair(env: &Env, driver: &mut Driver) -> (SockId, UnixStream) {
    let name = name();
    let listener = listen(env, &format!("unix:@{name}").parse().expect("a name")).expect("it is free");
    let listener = driver.attach(listener, LISTENER);
    let peer = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("it listens");
    peer.set_read_timeout(Some(PATIENCE)).expect("allowed");
    let id = accept(driver);
    driver.group().close(listener).expect("it is there");
    driver.closed(listener);
    (id, peer)
}

fn accept(driver: &mut Driver) -> SockId {
    let socket = driver.wait("a connection", |event| match event {
        NetEvent::Accepted { socket, .. } => Ok(socket),
        other => Err(other),
    });
    driver.attach(socket, Token(1))
}

fn connect(env: &Env, driver: &mut Driver, to: &UnixAddress) -> SockId {
    let socket = env.backend.connect_unix(to, &SockOptions::default()).expect("a socket");
    driver.attach(socket, Token(2))
}

pub fn s443_where_nothing_can_listen_one_sentence_says_why(env: &Env) {
    let (dir, driver) = (Dir::new(), Driver::new(env));
    let (path, at) = dir.socket();
    let why = |at: &UnixAddress| listen(env, at).expect_err("nobody can listen there");
    let first = listen(env, &at).expect("the path is free");
    assert_eq!(why(&at), NetError::UnixInUse(at.to_string().into()));
    drop(first);
    drop(UnixListener::bind(&path).expect("the path is free again"));
    assert_eq!(why(&at), NetError::UnixLeftOver(at.to_string().into()));
    assert!(path.exists(), "nobody's file is taken away");
    fs::remove_file(&path).and_then(|()| fs::write(&path, "precious")).expect("a file");
    assert_eq!(why(&at), NetError::UnixNoSocket(at.to_string().into()));
    let nowhere: UnixAddress = format!("unix:{}/no/s", dir.0.display()).parse().expect("a path");
    assert_eq!(why(&nowhere), NetError::UnixMissing(nowhere.to_string().into()));
    drop(driver);
}

pub fn s443_a_connect_where_nobody_listens_says_what_to_do(env: &Env) {
    let (dir, mut driver) = (Dir::new(), Driver::new(env));
    let (path, at) = dir.socket();
    let id = connect(env, &mut driver, &at);
    assert_eq!(driver.closed(id), Some(NetError::UnixMissing(at.to_string().into())));
    drop(UnixListener::bind(&path).expect("the path is free"));
    let id = connect(env, &mut driver, &at);
    assert_eq!(driver.closed(id), Some(NetError::UnixRefused(at.to_string().into())));
}

pub fn s444_bytes_go_both_ways_and_ends_are_told(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut peer) = pair(env, &mut driver);
    for n in 0..100_u8 {
        let sent = vec![n; 1 + usize::from(n) * 100];
        peer.write_all(&sent).expect("it reads");
        let received = driver.receive(id, sent.len());
        assert!(received == sent, "round {n}");
        driver.send(id, &received[..1]);
        driver.group().flush();
        let mut back = [0];
        peer.read_exact(&mut back).expect("an echo");
        assert_eq!(back, [n]);
    }
    peer.shutdown(Shutdown::Write).expect("connected");
    driver.peer_closed(id);
    driver.send(id, b"after the peer's end");
    driver.group().shutdown(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    let mut rest = String::new();
    peer.read_to_string(&mut rest).expect("the end");
    assert_eq!(rest, "after the peer's end");
}

pub fn s444_a_connect_connects_to_a_listener_of_its_own(env: &Env) {
    let (dir, mut driver) = (Dir::new(), Driver::new(env));
    let (_, at) = dir.socket();
    driver.attach(listen(env, &at).expect("the path is free"), LISTENER);
    let client = connect(env, &mut driver, &at);
    driver.connected(client);
    let server = accept(&mut driver);
    let bytes: Vec<u8> = (0..4000_u32).map(|n| n as u8).collect();
    for _ in 0..200 {
        driver.send(client, &bytes);
        assert!(driver.receive(server, bytes.len()) == bytes);
    }
    driver.group().shutdown(client).expect("it is there");
    driver.peer_closed(server);
    driver.send(server, b"still");
    assert_eq!(driver.receive(client, 5), b"still");
    driver.group().shutdown(server).expect("it is there");
    driver.peer_closed(client);
    assert_eq!((driver.closed(client), driver.closed(server)), (None, None));
}

/// The system calls that over both ways at once.
pub fn s444_who_closes_has_what_it_sent_read_and_is_no_error(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut peer) = pair(env, &mut driver);
    peer.write_all(b"last words").expect("it reads");
    drop(peer);
    assert_eq!(driver.receive(id, 10), b"last words");
    driver.peer_closed(id);
    driver.turns(10);
    assert!(driver.seen().next().is_none(), "its own side has not ended");
    driver.group().shutdown(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
}

pub fn s444_a_close_with_unread_bytes_is_orderly(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut peer) = pair(env, &mut driver);
    driver.group().pause(id).expect("it is there");
    driver.turns(4);
    driver.send(id, b"an answer");
    driver.group().flush();
    driver.turns(4);
    peer.write_all(&[1; 20_000]).expect("there is room");
    driver.group().close(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    let mut rest = String::new();
    peer.read_to_string(&mut rest).expect("no reset");
    assert_eq!(rest, "an answer");
}

pub fn s444_a_peer_that_does_not_read_holds_back_what_is_sent(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut peer) = pair(env, &mut driver);
    let mut sent = 0_u64;
    loop {
        let frame = driver.frame(&[7; 4000]);
        if driver.group().send(id, frame).is_err() {
            break;
        }
        sent += 4000;
        driver.turns(4);
    }
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).map(|_| all)
    });
    driver.group().shutdown(id).expect("it is there");
    assert_eq!(driver.closed(id), None);
    let all = reader.join().expect("it reads").expect("no reset");
    assert!(all.len() as u64 == sent && all.iter().all(|byte| *byte == 7));
}

pub fn s445_a_full_queue_is_waited_for(env: &Env) {
    let (dir, mut driver) = (Dir::new(), Driver::new(env));
    let (path, at) = dir.socket();
    let open = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).expect("a socket");
    let (listener, to) = (open(), SockAddr::unix(&path).expect("a short path"));
    listener.bind(&to).and_then(|()| listener.listen(0)).expect("the path is free");
    let mut waiting = Vec::new();
    loop {
        let one = open();
        match one.connect(&to) {
            Ok(()) => waiting.push(one),
            Err(why) => break assert_eq!(why.raw_os_error(), Some(libc::EAGAIN)),
        }
    }
    assert_eq!(listen(env, &at).err(), Some(NetError::UnixInUse(at.to_string().into())), "nothing is left over");
    let id = connect(env, &mut driver, &at);
    driver.turns(100);
    assert!(driver.seen().next().is_none(), "no error, and no connection");
    for _ in &waiting {
        listener.accept().expect("one that waits");
    }
    driver.connected(id);
    let (mut peer, _) = listener.accept().expect("it has connected");
    driver.send(id, b"at last");
    driver.group().flush();
    let mut got = [0; 7];
    peer.set_nonblocking(false).and_then(|()| peer.read_exact(&mut got)).expect("bytes");
    assert_eq!(&got, b"at last");
}

/// A read ends at them, so that more waits behind a read that was short.
pub fn s446_descriptors_sent_along_hide_no_bytes_and_stay_outside(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut peer) = pair(env, &mut driver);
    driver.turns(4);
    let before = open_descriptors();
    let given = fs::File::open("/dev/null").expect("it is there");
    for round in 0..20 {
        driver.group().pause(id).expect("it is there");
        driver.turns(2);
        for _ in 0..3 {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut along = SendAncillaryBuffer::new(&mut space);
            let files = [given.as_fd()];
            assert!(along.push(SendAncillaryMessage::ScmRights(&files)));
            sendmsg(&peer, &[IoSlice::new(b"with")], &mut along, SendFlags::empty()).expect("room");
        }
        peer.write_all(b"without").expect("room");
        driver.group().resume(id).expect("it is there");
        assert_eq!(driver.receive(id, 19), b"withwithwithwithout", "round {round}");
    }
    drop(given);
    assert!(open_descriptors() <= before, "none has come in");
}

pub fn s447_the_file_goes_with_its_listener_and_no_other_does(env: &Env) {
    let (dir, mut driver) = (Dir::new(), Driver::new(env));
    let (path, at) = dir.socket();
    let there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let id = driver.attach(listen(env, &at).expect("the path is free"), LISTENER);
    assert!(there(&path));
    driver.group().close(id).expect("it is there");
    driver.closed(id);
    assert!(!there(&path), "it is gone with its listener");
    let id = driver.attach(listen(env, &at).expect("the path is free"), LISTENER);
    fs::remove_file(&path).expect("it is there");
    let _others = UnixListener::bind(&path).expect("the path is free");
    driver.group().close(id).expect("it is there");
    driver.closed(id);
    assert!(there(&path), "it is another's");
}

pub fn s447_a_listener_that_is_detached_keeps_its_file(env: &Env) {
    let (dir, mut driver) = (Dir::new(), Driver::new(env));
    let (path, at) = dir.socket();
    let id = driver.attach(listen(env, &at).expect("the path is free"), LISTENER);
    let socket = driver.group().detach(id).expect("it is there");
    driver.attach(socket, LISTENER);
    let _peer = UnixStream::connect(&path).expect("it listens");
    accept(&mut driver);
    driver.drop_group();
    assert!(!path.exists());
}

pub fn s447_what_only_tcp_has_is_passed_over(env: &Env) {
    let at: UnixAddress = format!("unix:@{}", name()).parse().expect("a name");
    let keepalive = Keepalive { idle: Duration::from_secs(9), interval: Duration::from_secs(9), probes: 9 };
    let options =
        SockOptions::default().no_delay(true).quick_ack(true).user_timeout(Duration::from_secs(1)).keepalive(keepalive).backlog(4);
    let listener = env.backend.listen_unix(&at, &options).expect("nothing is refused");
    assert_eq!(listener.options().expect("the system tells").backlog, Some(4));
    assert!(listener.peer_addr().is_none() && listener.local_addr().is_err());
    let why = env.backend.listen_unix(&at, &options.reuse_port(true)).expect_err("two cannot listen").to_string();
    assert!(why.contains("reuse_port") && why.contains("Unix socket"), "{why}");
}
