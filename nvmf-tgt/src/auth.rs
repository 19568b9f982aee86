//! What authentication of hosts needs of the system: random numbers, and a thread that computes.

use std::sync::mpsc;

use lcore::{PlatformError, spawn_off_reactor};
use nvmf::Helper;
use rustix::io::Errno;
use rustix::process::setpriority_process;
use rustix::rand::{GetRandomFlags, getrandom};

type Work = Box<dyn FnOnce() + Send>;

/// Reactors that never sleep, and share their cores with the thread, have ten times as much.
const NICE: i32 = 10;

/// A thread that computes for hosts that show who they are, however many these are.
pub(crate) struct Computer(mpsc::Sender<Work>);

impl Computer {
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start() -> Result<Self, PlatformError> {
        let (give, given) = mpsc::channel::<Work>();
        spawn_off_reactor("nvmf_auth", move || {
            // Of this thread alone.
            if let Err(why) = setpriority_process(None, NICE) {
                log::info!("the thread that authenticates hosts runs as the others do: {why}");
            }
            given.iter().for_each(|work| work());
        })?;
        Ok(Self(give))
    }
}

impl Helper for Computer {
    fn random(&self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            match getrandom(&mut *bytes, GetRandomFlags::empty()) {
                Ok(some) => bytes = &mut bytes[some..],
                Err(Errno::INTR) => {}
                // Nobody is to go on with numbers that can be guessed.
                Err(why) => panic!("the system gives no random numbers: {why}"),
            }
        }
    }

    fn compute(&self, work: Work) {
        // The thread ends with this.
        let _ = self.0.send(work);
    }
}
