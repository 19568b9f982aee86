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
    let columns = visible(&layout, screen.sort().column, area.width.into());
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

/// The columns that are shown: where there is no room for all, those before the one that rows are
/// sorted by give way, but for the first, which names the row.
fn visible(layout: &[(usize, bool)], sorted: usize, room: usize) -> Vec<usize> {
    let width = |columns: &[usize]| columns.iter().map(|&at| layout[at].0 + 1).sum::<usize>().saturating_sub(1);
    let mut columns: Vec<usize> = (0..layout.len()).collect();
    let to_sorted = |columns: &[usize]| columns.iter().position(|&at| at == sorted).map_or(0, |place| place + 1);
    while to_sorted(&columns) > 2 && width(&columns[..to_sorted(&columns)]) > room {
        columns.remove(1);
    }
    columns
}
