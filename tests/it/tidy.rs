//! The source's own rules, as tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of the sources, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

/// The code of a file without its comments and its own tests.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Names of pairs in a text: `P` and a number.
fn pairs(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_alphanumeric()).filter_map(|word| word.strip_prefix('P')?.parse().ok()).collect()
}

#[test]
fn atomics_come_through_the_one_door() {
    for (path, text) in sources() {
        // The engine; the reference domain and the command line have no protocols of their own.
        let inside = ["src/sync", "src/workspace", "src/bin"].iter().any(|folder| path.starts_with(folder));
        if inside || path == Path::new("src/sync.rs") {
            continue;
        }
        let code = code(&text);
        for name in ["std::sync::atomic", "core::sync::atomic", "arc_swap::", "UnsafeCell::from"] {
            assert!(!code.contains(name), "{} names {name}; go through crate::sync", path.display());
        }
    }
}

#[test]
fn unsafe_code_stands_only_in_protocol_files() {
    let files = ["src/lane/table.rs", "src/sync/prefetch.rs", "src/sync/spsc.rs", "src/sync/store_load.rs"];
    let expected = files.map(PathBuf::from).to_vec();
    let found: Vec<_> =
        sources().into_iter().filter(|(_, text)| code(text).contains("unsafe ")).map(|(path, _)| path).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_pair_in_a_table_is_named_at_both_ends() {
    let mut homes = BTreeMap::new();
    for (path, text) in sources() {
        let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
        let body: String = text.lines().skip_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
        for row in header.lines().filter(|line| line.starts_with("//! | P")) {
            let pair = pairs(row)[0];
            assert_eq!(homes.insert(pair, path.clone()), None, "P{pair} has two tables");
            let mentions = pairs(&body).into_iter().filter(|other| *other == pair).count();
            assert!(mentions >= 2, "P{pair} is named {mentions} times in the code of {}", path.display());
        }
    }
    let numbers: Vec<_> = homes.keys().copied().collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>(), "pairs are numbered without gaps");
}

#[test]
fn files_that_the_text_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<_> = sources();
    for folder in ["docs", "."] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                texts.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    for (path, text) in texts {
        for word in text.split(|c: char| c.is_whitespace() || "`()[],;".contains(c)) {
            let word = word.trim_end_matches(['.', ':']);
            let named = ["src/", "loom-tests/", "tests/", "docs/", "benches/", "examples/"]
                .iter()
                .any(|folder| word.starts_with(folder));
            let is_file = [".rs", ".md", ".toml"].iter().any(|ending| word.ends_with(ending));
            if named && is_file {
                assert!(root.join(word).exists(), "{} names {word}, which does not exist", path.display());
            }
        }
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}
