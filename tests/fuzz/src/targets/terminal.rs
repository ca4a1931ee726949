//! The output of a terminal, any bytes at all: `src/workspace/terminal.rs`.
//!
//! - What is read does not depend on where the output is cut, nor on when it is taken (T3).
//! - It is what the slow twin reads.
//! - The line, the title and the memory that is held are bounded, however long a command string is (T2).
//! - No control characters in what is shown.
//!
//! Four bytes say how it is cut, and where how many of which byte are put in; the rest is the output.

use mainlane::workspace::{Lines, SCROLLBACK_BYTES, Terminal, TerminalReading};

use crate::choices::Choices;
use crate::memory::held_by;
use crate::terminal_twin::slowly;

/// What a terminal may hold: a command string, twice while it grows, a folder, lines; beside it the marks, and what was
/// kept of the lines and is to be, three times while it grows.
const HELD_MAX: usize = 52 * 1024 + 6 * 3 * SCROLLBACK_BYTES;
const HELD_MAX_PER_MARK: usize = 64;
/// Seldom any, for it takes its time.
const FILLER_KIB: [usize; 7] = [0, 1, 15, 16, 17, 34, 63];
/// Output of up to this length is read byte by byte.
const SINGLE_BYTES_MAX: usize = 8 * 1024;
/// Output of up to this length is cut in two at every byte.
const ALL_CUTS_MAX: usize = 48;

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let seed = choices.byte();
    let filler = choices.one_of(b"x0;\xC3\0");
    let filler_kib = FILLER_KIB.get(choices.below(64)).unwrap_or(&0);
    let at = choices.byte();
    let output = choices.rest();
    let mut bytes = output.to_vec();
    let at = usize::from(at) * output.len() / 255;
    bytes.splice(at..at, std::iter::repeat_n(filler, filler_kib * 1024));

    let whole = read([&*bytes]);
    assert_eq!(read(pieces(&bytes, seed)), whole, "in pieces");
    if bytes.len() <= SINGLE_BYTES_MAX {
        assert_eq!(read(bytes.chunks(1)), whole, "byte by byte");
    }
    if bytes.len() <= ALL_CUTS_MAX {
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(read([left, right]), whole, "cut at byte {cut}");
        }
    }

    let (mut reading, line) = whole;
    let text = std::mem::take(&mut reading.text);
    let (slow_reading, slow_text) = slowly(&bytes, &sysinfo::System::host_name().unwrap_or_default());
    assert_eq!(reading, slow_reading);
    if let Some((slow_line, slow_text)) = slow_text {
        assert_eq!(slow_line, line);
        assert_eq!(Lines::from(&*slow_text).as_str(), text.as_str());
    }
    assert!(text.as_str().lines().all(|line| line.len() <= 512 && !line.chars().any(char::is_control)), "{text:?}");
    assert!(line.len() <= 512 && !line.chars().any(char::is_control), "{line:?}");
    if let Some(title) = &reading.title {
        assert!(title.chars().count() <= 256 && !title.chars().any(char::is_control), "{title:?}");
    }
}

/// Reads pieces, and takes what was read after each.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (TerminalReading, String) {
    let mut sum = TerminalReading::default();
    let mut terminal = Terminal::new();
    let mut pieces = pieces.into_iter();
    let (held, ()) = held_by(|| {
        for piece in &mut pieces {
            terminal.advance(piece);
            let TerminalReading { bytes, lines, bells, title, folder, marks, mut text } = terminal.take();
            text.prepend(std::mem::take(&mut sum.text));
            sum.text = text;
            sum.bytes += bytes;
            sum.lines += lines;
            sum.bells += bells;
            sum.title = title.or(sum.title.take());
            sum.folder = folder.or(sum.folder.take());
            sum.marks.extend(marks);
        }
    });
    let bound = HELD_MAX + HELD_MAX_PER_MARK * sum.marks.len();
    assert!(held <= bound, "{held} bytes are held, for {} marks", sum.marks.len());
    (sum, terminal.last_line())
}

/// Pieces of any length, which the seed and the bytes decide.
fn pieces(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let (mut pieces, mut rest, mut state) = (Vec::new(), bytes, u32::from(seed));
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = match state >> 30 {
            0 => 1,
            1 => (state >> 16) as usize % 8,
            2 => (state >> 16) as usize % 64,
            _ => (state >> 16) as usize % 4096,
        };
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
