//! `penstock ready`: for whatever announces this node's addresses.

use anyhow::bail;

use crate::args::ReadyArgs;
use crate::ask::ask;
use crate::terminal;

pub fn ready(args: &ReadyArgs) -> anyhow::Result<()> {
    let readiness = ask(&args.socket, async |gateway| gateway.ready().await)?;
    if !readiness.ready {
        bail!("not ready: {}", readiness.reasons.join("; "));
    }
    if args.quiet { Ok(()) } else { terminal::print("ready\n") }
}
