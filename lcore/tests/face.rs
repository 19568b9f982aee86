//! What a user writes who depends on `lcore` alone: each line here is one that somebody tried.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::{Debug, Display, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lcore::net::{self, Events, Frame, GroupConfig, Keepalive, NetError, NetEvent, SockGroup, SockId, SockOptions, Socket, Token};
use lcore::pool::{Buf, BufGroup, SendBuf};
use lcore::transport::{self, QueueEvent, QueueGroupConfig, QueueOptions};
use lcore::{App, AppOptions, CoreId, CpuSet, Cx, Instant, Polled, Refused, Schedule, Source, ThreadLibOptions};

/// A backend, registered with nothing but `lcore`.
struct Mine;

net::register!(Mine);

impl net::NetImpl for Mine {
    fn name(&self) -> &'static str {
        "mine"
    }

    fn priority(&self) -> u8 {
        net::DEFAULT_PRIORITY
    }

    fn probe(&self) -> Result<(), NetError> {
        Err(NetError::Unusable("it is for a test".into()))
    }

    fn listen(&self, at: SocketAddr, _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Err(NetError::AddressUnavailable(at))
    }

    fn connect(&self, _: &[SocketAddr], _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
        Err(NetError::NoAddress)
    }

    fn group(&self, _: &mut Cx<'_>, _: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
        Err(NetError::NoDescriptors)
    }
}

/// A transport with a name that others may refer to.
struct Carrier;

transport::register!(
    /// What is registered.
    pub static CARRIER = Carrier
);

impl transport::Transport for Carrier {
    fn name(&self) -> &'static str {
        "carrier"
    }

    fn priority(&self) -> u8 {
        0
    }

    fn probe(&self) -> Result<(), transport::TransportError> {
        Ok(())
    }

    fn listen(&self, at: SocketAddr, _: &QueueOptions) -> Result<Box<dyn transport::Listener>, transport::TransportError> {
        Err(transport::TransportError::AddressUnavailable(at))
    }

    fn connect(&self, to: SocketAddr, _: &QueueOptions) -> Result<Box<dyn transport::Queue>, transport::TransportError> {
        Err(transport::TransportError::ConnectRefused(to))
    }

    fn group(&self, _: &mut Cx<'_>, _: QueueGroupConfig) -> Result<Box<dyn transport::QueueGroup>, transport::TransportError> {
        Err(transport::TransportError::GroupFull(0))
    }
}

lcore::statistics::stats! {
    /// What is counted here.
    struct Counted {
        /// Lines.
        lines: u64 => counter("face_lines_total"),
    }
}

lcore::register_stats!(Source::Process(|samples| samples.add(&[], &Counted { lines: 1 })));

#[test]
fn s385_what_is_registered_needs_no_crate_for_it() {
    assert!(lcore::net_backends().contains(&"mine"), "{:?}", lcore::net_backends());
    assert!(lcore::transports().contains(&"carrier"), "{:?}", lcore::transports());
    assert_eq!(CARRIER.name(), "carrier");
    let own = lcore::LCORE_STATS.iter().filter(|source| matches!(source, Source::Process(_)));
    let figures = own.fold(lcore::statistics::Samples::of_all(), |mut samples, source| {
        let Source::Process(show) = source else { unreachable!("they were looked for") };
        show(&mut samples);
        samples
    });
    assert!(format!("{figures:?}").contains("face_lines_total"), "{figures:?}");
}

#[test]
fn s386_a_buffer_is_written_to_as_std_has_it_and_lent_as_bytes() {
    fn length(bytes: impl AsRef<[u8]>) -> usize {
        bytes.as_ref().len()
    }
    let bufs = BufGroup::new(1, 8);
    let mut buf = bufs.get().expect("there is one");
    write!(buf, "{}+{}", 12, 34).expect("there is room");
    assert!(write!(buf, "5678").is_err(), "there are 3 bytes left");
    std::io::Write::write_all(&mut buf, b"=46").expect("there is room");
    assert_eq!(std::io::Write::write_all(&mut buf, b"!").unwrap_err().kind(), std::io::ErrorKind::WriteZero);
    assert_eq!((&buf[..], length(&buf)), (&b"12+34=46"[..], 8));
    buf.as_mut().make_ascii_uppercase();
    let sent: SendBuf = buf.into();
    assert_eq!(length(sent), 8);
}

#[cfg(feature = "bytes")]
#[test]
fn s386_a_buffer_becomes_bytes_without_a_copy() {
    let bufs = BufGroup::new(1, 8);
    let mut buf = bufs.get().expect("there is one");
    buf.append(b"abcdef");
    let at = buf.as_ptr();
    let bytes: lcore::bytes::Bytes = buf.into();
    let tail = bytes.slice(2..);
    assert_eq!((bytes.as_ptr(), &tail[..]), (at, &b"cdef"[..]));
    drop(bytes);
    let elsewhere = std::thread::spawn(move || tail.len());
    assert_eq!(elsewhere.join().expect("it does not panic"), 4);
    assert!(bufs.get().is_some(), "it went home from there");
}

#[test]
fn s387_a_frame_is_made_of_several_buffers_and_taken_apart() {
    let bufs = BufGroup::new(4, 8);
    let filled = |byte: u8| {
        let mut buf = bufs.get().expect("there are four");
        buf.append(&[byte]);
        buf
    };
    let mut frame = Frame::from([1, 2, 3, 4].map(filled)).tagged(9);
    for buf in &mut frame {
        buf.append(b"!");
    }
    let seen: Vec<&[u8]> = frame.into_iter().map(|buf| &*Box::leak(buf.to_vec().into_boxed_slice())).collect();
    assert_eq!(seen, [b"\x01!", b"\x02!", b"\x03!", b"\x04!"]);
    assert_eq!(bufs.available(lcore::pool::Class::Small), 4, "all are home");
    let two: Frame = [filled(1), filled(2)].into();
    assert_eq!(((&two).into_iter().map(|buf| buf[0]).collect::<Vec<_>>(), two.tag()), (vec![1, 2], None));
}

#[test]
fn s388_what_is_configured_has_defaults_and_setters() {
    let probe = Keepalive { idle: Duration::from_secs(9), interval: Duration::from_secs(3), probes: 2 };
    let options = SockOptions::default().recv_buf(1 << 16).send_buf(Some(1 << 15)).keepalive(probe).no_delay(false);
    assert_eq!(
        (options.recv_buf, options.send_buf, options.keepalive, options.no_delay),
        (Some(1 << 16), Some(1 << 15), Some(probe), false)
    );
    assert_eq!(options.recv_buf(None).send_buf(None).keepalive(None).no_delay(true), SockOptions::default());
    let group = GroupConfig::new(BufGroup::new(1, 8)).sockets(3).send_limit(4).send_frames(5).hold_reads_at(6).stall_limit(None);
    assert_eq!((group.sockets, group.send_limit, group.send_frames, group.hold_reads_at, group.stall_limit), (3, 4, 5, 6, None));
    let queue = QueueOptions::default().send_depth(1).reads(2).gather(3).inline(4).rnr_retry(5).backlog(6);
    assert_eq!((queue.send_depth, queue.reads, queue.gather, queue.inline, queue.rnr_retry, queue.backlog), (1, 2, 3, 4, Some(5), 6));
    let queues = QueueGroupConfig::new(BufGroup::new(1, 8)).queues(1).operations(2).receives(3).exposures(4);
    assert_eq!((queues.queues, queues.operations, queues.receives, queues.exposures), (1, 2, 3, 4));
    let threads = ThreadLibOptions::default().batch(1).mailbox(2).exit_limit(Duration::ZERO);
    assert_eq!((threads.batch, threads.mailbox, threads.exit_limit), (1, 2, Duration::ZERO));
}

#[test]
fn s389_moments_and_sets_have_the_operators_and_iterators_that_std_has() {
    let mut at = Instant::from_nanos(1_000);
    at += Duration::from_nanos(500);
    at -= Duration::from_nanos(200);
    assert_eq!((at, at - Duration::from_secs(1)), (Instant::from_nanos(1_300), Instant::ZERO));
    let mut cores = CpuSet::from([CoreId(1), CoreId(64), CoreId(1023)]);
    cores |= CpuSet::of(2.into());
    cores.extend([CoreId(63)]);
    assert_eq!(cores.iter().len(), 5);
    cores -= CoreId(64).into();
    cores &= CpuSet::from_iter((0..1000).map(CoreId));
    let mut seen = Vec::new();
    for core in &cores {
        seen.push(core.0);
    }
    assert_eq!((seen, CpuSet::EMPTY.iter().next()), (vec![1, 2, 63], None));
    assert_eq!(CpuSet::ALL.into_iter().count(), CpuSet::LIMIT);
    assert_eq!(Token::from(7), Token(7));
}

#[test]
fn s390_a_name_is_a_text() {
    let mut sim = lcore::sim::Sim::new(1);
    let long = "é".repeat(20);
    sim.lib().spawn(lcore::ThreadConfig::new(&long), |_| {}).expect("there is a reactor");
    sim.settle();
    assert_eq!(sim.lib().threads()[0].name(), "é".repeat(16), "32 bytes");
    let cut = lcore::Name::from("a name of more than thirty-two bytes, cut");
    assert!(cut == "a name of more than thirty-two b" && cut.starts_with("a name"), "{cut}");
    assert_eq!((format!("{cut:>34}").len(), format!("{:?}", lcore::Name::from("a\"b"))), (34, r#""a\"b""#.to_owned()));
    let split = lcore::Name::from(&*format!("{}é", "x".repeat(31)));
    assert_eq!(split, *"x".repeat(31), "never between the bytes of a character");
}

/// What is printed, and what errors are: `Debug` of all that a list, a panic or a log may meet.
#[test]
fn s391_all_that_has_a_name_here_can_be_printed_and_errors_are_errors() {
    fn printed<T: Debug + ?Sized>() {}
    fn error<T: Error + Send + Sync + Clone + 'static>() {}
    printed::<(NetEvent, Events, Frame, Refused<Buf, NetError>, Box<dyn Socket>)>();
    printed::<(QueueEvent, transport::QueueEvents, Box<dyn transport::Queue>, Box<dyn transport::Listener>)>();
    printed::<(Box<dyn SockGroup>, Box<dyn transport::QueueGroup>, &'static dyn net::NetImpl, &'static dyn transport::Transport)>();
    printed::<(net::Selected, transport::Selected, lcore::AppHandle, lcore::StartedApp, App)>();
    printed::<(lcore::ThreadHandle, lcore::ThreadLib, lcore::Reactors, lcore::Reactor, lcore::Msg, lcore::Watch, lcore::Hold)>();
    printed::<lcore::View<net::GroupInfo>>();
    error::<NetError>();
    error::<transport::TransportError>();
    error::<lcore::PushError>();
    error::<lcore::SpawnError>();
    error::<lcore::PlatformError>();
    error::<lcore::StalePoller>();
    error::<lcore::CpuSetError>();
    error::<lcore::CriticalError>();
    error::<lcore::MoveError>();
    error::<lcore::Gone>();
    error::<lcore::Unregistered>();
    error::<lcore::pool::PoolError>();
    fn display<T: Display>(_: &T) {}
    let refused = Refused { item: (), why: NetError::Stale };
    display(&refused);
    assert_eq!(refused.to_string(), NetError::Stale.to_string());
}

/// The command line, the log and a configuration, by what `lcore` hands on.
mod own {
    use lcore::{clap, serde};

    #[derive(Debug, clap::Parser)]
    pub(crate) struct Args {
        #[command(flatten)]
        pub(crate) app: lcore::AppOptions,
        /// How often.
        #[arg(long, default_value_t = 3)]
        pub(crate) times: u32,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(crate = "lcore::serde", deny_unknown_fields)]
    pub(crate) struct Keys {
        #[serde(default)]
        pub(crate) greeting: String,
    }
}

#[test]
fn s392_options_keys_and_lines_of_the_log_need_no_crates_of_their_own() {
    use lcore::clap::Parser as _;
    let args = own::Args::try_parse_from(["face", "-m", "[0]", "--times", "4"]).expect("they are right");
    assert_eq!((args.times, args.app.cores), (4, Some(CpuSet::of(CoreId(0)))));
    lcore::log::info!("{} times", args.times);
    let mut sim = lcore::sim::Sim::new(1);
    let start = |_: &mut Cx<'_>, app: &lcore::AppHandle| {
        assert_eq!(app.config::<own::Keys>().greeting, "");
        Ok(())
    };
    let app = App::new("face").config::<own::Keys>().start_on(sim.lib(), start).expect("it starts");
    app.stop(0);
    sim.settle();
    assert_eq!(app.finish(&[]).expect("it stops"), 0);
}

/// A client and its server in one group, whose functions end with `?`.
struct Talk {
    group: Box<dyn SockGroup>,
    events: Events,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Talk {
    fn start(cx: &mut Cx<'_>, backend: &dyn net::NetImpl, heard: Arc<Mutex<Vec<u8>>>) -> Result<Self, NetError> {
        let mut group = backend.group(cx, GroupConfig::new(BufGroup::new(64, 4096)).sockets(8))?;
        let listener = backend.listen((Ipv4Addr::LOCALHOST, 0).into(), &SockOptions::default())?;
        let at = listener.local_addr()?;
        group.attach(listener, Token(0))?;
        group.attach(backend.connect(&[at], &SockOptions::default())?, Token(1))?;
        Ok(Self { group, events: Events::new(16), heard })
    }

    fn greet(&mut self, id: SockId) -> Result<(), Box<dyn Error>> {
        let (mut head, mut body) = (self.group.buffer().ok_or("all are out")?, self.group.buffer().ok_or("all are out")?);
        write!(head, "{}:", 5)?;
        write!(body, "hello")?;
        self.group.send(id, [head, body].into())?;
        self.group.shutdown(id)?;
        Ok(())
    }

    /// Whether the peer has said all.
    fn poll(&mut self) -> Result<bool, Box<dyn Error>> {
        self.group.poll(&mut self.events);
        for event in std::mem::replace(&mut self.events, Events::new(16)).drain() {
            let id = event.id();
            match event {
                NetEvent::Accepted { socket, .. } => _ = self.group.attach(socket, Token(2))?,
                NetEvent::Connected { .. } => self.greet(id)?,
                NetEvent::Received { buf, .. } => self.heard.lock().expect("nobody panics").extend_from_slice(&buf),
                NetEvent::PeerClosed { .. } => return Ok(true),
                NetEvent::Closed { why: Some(why), .. } => return Err(why.into()),
                _ => {}
            }
        }
        Ok(false)
    }
}

#[cfg(any(feature = "posix", feature = "uring"))]
#[test]
fn s150_a_program_that_talks_to_itself_ends_its_lines_with_a_question_mark() {
    let mut options = AppOptions::default();
    options.no_cpumask_locks = true;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let of_app = heard.clone();
    let ended = App::new("face").options(options).network().try_run(move |cx, app| {
        let mut talk = Talk::start(cx, app.net(), of_app)?;
        let app = app.clone();
        cx.local_poller("talk", Schedule::Always, move |_: &mut Cx<'_>| match talk.poll() {
            Ok(false) => Polled::Idle,
            Ok(true) => {
                app.stop(0);
                Polled::Done
            }
            Err(why) => {
                app.println(format_args!("{why}"));
                app.stop(1);
                Polled::Done
            }
        });
        Ok(())
    });
    assert_eq!((ended.expect("it runs"), &**heard.lock().expect("nobody panics")), (0, &b"5:hello"[..]));
}
