//! Which network backend: the one that is asked for, or else the first that can do here what will
//! be asked of it.

use std::io;
use std::sync::{Arc, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use core_reactor::net::{self, GroupConfig, NetError, NetImpl, SelectError, Selected};
use core_reactor::{CpuSet, ThreadConfig, ThreadLib, ThreadLibOptions};
use platform_linux::{Limits, LinuxPlatform};
use pool::BufGroup;

use crate::{NET_FEATURES, linked};

/// Bytes that no backend locks for one core.
const MANY_LOCKED_BYTES: u64 = 256 << 10;
/// When what was locked for a try is surely given back: the kernel ends a ring some 20 ms after its
/// last descriptor (seen on 6.18), and tells nobody.
const SETTLED: Duration = Duration::from_millis(100);

/// The backend called `name`, or the first that works here and makes a group for each of `cores` at
/// once: a probe tries one, and what they take may be limited for all together (io_uring's memory
/// by `ulimit -l`). The last one is taken as it is, as there is nothing to take in its place.
pub(crate) fn select(name: Option<&str>, platform: &Arc<LinuxPlatform>, cores: &CpuSet) -> Result<Selected, SelectError> {
    if name.is_some() {
        return net::select_from(&linked::net(), name, NET_FEATURES);
    }
    by_priority(linked::net(), |backend| {
        groups_at_once(backend, platform, cores)?;
        if Limits::read().locked_bytes.is_some_and(|limit| limit < cores.count() as u64 * MANY_LOCKED_BYTES) {
            thread::sleep(SETTLED);
        }
        Ok(())
    })
}

fn by_priority(
    mut linked: Vec<&'static dyn NetImpl>,
    works: impl Fn(&'static dyn NetImpl) -> Result<(), NetError>,
) -> Result<Selected, SelectError> {
    let mut skipped = Vec::new();
    loop {
        let mut selected = match net::select_from(&linked, None, NET_FEATURES) {
            Err(SelectError::NoneUsable { skipped: more }) => {
                skipped.extend(more);
                return Err(SelectError::NoneUsable { skipped });
            }
            selected => selected?,
        };
        skipped.append(&mut selected.skipped);
        let name = selected.backend.name();
        // They are ranked: what stands before has been skipped.
        let at = linked.iter().position(|backend| backend.name() == name);
        linked.drain(..at.map_or(0, |at| at + 1));
        let Some(why) = (if linked.is_empty() { None } else { works(selected.backend).err() }) else {
            selected.skipped = skipped;
            return Ok(selected);
        };
        log::warn!("network backend {name} is skipped: {why}");
        skipped.push((name, why));
    }
}

/// Makes a group for each core, all at once and each on a flow of control of its own as its reactor
/// will, and ends them.
fn groups_at_once(backend: &'static dyn NetImpl, platform: &Arc<LinuxPlatform>, cores: &CpuSet) -> Result<(), NetError> {
    let lib = ThreadLib::new(platform.clone(), *cores, &ThreadLibOptions::default());
    let (tell, told) = mpsc::channel();
    let all_made = RwLock::new(());
    thread::scope(|scope| {
        let gate = all_made.write();
        let started = cores.iter().try_for_each(|core| {
            let (lib, tell, all_made) = (&lib, tell.clone(), &all_made);
            let try_one = move || {
                let Some(mut thread) = lib.create(ThreadConfig::new("probe"), core) else { return };
                let group = thread.with(|cx| backend.group(cx, GroupConfig::new(BufGroup::new(2, 64))));
                // The other end is there until all are heard.
                let _ = tell.send(group.as_ref().map(drop).map_err(Clone::clone));
                drop(tell);
                drop(all_made.read());
            };
            thread::Builder::new().spawn_scoped(scope, try_one).map(drop)
        });
        drop(tell);
        let made = told.iter().collect::<Result<(), NetError>>();
        drop(gate);
        started.map_err(no_thread).and(made)
    })
}

/// The words of an `io::Error` end with its number, which [`NetError::Os`] would say again.
fn no_thread(why: io::Error) -> NetError {
    NetError::Unusable(format!("start a thread to try a group on: {why}").into())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use core_reactor::Cx;
    use core_reactor::net::{SockGroup, SockOptions, Socket};

    use super::*;

    /// A backend by its name, its priority and what its probe says. It makes no groups, and counts
    /// those that were wanted.
    struct Fake(&'static str, u8, bool, AtomicUsize);

    impl Fake {
        const fn new(name: &'static str, priority: u8, usable: bool) -> Self {
            Self(name, priority, usable, AtomicUsize::new(0))
        }
    }

    impl NetImpl for Fake {
        fn name(&self) -> &'static str {
            self.0
        }

        fn priority(&self) -> u8 {
            self.1
        }

        fn probe(&self) -> Result<(), NetError> {
            if self.2 { Ok(()) } else { Err(NetError::Unusable("its probe".into())) }
        }

        fn listen(&self, _: SocketAddr, _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
            Err(NetError::NoAddress)
        }

        fn connect(&self, _: &[SocketAddr], _: &SockOptions) -> Result<Box<dyn Socket>, NetError> {
            Err(NetError::NoAddress)
        }

        fn group(&self, _: &mut Cx<'_>, _: GroupConfig) -> Result<Box<dyn SockGroup>, NetError> {
            self.3.fetch_add(1, Ordering::SeqCst);
            Err(NetError::NoDescriptors)
        }
    }

    static BEST: Fake = Fake::new("best", 3, true);
    static BROKEN: Fake = Fake::new("broken", 2, false);
    static LAST: Fake = Fake::new("last", 1, true);

    fn select(linked: &[&'static dyn NetImpl], refused: &[&str]) -> Result<(String, Vec<&'static str>), SelectError> {
        let works = |backend: &'static dyn NetImpl| match refused.contains(&backend.name()) {
            true => Err(NetError::NoDescriptors),
            false => Ok(()),
        };
        by_priority(linked.to_vec(), works).map(|s| (s.to_string(), s.skipped.into_iter().map(|(name, _)| name).collect()))
    }

    #[test]
    fn s58_a_backend_that_cannot_make_its_groups_gives_way_to_the_next() {
        let all: &[&'static dyn NetImpl] = &[&BEST, &BROKEN, &LAST];
        assert_eq!(select(all, &[]), Ok(("best (highest priority)".into(), vec![])));
        let last = Ok(("last (highest priority that works here)".to_owned(), vec!["best", "broken"]));
        assert_eq!(select(all, &["best"]), last);
        assert_eq!(select(all, &["best", "last"]), last, "there is nothing to take in place of the last one");
        let why = select(&[&BEST, &BROKEN], &["best"]).unwrap_err().to_string();
        assert!(why.contains("best: out of file descriptors") && why.contains("broken: not usable here: its probe"), "{why}");
        assert_eq!(select(&[], &[]).unwrap_err(), SelectError::Empty { features: NET_FEATURES });
    }

    #[test]
    fn the_number_of_an_error_is_said_once() {
        let text = no_thread(io::Error::from_raw_os_error(11)).to_string();
        assert_eq!(text.matches("11").count(), 1, "{text}");
    }

    #[test]
    fn s58_a_group_is_tried_for_every_core_and_one_refusal_is_enough() {
        static COUNTS: Fake = Fake::new("counts", 1, true);
        let platform = Arc::new(LinuxPlatform::new().unwrap());
        let cores = core_reactor::Platform::cores(&*platform);
        assert_eq!(groups_at_once(&COUNTS, &platform, &cores), Err(NetError::NoDescriptors));
        assert_eq!(COUNTS.3.load(Ordering::SeqCst), cores.count());
        for backend in linked::net() {
            assert_eq!(groups_at_once(backend, &platform, &cores), Ok(()), "{}", backend.name());
        }
    }
}
