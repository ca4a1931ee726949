//! One command on a pseudo-terminal of its own, as a source.
//!
//! The child believes that it talks to a terminal: it colours, draws progress bars and rings the bell as it would for
//! a user. Its output is read, counted and searched for what it says about itself ([`Terminal`]); it is not drawn.
//!
//! # How a pane ends
//! - The usual way: the child exits, nothing has the terminal open any more, and reading it says so.
//! - A background process keeps the terminal open: once the child has exited and the terminal has been silent for
//!   [`SILENCE`], the pane ends. What that process writes later is not read.
//! - The child closes its terminal but runs on, as a daemon does: the pane lasts until it exits.
//!
//! In every case [`PaneEvent::Exited`] is the last event, and comes after all output that was read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filedescriptor::FileDescriptor;
use portable_pty::{ChildKiller, CommandBuilder, MasterPty, PtyPair, PtySize, native_pty_system};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

use super::event::{Exit, PaneEvent, PaneId, WorkspaceEvent};
use super::terminal::{Mark, Terminal, TerminalReading};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::{Operation, OperationId, Outlet, Phase, Polled, Source, SourceError};

/// How much one poll reads at most, and the size of the buffer it reads into.
const READ_BYTES: usize = 64 * 1024;
/// The longest wait for output in one poll, so that a lane that closes is never held up for longer.
const WAIT: Duration = Duration::from_millis(50);
/// How long a terminal has to be silent after its child's exit before it is given up.
const SILENCE: Duration = Duration::from_millis(100);
/// How often a child that has closed its terminal is asked whether it has exited.
const EXIT_CHECK: Duration = Duration::from_millis(10);

const SHELL: &str = "/bin/sh";

/// Numbers panes that were given no number. It hands out names and guards nothing.
static NEXT_PANE: AtomicU64 = AtomicU64::new(1);

/// One command on a pseudo-terminal, from its start to its exit.
///
/// The command runs through `sh -c`, in a session of its own with the terminal as its controlling one. The terminal
/// does not turn `\n` into `\r\n`, so that counts are those of what the command wrote, unless the command itself asks
/// for it. Nobody types: a command that reads its input waits.
///
/// Dropping the source hangs up on a command that still runs (`SIGHUP`), kills it if that is not enough within a
/// quarter of a second, kills what is left of its process group, and waits for it, so that no zombie stays behind. A process
/// that has a session of its own, by `setsid`, survives.
pub struct PtySource {
    pane: PaneId,
    command: Arc<str>,
    folder: Option<Arc<Path>>,
    /// Ended by `drop`, before the terminal is closed.
    child: process::Child,
    /// Our own duplicate of the controlling end, which does not block.
    descriptor: FileDescriptor,
    /// Keeps the pseudo-terminal as its library knows it.
    _master: Box<dyn MasterPty + Send>,
    terminal: Terminal,
    buffer: Box<[u8]>,
    last_line: Arc<str>,
    operation: OperationId,
    next_sequence: u64,
    stage: Stage,
}

/// How far a pane has come.
#[derive(Clone, Debug)]
enum Stage {
    /// The child runs, and nothing was emitted yet.
    Spawned,
    /// The child runs, as far as is known.
    Running,
    /// The child has exited; there may be output left.
    Exited { exit: Exit, silent_since: Instant },
    /// Everything was emitted.
    Ended,
}

/// What there is to read.
enum Output {
    /// Something was read.
    Read,
    /// Nothing came for as long as a poll waits.
    Silence,
    /// Nobody has the terminal open.
    HungUp,
}

/// The options of a pane; see [`PtySource::builder`].
#[derive(Clone, Debug)]
pub struct PtyBuilder {
    command: String,
    shell: PathBuf,
    pane: Option<PaneId>,
    operation: Option<OperationId>,
    size: PtySize,
    folder: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
}

impl PtyBuilder {
    /// The pane's number. Without one, the pane is given the next that this process has not given out.
    pub fn pane(mut self, pane: PaneId) -> Self {
        self.pane = Some(pane);
        self
    }

    /// The operation that the run of the command is. Without one, its number is the pane's.
    ///
    /// A pane that runs a second command, as after a restart, needs a new one: an operation that has ended is sealed.
    pub fn operation(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }

    /// The size of the terminal, in characters; 24 rows of 80 columns if it is not said.
    pub fn size(mut self, rows: u16, columns: u16) -> Self {
        self.size = PtySize { rows, cols: columns, ..self.size };
        self
    }

    /// The folder to run in; that of this process if it is not said.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets a variable of the command's environment, on top of what this process has. `TERM` is `xterm-256color` if it
    /// is not said.
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The shell that runs the command, `/bin/sh` if it is not said. It has to understand `-c`.
    pub fn shell(mut self, shell: impl Into<PathBuf>) -> Self {
        self.shell = shell.into();
        self
    }

    /// Starts the command.
    ///
    /// # Errors
    /// When the folder or the shell is missing, or the system has no pseudo-terminal or no process left to give. That
    /// the command itself does not exist shows later, as exit code 127.
    pub fn spawn(self) -> io::Result<PtySource> {
        let folder = self.start_folder()?;
        self.check_shell()?;
        let PtyPair { slave, master } = native_pty_system().openpty(self.size).map_err(|error| {
            io::Error::other(format!("no pseudo-terminal to be had: {error}; see /proc/sys/kernel/pty/max"))
        })?;
        let descriptor = own_descriptor(&*master)?;
        keep_line_ends(&descriptor)?;
        let child = slave
            .spawn_command(self.command_in(&folder))
            .map_err(|error| io::Error::other(format!("cannot start `{}`: {error}", self.command)))?;
        // Only the child may hold that end open, or its closing would never be seen.
        drop(slave);
        let child: Box<dyn portable_pty::Child> = child;
        let child = child
            .downcast::<process::Child>()
            .map_err(|_| io::Error::other("the pseudo-terminal did not start a process of this system"))?;

        let pane = self.pane.unwrap_or_else(|| PaneId(NEXT_PANE.fetch_add(1, Relaxed)));
        Ok(PtySource {
            pane,
            command: self.command.into(),
            folder: Some(folder.into()),
            child: *child,
            descriptor,
            _master: master,
            terminal: Terminal::new(),
            buffer: vec![0; READ_BYTES].into(),
            last_line: Arc::from(""),
            operation: self.operation.unwrap_or(OperationId(pane.0)),
            next_sequence: 0,
            stage: Stage::Spawned,
        })
    }

    fn start_folder(&self) -> io::Result<PathBuf> {
        let Some(folder) = &self.folder else { return std::env::current_dir() };
        match folder.metadata() {
            Ok(metadata) if metadata.is_dir() => std::path::absolute(folder),
            Ok(_) => {
                let message = format!("cannot run in {}: it is not a folder", folder.display());
                Err(io::Error::new(io::ErrorKind::NotADirectory, message))
            }
            Err(error) => {
                Err(io::Error::new(error.kind(), format!("cannot run in the folder {}: {error}", folder.display())))
            }
        }
    }

    fn check_shell(&self) -> io::Result<()> {
        let problem = |error: io::Error| {
            io::Error::new(error.kind(), format!("the shell {} cannot be used: {error}", self.shell.display()))
        };
        let metadata = self.shell.metadata().map_err(problem)?;
        if metadata.is_file() { Ok(()) } else { Err(problem(io::ErrorKind::IsADirectory.into())) }
    }

    fn command_in(&self, folder: &Path) -> CommandBuilder {
        let mut command = CommandBuilder::new(&self.shell);
        command.args(["-c", &self.command]);
        command.cwd(folder);
        command.env("TERM", "xterm-256color");
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }
}

impl PtySource {
    /// Starts `command` with the usual options.
    ///
    /// # Errors
    /// See [`PtyBuilder::spawn`].
    pub fn spawn(command: &str) -> io::Result<PtySource> {
        Self::builder(command).spawn()
    }

    /// Options for a pane that will run `command`.
    pub fn builder(command: &str) -> PtyBuilder {
        PtyBuilder {
            command: command.to_owned(),
            shell: SHELL.into(),
            pane: None,
            operation: None,
            size: PtySize::default(),
            folder: None,
            environment: Vec::new(),
        }
    }

    /// The pane's number.
    pub fn pane(&self) -> PaneId {
        self.pane
    }

    /// The process id of the shell that runs the command.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    fn start(&mut self, outlet: &mut Outlet<WorkspaceEvent>) {
        let operation = self.next_operation(Phase::Started);
        let (pane, command, folder) = (self.pane, Arc::clone(&self.command), self.folder.clone());
        outlet.push(WorkspaceEvent::Pane(PaneEvent::Started { pane, command, folder, operation }));
        self.stage = Stage::Running;
    }

    fn next_operation(&mut self, phase: Phase) -> Operation {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Operation { id: self.operation, sequence, phase }
    }

    /// Reads what is there, up to a limit; waits for a while if there is nothing.
    fn read(&mut self) -> io::Result<Output> {
        match self.read_what_is_there()? {
            Output::Silence if self.wait_for_output()? => self.read_what_is_there(),
            output => Ok(output),
        }
    }

    fn read_what_is_there(&mut self) -> io::Result<Output> {
        let mut total = 0;
        while total < READ_BYTES {
            match rustix::io::read(&self.descriptor, &mut self.buffer[..READ_BYTES - total]) {
                Ok(0) | Err(Errno::IO) if total == 0 => return Ok(Output::HungUp),
                Ok(0) | Err(Errno::IO) => break,
                Ok(count) => {
                    self.terminal.advance(&self.buffer[..count]);
                    total += count;
                }
                Err(Errno::AGAIN) if total == 0 => return Ok(Output::Silence),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Output::Read)
    }

    fn wait_for_output(&self) -> io::Result<bool> {
        let mut descriptors = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: WAIT.subsec_nanos().into() };
        match rustix::event::poll(&mut descriptors, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Emits what was read since the last time: what the program said about itself, then how much it wrote.
    fn emit(&mut self, outlet: &mut Outlet<WorkspaceEvent>) {
        let pane = self.pane;
        let TerminalReading { bytes, lines, bells, title, folder, marks, text } = self.terminal.take();
        let said = title
            .map(|title| PaneEvent::Title { pane, title })
            .into_iter()
            .chain(folder.map(|folder| PaneEvent::WorkingDirectory { pane, folder }))
            .chain(marks.into_iter().map(|mark| marked(pane, mark)))
            .chain((bells > 0).then_some(PaneEvent::Bell { pane, count: bells }));
        for event in said {
            outlet.push(WorkspaceEvent::Pane(event));
        }
        let last_line = self.newest_line();
        let operation = self.next_operation(Phase::Progress);
        outlet.push(WorkspaceEvent::Pane(PaneEvent::Output { pane, bytes, lines, last_line, text, operation }));
    }

    fn newest_line(&mut self) -> Arc<str> {
        let line = self.terminal.last_line();
        if *self.last_line != *line {
            self.last_line = line.into();
        }
        Arc::clone(&self.last_line)
    }

    /// Goes on after a silence: ends when the child has exited and been silent for long enough.
    fn silent(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> io::Result<Polled> {
        match self.exit()? {
            Some((exit, silent_since)) if silent_since.elapsed() >= SILENCE => Ok(self.end(exit, outlet)),
            Some(_) | None => Ok(Polled::Ready),
        }
    }

    /// Goes on after the terminal was closed: ends as soon as the child has exited.
    fn hung_up(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> io::Result<Polled> {
        match self.exit()? {
            Some((exit, _)) => Ok(self.end(exit, outlet)),
            None => Ok(Polled::Until(Instant::now() + EXIT_CHECK)),
        }
    }

    /// How the child ended and since when its terminal is silent; `None` while it runs.
    fn exit(&mut self) -> io::Result<Option<(Exit, Instant)>> {
        if let Stage::Exited { exit, silent_since } = &self.stage {
            return Ok(Some((exit.clone(), *silent_since)));
        }
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let (exit, silent_since) = (exit_of(status), Instant::now());
        self.stage = Stage::Exited { exit: exit.clone(), silent_since };
        Ok(Some((exit, silent_since)))
    }

    fn end(&mut self, exit: Exit, outlet: &mut Outlet<WorkspaceEvent>) -> Polled {
        let operation = self.next_operation(Phase::Terminal);
        outlet.push(WorkspaceEvent::Pane(PaneEvent::Exited { pane: self.pane, exit, operation }));
        self.stage = Stage::Ended;
        Polled::Done
    }

    fn note_output(&mut self) {
        if let Stage::Exited { silent_since, .. } = &mut self.stage {
            *silent_since = Instant::now();
        }
    }
}

impl Source for PtySource {
    type Event = WorkspaceEvent;

    fn poll(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<Polled, SourceError> {
        match self.stage {
            Stage::Ended => return Ok(Polled::Done),
            Stage::Spawned => self.start(outlet),
            Stage::Running | Stage::Exited { .. } => {}
        }
        match self.read()? {
            Output::Read => {
                self.note_output();
                self.emit(outlet);
                Ok(Polled::Ready)
            }
            Output::Silence => Ok(self.silent(outlet)?),
            Output::HungUp => Ok(self.hung_up(outlet)?),
        }
    }
}

impl Drop for PtySource {
    fn drop(&mut self) {
        match self.stage {
            Stage::Spawned | Stage::Running => {
                // Fails only if the child has just exited by itself; waiting is right in both cases.
                let _ = ChildKiller::kill(&mut self.child);
                // Whatever of its process group did not mind being hung up on.
                if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = self.child.wait();
            }
            Stage::Exited { .. } | Stage::Ended => {}
        }
    }
}

fn marked(pane: PaneId, mark: Mark) -> PaneEvent {
    match mark {
        Mark::PromptStarted => PaneEvent::PromptStarted { pane },
        Mark::CommandStarted => PaneEvent::CommandStarted { pane },
        Mark::CommandFinished { exit_code } => PaneEvent::CommandFinished { pane, exit_code },
    }
}

fn exit_of(status: process::ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, number) => {
            let name = portable_pty::ExitStatus::from(status);
            Exit::Signal { number: number.unwrap_or_default(), name: name.signal().unwrap_or("unknown").into() }
        }
    }
}

/// A duplicate of the controlling end that does not block, and that can be waited for.
fn own_descriptor(master: &dyn MasterPty) -> io::Result<FileDescriptor> {
    let raw = master.as_raw_fd().ok_or_else(|| io::Error::other("the pseudo-terminal has no descriptor"))?;
    let mut descriptor = FileDescriptor::dup(&raw).map_err(io::Error::other)?;
    descriptor.set_non_blocking(true).map_err(io::Error::other)?;
    Ok(descriptor)
}

/// Has the terminal pass `\n` on as it is: nobody lays its output out on a screen, and it is to be counted exactly.
fn keep_line_ends(terminal: &FileDescriptor) -> io::Result<()> {
    let mut modes = tcgetattr(terminal)?;
    modes.output_modes.remove(OutputModes::ONLCR);
    Ok(tcsetattr(terminal, OptionalActions::Now, &modes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::SCROLLBACK_LINES;
    use crate::workspace::state::{Pane, PaneState};
    use crate::workspace::testing::Bench;
    use crate::{Event, Phase};

    fn bench(command: &str) -> Bench<PtySource> {
        Bench::new(PtySource::spawn(command).expect("a pseudo-terminal"))
    }

    /// Runs a command to its end.
    fn run(command: &str) -> (Pane, Vec<WorkspaceEvent>) {
        let mut bench = bench(command);
        let pane = bench.source.pane();
        bench.poll_to_the_end();
        (Pane::clone(&bench.state().model.panes[&pane]), bench.events)
    }

    fn exits_with(command: &str) -> PaneState {
        run(command).0.state
    }

    #[test]
    fn lines_and_bytes_are_counted_exactly() {
        let (pane, events) = run("seq 1 100000");
        assert_eq!((pane.lines, pane.bytes, &*pane.last_line), (100_000, 588_895, "100000"));
        let newest: Vec<_> = (100_001 - SCROLLBACK_LINES..=100_000).map(|line| line.to_string()).collect();
        assert_eq!(pane.scrollback.lines().collect::<Vec<_>>(), newest);
        assert_eq!(pane.state, PaneState::Exited(Exit::Code(0)));
        assert!(events.len() < 20_000, "one output for each poll, not for each line: {}", events.len());
    }

    #[test]
    fn output_without_lines_is_counted_exactly() {
        let (pane, _) = run("head -c 5000000 /dev/zero | tr '\\0' x");
        assert_eq!((pane.bytes, pane.lines, pane.last_line.len()), (5_000_000, 0, 512));
    }

    #[test]
    fn exit_codes_are_exact() {
        assert_eq!(exits_with("exit 3"), PaneState::Exited(Exit::Code(3)));
        assert_eq!(exits_with("no-such-program-here"), PaneState::Exited(Exit::Code(127)));
        let PaneState::Exited(Exit::Signal { number, name }) = exits_with("kill -9 $$") else { panic!("no signal") };
        assert_eq!((number, &*name), (9, "Killed"));
    }

    #[test]
    fn the_run_is_an_operation_without_gaps_that_ends_once() {
        let (_, events) = run("seq 1 5000");
        let operations: Vec<Operation> = events.iter().filter_map(Event::operation).collect();
        assert!(operations.iter().map(|operation| operation.sequence).eq(0..operations.len() as u64));
        assert_eq!(operations.first().unwrap().phase, Phase::Started);
        assert_eq!(operations.last().unwrap().phase, Phase::Terminal);
        let inner = &operations[1..operations.len() - 1];
        assert!(!inner.is_empty() && inner.iter().all(|operation| operation.phase == Phase::Progress));
        assert!(matches!(events.last(), Some(WorkspaceEvent::Pane(PaneEvent::Exited { .. }))));
    }

    #[test]
    fn what_the_program_says_about_itself_arrives() {
        let (pane, events) =
            run(r"printf '\033]2;a title\007\033]7;file:///srv/a%%20b\033\\\033]133;C\007hi\n\033]133;D;4\007'");
        assert_eq!((&*pane.title, &*pane.last_line), ("a title", "hi"));
        assert_eq!(pane.working_directory(), Some(Path::new("/srv/a b")));
        assert_eq!((pane.commands, pane.last_exit_code), (1, Some(4)));
        assert!(events.iter().any(|event| event.kind() == "pane.command-started"));
    }

    #[test]
    fn a_storm_of_bells_is_counted_in_few_events() {
        let (pane, events) = run("yes $(printf '\\a') | head -n 20000");
        assert_eq!(pane.bells, 20_000);
        assert!(events.len() < 5_000, "{}", events.len());
    }

    #[test]
    fn it_runs_where_it_is_told_to_and_sees_a_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let builder = PtySource::builder("pwd -P; stty size; echo $COLOUR; test -t 1").folder(folder.path());
        let mut bench = Bench::new(builder.size(7, 33).variable("COLOUR", "blue").pane(PaneId(900)).spawn().unwrap());
        bench.poll_to_the_end();
        let pane = &bench.state().model.panes[&PaneId(900)];
        assert_eq!(pane.working_directory(), Some(folder.path()));
        assert_eq!((pane.lines, &*pane.last_line), (3, "blue"));
        assert_eq!(pane.state, PaneState::Exited(Exit::Code(0)));
        let expected = folder.path().canonicalize().unwrap().as_os_str().len() + "\n7 33\nblue\n".len();
        assert_eq!(pane.bytes, expected as u64);
    }

    #[test]
    fn a_missing_folder_or_shell_is_said_at_once() {
        let error = PtySource::builder("true").folder("/no/such/folder").spawn().err().unwrap();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
        let error = PtySource::builder("true").folder("/dev/null").spawn().err().unwrap();
        assert!(error.to_string().contains("not a folder"), "{error}");
        let error = PtySource::builder("true").shell("/no/such/shell").spawn().err().unwrap();
        assert!(error.to_string().contains("/no/such/shell"), "{error}");
    }

    #[test]
    fn a_background_process_does_not_keep_the_pane_alive() {
        // Its number is the last line, so that the test can end it.
        let (pane, _) = run("trap '' HUP; sleep 1000 & echo $!");
        assert_eq!(pane.state, PaneState::Exited(Exit::Code(0)));
        process::Command::new("kill").args(["-9", &pane.last_line]).status().unwrap();
    }

    #[test]
    fn a_child_without_its_terminal_is_waited_for() {
        let (pane, _) = run("echo up; exec >/dev/null 2>&1 </dev/null; sleep 0.3; exit 5");
        assert_eq!((&*pane.last_line, pane.state), ("up", PaneState::Exited(Exit::Code(5))));
    }

    #[test]
    fn dropping_the_source_ends_and_reaps_a_stubborn_child() {
        let mut bench = bench("trap '' HUP; echo ready; while :; do sleep 0.05; done");
        bench.poll_until("the first line", |events| events.iter().any(|event| event.kind() == "pane.output"));
        let process = bench.source.process_id();
        drop(bench);
        assert!(!Path::new("/proc").join(process.to_string()).exists(), "the child is gone, not a zombie");
    }

    #[test]
    fn a_source_that_was_never_polled_is_dropped_as_well() {
        let source = PtySource::spawn("sleep 1000").unwrap();
        let process = source.process_id();
        drop(source);
        assert!(!Path::new("/proc").join(process.to_string()).exists());
    }
}
