//! The step that makes a package of each crate that users need, compiles them from what is in the
//! packages, looks at what they say of themselves, and installs a program.
//!
//! A package is what a registry would be given: what lies outside of the crate's folder is missing
//! there, so that a file that is included from elsewhere is found here and nowhere else. Nothing is
//! published. Crates from outside come from wherever cargo is told to have them; offline too, where
//! they have been fetched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use crate::program::{self, cargo};

/// What each package has beside its code.
const PAPERS: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// The package whose program is installed.
const INSTALLED: &str = "hello-sock";

/// What includes a crate's README as the front page of its documentation.
const FRONT: &str = "#![doc = include_str!(\"../README.md\")]";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Manifest>,
}

/// What a Cargo.toml says, as `cargo metadata` tells it.
#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
    /// The registries that may have it: none, or any.
    publish: Option<Vec<String>>,
    description: Option<String>,
    license: Option<String>,
    rust_version: Option<String>,
    keywords: Vec<String>,
    categories: Vec<String>,
    features: BTreeMap<String, Vec<String>>,
    targets: Vec<Target>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

pub(super) fn check(sh: &Shell) -> Result<()> {
    let all: Vec<Manifest> = program::metadata::<Metadata>()?.packages;
    let (public, own): (Vec<_>, Vec<_>) = all.iter().partition(|manifest| manifest.is_public());
    ensure!(!public.is_empty(), "no crate of the workspace can be published");
    let lacks: Vec<_> = public.iter().map(|manifest| lacks(manifest)).collect::<Result<Vec<_>>>()?.concat();
    ensure!(lacks.is_empty(), "packages lack something:\n{}", lacks.join("\n"));
    package(sh, &public, &own)?;
    // One is enough: the others differ in nothing that installing depends on.
    let installed = public.iter().find(|manifest| manifest.name == INSTALLED);
    install(sh, installed.with_context(|| format!("{INSTALLED} is no package that can be published"))?)
}

impl Manifest {
    fn is_public(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }

    fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new(""))
    }
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|it| it == kind)
    }
}

/// What somebody who looks for a crate would miss, a line for each thing.
fn lacks(manifest: &Manifest) -> Result<Vec<String>> {
    let texts = [("description", &manifest.description), ("license", &manifest.license), ("rust-version", &manifest.rust_version)];
    let mut lacks: Vec<_> = texts.iter().filter(|(_, text)| text.is_none()).map(|(key, _)| format!("{key} in Cargo.toml")).collect();
    for (key, words) in [("keywords", &manifest.keywords), ("categories", &manifest.categories)] {
        // As many as a registry takes.
        if words.is_empty() || words.len() > 5 {
            lacks.push(format!("one to five {key} in Cargo.toml"));
        }
    }
    let folder = manifest.folder();
    lacks.extend(PAPERS.iter().filter(|paper| !folder.join(paper).is_file()).map(|paper| format!("the file {paper}")));
    if let Some(lib) = manifest.targets.iter().find(|target| target.is("lib")) {
        let source = fs::read_to_string(&lib.src_path).with_context(|| format!("could not read {}", lib.src_path.display()))?;
        if !source.lines().any(|line| line == FRONT) {
            lacks.push(format!("{FRONT} in its library"));
        }
    }
    let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    let unsaid = manifest.features.keys().filter(|feature| *feature != "default" && !readme.contains(&format!("`{feature}`")));
    lacks.extend(unsaid.map(|feature| format!("a word on its feature `{feature}` in README.md")));
    Ok(lacks.into_iter().map(|lack| format!("{}: {lack}", manifest.name)).collect())
}

/// Makes all packages, and compiles what is in them.
fn package(sh: &Shell, public: &[&Manifest], own: &[&Manifest]) -> Result<()> {
    let cargo = cargo();
    let left_out = own.iter().flat_map(|manifest| ["--exclude", &manifest.name]);
    // What is not committed yet is looked at as well. Cargo would build them one after the other,
    // each with all that it needs anew, which takes many times as long.
    cmd!(sh, "{cargo} package --quiet --workspace {left_out...} --locked --allow-dirty --no-verify").run()?;
    let made = program::target()?.join("package");
    let all = made.join("all");
    sh.remove_path(&all)?;
    sh.create_dir(&all)?;
    for Manifest { name, version, .. } in public {
        let archive = made.join(format!("{name}-{version}.crate"));
        cmd!(sh, "tar -xzf {archive} -C {all}").quiet().run()?;
        let folder = all.join(format!("{name}-{version}"));
        let missing: Vec<_> = PAPERS.iter().copied().filter(|paper| !folder.join(paper).is_file()).collect();
        ensure!(missing.is_empty(), "the package of {name} is without {}", missing.join(", "));
    }
    sh.write_file(all.join("Cargo.toml"), workspace(public))?;
    // The versions that the product has; cargo takes out what is not here.
    sh.copy_file("Cargo.lock", all.join("Cargo.lock"))?;
    let (_in, target) = (sh.push_dir(&all), program::target()?);
    cmd!(sh, "{cargo} check --quiet --workspace --target-dir {target}").run()?;
    println!(
        "{} packages are whole; not published: {}",
        public.len(),
        own.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// A workspace of packages, in which each that another asks a registry for is the one that lies
/// here.
fn workspace(public: &[&Manifest]) -> String {
    let here = |it: &&Manifest| format!("{0} = {{ path = \"{0}-{1}\" }}\n", it.name, it.version);
    let patch: String = public.iter().map(here).collect();
    format!("[workspace]\nresolver = \"3\"\nmembers = [\"*-*\"]\n\n[patch.crates-io]\n{patch}")
}

/// Installs the programs of a package, as a user would, into a folder that goes away again.
fn install(sh: &Shell, manifest: &Manifest) -> Result<()> {
    let (cargo, path, root) = (cargo(), manifest.folder(), tempfile::tempdir()?);
    let (root, target) = (root.path(), program::target()?);
    // Without optimisation, as the step `tests` has built the most of it.
    cmd!(sh, "{cargo} install --quiet --debug --locked --no-track --path {path} --root {root} --target-dir {target}").run()?;
    let installed = fs::read_dir(root.join("bin")).context("nothing was installed")?.count();
    let programs = manifest.targets.iter().filter(|target| target.is("bin")).count();
    ensure!(installed == programs, "{} has {programs} programs, of which {installed} were installed", manifest.name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(folder: &Path) -> Manifest {
        let json = serde_json::json!({
            "name": "it", "version": "0.1.0", "publish": null, "description": "d", "license": "MIT",
            "rust_version": "1.95", "keywords": ["k"], "categories": ["c"], "features": {"default": ["fast"], "fast": []},
            "targets": [{"kind": ["lib"], "src_path": folder.join("lib.rs")}], "manifest_path": folder.join("Cargo.toml"),
        });
        serde_json::from_value(json).expect("a manifest")
    }

    #[test]
    fn what_a_package_lacks_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        for paper in PAPERS {
            fs::write(dir.path().join(paper), "The feature `fast`.").expect("written");
        }
        fs::write(dir.path().join("lib.rs"), format!("//! It.\n{FRONT}\n")).expect("written");
        let good = manifest(dir.path());
        assert_eq!(lacks(&good).expect("looked at"), Vec::<String>::new());

        let poor = Manifest { license: None, keywords: vec![String::new(); 6], ..manifest(dir.path()) };
        fs::write(dir.path().join("README.md"), "fast").expect("written");
        fs::write(dir.path().join("lib.rs"), "//! It.\n").expect("written");
        fs::remove_file(dir.path().join("LICENSE-MIT")).expect("removed");
        let expected = [
            "license in Cargo.toml",
            "one to five keywords in Cargo.toml",
            "the file LICENSE-MIT",
            "#![doc = include_str!(\"../README.md\")] in its library",
            "a word on its feature `fast` in README.md",
        ];
        assert_eq!(lacks(&poor).expect("looked at"), expected.map(|lack| format!("it: {lack}")));
    }

    #[test]
    fn what_may_go_to_no_registry_is_our_own() {
        let of = |publish| Manifest { publish, ..manifest(Path::new("/x")) }.is_public();
        assert_eq!([of(None), of(Some(vec![])), of(Some(vec!["r".into()]))], [true, false, true]);
    }
}
