//! A client or a server of one client, as an application.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use lcore::pool::BufGroup;
use lcore::transport::{
    Listener, Queue, QueueEvent, QueueEvents, QueueGroup, QueueGroupConfig, QueueOptions, REJECT_DATA, Token, Transport, Wait,
};
use lcore::{App, AppHandle, Cx, Polled, Schedule};

use crate::args::Args;
use crate::peer::{Peer, SILENCE};
use crate::plan::Plan;

type Failed = Box<dyn Error + Send + Sync>;

/// Events of one poll.
const EVENTS: usize = 64;

/// What the listener offers its clients: as much as a plan may ask for.
const READS: u32 = 16;

fn app(args: &Args) -> App {
    App::new("rdma_perf").options(args.app.clone()).transport()
}

pub(crate) fn schedule(wait: Wait) -> Schedule {
    if wait == Wait::Polled { Schedule::Always } else { Schedule::WhenAwake }
}

pub(crate) fn client(args: &Args, to: SocketAddr) -> ExitCode {
    let (plan, wait) = (args.plan(), args.wait.into());
    app(args).run(move |cx, app| {
        let mut peer = dial(cx, app.transport().backend, plan, wait, to)?;
        let (app, mut events) = (app.clone(), QueueEvents::new(EVENTS));
        wake_in_time(cx);
        cx.local_poller("client", schedule(wait), move |cx: &mut Cx<'_>| {
            let got = peer.poll(&mut events, cx.now(), || cx.clock());
            if peer.is_closed() {
                finish(&app, &peer, true);
            }
            polled(cx, got, peer.is_closed())
        });
        Ok(())
    })
}

/// The client's end, on its way to the server.
pub(crate) fn dial(cx: &mut Cx<'_>, transport: &'static dyn Transport, plan: Plan, wait: Wait, to: SocketAddr) -> Result<Peer, Failed> {
    let mut group = transport.group(cx, plan.group(wait))?;
    let queue = transport.connect(to, &plan.options())?;
    let id = group.attach(queue, Token(0), &plan.encode()).map_err(|refused| refused.why)?;
    Ok(Peer::new(group, plan, true, id))
}

pub(crate) fn server(args: &Args, at: SocketAddr) -> ExitCode {
    let wait = args.wait.into();
    app(args).run(move |cx, app| {
        let (mut server, at) = Server::listen(cx, app.transport().backend, wait, at)?;
        app.println(format_args!("listening on {at}"));
        let app = app.clone();
        wake_in_time(cx);
        cx.local_poller("server", schedule(wait), move |cx: &mut Cx<'_>| {
            let got = server.poll(cx).unwrap_or_else(|why| {
                app.fail(&*why);
                1
            });
            let over = server.peer().is_some_and(Peer::is_closed);
            if let Some(peer) = server.peer().filter(|_| over) {
                finish(&app, peer, false);
            }
            polled(cx, got, over)
        });
        Ok(())
    })
}

/// A core that sleeps looks at the time as well.
fn wake_in_time(cx: &mut Cx<'_>) {
    cx.local_poller("time", Schedule::Every(SILENCE / 30), |cx: &mut Cx<'_>| if cx.is_exiting() { Polled::Done } else { Polled::Idle });
}

fn polled(cx: &Cx<'_>, got: usize, over: bool) -> Polled {
    match got {
        _ if over || cx.is_exiting() => Polled::Done,
        0 => Polled::Idle,
        _ => Polled::Busy,
    }
}

/// Tells what came of it, and ends the application.
fn finish(app: &AppHandle, peer: &Peer, prints: bool) {
    match peer.outcome() {
        Err(why) => app.fail(&why),
        Ok(_) if !prints => app.stop(0),
        Ok(report) => {
            app.println(report);
            app.stop(0);
        }
    }
}

/// A server: a small group that listens, then one of the size that its client asks for.
pub(crate) struct Server {
    transport: &'static dyn Transport,
    wait: Wait,
    events: QueueEvents,
    state: State,
}

enum State {
    Listening(Box<dyn QueueGroup>),
    Serving(Box<Peer>),
}

impl Server {
    pub(crate) fn listen(
        cx: &mut Cx<'_>,
        transport: &'static dyn Transport,
        wait: Wait,
        at: SocketAddr,
    ) -> Result<(Self, SocketAddr), Failed> {
        let options = QueueOptions::default().send_depth(1032).reads(READS).gather(1);
        let listener: Box<dyn Listener> = transport.listen(at, &options)?;
        let at = listener.local_addr();
        let mut config = QueueGroupConfig::new(BufGroup::new(4, 64));
        (config.queues, config.operations, config.receives, config.exposures, config.wait) = (2, 1, 1, 1, wait);
        let mut group = transport.group(cx, config)?;
        group.listen(listener, Token(0)).map_err(|refused| refused.why)?;
        Ok((Self { transport, wait, events: QueueEvents::new(EVENTS), state: State::Listening(group) }, at))
    }

    /// The end that serves, once there is a client.
    pub(crate) fn peer(&self) -> Option<&Peer> {
        match &self.state {
            State::Listening(_) => None,
            State::Serving(peer) => Some(peer),
        }
    }

    /// Polls once; how many events there were.
    pub(crate) fn poll(&mut self, cx: &mut Cx<'_>) -> Result<usize, Failed> {
        let group = match &mut self.state {
            State::Listening(group) => group,
            State::Serving(peer) => return Ok(peer.poll(&mut self.events, cx.now(), || cx.clock())),
        };
        let got = group.poll(&mut self.events);
        let mut peer = None;
        for event in self.events.drain() {
            // Only the first is served; the others are rejected with their listener.
            if let QueueEvent::Requested { queue, .. } = event
                && peer.is_none()
            {
                peer = accept(cx, self.transport, self.wait, queue)?;
            }
        }
        if let Some(peer) = peer {
            self.state = State::Serving(Box::new(peer));
        }
        Ok(got)
    }
}

/// Takes a client that asks for what can be had, and tells the others why not.
fn accept(cx: &mut Cx<'_>, transport: &'static dyn Transport, wait: Wait, queue: Box<dyn Queue>) -> Result<Option<Peer>, Failed> {
    let plan = match Plan::decode(queue.private_data()) {
        Ok(plan) => plan,
        Err(why) => {
            let text = why.to_string();
            log::warn!("{}: {text}", queue.peer_addr());
            queue.reject(&text.as_bytes()[..text.len().min(REJECT_DATA)]).map_err(|refused| refused.why)?;
            return Ok(None);
        }
    };
    let mut config = plan.group(wait);
    config.operations = 1032;
    let mut group = transport.group(cx, config)?;
    let id = group.attach(queue, Token(0), &[]).map_err(|refused| refused.why)?;
    Ok(Some(Peer::new(group, plan, false, id)))
}
