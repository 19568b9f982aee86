//! Clients that do not keep to anything, against a server on the transport in memory, on a
//! simulated machine: what one of them may take, and for how long.

mod machine;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use core_reactor::transport::{
    Frame, Queue, QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueId, QueueOptions, RemoteMemory, Token, Transport,
    TransportError,
};
use core_reactor::{CoreId, CpuSet, Cx, Polled, Schedule, ThreadConfig};
use machine::Machine;
use pool::{Buf, BufGroup, Class};
use smb_direct::Settings;
use smb_direct::wire::{DATA_OFFSET, DataTransfer, NegotiateRequest};
use smbd::client::Task;
use smbd::{Answer, End, Service, status};
use transport_memory::Weather;
use zerocopy::IntoBytes;

/// The longest that a connection may take to be given up, and a little more: silence, then no
/// answer to a keep-alive.
const SILENCE: Duration = Duration::from_secs(126);

/// What a client without manners does next.
enum Act {
    Send(Vec<u8>),
    /// Writes to memory that nobody has exposed.
    Trespass,
}

/// A client without manners, by hand.
#[derive(Default)]
struct Raw {
    acts: VecDeque<Act>,
    got: Vec<Vec<u8>>,
    closed: Option<Option<TransportError>>,
}

type Shared = Arc<Mutex<Raw>>;

/// Its group, on its own thread.
struct Hand {
    group: Box<dyn QueueGroup>,
    /// Of what it sends; what it receives in are the group's own, and it keeps them.
    bufs: BufGroup,
    kept: Vec<Buf>,
    id: Option<QueueId>,
    raw: Shared,
}

impl Raw {
    /// Connects with so many receive buffers for all of its life.
    fn connect(machine: &Machine, service: Service, receives: u32, options: QueueOptions) -> Shared {
        let raw = Shared::default();
        let (hand, transport, to) = (raw.clone(), machine.transport, machine.at);
        let config = ThreadConfig::new("raw").cpus(CpuSet::of(CoreId(1)));
        let open = move |cx: &mut Cx<'_>| {
            let queue = transport.connect(to, &options).expect("a queue");
            Hand::open(cx, transport, queue, service, receives, hand);
        };
        machine.sim.lib().spawn(config, open).expect("a thread");
        raw
    }
}

impl Hand {
    fn open(cx: &mut Cx<'_>, transport: &dyn Transport, queue: Box<dyn Queue>, service: Service, receives: u32, raw: Shared) {
        let own = BufGroup::new(receives.max(1) as usize, 8192);
        // What is kept from the beginning is not received in.
        let kept = (receives == 0).then(|| own.get().expect("a buffer")).into_iter().collect();
        let mut config = QueueGroupConfig::new(own);
        config.receives = receives.max(1);
        let mut group = transport.group(cx, config).expect("a group");
        group.attach(queue, Token(0), &service.private_data()).map_err(|refused| refused.why).expect("room");
        let mut hand = Self { group, bufs: BufGroup::new(64, 8192), kept, id: None, raw };
        let mut events = QueueEvents::new(64);
        cx.local_poller("raw", Schedule::Always, move |cx: &mut Cx<'_>| {
            hand.poll(&mut events);
            if cx.is_exiting() { Polled::Done } else { Polled::Busy }
        });
    }

    fn poll(&mut self, events: &mut QueueEvents) {
        self.group.poll(events);
        let mut raw = self.raw.lock().expect("no other panics");
        for event in events.drain() {
            match event {
                QueueEvent::Established { id, .. } => self.id = Some(id),
                QueueEvent::Received { buf, .. } => {
                    raw.got.push(buf.to_vec());
                    self.kept.push(buf);
                }
                QueueEvent::Closed { why, .. } => (raw.closed, self.id) = (Some(why), None),
                _ => {}
            }
        }
        while let Some(id) = self.id
            && let Some(act) = raw.acts.pop_front()
            && let Some(mut buf) = self.bufs.get()
        {
            let done = match act {
                Act::Send(bytes) => {
                    buf.append(&bytes);
                    self.group.send(id, Frame::from(buf), None, 0)
                }
                Act::Trespass => {
                    buf.append(b"x");
                    self.group.write(id, Frame::from(buf), RemoteMemory { addr: 1, key: 1, len: 1 }, None, 0)
                }
            };
            assert!(done.is_ok(), "{:?}", done.err().map(|refused| refused.why));
        }
    }
}

fn send(raw: &Shared, message: Vec<u8>) {
    raw.lock().unwrap().acts.push_back(Act::Send(message));
}

/// A request that can receive messages of `receive` bytes.
fn request(version: u16, receive: u32) -> Vec<u8> {
    let request = NegotiateRequest {
        min_version: version.into(),
        max_version: version.into(),
        reserved: 0.into(),
        credits_requested: 255.into(),
        preferred_send_size: 8192.into(),
        max_receive_size: receive.into(),
        max_fragmented_size: (1 << 20).into(),
    };
    request.as_bytes().to_vec()
}

fn data(granted: u16, payload: &[u8]) -> Vec<u8> {
    let header = DataTransfer {
        credits_requested: 255.into(),
        credits_granted: granted.into(),
        flags: 0.into(),
        reserved: 0.into(),
        remaining_data_length: 0.into(),
        data_offset: (DATA_OFFSET as u32).into(),
        data_length: (payload.len() as u32).into(),
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(DATA_OFFSET, 0);
    bytes.extend_from_slice(payload);
    bytes
}

/// Credits that the server has granted since the last call.
fn earned(raw: &Shared, heard: &mut usize) -> usize {
    let raw = raw.lock().unwrap();
    let new = raw.got[*heard..].iter().zip(*heard..);
    // The response has them elsewhere.
    let sum =
        new.map(|(message, n)| usize::from(u16::from_le_bytes(if n == 0 { [message[10], message[11]] } else { [message[2], message[3]] })));
    let sum = sum.sum();
    *heard = raw.got.len();
    sum
}

impl Machine {
    fn raw(&mut self, service: Service, receives: u32) -> Shared {
        Raw::connect(self, service, receives, QueueOptions::default())
    }

    fn turn(&mut self, turns: usize) {
        for _ in 0..turns {
            self.sim.turn();
        }
    }

    /// Lets time pass as a running machine would see it.
    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis().div_ceil(250) {
            self.sim.platform.advance(Duration::from_millis(250));
            self.turn(3);
        }
    }

    fn held(&self) -> usize {
        self.pools[0].stats(Class::Small).in_use
    }

    /// One client for each of the two cores is served.
    fn serves_all(&mut self) {
        let memory = || (1, Task::Memory { read: true, write: true });
        for (connections, task) in [(2, Task::Bytes(300_000)), memory(), memory()] {
            let (_, outcome) = self.client(0, connections, task);
            for report in self.end_of(&outcome).expect("a run") {
                assert!(report.outcome.is_ok(), "{report:?}");
            }
        }
    }
}

/// A kind of what one peer may hold: answers to a client that grants credits for one of them at a
/// time.
#[test]
fn s86_a_client_that_asks_more_than_it_takes_answers_for_holds_no_more_than_its_credits() {
    let mut machine = Machine::new(Weather::CALM, true);
    let before = machine.held();
    let raw = machine.raw(Service::Memory, 4096);
    send(&raw, request(0x0100, 8192));
    machine.turn(50);
    let (mut heard, mut sent) = (0, 0);
    let mut credits = earned(&raw, &mut heard);
    let share = credits;
    assert!(share > 4, "{share}");
    let rounds = 200;
    for _ in 0..rounds {
        for n in 0..credits {
            send(&raw, data(u16::from(n == 0), &[9, 0, 0, 0, 0, 0, 0, 0]));
        }
        sent += credits;
        machine.turn(50);
        credits = earned(&raw, &mut heard);
    }
    assert!(sent >= rounds, "each round brings at least one: {sent}");
    assert!(sent <= share + rounds + 1, "{sent} commands, of which {rounds} were answered, with {share} credits");
    assert!(machine.held() - before <= share + 1, "{} buffers with {share} credits", machine.held() - before);
    machine.serves_all();
    machine.check_home();
}

/// The same with the echo: clients that take little at a time, and receive nothing.
#[test]
fn s86_clients_that_receive_nothing_hold_no_more_than_their_share() {
    let mut machine = Machine::new(Weather::CALM, true);
    let before = machine.held();
    let raws: Vec<_> = (0..80).map(|_| machine.raw(Service::Echo, 1)).collect();
    for raw in &raws {
        send(raw, request(0x0100, 128));
        // In as many pieces as the server likes: more than it may have under way.
        send(raw, data(u16::MAX, &[7; 8000]));
    }
    machine.turn(500);
    assert_eq!(machine.server.connections(), [40, 40]);
    // What each of the two groups has for its connections beyond what is posted.
    assert!(machine.held() - before <= 2 * 512, "{}", machine.held() - before);
    machine.serves_all();
    // They are silent, and have no room for a keep-alive.
    machine.pass(SILENCE);
    assert_eq!(machine.server.connections(), [0, 0]);
    assert!(raws.iter().all(|raw| raw.lock().unwrap().closed.is_some()));
    machine.check_home();
}

#[test]
fn s85_refused_clients_that_receive_nothing_give_up_their_places_in_time() {
    let mut machine = Machine::new(Weather::CALM, true);
    let raws: Vec<_> = (0..128).map(|_| machine.raw(Service::Echo, 0)).collect();
    for raw in &raws {
        send(raw, request(0x0200, 8192));
    }
    machine.turn(200);
    assert_eq!(machine.server.connections(), [64, 64], "all places are taken");
    machine.pass(Settings::server().keep_alive + Duration::from_millis(500));
    assert_eq!(machine.server.connections(), [0, 0]);
    machine.serves_all();
    let server = machine.server.clone();
    machine.check_home();
    for (_, group) in server.reports() {
        assert!(group.last_ends.iter().all(|end| matches!(end, End::Protocol(smb_direct::Ended::Version { .. }))), "{:?}", group.last_ends);
    }
}

#[test]
fn a_report_keeps_the_ends_that_came_last() {
    let mut machine = Machine::new(Weather::CALM, true);
    for n in 0..20 {
        let raw = machine.raw(Service::Echo, 2);
        send(&raw, request(0x0200 + n, 8192));
        machine.turn_until("its end", |machine| raw.lock().unwrap().closed.is_some() && machine.server.connections() == [0, 0]);
    }
    let server = machine.server.clone();
    machine.check_home();
    let ends = &server.reports()[0].1.last_ends;
    let version = |n| Some(End::Protocol(smb_direct::Ended::Version { min: n, max: n }));
    assert_eq!((ends.len(), ends.front().cloned(), ends.back().cloned()), (16, version(0x0204), version(0x0213)));
}

/// A client that connects, and does nothing.
#[test]
fn s85_clients_that_never_ask_give_up_their_places_in_time() {
    let mut machine = Machine::new(Weather::CALM, true);
    let _raws: Vec<_> = (0..128).map(|_| machine.raw(Service::Echo, 1)).collect();
    machine.turn(200);
    assert_eq!(machine.server.connections(), [64, 64]);
    machine.pass(Settings::server().negotiate_timeout + Duration::from_millis(500));
    assert_eq!(machine.server.connections(), [0, 0]);
    machine.check_home();
}

/// What comes just before the transport's end is answered too late, which is not the reason of the
/// end.
#[test]
fn s87_an_end_has_its_own_reason_also_if_something_was_to_be_sent_after_it() {
    let mut machine = Machine::new(Weather::CALM, true);
    let raw = machine.raw(Service::Echo, 8);
    send(&raw, request(0x0100, 8192));
    machine.turn(50);
    send(&raw, data(4, &[7; 100]));
    raw.lock().unwrap().acts.push_back(Act::Trespass);
    machine.turn(100);
    let server = machine.server.clone();
    machine.check_home();
    let ends: Vec<_> = server.reports().into_iter().flat_map(|(_, group)| group.last_ends).collect();
    assert_eq!(ends, [End::Transport(TransportError::AccessViolation)]);
}

/// The device of a client may take no reads at all (`responder_resources` 0): what would need one
/// is refused, not put off for ever.
#[test]
fn s88_a_client_that_answers_no_reads_is_told_so() {
    let mut machine = Machine::new(Weather::CALM, true);
    let raw = Raw::connect(&machine, Service::Memory, 8, QueueOptions::default().reads(0));
    send(&raw, request(0x0100, 8192));
    machine.turn(50);
    // A write of a page at 4096: the server would have to read it.
    let mut command = [1_u32.to_le_bytes(), 5_u32.to_le_bytes()].concat();
    command.extend_from_slice(smb_direct::Descriptor::new(4096, 1, 4096).as_bytes());
    send(&raw, data(4, &command));
    machine.turn(100);
    let last = raw.lock().unwrap().got.last().cloned().expect("an answer");
    let answer = Answer::decode(&last[DATA_OFFSET..]).expect("an answer");
    assert_eq!(answer, Answer { status: status::NOT_SUPPORTED, tag: 5, bytes: 0 });
    // And the next command is looked at.
    send(&raw, data(4, &[2_u32.to_le_bytes(), 6_u32.to_le_bytes()].concat()));
    machine.turn(100);
    let last = raw.lock().unwrap().got.last().cloned().expect("an answer");
    assert_eq!(Answer::decode(&last[DATA_OFFSET..]).map(|answer| (answer.status, answer.tag)), Some((status::INVALID_PARAMETER, 6)));
    machine.check_home();
}

/// Asks the server's threads to end, and no others.
fn stop_server(machine: &Machine) {
    machine.sim.lib().threads().iter().filter(|thread| thread.name().starts_with("poll_group_")).for_each(|thread| thread.exit());
}

fn server_threads(machine: &Machine) -> usize {
    machine.sim.lib().threads().iter().filter(|thread| thread.name().starts_with("poll_group_")).count()
}

/// A client with `sent` messages of data at the server, of which it lets the server answer one or
/// two.
fn with_echoes_that_wait(machine: &mut Machine, sent: usize) -> Shared {
    let raw = machine.raw(Service::Echo, 64);
    send(&raw, request(0x0100, 8192));
    machine.turn(50);
    for n in 0..sent {
        send(&raw, data(u16::from(n == 0), &[n as u8; 1000]));
    }
    machine.turn(50);
    assert!(echoes(&raw).len() < sent, "the others wait for credits");
    raw
}

/// The first byte of each echo that came.
fn echoes(raw: &Shared) -> Vec<u8> {
    raw.lock().unwrap().got.iter().filter(|message| message.len() == DATA_OFFSET + 1000).map(|message| message[DATA_OFFSET]).collect()
}

#[test]
fn s113_at_a_stop_echoes_that_wait_for_credits_go_out_when_they_come() {
    let mut machine = Machine::new(Weather::CALM, true);
    let raw = with_echoes_that_wait(&mut machine, 6);
    stop_server(&machine);
    machine.turn(100);
    // The other core's group has nothing to send.
    assert_eq!((server_threads(&machine), raw.lock().unwrap().closed.is_some()), (1, false));
    send(&raw, data(30, b""));
    machine.turn_until("the end of the server", |machine| server_threads(machine) == 0);
    machine.turn(10);
    assert_eq!(echoes(&raw), [0, 1, 2, 3, 4, 5]);
    assert!(raw.lock().unwrap().closed.is_some());
    machine.check_home();
}

#[test]
fn s113_a_client_that_lets_nothing_go_out_holds_a_stop_up_for_the_limit_and_no_longer() {
    let mut machine = Machine::new(Weather::CALM, true);
    let raw = with_echoes_that_wait(&mut machine, 6);
    stop_server(&machine);
    machine.turn(100);
    machine.sim.platform.advance(machine.sim.lib().drain_limit() - Duration::from_millis(1));
    machine.turn(100);
    assert_eq!(server_threads(&machine), 1);
    machine.sim.platform.advance(Duration::from_millis(1));
    machine.turn(100);
    assert_eq!((server_threads(&machine), raw.lock().unwrap().closed.is_some()), (0, true));
    machine.check_home();
}
