//! hello-sock's control plane: its sockets and phases, the shapes that SPDK's tools want, and
//! echoes that go on beside whatever is sent there.
#![cfg(feature = "rpc")]

mod common;
#[path = "../../rpc/tests/shapes/mod.rs"]
mod shapes;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use common::{PATIENCE, Program, Server, hello_sock, until};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

/// The backend that is chosen here.
const NET: &str = "";

/// A place for a socket, and a server there.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("rpc.sock")
    }

    fn serve(&self, args: &str) -> Server {
        Server::start(&format!("-r {} {args}", self.path().display()))
    }
}

/// A connection, as spdk_top keeps one.
struct Client(BufReader<UnixStream>);

impl Client {
    fn new(path: &Path) -> Self {
        let stream = until("the socket", || UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, method: &str, params: Option<Value>) {
        let mut call = json!({"jsonrpc": "2.0", "id": 1, "method": method});
        if let Some(params) = params {
            call["params"] = params;
        }
        self.0.get_mut().write_all(format!("{call}\n").as_bytes()).expect("it is taken");
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }

    /// The result, whose shape is as clients want it.
    fn call(&mut self, method: &str, params: Option<Value>) -> Value {
        self.send(method, params);
        let answer = self.answer();
        let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "jsonrpc", "result"], "{answer}");
        shapes::check(method, &answer["result"]).unwrap();
        answer["result"].clone()
    }

    fn code(&mut self, method: &str, params: Option<Value>) -> i64 {
        self.send(method, params);
        let answer = self.answer();
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{answer}"))
    }
}

/// What spdk_top sends, in its order, and how it puts together what it gets.
#[test]
fn s172_spdk_top_finds_its_way() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut top = Client::new(&place.path());
    assert_eq!(top.call("framework_wait_init", None), true);
    let mut before = None;
    for _ in 0..3 {
        let (reactors, threads) = (top.call("framework_get_reactors", None), top.call("thread_get_stats", None));
        let pollers = top.call("thread_get_pollers", None);
        assert!(reactors["tick_rate"].as_u64() > Some(0));
        let ids = |of: &Value| of.as_array().unwrap().iter().map(|it| it["id"].as_u64().unwrap()).collect::<Vec<_>>();
        let on_reactors: Vec<_> = reactors["reactors"].as_array().unwrap().iter().flat_map(|it| ids(&it["lw_threads"])).collect();
        let mut sorted = on_reactors.clone();
        sorted.sort_unstable();
        assert_eq!((sorted, ids(&threads["threads"])), (ids(&pollers["threads"]), on_reactors), "one reactor has them all, in order");
        let reactor = &reactors["reactors"][0];
        let total = reactor["busy"].as_u64().unwrap() + reactor["idle"].as_u64().unwrap();
        if let Some((started, then)) = before.replace((std::time::Instant::now(), total)) {
            // Busy and idle together are all time, asleep or not; within what the looks are apart.
            let (passed, told) = (started.elapsed().as_nanos() as f64, (total - then) as f64);
            assert!(told > passed * 0.5, "{told} ns of {passed}");
        }
        let figure = |thread: &Value, name: &str| thread[name].as_u64().unwrap();
        let threads = threads["threads"].as_array().unwrap();
        assert!(threads.iter().all(|thread| thread["cpumask"] == "1"));
        // Theirs together are their reactor's, which was asked a moment before.
        let all: u64 = threads.iter().map(|thread| figure(thread, "busy") + figure(thread, "idle")).sum();
        assert!(all as f64 > total as f64 * 0.8, "{all} ns of {total}");
        let waited = std::time::Instant::now();
        until("some time", || (waited.elapsed().as_millis() > 100).then_some(()));
    }
    assert_eq!(top.code("thread_get_stats", Some(json!({}))), -32602);
    server.stop();
}

/// What each kind of statistic looks like, and that it tells of what was done.
#[test]
fn s187_statistics_are_told_by_name_kind_and_labels() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut client = Client::new(&place.path());
    let all = client.call("lcore_get_stats", None);
    let named =
        |all: &Value, name: &str| all["stats"].as_array().unwrap().iter().find(|stat| stat["name"] == name).cloned().unwrap_or(Value::Null);
    let turns = named(&all, "lcore_reactor_turns_total");
    assert_eq!((&turns["type"], &turns["help"]), (&json!("counter"), &json!("Turns.")));
    assert!(turns["samples"][0]["value"].as_u64() > Some(0) && turns["samples"][0]["labels"]["core"].is_string(), "{turns}");
    let buffers = named(&all, "lcore_pool_buffers");
    assert_eq!(
        (&buffers["type"], buffers["samples"].as_array().map(Vec::len)),
        (&json!("gauge"), Some(3)),
        "one for each class: {buffers}"
    );
    let busy = named(&all, "lcore_thread_busy_seconds_total");
    assert!(busy["samples"].as_array().unwrap().iter().all(|sample| sample["value"].as_f64().is_some()), "{busy}");
    if cfg!(feature = "observe") {
        let runs = named(&all, "lcore_thread_message_run_seconds");
        let sample = runs["samples"].as_array().unwrap().iter().find(|sample| sample["labels"]["thread"] == "app_thread").unwrap();
        let counts: Vec<_> = sample["buckets"].as_array().unwrap().iter().map(|bucket| bucket[1].as_u64().unwrap()).collect();
        assert!(runs["type"] == "histogram" && counts.is_sorted() && counts.last() <= sample["count"].as_u64().as_ref(), "{sample}");
        assert!(counts.last() > Some(&0) && sample["sum"].as_f64() > Some(0.0) && sample["buckets"][0][0] == 6.4e-8, "{sample}");
    }
    let some = client.call("lcore_get_stats", Some(json!({"names": ["lcore_reactor_turns", "lcore_pool_buffers_"]})));
    let names: Vec<_> = some["stats"].as_array().unwrap().iter().map(|stat| stat["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"lcore_reactor_turns_total") && names[0] == "lcore_pool_buffers_free" && names.len() == 7, "{names:?}");
    assert!(some["time_ns"].as_u64() > all["time_ns"].as_u64());
    assert_eq!(client.code("lcore_get_stats", Some(json!({"name": "x"}))), -32602);
    server.stop();
}

#[test]
fn s216_groups_and_sockets_are_told() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut client = Client::new(&place.path());
    let mut peers: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.write_all(b"hello").unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
    }
    let groups = client.call("lcore_get_poll_groups", None);
    let group = &groups["poll_groups"][0];
    let figures =
        ["sockets", "accepted_total", "received_bytes_total", "sent_bytes_total", "unsent_bytes"].map(|key| group[key].as_u64().unwrap());
    assert_eq!((group["thread"].as_str(), figures), (Some("poll_group_0"), [4, 3, 15, 15, 0]), "{group}");
    let stats = client.call("lcore_get_stats", Some(json!({"names": ["lcore_poll_group_received"]})));
    let sample = json!({"labels": {"backend": group["backend"], "core": "0", "group": "0", "thread": "poll_group_0"}, "value": 15});
    assert_eq!(stats["stats"][0]["samples"], json!([sample]), "{stats}");
    let stats = client.call("lcore_get_stats", Some(json!({"names": ["lcore_poll_group_buffers_from_reserve"]})));
    let used = stats["stats"][0]["samples"].as_array().unwrap().iter().map(|sample| sample["value"].as_u64().unwrap()).sum::<u64>();
    assert!(used >= 3, "{stats}");
    let told = client.call("lcore_get_sockets", None);
    let sockets = told["poll_groups"][0]["sockets"].as_array().unwrap();
    let mut ends: Vec<_> = sockets.iter().filter_map(|socket| socket["peer"].as_str()).collect();
    let mut addresses: Vec<_> = peers.iter().map(|peer| peer.local_addr().unwrap().to_string()).collect();
    ends.sort_unstable();
    addresses.sort_unstable();
    assert_eq!((sockets.len(), ends), (4, addresses.iter().map(String::as_str).collect()));
    let few = client.call("lcore_get_sockets", Some(json!({"limit": 1})));
    assert_eq!(few["poll_groups"][0]["sockets_left_out"], 3);
    assert_eq!(client.code("lcore_get_sockets", Some(json!({"limits": 1}))), -32602);
    server.stop();
}

#[test]
fn s173_a_socket_is_its_owners_and_goes_with_the_program() {
    let place = Place::new();
    let mut server = place.serve("");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.path()), fs::read_dir(place.dir.path()).unwrap().count()), (0o600, 2));
    let second = common::run(&format!("-S -P 0 --no-cpumask-locks -r {}", place.path().display()));
    let said = second.refusal(1);
    assert!(said.contains("another process serves there") && said.contains("-r"), "{said}");
    let version = Client::new(&place.path()).call("spdk_get_version", None);
    assert!(version["version"].as_str().is_some_and(|text| text.starts_with("SPDK v") && text.contains("lcore v")));
    server.stop();
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 0);
}

/// Whoever comes then waits, and those who are in are served.
#[test]
fn s239_without_descriptors_clients_that_are_in_are_served() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut first = Client::new(&place.path());
    first.call("spdk_get_version", None);
    let pid = server.program.pid();
    let (before, limit) = (fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64, getrlimit(Resource::Nofile));
    let may_have = |most| prlimit(Pid::from_raw(pid as i32), Resource::Nofile, Rlimit { current: most, ..limit }).unwrap();
    may_have(Some(before));
    let mut second = Client::new(&place.path());
    second.send("spdk_get_version", None);
    until("it is said", || server.program.stderr().iter().any(|line| line.contains("nobody more can be let in")).then_some(()));
    for _ in 0..50 {
        first.call("spdk_get_version", None);
    }
    may_have(limit.current);
    // Nobody else calls, so nothing but its own timer wakes the server.
    assert!(second.answer()["result"].is_object());
    server.stop();
}

#[test]
fn s173_a_client_stops_the_program() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut client = Client::new(&place.path());
    assert_eq!(client.code("spdk_kill_instance", Some(json!({"sig_name": "SIGSEGV"}))), -32602);
    client.send("spdk_kill_instance", Some(json!({"sig_name": "SIGTERM"})));
    assert_eq!(client.answer()["result"], true, "told before the end");
    assert_eq!(server.program.wait().code, Some(0));
}

#[test]
fn s174_without_rpc_there_is_none_and_a_place_that_cannot_be_is_said() {
    let mut server = Server::start("--no-rpc");
    assert!(!server.program.stderr().iter().any(|line| line.contains("RPC")), "{:?}", server.program.stderr());
    server.stop();
    for (args, part) in [
        ("-S -P 0 --no-cpumask-locks -r /proc/nothing/s", 1),
        ("-S -P 0 -r nowhere", 2),
        ("-S -P 0 -r /a --no-rpc", 2),
        ("-S -P 0 --no-rpc --wait-for-rpc", 2),
    ] {
        let ended = common::run(args);
        assert_eq!(ended.code, Some(part), "{args}: {ended:?}");
    }
}

#[test]
fn s175_it_waits_for_the_call_that_starts_it() {
    let place = Place::new();
    let mut program =
        Program::start_collecting(hello_sock(&format!("-S -P 0 --no-cpumask-locks --wait-for-rpc -r {}", place.path().display())));
    program.line_with("waiting for the call of framework_start_init");
    let mut client = Client::new(&place.path());
    let mut waiting = Client::new(&place.path());
    waiting.send("framework_wait_init", None);
    assert_eq!(client.code("thread_get_stats", None), -1);
    assert!(!program.stderr().iter().any(|line| line.contains("Listening")));
    client.send("framework_start_init", None);
    assert_eq!((client.answer()["result"].clone(), waiting.answer()["result"].clone()), (json!(true), json!(true)));
    program.line_with("Listening connection on ");
    assert_eq!(client.code("framework_start_init", None), -1);
    client.call("thread_get_stats", None);
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait().code, Some(0));
}

#[test]
fn s175_a_start_that_fails_is_told_and_ends_it() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut program = Program::start_collecting(hello_sock(&format!(
        "-S -P {port} --no-cpumask-locks --sockets 16777214 --wait-for-rpc -r {}",
        place.path().display()
    )));
    let mut client = Client::new(&place.path());
    client.send("framework_start_init", None);
    let answer = client.answer();
    let ended = program.wait();
    assert_ne!(ended.code, Some(0), "{answer} {ended:?}");
}

#[test]
fn s176_details_are_logged_from_the_call_on_that_asks_for_them() {
    let on = |client: &mut Client| {
        let flags = client.call("log_get_flags", None);
        flags.as_object().unwrap().iter().filter(|(_, on)| **on == true).map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let place = Place::new();
    let mut server = place.serve("-L pool");
    assert_eq!(on(&mut Client::new(&place.path())), ["pool"]);
    server.stop();
    // No details at all until they are asked for.
    let mut server = place.serve("");
    let mut client = Client::new(&place.path());
    assert_eq!(on(&mut client), [""; 0]);
    let levels = ["log_get_level", "log_get_print_level"].map(|method| client.call(method, None));
    assert_eq!(levels, ["NOTICE", "INFO"], "SPDK's defaults");
    let mut set = |method: &str, params: Value| {
        client.send(method, Some(params));
        client.answer()
    };
    set("rpc_get_methods", json!({}));
    assert_eq!(set("log_set_flag", json!({"flag": "all"}))["result"], true);
    set("rpc_get_methods", json!({}));
    assert_eq!(set("log_clear_flag", json!({"flag": "pool"}))["result"], true);
    assert_eq!(set("log_set_flag", json!({"flag": "x"}))["error"]["code"], -32602);
    assert_eq!(set("log_set_print_level", json!({"level": "error"}))["result"], true);
    assert_eq!(set("log_set_print_level", json!({"level": "LOUD"}))["error"]["code"], -32602);
    let flags = set("log_get_flags", Value::Null);
    assert_eq!((&flags["result"]["pool"], &flags["result"]["app"]), (&json!(false), &json!(true)));
    assert_eq!(set("log_get_print_level", Value::Null)["result"], "ERROR");
    let details = server.program.stderr().iter().filter(|line| line.contains("debug: RPC: rpc_get_methods")).count();
    assert_eq!(details, 1, "of the second call alone");
    // A connection is a notice, which is not printed any more.
    let before = server.program.stderr().len();
    assert_eq!(common::echo(&mut server.connect(), b"quiet"), b"quiet");
    assert_eq!(set("log_set_print_level", json!({"level": "NOTICE"}))["result"], true);
    assert_eq!(common::echo(&mut server.connect(), b"heard"), b"heard");
    server.program.line_with("Accepting a new connection");
    let said = server.program.stderr()[before..].iter().filter(|line| line.contains("Accepting")).count();
    assert_eq!(said, 1);
    server.stop();
}

#[test]
fn s177_threads_are_placed_and_balanced_at_run_time() {
    let place = Place::new();
    let cores = common::allowed_cores();
    let mut server = place.serve(&format!("-m [{},{}]", cores[0], cores[1]));
    let mut client = Client::new(&place.path());
    let scheduler = client.call("framework_get_scheduler", None);
    assert_eq!((&scheduler["scheduler_name"], &scheduler["scheduler_period"]), (&json!("static"), &json!(1_000_000)));
    let named = |client: &mut Client, name: &str| {
        let reactors = client.call("framework_get_reactors", None);
        let reactors = reactors["reactors"].as_array().unwrap().clone();
        let on = |reactor: &Value| reactor["lw_threads"].as_array().unwrap().iter().find(|thread| thread["name"] == name).cloned();
        reactors.iter().find_map(|reactor| Some((reactor["lcore"].as_u64().unwrap() as usize, on(reactor)?)))
    };
    client.send("framework_set_scheduler", Some(json!({"name": "busy", "period": 250_000})));
    assert_eq!(client.answer()["result"], true);
    let scheduler = client.call("framework_get_scheduler", None);
    assert_eq!((&scheduler["scheduler_name"], &scheduler["scheduler_period"]), (&json!("busy"), &json!(250_000)));
    let calls = client.call("framework_get_config", Some(json!({"name": "scheduler", "with_batches": false})));
    assert_eq!(calls, json!([{"method": "framework_set_scheduler", "params": {"name": "busy", "period": 250_000}}]));
    // The one who looks holds nothing: it goes to where it is sent.
    let (core, balancer) = named(&mut client, "balancer").expect("it has begun");
    let other = if core == cores[0] { cores[1] } else { cores[0] };
    let mask = format!("{:x}", 1_u64 << other);
    client.send("thread_set_cpumask", Some(json!({"id": balancer["id"], "cpumask": mask})));
    assert_eq!(client.answer()["result"], true);
    until("it has moved", || (named(&mut client, "balancer")?.0 == other).then_some(()));
    for (params, code) in [
        (json!({"id": 1, "cpumask": mask}), if other == cores[0] { None } else { Some(-22) }),
        (json!({"id": 99, "cpumask": "1"}), Some(-19)),
        (json!({"id": 1, "cpumask": "x"}), Some(-32602)),
        (json!({"id": 1, "cpumask": "8000000000000000"}), Some(-22)),
    ] {
        client.send("thread_set_cpumask", Some(params.clone()));
        assert_eq!(client.answer()["error"]["code"].as_i64(), code, "{params}");
    }
    client.send("framework_set_scheduler", Some(json!({"name": "static"})));
    assert_eq!(client.answer()["result"], true);
    until("the one who looked is gone", || named(&mut client, "balancer").is_none().then_some(()));
    // SPDK's further options are taken where they say what is the case.
    client.send("framework_set_scheduler", Some(json!({"name": "static", "load_limit": 20, "core_busy": 95})));
    assert_eq!(client.answer()["result"], true);
    for params in [
        json!({"name": "dynamic"}),
        json!({"name": "busy", "period": 0}),
        json!({"name": "busy", "load_limit": 1}),
        json!({"name": "busy", "core_busy": 80}),
        json!({"name": "busy", "core_limit": 80}),
        json!({"name": "static", "mappings": "1:0"}),
    ] {
        client.send("framework_set_scheduler", Some(params.clone()));
        let answer = client.answer();
        assert_eq!(answer["error"]["code"], -32602, "{params}");
        assert!(!answer["error"]["message"].as_str().unwrap().contains("unknown field"), "{answer}");
    }
    server.stop();
}

#[test]
fn s178_buffers_and_sockets_are_told() {
    let place = Place::new();
    let mut server = place.serve("-N posix");
    let mut client = Client::new(&place.path());
    let taken = |stats: &Value| ["cache", "main"].map(|from| stats[0]["small_pool"][from].as_u64().unwrap()).iter().sum::<u64>();
    let before = taken(&client.call("iobuf_get_stats", None));
    let mut stream = server.connect();
    assert_eq!(common::echo(&mut stream, b"takes a buffer"), b"takes a buffer");
    assert!(taken(&client.call("iobuf_get_stats", None)) > before);
    assert_eq!(client.call("sock_get_default_impl", None), json!({"impl_name": "posix"}));
    client.call("sock_impl_get_options", Some(json!({"impl_name": "posix"})));
    assert_eq!(client.code("sock_impl_get_options", Some(json!({"impl_name": "nobodys"}))), -32602);
    let subsystems = client.call("framework_get_subsystems", None);
    for subsystem in subsystems.as_array().unwrap() {
        let calls = client.call("framework_get_config", Some(json!({"name": subsystem["subsystem"]})));
        let known = client.call("rpc_get_methods", None);
        for call in calls.as_array().unwrap() {
            assert!(known.as_array().unwrap().contains(&call["method"]), "load_config would end at {call}");
        }
    }
    server.stop();
}

#[test]
fn s181_how_long_things_take_is_told() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut client = Client::new(&place.path());
    let mut stream = server.connect();
    assert_eq!(common::echo(&mut stream, b"takes some time"), b"takes some time");
    let told = client.call("lcore_get_histograms", None);
    let count = |of: &Value| {
        let count = of["count"].as_u64().unwrap();
        let in_buckets: u64 = of["buckets"].as_array().unwrap().iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
        assert!(count == in_buckets && of["p50"].as_u64() <= of["p99"].as_u64() && of["p99"].as_u64() <= of["max"].as_u64(), "{of}");
        count
    };
    let all = |name: &str| told["threads"].as_array().unwrap().iter().map(|thread| count(&thread[name])).sum::<u64>();
    assert!(all("pollers") > 0 && all("messages") > 0, "{told}");
    assert!(all("timers_late") < u64::MAX && count(&told["reactors"][0]["wakes"]) < u64::MAX);
    server.stop();
}

/// Somebody keeps the core from a reactor that polls: it is told, and that nobody knows who.
#[test]
fn s182_what_holds_a_reactor_up_is_told() {
    for (limit, is_told) in [("--stall-limit 50", true), ("--stall-limit 0", false)] {
        let place = Place::new();
        let mut server = place.serve(&format!("--busy-poll {limit}"));
        let mut client = Client::new(&place.path());
        // It has answered, so every thread's first turn, which may take its time, is over.
        assert_eq!(client.call("framework_wait_init", None), true);
        let pid = rustix::process::Pid::from_raw(server.program.pid() as i32).unwrap();
        let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
        signal(rustix::process::Signal::STOP);
        let stopped = std::time::Instant::now();
        until("a tenth of a second", || (stopped.elapsed().as_millis() > 100).then_some(()));
        signal(rustix::process::Signal::CONT);
        let told = client.call("lcore_get_stalls", None);
        let stalls = told["stalls"].as_array().unwrap();
        assert_eq!((told["limit"].as_u64(), stalls.is_empty()), (Some(if is_told { 50_000_000 } else { 0 }), !is_told), "{told}");
        assert!(stalls.iter().all(|stall| stall["duration"].as_u64() >= Some(50_000_000)), "{told}");
        server.stop();
    }
}

/// What happens within what, on each core, is in the file as it was.
#[test]
fn s186_a_trace_is_switched_on_and_written_while_it_runs() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut client = Client::new(&place.path());
    let file = place.dir.path().join("trace.json");
    let dump = || Some(json!({ "path": file }));
    let named = |name: &str| Some(json!({ "name": name }));
    assert_eq!(client.code("trace_dump", dump()), -61, "nothing was traced yet");
    client.call("trace_enable_tpoint_group", named("all"));
    client.call("trace_set_tpoint_mask", Some(json!({"name": "reactor", "tpoint_mask": 1})));
    client.call("trace_clear_tpoint_mask", Some(json!({"name": "reactor", "tpoint_mask": 4})));
    let info = client.call("trace_get_info", None);
    assert_eq!((&info["tpoint_group_mask"], &info["reactor"]["tpoint_mask"]), (&json!("0xf"), &json!("0x3")));
    let mut stream = server.connect();
    for _ in 0..10 {
        assert_eq!(common::echo(&mut stream, b"is traced"), b"is traced");
    }
    client.call("trace_disable_tpoint_group", named("all"));
    let mask = client.call("trace_get_tpoint_group_mask", None);
    assert_eq!((&mask["tpoint_group_mask"], &mask["thread"]), (&json!("0x0"), &json!({"enabled": false, "mask": "0x2"})));
    let dumped = client.call("trace_dump", dump());
    assert_eq!((client.code("trace_dump", dump()), client.code("trace_enable_tpoint_group", named("nobodys"))), (-17, -32602));
    let told: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let events: Vec<_> = told["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] != "M").collect();
    assert_eq!((events.len() as u64, &dumped["lost"]), (dumped["events"].as_u64().unwrap(), &json!(0)));
    // Each byte once, however the sockets' pieces fell.
    let of_sockets = |point: &str| {
        let these = events.iter().filter(|event| event["cat"] == "sock" && event["name"] == point);
        these.map(|event| event["args"]["value"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of_sockets("accept").len(), 1);
    assert_eq!((of_sockets("receive").iter().sum::<u64>(), of_sockets("send").iter().sum::<u64>()), (90, 90));
    for name in ["turn", "messages", "sleep"] {
        assert!(events.iter().any(|event| event["name"] == name), "no {name} in {told}");
    }
    // In nanoseconds, since what is in microseconds is rounded when it is read.
    let span = |event: &Value| {
        let nanos = |key: &str| (event[key].as_f64().unwrap() * 1_000.0).round() as u64;
        (nanos("ts"), nanos("ts") + event["dur"].as_f64().map_or(0, |_| nanos("dur")))
    };
    // The last turn may have been cut: it goes on while traces are switched off.
    let whole = events.iter().filter(|event| event["name"] == "turn").map(|turn| span(turn).1).max().unwrap();
    let mut open: Vec<(u64, u64)> = Vec::new();
    let mut last = 0;
    for event in events {
        let (start, end) = span(event);
        assert!(start >= last, "{event} comes before the one before");
        last = start;
        open.retain(|(_, outer)| *outer > start);
        assert!(open.iter().all(|(_, outer)| *outer >= end), "{event} ends behind what it is in: {open:?}");
        if event["cat"] == "thread" {
            assert!((!open.is_empty() || start >= whole) && event["args"]["thread"].is_string(), "{event} is in no turn");
        }
        open.push((start, end));
    }
    client.call("trace_clear", None);
    fs::remove_file(&file).unwrap();
    assert_eq!(client.call("trace_dump", dump())["events"], 0);
    server.stop();
}

/// What a running server tells of itself starts another one the same way.
#[test]
fn s178_s200_a_saved_configuration_starts_the_same_application() {
    let place = Place::new();
    let file = place.dir.path().join("options.json");
    let options = json!({"impl_name": "posix", "send_buf_size": 40_000, "enable_quickack": true});
    let call = json!({"method": "sock_impl_set_options", "params": options});
    fs::write(&file, json!({"subsystems": [{"subsystem": "sock", "config": [call]}]}).to_string()).unwrap();
    let mut server = place.serve(&format!("-N posix --small-pool-count 300 --large-pool-count 2 --balance busy -c {}", file.display()));
    let mut client = Client::new(&place.path());
    let config = |client: &mut Client| {
        let subsystems = client.call("framework_get_subsystems", None);
        let calls = |name: &Value| client.call("framework_get_config", Some(json!({"name": name, "with_batches": false})));
        let names: Vec<_> = subsystems.as_array().unwrap().iter().map(|it| it["subsystem"].clone()).collect();
        names.iter().map(calls).collect::<Vec<_>>()
    };
    let saved = config(&mut client);
    let told = client.call("sock_impl_get_options", Some(json!({"impl_name": "posix"})));
    assert_eq!((&told["send_buf_size"], &told["enable_quickack"], &told["recv_buf_size"]), (&json!(40_000), &json!(true), &json!(0)));
    server.stop();
    let place = Place::new();
    let args = format!("-S -P 0 --no-cpumask-locks --wait-for-rpc -r {}", place.path().display());
    let mut program = Program::start_collecting(hello_sock(&args));
    let mut client = Client::new(&place.path());
    for (params, method) in [
        (json!({"impl_name": "nobodys"}), "sock_set_default_impl"),
        (json!({"impl_name": "posix", "tls_version": 13}), "sock_impl_set_options"),
        (json!({"impl_name": "nobodys", "recv_buf_size": 5000}), "sock_impl_set_options"),
        (json!({"impl_name": "posix", "more": 0}), "sock_impl_set_options"),
        (json!({"small_pool_count": 0}), "iobuf_set_options"),
        (json!({"small_bufsize": 0}), "iobuf_set_options"),
        (json!({"enable_numa": true}), "iobuf_set_options"),
    ] {
        assert_eq!(client.code(method, Some(params.clone())), -32602, "{method} {params}");
    }
    let calls = saved.iter().flat_map(|calls| calls.as_array().unwrap());
    for call in calls.chain([&json!({"method": "framework_start_init"})]) {
        client.send(call["method"].as_str().unwrap(), call.get("params").cloned());
        assert_eq!(client.answer()["result"], true, "{call}");
    }
    program.line_with("with sock_impl(posix)");
    assert_eq!(config(&mut client), saved);
    assert_eq!(saved[2][0]["params"]["small_pool_count"], 300);
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait().code, Some(0));
    // And by the file alone, which has the last word over the command line.
    let names = ["scheduler", "sock", "iobuf"];
    let subsystems: Vec<_> = names.iter().zip(&saved).map(|(name, calls)| json!({"subsystem": name, "config": calls})).collect();
    let (place, file) = (Place::new(), place.dir.path().join("saved.json"));
    fs::write(&file, json!({"subsystems": subsystems}).to_string()).unwrap();
    let mut server = place.serve(&format!("--small-pool-count 7 -c {}", file.display()));
    let mut client = Client::new(&place.path());
    assert_eq!(client.call("framework_wait_init", None), true);
    assert_eq!(config(&mut client), saved, "s200");
    server.stop();
}

/// What SPDK's NVMe-oF target saves, but for the sizes of its pool.
const OF_NVMF_TGT: &str = r#"{
  "subsystems": [
    { "subsystem": "scheduler", "config": [ { "method": "framework_set_scheduler", "params": { "name": "static" } } ] },
    {
      "subsystem": "sock",
      "config": [
        { "method": "sock_set_default_impl", "params": { "impl_name": "posix" } },
        {
          "method": "sock_impl_set_options",
          "params": {
            "impl_name": "ssl", "recv_buf_size": 4096, "send_buf_size": 4096, "enable_recv_pipe": true, "enable_quickack": false,
            "enable_placement_id": 0, "enable_zerocopy_send_server": true, "enable_zerocopy_send_client": false,
            "zerocopy_threshold": 0, "tls_version": 0, "enable_ktls": false
          }
        },
        {
          "method": "sock_impl_set_options",
          "params": {
            "impl_name": "posix", "recv_buf_size": 2097152, "send_buf_size": 2097152, "enable_recv_pipe": true, "enable_quickack": false,
            "enable_placement_id": 0, "enable_zerocopy_send_server": true, "enable_zerocopy_send_client": false,
            "zerocopy_threshold": 0, "tls_version": 0, "enable_ktls": false
          }
        }
      ]
    },
    {
      "subsystem": "iobuf",
      "config": [
        {
          "method": "iobuf_set_options",
          "params": { "small_pool_count": 512, "large_pool_count": 16, "small_bufsize": 8192, "large_bufsize": 135168, "enable_numa": false }
        }
      ]
    },
    { "subsystem": "keyring", "config": [] },
    {
      "subsystem": "accel",
      "config": [ { "method": "accel_set_options", "params": { "small_cache_size": 128, "large_cache_size": 16, "task_count": 2048 } } ]
    },
    {
      "subsystem": "bdev",
      "config": [
        { "method": "bdev_set_options", "params": { "bdev_io_pool_size": 65535, "bdev_auto_examine": true } },
        { "method": "bdev_malloc_create", "params": { "name": "Malloc0", "num_blocks": 131072, "block_size": 512 } },
        { "method": "bdev_wait_for_examine" }
      ]
    },
    { "subsystem": "nvmf", "config": [ { "method": "nvmf_set_max_subsystems", "params": { "max_subsystems": 1024 } } ] },
    { "subsystem": "nbd", "config": [] }
  ]
}
"#;

#[test]
fn s198_a_configuration_of_spdks_own_starts_a_server() {
    let place = Place::new();
    let file = place.dir.path().join("nvmf_tgt.json");
    fs::write(&file, OF_NVMF_TGT).unwrap();
    let mut server = place.serve(&format!("-c {}", file.display()));
    for part in [
        "this program has nothing for subsystem \"accel\": passed over are accel_set_options (line 38)",
        "subsystem \"bdev\": passed over are bdev_set_options (line 43), bdev_malloc_create (line 44), bdev_wait_for_examine (line 45)",
        "subsystem \"nvmf\"",
        "line 9: sock_impl_set_options is passed over, as there is no network backend \"ssl\" here",
    ] {
        assert!(server.program.stderr().iter().any(|line| line.contains(part)), "{part}: {:#?}", server.program.stderr());
    }
    let mut client = Client::new(&place.path());
    assert_eq!(client.call("sock_get_default_impl", None), json!({"impl_name": "posix"}));
    assert_eq!(common::echo(&mut server.connect(), b"as of SPDK"), b"as of SPDK");
    server.stop();
}

/// What the documentation shows.
#[test]
fn s201_the_file_in_the_documentation_is_one() {
    let place = Place::new();
    let file = place.dir.path().join("c.json");
    let page = include_str!("../../docs/config.md");
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    fs::write(&file, example).unwrap();
    let mut server = place.serve(&format!("-c {}", file.display()));
    let mut client = Client::new(&place.path());
    assert_eq!(client.call("sock_get_default_impl", None), json!({"impl_name": "posix"}));
    assert_eq!(client.call("log_get_flags", None)["posix"], true);
    let pool = client.call("framework_get_config", Some(json!({"name": "iobuf"})));
    assert_eq!(pool[0]["params"]["small_pool_count"], 4096);
    server.stop();
}

/// The file is played around the start that the call asks for.
#[test]
fn s200_a_file_and_a_client_start_it_together() {
    let place = Place::new();
    let file = place.dir.path().join("c.json");
    let call = |method: &str, params: Value| json!({"method": method, "params": params});
    let late = [call("log_set_flag", json!({"flag": "pool"})), call("thread_set_cpumask", json!({"id": 1, "cpumask": "x"}))];
    let config = json!({"subsystems": [{"subsystem": "sock", "config": [call("sock_set_default_impl", json!({"impl_name": "posix"}))]},
        {"subsystem": "log", "config": late}]});
    fs::write(&file, config.to_string()).unwrap();
    let args = format!("-S -P 0 --no-cpumask-locks --wait-for-rpc -r {} -c {}", place.path().display(), file.display());
    let mut program = Program::start_collecting(hello_sock(&args));
    program.line_with("waiting for the call of framework_start_init");
    let mut client = Client::new(&place.path());
    assert_eq!(client.call("sock_get_default_impl", None), json!({"impl_name": "posix"}));
    assert_eq!(client.call("log_get_flags", None)["pool"], true, "of both phases, so before the start");
    client.send("framework_start_init", None);
    let answer = client.answer();
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert!(answer["error"]["message"].as_str().is_some_and(|why| why.contains("line 1: thread_set_cpumask: ")), "{answer}");
    program.line_with("with sock_impl(posix)");
    assert_eq!(program.wait().code, Some(1));
}

/// Echoes on the same reactor while clients send what is no JSON, read nothing, or hang up.
#[test]
fn s165_echoes_go_on_beside_bad_clients() {
    let place = Place::new();
    let mut server = place.serve("");
    let mut echo = server.connect();
    let mut deaf = UnixStream::connect(place.path()).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let mut random = 1_u32;
    let mut kept = Vec::new();
    for n in 0..500 {
        let _ = deaf.write(br#"{"id":1,"method":"thread_get_pollers"}"#);
        let mut bad = UnixStream::connect(place.path()).unwrap();
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let _ = match n % 4 {
            0 => bad.write_all(&random.to_le_bytes()),
            1 => bad.write_all("[".repeat(256 << 10).as_bytes()),
            2 => bad.write_all(b"{\"method\":"),
            _ => bad.write_all(br#"[{"id":1,"method":"framework_get_reactors"},{"id":2,"method":"rpc_get_methods"}]"#),
        };
        if n % 10 == 2 {
            kept.push(bad);
            kept.truncate(40);
        }
        let sent: Vec<u8> = (0..997_u32).map(|at| (at.wrapping_mul(random) >> 8) as u8).collect();
        assert_eq!(common::echo(&mut echo, &sent), sent, "echo {n}");
    }
    let resident = server.program.resident();
    assert!(resident < 256 << 20, "{resident} bytes");
    deaf.set_nonblocking(false).unwrap();
    let mut some = [0; 1024];
    assert!(deaf.read(&mut some).unwrap() > 0, "it was answered, as far as there was room");
    server.stop();
}
