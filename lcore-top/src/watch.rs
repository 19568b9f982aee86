//! Looks at the application, in a thread of its own: the screen stays alive however long an answer
//! takes.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Address, Client, PATIENCE};
use crate::seen::Answer;

/// How soon an application that is gone is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a look finds.
#[derive(Debug)]
pub(crate) enum News {
    /// A new connection: whoever answers now need not be who answered before.
    Connected,
    Answers(Vec<Answer>),
    /// There is no connection; why.
    Lost(String),
}

/// What the looks are to be like from now on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) interval: Duration,
    pub(crate) methods: Vec<&'static str>,
}

/// A watcher. It ends some time after this is dropped.
pub(crate) struct Watch {
    pub(crate) news: Receiver<News>,
    orders: Sender<Order>,
}

impl Watch {
    pub(crate) fn start(at: Address, order: Order) -> Self {
        // Who does not read the news gets no more of it.
        let (tell, news) = mpsc::sync_channel(1);
        let (orders, told) = mpsc::channel();
        thread::spawn(move || Watcher { at, order, orders: told, news: tell, client: None, asked: HashMap::new() }.run());
        Self { news, orders }
    }

    /// Changes what is looked at. What has not been asked for of late is asked for at once.
    pub(crate) fn order(&self, order: Order) {
        // A watcher that has ended is seen by its news.
        let _ = self.orders.send(order);
    }
}

struct Watcher {
    at: Address,
    order: Order,
    orders: Receiver<Order>,
    news: SyncSender<News>,
    client: Option<Client>,
    /// When each method was asked for.
    asked: HashMap<&'static str, Instant>,
}

impl Watcher {
    /// Looks until nobody wants its news.
    fn run(mut self) {
        loop {
            let began = Instant::now();
            let was_connected = self.client.is_some();
            let news = self.look();
            if !was_connected && self.client.is_some() && self.news.send(News::Connected).is_err() {
                return;
            }
            let next = if matches!(news, News::Lost(_)) { AGAIN } else { self.order.interval };
            if self.news.send(news).is_err() || !self.wait(began + next) {
                return;
            }
        }
    }

    fn look(&mut self) -> News {
        match self.ask() {
            Ok(answers) => News::Answers(answers),
            Err(why) => {
                self.client = None;
                self.asked.clear();
                News::Lost(why)
            }
        }
    }

    fn ask(&mut self) -> Result<Vec<Answer>, String> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::connect(&self.at, PATIENCE)?),
        };
        let mut answers = Vec::new();
        for method in &self.order.methods {
            // A look between two others asks for what is new: rates over a moment say little.
            let lately = self.order.interval * 3 / 4;
            if self.asked.get(method).is_none_or(|asked| asked.elapsed() >= lately) {
                self.asked.insert(method, Instant::now());
                answers.push(Answer::ask(client, method)?);
            }
        }
        Ok(answers)
    }

    /// Waits for the next look; false if there is to be none.
    fn wait(&mut self, until: Instant) -> bool {
        match self.orders.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(order) => {
                self.order = order;
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }
}
