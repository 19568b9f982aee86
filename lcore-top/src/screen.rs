//! What the screen shows, and what its keys do.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::args::{LONGEST, SHORTEST};
use crate::seen::Seen;
use crate::table::{Cell, Sort, Table};
use crate::views::{VIEWS, View};
use crate::watch::{News, Order};

pub(crate) struct Screen {
    /// Where the application is asked.
    pub(crate) at: String,
    seen: Seen,
    /// What was there when the screen was paused.
    pub(crate) is_paused: bool,
    pub(crate) lost: Option<String>,
    pub(crate) application: String,
    pub(crate) view: usize,
    pub(crate) sorts: Vec<Sort>,
    pub(crate) table: Result<Table, String>,
    pub(crate) filter: String,
    /// Keys go into the filter.
    pub(crate) is_typing: bool,
    pub(crate) helps: bool,
    /// The first row that is shown.
    pub(crate) first: usize,
    /// How many fit, as they were last drawn.
    pub(crate) fit: usize,
    pub(crate) interval: Duration,
    pub(crate) is_over: bool,
    /// Its user wants it stopped, as a shell's jobs are.
    pub(crate) stops: bool,
}

impl Screen {
    pub(crate) fn new(at: String, interval: Duration) -> Self {
        Self {
            at,
            seen: Seen::default(),
            is_paused: false,
            lost: None,
            application: String::new(),
            view: 0,
            sorts: VIEWS.iter().map(|view| view.sorted()).collect(),
            table: Err("Looking...".into()),
            filter: String::new(),
            is_typing: false,
            helps: false,
            first: 0,
            fit: 1,
            interval,
            is_over: false,
            stops: false,
        }
    }

    pub(crate) fn shown(&self) -> &'static View {
        VIEWS[self.view]
    }

    pub(crate) fn sort(&self) -> Sort {
        self.sorts[self.view]
    }

    /// The rows that are shown, but for those before and after what fits.
    pub(crate) fn rows(&self) -> Vec<&Vec<Cell>> {
        self.table.as_ref().map_or_else(|_| Vec::new(), |table| table.rows(&self.filter, self.sort()))
    }

    /// What the watcher is to look at.
    pub(crate) fn order(&self) -> Order {
        Order { interval: self.interval, methods: self.shown().asks() }
    }

    pub(crate) fn take(&mut self, news: News) {
        match news {
            News::Connected => {
                self.seen = Seen::default();
                self.lost = None;
            }
            News::Answers(answers) => {
                answers.into_iter().for_each(|answer| self.seen.take(answer));
                if !self.is_paused {
                    self.refresh();
                }
            }
            News::Lost(why) => self.lost = Some(why),
        }
    }

    /// Makes the table of what was seen last.
    fn refresh(&mut self) {
        self.application = self.seen.application();
        self.table = self.shown().table(&self.seen);
    }

    pub(crate) fn press(&mut self, key: KeyEvent) {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if ctrl => self.is_over = true,
            KeyCode::Char('z') if ctrl => self.stops = true,
            _ if self.is_typing => self.type_filter(key.code),
            _ if self.helps => self.helps = false,
            code => self.command(code),
        }
        self.first = self.first.min(self.rows().len().saturating_sub(self.fit));
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => (self.is_typing, self.filter) = (false, String::new()),
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Char(it) if !it.is_control() => self.filter.push(it),
            _ => {}
        }
    }

    fn command(&mut self, code: KeyCode) {
        let page = self.fit.max(1);
        match code {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Char('h' | '?') => self.helps = true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char(' ') => self.pause(),
            KeyCode::Char('r') => self.sorts[self.view].down ^= true,
            KeyCode::Left | KeyCode::Char('<') => self.sort_by(-1),
            KeyCode::Right | KeyCode::Char('>') => self.sort_by(1),
            KeyCode::Tab => self.show((self.view + 1) % VIEWS.len()),
            KeyCode::BackTab => self.show((self.view + VIEWS.len() - 1) % VIEWS.len()),
            KeyCode::Char(digit @ '1'..='9') => self.show(digit as usize - '1' as usize),
            KeyCode::Char('+') => self.interval = (self.interval * 2).min(LONGEST),
            KeyCode::Char('-') => self.interval = (self.interval / 2).max(SHORTEST),
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first += 1,
            KeyCode::PageUp => self.first = self.first.saturating_sub(page),
            KeyCode::PageDown => self.first += page,
            KeyCode::Home | KeyCode::Char('g') => self.first = 0,
            KeyCode::End | KeyCode::Char('G') => self.first = usize::MAX,
            _ => {}
        }
    }

    fn pause(&mut self) {
        self.is_paused ^= true;
        if !self.is_paused {
            self.refresh();
        }
    }

    /// Sorts by the column to the left or right. Texts are looked for from their start, numbers
    /// from the largest.
    fn sort_by(&mut self, step: isize) {
        let columns = self.shown().columns.len();
        let column = (self.sort().column + columns).wrapping_add_signed(step) % columns;
        let is_text = |table: &Table| table.rows.iter().any(|row| matches!(row[column], Cell::Text(_)));
        let down = self.table.as_ref().map_or(true, |table| !is_text(table));
        self.sorts[self.view] = Sort { column, down };
    }

    fn show(&mut self, view: usize) {
        if view < VIEWS.len() && view != self.view {
            (self.view, self.first) = (view, 0);
            self.refresh();
        }
    }
}

pub(crate) const KEYS: [(&str, &str); 13] = [
    ("1 ... 9, Tab, Shift-Tab", "another table"),
    ("left, right, or < >", "sort by another column"),
    ("r", "turn the order round"),
    ("/", "show the rows that have a text in them: Enter keeps it, Esc ends it"),
    ("Esc", "show all rows again"),
    ("space", "pause, and go on"),
    ("+ -", "look half as often, twice as often"),
    ("up, down, PgUp, PgDn", "other rows (also k and j)"),
    ("Home, End", "the first and the last row (also g and G)"),
    ("h, ?", "this help; any key ends it"),
    ("Ctrl-Z", "stop, until the shell has it go on"),
    ("q, Ctrl-C", "end"),
    ("-", "in a table: not known, as after the first look"),
];
