//! Calls of one channel, as jobs of its device's threads.

// UNSAFETY: jobs name memory that another thread reads and writes; see `start`.
#![allow(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bdev_file::{Call, Disk, Engine};
use core_reactor::{Bell, Cx, Watch};

use crate::threads::{Answers, Job, Queue};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Aio {
    queue: Arc<Queue>,
    answers: Arc<Answers>,
    disk: Arc<Disk>,
    _watch: Watch,
}

/// Keeps its core awake while there is an answer; one that comes later wakes it.
struct Lies(Arc<Answers>);

impl Bell for Lies {
    fn arm(&self) -> bool {
        self.0.is_empty()
    }

    fn disarm(&self) {}
}

impl Aio {
    pub(crate) fn new(cx: &mut Cx<'_>, queue: Arc<Queue>, disk: Arc<Disk>, depth: usize) -> Self {
        queue.reserve(depth);
        let answers = Arc::new(Answers::new(cx.handle(), depth));
        let watch = cx.bell(Rc::new(Lies(answers.clone())));
        Self { queue, answers, disk, _watch: watch }
    }
}

impl Engine for Aio {
    unsafe fn start(&mut self, slot: usize, call: Call<'_>) {
        // SAFETY: the caller's promise.
        let job = unsafe { Job::new(slot, call, self.disk.clone(), self.answers.clone()) };
        self.queue.push(job);
    }

    fn cancel(&mut self, slot: usize) {
        if let Some(job) = self.queue.take(slot, &self.answers) {
            job.to.tell(slot, -libc::ECANCELED);
        }
    }

    fn poll(&mut self, back: &mut Vec<(usize, i32)>) {
        self.answers.take(back);
    }

    fn wait(&mut self, most: Duration) {
        if self.answers.is_empty() {
            // Its channel has ended, and nothing else need be done meanwhile.
            thread::sleep(most.min(Duration::from_micros(100)));
        }
    }
}
