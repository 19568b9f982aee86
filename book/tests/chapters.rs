//! Each block of code in a page is run, or stands as it is in a file that is.

use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages of docs/, with what they are called there. Decisions tell of code that was.
fn pages() -> Vec<(String, String)> {
    let (mut pages, mut open) = (Vec::new(), vec![top().join("docs")]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("it is there") {
            let path = entry.expect("it can be read").path();
            let name = path.strip_prefix(top().join("docs")).expect("it is below").to_string_lossy().into_owned();
            match path.is_dir() {
                true if name != "decisions" => open.push(path),
                false if name.ends_with(".md") => pages.push((name, fs::read_to_string(&path).expect("it is text"))),
                _ => {}
            }
        }
    }
    pages
}

/// What is wrong with the blocks of Rust in a page. `runs` are the pages whose examples are run,
/// `file` reads a file of the repository.
fn wrong(name: &str, text: &str, runs: &[&str], file: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines: Vec<_> = text.lines().collect();
    let mut is_in = false;
    for (at, line) in lines.iter().enumerate() {
        let Some(fence) = line.trim_start().strip_prefix("```") else { continue };
        is_in = !is_in;
        if is_in && fence.is_empty() {
            wrong.push(format!("{name}:{}: a block says what it is (text, sh, rust)", at + 1));
        }
        let Some(kind) = fence.strip_prefix("rust") else { continue };
        if kind.is_empty() {
            if !runs.contains(&name) {
                wrong.push(format!("{name}:{}: the chapter is not in book/src/lib.rs, so this is not run", at + 1));
            }
            continue;
        }
        let above = at.checked_sub(1).map_or("", |above| lines[above]);
        let Some(path) = above.strip_prefix("<!-- from ").and_then(|rest| rest.strip_suffix(" -->")) else {
            wrong.push(format!("{name}:{}: what is not run says where it is from (<!-- from FILE -->)", at + 1));
            continue;
        };
        let block: String = lines[at + 1..].iter().take_while(|line| !line.starts_with("```")).flat_map(|line| [line, "\n"]).collect();
        if file(path).is_none_or(|file| block.is_empty() || !file.contains(&block)) {
            wrong.push(format!("{name}:{}: it does not stand so in {path}", at + 1));
        }
    }
    wrong
}

#[test]
fn every_block_of_rust_is_run_or_stands_in_a_file() {
    let list = include_str!("../src/lib.rs");
    let runs: Vec<&str> = list.split('"').skip(1).step_by(2).filter(|it| it.ends_with(".md")).collect();
    let (mut found, mut blocks) = (Vec::new(), 0);
    for (name, text) in pages() {
        blocks += text.matches("```rust").count();
        found.extend(wrong(&name, &text, &runs, |path| fs::read_to_string(top().join(path)).ok()));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(blocks > 10, "{blocks} blocks");
}

#[test]
fn a_block_that_nothing_holds_is_found() {
    let file = |path: &str| (path == "a.rs").then(|| "fn a() {}\nfn b() {}\n".to_owned());
    let cases = [
        ("```rust\nfn c() {}\n```\n", "a.md", ""),
        ("```rust\nfn c() {}\n```\n", "b.md", "the chapter is not in book/src/lib.rs"),
        ("```\nfn c() {}\n```\n", "a.md", "a block says what it is"),
        ("```text\nfn c() {}\n```\n", "b.md", ""),
        ("```rust,ignore\nfn b() {}\n```\n", "a.md", "says where it is from"),
        ("<!-- from a.rs -->\n```rust,ignore\nfn b() {}\n```\n", "a.md", ""),
        ("<!-- from a.rs -->\n```rust,ignore\nfn c() {}\n```\n", "a.md", "it does not stand so in a.rs"),
        ("<!-- from b.rs -->\n```rust,ignore\nfn b() {}\n```\n", "a.md", "it does not stand so in b.rs"),
    ];
    for (text, name, why) in cases {
        let wrong = wrong(name, text, &["a.md"], file).join("\n");
        assert!(wrong.contains(why) && wrong.is_empty() == why.is_empty(), "{text}: {wrong:?}");
    }
}
