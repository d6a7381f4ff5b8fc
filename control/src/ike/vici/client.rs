//! Packets on a unix socket: requests and their answers, events.

use std::path::Path;
use std::time::Duration;

use nix::unistd::Uid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::error::ViciError;
use super::message::{Message, Section};

const CMD_REQUEST: u8 = 0;
const CMD_RESPONSE: u8 = 1;
const CMD_UNKNOWN: u8 = 2;
const EVENT_REGISTER: u8 = 3;
const EVENT_UNREGISTER: u8 = 4;
const EVENT_CONFIRM: u8 = 5;
const EVENT_UNKNOWN: u8 = 6;
const EVENT: u8 = 7;

/// Longest packet that charon sends or takes.
const MAX_PACKET: usize = 512 * 1024;
/// How long charon may take for what we ask; it answers in microseconds unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection for requests.
#[derive(Debug)]
pub struct Client {
    packets: Packets,
    /// A request was given up halfway: whose answer comes next is not known any more.
    out_of_step: bool,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// When nobody listens, or somebody who is neither root nor our own user.
    pub async fn connect(path: &Path) -> Result<Self, ViciError> {
        Ok(Self { packets: Packets::connect(path).await?, out_of_step: false })
    }

    /// Asks, and returns what charon answers.
    ///
    /// # Errors
    /// When charon says no ([`ViciError::is_refusal`]), or the connection is of no more use.
    pub async fn request(&mut self, command: &str, message: &Message) -> Result<Section, ViciError> {
        self.ask(command, message, None, &mut |_| ()).await
    }

    /// Asks for something whose answer is a stream of events, and hands each to `take`.
    ///
    /// # Errors
    /// As for [`Client::request`].
    pub async fn stream(
        &mut self,
        command: &str,
        event: &str,
        message: &Message,
        mut take: impl FnMut(Section) + Send,
    ) -> Result<(), ViciError> {
        in_step(&mut self.out_of_step, event, self.packets.register(EVENT_REGISTER, event)).await?;
        let asked = self.ask(command, message, Some(event), &mut take).await;
        let ended =
            in_step(&mut self.out_of_step, event, self.packets.register(EVENT_UNREGISTER, event)).await;
        asked.and(ended)
    }

    async fn ask(
        &mut self,
        command: &str,
        message: &Message,
        event: Option<&str>,
        take: &mut (dyn FnMut(Section) + Send),
    ) -> Result<Section, ViciError> {
        let body = message.encoded()?;
        let packets = &mut self.packets;
        let exchange = async {
            packets.send(CMD_REQUEST, command, body).await?;
            loop {
                let packet = packets.receive().await?;
                match (packet.kind, event) {
                    (CMD_RESPONSE, _) => return Ok(Section::decode(&packet.body)?),
                    (CMD_UNKNOWN, _) => return Err(ViciError::Unknown(command.to_owned())),
                    (EVENT, Some(event)) if packet.name == event => take(Section::decode(&packet.body)?),
                    _ => return Err(packet.unexpected()),
                }
            }
        };
        let answer = in_step(&mut self.out_of_step, command, exchange).await?;
        if answer.value("success") == Some("no") {
            let reason = answer.value("errmsg").unwrap_or("no reason given").to_owned();
            return Err(ViciError::Refused { command: command.to_owned(), reason });
        }
        Ok(answer)
    }
}

/// One exchange after the other, each with an end. A refusal leaves the connection in order; when anything else goes
/// wrong, or the exchange is dropped halfway, it is `out_of_step`.
async fn in_step<T>(
    out_of_step: &mut bool,
    what: &str,
    exchange: impl Future<Output = Result<T, ViciError>>,
) -> Result<T, ViciError> {
    if *out_of_step {
        return Err(std::io::Error::other("an earlier request was given up").into());
    }
    *out_of_step = true;
    let seconds = PATIENCE.as_secs();
    let outcome = timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| Err(ViciError::Timeout { command: what.to_owned(), seconds }));
    *out_of_step = outcome.as_ref().is_err_and(|error| !error.is_refusal());
    outcome
}

/// A connection for events.
#[derive(Debug)]
pub struct Events {
    packets: Packets,
}

impl Events {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// When nobody listens, or charon does not know one of the events.
    pub async fn subscribe(path: &Path, names: &[&str]) -> Result<Self, ViciError> {
        let mut packets = Packets::connect(path).await?;
        let subscribe = async {
            for name in names {
                packets.register(EVENT_REGISTER, name).await?;
            }
            Ok(())
        };
        let seconds = PATIENCE.as_secs();
        timeout(PATIENCE, subscribe)
            .await
            .map_err(|_| ViciError::Timeout { command: "subscribe".into(), seconds })
            .and_then(|done: Result<(), ViciError>| done)?;
        Ok(Self { packets })
    }

    /// The next event. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the connection breaks: charon has ended.
    pub async fn next(&mut self) -> Result<(String, Section), ViciError> {
        let packet = match self.packets.early.pop_front() {
            Some(packet) => packet,
            None => self.packets.receive().await?,
        };
        if packet.kind != EVENT {
            return Err(packet.unexpected());
        }
        let message = Section::decode(&packet.body)?;
        Ok((packet.name, message))
    }
}

#[derive(Debug)]
struct Packet {
    kind: u8,
    name: String,
    body: Vec<u8>,
}

impl Packet {
    fn unexpected(&self) -> ViciError {
        ViciError::Unexpected { length: self.body.len(), kind: self.kind }
    }
}

#[derive(Debug)]
struct Packets {
    stream: UnixStream,
    /// Received, not yet a whole packet.
    received: Vec<u8>,
    /// Events that came while others were being subscribed to.
    early: std::collections::VecDeque<Packet>,
}

impl Packets {
    async fn connect(path: &Path) -> Result<Self, ViciError> {
        let fail = |source| ViciError::Connect { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).await.map_err(fail)?;
        let uid = stream.peer_cred().map_err(fail)?.uid();
        if uid != 0 && uid != Uid::effective().as_raw() {
            return Err(ViciError::Stranger { path: path.to_owned(), uid });
        }
        Ok(Self { stream, received: Vec::new(), early: std::collections::VecDeque::new() })
    }

    /// Subscribes to an event, or no longer.
    async fn register(&mut self, kind: u8, event: &str) -> Result<(), ViciError> {
        self.send(kind, event, &[]).await?;
        loop {
            let packet = self.receive().await?;
            match packet.kind {
                EVENT_CONFIRM => return Ok(()),
                EVENT_UNKNOWN => return Err(ViciError::Unknown(format!("the event {event}"))),
                EVENT => self.early.push_back(packet),
                _ => return Err(packet.unexpected()),
            }
        }
    }

    async fn send(&mut self, kind: u8, name: &str, body: &[u8]) -> Result<(), ViciError> {
        let head = [&[kind, u8::try_from(name.len()).unwrap_or(u8::MAX)], name.as_bytes()].concat();
        let length = head.len() + body.len();
        let announced = u32::try_from(length).ok().filter(|_| length <= MAX_PACKET);
        let announced = announced.ok_or_else(|| ViciError::Refused {
            command: name.to_owned(),
            reason: format!("a request of {length} bytes is larger than charon takes"),
        })?;
        let mut packet = Zeroizing::new(Vec::with_capacity(length + 4));
        packet.extend_from_slice(&announced.to_be_bytes());
        packet.extend_from_slice(&head);
        packet.extend_from_slice(body);
        Ok(self.stream.write_all(&packet).await?)
    }

    /// The next packet. What has been received of it is kept when the future is dropped.
    async fn receive(&mut self) -> Result<Packet, ViciError> {
        loop {
            if let Some(packet) = self.take()? {
                return Ok(packet);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn take(&mut self) -> Result<Option<Packet>, ViciError> {
        let Some((length, rest)) = self.received.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        let kind = rest.first().copied().unwrap_or_default();
        if length == 0 || length > MAX_PACKET {
            return Err(ViciError::Unexpected { length, kind });
        }
        let Some(packet) = rest.get(1..length) else { return Ok(None) };
        let (name, body) = if kind == EVENT {
            let (&length, rest) = packet.split_first().ok_or(ViciError::Unexpected { length, kind })?;
            let split = rest.split_at_checked(usize::from(length));
            split.ok_or(ViciError::Unexpected { length: packet.len(), kind })?
        } else {
            (&[][..], packet)
        };
        let packet = Packet { kind, name: String::from_utf8_lossy(name).into_owned(), body: body.to_vec() };
        self.received.drain(..4 + length);
        Ok(Some(packet))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tokio::net::UnixListener as Listener;

    use super::*;

    /// A daemon that answers the packets it gets, one after the other, with given bytes; each in two pieces.
    fn daemon(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vici");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = Listener::from_std(listener).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut request = vec![0; stream.read_u32().await.unwrap() as usize];
                stream.read_exact(&mut request).await.unwrap();
                let (first, second) = answer.split_at(answer.len() / 2);
                stream.write_all(first).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all(second).await.unwrap();
            }
        });
        (directory, path)
    }

    fn packet(kind: u8, name: Option<&str>, message: &Message) -> Vec<u8> {
        let mut packet = vec![kind];
        if let Some(name) = name {
            packet.push(u8::try_from(name.len()).unwrap());
            packet.extend(name.bytes());
        }
        packet.extend(message.encoded().unwrap());
        [&u32::try_from(packet.len()).unwrap().to_be_bytes()[..], &packet].concat()
    }

    fn answer(message: &Message) -> Vec<u8> {
        packet(CMD_RESPONSE, None, message)
    }

    #[tokio::test]
    async fn an_answer_a_refusal_and_an_unknown_command() {
        let (_directory, path) = daemon(vec![
            answer(&Message::new().value("version", "5.9.8")),
            answer(&Message::new().value("success", "no").value("errmsg", "invalid value for: local_addrs")),
            packet(CMD_UNKNOWN, None, &Message::new()),
            packet(EVENT_UNKNOWN, None, &Message::new()),
            answer(&Message::new().value("version", "5.9.8")),
        ]);
        let mut client = Client::connect(&path).await.unwrap();
        let version = client.request("version", &Message::new()).await.unwrap();
        assert_eq!(version.value("version"), Some("5.9.8"));
        let refused = client.request("load-conn", &Message::new()).await.unwrap_err();
        assert_eq!(
            (refused.is_refusal(), refused.to_string()),
            (true, "invalid value for: local_addrs".into())
        );
        let unknown = client.request("dance", &Message::new()).await.unwrap_err();
        assert!(matches!(&unknown, ViciError::Unknown(command) if command == "dance"));
        let unknown = client.stream("list-sas", "dances", &Message::new(), |_| ()).await.unwrap_err();
        assert!(unknown.is_refusal(), "{unknown}");
        let long = Message::new().list("certs", vec!["x".repeat(60_000); 10]);
        let too_long = client.request("load-conn", &long).await.unwrap_err();
        assert!(too_long.is_refusal(), "{too_long}");
        // After all that, the connection is in order.
        let version = client.request("version", &Message::new()).await.unwrap();
        assert_eq!(version.value("version"), Some("5.9.8"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_hangs_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vici");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::connect(&path).await.unwrap();
        let all = Message::new();
        let hung = client.stream("list-sas", "list-sa", &all, |_| ());
        let hung = timeout(10 * PATIENCE, hung).await.expect("it does not wait for ever").unwrap_err();
        assert!(matches!(hung, ViciError::Timeout { .. }), "{hung}");
        let after = client.request("version", &Message::new()).await.unwrap_err();
        assert!(!after.is_refusal(), "the connection is not used again: {after}");
    }

    #[tokio::test]
    async fn a_daemon_that_goes_away_ends_the_request() {
        let (_directory, path) = daemon(vec![vec![0, 0]]);
        let mut client = Client::connect(&path).await.unwrap();
        let broken = client.request("version", &Message::new()).await.unwrap_err();
        assert!(matches!(broken, ViciError::Broken(_)), "{broken}");
        let after = client.request("version", &Message::new()).await.unwrap_err();
        assert!(!after.is_refusal(), "the connection is not used again");
    }

    #[tokio::test]
    async fn a_stream_of_events_belongs_to_its_request() {
        let sa = |name: &str| Message::new().section(name, &Message::new().value("state", "ESTABLISHED"));
        let events = [packet(EVENT, Some("list-sa"), &sa("a/b")), packet(EVENT, Some("list-sa"), &sa("c/d"))];
        let (_directory, path) = daemon(vec![
            packet(EVENT_CONFIRM, None, &Message::new()),
            [&events.concat()[..], &answer(&Message::new())].concat(),
            packet(EVENT_CONFIRM, None, &Message::new()),
        ]);
        let mut client = Client::connect(&path).await.unwrap();
        let mut names = Vec::new();
        let take = |section: Section| names.extend(section.sections().map(|(name, _)| name.to_owned()));
        client.stream("list-sas", "list-sa", &Message::new(), take).await.unwrap();
        assert_eq!(names, ["a/b", "c/d"]);
    }

    #[tokio::test]
    async fn an_event_survives_an_impatient_reader() {
        let log = |text: &str| packet(EVENT, Some("log"), &Message::new().value("msg", text));
        let (_directory, path) = daemon(vec![
            packet(EVENT_CONFIRM, None, &Message::new()),
            // An event between two subscriptions, and one behind them, cut in the middle.
            [log("one"), packet(EVENT_CONFIRM, None, &Message::new()), log("two")].concat(),
        ]);
        let mut events = Events::subscribe(&path, &["log", "ike-updown"]).await.unwrap();
        let mut texts = Vec::new();
        while texts.len() < 2 {
            if let Ok(event) = timeout(Duration::from_millis(3), events.next()).await {
                let (name, message) = event.unwrap();
                texts.push(format!("{name}: {}", message.value("msg").unwrap()));
            }
        }
        assert_eq!(texts, ["log: one", "log: two"]);
    }

    #[tokio::test]
    async fn a_packet_without_end_is_refused() {
        let (_directory, path) = daemon(vec![vec![0x7f, 0xff, 0xff, 0xff, 1, 0]]);
        let mut client = Client::connect(&path).await.unwrap();
        let error = client.request("version", &Message::new()).await.unwrap_err();
        assert!(matches!(error, ViciError::Unexpected { length: 0x7fff_ffff, .. }), "{error}");
    }

    #[tokio::test]
    async fn nobody_listens() {
        let error = Client::connect(Path::new("/nonexistent/vici")).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/vici"), "{error}");
        assert!(!error.is_refusal());
    }
}
