//! The benchmark kit: the real pipeline over real DPDK devices, on pinned cores, without a NIC.
//!
//! `net_pcap` replays prepared frames from memory for ever; `net_null` takes what comes out. Beside each
//! figure stands the cost of the devices alone, taken in turns with it on the same core, so that a noisy
//! machine disturbs both alike. Every case is also judged for what it did, not only for how fast:
//! see `verify`.

mod aead;
mod args;
mod associations;
mod bench;
mod capture;
mod crew;
mod devices;
mod esp;
mod fleet;
mod hugepages;
mod matrix;
mod measure;
mod packet;
mod report;
mod routes;
mod scenario;
mod tables;
mod together;
mod traffic;
mod verify;

use anyhow::Result;
use clap::Parser;

use args::{Args, Command};

fn main() -> Result<()> {
    match Args::parse().command {
        Command::List => report::list(),
        Command::Run(options) => {
            let result = bench::run(&options.scenario()?, &options.machine())?;
            report::results(&[result], options.json)
        }
        Command::All(options) => matrix::run(&options),
        Command::Fleet(options) => fleet::run(&options),
    }
}
