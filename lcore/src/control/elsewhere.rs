//! What a method has done off the reactors, one thing after the other: what takes its time, as a
//! file or thousands of figures do.

use std::sync::mpsc;

use core_reactor::PlatformError;

use crate::spawn_off_reactor;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that ends when this is dropped. No call starts one, so no number of clients has more
/// than this one.
pub(crate) struct Elsewhere(mpsc::Sender<Job>);

impl Elsewhere {
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start() -> Result<Self, PlatformError> {
        let (give, given) = mpsc::channel::<Job>();
        spawn_off_reactor("rpc_elsewhere", move || given.iter().for_each(|job| job()))?;
        Ok(Self(give))
    }

    /// Has `job` done there. A reply in it that goes unsent, since another job has panicked, says
    /// so by itself.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.0.send(Box::new(job));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn s213_what_is_done_elsewhere_is_done_by_one_thread_in_order() {
        let (elsewhere, (tell, told)) = (Elsewhere::start().unwrap(), mpsc::channel());
        for n in 0..64 {
            let tell = tell.clone();
            elsewhere.run(move || tell.send((n, thread::current().id())).unwrap());
        }
        drop((elsewhere, tell));
        let told: Vec<_> = told.iter().collect();
        assert!(told.iter().map(|(n, _)| *n).eq(0..64) && told.iter().all(|(_, id)| *id == told[0].1 && *id != thread::current().id()));
    }
}
