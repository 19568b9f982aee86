//! The devices of an application: their names, and who has opened what.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

use core_reactor::{CoreId, Cx, ThreadHandle};
use spin::Mutex;

use crate::channel::Channel;
use crate::shared::Shared;
use crate::{BdevError, Device, IoStats, Limits, ResetStats, Shape, Uuid};

/// The devices of an application. Cloning the handle shares them.
#[derive(Clone)]
pub struct Bdevs(Arc<All>);

struct All {
    list: Mutex<Vec<Bdev>>,
    /// What is to happen when there is a device of that name.
    awaited: Mutex<Vec<(String, WhenAdded)>>,
    seed: u64,
}

type WhenAdded = Box<dyn FnOnce(&Bdevs) + Send>;

/// A device that is to be added.
#[derive(Clone, Debug)]
pub struct NewBdev {
    /// Its name, which no other device has.
    pub name: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// Its uuid; made of its name and the seed of [`Bdevs::new`] where there is none.
    pub uuid: Option<Uuid>,
    /// How many blocks it has.
    pub blocks: u64,
    /// What it is like.
    pub shape: Shape,
}

/// What it is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read only.
    ReadOnly,
    /// To read and write.
    ReadWrite,
}

/// A device. It can be asked what it is from anywhere; to use it, open it.
#[derive(Clone)]
pub struct Bdev(pub(crate) Arc<Shared>);

/// A device that is open, until this and every channel of it are dropped. Crosses cores.
#[derive(Clone)]
pub struct Opened(Arc<Open>);

pub(crate) struct Open {
    pub(crate) shared: Arc<Shared>,
    pub(crate) mode: Mode,
    has_claim: bool,
}

/// Bytes of a name, at most.
const MOST_NAME: usize = 255;

impl Bdevs {
    /// None yet. Uuids of devices that are given none are made with `seed`: with a random one, the
    /// devices of two programs are two.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(All { list: Mutex::default(), awaited: Mutex::default(), seed }))
    }

    /// Adds a device.
    ///
    /// ```
    /// use bdev::{BdevError, Bdevs, Device, DeviceChannel, Kinds, Mode, NewBdev, Shape};
    ///
    /// struct Drum;
    ///
    /// impl Device for Drum {
    ///     fn channel(&self, _: &mut core_reactor::Cx<'_>, _: usize) -> Result<Box<dyn DeviceChannel>, BdevError> {
    ///         Err(BdevError::Removed) // a real one can do more
    ///     }
    /// }
    ///
    /// let shape = Shape {
    ///     product: "Drum",
    ///     block_size: 512,
    ///     align: 1,
    ///     optimal_boundary: 0,
    ///     most_compare_and_write: 0,
    ///     kinds: Kinds::ALL,
    ///     has_write_cache: false,
    /// };
    /// let bdevs = Bdevs::new(1);
    /// let new = NewBdev { name: "Drum0".into(), aliases: vec!["old".into()], uuid: None, blocks: 64, shape };
    /// let drum = bdevs.add(new, Box::new(Drum))?;
    /// assert_eq!(bdevs.get("old")?.name(), "Drum0");
    /// assert!(drum.device::<Drum>().is_some());
    /// let _mine = drum.open_claimed("the journal")?;
    /// assert!(drum.open(Mode::ReadWrite).is_err() && drum.open(Mode::ReadOnly).is_ok());
    /// # Ok::<(), BdevError>(())
    /// ```
    ///
    /// # Errors
    /// A name or the uuid is taken; it has no blocks, or no bytes in them; the device that it
    /// stands on has been removed.
    pub fn add(&self, new: NewBdev, device: Box<dyn Device>) -> Result<Bdev, BdevError> {
        let NewBdev { name, aliases, uuid, blocks, shape } = new;
        check(&name, &shape, blocks)?;
        let uuid = uuid.unwrap_or_else(|| Uuid::of_name(&name, self.0.seed));
        let mut list = self.0.list.lock();
        if device.below().is_some_and(|below| !list.iter().any(|other| other.is(&below))) {
            return Err(BdevError::Removed);
        }
        for name in [&name].into_iter().chain(&aliases) {
            if list.iter().any(|other| other.answers_to(name)) {
                return Err(BdevError::NameTaken(name.as_str().into()));
            }
        }
        if list.iter().any(|other| other.0.uuid == uuid) {
            return Err(BdevError::NameTaken(uuid.to_string().into()));
        }
        let bdev = Bdev(Arc::new(Shared::new(name, aliases, uuid, shape, blocks, device)));
        list.push(bdev.clone());
        drop(list);
        self.tell_of(&bdev);
        Ok(bdev)
    }

    /// Runs `f` once a device of this name, alias or uuid is added, on whichever thread adds it.
    pub fn when_added(&self, name: &str, f: impl FnOnce(&Self) + Send + 'static) {
        self.0.awaited.lock().push((name.into(), Box::new(f)));
    }

    fn tell_of(&self, bdev: &Bdev) {
        let due: Vec<_> = self.0.awaited.lock().extract_if(.., |(name, _)| bdev.answers_to(name)).collect();
        due.into_iter().for_each(|(_, f)| f(self));
    }

    /// A name that no device has: `stem` and the first number that makes one.
    pub fn free_name(&self, stem: &str) -> String {
        (0u64..).map(|n| format!("{stem}{n}")).find(|name| self.get(name).is_err()).unwrap_or_default()
    }

    /// The device of this name, alias or uuid.
    ///
    /// ```
    /// use bdev::{BdevError, Bdevs};
    ///
    /// assert!(matches!(Bdevs::new(1).get("Nobody"), Err(BdevError::NotFound(_))));
    /// ```
    ///
    /// # Errors
    /// [`BdevError::NotFound`].
    pub fn get(&self, name: &str) -> Result<Bdev, BdevError> {
        let found = self.0.list.lock().iter().find(|bdev| bdev.answers_to(name)).cloned();
        found.ok_or_else(|| BdevError::NotFound(name.into()))
    }

    /// All of them, in the order in which they were added.
    pub fn list(&self) -> Vec<Bdev> {
        self.0.list.lock().clone()
    }

    /// Removes a device, and those that stand on it: their names are free at once. Whoever has one
    /// open hears of it, and every request that is under way comes back. What it holds goes with
    /// the last who has it open.
    ///
    /// # Errors
    /// [`BdevError::NotFound`].
    pub fn remove(&self, name: &str) -> Result<Bdev, BdevError> {
        let mut list = self.0.list.lock();
        let at = list.iter().position(|bdev| bdev.answers_to(name)).ok_or_else(|| BdevError::NotFound(name.into()))?;
        let mut gone = Vec::from([list.remove(at)]);
        // One is added behind what it stands on.
        let stands = |gone: &[Bdev], bdev: &Bdev| bdev.0.device.below().is_some_and(|below| gone.iter().any(|it| it.is(&below)));
        let mut at = at;
        while at < list.len() {
            if stands(&gone, &list[at]) {
                gone.push(list.remove(at));
            } else {
                at += 1;
            }
        }
        drop(list);
        gone.iter().for_each(|bdev| bdev.0.remove());
        Ok(gone.swap_remove(0))
    }
}

fn check(name: &str, shape: &Shape, blocks: u64) -> Result<(), BdevError> {
    if name.is_empty() || name.len() > MOST_NAME || name.chars().any(char::is_control) {
        let why = format!("{name:?}: a name has 1 to {MOST_NAME} bytes and nothing that cannot be printed");
        return Err(BdevError::invalid("name", why));
    }
    if shape.block_size == 0 {
        return Err(BdevError::invalid("block_size", "0: a block has a byte at least"));
    }
    match blocks.checked_mul(u64::from(shape.block_size)) {
        Some(1..) => Ok(()),
        _ => Err(BdevError::invalid("num_blocks", format!("{blocks} blocks of {} bytes make no device", shape.block_size))),
    }
}

impl Bdev {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its further names.
    pub fn aliases(&self) -> &[String] {
        &self.0.aliases
    }

    /// Its uuid.
    pub fn uuid(&self) -> Uuid {
        self.0.uuid
    }

    /// What it is like.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// How many blocks it has now.
    pub fn blocks(&self) -> u64 {
        self.0.blocks()
    }

    /// Who has claimed it.
    pub fn claim(&self) -> Option<&'static str> {
        self.0.claim()
    }

    /// How often it is open: for reading, for writing.
    pub fn opens(&self) -> (usize, usize) {
        self.0.opens()
    }

    /// Whether it has been removed.
    pub fn is_removed(&self) -> bool {
        self.0.is_removed()
    }

    /// What it has done since it was added.
    pub fn stats(&self) -> IoStats {
        self.0.stats()
    }

    /// What each of its channels has done: on which thread, on which core.
    pub fn channel_stats(&self) -> Vec<(ThreadHandle, CoreId, IoStats)> {
        self.0.channel_stats()
    }

    /// What its module has made it of, where that is a `T`.
    pub fn device<T: Device>(&self) -> Option<&T> {
        (&*self.0.device as &dyn Any).downcast_ref()
    }

    /// The limits of how much it does in a second.
    pub fn limits(&self) -> Limits {
        self.0.throttles.limits()
    }

    /// Limits how much it does in a second, from the next poll of each channel on. What waits for
    /// the limits that were is let go as these allow.
    pub fn set_limits(&self, limits: Limits) {
        self.0.set_limits(limits);
    }

    /// Has each of its channels polled: for modules that have changed something.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Counts from 0 again.
    pub fn reset_stats(&self, what: ResetStats) {
        self.0.reset_stats(what);
    }

    /// Opens it.
    ///
    /// # Errors
    /// Somebody has claimed it, and this is to write; it has been removed.
    pub fn open(&self, mode: Mode) -> Result<Opened, BdevError> {
        self.0.open(mode)?;
        Ok(Opened(Arc::new(Open { shared: self.0.clone(), mode, has_claim: false })))
    }

    /// Opens it to write, and lets nobody else write while it is open. `by` is told to those who
    /// try.
    ///
    /// # Errors
    /// Somebody else has claimed it or has it open for writing; it has been removed.
    pub fn open_claimed(&self, by: &'static str) -> Result<Opened, BdevError> {
        self.0.open(Mode::ReadWrite)?;
        let has_claim = self.0.make_claim(by);
        if has_claim.is_err() {
            self.0.close(Mode::ReadWrite, false);
        }
        has_claim?;
        Ok(Opened(Arc::new(Open { shared: self.0.clone(), mode: Mode::ReadWrite, has_claim: true })))
    }

    /// Makes it so many blocks. Its channels hear of it. Requests beyond the end that are under way
    /// may still succeed.
    ///
    /// # Errors
    /// The device cannot be so many.
    pub fn resize(&self, blocks: u64) -> Result<(), BdevError> {
        check(&self.0.name, &self.0.shape, blocks)?;
        if self.is_removed() {
            return Err(BdevError::Removed);
        }
        self.0.device.resize(blocks)?;
        self.0.set_blocks(blocks);
        Ok(())
    }

    /// Looks whether what stands behind it has another size now, a file that has grown, and takes
    /// that on. Its channels hear of it.
    ///
    /// # Errors
    /// Nothing does, or it cannot be told, or it makes no device.
    pub fn rescan(&self) -> Result<(), BdevError> {
        let blocks = self.0.device.rescan()?;
        if blocks != self.blocks() { self.resize(blocks) } else { Ok(()) }
    }

    /// Whether they are the same.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn answers_to(&self, name: &str) -> bool {
        self.0.is_called(name) || name.parse() == Ok(self.0.uuid)
    }
}

impl Opened {
    /// The device.
    pub fn bdev(&self) -> Bdev {
        Bdev(self.0.shared.clone())
    }

    /// What it is open for.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// A channel on the core and thread of `cx`, for `depth` requests at a time (at least 1). It
    /// keeps the thread there, and from ending, while it lives.
    ///
    /// # Errors
    /// The device has been removed, or cannot have a channel there.
    pub fn channel(&self, cx: &mut Cx<'_>, depth: usize) -> Result<Channel, BdevError> {
        Channel::new(cx, self.0.clone(), depth)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.close(self.mode, self.has_claim);
    }
}

impl fmt::Debug for Bdevs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl fmt::Debug for Bdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bdev({}, {} blocks of {} bytes)", self.0.name, self.blocks(), self.0.shape.block_size)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.bdev()).field(&self.0.mode).finish()
    }
}
