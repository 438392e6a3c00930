//! The book's table of contents is complete, and every link in `docs/` and the README leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The pages of the book, without its table of contents.
fn pages(docs: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(docs).expect("docs").map(|entry| entry.expect("an entry").file_name());
    entries
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .collect()
}

/// The text without what stands in code: fenced blocks, and spans between backticks.
fn prose(text: &str) -> String {
    let (mut out, mut fence) = (String::new(), None::<String>);
    for line in text.lines() {
        let trimmed = line.trim_start();
        let marks: String = trimmed.chars().take_while(|c| *c == '`').collect();
        match &fence {
            Some(open) if trimmed.trim_end() == open => fence = None,
            None if marks.len() >= 3 => fence = Some(marks),
            None => {
                // What is between backticks is code: every second part.
                let parts = line.split('`').enumerate();
                out.extend(parts.map(|(at, part)| if at % 2 == 0 { part } else { "code" }));
            }
            Some(_) => {}
        }
        out.push('\n');
    }
    out
}

/// The targets of links, `[text](target)`, with the numbers of their lines.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text).lines().enumerate() {
        let mut rest = line;
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push((number + 1, target.to_owned()));
            rest = &rest[end..];
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut anchors, mut times) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
    let mut in_fence = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        let heading = line.trim_start_matches('#');
        if in_fence || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let before = times.entry(slug.clone()).or_default();
        anchors.insert(if *before == 0 { slug } else { format!("{slug}-{before}") });
        *before += 1;
    }
    anchors
}

/// The path without `.` and `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = out.pop(),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// What is wrong with the links of one file.
fn wrong_links(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("readable");
    let folder = file.parent().expect("a folder");
    let mut wrong = Vec::new();
    for (line, target) in targets(&text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor)),
            None => (&*target, None),
        };
        let to = if path.is_empty() { file.to_owned() } else { resolved(&folder.join(path)) };
        let at = format!("{}:{line}: {target}", file.display());
        if !to.exists() {
            wrong.push(format!("{at}: there is no such file"));
            continue;
        }
        if let Some(anchor) = anchor
            && to.extension().is_some_and(|extension| extension == "md")
            && !anchors(&fs::read_to_string(&to).expect("readable")).contains(anchor)
        {
            wrong.push(format!("{at}: there is no such heading"));
        }
    }
    wrong
}

#[test]
fn the_table_of_contents_has_every_page_once() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("a table of contents");
    let listed: Vec<String> = targets(&summary).into_iter().map(|(_, target)| target).collect();
    let pages = pages(&docs);
    let missing: Vec<_> = pages.iter().filter(|page| !listed.contains(*page)).collect();
    let unknown: Vec<_> = listed.iter().filter(|target| !pages.contains(*target)).collect();
    let twice = listed.len() - listed.iter().collect::<BTreeSet<_>>().len();
    assert!(missing.is_empty(), "not in SUMMARY.md: {missing:?}");
    assert!(unknown.is_empty(), "in SUMMARY.md, and not there: {unknown:?}");
    assert_eq!(twice, 0, "listed twice");
}

#[test]
fn every_link_leads_somewhere() {
    let root = root();
    let mut files: Vec<PathBuf> =
        pages(&root.join("docs")).iter().map(|page| root.join("docs").join(page)).collect();
    files.extend([root.join("docs/SUMMARY.md"), root.join("README.md")]);
    let wrong: Vec<String> = files.iter().flat_map(|file| wrong_links(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_and_anchors_are_found() {
    let text = "# One `two`, three\n[a](b.md#c) and `[no](link)`\n```text\n# none\n[no](link)\n```\n## Four\n## Four\n";
    assert_eq!(targets(text), [(2, "b.md#c".to_owned())]);
    let anchors: Vec<String> = anchors(text).into_iter().collect();
    assert_eq!(anchors, ["four", "four-1", "one-two-three"]);
}
