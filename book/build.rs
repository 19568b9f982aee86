//! Makes a module of each page for those who come from elsewhere, in whose documentation every name
//! of ours is a link: rustdoc looks each of them up, and one that leads nowhere is an error.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

#[path = "src/tables.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is the tests', too")]
mod tables;

use tables::{HEADERS, Named, Row, is_method, named, rows, scope, spans};

/// Pages without such tables, whose names are looked up wherever they stand.
const PROSE: [&str; 11] =
    ["async", "concepts", "logging", "metrics", "not-here", "operating", "performance", "rpc", "semantics", "testing", "tutorial"];

/// Where those are looked up.
const USUAL: [&str; 8] =
    ["lcore", "lcore_async", "lcore::net", "lcore::pool", "lcore::rpc", "lcore::sim", "lcore::transport", "net_impl_mem"];

fn main() -> Result<(), Box<dyn Error>> {
    let docs = Path::new("../docs");
    let out = env::var("OUT_DIR")?;
    let rpc = fs::read_to_string(docs.join("rpc.md"))?;
    let pages = HEADERS.map(|header| (header, format!("from-spdk/{header}.md")));
    let mut modules = String::new();
    for (name, page) in pages.into_iter().chain([("other", "from-spdk.md".into()), ("tokio", "from-tokio.md".into())]) {
        let page = docs.join(page);
        let text = fs::read_to_string(&page).map_err(|why| format!("{}: {why}", page.display()))?;
        println!("cargo::rerun-if-changed={}", page.display());
        let mut linked = format!("What stands for it here, by {}.\n\n| there | lcore | differs |\n|---|---|---|\n", page.display());
        for Row { theirs, ours, differs } in rows(&text) {
            let (ours, differs) = (link(ours, &rpc), link(differs, &rpc));
            writeln!(linked, "| {theirs} | {ours} | {differs} |")?;
        }
        modules += &module(&out, name, &linked, &scope(&text))?;
    }
    for page in PROSE {
        let path = docs.join(format!("{page}.md"));
        let text = fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        println!("cargo::rerun-if-changed={}", path.display());
        let linked: String = paths(&text).map(|path| format!("- [`{path}`]\n")).collect();
        modules +=
            &module(&out, &format!("page_{}", page.replace('-', "_")), &format!("What {} names.\n\n{linked}", path.display()), &USUAL)?;
    }
    fs::write(Path::new(&out).join("modules.rs"), modules)?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/tables.rs");
    Ok(())
}

/// A module whose documentation is `doc`, in which the names of `scope` are known.
fn module(out: &str, name: &str, doc: &str, scope: &[&str]) -> Result<String, Box<dyn Error>> {
    let file = format!("{name}.md");
    fs::write(Path::new(out).join(&file), doc)?;
    let mut module = format!("pub mod {name} {{\n#![doc = include_str!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))]\n");
    for of in scope {
        writeln!(module, "use ::{of}::*;")?;
    }
    Ok(module + "}\n")
}

/// The names in `page` that have a path, those in blocks of code left out.
fn paths(page: &str) -> impl Iterator<Item = &str> {
    let text = page.split("```").step_by(2).flat_map(str::lines);
    text.flat_map(spans).filter(|span| span.contains("::") && matches!(named(span, |_| false), Named::Item(_)))
}

/// `cell` with each item as a link, and without the links to other pages.
fn link(cell: &str, rpc: &str) -> String {
    let mut linked = plain(cell);
    let items: Vec<String> =
        spans(cell).filter(|span| matches!(named(span, |word| is_method(rpc, word)), Named::Item(_))).map(Into::into).collect();
    for (at, item) in items.iter().enumerate() {
        if !items[..at].contains(item) {
            linked = linked.replace(&format!("`{item}`"), &format!("[`{item}`]"));
        }
    }
    linked
}

/// `[text](page)` as `text`.
fn plain(cell: &str) -> String {
    let mut rest = cell;
    let mut plain = String::new();
    while let Some((before, behind)) = rest.split_once('[') {
        let Some((text, (_, after))) = behind.split_once("](").and_then(|(text, to)| Some((text, to.split_once(')')?))) else { break };
        plain.push_str(before);
        plain.push_str(text);
        rest = after;
    }
    plain + rest
}
