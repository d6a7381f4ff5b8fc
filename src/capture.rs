//! `penstock capture`: packets to a file, until a limit or Ctrl-C.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use penstock_control::api::{CaptureRequest, Caught, Client, ClientError, Layers, Watched};

use crate::args::CaptureArgs;
use crate::ask;

/// What is captured is nobody else's business.
const OWNER_ONLY: u32 = 0o600;

pub fn capture(args: &CaptureArgs) -> anyhow::Result<()> {
    let request = CaptureRequest {
        packets: (&args.packets).into(),
        layers: match (args.outer, args.inner) {
            (true, _) => Layers::Outer,
            (_, true) => Layers::Inner,
            _ => Layers::Both,
        },
        max_packets: args.max_packets,
        snaplen: Some(args.snaplen),
    };
    ask::runtime()?.block_on(async {
        let client = Client::new(&args.socket.socket);
        // The file is made when there is something to put into it: a refused request leaves the old one alone.
        let watched = client.capture(&request).await?;
        let mut out = open(&args.write)?;
        let caught = follow(&client, watched, |bytes| out.write_all(bytes)).await?;
        out.flush().context("cannot write the file")?;
        report(caught);
        Ok(())
    })
}

/// Takes all pieces. Ctrl-C ends it, and what was caught still comes.
pub async fn follow(
    client: &Client,
    mut watched: Watched,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> anyhow::Result<Option<Caught>> {
    let mut interrupts = 0;
    loop {
        tokio::select! {
            piece = watched.next() => match piece? {
                Some(bytes) => take(&bytes)?,
                None => return Ok(watched.caught()),
            },
            interrupted = tokio::signal::ctrl_c(), if interrupts == 0 => {
                interrupted.context("cannot listen for Ctrl-C")?;
                interrupts += 1;
                match client.stop_watching(watched.id()).await {
                    // It has just ended by itself.
                    Ok(_) | Err(ClientError::Refused(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let cannot = || format!("cannot write {}", path.display());
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(OWNER_ONLY).open(path);
    let file = file.with_context(cannot)?;
    // It may have been there before, for others to read.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY)).with_context(cannot)?;
    Ok(Box::new(io::BufWriter::new(file)))
}

/// Says what is in the file and what is not, on standard error: the file may be standard output.
pub fn report(caught: Option<Caught>) {
    match caught {
        Some(caught) => eprintln!("{}", text(caught)),
        None => eprintln!("penstock: the gateway ended without saying how many packets were not caught"),
    }
}

fn text(caught: Caught) -> String {
    let missed = match caught.missed {
        0 => "none was missed".to_owned(),
        missed => format!("{missed} packets were not caught: they came faster than they were read"),
    };
    format!("{} caught; {missed}", caught.caught)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let caught = Caught { caught: 5, missed: 0, seen: 9 };
        assert_eq!(text(caught), "5 caught; none was missed");
        let caught = Caught { missed: 7, ..caught };
        assert_eq!(text(caught), "5 caught; 7 packets were not caught: they came faster than they were read");
    }

    #[test]
    fn the_file_is_the_owners_alone_even_if_it_was_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pcapng");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        open(&path).unwrap().write_all(b"new").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, &*std::fs::read(&path).unwrap()), (OWNER_ONLY, &b"new"[..]));
    }
}
