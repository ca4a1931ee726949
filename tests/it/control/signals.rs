//! A host is a process of its own: this test binary again, asked for the one test that plays it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use mainlane::control::{CancellationToken, stop_on_signals};

use super::*;
use crate::domain::until;

const PART: &str = "MAINLANE_SIGNALS_PART";
const THREAD: &str = "mainlane signal";

/// What a host is like that is sent signals.
#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn host() {
    let Ok(part) = std::env::var(PART) else { return };
    let token = CancellationToken::new();
    let guard = stop_on_signals(token.clone()).unwrap();
    match part.as_str() {
        "shuts down" => {
            let (mut running, handle) = pipeline();
            let mut panel = ControlPanel::builder().stop_with(token, PATIENCE).start().unwrap();
            panel.worker(&handle, "pushes", || Ok(Pushes(1))).start().unwrap();
            println!("listening");
            assert!(panel.wait_for_shutdown(deadline()).unwrap().complete);
            assert!(panel.shutdown(PATIENCE).complete && running.shutdown(PATIENCE).complete);
            until("the end of the thread, which has heard what it was there for", || threads_named(THREAD) == 0);
        }
        "hangs" => {
            println!("listening");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(token.cancelled());
            println!("shutting down");
            hang();
        }
        "hangs in the token" => {
            let hung = token.clone();
            std::thread::spawn(move || {
                struct Hangs(CancellationToken);
                impl std::task::Wake for Hangs {
                    fn wake(self: Arc<Self>) {
                        println!("shutting down");
                        assert!(self.0.is_cancelled());
                        hang();
                    }
                }
                let waker = Arc::new(Hangs(hung.clone())).into();
                let mut cancelled = std::pin::pin!(hung.cancelled());
                assert!(cancelled.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
                println!("listening");
                hang();
            });
            hang();
        }
        "has stopped listening" => {
            until("the thread", || threads_named(THREAD) == 1);
            drop(guard);
            until("the end of the thread", || threads_named(THREAD) == 0);
            println!("listening");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            assert!(!token.is_cancelled());
            // Others can be told from now on.
            let guard = stop_on_signals(token.clone()).unwrap();
            println!("listening again");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(token.cancelled());
            drop(guard);
            println!("has heard one");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            println!("has ended by itself");
        }
        part => panic!("there is no part `{part}`"),
    }
}

/// Until it is ended, or nobody can be expected to do that any more.
fn hang() -> ! {
    let patience = deadline();
    while Instant::now() < patience {
        std::thread::park_timeout(patience.saturating_duration_since(Instant::now()));
    }
    panic!("nobody ended it");
}

/// A process that plays the host.
struct Host {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Host {
    /// Returns when it listens for signals.
    fn start(part: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "control::signals::host", "--ignored", "--nocapture"])
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut host = Self { child, stdin, stdout };
        host.until("listening");
        host
    }

    /// Waits until it says this.
    fn until(&mut self, expected: &str) {
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it never said: {expected}");
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self) -> ExitStatus {
        drop(self.stdin);
        // What else it says need not fit into a pipe.
        for line in self.stdout.lines() {
            line.unwrap();
        }
        self.child.wait().unwrap()
    }
}

#[test]
fn the_first_signal_shuts_the_panel_down() {
    for signal in ["INT", "TERM", "HUP"] {
        let host = Host::start("shuts down");
        host.signal(signal);
        assert!(host.end().success(), "{signal}");
    }
}

#[test]
fn the_second_signal_ends_the_process_whatever_it_is_doing() {
    for part in ["hangs", "hangs in the token"] {
        for (first, second, number) in [("TERM", "INT", 2), ("HUP", "HUP", 1), ("INT", "TERM", 15)] {
            let mut host = Host::start(part);
            host.signal(first);
            host.until("shutting down");
            host.signal(second);
            assert_eq!(host.end().signal(), Some(number), "{part}: {first}, {second}");
        }
    }
}

#[test]
fn when_the_guard_is_dropped_signals_do_nothing_and_can_be_listened_for_anew() {
    let mut host = Host::start("has stopped listening");
    host.signal("TERM");
    host.signal("INT");
    host.stdin.write_all(b"\n").unwrap();
    host.until("listening again");
    host.signal("TERM");
    host.until("has heard one");
    host.signal("TERM");
    host.stdin.write_all(b"\n").unwrap();
    host.until("has ended by itself");
    assert!(host.end().success());
}
