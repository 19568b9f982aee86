//! `cargo xtask book`: the pages of docs/ as a book, and what holds them together.
//!
//! The pages are copied first, because a book has what docs/ has not: a list of all decisions, and
//! no links out of itself.

mod blocks;
mod links;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::{program, repository};

/// Build the book of docs/ with mdBook, which is built on first use: target/book/index.html.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// The release of mdBook; where it is built once it needs no network any more.
const MDBOOK: &str = "0.5.4";
/// The pages, from the top of the repository.
const DOCS: &str = "docs";
/// The list of chapters.
const SUMMARY: &str = "SUMMARY.md";
/// What the book has at its end, by itself.
const DECISIONS: &str = "decisions";

pub(crate) fn main(_: &Args) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(repository());
    let book = build(&sh)?;
    println!("{}", book.join("index.html").display());
    Ok(())
}

/// The step of the tests: links lead somewhere, every page is a chapter, commands run, it builds.
pub(crate) fn check(sh: &Shell) -> Result<()> {
    let links = links::check(&repository())?;
    let docs = repository().join(DOCS);
    let summary = read(&docs.join(SUMMARY))?;
    let missing = missing(&summary, &pages(&docs)?);
    ensure!(missing.is_empty(), "{DOCS}/{SUMMARY} has to list each page once:\n{}", missing.join("\n"));
    let poor = poor_pictures(&docs)?;
    ensure!(poor.is_empty(), "pictures:\n{}", poor.join("\n"));
    let (ran, by_hand) = blocks::run(sh, &docs)?;
    let book = build(sh)?;
    println!("{links} links, {ran} blocks of commands ran, {by_hand} are for hands: {}", book.display());
    Ok(())
}

/// Builds the book, and tells where it is.
fn build(sh: &Shell) -> Result<PathBuf> {
    let target = program::target()?;
    let (source, book) = (target.join("book-source"), target.join("book"));
    let mdbook = mdbook(sh, &target)?;
    copy(&repository().join(DOCS), &source)?;
    // What it warns of (a chapter that is not there) is an error of its own.
    cmd!(sh, "{mdbook} build {source} --dest-dir {book}").run()?;
    ensure!(book.join("index.html").exists(), "mdbook has written no {}", book.join("index.html").display());
    Ok(book)
}

/// mdBook of the release that is wanted.
fn mdbook(sh: &Shell, target: &Path) -> Result<PathBuf> {
    let root = target.join("tools");
    let program = root.join("bin/mdbook");
    let is_it = || cmd!(sh, "{program} --version").quiet().ignore_stderr().read().is_ok_and(|said| said == format!("mdbook v{MDBOOK}"));
    if !is_it() {
        let (cargo, build) = (program::cargo(), root.join("build"));
        // It runs for less than a second, so it is built quickly.
        cmd!(sh, "{cargo} install mdbook --version ={MDBOOK} --locked --no-default-features --debug --root {root} --target-dir {build}")
            .run()?;
        ensure!(is_it(), "{} is not mdbook {MDBOOK}", program.display());
        // It takes half a gigabyte, and is not needed again.
        fs::remove_dir_all(&build).with_context(|| format!("could not remove {}", build.display()))?;
    }
    Ok(program)
}

/// Copies the pages as they are in the book.
fn copy(docs: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("could not remove {}", to.display()))?;
    }
    for file in files(docs)? {
        let path = file.strip_prefix(docs)?;
        let text = read(&file)?;
        let text = match path.extension().is_some_and(|kind| kind == "md") {
            true => links::inwards(path, &text),
            false => text,
        };
        let text = if path == Path::new(SUMMARY) { text + &decisions(docs)? } else { text };
        let to = to.join(path);
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::write(&to, text).with_context(|| format!("could not write {}", to.display()))?;
    }
    Ok(())
}

/// The chapters that are the decisions.
fn decisions(docs: &Path) -> Result<String> {
    let mut list = String::from("\n# Decisions\n\n");
    for file in files(&docs.join(DECISIONS))? {
        let text = read(&file)?;
        let title = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let Some(title) = title else { bail!("{} does not begin with its title", file.display()) };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        list += &format!("- [{title}]({DECISIONS}/{name})\n");
    }
    Ok(list)
}

/// The pages that are to be chapters.
fn pages(docs: &Path) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    for file in files(docs)? {
        let page = file.strip_prefix(docs)?.to_string_lossy().into_owned();
        if page.ends_with(".md") && page != SUMMARY && !page.starts_with(DECISIONS) {
            pages.push(page);
        }
    }
    Ok(pages)
}

/// The pages that `summary` does not list, or more than once.
fn missing(summary: &str, pages: &[String]) -> Vec<String> {
    let listed: Vec<_> = links::links(summary).map(|link| link.to).collect();
    pages.iter().filter(|page| listed.iter().filter(|it| *it == page).count() != 1).cloned().collect()
}

/// What pictures lack: words for who does not see them, colours for a dark page, a page.
fn poor_pictures(docs: &Path) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    for page in pages(docs)? {
        let (text, folder) = (read(&docs.join(&page))?, Path::new(&page).parent().map(Path::to_path_buf).unwrap_or_default());
        shown.extend(links::links(&text).map(|link| docs.join(&folder).join(link.to)));
    }
    let mut poor = Vec::new();
    for file in files(docs)?.into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "svg")) {
        let text = read(&file)?;
        for part in ["<title", "<desc", "prefers-color-scheme: dark"].into_iter().filter(|part| !text.contains(part)) {
            poor.push(format!("{} has no {part}", file.display()));
        }
        if !shown.contains(&file) {
            poor.push(format!("{} is on no page", file.display()));
        }
    }
    Ok(poor)
}

/// The files below a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_no_chapter_or_two_is_found() {
        let pages = ["a.md", "b/c.md", "d.md"].map(String::from);
        assert_eq!(missing("- [A](a.md)\n  - [C](b/c.md)\n- [D](d.md)\n", &pages), Vec::<String>::new());
        assert_eq!(missing("- [A](a.md)\n- [C](b/c.md)\n- [A](a.md)\n", &pages), ["a.md", "d.md"]);
    }

    #[test]
    fn a_picture_without_words_or_colours_or_a_page_is_found() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let docs = folder.path();
        fs::write(docs.join("a.md"), "# A\n\n![It](it.svg)\n")?;
        fs::write(
            docs.join("it.svg"),
            "<svg><title>It</title><desc>A box.</desc><style>@media (prefers-color-scheme: dark) {}</style></svg>\n",
        )?;
        assert_eq!(poor_pictures(docs)?, Vec::<String>::new());
        fs::write(docs.join("other.svg"), "<svg><title>Other</title></svg>\n")?;
        let poor = poor_pictures(docs)?.join("\n");
        let missing = ["other.svg has no <desc", "other.svg has no prefers-color-scheme: dark", "other.svg is on no page"];
        assert!(missing.iter().all(|it| poor.contains(it)) && poor.lines().count() == 3, "{poor}");
        Ok(())
    }

    #[test]
    fn a_copy_has_the_decisions_and_no_links_out_of_itself() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (docs, to) = (folder.path().join("docs"), folder.path().join("to"));
        fs::create_dir_all(docs.join(DECISIONS))?;
        fs::write(docs.join(SUMMARY), "# Summary\n\n- [A](a.md)\n")?;
        fs::write(docs.join("a.md"), "# A\n\nSee [the bench](../bench/README.md) and [why](decisions/0001-it.md).\n")?;
        fs::write(docs.join("decisions/0001-it.md"), "# 0001: It\n")?;
        copy(&docs, &to)?;
        assert_eq!(read(&to.join(SUMMARY))?, "# Summary\n\n- [A](a.md)\n\n# Decisions\n\n- [0001: It](decisions/0001-it.md)\n");
        assert_eq!(read(&to.join("a.md"))?, "# A\n\nSee the bench (bench/README.md) and [why](decisions/0001-it.md).\n");
        fs::write(docs.join("decisions/0002-no.md"), "No title.\n")?;
        assert!(copy(&docs, &to).is_err_and(|why| why.to_string().contains("0002-no.md")));
        Ok(())
    }
}
