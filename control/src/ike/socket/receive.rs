//! Frames off a stream, in memory that is wiped.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroizing;

use crate::ike::protocol::{DecodeError, Header, Kind};

/// A header, and what follows it if the header is good.
pub(super) struct Received {
    pub(super) header: Header,
    pub(super) payload: Result<(Kind, Zeroizing<Vec<u8>>), DecodeError>,
}

/// Reads one frame after the other. A frame that was begun is kept when [`Frames::next`] is dropped.
#[derive(Default)]
pub(super) struct Frames {
    header: [u8; Header::LEN],
    header_len: usize,
    payload: Option<(Kind, Zeroizing<Vec<u8>>)>,
    payload_len: usize,
}

impl Frames {
    /// The next frame; `None` at the end of the stream, if it is not within a frame. `may_come` says which types are
    /// taken here; memory is only made for those.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        may_come: impl Fn(Kind) -> bool,
    ) -> io::Result<Option<Received>> {
        while self.header_len < Header::LEN {
            let read = stream.read(&mut self.header[self.header_len..]).await?;
            if read == 0 {
                return if self.header_len == 0 {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            self.header_len += read;
        }
        let header = Header::parse(&self.header);
        if self.payload.is_none() {
            match header.check() {
                Ok((kind, _)) if !may_come(kind) => {
                    return Ok(Some(Received { header, payload: Err(DecodeError::Kind(header.kind)) }));
                }
                Ok((kind, len)) => self.payload = Some((kind, Zeroizing::new(vec![0; len]))),
                Err(error) => return Ok(Some(Received { header, payload: Err(error) })),
            }
        }
        if let Some((_, payload)) = &mut self.payload {
            while self.payload_len < payload.len() {
                let read = stream.read(&mut payload[self.payload_len..]).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.payload_len += read;
            }
        }
        self.header_len = 0;
        self.payload_len = 0;
        Ok(self.payload.take().map(|payload| Received { header, payload: Ok(payload) }))
    }
}
