//! Devices made, asked after and removed by SPDK's methods, as its clients call them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Nothing that is waited for takes this long, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// hello-bdev, which waits for its start.
struct Program {
    child: Child,
    stream: BufReader<UnixStream>,
    _dir: tempfile::TempDir,
}

impl Program {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_hello-bdev"))
            .args(["--wait-for-rpc", "-r", path.to_str().unwrap()])
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
        Self { child, stream: BufReader::new(stream), _dir: dir }
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
        ("bdev_get_iostat", json!({"per_channel": true}), -32602),
    ] {
        assert_eq!(spdk.code(method, params.clone()), code, "{method} {params}");
    }

    // What was made is what the application finds.
    assert_eq!(spdk.call("framework_start_init", None), true);
    assert!(spdk.child.wait().unwrap().success());
}
