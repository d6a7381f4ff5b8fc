//! Fields of a frame, one after the other, in network byte order.

use std::net::{IpAddr, SocketAddr};

use zeroize::Zeroizing;

use super::error::{DecodeError, EncodeError};
use crate::secret::Secret;

/// Longest text in a message, bytes.
pub(super) const MAX_TEXT: usize = 1024;
/// What a message starts with in memory. Most are shorter.
const FIRST_CAPACITY: usize = 512;

/// Takes fields off the front. `field` names what is read, for the error.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }

    fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated(field))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated(field))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// 0 or 1.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Value { field, found: other.into() }),
        }
    }

    fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.take(len.into(), field)
    }

    /// Printable UTF-8: it goes into the log.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let text = std::str::from_utf8(self.bytes(field)?).map_err(|_| DecodeError::Text(field))?;
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(DecodeError::Text(field));
        }
        Ok(text.to_owned())
    }

    pub(super) fn secret(&mut self, field: &'static str) -> Result<Secret, DecodeError> {
        Ok(Secret::new(Zeroizing::new(self.bytes(field)?.into())))
    }

    /// An address of the family that was read before.
    pub(super) fn ip(&mut self, family: Family, field: &'static str) -> Result<IpAddr, DecodeError> {
        Ok(match family {
            Family::V4 => IpAddr::from(self.array::<4>(field)?),
            Family::V6 => IpAddr::from(self.array::<16>(field)?),
        })
    }

    pub(super) fn family(&mut self, field: &'static str) -> Result<Family, DecodeError> {
        match self.u8(field)? {
            4 => Ok(Family::V4),
            6 => Ok(Family::V6),
            other => Err(DecodeError::Family { field, found: other }),
        }
    }

    pub(super) fn address(&mut self, field: &'static str) -> Result<SocketAddr, DecodeError> {
        let family = self.family(field)?;
        let port = self.u16(field)?;
        Ok(SocketAddr::new(self.ip(family, field)?, port))
    }

    /// `count` items of at least `least` bytes each. A count that cannot fit is refused before any memory is taken.
    pub(super) fn items<T>(
        &mut self,
        count: usize,
        least: usize,
        field: &'static str,
        item: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        if count.saturating_mul(least) > self.0.len() {
            return Err(DecodeError::Truncated(field));
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

#[derive(Clone, Copy)]
pub(super) enum Family {
    V4,
    V6,
}

/// Appends fields. Holds keys: memory that it outgrows is wiped.
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(FIRST_CAPACITY)))
    }

    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            // A vector that grows by itself leaves its old memory behind as it is.
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.u8(value.into());
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| EncodeError)?);
        self.put(bytes);
        Ok(())
    }

    /// What is longer than a text may be is cut.
    pub(crate) fn text(&mut self, text: &str) {
        let end = (0..=text.len().min(MAX_TEXT)).rev().find(|at| text.is_char_boundary(*at));
        let cut = &text.as_bytes()[..end.unwrap_or(0)];
        self.u16(cut.len() as u16);
        self.put(cut);
    }

    pub(super) fn secret(&mut self, secret: &Secret) -> Result<(), EncodeError> {
        self.bytes(secret.bytes())
    }

    pub(super) fn family(&mut self, ip: IpAddr) {
        self.u8(if ip.is_ipv4() { 4 } else { 6 });
    }

    pub(super) fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
    }

    pub(super) fn address(&mut self, address: SocketAddr) {
        self.family(address.ip());
        self.u16(address.port());
        self.ip(address.ip());
    }
}
