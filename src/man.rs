//! `penstock man`: the manual pages, from what clap knows of the command line.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use crate::args::Args;

/// Writes a page for the command and one for each of its subcommands.
pub fn write(directory: &Path) -> anyhow::Result<()> {
    clap_mangen::generate_to(Args::command(), directory).with_context(|| {
        format!("the pages cannot be written to {}; is it a directory?", directory.display())
    })
}
