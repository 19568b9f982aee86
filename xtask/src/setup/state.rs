//! What `apply` changed, written down before each change, so that `reset` can put it back.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::host::Host;

/// The folder goes with the machine's start, as the settings do.
const FOLDER: &str = "run/lcore";
const FILE: &str = "run/lcore/setup.json";

/// The record, kept locked for as long as it is open.
pub(super) struct State {
    file: PathBuf,
    record: Record,
    _lock: File,
}

#[derive(Default, Serialize, Deserialize)]
struct Record {
    values: BTreeMap<String, Value>,
    devices: BTreeMap<String, Bound>,
}

/// A control file's value before the first change, and after the last.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Value {
    pub(super) old: String,
    pub(super) new: String,
}

/// How a device was driven before it went to vfio-pci.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) driver: Option<String>,
    pub(super) driver_override: Option<String>,
}

impl State {
    /// Opens the record. A second setup at the same time is refused.
    pub(super) fn open(host: &Host) -> Result<Self> {
        let folder = host.path(FOLDER);
        fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
        let lock = File::create(folder.join("setup.lock")).with_context(|| format!("could not make a lock in {}", folder.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another setup is at work: wait until it has ended"),
            Err(TryLockError::Error(e)) => return Err(e).context("could not take the lock of setup"),
        }
        let file = host.path(FILE);
        let record = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged: restore by hand what it names, then remove it", file.display()))?,
            Err(e) if e.kind() == ErrorKind::NotFound => Record::default(),
            Err(e) => return Err(e).with_context(|| format!("could not read {}", file.display())),
        };
        Ok(Self { file, record, _lock: lock })
    }

    /// Notes the value of a control file that is about to change. The first note stands.
    pub(super) fn remember(&mut self, host: &Host, path: &str) -> Result<()> {
        if !self.record.values.contains_key(path) {
            let old = host.read(path)?;
            self.record.values.insert(path.to_owned(), Value { new: old.clone(), old });
            self.save()?;
        }
        Ok(())
    }

    /// Notes what the control file reads now, after the change. Nothing is kept of a change that
    /// changed nothing.
    pub(super) fn settle(&mut self, host: &Host, path: &str) -> Result<()> {
        let now = host.read(path)?;
        if let Some(value) = self.record.values.get_mut(path) {
            value.new = now;
            if value.new == value.old {
                self.record.values.remove(path);
            }
        }
        self.save()
    }

    pub(super) fn values(&self) -> Vec<(String, Value)> {
        self.record.values.iter().map(|(path, value)| (path.clone(), value.clone())).collect()
    }

    pub(super) fn forget_value(&mut self, path: &str) -> Result<()> {
        self.record.values.remove(path);
        self.save()
    }

    pub(super) fn remember_device(&mut self, bdf: &str, bound: Bound) -> Result<()> {
        self.record.devices.entry(bdf.to_owned()).or_insert(bound);
        self.save()
    }

    pub(super) fn devices(&self) -> Vec<(String, Bound)> {
        self.record.devices.iter().map(|(bdf, bound)| (bdf.clone(), bound.clone())).collect()
    }

    pub(super) fn forget_device(&mut self, bdf: &str) -> Result<()> {
        self.record.devices.remove(bdf);
        self.save()
    }

    /// By renaming, so that a crash leaves the record whole.
    fn save(&self) -> Result<()> {
        let fresh = self.file.with_extension("new");
        let text = serde_json::to_string_pretty(&self.record)?;
        let saved = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.file));
        saved.with_context(|| format!("could not write {}", self.file.display()))
    }
}
