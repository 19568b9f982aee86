//! The server: who is there, whose turn it is, and what is done for them in one poll.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use std::vec;

use core_reactor::{Bell, Cx, Instant, PlatformError, Polled, Schedule, WaitSource, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::address::{AddressError, Listener};
use crate::answer::answer;
use crate::call::{Outbox, To};
use crate::client::{CALL, Client, IN_FLIGHT, Step, WRITE};
use crate::request::Request;
use crate::{Address, Call, DuplicateName, Error, Method, Methods, Params, Phases, Reply, Text};

/// Clients that are served at once. More wait until one ends, as with SPDK.
pub const CLIENTS: usize = 64;
/// How long one poll goes on: a step more than this at most. The clock is read after each step,
/// of which a poll has few, and each may be a system call.
const BUDGET: Duration = Duration::from_micros(10);
/// How many bytes it deals with in that time, again a step more at most: so a poll ends on a
/// machine, too, where they take no time.
const BYTES: usize = 8 << 10;
/// As how many bytes a step counts beside those that it deals with.
const STEP: usize = 1 << 10;
/// As how many the beginning of a call does: what follows of it, on this thread and on others, is
/// in no poll.
const BEGIN: usize = 3 << 10;
/// So many bytes are dealt with for one client before it is another's turn: a call that is not long
/// goes from its first byte to its method in one turn.
const TURN: usize = 8 << 10;
/// Of the time of its core the server takes one part in so many, as long as it has more to do. A
/// byte counts as a nanosecond where it took less.
const SHARE: u64 = 4;
/// So much of its share it may take in advance: those who ask now and then are answered at once.
const AHEAD_NS: u64 = 100_000;
/// Pieces of answers that nobody needs any more, whose memory is given back in one step.
const RUBBISH: usize = 4;
/// So many are given back before anything else is done, so that they never become many.
const MUCH_RUBBISH: usize = 64;
/// What a poll takes longer the kernel had the core for something else.
const LONG_NS: u64 = 200_000;
/// For how long a client may be still while another waits for its place.
const STILL: Duration = Duration::from_secs(10);
/// How often it is looked for those, while another waits.
const ROOM: Duration = Duration::from_secs(1);
/// How often a core that does not sleep asks the system for news. One that sleeps is woken by them.
const LOOK: Duration = Duration::from_micros(200);
/// Calls that wait for the end of the start-up phase: more than those of all who are connected, but
/// not without end, as whoever goes leaves theirs behind.
const WAITING: usize = 2 * CLIENTS * IN_FLIGHT;
/// Steps that each client has at the end, to take what was answered.
const LAST_STEPS: usize = 64;
/// The listener's number among the system's news.
const LISTENER: u64 = 0;

/// What the methods of one server have in common, for whoever has started it and for each
/// [`Call`].
pub struct Control {
    methods: Methods,
    is_running: AtomicBool,
    waiting: Mutex<Vec<Reply>>,
    services: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
}

impl Control {
    /// Over the linked methods. If not `running`, the start-up phase lasts until
    /// [`run`](Self::run).
    ///
    /// ```
    /// use rpc::Control;
    ///
    /// let control = Control::new(false)?;
    /// assert!(!control.is_running(), "methods of the start are allowed");
    /// control.run();
    /// assert!(control.is_running());
    /// # Ok::<(), rpc::DuplicateName>(())
    /// ```
    ///
    /// # Errors
    /// Two methods have one name.
    pub fn new(running: bool) -> Result<Arc<Self>, DuplicateName> {
        let (is_running, waiting, services) = (AtomicBool::new(running), Mutex::default(), Mutex::default());
        Ok(Arc::new(Self { methods: Methods::linked()?, is_running, waiting, services }))
    }

    /// What can be called.
    pub fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Whether the start-up phase is over.
    pub fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    /// Ends the start-up phase, and tells those who wait for that.
    pub fn run(&self) {
        self.is_running.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(|reply| reply.send(Ok(true)));
    }

    /// Calls a method from within the program, in whatever phase; `told` hears what it answers, at
    /// once or later, on whichever thread.
    pub fn call<F>(self: &Arc<Self>, cx: &mut Cx<'_>, method: &Method, params: Option<Params>, told: F)
    where
        F: FnOnce(Result<Text, Error>) + Send + 'static,
    {
        method.run(cx, Call::new(params, self.clone(), Reply::inside(told)));
    }

    /// Answers `true` when the start-up phase is over.
    pub(crate) fn when_running(&self, reply: Reply) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_running() {
            drop(waiting);
            reply.send(Ok(true));
        } else if waiting.len() < WAITING {
            waiting.push(reply);
        } else {
            drop(waiting);
            reply.send::<()>(Err(Error::internal("too many wait for that already")));
        }
    }

    /// Gives methods something that they find by its type with [`service`](Self::service): what an
    /// application has running.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use rpc::Control;
    ///
    /// /// What methods of this program need.
    /// struct Shop(&'static str);
    ///
    /// let control = Control::new(true)?;
    /// assert!(control.service::<Shop>().is_err());
    /// control.provide(Arc::new(Shop("open")));
    /// assert_eq!(control.service::<Shop>().map(|shop| shop.0), Ok("open"));
    /// # Ok::<(), rpc::DuplicateName>(())
    /// ```
    pub fn provide<T: Any + Send + Sync>(&self, service: Arc<T>) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).push(service);
    }

    /// What was given to methods under this type, the last if there are several.
    ///
    /// # Errors
    /// Nothing was: an error for the client.
    pub fn service<T: Any + Send + Sync>(&self) -> Result<Arc<T>, Error> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let found = services.iter().rev().find_map(|service| service.clone().downcast().ok());
        found.ok_or_else(|| Error::internal("this application has not what the method is about"))
    }

    /// Forgets what would keep the application alive.
    fn end(&self) {
        let services = std::mem::take(&mut *self.services.lock().unwrap_or_else(PoisonError::into_inner));
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        drop((services, waiting));
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("is_running", &self.is_running()).finish_non_exhaustive()
    }
}

/// Takes the memory of answers that nobody needs any more. What other threads have allocated may
/// take a millisecond to free, in which a poll of the server would hold its reactor; so whoever has
/// a thread to spare [provides](Control::provide) this. Without it the server frees a few pieces at
/// a time.
pub struct Disposal(Box<dyn Fn(Vec<Vec<u8>>) + Send + Sync>);

impl Disposal {
    /// `take` is called in polls, and is not to free what it is given there.
    pub fn new(take: impl Fn(Vec<Vec<u8>>) + Send + Sync + 'static) -> Self {
        Self(Box::new(take))
    }
}

impl fmt::Debug for Disposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disposal").finish_non_exhaustive()
    }
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The system does not tell of news.
    #[error("RPC: watch sockets: {0}")]
    Watch(#[from] rustix::io::Errno),
    /// The core cannot be woken by them.
    #[error("RPC: {0}")]
    Platform(#[from] PlatformError),
}

/// A place where clients can connect; they wait until they are [served](Self::serve). Dropped it
/// is given up.
pub struct Bound(Listener);

impl Bound {
    /// Listens at `at`. Port 0 takes a free one.
    ///
    /// # Errors
    /// Nobody can be served there.
    pub fn open(at: &Address) -> Result<Self, AddressError> {
        Listener::open(at).map(Self)
    }

    /// Where it is.
    pub fn at(&self) -> &Address {
        self.0.at()
    }

    /// Serves on this thread until it exits. The thread stays on its core.
    ///
    /// # Errors
    /// The system does not tell of news, or cannot wake the core.
    pub fn serve(self, cx: &mut Cx<'_>, control: Arc<Control>) -> Result<(), ServeError> {
        let mut server = Server::new(cx, self.0, control)?;
        cx.local_poller("rpc_subsystem_poll_servers", Schedule::WhenAwake, move |cx: &mut Cx<'_>| server.poll(cx));
        Ok(())
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bound").field(self.at()).finish()
    }
}

/// Serves at `at` on this thread until it exits, and tells where.
///
/// # Errors
/// As [`Bound`]'s.
pub fn serve(cx: &mut Cx<'_>, at: &Address, control: Arc<Control>) -> Result<Address, ServeError> {
    let bound = Bound::open(at)?;
    let at = bound.at().clone();
    bound.serve(cx, control)?;
    Ok(at)
}

struct Server {
    // Before what it watches.
    _watch: Watch,
    epoll: OwnedFd,
    news: Vec<epoll::Event>,
    sleep: Rc<Sleep>,
    listener: Listener,
    /// Someone may wait to be accepted.
    is_called: bool,
    /// Whoever does cannot be accepted before the next look: there is no descriptor.
    is_short: bool,
    /// That was said.
    has_said_short: bool,
    clients: Vec<Client>,
    last_key: u64,
    /// Whose turn it is, and how many bytes are left of it.
    turn: usize,
    left: usize,
    /// The last poll was out of time.
    unfinished: bool,
    look_at: Instant,
    /// All that it has done is within its share from then on.
    owes_until: Instant,
    room: Rc<Room>,
    control: Arc<Control>,
    outbox: Arc<Outbox>,
    /// Those that were taken out of it, in one go.
    answers: vec::IntoIter<(To, Option<Text>)>,
    /// What nobody takes any more.
    rubbish: Vec<Vec<u8>>,
}

/// Whether there is room for those who wait.
struct Room {
    /// There is none, or no descriptor, and another waits, as far as is known.
    is_full: Cell<bool>,
    /// A timer wakes the core, so that it is looked for some.
    is_timed: Cell<bool>,
    /// When it is.
    look_at: Cell<Instant>,
}

/// What a core that sleeps has to know of the server.
#[derive(Default)]
struct Sleep {
    /// The core may have slept since the system was asked for news.
    has_been: Cell<bool>,
    /// The server has taken its share, and goes on then.
    rests_until: Cell<Option<Instant>>,
}

impl Bell for Sleep {
    fn arm(&self) -> bool {
        true
    }

    fn disarm(&self) {
        self.has_been.set(true);
    }

    fn due(&self) -> Option<Instant> {
        self.rests_until.get()
    }
}

impl Server {
    fn new(cx: &mut Cx<'_>, listener: Listener, control: Arc<Control>) -> Result<Self, ServeError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &listener.socket, epoll::EventData::new_u64(LISTENER), flags)?;
        let sleep = Rc::new(Sleep::default());
        let watch = cx.watch_bell(WaitSource(epoll.as_raw_fd()), sleep.clone())?;
        Ok(Self {
            _watch: watch,
            epoll,
            news: Vec::with_capacity(CLIENTS + 1),
            sleep,
            listener,
            is_called: false,
            is_short: false,
            has_said_short: false,
            clients: Vec::with_capacity(CLIENTS),
            last_key: LISTENER,
            turn: 0,
            left: TURN,
            unfinished: false,
            look_at: cx.now(),
            owes_until: cx.now(),
            room: Rc::new(Room { is_full: Cell::new(false), is_timed: Cell::new(false), look_at: Cell::new(cx.now()) }),
            control,
            outbox: Arc::new(Outbox::new(cx.handle())),
            answers: Vec::new().into_iter(),
            rubbish: Vec::new(),
        })
    }

    fn poll(&mut self, cx: &mut Cx<'_>) -> Polled {
        if self.rests(cx) {
            return Polled::Idle;
        }
        let looks = self.sleep.has_been.take() || cx.now() >= self.look_at;
        let mut is_busy = self.unfinished || self.outbox.has_some();
        if looks || is_busy {
            let began = cx.clock();
            if looks {
                self.look_at = cx.now() + LOOK;
                is_busy |= self.look();
                is_busy |= self.make_room(cx);
                is_busy |= std::mem::take(&mut self.is_short);
            }
            if is_busy {
                let bytes = self.work(cx, began + BUDGET);
                self.pay(began, cx.clock(), bytes);
            }
        }
        if cx.is_exiting() {
            self.say_the_last();
            return Polled::Done;
        }
        if is_busy { Polled::Busy } else { Polled::Idle }
    }

    /// Whether it has taken more than its share, and others' time is not over. At the end nobody
    /// rests.
    fn rests(&mut self, cx: &Cx<'_>) -> bool {
        if self.sleep.rests_until.get().is_none_or(|until| cx.now() >= until) || cx.is_exiting() {
            self.sleep.rests_until.set(None);
            return false;
        }
        // News that are not taken would keep the core from sleeping.
        if self.sleep.has_been.take() {
            self.unfinished |= self.look();
        }
        true
    }

    /// A poll has taken so long, and dealt with so many bytes: where that is more than its share,
    /// it rests until it is not.
    fn pay(&mut self, began: Instant, now: Instant, bytes: usize) {
        let cost = now.nanos_since(began).min(LONG_NS).max(bytes as u64);
        self.owes_until = self.owes_until.max(began).plus_nanos(cost * SHARE);
        let rest = self.owes_until.nanos_since(now).saturating_sub(AHEAD_NS * SHARE);
        self.sleep.rests_until.set((rest > 0).then(|| now.plus_nanos(rest)));
    }

    /// Takes the next answer to the client that waits for it; of how many bytes, or nothing where
    /// there is none.
    fn deliver(&mut self) -> Option<usize> {
        if self.answers.len() == 0 {
            self.answers = self.outbox.take().into_iter();
        }
        let (To { client, in_batch }, text) = self.answers.next()?;
        // What is long is not copied.
        let bytes = text.as_ref().map_or(0, |text| text.len().min(WRITE));
        match self.clients.iter_mut().find(|other| other.key == client) {
            Some(client) => client.answered(in_batch, text),
            None => self.rubbish.extend(text.into_iter().flat_map(Text::into_pieces)),
        }
        Some(bytes)
    }

    /// Asks the system for news.
    fn look(&mut self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.news.clear();
        // Interrupted or not: what there is comes with the next look.
        if epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.news), Some(&now)).is_err() {
            return false;
        }
        for event in &self.news {
            let (key, flags) = (event.data.u64(), event.flags);
            if key == LISTENER {
                self.is_called = true;
            } else if let Some(client) = self.clients.iter_mut().find(|client| client.key == key) {
                use epoll::EventFlags as F;
                client.told(flags.intersects(F::IN | F::RDHUP), flags.contains(F::OUT), flags.intersects(F::HUP | F::ERR));
            }
        }
        !self.news.is_empty()
    }

    /// Does what there is to do, in turns, until `until`; with how many bytes.
    fn work(&mut self, cx: &mut Cx<'_>, until: Instant) -> usize {
        let mut bytes = 0;
        self.unfinished = false;
        // Answers first, so that no client begins more than may be unsent.
        while let Some(done) = self.next(cx) {
            bytes += STEP + done;
            self.unfinished = bytes >= BYTES || cx.clock() >= until;
            if self.unfinished {
                break;
            }
        }
        bytes
    }

    /// Does what comes next; with how many bytes, or nothing where there is nothing to do.
    fn next(&mut self, cx: &mut Cx<'_>) -> Option<usize> {
        let first = self.deliver().or_else(|| self.clean(MUCH_RUBBISH));
        first.or_else(|| self.accept(cx)).or_else(|| self.turn(cx)).or_else(|| self.clean(1))
    }

    /// Gives memory back that nobody needs, if there are so many pieces of it.
    fn clean(&mut self, from: usize) -> Option<usize> {
        if self.rubbish.len() < from {
            return None;
        }
        match self.control.service::<Disposal>() {
            Ok(disposal) => (disposal.0)(std::mem::take(&mut self.rubbish)),
            Err(_) => self.rubbish.truncate(self.rubbish.len().saturating_sub(RUBBISH)),
        }
        Some(0)
    }

    /// A step for the client whose turn it is, or for the next that has something to do; with how
    /// many bytes, or nothing where none has.
    fn turn(&mut self, cx: &mut Cx<'_>) -> Option<usize> {
        for _ in 0..=self.clients.len() {
            if self.turn < self.clients.len()
                && self.left > 0
                && let Some(bytes) = self.step(cx, self.turn)
            {
                self.left = self.left.saturating_sub(STEP + bytes);
                return Some(bytes);
            }
            (self.turn, self.left) = ((self.turn + 1) % self.clients.len().max(1), TURN);
        }
        None
    }

    /// Lets one client in, if one waits and there is room.
    fn accept(&mut self, cx: &mut Cx<'_>) -> Option<usize> {
        if !self.is_called || self.is_short || self.clients.len() == CLIENTS {
            return None;
        }
        use std::io::ErrorKind as K;
        let accepted = self.listener.socket.accept();
        match accepted.as_ref().map_err(std::io::Error::kind) {
            Err(K::WouldBlock) => self.is_called = false,
            // One that went; another may wait.
            Ok(_) | Err(K::Interrupted | K::ConnectionAborted) => {}
            // The system does not tell of it twice, so it is asked for again, but not at once: who
            // is in is served meanwhile.
            Err(_) => {
                self.is_short = true;
                self.room.is_full.set(true);
                self.look_later(cx);
                if let Err(why) = &accepted
                    && !std::mem::replace(&mut self.has_said_short, true)
                {
                    log::warn!("RPC: nobody more can be let in for now: accept: {why}");
                }
                return None;
            }
        }
        self.has_said_short = false;
        // One that cannot be served, for want of memory or descriptors, sees its connection closed.
        if let Ok((socket, _)) = accepted
            && let Err(why) = self.enter(socket, cx.now())
        {
            log::warn!("RPC: a client was turned away: {why}");
        }
        Some(0)
    }

    /// While others wait for a place, ends the client that has been still for longest, and for
    /// long: so those who connect and stay do not shut out for ever who has something to ask.
    /// Whether it has ended one.
    fn make_room(&mut self, cx: &mut Cx<'_>) -> bool {
        let (now, was_full) = (cx.now(), self.room.is_full.get());
        if was_full && self.clients.len() == CLIENTS && now < self.room.look_at.get() {
            return false;
        }
        // Whoever was let in last may have been the last that waited.
        self.is_called = self.is_called && (self.clients.len() < CLIENTS || self.someone_waits());
        let is_full = self.is_called && (self.is_short || self.clients.len() == CLIENTS);
        self.room.is_full.set(is_full);
        if !is_full {
            return false;
        }
        self.room.look_at.set(now + ROOM);
        self.look_later(cx);
        if self.clients.len() < CLIENTS {
            return false;
        }
        let still = self.clients.iter_mut().map(|client| client.still_for(now, was_full)).enumerate();
        let Some((at, _)) = still.max_by_key(|(_, still)| *still).filter(|(_, still)| *still >= STILL) else { return false };
        log::warn!("RPC: a client's connection is closed: nothing has come of it for {STILL:?}, and another waits for its place");
        self.leave(at);
        // More may wait.
        self.room.look_at.set(now);
        true
    }

    /// The core may sleep, as nobody says anything. Awake, the server looks.
    fn look_later(&self, cx: &mut Cx<'_>) {
        if !self.room.is_timed.replace(true) {
            let room = self.room.clone();
            cx.local_poller("rpc_make_room", Schedule::Every(ROOM), move |_: &mut Cx<'_>| {
                room.is_timed.set(room.is_full.get());
                if room.is_full.get() { Polled::Idle } else { Polled::Done }
            });
        }
    }

    fn someone_waits(&self) -> bool {
        let mut listener = [PollFd::new(&self.listener.socket, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut listener, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    fn leave(&mut self, at: usize) {
        let gone = self.clients.swap_remove(at);
        self.rubbish.extend(gone.into_memory());
    }

    fn enter(&mut self, socket: socket2::Socket, now: Instant) -> std::io::Result<()> {
        use epoll::EventFlags as F;
        socket.set_nonblocking(true)?;
        self.last_key += 1;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(self.last_key), F::IN | F::OUT | F::RDHUP | F::ET)?;
        self.clients.push(Client::new(self.last_key, socket, now));
        Ok(())
    }

    /// One step for one client; with how many bytes, or nothing where it had nothing to do.
    fn step(&mut self, cx: &mut Cx<'_>, at: usize) -> Option<usize> {
        let client = &mut self.clients[at];
        let step = client.step();
        client.give_back(&mut self.rubbish);
        match step {
            Step::Did(bytes) => return Some(bytes),
            Step::Waits => return None,
            Step::Empty => client.put(answer("null", Err(Error::request("Invalid request: an empty batch")))),
            Step::Begin { at: text, in_batch } => {
                let to = To { client: client.key, in_batch };
                let (presence, text) = (client.presence(), client.text(text));
                begin(cx, &self.control, &self.outbox, (to, presence), text);
                // What is longer is refused without a look.
                return Some(BEGIN + text.len().min(CALL));
            }
            Step::Gone(why) => {
                if let Some(why) = why {
                    log::warn!("RPC: a client's connection is closed: it sent {why}");
                }
                self.leave(at);
            }
        }
        Some(0)
    }

    /// At the end: what has been answered is sent, as far as there is room for it.
    fn say_the_last(&mut self) {
        while self.deliver().is_some() {}
        for client in &mut self.clients {
            for _ in 0..LAST_STEPS {
                if !matches!(client.flush(), Step::Did(_)) {
                    break;
                }
            }
        }
        self.control.end();
    }
}

/// Begins a call: its answer comes through the outbox, at once or later.
fn begin(cx: &mut Cx<'_>, control: &Arc<Control>, outbox: &Arc<Outbox>, (to, presence): (To, Weak<()>), text: &[u8]) {
    let reply = |id: Option<&str>| Reply::new(outbox.clone(), to, presence.clone(), id.map(str::to_owned));
    let refuse = |id, why| reply(id).send::<()>(Err(why));
    if text.len() > CALL {
        return refuse(None, Error::request(format!("Invalid request: a call has {CALL} bytes at most")));
    }
    let Ok(Request { method, params, id }) = Request::read(text) else { return refuse(None, Error::request("Invalid request")) };
    let Some(method) = control.methods.get(&method) else { return refuse(id, Error::new(Error::METHOD, "Method not found")) };
    if !method.phases.allow(control.is_running()) {
        return refuse(id, wrong_phase(method.phases));
    }
    log::debug!("RPC: {}", method.name);
    method.run(cx, Call::new(params.map(|params| Params::new(params.get())), control.clone(), reply(id)));
}

fn wrong_phase(phases: Phases) -> Error {
    let when = match phases {
        Phases::Startup => "before framework is initialized. Use --wait-for-rpc to have the application wait for framework_start_init",
        _ => "after framework is initialized using framework_start_init RPC",
    };
    Error::new(Error::STATE, format!("Method may only be called {when}."))
}
