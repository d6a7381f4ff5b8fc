//! One connection of the plugin, from its credentials to its end.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::presence::{Presence, Ticket};
use super::receive::{Frames, Received};
use super::{Events, Kernel, Limits};
use crate::ike::protocol::{Answer, ErrorCode, Header, Hello, Instance, Kind, Refused, Request};

/// What all connections share.
pub(super) struct Served<K> {
    pub(super) us: Instance,
    pub(super) kernel: Arc<K>,
    pub(super) events: Events,
    pub(super) limits: Limits,
    pub(super) presence: Presence,
}

impl<K: Kernel> Served<K> {
    /// Serves it to its end. `place` is free again when it has no request under way.
    pub(super) async fn connection(self: Arc<Self>, mut stream: UnixStream, place: OwnedSemaphorePermit) {
        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
        if !uid.is_some_and(self.limits.is_trusted) {
            tracing::warn!(
                uid,
                "another user was sent away from the socket of charon's plugin: only root and the user that penstock \
                 runs as may speak there"
            );
            return;
        }
        let mut frames = Frames::default();
        // A SYNC may be large, so it is only taken from who has said hello.
        let request = frames.next(&mut stream, |kind| kind != Kind::Sync);
        let received = match timeout(self.limits.patience, request).await {
            Ok(Ok(Some(received))) => received,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return tracing::warn!(%error, "a request of charon's plugin broke off"),
            Err(_) => return tracing::warn!("a request of charon's plugin did not come in time"),
        };
        let (header, request) = read(received);
        let ended = match request {
            Ok(Request::Hello(hello)) => {
                drop(place);
                self.stay(stream, &header, hello).await
            }
            Ok(request) => {
                let answer = self.answer(header.instance, request).await;
                self.reply(&mut stream, &header, answer).await
            }
            Err(refused) => self.reply(&mut stream, &header, Err(refused)).await,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "the connection with charon's plugin broke off");
        }
    }

    /// The connection that began with HELLO.
    async fn stay(&self, stream: UnixStream, header: &Header, hello: Hello) -> io::Result<()> {
        let charon = header.instance;
        let (reader, mut writer) = stream.into_split();
        let Some(mut ticket) = self.presence.enter(charon) else {
            let stopping = Refused::new(ErrorCode::NotReady, "penstock stops");
            return self.reply(&mut writer, header, Err(stopping)).await;
        };
        if let Some(before) = ticket.replaced {
            tracing::warn!(%before, %charon, "another charon took over: are there two?");
            self.kernel.gone(before).await;
        }
        self.events.keep_only(charon);
        let answer = self.kernel.hello(charon, hello).await.map(|()| Answer::Done);
        let is_welcome = answer.is_ok();
        let mut ended = self.reply(&mut writer, header, answer).await;
        if is_welcome && ended.is_ok() {
            ended = self.converse(charon, reader, writer, &mut ticket).await;
        }
        if self.presence.leave(&ticket) && is_welcome {
            self.kernel.gone(charon).await;
        }
        ended
    }

    /// SYNC, then events until one side has enough.
    async fn converse(
        &self,
        charon: Instance,
        mut reader: OwnedReadHalf,
        mut writer: OwnedWriteHalf,
        ticket: &mut Ticket,
    ) -> io::Result<()> {
        let mut frames = Frames::default();
        let mut patience = pin!(sleep(self.limits.patience));
        let mut is_synced = false;
        let mut told = 0;
        loop {
            tokio::select! {
                _ = &mut ticket.over => return Ok(()),
                () = &mut patience, if !is_synced => return Err(io::ErrorKind::TimedOut.into()),
                received = frames.next(&mut reader, |kind| kind == Kind::Sync) => {
                    let Some(received) = received? else { return Ok(()) };
                    let (header, request) = read(received);
                    let answer = match request {
                        Ok(request) => self.answer(charon, request).await,
                        Err(refused) => Err(refused),
                    };
                    let is_done = answer.is_ok();
                    self.reply(&mut writer, &header, answer).await?;
                    if !is_done {
                        // It comes back, and tries from the start.
                        return Ok(());
                    }
                    is_synced = true;
                }
                (number, event) = self.events.after(told, charon), if is_synced => {
                    told = number;
                    let frame = event.encode(self.us).map_err(io::Error::other)?;
                    self.send(&mut writer, &frame).await?;
                }
            }
        }
    }

    async fn answer(&self, charon: Instance, request: Request) -> Result<Answer, Refused> {
        let (kernel, events) = (&*self.kernel, &self.events);
        match request {
            Request::Hello(_) => return Err(Refused::new(ErrorCode::Malformed, "HELLO comes first")),
            Request::Sync(installed) => return kernel.sync(charon, installed).await.map(Answer::Unknown),
            Request::GetSpi(wanted) => return kernel.get_spi(charon, wanted).await.map(Answer::Spi),
            Request::QuerySa(id) => return kernel.query_sa(charon, id).await.map(Answer::Usage),
            Request::AddSa(sa) => {
                // Of one that had this name before.
                events.forget(charon, &sa.id);
                kernel.add_sa(charon, sa).await?;
            }
            Request::UpdateSa(change) => {
                kernel.update_sa(charon, change).await?;
                events.moved(charon, &change);
            }
            // After it: from then on nothing is said of them any more.
            Request::DelSa(id) => {
                let deleted = kernel.del_sa(charon, id).await;
                events.forget(charon, &id);
                deleted?;
            }
            Request::FlushSas => {
                let flushed = kernel.flush_sas(charon).await;
                events.forget_all(charon);
                flushed?;
            }
            Request::AddPolicy(policy) => kernel.add_policy(charon, policy).await?,
            Request::DelPolicy(policy) => kernel.del_policy(charon, policy).await?,
            Request::FlushPolicies => kernel.flush_policies(charon).await?,
        }
        Ok(Answer::Done)
    }

    /// Answers the request of `header`. What is refused is logged here, once.
    async fn reply(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        header: &Header,
        answer: Result<Answer, Refused>,
    ) -> io::Result<()> {
        let answer = answer.unwrap_or_else(|refused| {
            let request = Kind::of(header.kind);
            if refused.code == ErrorCode::NotFound {
                tracing::debug!(?request, "charon asks for what is not there: {refused}");
            } else {
                tracing::warn!(?request, code = ?refused.code, "refused to charon: {refused}");
            }
            Answer::Refused(refused)
        });
        let frame = answer.encode(header.kind, self.us).or_else(|error| {
            Answer::Refused(Refused::new(ErrorCode::Internal, error)).encode(header.kind, self.us)
        });
        self.send(stream, &frame.map_err(io::Error::other)?).await
    }

    async fn send(&self, stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
        timeout(self.limits.patience, stream.write_all(frame)).await?
    }
}

fn read(received: Received) -> (Header, Result<Request, Refused>) {
    let Received { header, payload } = received;
    let request = payload.and_then(|(kind, payload)| Request::from_payload(&header, kind, &payload));
    (header, request.map_err(Refused::from))
}
