//! Padding, pad length and next header (RFC 4303 2.4 to 2.6).

/// Longest padding that we write: a block of AES less one.
const MAX_PAD: usize = 15;

/// For up to three bytes of padding, the trailer as the low bytes of a word; next header comes on top.
const SHORT: [u64; 4] = [0x00, 0x01_01, 0x02_02_01, 0x03_03_02_01];

/// Bytes of padding that bring payload, padding and the two bytes behind it to a multiple of the block.
#[inline(always)]
pub(super) fn pad_len(payload_len: usize, block_mask: u8) -> usize {
    // The complement of n + 1 is -(n + 2).
    !(payload_len + 1) & usize::from(block_mask)
}

/// Writes padding, pad length and next header to the start of `tail`, which has room for them and at least six bytes
/// of ICV. False, and nothing written, without that room.
#[inline(always)]
pub(super) fn write(tail: &mut [u8], pad_len: usize, next_header: u8) -> bool {
    if let Some(short) = SHORT.get(pad_len)
        && let Some(word) = tail.first_chunk_mut::<8>()
    {
        *word = (short | u64::from(next_header) << (8 * (pad_len + 1))).to_le_bytes();
        return true;
    }
    write_long(tail, pad_len, next_header)
}

#[inline(always)]
fn write_long(tail: &mut [u8], pad_len: usize, next_header: u8) -> bool {
    const PADDING: [u8; MAX_PAD] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let (Some(padding), Some(trailer)) = (PADDING.get(..pad_len), tail.get_mut(..pad_len + 2)) else {
        return false;
    };
    trailer[..pad_len].copy_from_slice(padding);
    trailer[pad_len] = pad_len as u8;
    trailer[pad_len + 1] = next_header;
    true
}

/// What is behind the payload of a decrypted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Bytes of payload in front of it, TFC padding (RFC 4303 2.7) included.
    pub payload_len: usize,
    /// Protocol of the payload.
    pub next_header: u8,
}

/// For up to three bytes of padding: those bits of a packet's last word, above pad length and next header, that are
/// padding, and what they must be.
const SOUND: [(u64, u64); 4] = [(0, 0), (0xff, 0x01), (0xffff, 0x0102), (0xff_ffff, 0x01_0203)];

/// Reads the trailer at the end of `body`, payload to next header. `None` when the padding is longer than the packet or
/// not 1, 2, 3, ... (RFC 4303 2.4).
#[inline(always)]
pub(super) fn read(body: &[u8]) -> Option<Trailer> {
    if let Some(last) = body.last_chunk::<8>() {
        let word = u64::from_be_bytes(*last);
        let (pad_len, next_header) = ((word >> 8) as u8, word as u8);
        // A body of eight bytes holds five.
        if let Some((mask, padding)) = SOUND.get(usize::from(pad_len))
            && word >> 16 & mask == *padding
        {
            return Some(Trailer { payload_len: body.len() - 2 - usize::from(pad_len), next_header });
        }
    }
    read_long(body)
}

#[inline(never)]
fn read_long(body: &[u8]) -> Option<Trailer> {
    let (rest, &[pad_len, next_header]) = body.split_last_chunk()?;
    let payload_len = rest.len().checked_sub(usize::from(pad_len))?;
    let padding = rest.get(payload_len..)?;
    let is_sound = padding.iter().zip(1u8..=255).all(|(byte, expected)| *byte == expected);
    is_sound.then_some(Trailer { payload_len, next_header })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_for_every_length() {
        for mask in [3u8, 15] {
            for payload_len in 0..100 {
                let pad = pad_len(payload_len, mask);
                assert_eq!((payload_len + pad + 2) % (usize::from(mask) + 1), 0);
                assert!(pad <= usize::from(mask));
                let mut packet = vec![0xee; payload_len + pad + 2 + 12];
                assert!(write(&mut packet[payload_len..], pad, 41));
                packet.truncate(payload_len + pad + 2);
                assert_eq!(read(&packet), Some(Trailer { payload_len, next_header: 41 }), "{packet:?}");
            }
        }
    }

    #[test]
    fn bad_padding_is_found() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[4]), None);
        assert_eq!(read(&[0, 4]), Some(Trailer { payload_len: 0, next_header: 4 }));
        assert_eq!(read(&[1, 4]), None, "more padding than packet");
        assert_eq!(read(&[2, 1, 4]), None, "padding starts at 1");
        assert_eq!(read(&[1, 2, 2, 3, 4]), None);
        let longest: Vec<u8> = (1..=255).chain([255, 59]).collect();
        assert_eq!(read(&longest), Some(Trailer { payload_len: 0, next_header: 59 }));
        let mut tail = [0; 3];
        assert!(!write(&mut tail, 15, 4) && !write(&mut [0; 40], 16, 4));
    }
}
