//! Draws the screen.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::screen::{KEYS, Screen};
use crate::table::{Cell, Table, fill};
use crate::views::VIEWS;

/// Below this there is no table to be seen.
const LEAST: (u16, u16) = (40, 6);
/// No column is wider, but for the last.
const WIDEST: usize = 40;
/// Of a text no less is shown.
const SHORTEST: usize = 6;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const TURNED: Style = Style::new().add_modifier(Modifier::REVERSED);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

pub(crate) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("{}x{} is too small: {}x{} at least", area.width, area.height, LEAST.0, LEAST.1);
        return frame.render_widget(Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true }), area);
    }
    let line = |at: u16, height: u16| Rect { y: area.y + at, height, ..area };
    frame.render_widget(head(screen), line(0, 1));
    frame.render_widget(state(screen, area.width.into()), line(1, 1));
    frame.render_widget(tabs(screen), line(2, 1));
    let body = line(3, area.height - 4);
    frame.render_widget(foot(screen), line(area.height - 1, 1));
    screen.fit = usize::from(body.height) - 1;
    let lines = if screen.helps { help() } else { table(screen, body) };
    frame.render_widget(Paragraph::new(lines), body);
}

fn head(screen: &Screen) -> Line<'_> {
    vec![Span::styled("lcore-top  ", BOLD), screen.application.as_str().into(), "  at ".into(), screen.at.as_str().into()].into()
}

/// What does not go as usual, or else how often it is looked.
fn state(screen: &Screen, width: usize) -> Line<'_> {
    let every = format!("every {} s", screen.interval.as_secs_f64());
    match &screen.lost {
        Some(why) => Line::styled(fill(&format!("GONE, looking for it: {why}"), width, true), TURNED),
        None if screen.is_paused => Line::from(vec![Span::styled("PAUSED", TURNED), format!(" (space goes on), {every}").into()]),
        None => Line::from(every),
    }
}

fn tabs(screen: &Screen) -> Line<'static> {
    let tab = |(at, view): (usize, &&crate::views::View)| {
        let style = if at == screen.view { TURNED } else { Style::new() };
        [Span::styled(format!(" {} {} ", at + 1, view.title), style), Span::raw(" ")]
    };
    Line::from_iter(VIEWS.iter().enumerate().flat_map(tab))
}

fn foot(screen: &Screen) -> Line<'_> {
    match (screen.is_typing, screen.filter.as_str()) {
        (true, filter) => Line::from(vec!["/".into(), filter.into(), Span::styled(" ", TURNED)]),
        (false, "") => Line::styled("h help  / filter  <> sort  r turn round  space pause  +- interval  q end", DIM),
        (false, filter) => Line::from(vec!["only what has ".into(), Span::styled(filter, BOLD), " in it (Esc: all)".into()]),
    }
}

fn help() -> Vec<Line<'static>> {
    KEYS.iter().map(|(key, what)| Line::from(vec![Span::styled(format!("  {key:<26}"), BOLD), (*what).into()])).collect()
}

fn table(screen: &mut Screen, area: Rect) -> Vec<Line<'static>> {
    let count = screen.rows().len();
    screen.first = screen.first.min(count.saturating_sub(screen.fit));
    match &screen.table {
        Err(why) => why.lines().map(|line| Line::raw(line.to_owned())).collect(),
        Ok(table) => lines(screen, table, area),
    }
}

fn lines(screen: &Screen, table: &Table, area: Rect) -> Vec<Line<'static>> {
    let rows = screen.rows();
    let mut layout = table.layout(&rows);
    layout.iter_mut().rev().skip(1).for_each(|(width, _)| *width = (*width).min(WIDEST));
    let columns = visible(&mut layout, screen.sort().column, area.width.into());
    let title = |&at: &usize| {
        let (width, is_text) = layout[at];
        let (mark, style) = match screen.sort() {
            sort if sort.column != at => ("", BOLD),
            sort => (if sort.down { "▼" } else { "▲" }, TURNED),
        };
        [Span::styled(fill(&format!("{}{mark}", table.columns[at].title), width, is_text), style), Span::raw(" ")]
    };
    let titles = Line::from_iter(columns.iter().flat_map(title));
    let line = |row: &&Vec<Cell>| Line::from(columns.iter().map(|&at| cell(&row[at], layout[at])).collect::<Vec<_>>().join(" "));
    let none = rows.is_empty().then(|| Line::raw(if table.rows.is_empty() { "There are none." } else { "No row has that in it." }));
    let shown = rows.iter().skip(screen.first).take(screen.fit).map(line);
    std::iter::once(titles).chain(shown).chain(none).collect()
}

/// A cell, in its column's width: what is cut off is marked.
fn cell(cell: &Cell, (width, is_text): (usize, bool)) -> String {
    let mut text = cell.shown();
    if crate::table::width(&text) > width {
        while crate::table::width(&text) >= width && text.pop().is_some() {}
        text.push('…');
    }
    fill(&text, width, is_text)
}

/// The columns that are shown. Where there is no room for all, those before the one that rows are
/// sorted by give way, but for the first, which names the row; then those at the right. Of a text
/// the beginning is better than nothing, of a number it would be another number.
fn visible(layout: &mut [(usize, bool)], sorted: usize, room: usize) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..layout.len()).collect();
    let end = |columns: &[usize], layout: &[(usize, bool)], last: usize| {
        let before = columns.iter().take_while(|at| **at != last).map(|at| layout[*at].0 + 1).sum::<usize>();
        before + layout[last].0
    };
    while columns.get(1).is_some_and(|second| *second < sorted) && end(&columns, layout, sorted) > room {
        columns.remove(1);
    }
    let fitting = columns.iter().take_while(|at| end(&columns, layout, **at) <= room).count();
    if let Some(&next) = columns.get(fitting) {
        let left = room.saturating_sub(end(&columns, layout, next) - layout[next].0);
        let is_of_use = layout[next].1 && left >= SHORTEST;
        layout[next].0 = left;
        columns.truncate(fitting + usize::from(is_of_use));
    }
    columns
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use serde_json::{Value, json};

    use super::*;
    use crate::seen::{Answer, Failure};
    use crate::watch::News;

    struct Shown(Screen, Instant, usize);

    impl Shown {
        fn new() -> Self {
            Self(Screen::new("/tmp/s".into(), Duration::from_secs(1)), Instant::now(), 0)
        }

        /// Threads of these names, each busier than the one before.
        fn threads(&mut self, names: &[&str]) {
            self.1 += Duration::from_secs(1);
            self.2 += 1;
            let thread = |(at, name): (usize, &&str)| json!({"id": at, "name": name, "busy": at * self.2, "idle": 0, "cpumask": "1"});
            let threads: Vec<_> = names.iter().enumerate().map(thread).collect();
            let answer = |method, outcome: Result<Value, Failure>| Answer { method, at: self.1, outcome };
            self.0.take(News::Answers(vec![
                answer("spdk_get_version", Ok(json!({"version": "SPDK v1 (lcore)"}))),
                answer("thread_get_stats", Ok(json!({"tick_rate": 1, "threads": threads}))),
                answer("iobuf_get_stats", Err(Failure::Missing)),
            ]));
        }

        fn press(&mut self, keys: &str) {
            keys.chars().for_each(|key| self.code(KeyCode::Char(key)));
        }

        fn code(&mut self, code: KeyCode) {
            self.0.press(KeyEvent::new(code, KeyModifiers::NONE));
        }

        fn drawn(&mut self, width: u16, height: u16) -> Vec<String> {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &mut self.0)).unwrap();
            let cells = terminal.backend().buffer().content();
            let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned();
            cells.chunks(usize::from(width).max(1)).map(line).collect()
        }

        /// The first words of the rows.
        fn names(&mut self, height: u16) -> Vec<String> {
            let lines = self.drawn(100, height);
            let rows = lines[4..lines.len() - 1].iter().filter(|line| !line.is_empty());
            rows.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
        }
    }

    #[test]
    fn s195_a_table_is_drawn_sorted_filtered_and_scrolled() {
        let mut shown = Shown::new();
        assert!(shown.drawn(80, 10)[3].contains("Looking"));
        shown.threads(&["echo_a", "app", "echo_b"]);
        let lines = shown.drawn(80, 10);
        assert!(lines[0].contains("SPDK v1 (lcore)") && lines[0].contains("/tmp/s"), "{lines:#?}");
        assert!(lines[2].contains("1 Threads") && lines[3].starts_with("THREAD") && lines[3].contains("CPU %▼"), "{lines:#?}");
        assert_eq!(shown.names(10), ["echo_a", "app", "echo_b"], "what is unknown stays in its order");
        shown.press("<<");
        assert!(shown.drawn(80, 10)[3].contains("ID▼"));
        assert_eq!(shown.names(10), ["echo_b", "app", "echo_a"]);
        shown.press("r");
        assert_eq!(shown.names(10), ["echo_a", "app", "echo_b"]);
        shown.press("/ECHO");
        assert_eq!(shown.names(10), ["echo_a", "echo_b"]);
        shown.code(KeyCode::Backspace);
        shown.press("q");
        assert!(!shown.0.is_over, "it is typed into the filter");
        assert!(shown.drawn(80, 10)[4].contains("No row has that"));
        shown.code(KeyCode::Esc);
        assert_eq!(shown.names(7), ["echo_a", "app"]);
        shown.press("jjjj");
        assert_eq!(shown.names(7), ["app", "echo_b"], "no farther than the last");
        shown.press("g");
        assert_eq!(shown.names(6), ["echo_a"]);
        shown.press("G");
        assert_eq!(shown.names(6), ["echo_b"]);
        assert_eq!(shown.names(20), ["echo_a", "app", "echo_b"], "a larger terminal shows all again");
    }

    #[test]
    fn s195_a_paused_screen_stays_and_goes_on_with_what_is_there_by_then() {
        let mut shown = Shown::new();
        shown.threads(&["a"]);
        shown.press(" ");
        shown.threads(&["b"]);
        assert_eq!(shown.names(10), ["a"]);
        assert!(shown.drawn(80, 10)[1].starts_with("PAUSED"));
        shown.press(" ");
        assert_eq!(shown.names(10), ["b"]);
    }

    #[test]
    fn s195_an_application_that_is_gone_is_said_so_above_what_it_was() {
        let mut shown = Shown::new();
        shown.threads(&["a"]);
        shown.0.take(News::Lost("no answer to x".into()));
        assert!(shown.drawn(80, 10)[1].starts_with("GONE, looking for it: no answer to x"));
        assert_eq!(shown.names(10), ["a"]);
        let share = |shown: &mut Shown| shown.drawn(80, 10)[5].split_whitespace().nth(4).unwrap().to_owned();
        shown.threads(&["a", "b"]);
        shown.threads(&["a", "b"]);
        assert_eq!(share(&mut shown), "100.0");
        shown.0.take(News::Connected);
        shown.threads(&["a", "b"]);
        assert_eq!(share(&mut shown), "-", "who answers now is another");
        shown.threads(&["b"]);
        assert!(shown.drawn(80, 10)[1].starts_with("every 1 s"));
        assert_eq!(shown.names(10), ["b"]);
    }

    #[test]
    fn a_method_that_is_missing_is_named_in_its_table() {
        let mut shown = Shown::new();
        shown.threads(&["a"]);
        let pools = VIEWS.iter().position(|view| view.key == "pools").unwrap();
        shown.press(&(pools + 1).to_string());
        assert!(shown.drawn(80, 10)[3].contains("no method iobuf_get_stats"));
        assert!(shown.0.order().methods.contains(&"iobuf_get_stats"));
        shown.code(KeyCode::BackTab);
        shown.code(KeyCode::Tab);
        assert_eq!(shown.0.view, pools);
        shown.press("9");
        assert_eq!(shown.0.view, pools, "there are not so many");
    }

    #[test]
    fn terminals_of_every_size_show_something() {
        let mut shown = Shown::new();
        shown.threads(&["a".repeat(200).as_str(), "日本", ""]);
        for turn in 0..VIEWS.len() * 4 {
            for (width, height) in (0..60).flat_map(|width| (0..12).map(move |height| (width, height))) {
                shown.drawn(width, height);
            }
            shown.press(["h", ">", "\t", "G"][turn % 4]);
            shown.code(KeyCode::Tab);
        }
        assert!(shown.drawn(39, 6)[0].contains("39x6 is too small"));
    }

    #[test]
    fn columns_that_have_no_room_are_left_out_whole() {
        let room = |room: usize, sorted: usize| {
            let mut layout = [(10, true), (5, false), (5, false), (20, true)];
            let columns = visible(&mut layout, sorted, room);
            columns.into_iter().map(|at| (at, layout[at].0)).collect::<Vec<_>>()
        };
        assert_eq!(room(43, 0), [(0, 10), (1, 5), (2, 5), (3, 20)]);
        assert_eq!(room(42, 0), [(0, 10), (1, 5), (2, 5), (3, 19)], "of a text the beginning is shown");
        assert_eq!(room(28, 0), [(0, 10), (1, 5), (2, 5)]);
        assert_eq!(room(21, 0), [(0, 10), (1, 5)], "of a number nothing");
        assert_eq!(room(21, 2), [(0, 10), (2, 5)], "but the column that rows are sorted by is there");
        assert_eq!(room(4, 0), []);
    }

    #[test]
    fn help_is_there_until_a_key_and_intervals_have_bounds() {
        let mut shown = Shown::new();
        shown.press("?");
        assert!(shown.drawn(80, 20).iter().any(|line| line.contains("sort by another column")));
        shown.press("q");
        assert!(!shown.0.helps && !shown.0.is_over);
        shown.press("++");
        assert_eq!(shown.0.interval, Duration::from_secs(4));
        shown.press(&"-".repeat(20));
        assert_eq!(shown.0.interval, Duration::from_millis(100));
        shown.press(&"+".repeat(20));
        assert_eq!(shown.0.interval, Duration::from_secs(3600));
        shown.0.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(shown.0.is_over);
    }
}
