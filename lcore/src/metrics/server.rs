//! The server of the page: a few clients, each with one request at a time.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use core_reactor::net::{Events, Frame, GroupConfig, NetError, NetEvent, SockGroup, SockId, Socket, Token};
use core_reactor::{Cx, Instant, Polled, Schedule, ThreadHandle};
use pool::BufGroup;
use statistics::{Samples, families};

use super::http::{self, Asked, What};
use super::page;
use crate::{AppHandle, registered, spawn_off_reactor};

/// Clients at a time: one more takes the place of whoever has been idle the longest, if anybody is.
const CLIENTS: usize = 16;
/// Bytes of a buffer, and buffers that an answer has on their way.
const BUFFER: usize = 16 << 10;
const ON_THEIR_WAY: usize = 4;
/// How long a client may take for a request, for an answer, and for the next request.
const PATIENCE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(120);

pub(super) struct Server {
    app: AppHandle,
    group: Box<dyn SockGroup>,
    clients: Vec<Client>,
    page: Arc<NewPage>,
    /// The page is being made.
    is_asked: bool,
}

/// The page on its way from where it is made.
struct NewPage {
    page: Mutex<Option<Arc<[u8]>>>,
    is_there: AtomicBool,
    thread: ThreadHandle,
}

struct Client {
    id: SockId,
    /// What has arrived and was not looked at.
    arrived: Vec<u8>,
    phase: Phase,
    /// When it is sent away.
    until: Instant,
}

enum Phase {
    /// A request is awaited.
    Idle,
    /// The page is awaited.
    Waits { with_body: bool, goes_on: bool },
    /// An answer is on its way.
    Takes(Answer),
    /// All is said; the peer's end is awaited.
    Ends,
}

struct Answer {
    head: Vec<u8>,
    body: Arc<[u8]>,
    /// Bytes that were handed to the group.
    at: usize,
    /// Buffers of them that it still has.
    on_their_way: usize,
    goes_on: bool,
}

impl Server {
    /// Serves on this thread until it exits.
    pub(super) fn start(cx: &mut Cx<'_>, app: AppHandle, listener: Box<dyn Socket>) -> Result<(), NetError> {
        let buffers = CLIENTS * (ON_THEIR_WAY + 2);
        // Some places more, for those that are leaving.
        let config = GroupConfig::new(BufGroup::new(buffers, BUFFER)).sockets(2 * CLIENTS + 1);
        let mut group = app.net().group(cx, config)?;
        group.attach(listener, Token(0)).map_err(|refused| refused.why)?;
        let page = Arc::new(NewPage { page: Mutex::default(), is_there: AtomicBool::new(false), thread: cx.handle() });
        let server = Rc::new(RefCell::new(Some(Self { app, group, clients: Vec::new(), page, is_asked: false })));
        let looked_at = server.clone();
        let late = cx.local_poller("metrics_timer", Schedule::Every(Duration::from_secs(1)), move |cx: &mut Cx<'_>| {
            match looked_at.borrow_mut().as_mut().is_some_and(|server| server.send_away_the_late(cx.now())) {
                true => Polled::Busy,
                false => Polled::Idle,
            }
        });
        let mut events = Events::new(64);
        cx.local_poller("metrics", Schedule::WhenAwake, move |cx: &mut Cx<'_>| {
            if cx.is_exiting() {
                server.borrow_mut().take();
                let _ = cx.remove(late);
                return Polled::Done;
            }
            match server.borrow_mut().as_mut().is_some_and(|server| server.poll(cx, &mut events)) {
                true => Polled::Busy,
                false => Polled::Idle,
            }
        });
        Ok(())
    }

    fn poll(&mut self, cx: &mut Cx<'_>, events: &mut Events) -> bool {
        let mut is_busy = self.take_page(cx);
        is_busy |= self.group.poll(events) > 0;
        for event in events.drain() {
            self.on(cx, event);
        }
        is_busy
    }

    fn on(&mut self, cx: &mut Cx<'_>, event: NetEvent) {
        match event {
            NetEvent::Accepted { socket, .. } => self.accept(cx, socket),
            NetEvent::Received { id, buf, .. } => {
                let Some(client) = self.client(id) else { return };
                // Behind the last answer it is thrown away.
                if !matches!(client.phase, Phase::Ends) {
                    if client.arrived.is_empty() {
                        client.until = cx.now() + PATIENCE;
                    }
                    client.arrived.extend_from_slice(&buf);
                    self.look(cx, id);
                }
            }
            NetEvent::Sent { id, .. } => {
                let Some(client) = self.client(id) else { return };
                if let Phase::Takes(answer) = &mut client.phase {
                    answer.on_their_way -= 1;
                    client.until = cx.now() + PATIENCE;
                    self.send_on(cx, id);
                }
            }
            NetEvent::PeerClosed { id, .. } => {
                let Some(client) = self.client(id) else { return };
                match &mut client.phase {
                    Phase::Idle => self.end(cx, id),
                    // Who has asked before gets the answer.
                    Phase::Waits { goes_on, .. } | Phase::Takes(Answer { goes_on, .. }) => *goes_on = false,
                    Phase::Ends => {}
                }
            }
            NetEvent::Closed { id, .. } => self.clients.retain(|client| client.id != id),
            _ => {}
        }
    }

    fn client(&mut self, id: SockId) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.id == id)
    }

    fn accept(&mut self, cx: &mut Cx<'_>, socket: Box<dyn Socket>) {
        if self.clients.len() >= CLIENTS {
            let idle = self.clients.iter().filter(|client| matches!(client.phase, Phase::Idle | Phase::Ends));
            let Some(id) = idle.min_by_key(|client| client.until).map(|client| client.id) else { return };
            self.drop_client(id);
        }
        // A group that has no place for it closes it.
        if let Ok(id) = self.group.attach(socket, Token(0)) {
            self.clients.push(Client { id, arrived: Vec::new(), phase: Phase::Idle, until: cx.now() + PATIENCE });
        }
    }

    /// Looks for a request in what has arrived.
    fn look(&mut self, cx: &mut Cx<'_>, id: SockId) {
        let Some(client) = self.client(id) else { return };
        if !matches!(client.phase, Phase::Idle) {
            return;
        }
        let Asked::Request { what, bytes, goes_on } = http::look(&client.arrived) else { return };
        client.arrived.drain(..bytes);
        client.until = cx.now() + PATIENCE;
        match what {
            What::Page { with_body } => {
                client.phase = Phase::Waits { with_body, goes_on };
                self.ask_for_page(cx);
            }
            What::Wrong(wrong) => {
                let head = http::refusal(wrong, goes_on).into_bytes();
                client.phase = Phase::Takes(Answer { head, body: Arc::new([]), at: 0, on_their_way: 0, goes_on });
                self.send_on(cx, id);
            }
        }
        // One at a time: what follows waits in the system.
        if self.client(id).is_some_and(|client| matches!(client.phase, Phase::Waits { .. } | Phase::Takes(_))) {
            let _ = self.group.pause(id);
        }
    }

    /// Has the page made, unless it is being made: then that one is taken by all who wait.
    fn ask_for_page(&mut self, cx: &mut Cx<'_>) {
        if std::mem::replace(&mut self.is_asked, true) {
            return;
        }
        let to = self.page.clone();
        registered::gather(cx, self.app.clone(), Samples::of_all(), move |_, samples| {
            let failed = to.clone();
            // There may be thousands.
            if let Err(why) = spawn_off_reactor("metrics_page", move || to.put(page::text(&families(samples)))) {
                log::warn!("--metrics: {why}");
                failed.put(String::new());
            }
        });
    }

    /// Answers those who wait with the page that has come.
    fn take_page(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(page) = self.page.take() else { return false };
        self.is_asked = false;
        let waiting: Vec<_> =
            self.clients.iter().filter(|client| matches!(client.phase, Phase::Waits { .. })).map(|client| client.id).collect();
        for id in waiting {
            // There is none if there was no thread to make it.
            if page.is_empty() {
                self.drop_client(id);
            }
            let Some(client) = self.client(id) else { continue };
            let Phase::Waits { with_body, goes_on } = client.phase else { continue };
            let head = http::head(page.len(), goes_on).into_bytes();
            let body = if with_body { page.clone() } else { Arc::new([]) };
            client.phase = Phase::Takes(Answer { head, body, at: 0, on_their_way: 0, goes_on });
            client.until = cx.now() + PATIENCE;
            self.send_on(cx, id);
        }
        true
    }

    /// Sends more of an answer, or goes on behind it.
    fn send_on(&mut self, cx: &mut Cx<'_>, id: SockId) {
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { return };
        let Phase::Takes(answer) = &mut client.phase else { return };
        while answer.on_their_way < ON_THEIR_WAY && answer.at < answer.len() {
            // There is one for each: the others have as many at most.
            let Some(mut buf) = self.group.buffer() else { return self.drop_client(id) };
            let bytes = buf.append(answer.next(BUFFER));
            if self.group.send(id, Frame::from(buf).tagged(0)).is_err() {
                return self.drop_client(id);
            }
            (answer.at, answer.on_their_way) = (answer.at + bytes, answer.on_their_way + 1);
        }
        if answer.at < answer.len() || answer.on_their_way > 0 {
            return;
        }
        let _ = self.group.resume(id);
        if answer.goes_on {
            (client.phase, client.until) = (Phase::Idle, cx.now() + IDLE);
            self.look(cx, id);
        } else {
            self.end(cx, id);
        }
    }

    /// Ends this side; what the peer has still sent is thrown away until it ends too.
    fn end(&mut self, cx: &Cx<'_>, id: SockId) {
        if let Some(client) = self.client(id) {
            (client.phase, client.until, client.arrived) = (Phase::Ends, cx.now() + PATIENCE, Vec::new());
        }
        let _ = self.group.shutdown(id);
    }

    fn send_away_the_late(&mut self, now: Instant) -> bool {
        let late: Vec<_> = self.clients.iter().filter(|client| client.until <= now).map(|client| client.id).collect();
        late.iter().for_each(|id| self.drop_client(*id));
        !late.is_empty()
    }

    /// Closes a client's connection without a word more.
    fn drop_client(&mut self, id: SockId) {
        self.clients.retain(|client| client.id != id);
        let _ = self.group.abort(id);
    }
}

impl Answer {
    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The next bytes, up to so many.
    fn next(&self, most: usize) -> &[u8] {
        let part = match self.at.checked_sub(self.head.len()) {
            None => &self.head[self.at..],
            Some(at) => &self.body[at..],
        };
        &part[..part.len().min(most)]
    }
}

impl NewPage {
    fn put(&self, page: String) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page.into_bytes().into());
        self.is_there.store(true, Ordering::Release);
        self.thread.wake();
    }

    fn take(&self) -> Option<Arc<[u8]>> {
        // So that nobody takes the lock for nothing.
        if !self.is_there.load(Ordering::Acquire) {
            return None;
        }
        self.is_there.store(false, Ordering::Relaxed);
        self.page.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
