//! A target set up from nothing by SPDK's methods, used by a host, saved, made again from the file,
//! and taken down.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{HOSTNQN, Host, NQN};
use nvme::auth::{self, Secret};
use nvme::command::{Sqe, admin, io};
use nvme::fabrics::{ConnectData, asks_who, property};
use nvme::host::Payload;
use nvme::log::{self, feature};
use nvme::{Code, Shape};
use serde_json::{Value, json};
use zerocopy::IntoBytes;

/// Nothing that is waited for takes this long, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Program {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Program {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let path = dir.join("rpc.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_nvmf-tgt"))
            .args(["--no-cpumask-locks", "-r", path.to_str().unwrap()])
            .args(args)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let begun = Instant::now();
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(why) => assert!(begun.elapsed() < PATIENCE, "no socket: {why}"),
            }
            std::thread::yield_now();
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { child, stream: BufReader::new(stream) }
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let mut call = json!({"jsonrpc": "2.0", "id": 1, "method": method});
        if !params.is_null() {
            call["params"] = params.clone();
        }
        writeln!(self.stream.get_mut(), "{call}").expect("it is taken");
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, &params);
        assert!(answer.get("result").is_some(), "{method} {params}: {answer}");
        answer["result"].clone()
    }

    fn fails(&mut self, method: &str, params: Value, code: i64, part: &str) {
        let answer = self.ask(method, &params);
        let error = &answer["error"];
        assert_eq!(error["code"], code, "{method} {params}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(part), "{method} {params}: {answer}");
    }

    /// Asks until it is so.
    fn until(&mut self, method: &str, params: &Value, is_so: impl Fn(&Value) -> bool) {
        let begun = Instant::now();
        loop {
            let told = self.call(method, params.clone());
            if is_so(&told) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{method}: {told}");
        }
    }

    /// It has a port that was free.
    fn listens(&mut self, nqn: &str) -> SocketAddr {
        let mut at = None;
        let begun = Instant::now();
        // Before its poll groups run it has none.
        while at.is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not listen");
            let added =
                self.ask("nvmf_subsystem_add_listener", &json!({"nqn": nqn, "listen_address": address("0"), "secure_channel": false}));
            if added.get("result") == Some(&json!(true)) {
                let told = self.call("nvmf_subsystem_get_listeners", json!({"nqn": nqn}));
                at = Some(told.as_array().unwrap().last().unwrap()["address"].clone());
            }
        }
        let at = at.unwrap();
        assert_eq!((&at["trtype"], &at["adrfam"]), (&json!("TCP"), &json!("IPv4")));
        format!("{}:{}", at["traddr"].as_str().unwrap(), at["trsvcid"].as_str().unwrap()).parse().unwrap()
    }

    fn end(mut self) {
        assert_eq!(self.call("spdk_kill_instance", json!({"sig_name": "SIGTERM"})), true);
        assert!(self.child.wait().unwrap().success(), "all is counted home");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(port: &str) -> Value {
    json!({"trtype": "tcp", "traddr": "127.0.0.1", "trsvcid": port})
}

/// What SPDK's client sends, with all that it always says.
fn transport() -> Value {
    json!({"trtype": "TCP", "max_io_size": 131072, "no_srq": false, "c2h_success": true, "zcopy": false, "dif_insert_or_strip": false,
        "no_wr_batching": false, "disable_mappable_bar0": false, "disable_adaptive_irq": false, "disable_shadow_doorbells": false,
        "disable_command_passthru": false})
}

fn subsystem(nqn: &str) -> Value {
    json!({"nqn": nqn, "serial_number": "SPDK00000000000001", "allow_any_host": false, "ana_reporting": true, "passthrough": false,
        "enable_nssr": false, "model_number": "a disk", "max_namespaces": 4, "min_cntlid": 7})
}

fn of(nqn: &str) -> Value {
    json!({"nqn": nqn})
}

/// A bdev, a transport, a subsystem, a host, a namespace and a listener.
fn set_up(spdk: &mut Program) -> SocketAddr {
    let malloc = json!({"num_blocks": 32768, "block_size": 512, "name": "Malloc0", "uuid": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11"});
    assert_eq!(spdk.call("bdev_malloc_create", malloc), "Malloc0");
    assert_eq!(spdk.call("nvmf_create_transport", transport()), true);
    assert_eq!(spdk.call("nvmf_create_subsystem", subsystem(NQN)), true);
    assert_eq!(spdk.call("nvmf_subsystem_add_host", json!({"nqn": NQN, "host": HOSTNQN})), true);
    let namespace = json!({"bdev_name": "Malloc0", "no_auto_visible": false, "hide_metadata": false, "eui64": "0123456789ABCDEF"});
    assert_eq!(spdk.call("nvmf_subsystem_add_ns", json!({"nqn": NQN, "namespace": namespace})), 1);
    spdk.listens(NQN)
}

/// Writes and reads a block as a host.
fn use_it(at: SocketAddr, check: impl FnOnce()) {
    let (_admin, bringup) = Host::admin(at, Shape::default(), NQN);
    let mut queue = Host::io(at, Shape::default(), NQN, &bringup, 1, 32);
    let data = vec![0x5A; 4096];
    let done = queue.call(Sqe::blocks(io::WRITE, 1, 8, 8, 0), Payload::Send(4096), &data);
    assert!(done.status.is_success(), "{done:?}");
    let done = queue.call(Sqe::blocks(io::READ, 1, 8, 8, 0), Payload::Receive(4096), &[]);
    assert!(done.status.is_success() && done.data == data, "{:?}", done.status);
    check();
}

#[test]
fn s336_a_target_is_set_up_from_nothing_used_and_taken_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut spdk = Program::start(dir.path(), &[]);
    let at = set_up(&mut spdk);

    let told = spdk.call("nvmf_get_subsystems", Value::Null);
    let discovery = json!({"nqn": "nqn.2014-08.org.nvmexpress.discovery", "subtype": "Discovery", "listen_addresses": [],
        "allow_any_host": true, "hosts": []});
    let listens = json!([{"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": at.port().to_string()}]);
    let namespace = json!({"nsid": 1, "bdev_name": "Malloc0", "name": "Malloc0", "nguid": "0D6DC05E1E8A4F2C9B4E2F0F2B9A8C11",
        "eui64": "0123456789ABCDEF", "uuid": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11", "anagrpid": 1});
    let disk = json!({"nqn": NQN, "subtype": "NVMe", "listen_addresses": listens, "allow_any_host": false, "hosts": [{"nqn": HOSTNQN}],
        "serial_number": "SPDK00000000000001", "model_number": "a disk", "max_namespaces": 4, "passthrough": false, "min_cntlid": 7,
        "max_cntlid": 65519, "dmrsl": 0, "wzsl": 0, "namespaces": [namespace]});
    assert_eq!(told, json!([discovery, disk]));
    assert_eq!(spdk.call("nvmf_get_subsystems", of(NQN)), json!([disk]));
    assert_eq!(spdk.call("bdev_get_bdevs", json!({"name": "Malloc0"}))[0]["claimed"], true);
    let transports = spdk.call("nvmf_get_transports", Value::Null);
    assert_eq!((&transports[0]["trtype"], transports[0].as_object().unwrap().len()), (&json!("TCP"), 18));
    assert_eq!(spdk.call("nvmf_get_transports", json!({"trtype": "tcp"})), transports);
    assert_eq!(spdk.call("nvmf_subsystem_get_controllers", of(NQN)), json!([]));

    use_it(at, || {
        let controllers = spdk.call("nvmf_subsystem_get_controllers", of(NQN));
        let hostid = "05050505-0505-0505-0505-050505050505";
        let controller = json!({"cntlid": 7, "cntrltype": "io", "hostnqn": HOSTNQN, "hostid": hostid, "num_io_qpairs": 1});
        assert_eq!(controllers, json!([controller]));
        let queues = spdk.call("nvmf_subsystem_get_qpairs", of(NQN));
        assert_eq!((queues.as_array().unwrap().len(), &queues[0]["qid"], &queues[1]["qid"]), (2, &json!(0), &json!(1)));
        assert_eq!((&queues[0]["state"], &queues[0]["listen_address"]), (&json!("enabled"), &listens[0]));
        assert_eq!(queues[0]["peer_address"]["traddr"], "127.0.0.1");
        let stats = spdk.call("nvmf_get_stats", Value::Null);
        let sum = |key: &str| stats["poll_groups"].as_array().unwrap().iter().map(|group| group[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("admin_qpairs"), sum("current_admin_qpairs"), sum("io_qpairs"), sum("current_io_qpairs")), (1, 1, 1, 1));
        assert!(sum("completed_nvme_io") > 4 && sum("pending_bdev_io") == 0);
        // The thread of a queue is one that there is.
        let threads = spdk.call("thread_get_stats", Value::Null);
        let is_there = |name: &Value| threads["threads"].as_array().unwrap().iter().any(|thread| thread["name"] == *name);
        assert!(is_there(&queues[0]["thread"]) && is_there(&stats["poll_groups"][0]["name"]), "{queues} {threads}");
        // A disk that hosts use is slowed down, and is again as it was.
        let limit = |ios: u64| json!({"name": "Malloc0", "rw_ios_per_sec": ios});
        assert_eq!([spdk.call("bdev_set_qos_limit", limit(9_999)), spdk.call("bdev_set_qos_limit", limit(0))], [true, true]);
    });
    spdk.until("nvmf_subsystem_get_controllers", &of(NQN), |told| *told == json!([]));

    let port = at.port().to_string();
    let way = |state: &str| json!({"nqn": NQN, "listen_address": address(&port), "ana_state": state, "anagrpid": 2});
    assert_eq!(spdk.call("nvmf_subsystem_listener_set_ana_state", way("non_optimized")), true);
    let told = spdk.call("nvmf_subsystem_get_listeners", of(NQN));
    let states: Vec<_> = told[0]["ana_states"].as_array().unwrap().iter().map(|it| it["ana_state"].as_str().unwrap()).collect();
    assert_eq!(states, ["optimized", "non_optimized", "optimized", "optimized"]);

    assert_eq!(spdk.call("nvmf_subsystem_allow_any_host", json!({"nqn": NQN, "allow_any_host": true})), true);
    assert_eq!(spdk.call("nvmf_subsystem_remove_host", json!({"nqn": NQN, "host": HOSTNQN})), true);
    assert_eq!(spdk.call("nvmf_subsystem_remove_listener", json!({"nqn": NQN, "listen_address": address(&port)})), true);
    assert_eq!(spdk.call("nvmf_subsystem_remove_ns", json!({"nqn": NQN, "nsid": 1})), true);
    assert_eq!(spdk.call("nvmf_delete_subsystem", of(NQN)), true);
    assert_eq!(spdk.call("nvmf_get_subsystems", Value::Null), json!([discovery]));
    // Once the poll groups have closed it.
    spdk.until("bdev_get_bdevs", &json!({"name": "Malloc0"}), |told| told[0]["claimed"] == false);
    assert_eq!(spdk.call("bdev_malloc_delete", json!({"name": "Malloc0"})), true);
    spdk.end();
}

#[test]
fn s330_an_error_that_is_asked_for_reaches_the_host_as_it_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut spdk = Program::start(dir.path(), &[]);
    spdk.call("bdev_malloc_create", json!({"num_blocks": 64, "block_size": 512, "name": "Base"}));
    spdk.call("bdev_error_create", json!({"base_name": "Base"}));
    spdk.call("nvmf_create_transport", transport());
    spdk.call("nvmf_create_subsystem", json!({"nqn": NQN, "allow_any_host": true}));
    spdk.call("nvmf_subsystem_add_ns", json!({"nqn": NQN, "namespace": {"bdev_name": "EE_Base"}}));
    let at = spdk.listens(NQN);
    let (_admin, bringup) = Host::admin(at, Shape::default(), NQN);
    let mut queue = Host::io(at, Shape::default(), NQN, &bringup, 1, 32);
    let mut read = || queue.call(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]).status;
    let mut inject = |error: &str, sct: u8, sc: u8| {
        let params = json!({"name": "EE_Base", "io_type": "read", "error_type": error, "nvme_sct": sct, "nvme_sc": sc, "num": 1});
        assert_eq!(spdk.call("bdev_error_inject_error", params), true);
    };
    assert!(read().is_success());
    inject("nvme_failure", 2, 0x86);
    assert_eq!([read().code(), read().code()], [Some(Code::AccessDenied), Some(Code::Success)]);
    inject("failure", 0, 0);
    assert_eq!([read().code(), read().code()], [Some(Code::UnrecoveredRead), Some(Code::Success)]);
}

#[test]
fn s337_what_was_set_up_is_saved_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut spdk = Program::start(dir.path(), &[]);
    let at = set_up(&mut spdk);
    let port = at.port().to_string();
    let way = json!({"nqn": NQN, "listen_address": address(&port), "ana_state": "inaccessible", "anagrpid": 3});
    assert_eq!(spdk.call("nvmf_subsystem_listener_set_ana_state", way), true);
    let parts = spdk.call("framework_get_subsystems", Value::Null);
    let names: Vec<_> = parts.as_array().unwrap().iter().map(|part| part["subsystem"].as_str().unwrap()).collect();
    assert_eq!(names, ["scheduler", "sock", "iobuf", "bdev", "keyring", "nvmf"]);
    assert_eq!(parts[5]["depends_on"], json!(["bdev", "keyring", "sock"]));
    let save = |spdk: &mut Program| -> Vec<Value> {
        let config = |name: &&str| json!({"subsystem": name, "config": spdk.call("framework_get_config", json!({"name": name}))});
        names.iter().map(config).collect()
    };
    let saved = save(&mut spdk);
    let methods: Vec<_> = saved[5]["config"].as_array().unwrap().iter().map(|call| call["method"].as_str().unwrap()).collect();
    let wanted = [
        "nvmf_set_config",
        "nvmf_set_max_subsystems",
        "nvmf_create_transport",
        "nvmf_create_subsystem",
        "nvmf_subsystem_add_host",
        "nvmf_subsystem_add_ns",
        "nvmf_subsystem_add_listener",
        "nvmf_subsystem_listener_set_ana_state",
    ];
    assert_eq!(methods, wanted);
    let told = spdk.call("nvmf_get_subsystems", Value::Null);
    spdk.end();

    let file = dir.path().join("saved.json");
    std::fs::write(&file, json!({"subsystems": saved}).to_string()).unwrap();
    let mut spdk = Program::start(dir.path(), &["-c", file.to_str().unwrap()]);
    assert_eq!(spdk.call("framework_wait_init", Value::Null), true);
    assert_eq!(spdk.call("nvmf_get_subsystems", Value::Null), told);
    assert_eq!(save(&mut spdk), saved);
    use_it(at, || ());
    spdk.end();
}

/// A host's queue that is asked who it is, up to what it says then.
fn proves(host: &mut Host, end: &mut auth::Host) -> auth::Step {
    loop {
        let done = match end.step() {
            auth::Step::Send(sqe) => host.call(sqe, Payload::Send(end.data().len() as u32), end.data()),
            auth::Step::Receive(sqe, length) => host.call(sqe, Payload::Receive(length), &[]),
            ended => return ended,
        };
        end.done(done.status, &done.data, &mut |bytes| bytes.fill(5));
    }
}

#[test]
fn s364_hosts_show_keys_that_are_named_saved_and_never_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, first: u8| {
        let (path, secret) = (dir.path().join(name), Secret::new(&[first; 32], Some(auth::Hash::Sha256)).unwrap());
        std::fs::write(&path, secret.text().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        (json!({"name": name, "path": path.to_str().unwrap()}), secret)
    };
    let ((host, secret), (controller, controllers), (other, others)) = (file("host", 1), file("controller", 2), file("other", 3));
    let mut spdk = Program::start(dir.path(), &[]);
    let at = set_up(&mut spdk);
    let set = |host: Value, controller: Value| json!({"nqn": NQN, "host": HOSTNQN, "dhchap_key": host, "dhchap_ctrlr_key": controller});
    spdk.fails("nvmf_subsystem_set_keys", set(json!("host"), Value::Null), -32602, "Key 'host' does not exist");
    for key in [&host, &controller, &other] {
        assert_eq!(spdk.call("keyring_file_add_key", key.clone()), true);
    }
    spdk.fails("keyring_file_add_key", host.clone(), -17, "already exists");
    spdk.fails("keyring_file_remove_key", json!({"name": "none"}), -126, "does not exist");
    let open = dir.path().join("open");
    std::fs::write(&open, "DHHC-1:00::").unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    spdk.fails("keyring_file_add_key", json!({"name": "open", "path": open.to_str().unwrap()}), -1, "chmod 600");
    spdk.fails("nvmf_subsystem_set_keys", set(Value::Null, json!("controller")), -32602, "needs a key of its own");
    assert_eq!(spdk.call("nvmf_subsystem_set_keys", set(json!("host"), json!("controller"))), true);
    let listed = spdk.call("keyring_get_keys", Value::Null);
    let of = |at: usize| (&listed[at]["name"], &listed[at]["refcnt"], &listed[at]["removed"], &listed[at]["path"]);
    assert_eq!(of(0), (&json!("host"), &json!(2), &json!(false), &host["path"]), "{listed}");
    assert_eq!(of(2).1, &json!(1));
    let hosts = json!([{"nqn": HOSTNQN, "dhchap_key": "host", "dhchap_ctrlr_key": "controller"}]);
    assert_eq!(spdk.call("nvmf_get_subsystems", json!({"nqn": NQN}))[0]["hosts"], hosts);

    let save = |spdk: &mut Program| -> Vec<Value> {
        let config = |name: &str| json!({"subsystem": name, "config": spdk.call("framework_get_config", json!({"name": name}))});
        ["bdev", "keyring", "nvmf"].map(config).into()
    };
    let mut saved = save(&mut spdk);
    let text = json!(saved).to_string();
    assert!(!text.contains("DHHC-1") && text.contains("\"dhchap_ctrlr_key\":\"controller\""), "{text}");
    assert_eq!(saved[1]["config"].as_array().unwrap().len(), 3);
    spdk.end();

    // Made again: with a key exchange, in which the program computes on a thread of its own.
    saved[2]["config"][0]["params"]["dhchap_dhgroups"] = json!(["ffdhe2048"]);
    let file = dir.path().join("saved.json");
    std::fs::write(&file, json!({"subsystems": saved}).to_string()).unwrap();
    let mut spdk = Program::start(dir.path(), &["-c", file.to_str().unwrap()]);
    assert_eq!(spdk.call("framework_wait_init", Value::Null), true);
    assert_eq!(save(&mut spdk), saved);
    let prove = |host: &Secret, controller: &Secret| {
        let mut queue = Host::new(at, Shape::default(), 31);
        let data = ConnectData::new([5; 16], 0xFFFF, NQN, HOSTNQN).unwrap();
        let done = queue.call(Sqe::connect(0, 32, 0), Payload::Send(1024), data.as_bytes());
        assert!(done.status.is_success() && asks_who(done.result), "{done:?}");
        let early = queue.call(Sqe::property_get(property::VS, false), Payload::None, &[]);
        assert_eq!(early.status.code(), Some(Code::AuthenticationRequired));
        let mut end = auth::Host::new(auth::Policy::default(), HOSTNQN, NQN, host, Some(controller), 1);
        let step = proves(&mut queue, &mut end);
        if step == auth::Step::Authenticated {
            assert!(queue.call(Sqe::property_get(property::VS, false), Payload::None, &[]).status.is_success());
        }
        step
    };
    assert_eq!(prove(&secret, &controllers), auth::Step::Authenticated);
    assert_eq!(prove(&others, &controllers), auth::Step::Failed(auth::HostError::Refused(1)));
    assert_eq!(prove(&secret, &others), auth::Step::Failed(auth::HostError::Controller(auth::Failure::Failed)));
    // A key that is removed is kept by who has it, until that gets another.
    assert_eq!(spdk.call("keyring_file_remove_key", json!({"name": "host"})), true);
    let removed = |spdk: &mut Program| {
        let listed = spdk.call("keyring_get_keys", Value::Null);
        listed.as_array().unwrap().iter().filter(|key| key["removed"] == true && key.get("path").is_none()).count()
    };
    assert_eq!(removed(&mut spdk), 1);
    assert_eq!(prove(&secret, &controllers), auth::Step::Authenticated);
    assert_eq!(spdk.call("nvmf_subsystem_set_keys", set(json!("other"), json!("controller"))), true);
    assert_eq!(prove(&others, &controllers), auth::Step::Authenticated);
    spdk.end();
}

/// What SPDK 26.09's own save_config writes of a target with a malloc disk, in its order, with the
/// addresses of this test.
fn spdks(port: &str) -> Value {
    let passthru = json!({"identify_ctrlr": false, "identify_uuid_list": false, "get_log_page": false, "get_set_features": false,
        "sanitize": false, "security_send_recv": false, "fw_update": false, "nvme_mi": false, "vendor_specific": false});
    json!({"subsystems": [
        {"subsystem": "scheduler", "config": [{"method": "framework_set_scheduler", "params": {"name": "static"}}]},
        {"subsystem": "sock", "config": [
            {"method": "sock_set_default_impl", "params": {"impl_name": "posix"}},
            {"method": "sock_impl_set_options", "params": {"impl_name": "ssl", "recv_buf_size": 4096, "send_buf_size": 4096,
                "enable_recv_pipe": true, "enable_quickack": false, "enable_placement_id": 0, "enable_zerocopy_send_server": true,
                "enable_zerocopy_send_client": false, "zerocopy_threshold": 0, "tls_version": 0, "enable_ktls": false}},
            {"method": "sock_impl_set_options", "params": {"impl_name": "posix", "recv_buf_size": 2097152, "send_buf_size": 2097152,
                "enable_recv_pipe": true, "enable_quickack": false, "enable_placement_id": 0, "enable_zerocopy_send_server": true,
                "enable_zerocopy_send_client": false, "zerocopy_threshold": 0, "tls_version": 0, "enable_ktls": false}}]},
        {"subsystem": "iobuf", "config": [{"method": "iobuf_set_options", "params": {"small_pool_count": 8192, "large_pool_count": 1024,
            "small_bufsize": 16384, "large_bufsize": 139264, "enable_numa": false}}]},
        {"subsystem": "keyring", "config": []},
        {"subsystem": "accel", "config": [{"method": "accel_set_options", "params": {"small_cache_size": 128, "large_cache_size": 16,
            "task_count": 2048, "sequence_count": 2048, "buf_count": 2048}}]},
        {"subsystem": "bdev", "config": [
            {"method": "bdev_set_options", "params": {"bdev_io_pool_size": 65535, "bdev_io_cache_size": 256, "bdev_auto_examine": true,
                "iobuf_small_cache_size": 128, "iobuf_large_cache_size": 16}},
            {"method": "bdev_raid_set_options", "params": {"process_window_size_kb": 1024, "process_max_bandwidth_mb_sec": 0}},
            {"method": "bdev_delay_create", "params": {"name": "Delay0", "base_bdev_name": "Malloc0", "avg_read_latency": 1,
                "p99_read_latency": 1, "avg_write_latency": 1, "p99_write_latency": 1, "uuid": "1d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11"}},
            {"method": "bdev_malloc_create", "params": {"name": "Malloc0", "num_blocks": 32768, "block_size": 512, "physical_block_size": 512,
                "uuid": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11", "optimal_io_boundary": 0, "md_size": 0, "dif_type": 0,
                "dif_is_head_of_md": false, "dif_pi_format": 0}},
            {"method": "bdev_nvme_set_options", "params": {"action_on_timeout": "none"}},
            {"method": "bdev_nvme_set_hotplug", "params": {"period_us": 100_000, "enable": false}},
            {"method": "bdev_wait_for_examine"}]},
        {"subsystem": "nvmf", "config": [
            {"method": "nvmf_set_config", "params": {"discovery_filter": "match_any", "admin_cmd_passthru": passthru,
                "dhchap_digests": ["sha256", "sha384", "sha512"], "dhchap_dhgroups": ["null", "ffdhe2048"]}},
            {"method": "nvmf_set_max_subsystems", "params": {"max_subsystems": 1024}},
            {"method": "nvmf_set_crdt", "params": {"crdt1": 0, "crdt2": 0, "crdt3": 0}},
            {"method": "nvmf_create_transport", "params": {"trtype": "TCP", "max_queue_depth": 128, "max_io_qpairs_per_ctrlr": 127,
                "in_capsule_data_size": 4096, "max_io_size": 131072, "io_unit_size": 131072, "max_aq_depth": 128,
                "iobuf_small_cache_size": 4_294_967_295u32, "iobuf_large_cache_size": 4_294_967_295u32, "dif_insert_or_strip": false,
                "zcopy": false, "c2h_success": true, "sock_priority": 0, "abort_timeout_sec": 1, "ack_timeout": 0,
                "data_wr_pool_size": 0, "disable_command_passthru": false, "kas": 100, "min_kato": 10000}},
            {"method": "nvmf_create_subsystem", "params": {"nqn": NQN, "allow_any_host": true, "serial_number": "00000000000000000000",
                "model_number": "SPDK bdev Controller", "max_namespaces": 32, "min_cntlid": 1, "max_cntlid": 65519,
                "ana_reporting": false, "dmrsl": 2_097_152, "wzsl": 12}},
            {"method": "nvmf_subsystem_add_ns", "params": {"nqn": NQN, "namespace": {"nsid": 1, "bdev_name": "Delay0",
                "nguid": "0D6DC05E1E8A4F2C9B4E2F0F2B9A8C11", "uuid": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11", "no_auto_visible": false}}},
            {"method": "nvmf_subsystem_add_listener", "params": {"nqn": NQN, "listen_address": {"trtype": "TCP", "adrfam": "IPv4",
                "traddr": "127.0.0.1", "trsvcid": port}, "secure_channel": false}}]},
        {"subsystem": "nbd", "config": []}]})
}

#[test]
fn s338_a_configuration_of_spdks_plays_as_it_is() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("spdk.json");
    std::fs::write(&file, spdks(&port).to_string()).unwrap();
    let mut spdk = Program::start(dir.path(), &["-c", file.to_str().unwrap()]);
    assert_eq!(spdk.call("framework_wait_init", Value::Null), true);
    assert_eq!(spdk.call("nvmf_get_subsystems", of(NQN))[0]["namespaces"][0]["bdev_name"], "Delay0");
    use_it(format!("127.0.0.1:{port}").parse().unwrap(), || ());
    spdk.end();
}

#[test]
fn s339_what_cannot_be_is_refused_with_spdks_codes_and_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let mut spdk = Program::start(dir.path(), &[]);
    let listen = |nqn: &str, port: &str| json!({"nqn": nqn, "listen_address": address(port)});
    let none = "nqn.2016-06.io.spdk:none";
    let at = set_up(&mut spdk);
    let port = at.port().to_string();
    let namespace = |more: Value| {
        let mut namespace = json!({"bdev_name": "Malloc1"});
        namespace.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"nqn": NQN, "namespace": namespace})
    };
    assert_eq!(spdk.call("bdev_malloc_create", json!({"num_blocks": 64, "block_size": 512, "name": "Malloc1"})), "Malloc1");
    let with = |mut params: Value, key: &str, value: Value| {
        params[key] = value;
        params
    };
    for (method, params, code, part) in [
        ("nvmf_create_transport", transport(), -32603, "Transport type 'TCP' already exists"),
        ("nvmf_create_transport", with(transport(), "trtype", json!("rdma")), -32602, "'rdma'"),
        ("nvmf_create_transport", with(transport(), "max_io_size", json!(5)), -32602, "max_io_size"),
        ("nvmf_create_transport", with(transport(), "dif_insert_or_strip", json!(true)), -32602, "dif_insert_or_strip"),
        ("nvmf_create_transport", with(transport(), "masked_oncs", json!(["reservs"])), -32602, "masked_oncs"),
        ("nvmf_create_transport", with(transport(), "colour", json!(1)), -32602, "colour"),
        ("nvmf_create_transport", with(transport(), "tgt_name", json!("other")), -32603, "Unable to find a target"),
        ("nvmf_get_transports", json!({"trtype": "rdma"}), -19, "'rdma'"),
        ("nvmf_create_subsystem", subsystem(NQN), -32603, NQN),
        ("nvmf_create_subsystem", subsystem("disk"), -32602, "\"disk\""),
        ("nvmf_create_subsystem", with(subsystem(none), "serial_number", json!("S".repeat(21))), -32602, "serial_number"),
        ("nvmf_create_subsystem", with(subsystem(none), "max_cntlid", json!(6)), -32602, "max_cntlid"),
        ("nvmf_create_subsystem", with(subsystem(none), "passthrough", json!(true)), -32602, "passthrough"),
        ("nvmf_create_subsystem", with(subsystem(none), "enable_nssr", json!(true)), -32602, "enable_nssr"),
        ("nvmf_delete_subsystem", of(none), -32602, none),
        ("nvmf_delete_subsystem", of("nqn.2014-08.org.nvmexpress.discovery"), -32602, "discovery"),
        ("nvmf_get_subsystems", of(none), -19, none),
        ("nvmf_subsystem_add_ns", json!({"nqn": none, "namespace": {"bdev_name": "Malloc1"}}), -32602, none),
        ("nvmf_subsystem_add_ns", json!({"nqn": NQN, "namespace": {"bdev_name": "Malloc9"}}), -32602, "Malloc9"),
        ("nvmf_subsystem_add_ns", json!({"nqn": NQN, "namespace": {"bdev_name": "Malloc0"}}), -32602, "claimed by NVMe-oF Target"),
        ("nvmf_subsystem_add_ns", namespace(json!({"nsid": 1})), -32602, "namespace 1 already"),
        ("nvmf_subsystem_add_ns", namespace(json!({"nsid": 5})), -32602, "max_namespaces"),
        ("nvmf_subsystem_add_ns", namespace(json!({"anagrpid": 5})), -32602, "anagrpid"),
        ("nvmf_subsystem_add_ns", namespace(json!({"nguid": "12"})), -32602, "nguid"),
        ("nvmf_subsystem_add_ns", namespace(json!({"uuid": "12"})), -32602, "uuid"),
        ("nvmf_subsystem_add_ns", namespace(json!({"ptpl_file": "/none/x"})), -32602, "ptpl_file: \"/none/x\": there is no folder"),
        ("nvmf_subsystem_add_ns", namespace(json!({"no_auto_visible": true})), -32602, "no_auto_visible"),
        ("nvmf_subsystem_remove_ns", json!({"nqn": NQN, "nsid": 2}), -32602, "no namespace 2"),
        ("nvmf_subsystem_add_listener", listen(NQN, &port), -32602, "already"),
        ("nvmf_subsystem_add_listener", listen(none, "4420"), -32602, none),
        ("nvmf_subsystem_add_listener", with(listen(NQN, "0"), "secure_channel", json!(true)), -32602, "TLS"),
        ("nvmf_subsystem_remove_listener", listen(NQN, "1"), -32602, "does not listen"),
        ("nvmf_subsystem_listener_set_ana_state", with(listen(NQN, "1"), "ana_state", json!("optimized")), -32602, "does not listen"),
        ("nvmf_subsystem_listener_set_ana_state", with(listen(NQN, &port), "ana_state", json!("good")), -32602, "ana_state"),
        ("nvmf_subsystem_add_host", json!({"nqn": NQN, "host": HOSTNQN}), -32603, "already"),
        ("nvmf_subsystem_add_host", json!({"nqn": NQN, "host": "me"}), -32602, "\"me\""),
        ("nvmf_subsystem_add_host", json!({"nqn": NQN, "host": none, "psk": "key0"}), -32602, "psk"),
        ("nvmf_subsystem_add_host", json!({"nqn": NQN, "host": none, "dhchap_key": "key0"}), -32602, "Key 'key0' does not exist"),
        ("nvmf_subsystem_remove_host", json!({"nqn": NQN, "host": none}), -32603, none),
        ("nvmf_subsystem_allow_any_host", json!({"nqn": none, "allow_any_host": true}), -32602, none),
        ("nvmf_subsystem_get_listeners", of(none), -32602, none),
        ("nvmf_subsystem_get_controllers", of(none), -32602, none),
        ("nvmf_subsystem_get_qpairs", of(none), -32602, none),
        ("nvmf_get_stats", json!({"tgt_name": "other"}), -32603, "other"),
        ("nvmf_set_max_subsystems", json!({"max_subsystems": 1}), -1, ""),
    ] {
        spdk.fails(method, params, code, part);
    }
    // Nothing of that has left anything behind.
    assert_eq!(spdk.call("bdev_get_bdevs", json!({"name": "Malloc1"}))[0]["claimed"], false);
    assert_eq!(spdk.call("nvmf_get_subsystems", Value::Null).as_array().unwrap().len(), 2);
    spdk.end();

    let mut spdk = Program::start(dir.path(), &["--wait-for-rpc"]);
    for (method, params, part) in [
        ("nvmf_set_config", json!({"poll_groups_mask": "0x1"}), "poll_groups_mask"),
        ("nvmf_set_config", json!({"discovery_filter": "transport,address"}), "match_any"),
        ("nvmf_set_config", json!({"admin_cmd_passthru": {"sanitize": true}}), "admin_cmd_passthru"),
        ("nvmf_set_config", json!({"dup_host_policy": "restrict_per_listener"}), "dup_host_policy"),
        ("nvmf_set_max_subsystems", json!({"max_subsystems": 0}), "max_subsystems"),
        ("nvmf_set_max_subsystems", json!({"max_subsystems": 1025}), "max_subsystems"),
        ("nvmf_set_crdt", json!({"crdt2": 1}), "crdt"),
    ] {
        spdk.fails(method, params, -32602, part);
    }
    assert_eq!(spdk.call("nvmf_set_max_subsystems", json!({"max_subsystems": 1})), true);
    spdk.fails("nvmf_create_subsystem", subsystem(NQN), -1, "");
    assert_eq!(spdk.call("framework_start_init", Value::Null), true);
    assert_eq!(spdk.call("nvmf_create_subsystem", subsystem(NQN)), true);
    spdk.fails("nvmf_create_subsystem", subsystem(none), -32603, "1 subsystems");
    spdk.end();
}

/// A reservation command with these keys, to namespace 1.
fn reservation(queue: &mut Host, opcode: u8, word: u32, keys: [u64; 2]) -> Code {
    let mut sqe = Sqe::new(opcode, 1);
    sqe.cdw10 = word.into();
    let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    queue.call(sqe, Payload::Send(16), &bytes).status.code().expect("a known status")
}

#[test]
fn s378_a_reservation_outlives_a_target_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ptpl.json");
    let set_up = |spdk: &mut Program| {
        let malloc = json!({"num_blocks": 2048, "block_size": 512, "name": "Malloc0", "uuid": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11"});
        spdk.call("bdev_malloc_create", malloc);
        spdk.call("nvmf_create_transport", transport());
        spdk.call("nvmf_create_subsystem", json!({"nqn": NQN, "allow_any_host": true}));
        let namespace = json!({"bdev_name": "Malloc0", "ptpl_file": file});
        spdk.call("nvmf_subsystem_add_ns", json!({"nqn": NQN, "namespace": namespace}));
        spdk.listens(NQN)
    };
    let mut spdk = Program::start(dir.path(), &[]);
    let at = set_up(&mut spdk);
    let (_admin, bringup) = Host::admin(at, Shape::default(), NQN);
    let mut queue = Host::io(at, Shape::default(), NQN, &bringup, 1, 32);
    assert_eq!(reservation(&mut queue, io::RESERVATION_REGISTER, 0b11 << 30, [0, 11]), Code::Success);
    assert_eq!(reservation(&mut queue, io::RESERVATION_ACQUIRE, 2 << 8, [11, 0]), Code::Success);
    let text: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let host = "05050505-0505-0505-0505-050505050505";
    let wanted = json!({"ptpl": true, "rtype": 2, "crkey": 11, "bdev_uuid": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11",
        "holder_uuid": host, "registrants": [{"rkey": 11, "host_uuid": host}]});
    assert_eq!(text, wanted);
    // It is there when its configuration is played again.
    let saved = spdk.call("framework_get_config", json!({"name": "nvmf"}));
    let adds: Vec<_> = saved.as_array().unwrap().iter().filter(|call| call["method"] == "nvmf_subsystem_add_ns").collect();
    assert_eq!(adds[0]["params"]["namespace"]["ptpl_file"], json!(file));
    // Nobody else keeps anything there.
    spdk.call("bdev_malloc_create", json!({"num_blocks": 2048, "block_size": 512, "name": "Malloc1"}));
    let other = json!({"nqn": NQN, "namespace": {"bdev_name": "Malloc1", "ptpl_file": dir.path().join("././ptpl.json")}});
    spdk.fails("nvmf_subsystem_add_ns", other, -32602, "another namespace");
    // SIGKILL.
    drop(spdk);

    let mut spdk = Program::start(dir.path(), &[]);
    let at = set_up(&mut spdk);
    let (_admin, bringup) = Host::admin(at, Shape::default(), NQN);
    let mut queue = Host::io(at, Shape::default(), NQN, &bringup, 1, 32);
    let mut report = Sqe::new(io::RESERVATION_REPORT, 1);
    (report.cdw10, report.cdw11) = (31.into(), 1.into());
    let data = queue.call(report, Payload::Receive(128), &[]).data;
    assert_eq!((data[4], data[5], data[9], data[66]), (2, 1, 1, 1), "exclusive access, one registrant, PTPLS, who holds it");
    assert_eq!(reservation(&mut queue, io::RESERVATION_REGISTER, 1, [11, 0]), Code::Success);
    spdk.end();
    // Of another device it is not.
    let mut spdk = Program::start(dir.path(), &[]);
    spdk.call("bdev_malloc_create", json!({"num_blocks": 2048, "block_size": 512, "name": "Malloc0"}));
    spdk.call("nvmf_create_subsystem", json!({"nqn": NQN, "allow_any_host": true}));
    std::fs::write(&file, serde_json::to_vec(&wanted).unwrap()).unwrap();
    let add = json!({"nqn": NQN, "namespace": {"bdev_name": "Malloc0", "ptpl_file": file}});
    spdk.fails("nvmf_subsystem_add_ns", add, -32602, "it is of the device 0d6dc05e");
    assert_eq!(spdk.call("bdev_get_bdevs", json!({"name": "Malloc0"}))[0]["claimed"], false);
    spdk.end();
}

#[test]
fn s476_what_changes_something_is_done_for_who_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut spdk = Program::start(dir.path(), &[]);
    spdk.call("bdev_malloc_create", json!({"num_blocks": 2048, "block_size": 512, "name": "Malloc0"}));
    spdk.call("nvmf_create_subsystem", json!({"nqn": NQN, "allow_any_host": true}));
    let add = json!({"nqn": NQN, "namespace": {"bdev_name": "Malloc0", "ptpl_file": dir.path().join("ptpl.json")}});
    let mut goes = UnixStream::connect(dir.path().join("rpc.sock")).unwrap();
    write!(goes, "{}", json!({"jsonrpc": "2.0", "id": 1, "method": "nvmf_subsystem_add_ns", "params": add})).unwrap();
    drop(goes);
    let its = |told: &Value| told[0]["namespaces"].as_array().unwrap().len();
    spdk.until("nvmf_get_subsystems", &json!({"nqn": NQN}), |told| its(told) == 1);
    spdk.end();
}

/// One of two targets on the same file, whose controllers have numbers of their own.
fn one_of_two(dir: &Path, disk: &Path, cntlids: [u16; 2]) -> (Program, SocketAddr) {
    let mut spdk = Program::start(dir, &[]);
    let aio = json!({"name": "Disk0", "filename": disk, "block_size": 512, "uuid": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11"});
    spdk.call("bdev_aio_create", aio);
    spdk.call("nvmf_create_transport", transport());
    let subsystem = json!({"nqn": NQN, "serial_number": "TWO", "allow_any_host": true, "ana_reporting": true,
        "min_cntlid": cntlids[0], "max_cntlid": cntlids[1]});
    spdk.call("nvmf_create_subsystem", subsystem);
    spdk.call("nvmf_subsystem_add_ns", json!({"nqn": NQN, "namespace": {"bdev_name": "Disk0", "anagrpid": 1}}));
    let at = spdk.listens(NQN);
    (spdk, at)
}

fn set_way(spdk: &mut Program, at: SocketAddr, state: &str) {
    let address = address(&at.port().to_string());
    let way = json!({"nqn": NQN, "listen_address": address, "ana_state": state, "anagrpid": 1});
    assert_eq!(spdk.call("nvmf_subsystem_listener_set_ana_state", way), true);
}

/// A host's way to one of them: its queues, and an event request.
fn way(at: SocketAddr) -> (Host, Host, u16) {
    let (mut admin, bringup) = Host::admin(at, Shape::default(), NQN);
    let queue = Host::io(at, Shape::default(), NQN, &bringup, 1, 32);
    let wanted = admin.call(Sqe::set_feature(feature::EVENTS, log::Event::Ana.bit()), Payload::None, &[]);
    assert!(wanted.status.is_success(), "{wanted:?}");
    let event = admin.submit(Sqe::new(admin::ASYNC_EVENT, 0), Payload::None, &[]);
    (admin, queue, event)
}

/// Waits for the event that says that states have changed, and tells what that of group 1 is.
fn changed(admin: &mut Host, event: u16) -> u8 {
    assert_eq!(log::Event::of(admin.wait(event).result as u32), Some(log::Event::Ana));
    let page = log::GetLogPage::new(log::lid::ANA, 0, 0, 128);
    let data = admin.call(Sqe::get_log_page(0xFFFF_FFFF, &page), Payload::Receive(128), &[]).data;
    assert_eq!(data[16], 1, "the group");
    data[32]
}

#[test]
fn s381_two_targets_on_one_disk_are_two_ways_to_it() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let disk = dirs[0].path().join("disk.img");
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let (mut one, at_one) = one_of_two(dirs[0].path(), &disk, [1, 1000]);
    let (mut two, at_two) = one_of_two(dirs[1].path(), &disk, [1001, 2000]);
    set_way(&mut two, at_two, "inaccessible");
    let (mut admin_one, mut queue_one, event_one) = way(at_one);
    let (mut admin_two, mut queue_two, event_two) = way(at_two);
    let write = |queue: &mut Host, byte| {
        let mut sqe = Sqe::blocks(io::WRITE, 1, 8, 8, 0);
        sqe.cdw12 = (sqe.cdw12.get() | 1 << 30).into();
        queue.call(sqe, Payload::Send(4096), &[byte; 4096]).status
    };
    let read = |queue: &mut Host| queue.call(Sqe::blocks(io::READ, 1, 8, 8, 0), Payload::Receive(4096), &[]);
    assert!(write(&mut queue_one, 1).is_success());
    let done = read(&mut queue_two);
    assert_eq!((done.status.code(), done.status.is_final()), (Some(Code::AnaInaccessible), false), "it is to be tried elsewhere");
    // Another way is the good one from now on.
    set_way(&mut one, at_one, "inaccessible");
    set_way(&mut two, at_two, "optimized");
    assert_eq!(changed(&mut admin_one, event_one), nvme::log::AnaState::Inaccessible as u8);
    assert_eq!(changed(&mut admin_two, event_two), nvme::log::AnaState::Optimized as u8);
    assert_eq!(write(&mut queue_one, 9).code(), Some(Code::AnaInaccessible));
    assert_eq!(read(&mut queue_two).data, [1; 4096], "what was written on the other");
    assert!(write(&mut queue_two, 2).is_success());
    // One is killed; the other is set back, and has lost nothing.
    drop(two);
    set_way(&mut one, at_one, "optimized");
    assert_eq!(read(&mut queue_one).data, [2; 4096]);
    drop((admin_one, queue_one));
    one.end();
}
