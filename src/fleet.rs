//! `penstock fleet`: the file of the fleet's keys.

use penstock_control::fleet::key_file::{self, Step};

use crate::args::{FleetArgs, FleetCommand, RotationStep};
use crate::terminal;

pub fn fleet(args: &FleetArgs) -> anyhow::Result<()> {
    match &args.command {
        FleetCommand::NewKey { file } => {
            key_file::make(file)?;
            terminal::print(&format!("{} has a new key; give the same file to all nodes\n", file.display()))
        }
        FleetCommand::RotateKey { file, step } => {
            let step = match step {
                RotationStep::Add => Step::Add,
                RotationStep::Use => Step::Use,
                RotationStep::Drop => Step::Drop,
            };
            let next = key_file::rotate(file, step)?;
            terminal::print(&format!("{}: {next}\n", file.display()))
        }
    }
}
