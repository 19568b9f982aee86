//! Handing devices to user space by vfio-pci, and taking them back.
//!
//! ```text
//!            driver_override = vfio-pci, unbind, bind
//!  kernel's ─────────────────────────────────────────► vfio-pci
//!  driver   ◄─────────────────────────────────────────
//!            unbind, driver_override as it was, bind
//! ```
//!
//! A device that anyone uses is never touched. What the files say of use is checked first, for the
//! message; then the kernel itself is asked, by claiming each disk, and the claim is kept until the
//! driver is gone, so that nobody can mount it in between.

use std::fs::File;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, bail, ensure};

use super::host::Host;
use super::pci::{Bdf, DEVICES, Device, VFIO};
use super::state::{Bound, State};

const DRIVERS: &str = "sys/bus/pci/drivers";

/// Whether devices can be handed over on this machine; if not, why, and what to do.
pub(super) fn usable(host: &Host) -> Result<()> {
    ensure!(
        host.exists(format!("{DRIVERS}/{VFIO}")),
        "this machine has no vfio-pci driver: load it with `modprobe vfio-pci`, if this kernel has it"
    );
    let unsafe_mode = host.read_if_there("sys/module/vfio/parameters/enable_unsafe_noiommu_mode")? == "Y";
    ensure!(
        unsafe_mode || !host.list("sys/kernel/iommu_groups")?.is_empty(),
        "this machine has no IOMMU at work, and vfio-pci needs one: switch on VT-d or AMD-Vi in the firmware, and intel_iommu=on on Intel \
         kernels (a virtual machine must be given one)"
    );
    Ok(())
}

/// Whether `device` may go to user space. Holding what comes back keeps its disks from being taken
/// by anyone else.
pub(super) fn claim(host: &Host, device: &Device) -> Result<Vec<File>> {
    let bdf = &device.bdf.0;
    ensure!(device.uses.is_empty(), "{bdf} is in use and is left as it is: {}", device.uses.join("; "));
    let mut claims = Vec::new();
    for disk in device.disks(host) {
        match host.claim(format!("dev/{disk}")) {
            Ok(claim) => claims.push(claim),
            Err(e) if e.kind() == ErrorKind::ResourceBusy => {
                bail!(
                    "{bdf} is in use and is left as it is: the kernel says that /dev/{disk} is taken (a mount elsewhere, a volume, a RAID)"
                )
            }
            Err(e) => bail!("{bdf} is left as it is: whether /dev/{disk} is in use cannot be told ({e})"),
        }
    }
    Ok(claims)
}

/// Gives `device` to vfio-pci. On failure it is given back to the driver that it had.
pub(super) fn bind(host: &Host, state: &mut State, device: &Device, claims: Vec<File>, out: &mut dyn Write) -> Result<()> {
    let (bdf, folder) = (&device.bdf.0, device.folder());
    let before = Bound { driver: device.driver.clone(), driver_override: driver_override(host, &folder)? };
    state.remember_device(bdf, before.clone())?;
    let bound = hand_over(host, device);
    drop(claims);
    if let Err(error) = bound {
        give_back(host, &device.bdf, &before).with_context(|| format!("and after this failure: {error:#}"))?;
        state.forget_device(bdf)?;
        return Err(error.context(format!("{bdf} could not be given to vfio-pci and has the driver that it had")));
    }
    writeln!(out, "{bdf}: from {} to {VFIO}", before.driver.as_deref().unwrap_or("no driver"))?;
    neighbours(host, device, out)
}

fn hand_over(host: &Host, device: &Device) -> Result<()> {
    let (bdf, folder) = (&device.bdf.0, device.folder());
    host.write(format!("{folder}/driver_override"), VFIO)?;
    if let Some(driver) = &device.driver {
        host.write(format!("{DRIVERS}/{driver}/unbind"), bdf)?;
    }
    host.write(format!("{DRIVERS}/{VFIO}/bind"), bdf)?;
    let now = host.link_name(format!("{folder}/driver"));
    ensure!(now.as_deref() == Some(VFIO), "{VFIO} did not take {bdf}");
    Ok(())
}

/// vfio opens a group of devices only when all of it is out of the kernel's hands: say which are
/// not.
fn neighbours(host: &Host, device: &Device, out: &mut dyn Write) -> Result<()> {
    let Some(group) = &device.iommu_group else { return Ok(()) };
    for other in host.list(format!("sys/kernel/iommu_groups/{group}/devices"))? {
        let driver = host.link_name(format!("{DEVICES}/{other}/driver"));
        if let Some(driver) = driver.filter(|d| d != VFIO && d != "pcieport") {
            writeln!(out, "  note: {other} is in the same IOMMU group ({group}) and driven by {driver}: vfio will not open the group")?;
        }
    }
    Ok(())
}

/// Takes a device back from vfio-pci, and says so.
pub(super) fn unbind(host: &Host, bdf: &Bdf, before: &Bound, now: Option<&Device>, out: &mut dyn Write) -> Result<()> {
    let name = &bdf.0;
    let Some(device) = now else {
        writeln!(out, "{name}: no longer in this machine, forgotten")?;
        return Ok(());
    };
    if !device.is_handed_over() {
        writeln!(out, "{name}: no longer with {VFIO}, left as it is")?;
        return Ok(());
    }
    ensure!(device.uses.is_empty(), "{name} is in use and stays with {VFIO}: {}", device.uses.join("; "));
    give_back(host, bdf, before)?;
    writeln!(out, "{name}: from {VFIO} back to {}", before.driver.as_deref().unwrap_or("no driver"))?;
    Ok(())
}

/// Whatever drives the device now, afterwards it is as `before` says.
fn give_back(host: &Host, bdf: &Bdf, before: &Bound) -> Result<()> {
    let folder = format!("{DEVICES}/{}", bdf.0);
    let driven = |by: &str| host.link_name(format!("{folder}/driver")).as_deref() == Some(by);
    if driven(VFIO) {
        host.write(format!("{DRIVERS}/{VFIO}/unbind"), &bdf.0)?;
    }
    // A line end alone takes the override away.
    host.write(format!("{folder}/driver_override"), before.driver_override.as_deref().unwrap_or("\n"))?;
    if let Some(driver) = before.driver.as_deref().filter(|driver| !driven(driver)) {
        host.write(format!("{DRIVERS}/{driver}/bind"), &bdf.0)?;
        ensure!(driven(driver), "{driver} did not take {} back", bdf.0);
    }
    Ok(())
}

fn driver_override(host: &Host, folder: &str) -> Result<Option<String>> {
    let text = host.read(format!("{folder}/driver_override"))?;
    Ok(Some(text).filter(|t| !t.is_empty() && t != "(null)"))
}
