//! Text of others, without what a terminal would obey.

/// On one line: what would move the cursor, colour or turn the text is shown as it is written in Rust.
pub(crate) fn printable(text: &str) -> String {
    let shown = |char: char| if is_obeyed(char) { char.escape_default().to_string() } else { char.to_string() };
    text.chars().map(shown).collect()
}

/// Line by line, each below the first one indented, so that none can pass for a line of ours.
pub(crate) fn printable_lines(text: &str, indent: usize) -> String {
    let lines: Vec<_> = text.lines().map(printable).collect();
    lines.join(&format!("\n{:indent$}", ""))
}

/// Control characters, ends of lines and paragraphs, and the marks that turn the direction of text.
fn is_obeyed(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_it() {
        assert_eq!(printable("day 1\nstatus done\r\u{1b}[31m\u{9b}2J\t電池\u{202e}"), {
            r"day 1\nstatus done\r\u{1b}[31m\u{9b}2J\t電池\u{202e}"
        });
        assert_eq!(printable_lines("Traceback:\r\nstatus     done\n\n\u{7}x", 4), {
            "Traceback:\n    status     done\n    \n    \\u{7}x"
        });
    }
}
