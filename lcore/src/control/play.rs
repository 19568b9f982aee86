//! The calls of a configuration, made on the application's first thread: those that the start-up
//! phase allows before the start, and the others behind it.

use std::sync::{Arc, Mutex, PoisonError};

use core_reactor::{Cx, Polled, Schedule};
use rpc::{Control, Error, Text};

use super::sockets;
use crate::AppHandle;
use crate::config::{Calls, Planned};

/// What comes when all calls of a phase are answered, or one has failed.
type Then = Box<dyn FnOnce(&mut Cx<'_>, Result<(), String>) + Send>;
/// Where the answer to a call appears.
type Answer = Arc<Mutex<Option<Result<Text, Error>>>>;

/// Makes the calls of the start-up phase, or the others, one after the other. One that fails ends
/// the application, unless such are to be passed over; `then` hears of it.
pub(super) fn play<F>(cx: &mut Cx<'_>, app: &AppHandle, control: &Arc<Control>, in_start_up: bool, then: F)
where
    F: FnOnce(&mut Cx<'_>, Result<(), String>) + Send + 'static,
{
    let calls = &app.options().calls;
    let is_meant = |call: &&Planned| call.method.phases.allow(false) == in_start_up;
    let left: Vec<_> = calls.calls.iter().filter(is_meant).cloned().collect();
    if left.is_empty() {
        return then(cx, Ok(()));
    }
    let mut player = Player {
        app: app.clone(),
        control: control.clone(),
        calls: calls.clone(),
        left: left.into_iter(),
        waits: None,
        then: Some(Box::new(then)),
    };
    cx.poller("configuration", Schedule::WhenAwake, move |cx: &mut Cx<'_>| player.poll(cx));
}

struct Player {
    app: AppHandle,
    control: Arc<Control>,
    calls: Arc<Calls>,
    left: std::vec::IntoIter<Planned>,
    /// The call that is being made.
    waits: Option<(Planned, Answer)>,
    then: Option<Then>,
}

impl Player {
    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        if cx.is_exiting() {
            return Polled::Done;
        }
        if let Some((call, answer)) = &self.waits {
            let Some(answer) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Polled::Idle };
            if let Err(why) = answer.or_else(|why| self.failed(call, &why)) {
                return self.end(cx, Err(why));
            }
            self.waits = None;
        }
        match self.next() {
            Some(call) => self.call(cx, call),
            None => return self.end(cx, Ok(())),
        }
        Polled::Busy
    }

    fn next(&mut self) -> Option<Planned> {
        loop {
            let call = self.left.next()?;
            let Some(backend) = sockets::foreign(&self.app, call.method, call.params.as_ref()) else { return Some(call) };
            let (path, line, name) = (self.calls.path.display(), call.line, call.method.name);
            log::info!("-c {path}: line {line}: {name} is passed over, as there is no network backend {backend:?} here");
        }
    }

    fn call(&mut self, cx: &mut Cx<'_>, call: Planned) {
        let (answer, thread) = (Answer::default(), cx.handle());
        let (method, params, here) = (call.method, call.params.clone(), answer.clone());
        self.waits = Some((call, answer));
        // At once, or later and from anywhere.
        self.control.call(cx, method, params, move |result| {
            *here.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            thread.wake();
        });
    }

    /// A call has failed: that is an error, or a warning.
    fn failed(&self, call: &Planned, why: &Error) -> Result<Text, String> {
        let why = format!("-c {}: line {}: {}: {}", self.calls.path.display(), call.line, call.method.name, why.message());
        if !self.app.options().rpc.json_ignore_init_errors {
            return Err(why);
        }
        log::warn!("{why}");
        Ok(Text::default())
    }

    fn end(&mut self, cx: &mut Cx<'_>, played: Result<(), String>) -> Polled {
        if let Err(why) = &played {
            log::error!("{why}");
            self.app.stop(1);
        }
        if let Some(then) = self.then.take() {
            then(cx, played);
        }
        Polled::Done
    }
}
