//! A machine in a folder: its files, and a kernel that answers writes as Linux would.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::setup::host::{Host, Kernel};

pub(super) const NVME: &str = "0000:04:00.0";
pub(super) const NIC: &str = "0000:05:00.0";
const SYSFS_PCI: &str = "sys/devices/pci0000:00";

/// A machine with one NVMe disk, one network card that is down, two NUMA nodes, an IOMMU and
/// vfio-pci; nothing is in use.
pub(super) struct Machine {
    folder: TempDir,
}

impl Machine {
    pub(super) fn new() -> Self {
        let machine = Self { folder: TempDir::new().expect("a temporary folder") };
        machine.file("proc/self/status", "Name:\txtask\nUid:\t0\t0\t0\t0\n");
        machine.file(
            "proc/self/limits",
            "Max open files            1024       4096      files\nMax locked memory         65536      65536     bytes\n",
        );
        machine.file("proc/meminfo", "MemAvailable:    4194304 kB\nHugepagesize:       2048 kB\n");
        machine.file("proc/self/mountinfo", "22 1 0:20 / /proc rw shared:5 - proc proc rw\n");
        machine.file("proc/sys/vm/nr_hugepages", "0\n");
        for node in 0..2 {
            machine.file(&format!("{}/nr_hugepages", Self::node(node)), "0\n");
            machine.file(&format!("{}/free_hugepages", Self::node(node)), "0\n");
        }
        for (name, value) in
            [("core/somaxconn", "128"), ("core/rmem_max", "212992"), ("core/wmem_max", "8388608"), ("core/busy_poll", "50")]
        {
            machine.file(&format!("proc/sys/net/{name}"), &format!("{value}\n"));
        }
        machine.folder("sys/kernel/iommu_groups/7/devices");
        for driver in ["nvme", "ice", "vfio-pci"] {
            machine.file(&format!("sys/bus/pci/drivers/{driver}/bind"), "");
            machine.file(&format!("sys/bus/pci/drivers/{driver}/unbind"), "");
        }
        machine.device(NVME, "0x010802", "nvme");
        machine.disk(&format!("{SYSFS_PCI}/{NVME}/nvme/nvme0/nvme0n1"), "259:0");
        machine.device(NIC, "0x020000", "ice");
        machine.interface(NIC, "eth0", "0x1002");
        machine.device("0000:00:1f.2", "0x010601", "ahci");
        machine
    }

    pub(super) fn node(node: u32) -> String {
        format!("sys/devices/system/node/node{node}/hugepages/hugepages-2048kB")
    }

    pub(super) fn host(&self) -> Host {
        let kernel = Fake { root: self.folder.path().canonicalize().expect("there") };
        Host::with_kernel(self.folder.path(), Box::new(kernel)).expect("a machine")
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(super) fn folder(&self, folder: &str) {
        fs::create_dir_all(self.path(folder)).expect("made");
    }

    pub(super) fn file(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    pub(super) fn link(&self, at: &str, to: &str) {
        let path = self.path(at);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        symlink(to, path).expect("linked");
    }

    pub(super) fn append(&self, file: &str, text: &str) {
        let before = fs::read_to_string(self.path(file)).unwrap_or_default();
        self.file(file, &(before + text));
    }

    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect("there").trim().to_owned()
    }

    pub(super) fn remove(&self, file: &str) {
        let path = self.path(file);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("was there");
    }

    pub(super) fn device(&self, bdf: &str, class: &str, driver: &str) {
        let own = format!("{SYSFS_PCI}/{bdf}");
        for (file, text) in
            [("class", class), ("vendor", "0x8086"), ("device", "0x0a54"), ("numa_node", "0"), ("driver_override", "(null)")]
        {
            self.file(&format!("{own}/{file}"), &format!("{text}\n"));
        }
        self.folder(&format!("sys/bus/pci/drivers/{driver}"));
        self.link(&format!("{own}/driver"), &format!("../../../bus/pci/drivers/{driver}"));
        self.link(&format!("{own}/iommu_group"), "../../../kernel/iommu_groups/7");
        self.link(&format!("sys/bus/pci/devices/{bdf}"), &format!("../../../devices/pci0000:00/{bdf}"));
        self.link(&format!("sys/kernel/iommu_groups/7/devices/{bdf}"), &format!("../../../../devices/pci0000:00/{bdf}"));
    }

    /// A block device that lives at `own`.
    pub(super) fn disk(&self, own: &str, number: &str) {
        let name = own.rsplit('/').next().expect("a name");
        self.file(&format!("{own}/dev"), &format!("{number}\n"));
        self.folder(&format!("{own}/holders"));
        self.link(&format!("sys/class/block/{name}"), &format!("../../../{own}"));
        self.file(&format!("dev/{name}"), "");
    }

    /// The first partition of the machine's disk.
    pub(super) fn partition(&self) {
        let own = format!("{SYSFS_PCI}/{NVME}/nvme/nvme0/nvme0n1/nvme0n1p1");
        self.disk(&own, "259:1");
        self.file(&format!("{own}/partition"), "1\n");
    }

    pub(super) fn interface(&self, bdf: &str, name: &str, flags: &str) {
        let own = format!("{SYSFS_PCI}/{bdf}/net/{name}");
        self.file(&format!("{own}/flags"), &format!("{flags}\n"));
        self.link(&format!("sys/class/net/{name}"), &format!("../../../{own}"));
    }

    pub(super) fn driver(&self, bdf: &str) -> Option<String> {
        let target = fs::read_link(self.path(&format!("{SYSFS_PCI}/{bdf}/driver"))).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// No node gets more than this many hugepages.
    pub(super) fn pages_at_most(&self, pages: u64) {
        self.file("fake/pages", &pages.to_string());
    }

    /// Someone whom no file names holds this disk.
    pub(super) fn claimed(&self, disk: &str) {
        self.file(&format!("fake/claimed/{disk}"), "");
    }

    /// This driver takes no device.
    pub(super) fn broken(&self, driver: &str) {
        self.file(&format!("fake/broken/{driver}"), "");
    }
}

/// What the files of a [`Machine`] do when written to.
struct Fake {
    root: PathBuf,
}

impl Kernel for Fake {
    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        if !path.exists() {
            return Err(ErrorKind::NotFound.into());
        }
        let (folder, name) = (path.parent().expect("a folder"), path.file_name().expect("a name").to_string_lossy());
        match &*name {
            "nr_hugepages" => self.pages(path, value.parse().map_err(io::Error::other)?),
            "driver_override" => fs::write(path, if value == "\n" { "(null)\n" } else { value }),
            "unbind" => self.unbind(folder, value),
            "bind" => self.bind(folder, value),
            _ => fs::write(path, format!("{value}\n")),
        }
    }

    fn claim(&self, path: &Path) -> io::Result<File> {
        let name = path.file_name().expect("a name").to_string_lossy();
        if self.root.join(format!("fake/claimed/{name}")).exists() {
            return Err(ErrorKind::ResourceBusy.into());
        }
        File::open(path)
    }
}

impl Fake {
    /// As many pages as there is memory for; what is asked of the machine is spread over its nodes.
    fn pages(&self, path: &Path, asked: u64) -> io::Result<()> {
        let most = fs::read_to_string(self.root.join("fake/pages")).map_or(u64::MAX, |t| t.parse().expect("a number"));
        let all = self.root.join("proc/sys/vm/nr_hugepages");
        let nodes: Vec<_> = (0..2).map(|n| self.root.join(Machine::node(n)).join("nr_hugepages")).filter(|p| p.exists()).collect();
        if path == all && !nodes.is_empty() {
            for node in &nodes {
                fs::write(node, format!("{}\n", most.min(asked / nodes.len() as u64)))?;
            }
        } else {
            fs::write(path, format!("{}\n", most.min(asked)))?;
        }
        if nodes.is_empty() {
            return Ok(());
        }
        let count = |node: &PathBuf| fs::read_to_string(node).expect("there").trim().parse::<u64>().expect("a number");
        fs::write(all, format!("{}\n", nodes.iter().map(count).sum::<u64>()))
    }

    fn link(&self, bdf: &str) -> PathBuf {
        self.root.join("sys/bus/pci/devices").join(bdf).join("driver")
    }

    fn unbind(&self, driver: &Path, bdf: &str) -> io::Result<()> {
        let link = self.link(bdf);
        if fs::read_link(&link)?.file_name() != driver.file_name() {
            return Err(io::Error::other("the device is not bound to this driver"));
        }
        fs::remove_file(link)
    }

    fn bind(&self, driver: &Path, bdf: &str) -> io::Result<()> {
        let name = driver.file_name().expect("a name").to_string_lossy();
        let wanted = fs::read_to_string(self.link(bdf).with_file_name("driver_override"))?;
        let fits = match wanted.trim() {
            "(null)" => name != "vfio-pci",
            only => only == name,
        };
        if !fits || self.root.join("fake/broken").join(&*name).exists() {
            return Err(io::Error::other("the driver does not take this device"));
        }
        symlink(format!("../../../bus/pci/drivers/{name}"), self.link(bdf))
    }
}
