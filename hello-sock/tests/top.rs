//! lcore-top at hello-sock's server, while it serves.
#![cfg(feature = "rpc")]

mod common;

use std::path::Path;

use common::{Program, Server, until};
use serde_json::Value;

/// The backend that is chosen here.
const NET: &str = "";

/// What lcore-top prints, and the code with which it ends.
fn lcore_top(at: &Path, more: &[&str]) -> (u8, String) {
    let args = ["lcore-top", "--once", "-i", "0.2", "-r", at.to_str().unwrap()];
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = lcore_top::run(args.iter().chain(more).map(Into::into), &mut out, &mut err);
    out.extend(err);
    (code, String::from_utf8(out).unwrap())
}

fn row<'a>(all: &'a Value, view: &str, name: &str) -> &'a Value {
    let rows = all[view].as_array().unwrap_or_else(|| panic!("{view}: {}", all["notes"]));
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{view} has no {name}: {rows:#?}"))
}

#[test]
fn s196_lcore_top_sees_a_server_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpc.sock");
    let mut server = Server::start(&format!("-r {}", path.display()));
    let load = Program::start_collecting(server.client("--load 4,2,64,300"));
    let all = until("a look in which something was echoed", || {
        let (code, said) = lcore_top(&path, &["--json"]);
        assert_eq!(code, 0, "{said}");
        let all: Value = serde_json::from_str(&said).unwrap();
        let echoes = row(&all, "pollers", "shard")["busy_runs_per_second"].as_f64();
        echoes.is_some_and(|rate| rate > 0.0).then_some(all)
    });
    let number = |of: &Value, key: &str| of[key].as_f64().unwrap_or_else(|| panic!("{key}: {of}"));
    let name = all["application"]["name"].as_str().unwrap();
    assert!(name.contains("lcore v") && name.ends_with(&format!("process {}", server.program.pid())), "{name}");
    for thread in ["app_thread", "poll_group_0"] {
        let thread = row(&all, "threads", thread);
        assert!((0.0..=1.0).contains(&number(thread, "busy_share")) && number(thread, "cpu_share") >= 0.0, "{thread}");
    }
    let core = &all["cores"][0];
    assert_eq!((all["cores"].as_array().unwrap().len(), &core["threads"], &core["mode"]), (1, &2.into(), &"poll".into()));
    assert!(number(core, "busy_share") > 0.0 && number(core, "busy_share") <= 1.0, "{core}");
    assert!(number(row(&all, "threads", "poll_group_0"), "longest_run_seconds") > 0.0);
    assert!(all["pools"].as_array().unwrap().iter().any(|pool| number(pool, "cache_gets") > 0.0));
    let group = &all["groups"][0];
    assert!(group["thread"] == "poll_group_0" && number(group, "bytes_in") > 0.0 && number(group, "sockets") >= 4.0, "{group}");
    // The listener, and four connections.
    assert_eq!(all["sockets"].as_array().unwrap().len(), 5, "{}", all["sockets"]);
    let statistics = all["statistics"].as_array().unwrap_or_else(|| panic!("{}", all["notes"]));
    let runs = statistics.iter().find(|it| it["name"] == "lcore_thread_messages_total").expect("it is registered");
    assert!(runs["labels"].as_str().unwrap().contains("thread="), "{runs}");
    assert_eq!((all["stalls"].is_array(), &all["notes"]), (true, &serde_json::json!({})));
    drop(load);
    let (code, text) = lcore_top(&path, &[]);
    assert!(code == 0 && text.contains("\nThreads\nTHREAD ") && text.contains("poll_group_0"), "{text}");
    server.stop();
    let (code, said) = lcore_top(&path, &[]);
    assert!(code == 1 && said.starts_with("lcore-top: ") && said.contains("no such socket"), "{said}");
}
