//! A service on two cores: each serves visitors of its own, and asks the others how many they had.
//!
//! It shows `Sharded`: a shard of the service on each core, connections handed from the core that
//! accepts them to the one that has the least to do, a question to all cores, a report at the end.
//!
//! ```sh
//! cargo run --release -p lcore --example two_cores -- -m 0,1      # then, again and again:
//! nc 127.0.0.1 9999
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::OnceLock;

use lcore::clap::{self, Parser};
use lcore::net::{Events, GroupConfig, NetEvent, NetImpl, SockGroup, SockId, SockMap, SockOptions, Socket, Token};
use lcore::pool::BufGroup;
use lcore::{App, AppOptions, Cx, Peers, Polled, Shard, ShardConfig, Sharded};

/// Tells each visitor which one it is.
#[derive(Parser)]
struct Args {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:9999")]
    at: SocketAddr,
    #[command(flatten)]
    app: AppOptions,
}

fn main() -> ExitCode {
    let args: Args = match lcore::parse_args("two_cores") {
        Ok(args) => args,
        Err(code) => return code,
    };
    static SERVICE: OnceLock<Sharded<Visits>> = OnceLock::new();
    let report = |app: &lcore::AppHandle, _: &[_]| {
        for (core, visits) in SERVICE.get().map(Sharded::reports).unwrap_or_default() {
            app.println(format_args!("core {core} had {visits}"));
        }
    };
    App::new("two_cores").options(args.app).network().on_stopped(report).run(move |_, app| {
        let config = ShardConfig::new("visits", app.cores());
        let common = Common { net: app.net(), at: args.at, listens: OnceLock::new() };
        let app = app.clone();
        // Called once all shards are open, and for each that could not be.
        let service = Sharded::start(app.clone().lib(), config, common, move |_, outcome: Result<&Sharded<Visits>, _>| match outcome {
            Ok(service) => app.println(format_args!("listens at {}", service.common().listens.get().unwrap_or(&args.at))),
            Err(why) => app.fail(&*why),
        })?;
        let _ = SERVICE.set(service);
        Ok(())
    })
}

/// What all cores see.
struct Common {
    net: &'static dyn NetImpl,
    at: SocketAddr,
    listens: OnceLock<SocketAddr>,
}

/// The service on one core.
struct Visits {
    peers: Peers<Self>,
    group: Box<dyn SockGroup>,
    /// Taken out while they are handled.
    events: Events,
    visits: u64,
    /// Visitors whose answer waits for cores that were asked.
    asked: SockMap<Asked>,
}

struct Asked {
    nth: u64,
    total: u64,
    missing: usize,
}

impl Shard for Visits {
    type Common = Common;
    type Report = u64;
    type Error = Box<dyn Error + Send + Sync>;

    fn open(cx: &mut Cx<'_>, peers: Peers<Self>) -> Result<Self, Self::Error> {
        let Common { net, at, listens } = peers.common();
        let mut group = net.group(cx, GroupConfig::new(BufGroup::new(64, 4096)))?;
        // The first core accepts for all.
        if peers.index() == 0 {
            let listener = net.listen(*at, &SockOptions::default())?;
            let _ = listens.set(listener.local_addr()?);
            group.attach(listener, Token(0))?;
        }
        Ok(Self { peers, group, events: Events::new(64), visits: 0, asked: SockMap::new() })
    }

    fn poll(&mut self, _: &mut Cx<'_>) -> Polled {
        let mut events = std::mem::take(&mut self.events);
        let found = self.group.poll(&mut events);
        for event in events.drain() {
            match event {
                NetEvent::Accepted { socket, .. } => {
                    let to = self.peers.least_loaded();
                    // Counted here, so that a burst of visitors does not go to one core.
                    self.peers.add_load(to);
                    self.peers.send(to, |shard, _| shard.welcome(socket));
                }
                NetEvent::PeerClosed { id, .. } => drop(self.group.shutdown(id)),
                NetEvent::Closed { id, .. } => {
                    self.asked.remove(id);
                    self.peers.take_load(self.peers.index());
                }
                _ => {}
            }
        }
        self.events = events;
        if found == 0 { Polled::Idle } else { Polled::Busy }
    }

    fn unsent(&self) -> u64 {
        self.group.stats().unsent
    }

    fn report(&self) -> u64 {
        self.visits
    }
}

impl Visits {
    /// Takes a visitor in, and asks every core for its number, this one too.
    fn welcome(&mut self, socket: Box<dyn Socket>) {
        let Ok(id) = self.group.attach(socket, Token(0)) else { return self.peers.take_load(self.peers.index()) };
        self.visits += 1;
        self.asked.insert(id, Asked { nth: self.visits, total: 0, missing: self.peers.shards() });
        for shard in 0..self.peers.shards() {
            let ask = |shard: &mut Self, _: &mut Cx<'_>| shard.visits;
            // A core that is gone at the end of the program has had none.
            self.peers.ask(shard, ask, move |here, _, visits| here.answered(id, visits.unwrap_or(0)));
        }
    }

    fn answered(&mut self, id: SockId, visits: u64) {
        // The visitor may have left meanwhile.
        let Some(asked) = self.asked.get_mut(id) else { return };
        asked.total += visits;
        asked.missing -= 1;
        if asked.missing > 0 {
            return;
        }
        let line = format!("visitor {} of core shard {}, {} in all\n", asked.nth, self.peers.index(), asked.total);
        self.asked.remove(id);
        // A line fits, and of a visitor who has left `Closed` tells.
        let _ = self.group.send_bytes(id, line.as_bytes());
        let _ = self.group.shutdown(id);
    }
}
