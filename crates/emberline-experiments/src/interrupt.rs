//! Ctrl-C: the first asks the run to save a checkpoint and stop, the second stops at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::terminal;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The flag that Ctrl-C sets from now on.
///
/// # Errors
/// If the system does not let the program listen.
pub fn listen() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        terminal::note("\nsaving a checkpoint; Ctrl-C again stops without");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(&INTERRUPTED)
}
