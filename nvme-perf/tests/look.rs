//! identify and discover.

mod common;

use common::pair::entry;
use common::serve;
use nvme::target::Role;

#[test]
fn s314_identify_tells_the_controller_and_its_namespaces() {
    let target = serve(Role::Io);
    let text = target.run("identify").good();
    for part in [
        "Serial Number:                         S1",
        "Model Number:                          lcore",
        "Subsystem NQN:                         nqn.2024-01.example:disk",
        "Max Data Transfer Size:                131072",
        "Namespace ID:                          1",
        "Size (in LBAs):                        512 (0 MiB)",
        "UUID:                                  09090909-0909-0909-0909-090909090909",
    ] {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
    let it = target.run("identify --json -g -G").json(0);
    assert_eq!((it["serial"].as_str(), it["cntlid"].as_u64(), it["namespaces"][0]["blocks"].as_u64()), (Some("S1"), Some(3), Some(512)));
}

#[test]
fn s314_discover_tells_the_whole_log() {
    let target = serve(Role::Discovery);
    let none = target.run("discover").good();
    assert_eq!(none.trim(), "Discovery Log Number of Records 0, Generation counter 1");
    // More than are read at a time.
    target.world.lock().unwrap().disk.entries = (4420..4429).map(|port| entry(&port.to_string())).collect();
    let text = target.run("discover").good();
    assert!(
        text.starts_with(
            "Discovery Log Number of Records 9, Generation counter 1\n=====Discovery Log Entry 0======\ntrtype:  tcp\nadrfam:  ipv4\n"
        ),
        "{text}"
    );
    let ports: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("trsvcid: ")).collect();
    assert_eq!(ports, (4420..4429).map(|port| port.to_string()).collect::<Vec<_>>());
    let it = target.run("discover --json").json(0);
    assert_eq!((it["records"].as_array().map(Vec::len), it["records"][8]["trsvcid"].as_str()), (Some(9), Some("4428")));
}
