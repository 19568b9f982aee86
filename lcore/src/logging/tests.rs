//! Which lines are shown, and how they look.

use std::fmt;

use log::kv::Value as Kv;
use serde_json::{Value, json};

use super::*;

::logging::part!("kv", "my_crate::store");

fn shows(level: Level, target: &str) -> bool {
    parts::shows(&Metadata::builder().level(level).target(target).build())
}

/// Which of these parts' details are let through.
fn details() -> Vec<&'static str> {
    let targets =
        ["lcore::a", "hello_sock", "core_reactor::a", "core_reactors", "net_impl_posix", "my_crate", "my_crate::store::b", "pool::a"];
    assert!(targets.iter().all(|of| shows(Level::Info, of)), "notices come from everywhere");
    targets.into_iter().filter(|of| shows(Level::Debug, of)).collect()
}

/// One test: the switches are the process'.
#[test]
fn s206_each_part_has_its_details_and_the_application_is_one() {
    let with = |flags: &[&str]| {
        assert!(flags.iter().all(|flag| switch(flag, true)));
        let shown = details();
        assert!(switch("all", false));
        shown
    };
    assert_eq!(with(&[]), [""; 0]);
    assert_eq!(with(&["reactor", "pool"]), ["core_reactor::a", "pool::a"]);
    assert_eq!(with(&["kv"]), ["my_crate::store::b"]);
    let mut app = vec!["lcore::a", "hello_sock", "core_reactors", "my_crate"];
    if cfg!(not(feature = "posix")) {
        app.insert(3, "net_impl_posix");
    }
    assert_eq!(with(&["app"]), app);
    assert_eq!(with(&["all"]).len(), 8);
    assert!(!switch("nobodys", true));
    assert!(check(&["kv".into(), "all".into()]).is_ok());
    let unknown = check(&["nobodys".into()]).unwrap_err().to_string();
    assert!(unknown.contains("\"nobodys\"") && unknown.contains("app, ") && unknown.contains("kv, platform, pool, "), "{unknown}");
    levels();
    // From here on the process has asked for something else than notices.
    asked();
}

fn levels() {
    assert!(switch("pool", true));
    assert_eq!(parts::switches().into_iter().filter(|(_, on)| *on).collect::<Vec<_>>(), [("pool", true)]);
    assert!(parts::switches().is_sorted());
    let seen = |level| {
        print(level);
        [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(|level| shows(level, "pool"))
    };
    assert_eq!(seen(LevelFilter::Error), [true, false, false, false, false]);
    assert_eq!(seen(LevelFilter::Info), [true, true, true, false, false]);
    assert_eq!(seen(LevelFilter::Trace), [true; 5]);
    assert_eq!(seen(LevelFilter::Debug), [true, true, true, true, false]);
    assert_eq!((parts::least(), switch("all", false), parts::least()), (LevelFilter::Debug, true, LevelFilter::Info));
}

fn asked() {
    assert!(parts::ask("pool=loud").is_err());
    assert!(shows(Level::Info, "b"), "what is wrong changes nothing");
    parts::ask("warn,my_crate=trace/word").unwrap();
    assert_eq!(parts::printed(), LevelFilter::Trace);
    assert!(shows(Level::Warn, "b") && !shows(Level::Info, "b"), "in place of notices from everywhere");
    assert!(shows(Level::Trace, "my_crate::other"));
    assert!(!shows(Level::Debug, "pool") && switch("pool", true) && shows(Level::Debug, "pool"), "-L adds to it");
    let shows_text = |target, text| {
        let args = format_args!("{text}").to_string();
        parts::shows_record(&Record::builder().level(Level::Warn).target(target).args(format_args!("{args}")).build())
    };
    assert!(shows_text("b", "a word") && !shows_text("b", "another") && shows_text("pool", "another"));
    print(LevelFilter::Error);
    assert!(!shows(Level::Trace, "my_crate") && !shows(Level::Warn, "pool") && shows(Level::Error, "b"), "the level bounds all");
    assert_eq!(parts::least(), LevelFilter::Error);
}

/// The line that a record makes.
fn line(format: LogFormat, args: fmt::Arguments<'_>, values: &[(&str, Kv<'_>)]) -> String {
    let style = Style { started: Instant::now(), name: "name".into(), format };
    let record = Record::builder().level(Level::Warn).target("pool::a").args(args).key_values(&values).build();
    let mut line = Vec::new();
    style.write(&record, |bytes| line.extend_from_slice(bytes));
    String::from_utf8(line).unwrap()
}

#[test]
fn s208_a_line_is_an_object_of_json_whatever_it_says() {
    let all: String = (0..0x3000).filter_map(char::from_u32).chain(['\u{fffd}', '\u{10ffff}']).collect();
    let broken = String::from_utf8_lossy(b"\xed\xa0\x80 \xff").into_owned();
    for message in ["", "\"}\n{\"level\": \"forged\"}", "\\", "\u{2028}", &all, &broken] {
        let values = [
            ("a \"key\"\n", Kv::from(message)),
            ("n", Kv::from(-7)),
            ("yes", Kv::from(true)),
            ("x", Kv::from(f64::NAN)),
            ("y", Kv::from(0.5)),
        ];
        let line = line(LogFormat::Json, format_args!("{message}"), &values);
        assert_eq!((line.matches('\n').count(), line.ends_with('\n')), (1, true), "{line}");
        let object: Value = serde_json::from_str(&line).unwrap();
        let known = json!({
            "level": "WARN", "part": "pool", "target": "pool::a", "core": null, "message": message,
            "thread": "logging::tests::s208_a_line_is_an_object_of_json_whatever_it_says",
            "kv": {"a \"key\"\n": message, "n": -7, "yes": true, "x": "NaN", "y": 0.5},
            "timestamp": object["timestamp"],
        });
        assert_eq!(object, known);
        let time = object["timestamp"].as_str().unwrap();
        assert_eq!((time.len(), time.ends_with('Z'), humantime::parse_rfc3339(time).is_ok()), (27, true, true), "{time}");
    }
}

struct Bad;

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        Err(fmt::Error)
    }
}

#[test]
fn s208_what_cannot_be_formatted_is_said_as_far_as_it_can() {
    let said = line(LogFormat::Json, format_args!("a {Bad}"), &[("bad", Kv::from_display(&Bad))]);
    let object: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&object["message"], &object["kv"]["bad"]), (&json!("a half(the rest cannot be formatted)"), &json!("half")));
}

#[test]
fn s208_what_stands_for_dropped_lines_is_json_too() {
    let style = Style { started: Instant::now(), name: "name".into(), format: LogFormat::Json };
    let said = notice(&style, Some(CoreId(7)), 3);
    let object: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&object["level"], said.matches('\n').count()), (&json!("WARN"), 1));
    assert!(object["message"].as_str().unwrap().starts_with("3 lines of the log, of core 7, were dropped"), "{said}");
}

#[test]
fn s207_lines_of_text_begin_with_the_seconds_or_with_the_time() {
    let values = [("n", Kv::from(1)), ("to", Kv::from("b"))];
    let text = line(LogFormat::Text, format_args!("hello"), &values);
    assert!(text.starts_with("[    0.0") && text.ends_with("] name: warn: hello n=1 to=b\n"), "{text}");
    let text = line(LogFormat::Time, format_args!("hello"), &[]);
    let (time, rest) = text.split_once(' ').unwrap();
    assert_eq!((time.len(), rest), (27, "name: warn: hello\n"));
    let age = std::time::SystemTime::now().duration_since(humantime::parse_rfc3339(time).unwrap()).unwrap();
    assert!(age < Duration::from_secs(3600), "{age:?}");
}

/// What is logged may log itself, in the middle of its line.
#[test]
fn s207_a_line_within_a_line_spoils_neither() {
    struct Logs;
    impl fmt::Display for Logs {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let inner = line(LogFormat::Time, format_args!("inner"), &[]);
            assert!(inner.ends_with("name: warn: inner\n"), "{inner}");
            f.write_str("outer")
        }
    }
    assert!(line(LogFormat::Text, format_args!("an {Logs} one"), &[]).ends_with("name: warn: an outer one\n"));
}
