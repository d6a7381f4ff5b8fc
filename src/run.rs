//! `penstock run`: logs go to standard error, the rest is the runtime's.

use std::io::{IsTerminal, stderr};

use penstock_control::runtime::{self, Options};
use tracing_subscriber::EnvFilter;

use crate::args::{RunArgs, VERSION};

/// Runs the gateway until a signal ends it.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&args.log)?)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();
    let options = Options { config: &args.config, static_sas: args.static_sas.as_deref(), version: VERSION };
    Ok(runtime::run(&options)?)
}

/// Refuses a bad filter while the command line is read.
pub fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; use error, warn, info, debug, trace, or module=level,...")),
    }
}
