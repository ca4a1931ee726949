//! Everything that is kept, through every target, without any tool.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, target};

/// What is kept for a target, in the order of its names.
fn kept(kind: &str, name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(name);
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = listing.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let corpus = kept("corpus", name);
    assert!(!corpus.is_empty(), "nothing is kept for {name}");
    for file in [kept("seeds", name), corpus, kept("regressions", name)].concat() {
        let bytes = fs::read(&file).unwrap();
        let check = target(name).check;
        let file = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display();
        assert!(catch_unwind(|| check(&bytes)).is_ok(), "tests/fuzz/{file} breaks a promise");
    }
}

macro_rules! replayed {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replayed! {
    arguments coalesce command domain_event image mirror operations pipeline record ring terminal translate workspace worktree
}

#[test]
fn every_target_is_replayed_and_has_a_program() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED.iter().copied().collect());
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let programs = manifest.split("[[bin]]").skip(1).filter_map(|bin| bin.split('"').nth(1));
    assert_eq!(names, programs.collect());
}
