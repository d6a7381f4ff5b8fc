//! How the command ends: what goes to standard error, and the exit code (documented in `penstock --help`).

use std::fmt;
use std::io;
use std::process::ExitCode;

use penstock_control::api::ClientError;

/// Failed or refused.
const FAILED: u8 = 1;
/// Nobody answers. 2 is clap's, for a command line that makes no sense.
const NO_ANSWER: u8 = 3;

/// Failed, and all there is to say about it has been printed.
#[derive(Debug)]
pub struct Said;

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("said before")
    }
}

impl std::error::Error for Said {}

/// Reports a failure and turns it into the exit code.
pub fn code(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        // The reader has seen enough: `penstock show routes | head`.
        return ExitCode::SUCCESS;
    }
    if error.is::<Said>() {
        return ExitCode::from(FAILED);
    }
    eprintln!("penstock: {error:#}");
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(refusal)) => {
            for problem in &refusal.problems {
                eprintln!("{problem}");
            }
            ExitCode::from(FAILED)
        }
        Some(_) => ExitCode::from(NO_ANSWER),
        None => ExitCode::from(FAILED),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    })
}
