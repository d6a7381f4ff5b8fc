//! `penstock run`: logs go to standard error or the journal, the rest is the runtime's.

use penstock_control::runtime::{self, Options};

use crate::args::{RunArgs, VERSION};
use crate::logging;

/// Runs the gateway until a signal ends it.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    logging::start(&args.log, args.log_format)?;
    let options = Options { config: &args.config, static_sas: args.static_sas.as_deref(), version: VERSION };
    Ok(runtime::run(&options)?)
}
