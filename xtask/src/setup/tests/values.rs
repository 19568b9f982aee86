//! Hugepages, network settings and limits: got, reported, put back.

use std::fs::File;

use super::machine::Machine;
use super::{apply, refusal, reset, status};

const ALL_PAGES: &str = "proc/sys/vm/nr_hugepages";
const SOMAXCONN: &str = "proc/sys/net/core/somaxconn";

fn pages(machine: &Machine) -> [String; 3] {
    [ALL_PAGES.to_owned(), Machine::node(0) + "/nr_hugepages", Machine::node(1) + "/nr_hugepages"].map(|file| machine.read(&file))
}

#[test]
fn hugemem_is_mebibytes_spread_over_the_machine() {
    let machine = Machine::new();
    let (said, done) = apply(&machine, &["--hugemem", "103"]);
    done.expect("there is memory");
    assert_eq!(pages(&machine), ["52", "26", "26"], "103 MiB are 52 pages of 2 MiB");
    assert!(said.contains("the machine has 52 of 2048 kB"), "{said}");
}

#[test]
fn partial_hugepages_are_kept_and_counted_in_the_error() {
    let machine = Machine::new();
    machine.pages_at_most(30);
    let (said, done) = apply(&machine, &["--nrhuge", "1024"]);
    assert!(said.contains("the machine has 60 of 2048 kB (120 MiB), 1024 asked for"), "{said}");
    let why = refusal(done);
    assert!(why.contains("the machine got 60 of 1024"), "{why}");
    assert_eq!(pages(&machine), ["60", "30", "30"]);
    assert_eq!(machine.read(SOMAXCONN), "4096", "the rest is done all the same");
}

#[test]
fn memory_is_compacted_before_giving_up() {
    let machine = Machine::new();
    machine.file("proc/sys/vm/compact_memory", "");
    machine.pages_at_most(30);
    apply(&machine, &["--nrhuge", "1024"]).1.expect_err("memory is short");
    assert_eq!(machine.read("proc/sys/vm/compact_memory"), "1");
}

#[test]
fn more_hugepages_than_free_memory_are_refused_and_none_taken() {
    let machine = Machine::new();
    apply(&machine, &["--nrhuge", "48"]).1.expect("there is memory");
    // 4 GiB are free: 2048 pages.
    let why = refusal(apply(&machine, &["--nrhuge", "2100"]).1);
    assert!(why.contains("2052 more of 2048 kB are asked for, but the memory that is free makes 2048: none was taken"), "{why}");
    let why = refusal(apply(&machine, &["--nrhuge", "1100", "--hugenode", "0,1"]).1);
    assert!(why.contains("2152 more"), "{why}");
    assert_eq!(pages(&machine), ["48", "24", "24"]);
    apply(&machine, &["--nrhuge", "2096"]).1.expect("just fits");
}

#[test]
fn hugenode_gives_each_named_node_that_many() {
    let machine = Machine::new();
    apply(&machine, &["--nrhuge", "8", "--hugenode", "1"]).1.expect("there is memory");
    assert_eq!(pages(&machine), ["8", "0", "8"]);
    apply(&machine, &["--nrhuge", "12", "--hugenode", "0,1"]).1.expect("there is memory");
    assert_eq!(pages(&machine), ["24", "12", "12"]);
    reset(&machine).1.expect("put back");
    assert_eq!(pages(&machine), ["0", "0", "0"]);
}

#[test]
fn a_node_that_is_not_there_is_named_with_those_that_are() {
    let machine = Machine::new();
    let why = refusal(apply(&machine, &["--nrhuge", "8", "--hugenode", "4"]).1);
    assert!(why.contains("node4") && why.contains("node0, node1"), "{why}");
}

#[test]
fn hugepages_are_never_given_up_by_apply() {
    let machine = Machine::new();
    apply(&machine, &["--nrhuge", "100"]).1.expect("there is memory");
    let (said, done) = apply(&machine, &["--nrhuge", "10"]);
    done.expect("more than enough");
    assert!(said.contains("has 100 of"), "{said}");
    assert_eq!(machine.read(ALL_PAGES), "100");
}

#[test]
fn a_machine_without_numa_nodes_has_hugepages_too() {
    let machine = Machine::new();
    machine.remove("sys/devices/system/node");
    apply(&machine, &["--nrhuge", "9"]).1.expect("there is memory");
    assert_eq!(machine.read(ALL_PAGES), "9");
    assert!(status(&machine).contains("machine  9 (18 MiB)"));
    reset(&machine).1.expect("put back");
    assert_eq!(machine.read(ALL_PAGES), "0");
}

#[test]
fn a_kernel_without_hugepages_is_said_plainly() {
    let machine = Machine::new();
    machine.file("proc/meminfo", "MemAvailable: 16 kB\n");
    assert!(status(&machine).contains("this kernel has none"));
    let why = refusal(apply(&machine, &[]).1);
    assert!(why.contains("this kernel has no hugepages"), "{why}");
}

#[test]
fn settings_are_raised_and_good_ones_left() {
    let machine = Machine::new();
    let (said, done) = apply(&machine, &[]);
    done.expect("all can be set");
    assert_eq!(machine.read(SOMAXCONN), "4096");
    assert_eq!(machine.read("proc/sys/net/core/rmem_max"), "4194304");
    assert_eq!(machine.read("proc/sys/net/core/wmem_max"), "8388608", "was more than advised");
    assert_eq!(machine.read("proc/sys/net/core/busy_poll"), "0");
    assert!(said.contains("net.core.somaxconn: 128 is now 4096"), "{said}");
    assert!(said.contains("net.core.optmem_max: not in this kernel or network namespace"), "{said}");
}

#[test]
fn status_shows_values_beside_advice_and_changes_nothing() {
    let machine = Machine::new();
    let said = status(&machine);
    assert!(said.contains("better 4096: a listener's backlog"), "{said}");
    assert!(said.lines().any(|l| l.contains("wmem_max") && l.ends_with("8388608  ok")), "{said}");
    assert!(said.contains("*  -  memlock  8192"), "8 MiB in limits.conf's kB: {said}");
    assert!(said.contains("*  -  nofile  65536"), "{said}");
    assert_eq!(machine.read(SOMAXCONN), "128");
    assert!(!machine.path("run").exists());
}

#[test]
fn reset_restores_what_was_before_the_first_of_two_applies() {
    let machine = Machine::new();
    apply(&machine, &["--nrhuge", "10"]).1.expect("applied");
    apply(&machine, &["--nrhuge", "20"]).1.expect("applied again");
    let (said, done) = reset(&machine);
    done.expect("put back");
    assert_eq!(pages(&machine), ["0", "0", "0"]);
    assert_eq!(machine.read(SOMAXCONN), "128");
    assert_eq!(machine.read("proc/sys/net/core/busy_poll"), "50");
    assert!(said.contains("/proc/sys/net/core/somaxconn: 4096 is 128 again"), "{said}");
    let (said, done) = reset(&machine);
    done.expect("a second reset has nothing to do");
    assert_eq!(said, "nothing to put back\n");
}

#[test]
fn reset_leaves_what_someone_else_has_set_since() {
    let machine = Machine::new();
    apply(&machine, &[]).1.expect("applied");
    machine.file(SOMAXCONN, "9999\n");
    let (said, done) = reset(&machine);
    done.expect("the rest is put back");
    assert_eq!(machine.read(SOMAXCONN), "9999");
    assert!(said.contains("9999 by someone else"), "{said}");
    assert_eq!(machine.read("proc/sys/net/core/rmem_max"), "212992");
}

#[test]
fn reset_that_cannot_free_pages_says_so_and_can_be_run_again() {
    let machine = Machine::new();
    machine.remove("sys/devices/system/node");
    machine.file(ALL_PAGES, "5\n");
    apply(&machine, &["--nrhuge", "10"]).1.expect("applied");
    machine.pages_at_most(3);
    let why = refusal(reset(&machine).1);
    assert!(why.contains("is 3 and not 5 again"), "{why}");
    machine.pages_at_most(100);
    reset(&machine).1.expect("now it goes");
    assert_eq!(machine.read(ALL_PAGES), "5");
}

#[test]
fn a_user_who_is_not_root_is_told_so_before_anything_happens() {
    let machine = Machine::new();
    machine.file("proc/self/status", "Name:\txtask\nUid:\t0\t1000\t0\t0\n");
    assert!(refusal(apply(&machine, &[]).1).contains("must be run as root"));
    assert!(refusal(reset(&machine).1).contains("must be run as root"));
    assert_eq!(machine.read(SOMAXCONN), "128");
    assert!(status(&machine).contains("net.core.somaxconn"), "looking is for everyone");
}

#[test]
fn a_second_setup_at_the_same_time_is_refused() {
    let machine = Machine::new();
    machine.folder("run/lcore");
    let lock = File::create(machine.path("run/lcore/setup.lock")).expect("made");
    lock.lock().expect("locked");
    assert!(refusal(apply(&machine, &[]).1).contains("another setup is at work"));
    drop(lock);
    apply(&machine, &[]).1.expect("free again");
}

#[test]
fn a_damaged_record_is_not_overwritten() {
    let machine = Machine::new();
    machine.file("run/lcore/setup.json", "{ half");
    assert!(refusal(apply(&machine, &[]).1).contains("setup.json is damaged"));
    assert_eq!(machine.read("run/lcore/setup.json"), "{ half");
    assert_eq!(machine.read(SOMAXCONN), "128");
}
