//! What is written for readers: comments of a width that reads well, and facts that name what is
//! there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use xshell::Shell;

use crate::repository;

/// Columns of a comment, its indent included. Code may be wider.
const WIDTH: usize = 100;

/// The table whose last column names code and tests.
const FACTS: &str = "docs/facts.md";

pub(super) fn check(_: &Shell) -> Result<()> {
    let files = sources(&repository())?;
    let mut wrong = Vec::new();
    for (path, text) in &files {
        let is_rust = path.extension().is_some_and(|it| it == "rs");
        if is_rust {
            wrong.extend(too_wide(text).map(|line| format!("{}:{line}: a comment of over {WIDTH} columns", path.display())));
        }
    }
    let facts = fs::read_to_string(repository().join(FACTS)).with_context(|| format!("could not read {FACTS}"))?;
    let named = names(&facts);
    ensure!(!named.is_empty(), "{FACTS} names nothing in its last columns");
    for name in named.into_iter().filter(|name| !is_there(name, &files)) {
        wrong.push(format!("{FACTS}: {name} is no file, and in none"));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    println!("{} files", files.len());
    Ok(())
}

/// The files that people write, by their path from `top`, with what is in them.
fn sources(top: &Path) -> Result<Vec<(PathBuf, String)>> {
    let (mut found, mut open) = (Vec::new(), vec![top.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type()?.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if [".rs", ".toml", ".ld", ".sh"].iter().any(|kind| name.ends_with(kind)) {
                let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
                found.push((path.strip_prefix(top)?.to_path_buf(), text));
            }
        }
    }
    Ok(found)
}

/// The numbers of the lines that are comments and too wide. Tables, and what stands between fences
/// in documentation, have the width that they need; a single word has no place to be broken.
fn too_wide(text: &str) -> impl Iterator<Item = usize> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let said = line.trim_start().strip_prefix("//")?.trim_start_matches(['/', '!']).trim_start();
        if said.starts_with("```") {
            fenced = !fenced;
        }
        let fixed = fenced || said.starts_with('|') || !said.trim_end().contains(' ');
        (line.chars().count() > WIDTH && !fixed).then_some(at + 1)
    })
}

/// What is named, between backticks, in the last columns of the tables in `text`.
fn names(text: &str) -> Vec<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let last = rows.filter_map(|row| row.rsplit('|').next());
    last.flat_map(|column| column.split('`').skip(1).step_by(2)).collect()
}

/// Whether it is a file, or stands in one.
fn is_there(name: &str, files: &[(PathBuf, String)]) -> bool {
    files.iter().any(|(path, text)| path == Path::new(name) || text.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_comments_are_found_and_what_cannot_be_narrower_is_let_be() {
        let words = "word ".repeat(20);
        let narrow = format!("{}x", "word ".repeat(18));
        let text = format!(
            "    // {narrow}\n    // {words}x\n//! {words}x\nlet code = \"{words}{words}\";\n/// ```text\n/// {words}x\n/// ```\n/// {words}x\n/// | {words}|\n// {}\n",
            "long".repeat(40)
        );
        assert_eq!(too_wide(&text).collect::<Vec<_>>(), [2, 3, 8]);
    }

    #[test]
    fn columns_are_counted_in_characters() {
        assert_eq!(too_wide(&format!("// {} x", "ä".repeat(95))).count(), 0);
        assert_eq!(too_wide(&format!("// {} x", "ä".repeat(96))).count(), 1);
    }

    #[test]
    fn names_are_those_of_the_last_column_and_have_to_be_somewhere() {
        let rows = "| fact | seen | rests on it |\n|---|---|---|\n| `a` | `b` | `src/c.rs`, `d_e` in `f` |\n";
        assert_eq!(names(rows), ["src/c.rs", "d_e", "f"]);
        let files = [(PathBuf::from("src/c.rs"), "fn d_e() {}".to_owned())];
        assert!(is_there("src/c.rs", &files) && is_there("d_e", &files));
        assert!(!is_there("src/g.rs", &files) && !is_there("h", &files));
    }
}
