//! The server over a real socket, in front of a kernel that is made up.

mod bounds;
mod cuts;
mod fake;
mod presence;
mod requests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Events, Limits, serve};
use crate::ike::protocol::tests::{add_sa, id};
use crate::ike::protocol::*;
use crate::local_socket;
use fake::Fake;

const US: Instance = Instance(0xaaaa);
const CHARON: Instance = Instance(0xcccc);

/// A server in a directory of its own.
struct Running {
    directory: TempDir,
    kernel: Arc<Fake>,
    events: Events,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start() -> Self {
        // Nothing here waits for it, however busy the machine.
        Self::start_with(Limits { patience: Duration::from_secs(60), ..Limits::default() })
    }

    fn start_with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket =
            local_socket::bind(&directory.path().join("run/charon.sock"), "ike.plugin_socket").unwrap();
        let (kernel, events) = (Arc::new(Fake::default()), Events::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(socket, US, Arc::clone(&kernel), events.clone(), limits, async {
            let _ = stopped.await;
        }));
        Self { directory, kernel, events, stop, server }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/charon.sock")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    /// Sends bytes, and reads all that comes back until the connection closes.
    async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Reset behind the answer, where not all that was sent was read.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    async fn ask(&self, request: &Request) -> Answer {
        let bytes = self.send(&request.encode(CHARON).unwrap()).await;
        let (instance, kind, answer) = Answer::decode(&bytes).unwrap();
        assert_eq!((instance, kind), (US, request.kind()));
        answer
    }

    /// A connection that has said hello.
    async fn hello(&self, charon: Instance) -> Conversation {
        let mut conversation = Conversation { stream: self.connect().await, charon };
        assert_eq!(conversation.ask(&hello()).await, Answer::Done);
        conversation
    }

    /// Waits until the kernel has been called like this, and nothing else.
    async fn calls(&self, expected: &[&str]) {
        for _ in 0..2000 {
            if self.kernel.calls().len() >= expected.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.kernel.calls(), expected);
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap().unwrap();
        assert!(!self.directory.path().join("run/charon.sock").exists(), "the socket stays behind");
    }
}

/// charon's connection for events.
struct Conversation {
    stream: UnixStream,
    charon: Instance,
}

impl Conversation {
    async fn frame(&mut self) -> Vec<u8> {
        let mut frame = vec![0; 4];
        self.stream.read_exact(&mut frame).await.unwrap();
        let rest = u32::from_be_bytes(frame[..].try_into().unwrap()) as usize;
        frame.resize(4 + rest, 0);
        self.stream.read_exact(&mut frame[4..]).await.unwrap();
        frame
    }

    async fn ask(&mut self, request: &Request) -> Answer {
        self.stream.write_all(&request.encode(self.charon).unwrap()).await.unwrap();
        Answer::decode(&self.frame().await).unwrap().2
    }

    async fn sync(&mut self) {
        assert_eq!(self.ask(&Request::Sync(vec![])).await, Answer::Unknown(vec![]));
    }

    async fn event(&mut self) -> Event {
        Event::decode(&self.frame().await).unwrap().1
    }

    async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
}

fn hello() -> Request {
    Request::Hello(Hello { charon: "5.9.8".into(), plugin: "0.1".into() })
}

/// One of each request that has a connection of its own.
fn requests() -> Vec<Request> {
    let policy = PolicySpec {
        direction: Direction::Out,
        action: PolicyAction::Ipsec,
        mode: Mode::Tunnel,
        reqid: 7,
        spi: Some(id().spi),
        src: id().src,
        dst: id().dst,
        src_ts: add_sa().src_ts[0],
        dst_ts: add_sa().dst_ts[0],
    };
    let (src, dst) = (id().src, id().dst);
    vec![
        Request::GetSpi(GetSpi { src, dst }),
        Request::AddSa(Box::new(add_sa())),
        Request::UpdateSa(UpdateSa { id: id(), src, dst, encap: true, new_encap: true, new_reqid: 0 }),
        Request::DelSa(id()),
        Request::QuerySa(id()),
        Request::FlushSas,
        Request::AddPolicy(policy),
        Request::DelPolicy(policy),
        Request::FlushPolicies,
    ]
}

fn expire(hard: bool) -> Event {
    Event::Expire { id: id(), hard }
}
