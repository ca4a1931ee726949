//! The slow, obviously right twin of the terminal: byte by byte, through a small automaton of its own.
//!
//! It knows neither the parser that the terminal is built on nor any of the terminal's shortcuts, and it is given the
//! whole output at once, so it cannot depend on where that is cut.

use std::ffi::OsString;
use std::mem;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::terminal::{Mark, TerminalReading};

/// What is promised of the line, of command strings and of titles.
const LINE_BYTES: usize = 512;
const STRING_BYTES: usize = 16 * 1024;
const TITLE_CHARACTERS: usize = 256;
/// A command string has this many parts at most. What comes after the last is dropped.
const PARTS_MAX: usize = 16;

/// What the output amounts to but for its lines; and the newest line and all lines that were ended, unless the text in it
/// is no text: then it depends on who reads what.
pub(super) fn slowly(bytes: &[u8], host: &str) -> (TerminalReading, Option<(String, String)>) {
    let mut twin = Twin { host, ..Twin::default() };
    for byte in bytes {
        twin.byte(*byte);
    }
    twin.reading.bytes = bytes.len() as u64;
    twin.reading.lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    let lines = twin.last_line().map(|line| (line, mem::take(&mut twin.ended)));
    (twin.reading, lines)
}

#[derive(Default)]
struct Twin<'a> {
    host: &'a str,
    state: State,
    reading: TerminalReading,
    line: Vec<u8>,
    returned: bool,
    finished: Vec<u8>,
    ended: String,
    /// All text so far, with an escape where there was one.
    text: Vec<u8>,
}

/// What the bytes before make of the next one.
#[derive(Default)]
enum State {
    #[default]
    Text,
    Escape,
    /// An escape and intermediates: `ESC ( B`.
    EscapeIntermediate,
    /// `ESC [`, up to a final byte.
    Control,
    /// `ESC P`: parameters, intermediates, and then data, which alone may be ended by one byte.
    Device(Device),
    /// `ESC ]`: what was kept of it, and how long it is.
    Command {
        kept: Vec<u8>,
        length: usize,
    },
    /// Up to an escape, whatever it says: `ESC X`, `ESC ^`, `ESC _`, a malformed `ESC P`.
    Ignored,
    /// A command that was given up.
    Overlong,
}

enum Device {
    Parameters { begun: bool },
    Intermediates,
    Data,
}

impl Twin<'_> {
    fn byte(&mut self, byte: u8) {
        if matches!(byte, 0x18 | 0x1A | 0x1B) {
            // Ends anything.
            if let State::Command { kept, .. } = mem::take(&mut self.state) {
                self.command(&kept);
            }
            self.text.push(0x1B);
            self.state = if byte == 0x1B { State::Escape } else { State::Text };
            return;
        }
        self.state = match mem::take(&mut self.state) {
            State::Text => {
                self.shown(byte);
                State::Text
            }
            State::Escape => match byte {
                0x00..=0x1F => self.control(byte, State::Escape),
                0x20..=0x2F => State::EscapeIntermediate,
                b'P' => State::Device(Device::Parameters { begun: false }),
                b'X' | b'^' | b'_' => State::Ignored,
                b'[' => State::Control,
                b']' => State::Command { kept: Vec::new(), length: 0 },
                0x30..=0x7E => State::Text,
                0x7F..=0xFF => State::Escape,
            },
            State::EscapeIntermediate => match byte {
                0x00..=0x1F => self.control(byte, State::EscapeIntermediate),
                0x30..=0x7E => State::Text,
                0x20..=0x2F | 0x7F..=0xFF => State::EscapeIntermediate,
            },
            State::Control => match byte {
                0x00..=0x1F => self.control(byte, State::Control),
                0x40..=0x7E => State::Text,
                0x20..=0x3F | 0x7F..=0xFF => State::Control,
            },
            State::Device(device) => device_string(device, byte),
            State::Command { kept, .. } if byte == 0x07 => {
                self.command(&kept);
                State::Text
            }
            State::Command { length: STRING_BYTES, .. } => State::Overlong,
            State::Command { mut kept, length } => {
                if byte >= 0x20 {
                    kept.push(byte);
                }
                State::Command { kept, length: length + 1 }
            }
            State::Overlong if byte == 0x07 => State::Text,
            other @ (State::Ignored | State::Overlong) => other,
        };
    }

    /// A control character within a sequence means what it means elsewhere.
    fn control(&mut self, byte: u8, state: State) -> State {
        self.shown(byte);
        state
    }

    fn shown(&mut self, byte: u8) {
        match byte {
            0x07 => self.reading.bells += 1,
            b'\r' => self.returned = true,
            b'\n' => {
                self.ended += &readable(&self.line);
                self.ended.push('\n');
                if !self.line.is_empty() {
                    self.finished = mem::take(&mut self.line);
                }
                self.returned = false;
            }
            b'\t' | 0x20..=0x7E | 0x80..=0xFF => {
                if mem::take(&mut self.returned) {
                    self.line.clear();
                }
                if self.line.len() < LINE_BYTES {
                    self.line.push(byte);
                }
            }
            0x00..=0x1F | 0x7F => {}
        }
        self.text.push(byte);
    }

    fn command(&mut self, kept: &[u8]) {
        let parts: Vec<&[u8]> = kept.split(|byte| *byte == b';').collect();
        let is_whole = parts.len() < PARTS_MAX;
        let parts = &parts[..parts.len().min(PARTS_MAX)];
        match parts[0] {
            b"0" | b"2" => {
                let title = readable(&parts[1..].join(&b';'));
                self.reading.title = Some(title.chars().take(TITLE_CHARACTERS).collect::<String>().into());
            }
            b"7" => {
                if let Some(folder) = self.folder(&parts[1..].join(&b';')).filter(|_| is_whole) {
                    self.reading.folder = Some(folder.into());
                }
            }
            b"133" => self.reading.marks.extend(mark(&parts[1..])),
            _ => {}
        }
    }

    fn folder(&self, url: &[u8]) -> Option<PathBuf> {
        let rest = url.strip_prefix(b"file://")?;
        let (named, path) = rest.split_at(rest.iter().position(|byte| *byte == b'/')?);
        let named = String::from_utf8_lossy(named).to_ascii_lowercase();
        if !["", "localhost", &self.host.to_ascii_lowercase()].contains(&&*named) {
            return None;
        }
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < path.len() {
            if path[at] == b'%' {
                let digit = |at: usize| char::from(*path.get(at)?).to_digit(16);
                decoded.push((16 * digit(at + 1)? + digit(at + 2)?) as u8);
                at += 3;
            } else {
                decoded.push(path[at]);
                at += 1;
            }
        }
        (!decoded.contains(&0)).then(|| OsString::from_vec(decoded).into())
    }

    fn last_line(&self) -> Option<String> {
        let text = str::from_utf8(&self.text).ok()?;
        let is_text = !text.chars().any(|c| ('\u{80}'..='\u{9F}').contains(&c));
        is_text.then(|| readable(if self.line.is_empty() { &self.finished } else { &self.line }))
    }
}

/// As text, without control characters. Of what is no text at the end nothing is shown: the rest may be to come.
fn readable(bytes: &[u8]) -> String {
    let (mut text, mut rest) = (String::new(), bytes);
    while let Err(error) = str::from_utf8(rest) {
        let (valid, invalid) = rest.split_at(error.valid_up_to());
        text += &String::from_utf8_lossy(valid);
        rest = &invalid[error.error_len().unwrap_or(invalid.len())..];
        if !rest.is_empty() {
            text.push('\u{FFFD}');
        }
    }
    text += &String::from_utf8_lossy(rest);
    text.replace('\t', " ").chars().filter(|c| !c.is_control()).collect()
}

fn device_string(device: Device, byte: u8) -> State {
    State::Device(match (device, byte) {
        (Device::Data, 0x9C) => return State::Text,
        (Device::Data, _) | (Device::Parameters { .. } | Device::Intermediates, 0x40..=0x7E) => Device::Data,
        (Device::Parameters { .. } | Device::Intermediates, 0x20..=0x2F) => Device::Intermediates,
        (Device::Parameters { begun: true }, 0x3C..=0x3F) | (Device::Intermediates, 0x30..=0x3F) => {
            return State::Ignored;
        }
        (Device::Parameters { .. }, 0x30..=0x3F) => Device::Parameters { begun: true },
        (other, _) => other,
    })
}

fn mark(parts: &[&[u8]]) -> Option<Mark> {
    match *parts.first()? {
        b"A" => Some(Mark::PromptStarted),
        b"C" => Some(Mark::CommandStarted),
        b"D" => {
            let exit_code = parts.get(1).and_then(|code| str::from_utf8(code).ok()?.parse().ok());
            Some(Mark::CommandFinished { exit_code })
        }
        _ => None,
    }
}
