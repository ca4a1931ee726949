//! Says up front what a shell would say too late: that there is no such command.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What a shell runs by itself, without a file.
const SHELL_WORDS: &[&str] = &[
    ".", ":", "[", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "elif", "else",
    "esac", "eval", "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "getopts", "hash", "if", "jobs",
    "kill", "local", "printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "then", "time", "times",
    "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
];

/// Checks that the first word of `command` names something that can be run.
///
/// Only a plain word is judged: one with quotes, variables or any other syntax of the shell passes, since only the
/// shell can say what it stands for. A command that passes may still fail when it runs, with exit code 127.
///
/// ```
/// use mainlane::workspace::first_word_exists;
///
/// assert_eq!(first_word_exists("sh -c true"), Ok(()));
/// assert_eq!(first_word_exists("if true; then echo; fi"), Ok(()));
/// assert_eq!(first_word_exists("no-such-program -v"), Err("command not found: no-such-program".to_owned()));
/// ```
///
/// # Errors
/// `command not found: …` when no file of that name in `PATH` can be run, and what is wrong with the file when the word
/// is a path. An empty command is an error too.
pub fn first_word_exists(command: &str) -> Result<(), String> {
    let Some(word) = command.split_whitespace().next() else {
        return Err("the command is empty: say what to run".to_owned());
    };
    if !is_plain(word) || SHELL_WORDS.contains(&word) {
        return Ok(());
    }
    if word.contains('/') { runnable_path(word) } else { runnable_name(word) }
}

/// True for a word that means itself to every shell.
fn is_plain(word: &str) -> bool {
    !word.starts_with('-') && word.chars().all(|c| c.is_alphanumeric() || "_-./+,:@%".contains(c))
}

fn runnable_path(word: &str) -> Result<(), String> {
    let path = Path::new(word);
    match path.metadata() {
        Err(error) => Err(format!("command not found: {word} ({error})")),
        Ok(metadata) if metadata.is_dir() => Err(format!("not a command: {word} is a folder")),
        Ok(_) if is_runnable(path) => Ok(()),
        Ok(_) => Err(format!("not a command: {word} may not be executed; see `chmod +x`")),
    }
}

fn runnable_name(word: &str) -> Result<(), String> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&folders).any(|folder| is_runnable(&folder.join(word))) {
        return Ok(());
    }
    Err(format!("command not found: {word}"))
}

fn is_runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_are_looked_up() {
        assert_eq!(first_word_exists("ls"), Ok(()));
        assert_eq!(first_word_exists("  /bin/sh -c true"), Ok(()));
        assert_eq!(first_word_exists("no-such-program"), Err("command not found: no-such-program".to_owned()));
        assert!(first_word_exists("./no/such/file").unwrap_err().starts_with("command not found: ./no/such/file"));
        assert_eq!(first_word_exists("/"), Err("not a command: / is a folder".to_owned()));
        assert!(first_word_exists("  ").is_err());
    }

    #[test]
    fn what_only_the_shell_understands_passes() {
        let commands = [
            "while :; do :; done",
            "cd x && ls",
            "FOO=1 make",
            "$TOOL -v",
            "(ls)",
            "\"a b\"",
            "echo hi",
            "{ ls; }",
            "~/x",
        ];
        for command in commands {
            assert_eq!(first_word_exists(command), Ok(()), "{command}");
        }
    }

    #[test]
    fn a_path_is_judged_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, mode) in [("tool", 0o755), ("mine", 0o700), ("note", 0o644)] {
            std::fs::write(at(name), "").unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(at("folder")).unwrap();
        let runnable = ["tool", "mine", "note", "folder", "nothing"].map(|name| is_runnable(&at(name)));
        assert_eq!(runnable, [true, true, false, false, false]);
        let judged = |name: &str| first_word_exists(&format!("{} -v", at(name).display()));
        assert_eq!(judged("tool"), Ok(()));
        assert!(judged("note").unwrap_err().contains("may not be executed"));
        assert!(judged("folder").unwrap_err().contains("is a folder"));
        assert!(judged("nothing").unwrap_err().starts_with("command not found"));
    }

    #[test]
    fn a_word_is_plain_only_if_all_of_it_is() {
        assert!(["ls", "g++", "a.b-c_d", "./x", "caf\u{e9}"].into_iter().all(is_plain));
        assert!(!["-v", "a$b", "\"ls\"", "a=b", "-$"].into_iter().any(is_plain));
    }
}
