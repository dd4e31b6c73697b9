//! Ctrl-C: while a run trains, the first asks it to save a checkpoint and stop, and the second stops at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::failure::Failure;
use crate::terminal;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static TRAINED: AtomicBool = AtomicBool::new(false);

/// The flag that Ctrl-C sets from now on.
///
/// # Errors
/// If the system does not let the program listen.
pub fn listen() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if TRAINED.load(Ordering::SeqCst) {
            std::process::exit(i32::from(Failure::INTERRUPTED));
        }
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            terminal::note("stopped without a checkpoint of this step");
            std::process::exit(1);
        }
        terminal::note("\nsaving a checkpoint; Ctrl-C again stops without");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(&INTERRUPTED)
}

/// From now on Ctrl-C ends the program: the checkpoint of the end is saved.
pub fn training_is_over() {
    TRAINED.store(true, Ordering::SeqCst);
}
