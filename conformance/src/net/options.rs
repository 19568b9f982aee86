//! Statements 22 and 23: placement, and options set and read back.

use std::io::Write;
use std::time::Duration;

use core_reactor::net::{Keepalive, NetError, SockOptions, Token};

use super::{Driver, Env, peer};

/// Where packets of a connection arrive is told once some have: on loopback, one of this machine's
/// CPUs.
pub fn s22_placement_is_told(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    far.write_all(b"here").expect("sent");
    driver.receive(id, 4);
    let socket = driver.group().detach(id).expect("it is there");
    let placement = socket.placement();
    let cpus = std::thread::available_parallelism().expect("some").get() as u32;
    let known = placement.napi_id.is_some() || placement.incoming_cpu.is_some_and(|cpu| cpu < cpus.max(1024));
    assert!(known, "{placement:?}");
}

/// What an application gets that asks for nothing.
pub fn s23_defaults(env: &Env) {
    let mut driver = Driver::new(env);
    let (listener, at) = driver.listen();
    let (id, _far) = driver.accept_from(at, Token(1));
    let near = driver.connect(&[at], Token(2));
    driver.connected(near);
    assert!((1..=1024).contains(&driver.group().options(listener).expect("told").backlog.expect("a listener has one")));
    for id in [listener, id, near] {
        let now = driver.group().options(id).expect("told");
        assert!(now.no_delay, "small frames go out at once");
        assert!(!now.quick_ack && !now.reuse_port);
        assert_eq!((now.user_timeout, now.keepalive, now.zero_copy), (None, None, None));
        assert!(now.recv_buf.is_some_and(|bytes| bytes > 0) && now.send_buf.is_some_and(|bytes| bytes > 0));
        assert_eq!((now.low_water, now.priority), (Some(1), Some(0)));
    }
}

/// The options that every backend has, on the three kinds of sockets, and the connection works.
pub fn s23_options_are_set_and_read_back(env: &Env) {
    let every = Duration::from_secs(77);
    let keepalive = Some(Keepalive { idle: every, interval: every, probes: 4 });
    set_and_read_back(env, all().priority(0).keepalive(keepalive).reuse_port(false));
}

/// Every option.
pub fn s23_the_options_of_kernels_are_set_and_read_back(env: &Env) {
    set_and_read_back(env, all());
}

fn all() -> SockOptions {
    SockOptions::default()
        .recv_buf(50_000)
        .send_buf(60_000)
        .low_water(10)
        .priority(5)
        .no_delay(false)
        .quick_ack(true)
        .user_timeout(Duration::from_millis(12_345))
        .keepalive(Keepalive { idle: Duration::from_secs(77), interval: Duration::from_secs(11), probes: 4 })
        .zero_copy(None)
        .backlog(100)
        .busy_poll(None)
        .reuse_port(true)
        .unpaced(true)
}

fn set_and_read_back(env: &Env, options: SockOptions) {
    let mut driver = Driver::new(env);
    let (listener, at) = driver.listen_with(&options);
    let (accepted, mut far) = driver.accept_from(at, Token(1));
    let connect = env.backend.connect(&[at], &options).expect("a socket");
    assert_options(&connect.options().expect("told"), &options);
    let connect = driver.attach(connect, Token(2));
    driver.connected(connect);
    for id in [listener, accepted, connect] {
        let now = driver.group().options(id).expect("told");
        assert_options(&now, &options);
    }
    assert_eq!(driver.group().options(listener).expect("told").backlog, Some(100));
    far.write_all(&[1; 10]).expect("sent");
    assert_eq!(driver.receive(accepted, 10), [1; 10]);
    driver.send(accepted, &[2; 10]);
    driver.turns(1);
    assert_eq!(peer::read(&mut far, 10), [2; 10]);
}

/// Less than the low-water mark waits; the end of the stream does not.
pub fn s23_below_the_low_water_mark_bytes_wait(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair_with(Token(1), &SockOptions::default().low_water(100));
    far.write_all(&[1; 60]).expect("sent");
    driver.turns(50);
    assert_eq!(driver.seen().count(), 0);
    far.write_all(&[1; 60]).expect("sent");
    assert_eq!(driver.receive(id, 120), [1; 120]);
    far.write_all(&[2; 60]).expect("sent");
    drop(far);
    assert_eq!(driver.receive(id, 60), [2; 60]);
    driver.peer_closed(id);
}

/// What cannot be honoured is an error when the socket is made, which names the option.
pub fn s23_an_option_that_cannot_be_honoured_is_an_error(env: &Env) {
    let usual = SockOptions::default;
    let cases = [
        ("recv_buf", usual().recv_buf(1 << 30)),
        ("send_buf", usual().send_buf(1 << 30)),
        ("low_water", usual().low_water(1 << 30)),
        ("recv_buf", usual().recv_buf(1 << 40)),
        ("user_timeout", usual().user_timeout(Duration::from_nanos(1))),
        ("backlog", usual().backlog(1 << 30)),
    ];
    for (name, options) in cases {
        let why = env.backend.listen((env.host, 0).into(), &options).err();
        assert!(matches!(why, Some(NetError::Option { option, .. }) if option == name), "{name}: {why:?}");
        if name != "backlog" {
            let why = env.backend.connect(&[(env.host, 9).into()], &options).err();
            assert!(matches!(why, Some(NetError::Option { option, .. }) if option == name), "{name}: {why:?}");
        }
    }
}

/// Busy polling is granted or refused by the system; either is told.
pub fn s23_busy_poll_is_granted_or_refused(env: &Env) {
    let asked = Some(Duration::from_micros(50));
    match env.backend.listen((env.host, 0).into(), &SockOptions::default().busy_poll(asked)) {
        Ok(socket) => assert_eq!(socket.options().expect("told").busy_poll, asked),
        Err(why) => assert!(matches!(why, NetError::Option { option: "busy_poll", .. }), "{why}"),
    }
}

/// Sending without a copy is honoured or refused, and never on loopback.
pub fn s23_zero_copy_is_honoured_or_refused_and_off_on_loopback(env: &Env) {
    let options = SockOptions::default().zero_copy(16 << 10);
    match env.backend.listen((env.host, 0).into(), &options) {
        Err(why) => assert!(matches!(why, NetError::Option { option: "zero_copy", .. }), "{why}"),
        Ok(_) => {
            let mut driver = Driver::new(env);
            let (id, _far) = driver.pair_with(Token(1), &options);
            assert_eq!(driver.group().options(id).expect("told").zero_copy, None, "the system copies on loopback anyway");
        }
    }
}

fn assert_options(now: &SockOptions, asked: &SockOptions) {
    assert!(now.recv_buf >= asked.recv_buf && now.send_buf >= asked.send_buf, "{now:?}");
    let plain = |o: &SockOptions| o.clone().recv_buf(None).send_buf(None).busy_poll(None);
    assert_eq!(plain(now), plain(asked));
}
