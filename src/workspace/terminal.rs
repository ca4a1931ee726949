//! Reads the output of a terminal: how much there is, its newest lines, and what escape sequences say.
//!
//! Not a terminal emulator: there is no screen, and cursor movements are read over. Escape sequences are parsed by
//! [`vte`]; plain text, which is nearly all of most output, never gets there. It is searched for what matters with a
//! few passes of `memchr`, and set aside until there is enough of it, or it is asked for: of a page of lines only the
//! newest are ever looked at. So a megabyte without an escape sequence costs about as much as reading it.
//!
//! # Invariants
//! - **T1 ground**: in [`Mode::Text`] the parser is in its ground state and holds no part of a character. Only bytes
//!   after which that is certain lead back to this mode.
//! - **T2 bounded**: a line is cut to [`LINE_BYTES`], of lines the newest that a scrollback holds are kept, and a command
//!   string that is longer than [`STRING_BYTES`] is given up, so memory does not depend on the output.
//! - **T3 seamless**: what is read does not depend on where the output was cut into pieces.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::{memchr, memchr_iter, memrchr};
use vte::{Params, Parser, Perform};

use super::lines::{LINE_BYTES, Lines, Newest, Text};

/// The longest operating system command (a title, a folder) that is read.
const STRING_BYTES: usize = 16 * 1024;
/// The most parts that the parser gives of such a command; what comes after them it drops.
const PARTS_MAX: usize = 16;
/// The longest title that is kept.
const TITLE_CHARACTERS: usize = 256;
/// How many bytes of lines are set aside before they are looked at.
const ASIDE_BYTES: usize = 32 * 1024;

const ESCAPE: u8 = 0x1B;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1A;
const BELL: u8 = 0x07;

/// Reads the output of one terminal, piece by piece.
///
/// ```
/// use mainlane::workspace::{Mark, Terminal};
///
/// let mut terminal = Terminal::new();
/// terminal.advance(b"\x1b]133;C\x07building\r\n\x1b[1mdone\x1b[0m\r\n\x1b]133;D;0");
/// terminal.advance(b"\x07");
/// let reading = terminal.take();
/// assert_eq!((reading.bytes, reading.lines), (42, 2));
/// assert_eq!(reading.marks, [Mark::CommandStarted, Mark::CommandFinished { exit_code: Some(0) }]);
/// assert_eq!(&*terminal.last_line(), "done");
/// assert_eq!(reading.text.as_str(), "building\ndone\n");
/// ```
pub struct Terminal {
    parser: Parser,
    screen: Screen,
    mode: Mode,
}

/// What was read since the last [`Terminal::take`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TerminalReading {
    /// How many bytes.
    pub bytes: u64,
    /// How many line ends (`\n`) among them.
    pub lines: u64,
    /// How many bells, apart from those that only end a command string.
    pub bells: u64,
    /// The newest title, if one was given.
    pub title: Option<Arc<str>>,
    /// The newest working directory, if one was given and it is on this host.
    pub folder: Option<Arc<Path>>,
    /// Marks of a shell, in order.
    pub marks: Vec<Mark>,
    /// The newest lines that were ended, blank ones included: without control characters, each cut to 512 bytes. What is
    /// no text in them is replaced. The line that is being written is not among them.
    pub text: Lines,
}

/// What a shell says about itself (OSC 133). The end of the prompt, `B`, says nothing that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It shows its prompt (`A`).
    PromptStarted,
    /// It runs a command (`C`).
    CommandStarted,
    /// Its command has ended (`D`).
    CommandFinished {
        /// The exit code, when it was said.
        exit_code: Option<i32>,
    },
}

/// Who reads the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nobody has to: it is text until the next escape.
    Text,
    /// The parser.
    Sequence {
        /// Whether the bytes before were an escape and nothing that ends it: control characters may stand within it.
        after_escape: bool,
        /// How long the operating system command is by now; `None` outside of one.
        string: Option<usize>,
    },
    /// Nobody: a command string that was given up, until its end.
    Overlong,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminal {
    /// A terminal that nothing was written to.
    pub fn new() -> Self {
        let host = sysinfo::System::host_name().unwrap_or_default();
        Self { parser: Parser::new(), screen: Screen { host, ..Screen::default() }, mode: Mode::Text }
    }

    /// Reads the next piece of output.
    pub fn advance(&mut self, bytes: &[u8]) {
        self.screen.reading.bytes += bytes.len() as u64;
        self.screen.reading.lines += memchr_iter(b'\n', bytes).count() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.mode {
                Mode::Text => self.text(rest),
                Mode::Sequence { after_escape, string } => self.sequence(rest, after_escape, string),
                Mode::Overlong => self.overlong(rest),
            };
        }
    }

    /// What was read since the last call.
    pub fn take(&mut self) -> TerminalReading {
        self.screen.reading.text = self.screen.ended.take();
        mem::take(&mut self.screen.reading)
    }

    /// The newest line that is not blank, without control characters, cut to 512 bytes; empty when there is none.
    pub fn last_line(&self) -> String {
        let line = &self.screen.line.bytes;
        shown(if line.is_empty() { &self.screen.finished } else { line })
    }

    /// Reads up to the next escape and gives back the rest, which begins with it.
    fn text<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr(ESCAPE, bytes) else {
            self.screen.text(bytes);
            return &[];
        };
        self.screen.text(&bytes[..end]);
        if let Some(length) = control_sequence(&bytes[end..]) {
            return &bytes[end + length..];
        }
        self.mode = Mode::Sequence { after_escape: false, string: None };
        &bytes[end..]
    }

    /// Feeds the parser until it is certain to be in its ground state (T1), and gives back the rest.
    fn sequence<'a>(&mut self, bytes: &'a [u8], mut after_escape: bool, mut string: Option<usize>) -> &'a [u8] {
        for (index, byte) in bytes.iter().enumerate() {
            self.screen.settled = false;
            self.parser.advance(&mut self.screen, std::slice::from_ref(byte));
            if self.screen.settled {
                self.mode = Mode::Text;
                return &bytes[index + 1..];
            }
            // An escape followed by `]` begins such a command in any state, and any escape ends one.
            string = if after_escape && *byte == b']' {
                Some(0)
            } else {
                string.filter(|_| *byte != ESCAPE).map(|length| length + 1)
            };
            if string.is_some_and(|length| length > STRING_BYTES) {
                self.parser = Parser::new();
                self.mode = Mode::Overlong;
                return &bytes[index..];
            }
            after_escape = match *byte {
                ESCAPE => true,
                0x00..=0x1F | 0x7F..=0xFF => after_escape,
                0x20..=0x7E => false,
            };
        }
        self.mode = Mode::Sequence { after_escape, string };
        &[]
    }

    /// Skips to the end of a command string and gives back the rest.
    fn overlong<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| matches!(*byte, BELL | CANCEL | SUBSTITUTE | ESCAPE)) else {
            return &[];
        };
        if bytes[end] == ESCAPE {
            self.mode = Mode::Sequence { after_escape: false, string: None };
            return &bytes[end..];
        }
        self.mode = Mode::Text;
        &bytes[end + 1..]
    }
}

/// What the parser and the text have said.
#[derive(Default)]
struct Screen {
    host: String,
    reading: TerminalReading,
    line: Line,
    /// The newest finished line that was not blank.
    finished: Vec<u8>,
    ended: EndedLines,
    /// Whether the parser has just come to its ground state, for certain.
    settled: bool,
}

impl Screen {
    /// Takes in text without escapes.
    fn text(&mut self, bytes: &[u8]) {
        self.reading.bells += memchr_iter(BELL, bytes).count() as u64;
        let Some(end) = memrchr(b'\n', bytes) else {
            self.line.extend(bytes);
            return;
        };
        self.ended.add(&self.line, &bytes[..=end]);
        self.finish(&bytes[..end]);
        self.line.extend(&bytes[end + 1..]);
    }

    /// Takes in text that is followed by a line end. The line that its last visible byte is in is the newest that is
    /// not blank, and whatever is before it does not matter.
    fn finish(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.iter().rposition(|byte| is_text_byte(*byte)) else {
            return self.finish_line();
        };
        let line = match memrchr(b'\n', &bytes[..last]) {
            Some(end_before) => {
                self.line.clear();
                &bytes[end_before + 1..=last]
            }
            None => &bytes[..=last],
        };
        self.line.extend(line);
        self.finish_line();
    }

    fn finish_line(&mut self) {
        if !self.line.bytes.is_empty() {
            mem::swap(&mut self.finished, &mut self.line.bytes);
        }
        self.line.clear();
    }

    fn title(&mut self, params: &[&[u8]]) {
        let title = params.join(&b';');
        let title: String = readable(&title).chars().take(TITLE_CHARACTERS).collect();
        self.reading.title = Some(title.into());
    }

    fn mark(&mut self, params: &[&[u8]]) {
        let mark = match params.first().copied() {
            Some(b"A") => Mark::PromptStarted,
            Some(b"C") => Mark::CommandStarted,
            Some(b"D") => {
                let code = params.get(1).and_then(|code| str::from_utf8(code).ok());
                Mark::CommandFinished { exit_code: code.and_then(|code| code.parse().ok()) }
            }
            Some(_) | None => return,
        };
        self.reading.marks.push(mark);
    }
}

impl Perform for Screen {
    fn print(&mut self, character: char) {
        self.line.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
        // Printing happens in the ground state only. After a longer character the parser may already hold a part of
        // the next one, so only a plain one makes it certain.
        self.settled = character.is_ascii();
    }

    fn execute(&mut self, byte: u8) {
        if byte < 0x80 {
            self.text(&[byte]);
        }
        self.settled = matches!(byte, CANCEL | SUBSTITUTE);
    }

    fn csi_dispatch(&mut self, _: &Params, _: &[u8], _: bool, _: char) {
        self.settled = true;
    }

    fn esc_dispatch(&mut self, _: &[u8], _: bool, _: u8) {
        self.settled = true;
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], bell_terminated: bool) {
        // Without a bell it was ended by an escape, and what that begins is still to come.
        self.settled = bell_terminated;
        match params {
            [b"0" | b"2", title @ ..] => self.title(title),
            // The rest of a folder's name may be missing, and what is left would name another folder.
            [b"7", ..] if params.len() == PARTS_MAX => {}
            [b"7", url @ ..] => {
                if let Some(folder) = local_folder(&url.join(&b';'), &self.host) {
                    self.reading.folder = Some(folder.into());
                }
            }
            [b"133", mark @ ..] => self.mark(mark),
            // The command is a number given by a program, not one of our unions: others say nothing that is kept.
            [..] => {}
        }
    }
}

/// The newest lines that were ended.
#[derive(Default)]
struct EndedLines {
    text: Text,
    /// Whole lines that come after it, as they were written.
    aside: Vec<u8>,
    /// Used again and again.
    line: Line,
}

impl EndedLines {
    /// Takes in text that ends with a line end. Its first line goes on from `begun`.
    fn add(&mut self, begun: &Line, bytes: &[u8]) {
        let mut rest = bytes;
        if !begun.bytes.is_empty()
            && let Some(end) = memchr(b'\n', bytes)
        {
            self.line.bytes.clone_from(&begun.bytes);
            self.line.returned = begun.returned;
            self.line.extend(&bytes[..end]);
            self.aside.extend_from_slice(&self.line.bytes);
            self.aside.push(b'\n');
            rest = &bytes[end + 1..];
        }
        if self.aside.len() + rest.len() <= ASIDE_BYTES {
            self.aside.extend_from_slice(rest);
        } else {
            self.look_at_aside();
            self.look_at(rest);
        }
    }

    fn take(&mut self) -> Lines {
        self.look_at_aside();
        let lines = self.text.to_lines();
        self.text.clear();
        lines
    }

    fn look_at_aside(&mut self) {
        let mut aside = mem::take(&mut self.aside);
        self.look_at(&aside);
        aside.clear();
        self.aside = aside;
    }

    /// Takes in whole lines, as they were written.
    fn look_at(&mut self, bytes: &[u8]) {
        let Newest { start, lines, longest } = Newest::of(bytes);
        let bytes = &bytes[start..];
        if longest <= LINE_BYTES
            && let Some(text) = plain(bytes)
        {
            return self.text.push_lines(text, lines);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.clear();
            self.line.extend(line);
            self.text.push(&shown(&self.line.bytes));
        }
    }
}

/// The bytes as text, if it can be shown as it is.
fn plain(bytes: &[u8]) -> Option<&str> {
    // Without a way out in the middle of a block, blocks are looked at as a whole.
    let is_plain = |block: &[u8]| block.iter().fold(true, |so_far, byte| so_far & matches!(*byte, b'\n' | b' '..=b'~'));
    if bytes.chunks(64).all(is_plain) { str::from_utf8(bytes).ok() } else { None }
}

/// The line being written.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    /// Whether a carriage return came, so that the next text overwrites the line.
    returned: bool,
}

impl Line {
    fn clear(&mut self) {
        self.bytes.clear();
        self.returned = false;
    }

    /// Takes in text without line ends. Of what carriage returns overwrite, the newest text stays.
    fn extend(&mut self, text: &[u8]) {
        let mut rest = text;
        let mut returned = false;
        while let Some(at) = memrchr(b'\r', rest) {
            let newest = &rest[at + 1..];
            if is_text(newest) {
                self.bytes.clear();
                self.append(newest);
                self.returned = returned;
                return;
            }
            returned = true;
            rest = &rest[..at];
        }
        if is_text(rest) {
            if self.returned {
                self.bytes.clear();
            }
            self.append(rest);
            self.returned = returned;
        }
        self.returned |= returned;
    }

    fn append(&mut self, text: &[u8]) {
        let room = LINE_BYTES - self.bytes.len();
        self.bytes.extend(text.iter().filter(|byte| is_text_byte(**byte)).take(room));
    }
}

/// The length of the control sequence at the beginning of `bytes`, if it is there in full, well-formed, and nothing
/// else is mixed into it. Colours and cursor movements are of this kind; none of them says anything that is kept. A
/// malformed one is the parser's, which does not tell when it ends, so what follows is not read as text at once (T1).
fn control_sequence(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(b"\x1b[")?;
    let marker = usize::from(matches!(rest.first(), Some(0x3C..=0x3F)));
    let parameters = rest[marker..].iter().take_while(|byte| matches!(byte, 0x30..=0x3B)).count();
    let intermediates = rest[marker + parameters..].iter().take_while(|byte| matches!(byte, 0x20..=0x2F)).count();
    let end = marker + parameters + intermediates;
    matches!(rest.get(end), Some(0x40..=0x7E)).then_some(end + 3)
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| is_text_byte(*byte))
}

fn is_text_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7F)
}

/// A line as it is kept.
fn shown(line: &[u8]) -> String {
    let mut line = readable(line);
    // What stands in the place of a byte that is no text is longer than that byte.
    line.truncate(line.floor_char_boundary(LINE_BYTES));
    line
}

/// The bytes as text that is safe to show: no control characters, no part of a character at the end.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.extend(chunk.valid().chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()));
        if !chunk.invalid().is_empty() && chunks.peek().is_some() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// The folder of a `file://` address; `None` when it is not one, or not one of this host: a shell on another machine
/// names folders that mean nothing here.
fn local_folder(url: &[u8], host: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;

    let rest = url.strip_prefix(b"file://")?;
    let start = memchr(b'/', rest)?;
    let named = &rest[..start];
    let is_local =
        named.is_empty() || named.eq_ignore_ascii_case(b"localhost") || named.eq_ignore_ascii_case(host.as_bytes());
    let path = percent_decoded(&rest[start..])?;
    (is_local && !path.contains(&0)).then(|| PathBuf::from(std::ffi::OsString::from_vec(path)))
}

/// `%41` becomes `A`; `None` when a percent sign is not followed by two hexadecimal digits.
fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            decoded.push(*first);
            rest = after;
            continue;
        }
        let digits = str::from_utf8(after.get(..2)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    Some(decoded)
}

#[cfg(test)]
#[path = "terminal_tests.rs"]
mod tests;
