//! Who uses a device: mounts, swap, volume managers, interfaces that are up, routes, open files.

use std::collections::BTreeMap;

use anyhow::Result;

use super::host::Host;
use super::pci::{Device, Kind};

/// What the kernel tells about use, read once for all devices.
pub(super) struct Uses {
    mounts: Vec<Mount>,
    /// Device files that are swapped to.
    swaps: Vec<String>,
    /// For each interface, what leads over it.
    routes: BTreeMap<String, &'static str>,
    /// For each file under `/dev`, a process that has it open.
    open: BTreeMap<String, String>,
}

struct Mount {
    /// `major:minor`.
    number: String,
    source: String,
    at: String,
}

impl Uses {
    pub(super) fn gather(host: &Host) -> Result<Self> {
        let swaps = host.read_if_there("proc/swaps")?;
        Ok(Self {
            mounts: host.read("proc/self/mountinfo")?.lines().filter_map(mount).collect(),
            swaps: swaps.lines().skip(1).filter_map(|l| Some(l.split_whitespace().next()?.to_owned())).collect(),
            routes: routes(host)?,
            open: open_files(host)?,
        })
    }

    /// Each use of `device`, in a few words.
    pub(super) fn of(&self, host: &Host, device: &Device) -> Result<Vec<String>> {
        let mut uses = Vec::new();
        for block in &device.blocks {
            self.block(host, block, &mut uses)?;
        }
        for interface in &device.interfaces {
            self.interface(host, interface, &mut uses)?;
        }
        self.files_of(host, device, &mut uses)?;
        if host.read_if_there(format!("{}/sriov_numvfs", device.folder()))?.parse().is_ok_and(|n: u32| n > 0) {
            uses.push("it has virtual functions".into());
        }
        let driver = device.driver.as_deref().filter(|_| !device.is_handed_over());
        if let (Kind::Network, Some(driver), true) = (device.kind, driver, device.interfaces.is_empty()) {
            uses.push(format!("{driver} drives it but no interface is seen here: it may be in another network namespace"));
        }
        Ok(uses)
    }

    fn block(&self, host: &Host, block: &str, uses: &mut Vec<String>) -> Result<()> {
        let number = host.read(format!("sys/class/block/{block}/dev"))?;
        let file = format!("/dev/{block}");
        for mount in self.mounts.iter().filter(|m| m.number == number || m.source == file) {
            uses.push(format!("{block} is mounted at {}", mount.at));
        }
        if self.swaps.contains(&file) {
            uses.push(format!("{block} is swap"));
        }
        for holder in host.list(format!("sys/class/block/{block}/holders"))? {
            uses.push(format!("{block} is held by {holder}"));
        }
        Ok(())
    }

    fn interface(&self, host: &Host, interface: &str, uses: &mut Vec<String>) -> Result<()> {
        const IFF_UP: u32 = 1;
        let folder = format!("sys/class/net/{interface}");
        let flags = host.read(format!("{folder}/flags"))?;
        if u32::from_str_radix(flags.trim_start_matches("0x"), 16).is_ok_and(|f| f & IFF_UP != 0) {
            uses.push(format!("{interface} is up"));
        }
        if let Some(route) = self.routes.get(interface) {
            uses.push(format!("{interface} has {route}"));
        }
        if let Some(master) = host.link_name(format!("{folder}/master")) {
            uses.push(format!("{interface} belongs to {master}"));
        }
        for upper in host.list(&folder)?.iter().filter_map(|name| name.strip_prefix("upper_")) {
            uses.push(format!("{interface} carries {upper}"));
        }
        Ok(())
    }

    /// Files in `/dev` through which a process may hold the device without a mount.
    fn files_of(&self, host: &Host, device: &Device, uses: &mut Vec<String>) -> Result<()> {
        let mut files: Vec<String> = device.blocks.clone();
        for controller in host.list(format!("{}/nvme", device.folder()))? {
            let names = host.list(format!("{}/nvme/{controller}", device.folder()))?;
            files.extend(names.into_iter().filter(|name| name.starts_with("ng")));
            files.push(controller);
        }
        for verbs in host.list(format!("{}/infiniband_verbs", device.folder()))? {
            files.push(format!("infiniband/{verbs}"));
        }
        for device in host.list(format!("{}/vfio-dev", device.folder()))? {
            files.push(format!("vfio/devices/{device}"));
        }
        if let Some(group) = device.iommu_group.as_ref().filter(|_| device.is_handed_over()) {
            files.push(format!("vfio/{group}"));
            files.push(format!("vfio/noiommu-{group}"));
        }
        for file in files {
            if let Some(process) = self.open.get(&format!("/dev/{file}")) {
                uses.push(format!("{process} has /dev/{file} open"));
            }
        }
        Ok(())
    }
}

/// A line of mountinfo: `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`.
fn mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let front: Vec<_> = front.split(' ').collect();
    Some(Mount { number: (*front.get(2)?).into(), source: back.split(' ').nth(1)?.into(), at: (*front.get(4)?).into() })
}

/// What leads over each interface, IPv4 and IPv6; a default route is named before all else.
fn routes(host: &Host) -> Result<BTreeMap<String, &'static str>> {
    const DEFAULT: &str = "the default route";
    let mut routes = BTreeMap::new();
    for line in host.read_if_there("proc/net/if_inet6")?.lines() {
        routes.extend(line.split_whitespace().nth(5).map(|name| (name.to_owned(), "an IPv6 address")));
    }
    // Interface, destination, gateway, flags, counters, metric, mask.
    for line in host.read_if_there("proc/net/route")?.lines().skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        let (Some(&name), Some(&to), Some(&mask)) = (words.first(), words.get(1), words.get(7)) else { continue };
        let zero = |hex: &str| hex.bytes().all(|c| c == b'0');
        let kind = if zero(to) && zero(mask) { DEFAULT } else { "a route" };
        if routes.get(name) != Some(&DEFAULT) {
            routes.insert(name.to_owned(), kind);
        }
    }
    Ok(routes)
}

/// Files under `/dev` that processes hold, as far as the caller may see them: root sees all.
fn open_files(host: &Host) -> Result<BTreeMap<String, String>> {
    let mut open = BTreeMap::new();
    for pid in host.list("proc")?.into_iter().filter(|name| name.bytes().all(|c| c.is_ascii_digit())) {
        // A process may end, or be another user's, while we look.
        let Ok(descriptors) = host.list(format!("proc/{pid}/fd")) else { continue };
        for descriptor in descriptors {
            let Ok(target) = std::fs::read_link(host.path(format!("proc/{pid}/fd/{descriptor}"))) else { continue };
            if target.starts_with("/dev") && !open.contains_key(&*target.to_string_lossy()) {
                let name = host.read(format!("proc/{pid}/comm")).unwrap_or_default();
                open.insert(target.to_string_lossy().into_owned(), format!("process {pid} ({name})"));
            }
        }
    }
    Ok(open)
}
