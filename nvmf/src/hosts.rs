//! The hosts that may connect, and the keys by which they show who they are.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use keyring::Key;
use nvme::auth::Secret;
use spin::Mutex;

use crate::NvmfError;

/// The keys of a host. Without any, it is believed that it is who it says.
#[derive(Clone, Debug, Default)]
pub struct HostKeys {
    /// The host shows that it has this.
    pub dhchap_key: Option<Arc<Key>>,
    /// The controller shows to a host that asks that it has this.
    pub dhchap_ctrlr_key: Option<Arc<Key>>,
}

impl HostKeys {
    pub(crate) fn read(&self) -> Result<Option<Arc<Keys>>, NvmfError> {
        let read = |key: &Arc<Key>| match Secret::read(key.text()) {
            Ok(secret) => Ok((key.clone(), secret)),
            Err(why) => Err(NvmfError::Key { name: key.name().into(), why }),
        };
        let controller = self.dhchap_ctrlr_key.as_ref().map(read).transpose()?;
        match self.dhchap_key.as_ref().map(read).transpose()? {
            Some(host) => Ok(Some(Arc::new(Keys { host, controller }))),
            None if controller.is_some() => Err(NvmfError::ControllerKeyAlone),
            None => Ok(None),
        }
    }
}

/// The keys of a host, and the secrets that they are.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) host: (Arc<Key>, Secret),
    pub(crate) controller: Option<(Arc<Key>, Secret)>,
}

/// A host that may connect by its name.
#[derive(Clone, Debug)]
pub struct AllowedHost {
    nqn: String,
    pub(crate) keys: Option<Arc<Keys>>,
}

impl AllowedHost {
    pub(crate) fn new(nqn: &str, keys: Option<Arc<Keys>>) -> Self {
        Self { nqn: nqn.into(), keys }
    }

    /// HOSTNQN.
    pub fn nqn(&self) -> &str {
        &self.nqn
    }

    /// By which it shows who it is.
    pub fn dhchap_key(&self) -> Option<&Key> {
        self.keys.as_ref().map(|keys| &*keys.host.0)
    }

    /// By which the controller does.
    pub fn dhchap_ctrlr_key(&self) -> Option<&Key> {
        self.keys.as_ref()?.controller.as_ref().map(|(key, _)| &**key)
    }
}

/// What authentication needs of the system.
pub trait Helper: Send + Sync {
    /// Fills `bytes` with what nobody can guess.
    fn random(&self, bytes: &mut [u8]);

    /// Has this done where it holds no reactor: it may take a tenth of a second.
    fn compute(&self, work: Box<dyn FnOnce() + Send>);
}

/// Powers of key exchanges that may wait to be computed, for hosts that nobody knows yet. In the
/// largest group these take about 5 seconds of a core.
const MOST_WORK: usize = 64;

/// The helper, and how much it has to do.
pub(crate) struct Helpers {
    helper: Arc<dyn Helper>,
    waiting: Waiting,
}

/// From where what waits has come. The lock is held by reactors alone, and for a few instructions.
type Waiting = Arc<Mutex<Vec<Option<IpAddr>>>>;

/// Room for something that is computed, until this is dropped.
pub(crate) struct Room {
    from: Option<IpAddr>,
    waiting: Waiting,
}

impl Helpers {
    pub(crate) fn new(helper: Arc<dyn Helper>) -> Self {
        Self { helper, waiting: Arc::default() }
    }

    pub(crate) fn helper(&self) -> &Arc<dyn Helper> {
        &self.helper
    }

    /// Room for one thing more, if there is: whoever asks leaves at least as much as it has, so
    /// however much one address asks for, there is room for another. A name would not do: whoever
    /// is not known yet may say any.
    pub(crate) fn room(&self, from: Option<IpAddr>) -> Option<Room> {
        let mut waiting = self.waiting.lock();
        let own = waiting.iter().filter(|other| **other == from).count();
        if own >= MOST_WORK - waiting.len() {
            return None;
        }
        waiting.push(from);
        Some(Room { from, waiting: self.waiting.clone() })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(at) = waiting.iter().position(|other| *other == self.from) {
            waiting.swap_remove(at);
        }
    }
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers").field("waiting", &self.waiting.lock().len()).finish_non_exhaustive()
    }
}
