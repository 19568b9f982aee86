//! The server as the system sees it: threads, cores, signals, processor time, descriptors,
//! allocations of time.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Server, allowed_cores, echo, hello_sock, until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

/// Name and cores of each thread of a process.
fn threads(pid: u32) -> Vec<(String, String)> {
    let read = |task: &fs::DirEntry, file: &str| fs::read_to_string(task.path().join(file)).unwrap();
    let cores = |status: &str| status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(Result::unwrap);
    let mut threads: Vec<_> = tasks.map(|t| (read(&t, "comm").trim().to_owned(), cores(&read(&t, "status")))).collect();
    threads.sort();
    threads
}

/// The cores of the process.
fn all_cores() -> String {
    let all = fs::read_to_string("/proc/self/status").unwrap();
    all.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

/// Who serves RPC has a thread for what the system tells slowly.
const NO_RPC: &str = if cfg!(feature = "rpc") { " --no-rpc" } else { "" };

/// These threads, and those that every program has beside its reactors: who writes the log, and who
/// looks for stalls; on all cores.
fn with_helpers(others: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let helpers = if cfg!(feature = "observe") { &["log", "stalls"][..] } else { &["log"] };
    let mut threads: Vec<_> = helpers.iter().map(|name| ((*name).to_owned(), all_cores())).chain(others).collect();
    threads.sort();
    threads
}

/// How often the first thread of a process went to sleep.
fn sleeps(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    count.trim().parse().unwrap()
}

#[test]
fn reactors_are_named_after_their_cores_and_pinned_to_them() {
    let cores = allowed_cores();
    assert!(cores.len() >= 2, "this test needs two cores");
    let server = Server::start(&format!("-m [{},{}]{NO_RPC}", cores[0], cores[1]));
    let reactors = cores[..2].iter().map(|core| (format!("reactor_{core}"), core.to_string()));
    assert_eq!(threads(server.program.pid()), with_helpers(reactors));
}

#[test]
fn without_a_mask_there_is_one_reactor() {
    // Without core locks too, nothing says which core is free: the kernel places it.
    let server = Server::start(NO_RPC);
    let first = allowed_cores()[0];
    assert_eq!(threads(server.program.pid()), with_helpers([(format!("reactor_{first}"), all_cores())]));
}

#[test]
fn s52_the_clients_own_threads_share_no_core_with_its_reactor() {
    let server = Server::start("");
    let first = allowed_cores()[0];
    let mut command = server.client(&format!("-m [{first}]"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = crate::common::Program::start(command);
    let _open = client.stdin();
    let own = ["input", "output"].map(|name| (name.to_owned(), all_cores()));
    let expected = with_helpers(own.into_iter().chain([(format!("reactor_{first}"), first.to_string())]));
    // A thread names itself, a moment after it has started.
    until("the client's threads", || (threads(client.pid()) == expected).then_some(()));
}

#[test]
fn s08_a_time_that_is_not_over_holds_up_no_end() {
    let mut server = Server::start("-t 3600");
    // A client that has a time, too, and whose connection ends before.
    let mut client = crate::common::Program::start_collecting(server.client("-t 3600"));
    client.line_with("Connecting to the server");
    client.signal(Signal::INT);
    let ended = client.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for ended in [ended, server.stop()] {
        assert!(!ended.stderr.contains("by force"), "{ended:?}");
    }
}

#[test]
fn s12_a_signal_ends_it_with_0_and_connections_open() {
    for signal in [Signal::INT, Signal::TERM] {
        for args in ["", "--busy-poll"] {
            let mut server = Server::start(args);
            let mut peers: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
            for peer in &mut peers {
                assert_eq!(echo(peer, b"here"), b"here");
            }
            server.program.signal(signal);
            let ended = server.program.wait();
            println!("{signal:?} {args}: ended after {:?} with 20 connections open", ended.took);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
            assert!(!ended.stderr.contains("by force"), "{}", ended.stderr);
        }
    }
}

#[test]
fn s12_a_second_signal_ends_it_at_once() {
    // A client whose output is stuck has something to wait for after the first signal.
    let server = Server::start("");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (_unread, output) = std::io::pipe().unwrap();
        let mut command = server.client("");
        command.stdin(fs::File::open("/dev/zero").unwrap()).stdout(output.try_clone().unwrap());
        let mut client = crate::common::Program::start(command);
        // Full is a pipe when its pages are in use, however few bytes pieces of odd sizes left in
        // each: not "writable", then, rather than a count of bytes.
        until("the pipe to be full", || {
            let mut room = [PollFd::new(&output, PollFlags::OUT)];
            (poll(&mut room, Some(&Timespec::default())).unwrap() == 0).then_some(())
        });
        client.signal(Signal::INT);
        client.line_with("shutting down");
        // The first ones are taken for echoes.
        let status = until("its end", || {
            client.signal(signal);
            client.child().try_wait().unwrap()
        });
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
fn a_server_ends_after_its_time() {
    let began = Instant::now();
    let mut server = Server::start("-t 0.3 --json");
    let _peer = server.connect();
    let ended = server.program.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(began.elapsed() >= Duration::from_millis(300));
    serde_json::from_slice::<serde_json::Value>(&ended.stdout).expect("its report is there");
}

#[test]
fn s13_a_server_with_idle_connections_uses_no_processor_time_unless_told_to_poll() {
    let idle = |args: &str| {
        let server = Server::start(args);
        let mut peers: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
        for peer in &mut peers {
            assert_eq!(echo(peer, b"idle from now on"), b"idle from now on");
        }
        let before = server.program.cpu_time();
        (server, peers, before)
    };
    let (server, peers, before) = idle("");
    // What is measured is time: two seconds of it, at a resolution of 10 ms.
    std::thread::sleep(Duration::from_secs(2));
    let used = server.program.cpu_time() - before;
    assert!(used < Duration::from_millis(20), "{used:?} in two seconds");
    drop((server, peers));
    // How soon it has used more depends on who else wants the core.
    let (server, _peers, before) = idle("--busy-poll");
    until("a tenth of a second of processor time", || (server.program.cpu_time() - before > Duration::from_millis(100)).then_some(()));
}

#[test]
fn a_server_does_not_say_that_it_listens_before_all_of_its_groups_are_open() {
    let cores = allowed_cores();
    let args = format!("-m [{},{}]", cores[0], cores[1]);
    let needed = Server::start(&args).program.descriptors();
    let refused = (1..=8).filter(|fewer| {
        let server = hello_sock(&format!("-S -P 0 --no-cpumask-locks -t 0.1 {args}"));
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"ulimit -n "$0"; exec "$@""#, &(needed - fewer).to_string()])
            .arg(server.get_program())
            .args(server.get_args());
        let ended = crate::common::run_command(command);
        if ended.code == Some(0) {
            return false;
        }
        assert!(ended.code == Some(1) && !ended.stderr.contains("Listening"), "{ended:?}");
        true
    });
    assert!(refused.count() > 0, "{needed} descriptors are too many");
}

#[test]
fn s16_out_of_descriptors_accepting_pauses_is_said_once_and_goes_on() {
    const ALL: usize = 40;
    let room = 10;
    let limit = Server::start("").program.descriptors() + room;
    // From the start: an io_uring goes by the limit that was there when it was asked to accept.
    let mut command = Command::new("sh");
    let server = hello_sock("-S -P 0 --no-cpumask-locks --json");
    command.args(["-c", r#"ulimit -n "$0"; exec "$@""#, &limit.to_string()]).arg(server.get_program()).args(server.get_args());
    let mut server = Server::start_with(command);
    assert_eq!(echo(&mut server.connect(), b"before"), b"before");
    server.program.line_with("Connection closed");
    let mut peers: Vec<TcpStream> = (0..ALL).map(|_| server.connect()).collect();
    server.program.line_with("out of file descriptors");
    for (n, peer) in peers.iter_mut().take(room).enumerate() {
        assert_eq!(echo(peer, &[n as u8; 100]), [n as u8; 100], "those that are in are served");
    }
    // Those that wait come in as those that are in go, and none is lost. What they say meanwhile
    // waits with them.
    for (n, mut peer) in peers.into_iter().enumerate() {
        peer.write_all(&[n as u8; 10]).unwrap();
        assert_eq!(echo(&mut peer, &[n as u8; 10]), [n as u8; 10]);
    }
    server.program.nth_line_with("Connection closed", 1 + ALL);
    let ended = server.stop();
    assert_eq!(ended.stderr.matches("out of file descriptors").count(), 1, "{}", ended.stderr);
    let figures: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(figures["groups"][0]["accepted"], ALL + 1, "{figures}");
}

#[test]
fn s16_descriptors_that_come_free_without_a_word_are_noticed_by_an_idle_core() {
    let mut command = Command::new("sh");
    let limit = Server::start("").program.descriptors() + 10;
    let server = hello_sock("-S -P 0 --no-cpumask-locks");
    command.args(["-c", r#"ulimit -Sn "$0"; exec "$@""#, &limit.to_string()]).arg(server.get_program()).args(server.get_args());
    let mut server = Server::start_with(command);
    let mut peers: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    server.program.line_with("out of file descriptors");
    // A try in vain, on a core that has nothing else to do.
    let sleeps = sleeps(server.program.pid());
    until("two sleeps", || (self::sleeps(server.program.pid()) >= sleeps + 2).then_some(()));
    let more = Rlimit { current: Some(200), maximum: getrlimit(Resource::Nofile).maximum };
    prlimit(Some(Pid::from_child(server.program.child())), Resource::Nofile, more).unwrap();
    // The last first: nobody who is in says anything that would wake the core.
    for peer in peers.iter_mut().rev() {
        assert_eq!(echo(peer, b"at last"), b"at last");
    }
    drop(peers);
    server.stop();
}

#[test]
fn a_second_instance_on_a_locked_core_names_the_first() {
    // Another program may have a core for a while; one of them is free some time.
    let mut cores = allowed_cores().into_iter().cycle();
    let (core, server) = until("a core that no other program has locked", || {
        let core = cores.next().unwrap();
        let mut first = crate::common::Program::start_collecting(hello_sock(&format!("-S -P 0 -m [{core}]")));
        let listens = until("the server to listen or to end", || {
            let listens = first.stderr().iter().any(|line| line.contains("Listening"));
            (listens || first.child().try_wait().unwrap().is_some()).then_some(listens)
        });
        listens.then_some((core, first))
    });
    let why = crate::common::run(&format!("-S -P 0 -m [{core}]")).refusal(1);
    assert!(why.contains(&format!("core {core} is taken by process {}", server.pid())), "{why}");
    assert!(why.contains("--no-cpumask-locks"), "{why}");
    Server::start(&format!("-m [{core}]")).stop();
    // Without a mask nothing is locked, and nothing pinned.
    let mut beside = Server::start_with(hello_sock("-S -P 0"));
    assert_eq!(echo(&mut beside.connect(), b"beside"), b"beside");
    beside.stop();
    server.signal(Signal::KILL);
    drop(server);
    let again = hello_sock(&format!("-S -P 0 -m [{core}] -t 0.1"));
    until("the lock to end with its process", || {
        let ended = crate::common::run_command({
            let mut command = hello_sock("");
            command.args(again.get_args());
            command
        });
        (ended.code == Some(0)).then_some(())
    });
}
