//! Stamps the version into the `penstock` binary as `PENSTOCK_VERSION`.
//!
//! DPDK itself is found by `dpdk-sys`, whose libraries reach the final link by themselves; its drivers are
//! plugins that DPDK loads at run time, so the binary needs no link argument for them.

use std::path::Path;
use std::process::Command;

fn main() {
    // A commit or a checkout changes HEAD's log; a clone without history has none and keeps its stamp.
    for file in [".git/logs/HEAD", ".git/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=PENSTOCK_VERSION={}", version());
}

/// The package's version, and the commit it was built from where git knows: `0.1.0 (3c0c6b3)`.
fn version() -> String {
    let package = env!("CARGO_PKG_VERSION");
    let described = Command::new("git").args(["describe", "--always", "--dirty", "--tags"]).output();
    match described {
        Ok(output) if output.status.success() => {
            format!("{package} ({})", String::from_utf8_lossy(&output.stdout).trim())
        }
        // A source archive is no repository: the package's version is all there is.
        _ => package.to_owned(),
    }
}
