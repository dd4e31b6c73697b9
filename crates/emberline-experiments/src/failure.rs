//! What a verb ends with when it does not end well, as exit codes.

use std::process::ExitCode;

use crate::terminal;

/// Why a verb stopped.
#[derive(Debug)]
pub enum Failure {
    /// The command line or a config is at fault, and nothing was done: exit code 2.
    Usage(anyhow::Error),
    /// The work failed: exit code 1.
    Failed(anyhow::Error),
    /// Ctrl-C, with a checkpoint saved: exit code 130.
    Interrupted(String),
}

/// What a verb returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// The exit code of what was interrupted, with a checkpoint saved.
    pub const INTERRUPTED: u8 = 130;

    /// A usage error of one message.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(anyhow::Error::msg(message.into()))
    }

    /// Tells the user, and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                terminal::note(format_args!("error: {error:#}"));
                ExitCode::from(2)
            }
            Self::Failed(error) => {
                terminal::note(format_args!("error: {error:#}"));
                ExitCode::FAILURE
            }
            Self::Interrupted(message) => {
                terminal::note(message);
                ExitCode::from(Self::INTERRUPTED)
            }
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
