//! NVMe and network devices on the PCI bus: what drives them and who uses them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};

use super::host::Host;
use super::uses::Uses;

pub(super) const DEVICES: &str = "sys/bus/pci/devices";
pub(super) const VFIO: &str = "vfio-pci";

/// A PCI address, domain included: `0000:3b:00.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bdf(pub(super) String);

impl FromStr for Bdf {
    type Err = String;

    /// Takes the domain as 0 where it is left out, as `lspci` leaves it out.
    fn from_str(text: &str) -> Result<Self, String> {
        let full = if text.matches(':').count() == 1 { format!("0000:{text}") } else { text.to_owned() }.to_ascii_lowercase();
        let hex = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|c| c.is_ascii_hexdigit());
        let parts: Vec<_> = full.split([':', '.']).collect();
        match parts[..] {
            [domain, bus, slot, function]
                if (4..=8).contains(&domain.len()) && hex(domain, domain.len()) && hex(bus, 2) && hex(slot, 2) && hex(function, 1) =>
            {
                Ok(Self(format!("{domain}:{bus}:{slot}.{function}")))
            }
            _ => Err("not a PCI address: write it as 0000:3b:00.0 or 3b:00.0".into()),
        }
    }
}

/// What a device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nvme,
    Network,
}

/// A device that setup knows how to hand over.
pub(super) struct Device {
    pub(super) bdf: Bdf,
    pub(super) kind: Kind,
    /// Vendor and device, as `8086:0a54`.
    pub(super) id: String,
    pub(super) driver: Option<String>,
    /// NUMA node, or -1.
    pub(super) node: String,
    pub(super) iommu_group: Option<String>,
    /// Its block devices, partitions included.
    pub(super) blocks: Vec<String>,
    /// Its network interfaces in this namespace.
    pub(super) interfaces: Vec<String>,
    /// Who uses it, each in a few words; empty if nobody is known to.
    pub(super) uses: Vec<String>,
}

impl Device {
    pub(super) fn folder(&self) -> String {
        format!("{DEVICES}/{}", self.bdf.0)
    }

    /// Whether the device went to user space.
    pub(super) fn is_handed_over(&self) -> bool {
        self.driver.as_deref() == Some(VFIO)
    }

    /// Its block devices that are whole and have a file in `/dev` of their own.
    pub(super) fn disks(&self, host: &Host) -> Vec<&String> {
        let whole = |name: &&String| {
            let folder = Path::new("sys/class/block").join(name);
            !host.exists(folder.join("partition")) && host.read(folder.join("hidden")).map_or(true, |hidden| hidden != "1")
        };
        self.blocks.iter().filter(whole).collect()
    }
}

/// The NVMe and network devices of the machine, by address.
pub(super) fn devices(host: &Host) -> Result<Vec<Device>> {
    let uses = Uses::gather(host)?;
    let blocks = located(host, "sys/class/block")?;
    let interfaces = located(host, "sys/class/net")?;
    let mut found = Vec::new();
    for name in host.list(DEVICES)? {
        let folder = format!("{DEVICES}/{name}");
        let Some(kind) = kind_of(&host.read(format!("{folder}/class"))?) else { continue };
        let own = host.resolve(&folder)?;
        let part = |file: &str| Ok::<_, anyhow::Error>(host.read(format!("{folder}/{file}"))?.trim_start_matches("0x").to_owned());
        let storage = [vec![own.clone()], subsystems(host, &own)?].concat();
        let under = |places: &[PathBuf], all: &[(String, PathBuf)]| -> Vec<String> {
            all.iter().filter(|(_, at)| places.iter().any(|p| at.starts_with(p))).map(|(name, _)| name.clone()).collect()
        };
        let mut device = Device {
            bdf: Bdf(name),
            kind,
            id: format!("{}:{}", part("vendor")?, part("device")?),
            driver: host.link_name(format!("{folder}/driver")),
            node: host.read_if_there(format!("{folder}/numa_node"))?,
            iommu_group: host.link_name(format!("{folder}/iommu_group")),
            blocks: under(&storage, &blocks),
            interfaces: under(std::slice::from_ref(&own), &interfaces),
            uses: Vec::new(),
        };
        device.uses = uses.of(host, &device)?;
        found.push(device);
    }
    Ok(found)
}

/// By class code: 01 08 is NVMe, 02 any network controller.
fn kind_of(class: &str) -> Option<Kind> {
    let class = class.trim_start_matches("0x");
    match class.get(..2)? {
        "02" => Some(Kind::Network),
        "01" if class.get(2..4)? == "08" => Some(Kind::Nvme),
        _ => None,
    }
}

/// The entries of a class, each with the folder that it really is.
fn located(host: &Host, class: &str) -> Result<Vec<(String, PathBuf)>> {
    let names = host.list(class)?;
    // A plain file among the links (`bonding_masters`) is no device.
    let entries = names.into_iter().filter(|name| host.path(class).join(name).is_dir());
    entries.map(|name| host.resolve(Path::new(class).join(&name)).map(|at| (name, at))).collect()
}

/// The NVMe subsystems that a controller under `device` belongs to. With multipath the disk that is
/// mounted hangs there, not under the device.
fn subsystems(host: &Host, device: &Path) -> Result<Vec<PathBuf>> {
    let class = Path::new("sys/class/nvme-subsystem");
    let mut found = Vec::new();
    for subsystem in host.list(class)? {
        let at = class.join(&subsystem);
        let members = host.list(&at).with_context(|| format!("of the NVMe subsystem {subsystem}"))?;
        let controllers = members.iter().filter(|m| m.starts_with("nvme") && host.path(&at).join(m).is_symlink());
        for controller in controllers {
            if host.resolve(at.join(controller))?.starts_with(device) {
                found.push(host.resolve(&at)?);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_domain() {
        assert_eq!("3b:00.0".parse(), Ok(Bdf("0000:3b:00.0".into())));
        assert_eq!("0000:3B:00.1".parse(), Ok(Bdf("0000:3b:00.1".into())));
        assert_eq!("10000:01:00.0".parse(), Ok(Bdf("10000:01:00.0".into())));
        for wrong in ["", "eth0", "3b:00", "3b.00.0", "0000:3b:00.0.1", "0000:3b:00:0:1", "gg:00.0", "../..:00.0"] {
            assert!(wrong.parse::<Bdf>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_nvme_and_network_classes_are_known() {
        assert_eq!(kind_of("0x010802"), Some(Kind::Nvme));
        assert_eq!(kind_of("0x020000"), Some(Kind::Network));
        assert_eq!(kind_of("0x020700"), Some(Kind::Network));
        for other in ["0x010601", "0x018000", "0x060000", "0xffff00", ""] {
            assert_eq!(kind_of(other), None, "{other}");
        }
    }
}
