//! `penstock completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::terminal;

/// Prints the script for a shell.
pub fn print(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "penstock", &mut script);
    terminal::print(&String::from_utf8(script)?)
}
