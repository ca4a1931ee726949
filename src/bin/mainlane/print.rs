//! Output for people and for programs. Files say what they like; it does not reach the terminal as commands.

use std::fmt::{self, Display, Write as _};
use std::io::{self, BufWriter, Write};

use serde::Serialize;

/// Text with its control characters written out, so that it is one line and does not move the cursor.
pub(crate) struct Clean<T>(pub(crate) T);

impl<T: Display> Display for Clean<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            match piece.chars().next_back() {
                Some(last) if last.is_control() => {
                    self.0.write_str(&piece[..piece.len() - last.len_utf8()])?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                Some(_) | None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// Prints on standard output. That nobody reads on is no failure: whoever looks at the head of a list has seen enough.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = write(&mut out).and_then(|()| out.flush());
    // What could not be written is not tried again.
    let _ = out.into_parts();
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// A line, clean.
pub(crate) fn line(out: &mut dyn Write, line: fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(out, "{}", Clean(line))
}

/// As hashes and checksums are written in a journal.
pub(crate) fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_written_out() {
        let hostile = "a\u{1b}[2Jb\r\nc\u{9b}é";
        assert_eq!(Clean(hostile).to_string(), "a\\u{1b}[2Jb\\r\\nc\\u{9b}é");
        assert_eq!(Clean(format_args!("{}-{}", 1, "x")).to_string(), "1-x");
    }

    #[test]
    fn a_hash_has_all_its_digits() {
        assert_eq!(hex(0xAB), format!("{}ab", "0".repeat(30)));
    }
}
