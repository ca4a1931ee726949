//! Tests of the reader of terminals.

use proptest::prelude::*;

use super::*;
use crate::workspace::terminal_twin::slowly;

fn in_pieces(pieces: &[&[u8]]) -> (TerminalReading, String) {
    let mut terminal = Terminal::new();
    for piece in pieces {
        terminal.advance(piece);
    }
    (terminal.take(), terminal.last_line())
}

fn read(bytes: &[u8]) -> (TerminalReading, String) {
    in_pieces(&[bytes])
}

const SAMPLE: &str = "plain\r\n\x1b[1;31mred\x1b[0m text\r\n\x1b]0;a title; with a semicolon\x07\
    \x1b]7;file:///srv/a%20b\x1b\\\x07\x07\x1b]133;A\x07$ \x1b]133;C\x07\x1bPq#0\x1b\\10%\r20%\r\x1b[K30%\r\n\
    \x1b]133;D;3\x07\x1b_ignored\x1b\\gr\u{fc}\u{df}e \u{1f30d}\n\n\x1b[?25l\x1b[12;\n40H\x1b[>0;1$~q\t\x18x\x1b";

#[test]
fn a_cut_anywhere_changes_nothing() {
    let whole = read(SAMPLE.as_bytes());
    for cut in 0..=SAMPLE.len() {
        let (left, right) = SAMPLE.as_bytes().split_at(cut);
        assert_eq!(in_pieces(&[left, right]), whole, "cut at byte {cut}");
    }
    let bytes: Vec<&[u8]> = SAMPLE.as_bytes().chunks(1).collect();
    assert_eq!(in_pieces(&bytes), whole);
}

#[test]
fn the_sample_says_what_it_says() {
    let (reading, line) = read(SAMPLE.as_bytes());
    assert_eq!(reading.title.as_deref(), Some("a title; with a semicolon"));
    assert_eq!(reading.folder.as_deref(), Some(Path::new("/srv/a b")));
    assert_eq!(reading.bells, 2);
    assert_eq!(
        reading.marks,
        [Mark::PromptStarted, Mark::CommandStarted, Mark::CommandFinished { exit_code: Some(3) }]
    );
    assert_eq!(reading.lines, 6);
    assert_eq!(line, "q x");
}

/// Pieces of which most sequences are made, so that random joins of them reach all states of the parser.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "\x1b",
        "\x1b[",
        "\x1b]",
        "\x1b]0;",
        "\x1b]2;",
        "\x1b]7;file://",
        "\x1b]133;",
        "\x1bP",
        "\x1b_",
        "\x1b\\",
        "\x07",
        "\r",
        "\n",
        "\r\n",
        "\t",
        "\x18",
        "\x1a",
        ";",
        ":",
        "A",
        "C",
        "D;1",
        "m",
        "K",
        "?25h",
        "/a%41",
        "text",
        "gr\u{fc}n",
        "\u{1f30d}",
        " ",
        "\x7f",
        "\x00",
        "<!",
        "$q",
    ]);
    prop_oneof![
        8 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(0x20_u8..0x7F, 1..600),
    ]
}

proptest! {
    #[test]
    fn agrees_with_its_slow_twin_wherever_it_is_cut(
        fragments in prop::collection::vec(fragment(), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = fragments.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut start = 0;
        let mut pieces = Vec::new();
        for cut in cuts {
            pieces.push(&bytes[start..cut]);
            start = cut;
        }
        let (mut reading, line) = in_pieces(&pieces);
        let text = std::mem::take(&mut reading.text);
        let (slow_reading, slow_text) = slowly(&bytes, &Terminal::new().screen.host);
        prop_assert_eq!(reading, slow_reading);
        if let Some((slow_line, slow_text)) = slow_text {
            prop_assert_eq!(slow_line, line);
            prop_assert_eq!(Lines::from(&*slow_text), text);
        }
    }

    #[test]
    fn any_bytes_are_counted_and_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (reading, line) = read(&bytes);
        prop_assert_eq!(reading.bytes, bytes.len() as u64);
        prop_assert_eq!(reading.lines, bytes.iter().filter(|byte| **byte == b'\n').count() as u64);
        prop_assert!(!line.chars().any(char::is_control));
        prop_assert!(reading.text.count() as u64 <= reading.lines);
        prop_assert!(reading.text.as_str().lines().all(|line| line.len() <= LINE_BYTES && !line.chars().any(char::is_control)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// More than is kept, and more at once than is set aside.
    #[test]
    fn of_many_lines_the_newest_are_kept_wherever_they_are_cut(
        pieces in prop::collection::vec(("[ -~\r\t]{0,12}|[a-z]{600}|ü{2}", 0usize..900, any::<bool>()), 0..8),
    ) {
        let (mut whole, mut terminal, mut kept) = (Vec::new(), Terminal::new(), Lines::default());
        for (line, times, is_taken) in pieces {
            let piece = format!("{line}\n").repeat(times) + &line;
            terminal.advance(piece.as_bytes());
            whole.extend(piece.as_bytes());
            if is_taken {
                let mut newer = terminal.take().text;
                newer.prepend(kept);
                kept = newer;
            }
        }
        let mut newer = terminal.take().text;
        newer.prepend(kept);
        let slow_text = slowly(&whole, "").1.map(|(_, text)| text);
        prop_assert_eq!(slow_text.map(|text| Lines::from(&*text)), Some(newer));
    }
}

#[test]
fn a_line_that_was_ended_is_shown_as_it_stood() {
    let text = |bytes: &[u8]| read(bytes).0.text.as_str().to_owned();
    assert_eq!(text(b"one\n\ntwo\nthree"), "one\n\ntwo\n");
    assert_eq!(text(b"10%\r20%\r\n\x1b[1mbold\x1b[0m\n\t-\x07\n"), "20%\nbold\n -\n");
    assert_eq!(text(b"a\xffb\n\xff\n"), "a\u{fffd}b\n\n");
    let long = "x".repeat(3 * LINE_BYTES);
    assert_eq!(text(format!("{long}\n").as_bytes()), format!("{}\n", &long[..LINE_BYTES]));
}

#[test]
fn the_last_line_is_the_newest_one_with_text() {
    assert_eq!(read(b"one\ntwo\n\n \x07").1, " ");
    assert_eq!(read(b"one\ntwo\n\n\r\n").1, "two");
    assert_eq!(read(b"one\ntwo\nthr").1, "thr");
    assert_eq!(read(b"10%\r20%\r30%\r").1, "30%");
    assert_eq!(read(b"10%\r20%\r\r\n").1, "20%");
    assert_eq!(read(b"").1, "");
    assert_eq!(read("cut \u{fc}".as_bytes().split_last().unwrap().1).1, "cut ");
}

#[test]
fn a_line_without_end_stays_bounded() {
    let mut terminal = Terminal::new();
    let block = [b'x'; 64 * 1024];
    for _ in 0..800 {
        terminal.advance(&block);
    }
    assert_eq!(terminal.take().bytes, 800 * 64 * 1024);
    assert_eq!(terminal.last_line().len(), LINE_BYTES);
    assert!(terminal.screen.line.bytes.capacity() <= 2 * LINE_BYTES);
}

#[test]
fn a_command_string_without_end_is_given_up_and_its_end_is_found() {
    for end in ["\x07", "\x1b\\", "\x18"] {
        let mut terminal = Terminal::new();
        terminal.advance(b"before\x1b]0;");
        terminal.advance(&[b'x'; 100_000]);
        assert_eq!(terminal.mode, Mode::Overlong);
        terminal.advance(end.as_bytes());
        terminal.advance(b"\nafter\x1b]2;title\x07");
        assert_eq!(terminal.last_line(), "after", "ended by {end:?}");
        let reading = terminal.take();
        assert_eq!((reading.title.as_deref(), reading.bells), (Some("title"), 0));
    }
}

#[test]
fn a_string_may_begin_with_control_characters() {
    let mut terminal = Terminal::new();
    terminal.advance(b"\x1b\0\n]0;");
    terminal.advance(&[b'x'; 100_000]);
    assert_eq!(terminal.mode, Mode::Overlong, "memory is bounded");
}

#[test]
fn a_malformed_sequence_is_the_same_in_pieces() {
    for end in [&b"\xA3"[..], b"\x9F", b"\xC2\x85", b"\xFFx"] {
        let bytes = [b"\x1b[:=]", end].concat();
        assert_eq!(in_pieces(&[&bytes[..3], &bytes[3..]]), read(&bytes), "{end:?}");
    }
}

#[test]
fn what_is_no_text_is_not_shown_longer_than_a_line() {
    assert_eq!(read(&[0xFF; 1000]).1.len(), LINE_BYTES - LINE_BYTES % char::REPLACEMENT_CHARACTER.len_utf8());
}

#[test]
fn a_folder_that_may_have_been_cut_is_not_taken() {
    let folder = |parts: usize| read(&[b"\x1b]7;file:///a", &*b";b".repeat(parts), b"\x07"].concat()).0.folder;
    assert_eq!(folder(2).as_deref(), Some(Path::new("/a;b;b")));
    assert_eq!(folder(20), None);
}

#[test]
fn a_folder_is_taken_from_this_host_only() {
    let folder = |url: &str| local_folder(url.as_bytes(), "here");
    assert_eq!(folder("file:///srv/x"), Some("/srv/x".into()));
    assert_eq!(folder("file://localhost/srv"), Some("/srv".into()));
    assert_eq!(folder("file://HERE/srv/%C3%BC"), Some("/srv/\u{fc}".into()));
    assert_eq!(folder("file://elsewhere/srv"), None);
    assert_eq!(folder("http://here/srv"), None);
    assert_eq!(folder("file://here"), None);
    assert_eq!(folder("file:///a%0"), None);
    assert_eq!(folder("file:///a%+1"), None);
    assert_eq!(folder("file:///a%00b"), None);
}

#[test]
fn a_command_string_is_read_up_to_its_bound_and_given_up_beyond_it() {
    for (length, is_read) in [(STRING_BYTES, true), (STRING_BYTES + 1, false)] {
        let mut terminal = Terminal::new();
        terminal.advance(b"\x1b]2;");
        terminal.advance(&vec![b'x'; length - 2]);
        assert_eq!(terminal.mode != Mode::Overlong, is_read);
        terminal.advance(b"\x07");
        let title = terminal.take().title;
        assert_eq!(title.as_deref(), is_read.then_some("x".repeat(TITLE_CHARACTERS).as_str()));
    }
    const { assert!(STRING_BYTES >= 4 * 4096, "a path may be percent-encoded, and there is more than the path") };
}

#[test]
fn what_looks_like_the_beginning_of_a_command_string_does_not_prolong_one() {
    let mut terminal = Terminal::new();
    terminal.advance(b"\x1b]2;");
    terminal.advance(&[b']'; STRING_BYTES]);
    assert_eq!(terminal.mode, Mode::Overlong);
}

#[test]
fn only_a_whole_control_sequence_of_nothing_else_is_read_over_at_once() {
    let lengths = [&b"\x1b[1;31mred"[..], b"\x1b[m", b"\x1b[?25l\x1b[K"].map(control_sequence);
    assert_eq!(lengths, [Some(7), Some(3), Some(6)]);
    let others = [&b"\x1b[1;3"[..], b"\x1b[1\n2m", b"\x1b]0;", b"\x1b[\x7f", b"\x1b[\x1b[m"].map(control_sequence);
    assert_eq!(others, [None; 5]);
}

#[test]
fn a_line_is_shown_without_what_cannot_be_seen() {
    assert_eq!(read(b"a\tb\x07c\x7f").1, "a bc");
    assert_eq!(read(b"a\xffb").1, "a\u{fffd}b");
    assert_eq!(read(b"a\xff").1, "a");
    assert_eq!(read("a\u{80}b\u{9f}".as_bytes()).1, "ab");
    // The same, when it is the parser that meets them.
    assert_eq!(in_pieces(&[b"\x1b", "[1<m\u{80}x\u{9f}".as_bytes()]).1, "x");
}

#[test]
fn what_a_carriage_return_overwrites_is_gone_wherever_it_is_cut() {
    for pieces in [&["10%\r", "20%"][..], &["10%", "\r", "20%"], &["10%\r20%"], &["10%\r", "\r", "20%\r"]] {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        assert_eq!(in_pieces(&pieces).1, "20%", "{pieces:?}");
    }
}

#[test]
fn a_sequence_that_has_ended_leaves_the_parser_out_of_the_way() {
    let sequences =
        [["\x1b[1;3", "1m"], ["\x1b", "7"], ["\x1b]0;title", "\x07"], ["\x1b]0;title\x1b", "\\"], ["\x1b[1", "\x18"]];
    for [first, second] in sequences {
        let mut terminal = Terminal::new();
        terminal.advance(first.as_bytes());
        assert!(matches!(terminal.mode, Mode::Sequence { .. }), "{first:?}");
        terminal.advance(second.as_bytes());
        assert_eq!(terminal.mode, Mode::Text, "{first:?} {second:?}");
    }
}

#[test]
fn a_control_character_of_eight_bits_is_no_part_of_a_line() {
    let mut screen = Screen::default();
    for byte in [b'\t', 0x80, 0x9F] {
        screen.execute(byte);
    }
    assert_eq!(screen.line.bytes, b"\t");
}
