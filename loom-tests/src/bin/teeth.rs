//! Shows that the models bite: weakens the protocol files in one place at a time, and wants a model to fail for each.
//!
//! `cargo run -p loom-tests --bin teeth [part of a row]`
//!
//! Each mutant is one token of a file that the models compile, outside its comments, its `use`s and its own tests:
//! - `Release` and `Acquire` become `Relaxed`; `AcqRel` becomes either half;
//! - a barrier of B1, `light()` or `heavy()`, goes;
//! - the cut is taken in one pass: `if !added` becomes `if true`.
//!
//! The cell that ships is not among those files, so the orderings of the one in its place, `sync/swap.rs`, stand for P15. Which files there are,
//! the compiler says; orderings and barriers are found in their text. So what is new in them is weakened too.
//!
//! A copy of the sources is built and run in a folder of its own, with the versions that the lock file names. First
//! everything must pass unchanged. Then each mutant runs the models of its module, and the others if those hold, up to
//! the first that fails; a control arm does not count, a model that aborts or does not end does. Exits with an error if
//! a mutant survives or does not compile. About ten minutes.
//!
//! Not weakened: the barriers that the callers of these files run (`heavy()` after `Gate::shut`), for which the models
//! have control arms; what is inside the engine's own `src/sync/store_load.rs`.

use std::env;
use std::fs;
use std::io::{self, Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The cell that stands in for the one that ships.
const STAND_IN: &str = "loom-tests/src/sync/swap.rs";
/// The file with the cut's retry. It is an error if the retry is no longer found there.
const CUT: &str = "src/main_lane/cut.rs";
const RETRY: &str = "if !added";
/// How long the models of one mutant may take at least, before one of them is said not to end.
const DEADLINE_MIN: Duration = Duration::from_secs(300);
/// And how many times as long as they take without a mutation.
const DEADLINE_TIMES: u32 = 6;

fn main() -> ExitCode {
    match bite(&env::args().nth(1).unwrap_or_default()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("teeth: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the mutants whose row contains `filter`; true if every one was caught.
fn bite(filter: &str) -> Result<bool> {
    let start = Instant::now();
    let copy = Copy::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
    let Build::Done(models) = copy.build()? else { return Err(Error::other("the base does not compile")) };
    let mut mutants = Vec::new();
    for file in copy.protocol_files(&models)? {
        mutants.extend(mutants_of(&file, &fs::read_to_string(copy.folder.join(&file))?)?);
    }
    mutants.retain(|mutant| mutant.row().contains(filter));
    if mutants.is_empty() {
        return Err(Error::other(format!("no mutant has `{filter}` in its row")));
    }

    let timed = base(&models)?;
    let total = timed.iter().map(|(_, took)| *took).sum::<Duration>();
    eprintln!("base: {} models hold, {:.0} s; {} mutants", timed.len(), total.as_secs_f32(), mutants.len());
    let deadline = DEADLINE_MIN.max(DEADLINE_TIMES * total);

    println!("{:<36} | {:<21} | outcome", "file:line", "weakening");
    let mut caught = 0;
    for mutant in &mutants {
        let outcome = copy.outcome(mutant, &timed, deadline)?;
        println!("{} | {outcome}", mutant.row());
        if outcome.starts_with("caught") {
            caught += 1;
        } else {
            println!("    {}", mutant.line);
        }
    }
    eprintln!("{:.0} s", start.elapsed().as_secs_f32());
    println!("{caught} of {} caught", mutants.len());
    Ok(caught == mutants.len())
}

/// Every model must hold before anything is weakened. Returns their names, without the control arms, and times.
fn base(models: &Path) -> Result<Vec<(String, Duration)>> {
    let listed = Command::new(models).args(["--list", "--format", "terse"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut timed = Vec::new();
    for name in listed.lines().filter_map(|line| line.strip_suffix(": test")) {
        let start = Instant::now();
        match run(models, name, start + DEADLINE_MIN)? {
            End::Held if !name.contains("::control_") => timed.push((name.to_owned(), start.elapsed())),
            End::Held => {}
            _ => return Err(Error::other(format!("the base fails: {name}"))),
        }
    }
    if timed.is_empty() { Err(Error::other("the base has no models")) } else { Ok(timed) }
}

/// How one model ended.
enum End {
    Held,
    Failed,
    Aborted,
    Hung,
}

/// Runs one model in a process of its own, so that it can abort, or be stopped, without the others.
fn run(models: &Path, name: &str, until: Instant) -> Result<End> {
    // What a failing test binary exits with.
    const FAILED: i32 = 101;
    let mut child =
        Command::new(models).args(["--exact", name]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut said = child.stdout.take().ok_or_else(|| Error::other("a model has no standard output"))?;
    let (over, is_over) = mpsc::channel();
    // Its standard output ends when it does, so a thread that reads it waits for the end itself.
    thread::spawn(move || {
        let _ = io::copy(&mut said, &mut io::sink());
        let _ = over.send(());
    });
    if is_over.recv_timeout(until.saturating_duration_since(Instant::now())).is_err() {
        child.kill()?;
        child.wait()?;
        return Ok(End::Hung);
    }
    let status = child.wait()?;
    Ok(match status.code() {
        Some(0) => End::Held,
        Some(FAILED) => End::Failed,
        _ => End::Aborted,
    })
}

/// A file with one token weakened.
#[derive(Debug)]
struct Mutant {
    file: PathBuf,
    number: usize,
    line: String,
    weakening: String,
    text: String,
}

impl Mutant {
    fn row(&self) -> String {
        format!("{:<36} | {:<21}", format!("{}:{}", self.file.display(), self.number), self.weakening)
    }

    /// The part of the models that is most likely to fail.
    fn module(&self) -> &'static str {
        match self.file.file_stem().and_then(|stem| stem.to_str()) {
            Some("spsc") => "ring::",
            Some("wake") => "wake::",
            Some("gate") => "gate::",
            Some("table" | "coalesce") => "table::",
            Some("publisher" | "swap") => "snapshot::",
            Some("board") => "board::",
            Some("latch") => "latch::",
            Some("operations") => "operations::",
            Some("ending") => "ending::",
            Some("inlet") => "signal::",
            _ => "cut::",
        }
    }
}

/// One mutant for each token of `text` that can be weakened, two for one that has two halves.
fn mutants_of(file: &Path, text: &str) -> Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    let mut in_use = false;
    let mut start = 0;
    let own_tests = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    for (at, line) in text[..own_tests].split_inclusive('\n').enumerate() {
        let code = line.split("//").next().unwrap_or("").trim_end();
        in_use |= ["use ", "pub use ", "pub(crate) use "].iter().any(|head| code.trim_start().starts_with(head));
        if in_use {
            in_use = !code.ends_with(';');
        } else {
            for (from, to, weaker) in weakenings(file, code)
                .map_err(|token| Error::other(format!("{}:{}: what is weaker than {token}?", file.display(), at + 1)))?
            {
                mutants.push(Mutant {
                    file: file.to_owned(),
                    number: at + 1,
                    line: code.trim().to_owned(),
                    weakening: format!("{} → {}", token_name(&code[from..to]), token_name(&weaker)),
                    text: format!("{}{weaker}{}", &text[..start + from], &text[start + to..]),
                });
            }
        }
        start += line.len();
    }
    if file == Path::new(CUT) && !mutants.iter().any(|mutant| mutant.line.contains(RETRY)) {
        return Err(Error::other(format!("{CUT} has no `{RETRY}`")));
    }
    Ok(mutants)
}

/// From where to where in a line of code, and what stands there instead; or a token that has no weaker one here.
fn weakenings(file: &Path, code: &str) -> std::result::Result<Vec<(usize, usize, String)>, String> {
    const RELAXED: &str = "Relaxed";
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut end = 0;
    for word in code.split(|c: char| !is_word(c)) {
        let start = end;
        end = start + word.len();
        let weaker: &[&str] = match word {
            "Release" | "Acquire" => &[RELAXED],
            "AcqRel" => &["Acquire", "Release"],
            "SeqCst" | "fence" => return Err(word.to_owned()),
            _ => &[],
        };
        // The file may not import the weaker one.
        let path = if code[..start].ends_with("::") { "" } else { "crate::sync::Ordering::" };
        found.extend(weaker.iter().map(|weaker| (start, end, format!("{path}{weaker}"))));
        let arguments = &code[end..];
        if matches!(word, "light" | "heavy") && arguments.starts_with("()") && code[..start].ends_with('.') {
            let receiver = code[..start].rfind(|c: char| !is_word(c) && c != '.').map_or(0, |before| before + 1);
            found.push((receiver, end + "()".len(), "()".to_owned()));
        }
        // The stand-in's releases, which its control arms weaken.
        if word == "release" && code[..start].ends_with("weak::") {
            let close = arguments.find(')').ok_or("weak::release")?;
            found.push((start - "weak::".len(), end + close + 1, format!("crate::sync::Ordering::{RELAXED}")));
        }
        end += code[end..].chars().next().map_or(0, char::len_utf8);
    }
    if file == Path::new(CUT)
        && let Some(start) = code.find(RETRY)
    {
        found.push((start, start + RETRY.len(), "if true".to_owned()));
    }
    Ok(found)
}

/// A token as the table shows it: an ordering without its path, a barrier without its receiver.
fn token_name(token: &str) -> &str {
    match token {
        "()" => "nothing",
        _ if token.starts_with("weak::release") => "Release",
        _ => token.rsplit("::").next().and_then(|name| name.rsplit('.').next()).unwrap_or(token),
    }
}

/// The sources in a folder of their own, which goes with it.
struct Copy {
    folder: PathBuf,
}

enum Build {
    /// The test binary.
    Done(PathBuf),
    Refused,
}

impl Copy {
    fn new(root: PathBuf) -> Result<Self> {
        let folder = env::temp_dir().join(format!("mainlane-teeth-{}", std::process::id()));
        fs::create_dir(&folder)?;
        // From here on dropped, and so removed, when something fails. Paths are compared, so without links.
        let copy = Self { folder: folder.canonicalize()? };
        copy_folder(&root.join("src"), &copy.folder.join("src"))?;
        copy_folder(&root.join("loom-tests"), &copy.folder.join("loom-tests"))?;
        fs::copy(root.join("Cargo.lock"), copy.folder.join("Cargo.lock"))?;
        // The workspace, its lints and profiles, without the engine's own package and members that are not copied.
        let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
        let mut kept = false;
        let workspace: Vec<_> = manifest
            .lines()
            .filter(|line| {
                if line.starts_with('[') {
                    kept = line.starts_with("[workspace") || line.starts_with("[profile");
                }
                kept
            })
            .map(|line| if line.starts_with("members = ") { "members = [\"loom-tests\"]" } else { line })
            .collect();
        fs::write(copy.folder.join("Cargo.toml"), workspace.join("\n"))?;
        Ok(copy)
    }

    /// Compiles the models, and makes sure that it did.
    fn build(&self) -> Result<Build> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["test", "--offline", "--package", "loom-tests", "--test", "models", "--no-run"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TERM_QUIET", "false")
            // An import that a mutant does not use is no error.
            .env("RUSTFLAGS", "--cap-lints=warn")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !said.contains("Compiling loom-tests ") {
            return Err(Error::other(format!("nothing was compiled:\n{said}")));
        }
        if !output.status.success() {
            eprintln!("{said}");
            return Ok(Build::Refused);
        }
        let binary = said.lines().find_map(|line| line.trim().strip_prefix("Executable ")?.split('(').nth(1));
        match binary.and_then(|path| path.strip_suffix(')')) {
            Some(path) => Ok(Build::Done(self.folder.join(path))),
            None => Err(Error::other(format!("no test binary is named:\n{said}"))),
        }
    }

    /// The engine's files that the models compile, as the compiler noted them, and the stand-in.
    fn protocol_files(&self, models: &Path) -> Result<Vec<PathBuf>> {
        let mut files = vec![PathBuf::from(STAND_IN)];
        for entry in fs::read_dir(models.with_file_name(""))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !(name.starts_with("loom_tests-") && name.ends_with(".d")) {
                continue;
            }
            for file in fs::read_to_string(&path)?.split_whitespace().filter(|word| word.ends_with(".rs")) {
                let file = self.folder.join(file).canonicalize()?;
                if let Ok(inside) = file.strip_prefix(&self.folder)
                    && inside.starts_with("src")
                {
                    files.push(inside.to_owned());
                }
            }
        }
        files.sort();
        files.dedup();
        if !files.iter().any(|file| file == Path::new(CUT)) {
            return Err(Error::other("the compiler's list of files lacks those of the protocols"));
        }
        Ok(files)
    }

    /// Builds a mutant, runs the models until one fails, and puts the file back.
    fn outcome(&self, mutant: &Mutant, timed: &[(String, Duration)], deadline: Duration) -> Result<String> {
        let file = self.folder.join(&mutant.file);
        let original = fs::read_to_string(&file)?;
        fs::write(&file, &mutant.text)?;
        let build = self.build()?;
        fs::write(&file, original)?;
        let Build::Done(models) = build else { return Ok("ERROR: does not compile".to_owned()) };

        let mut order: Vec<_> = timed.iter().collect();
        order.sort_by_key(|(name, took)| (!name.starts_with(mutant.module()), *took));
        let until = Instant::now() + deadline;
        for (name, _) in order {
            match run(&models, name, until)? {
                End::Held => {}
                End::Failed => return Ok(format!("caught by {name}")),
                End::Aborted => return Ok(format!("caught (abort) by {name}")),
                End::Hung => return Ok(format!("caught (did not end) by {name}")),
            }
        }
        Ok("SURVIVED".to_owned())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("teeth: {} is left: {error}", self.folder.display());
        }
    }
}

/// Without programs such as this one, which no model needs.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if !path.is_dir() {
            fs::write(to.join(name), fs::read(&path)?)?;
        } else if name != "bin" && name != "target" {
            copy_folder(&path, &to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(file: &str, text: &str) -> Vec<(usize, String)> {
        let mutants = mutants_of(Path::new(file), text).unwrap();
        mutants.into_iter().map(|mutant| (mutant.number, mutant.weakening)).collect()
    }

    #[test]
    fn every_token_of_the_code_is_weakened_and_nothing_else() {
        let text = "//! Release\nuse a::{\n    Ordering::{Acquire, Release},\n};\n\
            x.store(1, Release); // Acquire\nx.swap(Ordering::AcqRel);\n\
            self.store_load.light();\nx.store(1, weak::release(Weak::Cell));\n\
            #[cfg(test)]\nmod tests { Acquire }\n";
        let expected = [
            (5, "Release → Relaxed"),
            (6, "AcqRel → Acquire"),
            (6, "AcqRel → Release"),
            (7, "light() → nothing"),
            (8, "Release → Relaxed"),
        ];
        assert_eq!(rows("src/a.rs", text), expected.map(|(number, weakening)| (number, weakening.to_owned())));
    }

    #[test]
    fn a_mutant_differs_in_its_token_only() {
        let of = |text: &str| mutants_of(Path::new("src/a.rs"), text).unwrap().remove(0).text;
        assert_eq!(of("a\nx.load(Acquire) b\n"), "a\nx.load(crate::sync::Ordering::Relaxed) b\n");
        assert_eq!(of("x.load(Ordering::Acquire)"), "x.load(Ordering::Relaxed)");
        assert_eq!(of("    self.store_load.heavy();\n"), "    ();\n");
        assert_eq!(of("x(weak::release(Weak::Cell));"), "x(crate::sync::Ordering::Relaxed);");
    }

    #[test]
    fn what_the_tool_does_not_know_is_an_error() {
        assert!(mutants_of(Path::new("src/a.rs"), "x.load(SeqCst)").is_err());
        assert!(mutants_of(Path::new("src/a.rs"), "fence(Acquire)").is_err());
        assert!(mutants_of(Path::new(CUT), "loop {}").is_err());
        assert_eq!(rows(CUT, "if !added {"), [(1, "if !added → if true".to_owned())]);
    }
}
