//! Whoever looks, once a second and off the reactors, whether one of them does not come back.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use core_reactor::{CoreId, GoingOn, Instant, PlatformError, ThreadLib};
use platform_linux::spawn_off_reactor;

/// How often it looks. A stall that ends is told by its reactor; this is for one that does not.
const PERIOD: Duration = Duration::from_secs(1);

/// Names what holds a reactor up, until it is dropped.
pub(crate) struct Watcher {
    /// Dropped to end it.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(lib: ThreadLib) -> Result<Self, PlatformError> {
        let (end, ended) = mpsc::channel();
        let watch = move || {
            let mut said = Said::default();
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let now = lib.platform().now();
                for line in said.news(&lib.going_on(), now) {
                    log::warn!("{line}");
                }
            }
        };
        Ok(Self { end: Some(end), thread: Some(spawn_off_reactor("stalls", watch)?) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("who looks for stalls panicked");
        }
    }
}

/// What has been said: of each core the stall, by its beginning, and how long it had taken then.
#[derive(Default)]
struct Said(Vec<(CoreId, Instant, u64)>);

impl Said {
    /// What is to be said of what goes on: what is new, and what takes twice as long by now.
    fn news(&mut self, going_on: &[GoingOn], now: Instant) -> Vec<String> {
        self.0.retain(|(core, since, _)| going_on.iter().any(|it| (it.core, it.since) == (*core, *since)));
        let mut lines = Vec::new();
        for it in going_on {
            let took = now.nanos_since(it.since);
            let said = self.0.iter_mut().find(|(core, _, _)| *core == it.core);
            match said {
                Some((_, _, then)) if took / 2 < *then => continue,
                Some((_, _, then)) => *then = took,
                None => self.0.push((it.core, it.since, took)),
            }
            let thread = if it.thread.is_empty() { "(none)" } else { it.thread.as_str() };
            lines.push(format!("core {}: thread {thread}: {} has run for {} ms, and has not ended", it.core, it.what, took / 1_000_000));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core_reactor::sim::Sim;
    use core_reactor::{Cx, Polled, Schedule, ThreadConfig};
    use std::sync::{Arc, Mutex};

    /// What goes on in a poller that takes so many milliseconds before each look.
    fn looks(at: &'static [u64]) -> Vec<(Vec<GoingOn>, Instant)> {
        let mut sim = Sim::new(1);
        let (platform, lib, looks) = (sim.platform.clone(), sim.lib().clone(), Arc::new(Mutex::new(Vec::new())));
        let told = looks.clone();
        let start = move |cx: &mut Cx<'_>| {
            cx.poller("loops", Schedule::Always, move |_: &mut Cx<'_>| {
                for millis in at {
                    platform.advance(Duration::from_millis(*millis));
                    told.lock().unwrap().push((lib.going_on(), lib.platform().now()));
                }
                Polled::Done
            });
        };
        sim.lib().spawn(ThreadConfig::new("t"), start).unwrap();
        sim.settle();
        std::mem::take(&mut looks.lock().unwrap())
    }

    #[test]
    fn s184_what_goes_on_is_said_again_when_it_takes_twice_as_long() {
        let mut said = Said::default();
        let lines: Vec<_> = looks(&[1_000; 9]).iter().map(|(going_on, now)| said.news(going_on, *now)).collect();
        let said_at: Vec<_> = (1..).zip(&lines).filter(|(_, lines)| !lines.is_empty()).map(|(second, _)| second).collect();
        assert_eq!(said_at, [1, 2, 4, 8], "{lines:?}");
        assert_eq!(lines[3], ["core 0: thread t: loops has run for 4000 ms, and has not ended"]);
    }

    #[test]
    fn s184_another_stall_of_the_same_core_is_said_at_once() {
        let mut said = Said::default();
        let (first, second) = (looks(&[5_000]), looks(&[20, 20]));
        assert_eq!(said.news(&first[0].0, first[0].1).len(), 1);
        assert_eq!(said.news(&[], first[0].1).len(), 0);
        assert_eq!(said.news(&second[0].0, second[0].1).len(), 1);
        assert_eq!(said.news(&second[1].0, second[1].1).len(), 1, "twice as long");
    }

    #[test]
    fn s184_a_watcher_ends_when_it_is_dropped() {
        let sim = Sim::new(1);
        drop(Watcher::start(sim.lib().clone()).unwrap());
    }
}
