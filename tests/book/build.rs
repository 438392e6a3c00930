//! Makes a documentation test of each page that has Rust in it: `docs/*.md` and the README.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let docs = root.join("docs");
    println!("cargo::rerun-if-changed={}", docs.display());
    let mut pages: Vec<PathBuf> =
        fs::read_dir(&docs)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    pages.push(root.join("README.md"));
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    let mut modules = String::new();
    for page in pages {
        println!("cargo::rerun-if-changed={}", page.display());
        let text = fs::read_to_string(&page)?;
        if !text.contains("```rust") {
            continue;
        }
        let name = page.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_").to_lowercase();
        let copy = out.join(&name).with_extension("md");
        fs::write(&copy, with_named_fences(&text))?;
        writeln!(modules, "#[doc = include_str!({:?})]\nmod {name} {{}}", copy.display().to_string())
            .map_err(io::Error::other)?;
    }
    fs::write(out.join("pages.rs"), modules)
}

/// The same text, in which a fence without a language is text: for rustdoc it would be Rust.
fn with_named_fences(text: &str) -> String {
    let (mut named, mut inside) = (String::new(), false);
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        named.push_str(line);
        if is_fence && !inside && line.trim() == "```" {
            named.push_str("text");
        }
        inside ^= is_fence;
        named.push('\n');
    }
    named
}
