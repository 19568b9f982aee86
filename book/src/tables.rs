//! The tables of the pages for those who come from elsewhere: their rows, and what is named in
//! them.

/// The headers that have a page, in the order of the index.
pub const HEADERS: [&str; 9] = ["thread", "event", "sock", "env", "log", "cpuset", "bdev", "nvmf", "rpc"];

/// The lines above the rows of a table that is held to the code.
const HEADS: [&str; 2] = ["| SPDK | lcore | differs |", "| tokio | lcore | differs |"];

/// What begins the line that says where a page's names are to be found.
const SCOPE: &str = "Names are those of ";

/// A row: what SPDK (or tokio) has, what stands for it here, and what is different.
#[derive(Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The first column.
    pub theirs: &'a str,
    /// The second.
    pub ours: &'a str,
    /// The third.
    pub differs: &'a str,
}

/// What stands between backticks.
#[derive(Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// Something of SPDK's.
    Spdk(&'a str),
    /// An option of the command line.
    Option(&'a str),
    /// A command of the repository's.
    Command(&'a str),
    /// A method of RPC, or a parameter of one.
    Rpc(&'a str),
    /// Something of ours, or of Rust's own library, by its path.
    Item(&'a str),
    /// What names nothing: an operator, an expression.
    Code(&'a str),
}

/// The rows of the tables that are held to the code.
pub fn rows(page: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| HEADS.contains(&line)) {
        let cells = lines.by_ref().skip(1).map_while(|line| line.strip_prefix('|')?.strip_suffix('|'));
        for line in cells {
            let mut columns = line.splitn(3, '|').map(str::trim);
            let mut next = || columns.next().unwrap_or_default();
            rows.push(Row { theirs: next(), ours: next(), differs: next() });
        }
    }
    rows
}

/// The modules in which a page's names are looked up.
pub fn scope(page: &str) -> Vec<&str> {
    let line = page.lines().find_map(|line| line.strip_prefix(SCOPE)).unwrap_or_default();
    // What follows is about something else.
    spans(line.split('.').next().unwrap_or_default()).collect()
}

/// What stands between backticks in `text`.
pub fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether `word` is a method, or a parameter of one, that `page` (docs/rpc.md) speaks of.
pub fn is_method(page: &str, word: &str) -> bool {
    word.contains('_') && page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|it| it == word)
}

/// What a span of the second or third column is. `is_rpc` knows methods and their parameters.
pub fn named<'a>(span: &'a str, is_rpc: impl Fn(&str) -> bool) -> Named<'a> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let is_word = span.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match span {
        _ if is_word && is_rpc(span) => Named::Rpc(span),
        _ if span.starts_with("spdk_") || span.starts_with("SPDK_") => Named::Spdk(span),
        _ if span.starts_with('-') => Named::Option(span),
        _ if span.starts_with("cargo ") => Named::Command(span),
        _ if span.starts_with(|c: char| c.is_ascii_alphabetic()) && span.trim_end_matches('!').chars().all(is_path) => Named::Item(span),
        _ => Named::Code(span),
    }
}
