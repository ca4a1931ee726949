//! Commands, as they are judged before a shell sees them: `src/workspace/command.rs`.
//!
//! - A refusal names the word and nothing that could be mistaken for something else.
//! - A word that is refused cannot be run: no file of that name in `PATH`, or no such file that may be executed.
//! - Whatever means something to a shell passes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mainlane::workspace::first_word_exists;

pub(super) fn check(data: &[u8]) {
    let command = String::from_utf8_lossy(data);
    let word = command.split_whitespace().next();
    match (first_word_exists(&command), word) {
        (Ok(()), None) => panic!("an empty command is accepted"),
        (Ok(()), Some(word)) => {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./+,:@%".contains(&byte);
            let is_judged = word.bytes().all(is_plain) && !word.starts_with('-');
            assert!(!is_judged || runs(word) || is_of_the_shell(word), "{word:?} is accepted");
        }
        (Err(refusal), None) => assert!(refusal.contains("empty"), "{refusal:?}"),
        (Err(refusal), Some(word)) => {
            let about = ["command not found: ", "not a command: "].iter().find_map(|kind| refusal.strip_prefix(kind));
            assert!(about.is_some_and(|about| about.starts_with(word)), "{refusal:?} of {word:?}");
            assert!(!refusal.chars().any(char::is_control), "{refusal:?}");
            assert!(!runs(word), "{word:?} is refused, and can be run");
            let has_syntax = |c: char| c.is_ascii_punctuation() && !"_-./+,:@%".contains(c);
            assert!(!word.contains(has_syntax), "{word:?} may mean something to a shell");
        }
    }
}

/// Whether a shell would find a file to run.
fn runs(word: &str) -> bool {
    let may_run = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if word.contains('/') {
        return may_run(Path::new(word));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| may_run(&folder.join(word)))
}

/// Words that a shell runs without a file.
fn is_of_the_shell(word: &str) -> bool {
    let words = ". : alias bg break case cd command continue do done echo elif else esac eval exec exit export false fc \
                 fg fi for getopts hash if jobs kill local printf pwd read readonly return set shift test then time \
                 times trap true type ulimit umask unalias unset until wait while";
    words.split_whitespace().any(|known| known == word)
}
