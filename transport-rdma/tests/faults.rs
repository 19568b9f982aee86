//! What a suite for every transport cannot bring about: a process that dies, a limit for locked
//! memory. Without a device it fails: `cargo xtask vm test` runs it in a machine that has one, as
//! root.

mod common;

use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::Wake;

use common::{RDMA, env, platform};
use conformance::transport::{A, B, Setup, World};
use core_reactor::transport::{
    Access, QueueEvent, QueueEvents, QueueGroupConfig, QueueOptions, RemoteMemory, Token, Transport, TransportError,
};
use core_reactor::{CpuSet, Platform, ThreadConfig, ThreadLib, ThreadLibOptions};
use pool::{BufGroup, Class};

/// Says in the environment of a child what it is to be.
const CHILD: &str = "TRANSPORT_RDMA_CHILD";

/// This program again, for one test that is a child's part.
fn child(test: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a program knows where it is"));
    command.args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env(CHILD, part);
    command
}

/// A client that is killed in the middle of its writes: the server's queue ends, its buffers come
/// home (the driver counts them), and it serves on.
#[test]
fn s31_a_process_that_is_killed_in_mid_write_harms_nobody() {
    let mut world = World::new(&env());
    let (_, at) = world.listen(B, &QueueOptions::default());
    let mut client = child("a_client_that_writes_without_end", &at.to_string()).stdout(Stdio::null()).spawn().expect("a child");
    let queue = world.requested(B);
    let far = world.at(B).attach(queue, Token(1), &[]);
    world.established(B, far);
    let (memory, key) = world.at(B).expose(far, &[0; 4096], Access::ReadWrite);
    let text = format!("{} {}", memory.addr, memory.key);
    world.at(B).send(far, text.as_bytes(), 1);
    assert_eq!(world.message(B, far), b"writing");
    client.kill().expect("it runs");
    client.wait().expect("it was killed");
    assert_eq!(world.withdrawn(B, key).len(), 4096);
    let why = world.closed(B, far);
    assert!(matches!(why, None | Some(TransportError::PeerGone | TransportError::TimedOut)), "{why:?}");
    // And serves on.
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(2));
    let queue = world.requested(B);
    let far = world.at(B).attach(queue, Token(2), &[]);
    world.established(A, near);
    world.established(B, far);
    world.at(A).send(near, b"still served", 1);
    assert_eq!(world.message(B, far), b"still served");
}

/// The child of the test above.
#[test]
#[ignore = "a part of s31_a_process_that_is_killed_in_mid_write_harms_nobody"]
fn a_client_that_writes_without_end() {
    let at = std::env::var(CHILD).expect("started by its parent").parse().expect("an address");
    let mut world = World::with(&env(), &[Setup::default()]);
    let near = world.at(A).dial(at, &QueueOptions::default(), Token(1));
    world.established(A, near);
    let told = String::from_utf8(world.message(A, near)).expect("text");
    let (addr, key) = told.split_once(' ').expect("two numbers");
    let memory = RemoteMemory { addr: addr.parse().expect("a number"), key: key.parse().expect("a number"), len: 4096 };
    world.at(A).send(near, b"writing", 0);
    for tag in 1.. {
        world.at(A).write(near, &[7; 4096], memory, None, tag);
        if world.at(A).outstanding(near) > 32 {
            world.done(A, near);
        }
    }
}

/// Wakes by a panic.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker's own");
    }
}

/// Statement 93: a buffer that comes home while a group ends wakes somebody who panics. The group's
/// queues end all the same, before their memory is anybody's, and no buffer is lost.
#[test]
fn s93_a_panic_on_the_way_of_a_groups_end_gives_no_memory_away() {
    let mut world = World::with(&env(), &[Setup::default()]);
    let platform = platform();
    let core = platform.cores().iter().next().expect("a core");
    let lib = ThreadLib::new(platform, CpuSet::of(core), &ThreadLibOptions::default());
    let mut thread = lib.create(ThreadConfig::new("far"), core).expect("the platform has this core");
    let bufs = BufGroup::new(8, 4096);
    let mut config = QueueGroupConfig::new(bufs.clone());
    config.receives = 4;
    let mut far = thread.with(|cx| RDMA.group(cx, config)).expect("a group");
    let listener = RDMA.listen((env().host, 0).into(), &QueueOptions::default()).expect("a free port");
    let near = world.at(A).dial(listener.local_addr(), &QueueOptions::default(), Token(1));
    far.listen(listener, Token(0)).map_err(|refused| refused.why).expect("room");
    let (mut events, mut id) = (QueueEvents::new(16), None);
    while id.is_none() {
        world.at(A).poll();
        far.poll(&mut events);
        for event in events.drain() {
            match event {
                QueueEvent::Requested { queue, .. } => drop(far.attach(queue, Token(2), &[]).map_err(|refused| refused.why).expect("room")),
                QueueEvent::Established { id: this, .. } => id = Some(this),
                _ => {}
            }
        }
    }
    world.established(A, near);
    let mut buf = far.buffer().expect("a buffer");
    buf.grow(4096);
    let exposed = far.expose(id.expect("it stands"), buf, Access::ReadWrite);
    let (memory, _) = exposed.map_err(|refused| refused.why).expect("it is taken");
    let held: Vec<_> = std::iter::from_fn(|| bufs.get()).collect();
    let waits = bufs.request(Class::Small, 1, 0, &Arc::new(Panics).into()).expect("it may wait");
    for n in 0..16 {
        world.at(A).write(near, &[9; 4096], memory, None, n);
    }
    world.at(A).group().flush();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(far))).is_err(), "the waker has panicked");
    drop((waits, held));
    // All of them are home, and what the peer still writes reaches none.
    let mut home: Vec<_> = std::iter::from_fn(|| bufs.get()).collect();
    assert_eq!(home.len(), 8);
    for buf in &mut home {
        buf.grow(4096);
        buf.fill(7);
    }
    world.closed(A, near);
    assert!(home.iter().all(|buf| buf.iter().all(|byte| *byte == 7)), "nobody has written to it");
}

/// The error says what limit it is, and how much was asked for.
#[test]
fn s32_memory_that_may_not_be_locked_is_an_error_that_says_so() {
    let me = child("a_group_under_a_small_limit", "limited");
    let program = me.get_program().to_str().expect("text").to_owned();
    let args: Vec<_> = me.get_args().map(|arg| arg.to_str().expect("text").to_owned()).collect();
    // Root may lock what it wants.
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -l 64 && exec {program} {}", args.join(" "))]).env(CHILD, "limited").uid(65534).gid(65534);
    let output = shell.output().expect("a child");
    assert!(output.status.success(), "{output:?}");
}

/// The child of the test above.
#[test]
#[ignore = "a part of s32_memory_that_may_not_be_locked_is_an_error_that_says_so"]
fn a_group_under_a_small_limit() {
    assert_eq!(std::env::var(CHILD).as_deref(), Ok("limited"));
    let why = conformance::transport::Driver::try_new(&env(), Setup::default()).err();
    let Some(TransportError::LockedMemory { bytes }) = why else { panic!("{why:?} in place of a limit") };
    assert_eq!(bytes, 192 * 4096);
}

/// By its name, as `-N` takes it.
#[test]
fn s24_the_transport_is_linked_under_its_name() {
    let names: Vec<_> = core_reactor::transport::linked().iter().map(|transport| transport.name()).collect();
    assert_eq!(names, ["rdma"]);
}
