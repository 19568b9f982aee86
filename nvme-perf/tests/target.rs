//! Against nvmf-tgt itself, in a process of its own.

mod nvmf_tgt;

use nvmf_tgt::NvmfTgt;

#[test]
fn s315_every_block_of_nvmf_tgt_is_verified() {
    let target = NvmfTgt::start("--malloc 8M -m 0,1 --no-cpumask-locks");
    for args in [
        "-q 16 -o 4k -w randrw -M 70",
        "-q 8 -o 128k -w rw -g -G --size 4M",
        "-q 32 -P 4 -o 512 -w randrw -m 0,1 --no-cpumask-locks --size 1M -G",
        "-q 4 -o 64k -w randread --parked -g",
    ] {
        let it = target.run(&format!("{args} -t 0.5 --verify --json"));
        assert!(it["operations"].as_u64().unwrap() > 0 && it["verify"]["bytes"].as_u64().unwrap() > 0, "{args}: {it}");
        assert!(it["verify"]["mismatches"] == 0 && it["errors"] == serde_json::json!([]), "{args}: {it}");
    }
    target.stop();
}

#[test]
fn s315_nvmf_tgt_says_what_it_is() {
    let target = NvmfTgt::start("--malloc 8M --null 1G");
    let it = target.run("identify --json");
    let blocks = |at: usize| it["namespaces"][at]["blocks"].as_u64().unwrap() * it["namespaces"][at]["block_size"].as_u64().unwrap();
    assert_eq!((blocks(0), blocks(1)), (8 << 20, 1 << 30));
    let it = target.run("discover --json");
    assert!(it["records"].as_array().unwrap().iter().any(|it| it["subnqn"] == nvmf_tgt::NQN), "{it}");
    target.stop();
}

/// Both with secrets out of files that nobody else can read: a load, identify and discover, and
/// what is said of each mistake.
#[test]
fn s357_s358_nvmf_tgt_serves_whoever_shows_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, first: u8| {
        let path = dir.path().join(name);
        std::fs::write(&path, nvme::auth::Secret::new(&[first; 32], None).unwrap().text().as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (host, controller, other) = (file("host", 1), file("controller", 2), file("other", 3));
    let target = NvmfTgt::start(&format!("--malloc 8M --host nqn.2024-01.example:h --dhchap-key {host} --dhchap-ctrlr-key {controller}"));
    for keys in [format!("--dhchap-key {host}"), format!("--dhchap-secret {host} --dhchap-ctrl-secret {controller}")] {
        let it = target.run(&format!("-q 8 -P 2 -o 4k -w randrw -t 0.3 --verify --json --hostnqn nqn.2024-01.example:h {keys}"));
        assert!(it["verify"]["bytes"].as_u64().unwrap() > 0 && it["verify"]["mismatches"] == 0, "{it}");
        assert_eq!(target.run(&format!("identify --json --hostnqn nqn.2024-01.example:h {keys}"))["subnqn"], nvmf_tgt::NQN);
    }
    let open = "--hostnqn nqn.2024-01.example:h";
    for (args, part) in [
        (format!("{open} -q 1"), "wants to know who this host is: give --dhchap-key"),
        (format!("{open} -q 1 --dhchap-key {other}"), "refuses the host (reason 0x01); compare the secrets"),
        (format!("{open} -q 1 --dhchap-key {host} --dhchap-ctrlr-key {other}"), "authenticating the controller"),
        (format!("discover {open} --dhchap-key {host} --dhchap-ctrlr-key {controller}"), "does not show who it is"),
        (format!("identify --dhchap-key {host}"), "Connect failed"),
    ] {
        let out = target.command(&args).output().unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(1) && text.contains(part), "{args}: {text}");
    }
    let it = target.run(&format!("discover --json {open} --dhchap-key {host}"));
    assert!(it["records"].as_array().unwrap().iter().any(|it| it["subnqn"] == nvmf_tgt::NQN), "{it}");
    target.stop();
}

#[test]
fn s311_nvmf_tgt_killed_under_load_is_one_error() {
    let target = NvmfTgt::start("--malloc 8M");
    let mut child = target.command("-q 8 -o 4k -w randrw -t 60 --verify").spawn().unwrap();
    target.wait_for_a_controller(&mut child);
    target.kill();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert_eq!(text.matches(" error: ").count(), 1, "{text}");
}
