//! Capture files in pcap's classic format, which `net_pcap` reads and writes.

use std::path::Path;

use anyhow::{Context, Result, ensure};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const SNAP_LEN: u32 = 65_535;
const LINK_ETHERNET: u32 = 1;

/// Writes the frames, in order.
pub fn write(path: &Path, frames: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
    let mut file = Vec::new();
    for word in [MAGIC_MICROSECONDS, 0x0004_0002, 0, 0, SNAP_LEN, LINK_ETHERNET] {
        file.extend(word.to_ne_bytes());
    }
    for frame in frames {
        let frame = frame?;
        let len = frame.len() as u32;
        for word in [0, 0, len, len] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(frame);
    }
    std::fs::write(path, file).with_context(|| format!("{} cannot be written", path.display()))
}

/// Reads all frames of a file that this machine wrote.
pub fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
    let file = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let word = |at: usize| {
        let bytes = file.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).context("the capture ends within a header")
    };
    ensure!([MAGIC_MICROSECONDS, MAGIC_NANOSECONDS].contains(&word(0)?), "not a capture of this machine");
    let mut frames = Vec::new();
    let mut at = FILE_HEADER;
    while at < file.len() {
        let len = word(at + 8)? as usize;
        let frame = file.get(at + RECORD_HEADER..at + RECORD_HEADER + len);
        frames.push(frame.context("the capture ends within a frame")?.to_vec());
        at += RECORD_HEADER + len;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("frames.pcap");
        let frames = vec![vec![1, 2, 3], vec![4; 1500]];
        write(&path, frames.iter().cloned().map(Ok)).expect("written");
        assert_eq!(read(&path).expect("read"), frames);
    }
}
