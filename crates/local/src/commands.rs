//! The three commands. What they print is for people, on standard output.

use std::io::{self, Write};

pub(crate) mod demo;
pub(crate) mod load;
pub(crate) mod up;

/// Prints a line; that nobody reads it is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints an error.
pub(crate) fn complain(error: &anyhow::Error) {
    let _ = writeln!(io::stderr(), "error: {error:#}");
}
