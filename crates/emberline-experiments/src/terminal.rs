//! Writing to whoever started the program, who may have stopped listening.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Writes a result to stdout. A reader that has read enough, such as `head`, is no error.
///
/// # Errors
/// If stdout cannot be written, as on a full disk.
pub fn result(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a line of progress to stderr. That nobody reads it stops no run.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
