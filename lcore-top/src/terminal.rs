//! The terminal: taken at the start, and given back as it was while this is stopped and at its end,
//! however that comes.

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{DefaultTerminal, Terminal};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::{flag, low_level};

use crate::args::Args;
use crate::draw;
use crate::screen::Screen;
use crate::watch::Watch;

/// How long a key is waited for, before news and signals are looked at.
const TURN: Duration = Duration::from_millis(50);

/// What is said where a thread has panicked, and has said so itself.
const ENDED: &str = "the thread that looks at the application has ended";

/// Whether the terminal is ours now.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

pub(crate) fn run(args: &Args) -> Result<(), String> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err("this is no terminal: use --once, with --json for scripts".into());
    }
    let signals = Signals::watch().map_err(|why| format!("handle signals: {why}"))?;
    // Whichever thread panics gives the terminal back before it says anything.
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _ = give_back();
        say(info);
    }));
    let shown = take().map_err(|why| format!("take the terminal: {why}")).and_then(|mut terminal| show(&mut terminal, args, &signals));
    let given_back = give_back().map_err(|why| format!("give the terminal back: {why}"));
    shown.and(given_back)
}

/// Takes the terminal, of which all is to be drawn.
fn take() -> io::Result<DefaultTerminal> {
    enable_raw_mode()?;
    IS_TAKEN.store(true, Ordering::Relaxed);
    execute!(io::stdout(), EnterAlternateScreen)?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Gives it back, if that has not been done: a second time would put the cursor where it was at
/// first, over what has been said since.
fn give_back() -> io::Result<()> {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return Ok(());
    }
    let modes = disable_raw_mode();
    execute!(io::stdout(), LeaveAlternateScreen, Show)?;
    modes
}

/// What was said by signals.
#[derive(Default)]
struct Signals {
    /// Somebody wants an end. Who says so again gets one without any order.
    is_over: Arc<AtomicBool>,
    /// It is to stop until it is told to go on.
    stops: Arc<AtomicBool>,
    /// It was stopped without a word before, and goes on.
    goes_on: Arc<AtomicBool>,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        let signals = Self::default();
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            flag::register_conditional_shutdown(signal, 1, signals.is_over.clone())?;
            flag::register(signal, signals.is_over.clone())?;
        }
        flag::register(SIGTSTP, signals.stops.clone())?;
        flag::register(SIGCONT, signals.goes_on.clone())?;
        Ok(signals)
    }

    fn have_news(&self) -> bool {
        self.stops.load(Ordering::Relaxed) || self.goes_on.load(Ordering::Relaxed)
    }

    /// Stops if that was asked for. Tells whether there is nothing on the screen any more.
    fn obey(&self) -> io::Result<bool> {
        let stops = self.stops.swap(false, Ordering::Relaxed);
        if stops {
            give_back()?;
            low_level::emulate_default_handler(SIGTSTP)?;
        }
        let goes_on = self.goes_on.swap(false, Ordering::Relaxed);
        if goes_on {
            // Whoever stopped it without a word has changed the terminal since.
            give_back()?;
        }
        Ok(stops || goes_on)
    }
}

fn show(terminal: &mut DefaultTerminal, args: &Args, signals: &Signals) -> Result<(), String> {
    let is_over = &signals.is_over;
    let mut screen = Screen::new(args.at.to_string(), args.interval);
    let mut order = screen.order();
    let watch = Watch::start(args.at.clone(), order.clone());
    let said = |why: io::Error| format!("the terminal: {why}");
    while !screen.is_over && !is_over.load(Ordering::Relaxed) {
        if signals.obey().map_err(said)? {
            *terminal = take().map_err(said)?;
        }
        if !IS_TAKEN.load(Ordering::Relaxed) {
            return Err(ENDED.into());
        }
        terminal.draw(|frame| draw::draw(frame, &mut screen)).map_err(said)?;
        let mut is_new = false;
        while !is_new && !is_over.load(Ordering::Relaxed) {
            is_new = keys(&mut screen).map_err(said)? || signals.have_news();
            if std::mem::take(&mut screen.stops) {
                signals.stops.store(true, Ordering::Relaxed);
            }
            match watch.news.try_recv() {
                Ok(news) => screen.take(news),
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => return Err(ENDED.into()),
            }
            is_new = true;
        }
        if screen.order() != order {
            order = screen.order();
            watch.order(order.clone());
        }
    }
    Ok(())
}

/// Takes a key, or what else the terminal says, if something comes soon.
fn keys(screen: &mut Screen) -> io::Result<bool> {
    if !event::poll(TURN)? {
        return Ok(false);
    }
    if let Event::Key(key) = event::read()?
        && key.kind != KeyEventKind::Release
    {
        screen.press(key);
    }
    Ok(true)
}
