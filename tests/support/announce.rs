use std::io::{self, Write};

/// Says what a long test does and for how long, before it begins: else it looks as if it hung.
///
/// The harness keeps what a test prints with `eprintln!` and shows it where the test fails. What is written to standard
/// error itself is seen at once.
pub fn announce(text: &str) {
    let _ = writeln!(io::stderr(), "... {text}");
}
