//! Devices made, asked after and removed by SPDK's methods, as its clients call them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Nothing that is waited for takes this long, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// hello-bdev, which waits for its start.
struct Program {
    child: Child,
    stream: BufReader<UnixStream>,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Program {
    fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap(), &["--wait-for-rpc"])
    }

    fn with(dir: tempfile::TempDir, args: &[&str]) -> Self {
        let path = dir.path().join("rpc.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_hello-bdev"))
            .args(["-r", path.to_str().unwrap()])
            .args(args)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let begun = std::time::Instant::now();
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(why) => assert!(begun.elapsed() < PATIENCE, "no socket: {why}"),
            }
            std::thread::yield_now();
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { child, stream: BufReader::new(stream), path, _dir: dir }
    }

    /// Another client of the same program.
    fn again(&self) -> Client {
        let stream = UnixStream::connect(&self.path).expect("another client");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn ask(&mut self, method: &str, params: Option<Value>) -> Value {
        let mut call = json!({"jsonrpc": "2.0", "id": 1, "method": method});
        if let Some(params) = params {
            call["params"] = params;
        }
        writeln!(self.stream.get_mut(), "{call}").expect("it is taken");
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }

    fn call(&mut self, method: &str, params: Option<Value>) -> Value {
        let answer = self.ask(method, params);
        assert!(answer.get("result").is_some(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn code(&mut self, method: &str, params: Value) -> i64 {
        let answer = self.ask(method, Some(params));
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{method}: {answer}"))
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn tell(&mut self, method: &str, params: &Value) {
        writeln!(self.0.get_mut(), "{}", json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).expect("it is taken");
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What SPDK's client sends with each.
fn malloc(name: Option<&str>) -> Value {
    let mut params = json!({"num_blocks": 32768, "block_size": 512, "md_interleave": false, "dif_is_head_of_md": false});
    if let Some(name) = name {
        params["name"] = name.into();
    }
    params
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn s231_devices_are_made_told_and_removed() {
    let mut spdk = Program::start();
    assert_eq!(spdk.call("bdev_get_bdevs", None), json!([]));
    assert_eq!(spdk.call("bdev_malloc_create", Some(malloc(None))), "Malloc0");
    assert_eq!(spdk.call("bdev_malloc_create", Some(malloc(None))), "Malloc1");
    let null = json!({"num_blocks": 2048, "block_size": 4096, "name": "Null0", "dif_is_head_of_md": false,
        "uuid": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11"});
    assert_eq!(spdk.call("bdev_null_create", Some(null)), "Null0");

    let all = spdk.call("bdev_get_bdevs", None);
    let names: Vec<_> = all.as_array().unwrap().iter().map(|bdev| bdev["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Malloc0", "Malloc1", "Null0"]);
    let one = spdk.call("bdev_get_bdevs", Some(json!({"name": "0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c11"})));
    assert_eq!((&one[0]["name"], &one[0]["product_name"], &one[0]["num_blocks"]), (&json!("Null0"), &json!("Null disk"), &json!(2048)));
    let mut wanted = [
        "name",
        "aliases",
        "product_name",
        "block_size",
        "num_blocks",
        "preferred_write_alignment",
        "preferred_write_granularity",
        "optimal_write_size",
        "preferred_unmap_alignment",
        "preferred_unmap_granularity",
        "uuid",
        "numa_id",
        "assigned_rate_limits",
        "claimed",
        "zoned",
        "supported_io_types",
        "driver_specific",
    ];
    wanted.sort_unstable();
    let mut told = keys(&one[0]);
    told.sort_unstable();
    assert_eq!(told, wanted);
    assert_eq!(keys(&one[0]["supported_io_types"]).len(), 22);
    let has = |bdev: &Value, kind: &str| bdev["supported_io_types"][kind].as_bool().unwrap();
    assert!(has(&all[0], "compare_and_write") && !has(&one[0], "compare_and_write") && has(&one[0], "abort"));

    assert_eq!(spdk.call("bdev_null_resize", Some(json!({"name": "Null0", "new_size": 16}))), true);
    assert_eq!(spdk.call("bdev_get_bdevs", Some(json!({"name": "Null0"})))[0]["num_blocks"], 4096);
    let stats = spdk.call("bdev_get_iostat", Some(json!({"per_channel": false})));
    assert_eq!((keys(&stats).len(), stats["bdevs"].as_array().unwrap().len(), keys(&stats["bdevs"][0]).len()), (3, 3, 22));

    assert_eq!(spdk.call("bdev_malloc_delete", Some(json!({"name": "Malloc1"}))), true);
    // One that is awaited is told when it comes, by whoever asks first for it; or not.
    let mut other = spdk.again();
    other.tell("bdev_get_bdevs", &json!({"name": "Late", "timeout": 60_000}));
    assert_eq!(spdk.code("bdev_get_bdevs", json!({"name": "Late", "timeout": 20})), -19);
    spdk.call("bdev_null_create", Some(json!({"num_blocks": 8, "block_size": 512, "name": "Late"})));
    assert_eq!(other.hear()["result"][0]["name"], "Late");
    for (method, params, code) in [
        ("bdev_malloc_create", malloc(Some("Malloc0")), -17),
        ("bdev_malloc_delete", json!({"name": "Malloc1"}), -19),
        ("bdev_malloc_delete", json!({"name": "Null0"}), -19),
        ("bdev_get_bdevs", json!({"name": "Malloc1"}), -19),
        ("bdev_get_iostat", json!({"name": "Malloc1"}), -19),
        ("bdev_malloc_create", json!({"num_blocks": 8, "block_size": 100}), -22),
        ("bdev_malloc_create", json!({"num_blocks": 1u64 << 50, "block_size": 512}), -12),
        ("bdev_malloc_create", json!({"num_blocks": 8, "block_size": 512, "md_size": 8}), -32602),
        ("bdev_malloc_create", json!({"num_blocks": 8, "block_size": 512, "uuid": "x"}), -22),
        ("bdev_malloc_create", json!({"num_blocks": 8, "block_size": 512, "colour": 1}), -32602),
        ("bdev_malloc_delete", json!({}), -32602),
        ("bdev_null_resize", json!({"name": "Malloc0", "new_size": 1}), -22),
        ("bdev_null_resize", json!({"name": "Null0", "new_size": 0}), -22),
        ("bdev_get_iostat", json!({"per_channel": true}), -22),
        ("bdev_get_iostat", json!({"per_channel": true, "names": ["Malloc0", "Null0"]}), -22),
        ("bdev_get_iostat", json!({"name": "Null0", "names": ["Null0"]}), -22),
        ("bdev_get_iostat", json!({"names": ["Null0", "Null1"]}), -19),
        ("bdev_get_iostat", json!({"reset_mode": "some"}), -32602),
        ("bdev_reset_iostat", json!({"name": "Null1"}), -19),
    ] {
        assert_eq!(spdk.code(method, params.clone()), code, "{method} {params}");
    }

    // What was made is what the application finds.
    assert_eq!(spdk.call("framework_start_init", None), true);
    assert!(spdk.child.wait().unwrap().success());
}

/// A device that takes an hour to write, so that the program goes on until it is stopped.
fn hour() -> Value {
    json!({"base_bdev_name": "Malloc0", "name": "Slow0", "avg_read_latency": 10, "p99_read_latency": 100,
        "avg_write_latency": 3_600_000_000u64, "p99_write_latency": 3_600_000_000u64})
}

#[test]
fn s334_what_was_made_is_saved_and_made_again_as_it_was() {
    let args = ["--wait-for-rpc", "-b", "Slow0", "--bdev", "null:name=Null0,size=1M", "--bdev", "fault:name=F0,base=Null0,seed=7,errors=9"];
    let mut spdk = Program::with(tempfile::tempdir().unwrap(), &args);
    // As SPDK's own configurations have it: what is on top comes before what is below.
    assert_eq!(spdk.call("bdev_set_options", Some(json!({"bdev_io_pool_size": 65535, "bdev_auto_examine": true}))), true);
    assert_eq!(spdk.call("bdev_delay_create", Some(hour())), "Slow0");
    assert_eq!(spdk.call("bdev_error_create", Some(json!({"base_name": "Malloc1"}))), true);
    for _ in 0..2 {
        assert!(spdk.call("bdev_malloc_create", Some(malloc(None))).is_string());
    }
    assert_eq!(spdk.call("bdev_wait_for_examine", None), true);
    assert_eq!(spdk.call("bdev_examine", Some(json!({"name": "Malloc0"}))), true);
    assert_eq!(spdk.call("bdev_set_qos_limit", Some(json!({"name": "Slow0", "rw_ios_per_sec": 1500, "w_mbytes_per_sec": 3}))), true);
    let limits = json!({"rw_ios_per_sec": 2000, "rw_mbytes_per_sec": 0, "r_mbytes_per_sec": 0, "w_mbytes_per_sec": 3});
    assert_eq!(spdk.call("bdev_get_bdevs", Some(json!({"name": "Slow0"})))[0]["assigned_rate_limits"], limits);
    assert_eq!(spdk.call("framework_start_init", None), true);

    let base = spdk.call("bdev_get_bdevs", Some(json!({"name": "Malloc0"})))[0].clone();
    assert_eq!((&base["claimed"], &base["claim_type"]), (&json!(true), &json!("exclusive_write")));
    let parts = spdk.call("framework_get_subsystems", None);
    assert_eq!(parts.as_array().unwrap().last(), Some(&json!({"subsystem": "bdev", "depends_on": ["iobuf"]})));
    let saved = spdk.call("framework_get_config", Some(json!({"name": "bdev", "with_batches": false})));
    let methods: Vec<_> = saved.as_array().unwrap().iter().map(|call| call["method"].as_str().unwrap()).collect();
    assert_eq!(
        methods,
        [
            "bdev_malloc_create",
            "bdev_delay_create",
            "bdev_set_qos_limit",
            "bdev_malloc_create",
            "bdev_error_create",
            "bdev_null_create",
            "bdev_fault_create"
        ]
    );
    let told = spdk.call("bdev_get_bdevs", None);
    drop(spdk);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved.json");
    // Of modules that SPDK has and this program has not, there may be options in the file.
    let foreign =
        json!([{"method": "bdev_nvme_set_options", "params": {"action_on_timeout": "none"}}, {"method": "bdev_raid_set_options"}]);
    let file = json!({"subsystems": [{"subsystem": "bdev", "config": foreign}, {"subsystem": "bdev", "config": saved}]});
    std::fs::write(&path, file.to_string()).unwrap();
    let mut spdk = Program::with(dir, &["-b", "Slow0", "-c", path.to_str().unwrap()]);
    assert_eq!(spdk.call("framework_wait_init", None), true);
    assert_eq!(spdk.call("framework_get_config", Some(json!({"name": "bdev"}))), saved);
    assert_eq!(spdk.call("bdev_get_bdevs", None), told);

    // While it runs.
    let stats = spdk.call("bdev_get_iostat", Some(json!({"per_channel": true, "names": ["Slow0"]})));
    assert_eq!((&stats["name"], stats["channels"].as_array().unwrap().len()), (&json!("Slow0"), 1));
    assert_eq!(keys(&stats["channels"][0]).len(), 22);
    let base = json!({"names": ["Malloc0"], "per_channel": false, "reset_mode": "all"});
    assert_eq!(spdk.call("bdev_get_iostat", Some(base.clone()))["bdevs"][0]["num_write_ops"], 1);
    assert_eq!(spdk.call("bdev_get_iostat", Some(base))["bdevs"][0]["num_write_ops"], 0);
    assert_eq!(spdk.call("bdev_reset_iostat", Some(json!({"mode": "maxmin"}))), true);
    assert_eq!(spdk.call("bdev_set_qos_limit", Some(json!({"name": "Slow0", "rw_ios_per_sec": 0, "w_mbytes_per_sec": 0}))), true);
    for which in ["avg_read", "p99_read", "avg_write", "p99_write"] {
        let params = json!({"delay_bdev_name": "Slow0", "latency_type": which, "latency_us": 55});
        assert_eq!(spdk.call("bdev_delay_update_latency", Some(params)), true);
    }
    let slow = spdk.call("bdev_get_bdevs", Some(json!({"name": "Slow0"})))[0].clone();
    let delay = json!({"base_bdev_name": "Malloc0", "avg_read_latency": 55, "p99_read_latency": 55, "avg_write_latency": 55, "p99_write_latency": 55});
    assert_eq!((&slow["product_name"], &slow["driver_specific"]["delay"]), (&json!("delay"), &delay));
    assert_eq!(slow["assigned_rate_limits"]["rw_ios_per_sec"], 0);
    let inject = json!({"name": "EE_Malloc1", "io_type": "all", "error_type": "nvme_failure", "nvme_sct": 2, "nvme_sc": 0x81, "num": 3});
    assert_eq!(spdk.call("bdev_error_inject_error", Some(inject)), true);
    assert_eq!(
        spdk.call("bdev_error_inject_error", Some(json!({"name": "EE_Malloc1", "io_type": "clear", "error_type": "failure"}))),
        true
    );
    assert_eq!(spdk.call("bdev_error_resume_pending", Some(json!({"name": "EE_Malloc1"}))), true);
    let injected = |name, error, sct, value| json!({"name": name, "io_type": "read", "error_type": error, "nvme_sct": sct, "nvme_sc": 0, "corrupt_value": value});
    for (method, params, code) in [
        ("bdev_set_qos_limit", json!({"name": "Slow0"}), -22),
        ("bdev_set_qos_limit", json!({"name": "none", "rw_ios_per_sec": 1}), -19),
        ("bdev_delay_update_latency", json!({"delay_bdev_name": "none", "latency_type": "avg_read", "latency_us": 1}), -32602),
        ("bdev_delay_update_latency", json!({"delay_bdev_name": "Null0", "latency_type": "avg_read", "latency_us": 1}), -32600),
        ("bdev_delay_update_latency", json!({"delay_bdev_name": "Slow0", "latency_type": "avg", "latency_us": 1}), -32602),
        ("bdev_delay_create", hour(), -17),
        ("bdev_error_create", json!({"base_name": "Malloc1"}), -1),
        ("bdev_error_inject_error", injected("EE_Malloc1", "failure", 1, 0), -22),
        ("bdev_error_inject_error", injected("EE_Malloc1", "nvme_failure", 0, 0), -22),
        ("bdev_error_inject_error", injected("EE_Malloc1", "nvme_failure", 8, 0), -22),
        ("bdev_error_inject_error", injected("EE_Malloc1", "corrupt_data", 0, 0), -22),
        ("bdev_error_inject_error", injected("Null0", "failure", 0, 0), -19),
        ("bdev_error_inject_error", injected("none", "failure", 0, 0), -19),
        ("bdev_error_delete", json!({"name": "Slow0"}), -19),
        ("bdev_delay_delete", json!({"name": "EE_Malloc1"}), -19),
    ] {
        assert_eq!(spdk.code(method, params.clone()), code, "{method} {params}");
    }
    assert_eq!(spdk.call("bdev_error_delete", Some(json!({"name": "EE_Malloc1"}))), true);
    assert_eq!(spdk.call("bdev_fault_delete", Some(json!({"name": "F0"}))), true);
    let saved = spdk.call("framework_get_config", Some(json!({"name": "bdev"})));
    assert_eq!(saved.as_array().unwrap().len(), 4, "what is not there is not saved: {saved}");
}

#[test]
fn s290_files_are_made_devices_rescanned_and_removed() {
    let mut spdk = Program::start();
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    for (kind, product) in [("uring", "URING bdev"), ("aio", "AIO disk")] {
        let method = |what: &str| format!("bdev_{kind}_{what}");
        let file = |more: Value| {
            let mut params = json!({"name": kind, "filename": disk.path()});
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            params
        };
        let uuid = uuid(17);
        assert_eq!(spdk.call(&method("create"), Some(file(json!({"block_size": 512, "uuid": uuid})))), kind);
        let told = |spdk: &mut Program| {
            let bdev = &spdk.call("bdev_get_bdevs", Some(json!({"name": kind})))[0];
            (bdev["product_name"].clone(), bdev["block_size"].clone(), bdev["num_blocks"].clone(), bdev["uuid"].clone())
        };
        assert_eq!(told(&mut spdk), (product.into(), 512.into(), 2048.into(), uuid.into()));
        disk.as_file().set_len(2 << 20).unwrap();
        assert_eq!(told(&mut spdk).2, 2048);
        assert_eq!(spdk.call(&method("rescan"), Some(json!({"name": kind}))), true);
        assert_eq!(told(&mut spdk).2, 4096);
        disk.as_file().set_len(1 << 20).unwrap();
        let other = if kind == "uring" { "bdev_aio" } else { "bdev_uring" };
        spdk.call("bdev_null_create", Some(json!({"name": "n", "num_blocks": 8, "block_size": 512})));
        for (method, params, code) in [
            (method("create"), file(json!({})), -17),
            (method("create"), json!({"name": "x", "filename": "/nowhere/x"}), -22),
            (method("create"), json!({"name": "x", "filename": "/tmp"}), -22),
            (method("create"), json!({"name": "x", "filename": disk.path(), "block_size": 1000}), -22),
            (method("create"), json!({"name": "x"}), -32602),
            (method("create"), json!({"name": "x", "filename": disk.path(), "colour": 1}), -32602),
            (method("rescan"), json!({"name": "nobody"}), -19),
            (method("rescan"), json!({"name": "n"}), -19),
            (format!("{other}_rescan"), json!({"name": kind}), -19),
            (format!("{other}_delete"), json!({"name": kind}), -19),
        ] {
            assert_eq!(spdk.code(&method, params.clone()), code, "{method} {params}");
        }
        let file_of = json!({"filename": disk.path(), "block_size_override": true, "readonly": false, "fallocate": true});
        let specific = spdk.call("bdev_get_bdevs", Some(json!({"name": kind})))[0]["driver_specific"][kind].clone();
        for (key, value) in file_of.as_object().unwrap() {
            assert_eq!(&specific[key], value, "{key}: {specific}");
        }
        assert!(specific["direct"].is_boolean() && specific["bounced"] == 0, "{specific}");
        assert_eq!(spdk.call(&method("delete"), Some(json!({"name": kind}))), true);
        // 0 is SPDK's word for a size that is found out.
        assert_eq!(spdk.call(&method("create"), Some(file(json!({"block_size": 0, "readonly": true})))), kind);
        let bdev = &spdk.call("bdev_get_bdevs", Some(json!({"name": kind})))[0];
        let has = |what: &str| bdev["supported_io_types"][what].as_bool().unwrap();
        assert!(bdev["block_size"] == 4096 && has("read") && !has("write") && !has("unmap"));
        assert_eq!(spdk.call("bdev_null_delete", Some(json!({"name": "n"}))), true);
    }
}

#[test]
fn s290_files_that_are_devices_are_saved_and_made_again() {
    let mut spdk = Program::with(tempfile::tempdir().unwrap(), &["--wait-for-rpc", "-b", "Slow0"]);
    assert_eq!(spdk.call("bdev_malloc_create", Some(malloc(None))), "Malloc0");
    assert_eq!(spdk.call("bdev_delay_create", Some(hour())), "Slow0");
    assert_eq!(spdk.call("framework_start_init", None), true);
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(1 << 20).unwrap();
    let path = disk.path();
    let calls = [
        ("bdev_uring_create", json!({"name": "u", "filename": path, "block_size": 512, "uuid": uuid(1)})),
        ("bdev_aio_create", json!({"name": "a", "filename": path, "block_size": 4096, "uuid": uuid(2), "readonly": true})),
        // With parameters that SPDK has not.
        (
            "bdev_uring_create",
            json!({"name": "c", "filename": path, "block_size": 1024, "uuid": uuid(3), "fallocate": false, "direct": false}),
        ),
    ];
    for (method, params) in &calls {
        assert_eq!(spdk.call(method, Some(params.clone())), params["name"]);
    }
    let saved = spdk.call("framework_get_config", Some(json!({"name": "bdev"})));
    let files = |call: &&Value| call["params"].get("filename").is_some();
    let saved: Vec<_> = saved.as_array().unwrap().iter().filter(files).cloned().collect();
    assert_eq!(saved, calls.map(|(method, params)| json!({"method": method, "params": params})));
}

/// Numbered ones, which no two devices share.
fn uuid(n: u8) -> String {
    format!("0d6dc05e-1e8a-4f2c-9b4e-2f0f2b9a8c{n:02x}")
}
