//! The terminal: taken at the start, and given back as it was however this ends.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::Args;
use crate::draw;
use crate::screen::Screen;
use crate::watch::Watch;

/// How long a key is waited for, before news and signals are looked at.
const TURN: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &Args) -> Result<(), String> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err("this is no terminal: use --once, with --json for scripts".into());
    }
    let is_over = watch_signals().map_err(|why| format!("handle signals: {why}"))?;
    // From here on a panic gives the terminal back before it says anything.
    let mut terminal = ratatui::try_init().map_err(|why| format!("take the terminal: {why}"))?;
    let shown = show(&mut terminal, args, &is_over);
    drop(terminal);
    let given_back = ratatui::try_restore().map_err(|why| format!("give the terminal back: {why}"));
    shown.and(given_back)
}

/// Set when somebody wants an end. Who says so again gets one without any order.
fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        flag::register_conditional_shutdown(signal, 1, is_over.clone())?;
        flag::register(signal, is_over.clone())?;
    }
    Ok(is_over)
}

fn show(terminal: &mut DefaultTerminal, args: &Args, is_over: &AtomicBool) -> Result<(), String> {
    let mut screen = Screen::new(args.at.to_string(), args.interval);
    let mut order = screen.order();
    let watch = Watch::start(args.at.clone(), order.clone());
    let said = |why: io::Error| format!("the terminal: {why}");
    while !screen.is_over && !is_over.load(Ordering::Relaxed) {
        terminal.draw(|frame| draw::draw(frame, &mut screen)).map_err(said)?;
        let mut is_new = false;
        while !is_new && !is_over.load(Ordering::Relaxed) {
            is_new = keys(&mut screen).map_err(said)?;
            match watch.news.try_recv() {
                Ok(news) => screen.take(news),
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => return Err("the thread that looks at the application has ended".into()),
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
