//! Devices: what is in use is refused, what is not can go to vfio-pci and come back.

use super::machine::{Machine, NIC, NVME};
use super::{apply, refusal, reset, status};

/// `apply --bind` of `bdf` must name `why`, and leave the device and everything else as it was.
#[track_caller]
fn assert_refused(machine: &Machine, bdf: &str, why: &str) {
    let before = machine.driver(bdf);
    let (_, done) = apply(machine, &["--bind", bdf]);
    let refusal = refusal(done);
    assert!(refusal.contains("in use") && refusal.contains(why), "{refusal}");
    assert_eq!(machine.driver(bdf), before);
    assert_eq!(machine.read("proc/sys/net/core/somaxconn"), "128", "nothing else is begun");
    let (_, done) = apply(machine, &["--all-unused"]);
    done.expect("a used device is no failure where none was named");
    assert_eq!(machine.driver(bdf), before);
    if !refusal.contains("the kernel says") {
        assert!(status(machine).contains(why), "status tells it too");
    }
}

#[test]
fn mounted_device_refused() {
    let machine = Machine::new();
    machine.append("proc/self/mountinfo", "30 1 259:0 / /srv rw,noatime shared:1 - ext4 /dev/root rw\n");
    assert_refused(&machine, NVME, "nvme0n1 is mounted at /srv");
}

#[test]
fn device_with_a_mounted_partition_refused() {
    let machine = Machine::new();
    machine.partition();
    machine.append("proc/self/mountinfo", "30 1 0:44 /sub /srv rw shared:1 - btrfs /dev/nvme0n1p1 rw\n");
    assert_refused(&machine, NVME, "nvme0n1p1 is mounted at /srv");
}

#[test]
fn device_mounted_through_multipath_refused() {
    let machine = Machine::new();
    machine.link("sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0", "../../../pci0000:00/0000:04:00.0/nvme/nvme0");
    machine.link("sys/class/nvme-subsystem/nvme-subsys0", "../../devices/virtual/nvme-subsystem/nvme-subsys0");
    machine.disk("sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n2", "259:7");
    machine.append("proc/self/mountinfo", "30 1 259:7 / /srv rw shared:1 - xfs /dev/nvme0n2 rw\n");
    assert_refused(&machine, NVME, "nvme0n2 is mounted at /srv");
}

#[test]
fn swap_refused() {
    let machine = Machine::new();
    machine.file("proc/swaps", "Filename Type Size Used Priority\n/dev/nvme0n1 partition 1048572 0 -2\n");
    assert_refused(&machine, NVME, "nvme0n1 is swap");
}

#[test]
fn device_held_by_a_volume_refused() {
    let machine = Machine::new();
    machine.folder("sys/class/block/nvme0n1/holders/dm-0");
    assert_refused(&machine, NVME, "nvme0n1 is held by dm-0");
}

#[test]
fn device_that_a_process_has_open_refused() {
    let machine = Machine::new();
    machine.file("proc/42/comm", "qemu\n");
    machine.link("proc/42/fd/9", "/dev/nvme0n1");
    assert_refused(&machine, NVME, "process 42 (qemu) has /dev/nvme0n1 open");
}

#[test]
fn controller_that_a_process_has_open_refused() {
    let machine = Machine::new();
    machine.file("proc/42/comm", "smartd\n");
    machine.link("proc/42/fd/3", "/dev/nvme0");
    assert_refused(&machine, NVME, "process 42 (smartd) has /dev/nvme0 open");
}

#[test]
fn device_that_only_the_kernel_knows_to_be_taken_refused() {
    let machine = Machine::new();
    machine.claimed("nvme0n1");
    assert_refused(&machine, NVME, "the kernel says that /dev/nvme0n1 is taken");
}

#[test]
fn disk_whose_use_cannot_be_told_refused() {
    let machine = Machine::new();
    machine.remove("dev/nvme0n1");
    let why = refusal(apply(&machine, &["--bind", NVME]).1);
    assert!(why.contains("cannot be told"), "{why}");
    assert_eq!(machine.driver(NVME).as_deref(), Some("nvme"));
}

#[test]
fn interface_that_is_up_refused() {
    let machine = Machine::new();
    machine.file("sys/class/net/eth0/flags", "0x1003\n");
    assert_refused(&machine, NIC, "eth0 is up");
}

#[test]
fn interface_with_the_default_route_refused() {
    let machine = Machine::new();
    machine.file("proc/net/if_inet6", "fd000000000000000000000000000002 04 40 00 82     eth0\n");
    let route = |to: &str, mask: &str| format!("eth0 {to} 010200C0 0003 0 0 0 {mask} 0 0 0\n");
    let table = ["Iface Destination\n", &route("00000000", "00000000"), &route("000200C0", "00FFFFFF")].concat();
    machine.file("proc/net/route", &table);
    assert_refused(&machine, NIC, "eth0 has the default route");
}

#[test]
fn interface_with_an_address_refused() {
    let machine = Machine::new();
    machine.file("proc/net/if_inet6", "fd000000000000000000000000000002 04 40 00 82     eth0\n");
    assert_refused(&machine, NIC, "eth0 has an IPv6 address");
}

#[test]
fn interface_in_a_bond_or_under_a_vlan_refused() {
    let machine = Machine::new();
    machine.link("sys/class/net/eth0/master", "../../../../virtual/net/bond0");
    assert_refused(&machine, NIC, "eth0 belongs to bond0");
    let machine = Machine::new();
    machine.link("sys/class/net/eth0/upper_eth0.5", "../../../../virtual/net/eth0.5");
    assert_refused(&machine, NIC, "eth0 carries eth0.5");
}

#[test]
fn card_of_another_network_namespace_refused() {
    let machine = Machine::new();
    machine.remove("sys/class/net/eth0");
    assert_refused(&machine, NIC, "it may be in another network namespace");
}

#[test]
fn card_with_virtual_functions_refused() {
    let machine = Machine::new();
    machine.file(&format!("sys/bus/pci/devices/{NIC}/sriov_numvfs"), "2\n");
    assert_refused(&machine, NIC, "virtual functions");
}

#[test]
fn reset_restores_drivers() {
    let machine = Machine::new();
    let (said, done) = apply(&machine, &["--bind", "04:00.0", "--bind", NIC]);
    done.expect("both are free");
    assert!(said.contains("0000:04:00.0: from nvme to vfio-pci"), "{said}");
    assert_eq!(machine.driver(NVME).as_deref(), Some("vfio-pci"));
    assert_eq!(machine.driver(NIC).as_deref(), Some("vfio-pci"));
    apply(&machine, &["--bind", NVME]).1.expect("already there is fine");
    let (said, done) = reset(&machine);
    done.expect("put back");
    assert!(said.contains("0000:05:00.0: from vfio-pci back to ice"), "{said}");
    assert_eq!(machine.driver(NVME).as_deref(), Some("nvme"));
    assert_eq!(machine.driver(NIC).as_deref(), Some("ice"));
    assert_eq!(machine.read(&format!("sys/bus/pci/devices/{NVME}/driver_override")), "(null)");
}

#[test]
fn reset_restores_a_device_that_had_no_driver() {
    let machine = Machine::new();
    machine.remove(&format!("sys/bus/pci/devices/{NVME}/driver"));
    apply(&machine, &["--bind", NVME]).1.expect("free");
    assert_eq!(machine.driver(NVME).as_deref(), Some("vfio-pci"));
    reset(&machine).1.expect("put back");
    assert_eq!(machine.driver(NVME), None);
}

#[test]
fn reset_leaves_a_device_that_a_program_drives() {
    let machine = Machine::new();
    apply(&machine, &["--bind", NVME]).1.expect("free");
    machine.file("proc/77/comm", "smbd\n");
    machine.folder(&format!("sys/bus/pci/devices/{NVME}/vfio-dev/vfio3"));
    for file in ["/dev/vfio/7", "/dev/vfio/devices/vfio3"] {
        machine.link("proc/77/fd/5", file);
        let why = refusal(reset(&machine).1);
        assert!(why.contains(&format!("process 77 (smbd) has {file} open")), "{why}");
        assert_eq!(machine.driver(NVME).as_deref(), Some("vfio-pci"));
        machine.remove("proc/77/fd/5");
    }
    machine.remove("proc/77");
    reset(&machine).1.expect("now it goes");
    assert_eq!(machine.driver(NVME).as_deref(), Some("nvme"));
}

#[test]
fn a_device_that_vfio_does_not_take_goes_back_to_its_driver() {
    let machine = Machine::new();
    machine.broken("vfio-pci");
    let why = refusal(apply(&machine, &["--bind", NVME]).1);
    assert!(why.contains("has the driver that it had"), "{why}");
    assert_eq!(machine.driver(NVME).as_deref(), Some("nvme"));
    machine.remove("fake/broken");
    let (said, _) = reset(&machine);
    assert!(!said.contains(NVME), "nothing is left to put back: {said}");
}

#[test]
fn all_unused_leaves_partitions_and_used_devices() {
    let machine = Machine::new();
    machine.partition();
    machine.device("0000:06:00.0", "0x020000", "ice");
    machine.interface("0000:06:00.0", "eth1", "0x1003");
    let (said, done) = apply(&machine, &["--all-unused"]);
    done.expect("what can go goes");
    assert!(said.contains("has partitions") && said.contains("eth1 is up"), "{said}");
    assert_eq!(machine.driver(NVME).as_deref(), Some("nvme"));
    assert_eq!(machine.driver("0000:06:00.0").as_deref(), Some("ice"));
    assert_eq!(machine.driver(NIC).as_deref(), Some("vfio-pci"));
    assert_eq!(machine.driver("0000:00:1f.2").as_deref(), Some("ahci"), "neither NVMe nor network");
    apply(&machine, &["--bind", NVME]).1.expect("a partition alone is no use");
    assert_eq!(machine.driver(NVME).as_deref(), Some("vfio-pci"));
}

#[test]
fn a_used_neighbour_in_the_group_is_pointed_out() {
    let machine = Machine::new();
    let (said, _) = apply(&machine, &["--bind", NVME]);
    assert!(said.contains(&format!("note: {NIC} is in the same IOMMU group (7) and driven by ice")), "{said}");
}

#[test]
fn a_device_that_is_not_there_or_not_ours_is_named_with_those_that_are() {
    let machine = Machine::new();
    for wrong in ["0000:00:1f.2", "0000:99:00.0"] {
        let why = refusal(apply(&machine, &["--bind", wrong]).1);
        assert!(why.contains(wrong) && why.contains("0000:04:00.0, 0000:05:00.0"), "{why}");
    }
}

#[test]
fn a_machine_without_vfio_or_iommu_says_so() {
    let machine = Machine::new();
    machine.remove("sys/kernel/iommu_groups");
    assert!(status(&machine).contains("devices stay with the kernel: this machine has no IOMMU at work"));
    assert!(refusal(apply(&machine, &["--bind", NVME]).1).contains("no IOMMU"));
    machine.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    assert!(status(&machine).contains("vfio-pci is here"));
    machine.remove("sys/bus/pci/drivers/vfio-pci");
    assert!(status(&machine).contains("this machine has no vfio-pci driver"));
    assert!(refusal(apply(&machine, &["--bind", NVME]).1).contains("modprobe vfio-pci"));
    assert_eq!(machine.driver(NVME).as_deref(), Some("nvme"));
}

#[test]
fn a_machine_without_a_pci_bus_has_a_status() {
    let machine = Machine::new();
    machine.remove("sys/bus/pci");
    assert!(status(&machine).contains("none on this machine's PCI bus"));
}
