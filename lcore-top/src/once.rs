//! Tables for scripts: two looks, and the end.

use std::io::Write;
use std::thread;

use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::client::{Client, PATIENCE};
use crate::print;
use crate::seen::{Answer, Seen};
use crate::table::{Table, fill};
use crate::views::{VIEWS, View, all_methods};

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), String> {
    let mut client = Client::connect(&args.at, PATIENCE)?;
    let mut seen = Seen::default();
    look(&mut client, &mut seen)?;
    thread::sleep(args.interval);
    look(&mut client, &mut seen)?;
    let text = if args.json { format!("{:#}\n", json(args, &seen)) } else { text(args, &seen) };
    print(out, &text)
}

fn look(client: &mut Client, seen: &mut Seen) -> Result<(), String> {
    all_methods().into_iter().try_for_each(|method| {
        seen.take(Answer::ask(client, method)?);
        Ok(())
    })
}

/// An object of all views, by name. One that there is nothing for is null, and `notes` says why.
fn json(args: &Args, seen: &Seen) -> Value {
    let (mut object, mut notes) = (Map::new(), Map::new());
    object.insert("application".into(), json!({"name": seen.application(), "address": args.at.to_string()}));
    object.insert("interval_seconds".into(), json!(args.interval.as_secs_f64()));
    for view in VIEWS {
        let rows = view.table(seen).map(|table| table.json()).unwrap_or_else(|why| {
            notes.insert(view.key.into(), json!(why));
            Value::Null
        });
        object.insert(view.key.into(), rows);
    }
    object.insert("notes".into(), notes.into());
    object.into()
}

fn text(args: &Args, seen: &Seen) -> String {
    let head = format!("{}, at {}, over {} s\n", seen.application(), args.at, args.interval.as_secs_f64());
    let table = |view: &View| {
        let lines = view.table(seen).map_or_else(|why| format!("{why}\n"), |table| lines(&table, view));
        format!("\n{}\n{lines}", view.title)
    };
    VIEWS.iter().fold(head, |text, view| text + &table(view))
}

fn lines(table: &Table, view: &View) -> String {
    let rows = table.rows("", view.sorted());
    let layout = table.layout(&rows);
    let titles = table.columns.iter().map(|column| column.title.to_owned()).collect();
    let shown = rows.iter().map(|row| row.iter().map(|cell| cell.shown()).collect());
    let line = |cells: Vec<String>| {
        let filled: Vec<_> = cells.iter().zip(&layout).map(|(cell, (width, is_text))| fill(cell, *width, *is_text)).collect();
        format!("{}\n", filled.join(" ").trim_end())
    };
    std::iter::once(titles).chain(shown).map(line).collect()
}
