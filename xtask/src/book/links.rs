//! Links of pages: where they lead, and whether something is there. Those to other machines are
//! not followed: nothing here needs a network.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::read;

/// `[text](to)`, and where it stands.
pub(super) struct Link<'a> {
    pub(super) text: &'a str,
    pub(super) to: &'a str,
    at: Range<usize>,
}

/// Follows the links of every page of the repository. How many there are.
pub(super) fn check(top: &Path) -> Result<usize> {
    let pages = pages(top)?;
    ensure!(!pages.is_empty(), "{} has no pages", top.display());
    let mut texts = HashMap::new();
    for page in &pages {
        texts.insert(page.clone(), read(&top.join(page))?);
    }
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in &pages {
        for link in links(&texts[page]) {
            count += 1;
            if let Some(why) = broken(top, page, link.to, &texts) {
                wrong.push(format!("{}: [{}]({}): {why}", page.display(), link.text, link.to));
            }
        }
    }
    ensure!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
    Ok(count)
}

/// Why a link leads nowhere, if it does not.
fn broken(top: &Path, page: &Path, to: &str, texts: &HashMap<PathBuf, String>) -> Option<String> {
    if to.contains("://") || to.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = to.split_once('#').map_or((to, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { page.to_path_buf() } else { normal(&page.parent()?.join(file))? };
    if !top.join(&path).exists() {
        return Some(format!("{} is not there", path.display()));
    }
    let anchor = anchor?;
    match texts.get(&path) {
        None => Some(format!("{} has no headings", path.display())),
        Some(text) if anchors(text).iter().any(|it| it == anchor) => None,
        Some(_) => Some(format!("{} has no heading #{anchor}", path.display())),
    }
}

/// `text` of a page of the book without links out of the book, whose pages lie below one folder.
pub(super) fn inwards(page: &Path, text: &str) -> String {
    let mut inwards = String::with_capacity(text.len());
    let mut from = 0;
    for link in links(text) {
        let is_out = !link.to.contains("://") && page.parent().is_some_and(|folder| normal(&folder.join(link.to)).is_none());
        if is_out {
            inwards += &text[from..link.at.start];
            inwards += &format!("{} ({})", link.text, link.to.trim_start_matches("../"));
            from = link.at.end;
        }
    }
    inwards + &text[from..]
}

/// The links in `text`, those in code left out.
pub(super) fn links(text: &str) -> impl Iterator<Item = Link<'_>> {
    let code = code(text);
    let is_code = move |at: usize| code.iter().any(|code| code.contains(&at));
    text.match_indices("](").filter_map(move |(middle, _)| {
        let start = text[..middle].rfind('[')?;
        let end = middle + text[middle..].find(')')?;
        if is_code(middle) {
            return None;
        }
        Some(Link { text: &text[start + 1..middle], to: &text[middle + 2..end], at: start..end + 1 })
    })
}

/// Where `text` is code: between fences, and between backticks of one line.
fn code(text: &str) -> Vec<Range<usize>> {
    let (mut code, mut fence, mut at) = (Vec::new(), None, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            match fence.take() {
                Some(start) => code.push(start..at + line.len()),
                None => fence = Some(at),
            }
        } else if fence.is_none() {
            let ticks: Vec<_> = line.match_indices('`').map(|(tick, _)| at + tick).collect();
            code.extend(ticks.chunks_exact(2).map(|pair| pair[0]..pair[1]));
        }
        at += line.len();
    }
    code
}

/// What the headings of `text` can be reached by.
fn anchors(text: &str) -> Vec<String> {
    let code = code(text);
    let mut anchors: Vec<String> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let is_code = code.iter().any(|code| code.contains(&at));
        at += line.len();
        if is_code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let same = anchors.iter().filter(|it| **it == anchor).count();
        anchors.push(if same == 0 { anchor } else { format!("{anchor}-{same}") });
    }
    anchors
}

/// `path` without `.` and `..`; none if it leads out of where it starts.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            part => normal.push(part),
        }
    }
    Some(normal)
}

/// The pages of the repository, from its top.
fn pages(top: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![top.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type()?.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if name.ends_with(".md") {
                found.push(path.strip_prefix(top)?.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There, with another text than it has.
    const PAGE: &str = "docs/introduction.md";

    fn why(to: &str) -> Option<String> {
        let page = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
        let texts = HashMap::from([page(PAGE, "# A\n"), page("xtask/README.md", "# X: *what* it's (`for`)\n## B\n## B\n```\n# no\n```\n")]);
        broken(&crate::repository(), Path::new(PAGE), to, &texts)
    }

    #[test]
    fn a_link_leads_to_a_file_and_a_heading_or_is_named() {
        for good in [
            "../xtask/README.md",
            "../xtask/README.md#x-what-its-for",
            "../xtask/README.md#b",
            "../xtask/README.md#b-1",
            "#a",
            "https://x.y/z",
            "../xtask",
        ] {
            assert_eq!(why(good), None, "{good}");
        }
        for (bad, said) in [
            ("../xtask/NONE.md", "xtask/NONE.md is not there"),
            ("../xtask/README.md#no", "xtask/README.md has no heading #no"),
            ("../xtask/README.md#b-2", "xtask/README.md has no heading #b-2"),
            ("#x", "docs/introduction.md has no heading #x"),
            ("../Cargo.toml#x", "Cargo.toml has no headings"),
        ] {
            assert_eq!(why(bad).as_deref(), Some(said), "{bad}");
        }
    }

    #[test]
    fn links_are_found_where_they_are_links() {
        let text = "[a](b) `[c](d)` [`e`](f#g)\n```\n[h](i)\n```\n| [j](k) |\n";
        let found: Vec<_> = links(text).map(|link| (link.text, link.to)).collect();
        assert_eq!(found, [("a", "b"), ("`e`", "f#g"), ("j", "k")]);
    }

    #[test]
    fn links_out_of_the_book_become_words() {
        let text = "[a](../x/y.md), [b](c.md) and [d](../../e).";
        assert_eq!(inwards(Path::new("f.md"), text), "a (x/y.md), [b](c.md) and d (e).");
        assert_eq!(inwards(Path::new("g/f.md"), text), "[a](../x/y.md), [b](c.md) and d (e).");
    }
}
