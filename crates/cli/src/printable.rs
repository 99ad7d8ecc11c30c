//! Text of others, without what a terminal would obey.

/// On one line: what would move the cursor, colour or turn the text is shown as it is written in Rust.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if is_obeyed(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Line by line, each below the first one indented, so that none can pass for a line of ours.
pub(crate) fn printable_lines(text: &str, indent: usize) -> String {
    let lines: Vec<_> = text.lines().map(printable).collect();
    lines.join(&format!("\n{:indent$}", ""))
}

/// Control characters, ends of lines and paragraphs, and the marks that turn the direction of text.
/// Source of the marks: Unicode, `Bidi_Control`.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_it() {
        let hostile = "day 1\nstatus done\r\u{1b}[31m\u{9b}2J\t電池\u{202e}";
        assert_eq!(printable(hostile), r"day 1\nstatus done\r\u{1b}[31m\u{9b}2J\t電池\u{202e}");
        assert_eq!(printable("a\u{61c}\u{200d}\u{200e}\u{200f}"), "a\\u{61c}\u{200d}\\u{200e}\\u{200f}");
        let lines = printable_lines("Traceback:\r\nstatus     done\n\n\u{7}x", 4);
        assert_eq!(lines, "Traceback:\n    status     done\n    \n    \\u{7}x");
    }
}
