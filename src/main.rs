//! The `penstock` command: starts the gateway, checks a configuration, and asks a running gateway.
//!
//! Thin on purpose. What the gateway does is in `penstock-control`; here is what an operator types and reads.

mod args;
mod ask;
mod check;
mod completions;
mod doctor;
mod exit;
mod fleet;
mod logging;
mod man;
mod objects;
mod ready;
mod reload;
mod run;
mod show;
mod terminal;
mod top;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Command::Run(options) => run::run(&options),
        Command::Check(options) => check::check(&options),
        Command::Reload(options) => reload::reload(&options),
        Command::Doctor(options) => doctor::doctor(&options),
        Command::Show(options) => show::show(&options),
        Command::Top(options) => top::top(&options),
        Command::Fleet(options) => fleet::fleet(&options),
        Command::Ready(options) => ready::ready(&options),
        Command::Apply(options) => objects::apply(&options),
        Command::Get(options) => objects::get(&options),
        Command::Delete(options) => objects::delete(&options),
        Command::Completions { shell } => completions::print(shell),
        Command::Man { directory } => man::write(&directory),
    };
    exit::code(done)
}
