//! Each function of SPDK's headers has one row, in its header's order, and whatever a row names is
//! there. Items of ours are rustdoc's to look up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use book::tables::{HEADERS, Named, Row, is_method, named, rows, spans};
use lcore::AppOptions;
use lcore::clap::{Args, Command};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn read(page: &str) -> String {
    fs::read_to_string(docs().join(page)).unwrap_or_else(|why| panic!("docs/{page}: {why}"))
}

fn page(header: &str) -> String {
    read(&format!("from-spdk/{header}.md"))
}

/// The names of each header, in its order.
fn names(list: &str) -> BTreeMap<&str, Vec<&str>> {
    let (mut all, mut header) = (BTreeMap::<_, Vec<_>>::new(), "");
    for line in list.lines() {
        match line.strip_prefix("# ") {
            Some(name) => header = name.strip_suffix(".h").expect("a header"),
            None => all.entry(header).or_default().push(line),
        }
    }
    all
}

/// What is wrong with the rows of a page, held to the names of its header.
fn wrong(names: &[&str], page: &str) -> Vec<String> {
    let rows = rows(page);
    let told: Vec<&str> = rows.iter().flat_map(|row| spans(row.theirs)).collect();
    let mut wrong = Vec::new();
    for name in names {
        match told.iter().filter(|it| *it == name).count() {
            1 => {}
            count => wrong.push(format!("{name} is in {count} rows")),
        }
    }
    wrong.extend(told.iter().filter(|name| !names.contains(name)).map(|name| format!("{name} is no name of this header")));
    let firsts = rows.iter().filter_map(|row| names.iter().position(|name| Some(*name) == spans(row.theirs).next()));
    let firsts: Vec<usize> = firsts.collect();
    wrong.extend(firsts.windows(2).filter(|pair| pair[0] >= pair[1]).map(|pair| format!("{} stands too early", names[pair[0]])));
    for Row { theirs, ours, differs } in rows {
        let is_none = ours == "none";
        if is_none && !differs.starts_with("because ") && !differs.starts_with("as ") {
            wrong.push(format!("{theirs}: none, and not why"));
        }
        if !is_none && spans(ours).next().is_none() {
            wrong.push(format!("{theirs}: {ours:?} names nothing"));
        }
    }
    wrong
}

#[test]
fn every_function_has_one_row_in_the_order_of_its_header() {
    let list = read("from-spdk/names.txt");
    let all = names(&list);
    let mut headers: Vec<_> = all.keys().copied().collect();
    let mut known = HEADERS.to_vec();
    headers.sort_unstable();
    known.sort_unstable();
    assert_eq!(headers, known);
    for (header, names) in &all {
        let wrong = wrong(names, &page(header));
        assert!(wrong.is_empty(), "docs/from-spdk/{header}.md:\n{}", wrong.join("\n"));
    }
    let count: usize = all.values().map(Vec::len).sum();
    assert!(count > 500, "{count} names");
}

#[test]
fn a_page_that_misses_a_name_or_a_reason_is_found() {
    let head = "| SPDK | lcore | differs |\n|---|---|---|\n";
    let names = ["spdk_a", "spdk_b"];
    let cases = [
        ("| `spdk_a`, `spdk_b` | `A` | |\n", ""),
        ("| `spdk_a` | `A` | |\n", "spdk_b is in 0 rows"),
        ("| `spdk_a`, `spdk_b` | `A` | |\n| `spdk_b` | `B` | |\n", "spdk_b is in 2 rows"),
        ("| `spdk_b` | `B` | |\n| `spdk_a` | `A` | |\n", "spdk_b stands too early"),
        ("| `spdk_a`, `spdk_b` | none | |\n", "none, and not why"),
        ("| `spdk_a`, `spdk_b` | none | because it is so |\n", ""),
        ("| `spdk_a`, `spdk_b` | what | |\n", "names nothing"),
        ("| `spdk_a`, `spdk_b`, `spdk_c` | `A` | |\n", "spdk_c is no name of this header"),
    ];
    for (rows, why) in cases {
        let wrong = wrong(&names, &format!("{head}{rows}")).join("\n");
        assert!(wrong.contains(why) && wrong.is_empty() == why.is_empty(), "{rows}: {wrong:?}");
    }
}

#[test]
fn options_methods_and_commands_that_rows_name_are_there() {
    let list = read("from-spdk/names.txt");
    let rpc = read("rpc.md");
    let command = AppOptions::augment_args(Command::new("any"));
    let mut options = vec!["--help".to_owned()];
    for option in command.get_arguments() {
        options.extend(option.get_long().map(|long| format!("--{long}")));
        options.extend(option.get_short().map(|short| format!("-{short}")));
    }
    let pages = HEADERS.map(page).into_iter().chain([read("from-spdk.md"), read("from-tokio.md")]);
    let mut seen = 0;
    for page in pages {
        for row in rows(&page) {
            for span in spans(row.ours).chain(spans(row.differs)) {
                let is_there = match named(span, |word| is_method(&rpc, word)) {
                    Named::Spdk(name) => list.lines().any(|line| line == name),
                    Named::Option(option) => options.iter().any(|it| option.split(' ').next() == Some(it)),
                    Named::Command(command) => command == "cargo xtask setup" || command.starts_with("cargo xtask setup "),
                    // Rustdoc looks items up.
                    Named::Rpc(_) | Named::Item(_) => true,
                    // What looks like a name of ours is written as one.
                    Named::Code(code) => !code.contains("::") && !code.starts_with(|c: char| c.is_ascii_uppercase()),
                };
                assert!(is_there, "{}: {span:?} is not there", row.theirs);
                seen += 1;
            }
        }
    }
    assert!(seen > 400, "{seen} names");
}

#[test]
fn spans_are_told_apart() {
    let rpc = |word: &str| is_method("`log_set_flag`, spdk_kill_instance: serve", word);
    assert_eq!(named("Cx::poller", rpc), Named::Item("Cx::poller"));
    assert_eq!(named("net::register!", rpc), Named::Item("net::register!"));
    assert_eq!(named("mempools", rpc), Named::Item("mempools"));
    assert_eq!(named("log_set_flag", rpc), Named::Rpc("log_set_flag"));
    assert_eq!(named("spdk_kill_instance", rpc), Named::Rpc("spdk_kill_instance"));
    assert_eq!(named("serve", rpc), Named::Item("serve"));
    assert_eq!(named("--busy-poll", rpc), Named::Option("--busy-poll"));
    assert_eq!(named("spdk_app_start", rpc), Named::Spdk("spdk_app_start"));
    assert_eq!(named("&=", rpc), Named::Code("&="));
    assert_eq!(named("Cx::poller(f)", rpc), Named::Code("Cx::poller(f)"));
}
