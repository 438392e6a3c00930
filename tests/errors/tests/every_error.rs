//! Every error that a published crate defines is walked by the tests of that crate.
//!
//! The types are read from the sources, because stable Rust cannot list them. That each variant of a walked type is
//! constructed is checked by the compiler and by `walk!`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folders of the published members, and of the package at the root.
fn published() -> Vec<PathBuf> {
    let manifest = text(&root().join("Cargo.toml"));
    let (_, members) = manifest.split_once("members = [").expect("a list of members");
    let (members, _) = members.split_once(']').expect("the end of the list");
    let members = members.split('"').skip(1).step_by(2).map(|member| root().join(member));
    let is_published = |folder: &PathBuf| !text(&folder.join("Cargo.toml")).contains("publish = false");
    members.filter(is_published).chain([root()]).collect()
}

fn sources(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = text(&path);
            into.push((path, source));
        }
    }
}

fn is_test(path: &Path, folder: &Path) -> bool {
    let inside = path.strip_prefix(folder).expect("a file of the folder");
    inside.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The names of the types in a source that are errors.
fn errors(source: &str) -> Vec<String> {
    let (source, _) = source.split_once("\n#[cfg(test)]\nmod tests {").unwrap_or((source, ""));
    let (mut errors, mut is_derived) = (Vec::new(), false);
    for line in source.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        is_derived |= line.starts_with("#[derive(") && line.contains("thiserror::Error");
        let definition = line.split_once("enum ").or_else(|| line.split_once("struct "));
        if let Some((_, definition)) = definition.filter(|_| is_derived && !line.starts_with("#[")) {
            errors.push(name(definition));
            is_derived = false;
        }
        if let Some((of, implemented)) = line.split_once(" for ").filter(|_| line.starts_with("impl"))
            && (of.ends_with(" Error") || of.ends_with("::Error"))
        {
            errors.push(name(implemented));
        }
    }
    errors
}

/// The number of times that a type of this name is walked in a source.
fn walks(source: &str, error: &str) -> usize {
    source.split("walk!(").skip(1).filter(|rest| name(rest.trim_start()) == error).count()
}

#[test]
fn every_error_is_walked() {
    let mut number = 0;
    for folder in published() {
        let mut files = Vec::new();
        sources(&folder.join("src"), &mut files);
        let mut found: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
        for (path, source) in files.iter().filter(|(path, _)| !is_test(path, &folder)) {
            for error in errors(source) {
                found.entry(error).or_default().push(path);
            }
        }
        for (error, places) in found {
            number += places.len();
            let walked: usize = files.iter().map(|(_, source)| walks(source, &error)).sum();
            assert!(walked >= places.len(), "{error} of {places:?} is walked {walked} times");
        }
    }
    assert!(number > 50, "{number} errors were found");
}

#[test]
fn errors_are_found_in_sources() {
    let source = "\
        #[derive(Clone, Debug, thiserror::Error)]\n#[error(\"a struct of {0}\")]\npub struct One(u8);\n\
        #[derive(Debug)]\npub struct None;\n\
        /// impl core::error::Error for Doc {}\n\
        impl<E: Error + 'static> Error for Two<E> {}\nimpl core::error::Error for Three {}\n\
        impl From<Error> for None {}\n\
        #[derive(Debug, thiserror::Error)]\n#[non_exhaustive]\npub(super) enum Four {\n\
        \n#[cfg(test)]\nmod tests {\n impl Error for Five {}\n";
    assert_eq!(errors(source), ["One", "Two", "Three", "Four"]);
    assert_eq!(walks("walk!(One { A }, b);\n walk!(\n    One<u8>, c); walk!(OneMore, d)", "One"), 2);
}
