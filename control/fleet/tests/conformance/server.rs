//! A real etcd of one or more members, on the loopback, for one test; and a wire to it that can be cut.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::sync::watch;

/// What to do when there is none.
const MISSING: &str =
    "this test needs etcd: scripts/install-deps test (apt-get install etcd-server etcd-client)";

/// One process of etcd's. Ends with this, also when the test panics or is killed.
pub struct Member {
    name: String,
    child: Child,
    arguments: Vec<String>,
    data: PathBuf,
    peers: Peers,
    log: PathBuf,
    pub url: String,
}

/// What the members know of one another.
#[derive(Clone)]
struct Peers {
    own: String,
    all: String,
}

/// What etcd gives to users who have shown their password.
#[derive(Clone, Copy, Debug)]
pub enum Tokens {
    /// Etcd keeps them, and counts from their last use.
    Simple,
    /// They carry their end, whatever they are used for.
    Signed,
}

/// Members that belong together.
pub struct Cluster {
    pub members: Vec<Member>,
    pub dir: TempDir,
    tls: Vec<String>,
}

impl Cluster {
    /// Starts so many members.
    pub fn start(members: usize) -> Self {
        Self::start_with(members, tempfile::tempdir().unwrap(), vec![], false)
    }

    /// One member whose database may have so many bytes.
    pub fn start_small(most_bytes: u64) -> Self {
        let arguments = vec![format!("--quota-backend-bytes={most_bytes}")];
        Self::start_with(1, tempfile::tempdir().unwrap(), arguments, false)
    }

    /// One member whose tokens end after so many seconds.
    pub fn start_with_tokens(tokens: Tokens, seconds: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let arguments = match tokens {
            Tokens::Simple => vec![format!("--auth-token-ttl={seconds}")],
            Tokens::Signed => {
                let script = "
                    openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out token.key
                    openssl pkey -in token.key -pubout -out token.pub";
                run(script, dir.path());
                let path = |name: &str| dir.path().join(name).display().to_string();
                let (public, private) = (path("token.pub"), path("token.key"));
                vec![format!(
                    "--auth-token=jwt,pub-key={public},priv-key={private},sign-method=RS256,ttl={seconds}s"
                )]
            }
        };
        Self::start_with(1, dir, arguments, false)
    }

    /// Makes the user `penstock` with the password `secret`, who may write below `/penstock/test/`; from then on nobody
    /// else gets in.
    pub fn let_in_penstock_only(&self) {
        for command in [
            "user add root:root",
            "user grant-role root root",
            "role add fleet",
            "role grant-permission fleet --prefix=true readwrite /penstock/test/",
            "user add penstock:secret",
            "user grant-role penstock fleet",
            "auth enable",
        ] {
            self.ctl(&command.split(' ').collect::<Vec<_>>());
        }
    }

    /// One member that wants certificates of its clients; see [`make_certificates`].
    pub fn start_tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_certificates(dir.path());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let server = vec![
            "--client-cert-auth".to_owned(),
            format!("--trusted-ca-file={}", path("ca.pem")),
            format!("--cert-file={}", path("server.pem")),
            format!("--key-file={}", path("server.key")),
        ];
        Self::start_with(1, dir, server, true)
    }

    fn start_with(count: usize, dir: TempDir, arguments: Vec<String>, tls: bool) -> Self {
        let scheme = if tls { "https" } else { "http" };
        // All are held until all are known, so that they are different ones.
        let ports: Vec<_> = (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |i: usize| ports[i].local_addr().unwrap();
        let peer = |i: usize| format!("http://{}", port(2 * i + 1));
        let all: Vec<_> = (0..count).map(|i| format!("m{i}={}", peer(i))).collect();
        let plans: Vec<_> = (0..count)
            .map(|i| (format!("{scheme}://{}", port(2 * i)), Peers { own: peer(i), all: all.join(",") }))
            .collect();
        drop(ports);
        let members = plans.into_iter().enumerate().map(|(i, (url, peers))| {
            Member::start(format!("m{i}"), dir.path().join(format!("m{i}")), arguments.clone(), url, peers)
        });
        let members = members.collect();
        let client = |name: &str, file: &str| format!("--{name}={}", dir.path().join(file).display());
        let tls = [("cacert", "ca.pem"), ("cert", "client.pem"), ("key", "client.key")]
            .into_iter()
            .filter(|_| tls)
            .map(|(name, file)| client(name, file))
            .collect();
        Self { members, dir, tls }
    }

    /// The members' URLs.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.url.clone()).collect()
    }

    /// Runs etcdctl; what it says is returned.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(&self.tls).arg(format!("--endpoints={}", self.urls().join(",")));
        let done = command.args(arguments).output().expect(MISSING);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(
            done.status.success(),
            "etcdctl {arguments:?}: {said}{}",
            String::from_utf8_lossy(&done.stderr)
        );
        said
    }
}

impl Member {
    fn start(name: String, data: PathBuf, arguments: Vec<String>, url: String, peers: Peers) -> Self {
        let log = data.with_extension("log");
        let child = spawn(&name, &data, &arguments, &url, &peers, &log);
        Self { name, child, arguments, data, peers, log, url }
    }

    /// Starts it again with what it has on its disk.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.name, &self.data, &self.arguments, &self.url, &self.peers, &self.log);
    }

    /// Ends it at once, as a power failure would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it: it is there, and does not answer.
    pub fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Puts what is in a snapshot in the place of all that it has, and starts it again. With another `token` it is
    /// another cluster.
    pub fn restore(&mut self, snapshot: &Path, token: &str) {
        self.kill();
        fs::remove_dir_all(&self.data).unwrap();
        let restored = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(snapshot)
            .arg(format!("--data-dir={}", self.data.display()))
            .arg(format!("--name={}", self.name))
            .arg(format!("--initial-cluster={}", self.peers.all))
            .arg(format!("--initial-advertise-peer-urls={}", self.peers.own))
            .arg(format!("--initial-cluster-token={token}"))
            .output()
            .expect(MISSING);
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        self.child = spawn(&self.name, &self.data, &self.arguments, &self.url, &self.peers, &self.log);
    }

    /// What it wrote, for who looks at a test that failed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(name: &str, data: &Path, arguments: &[String], url: &str, peers: &Peers, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    // If the test is killed there is nobody to end etcd.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "etcd"])
        .arg(format!("--name={name}"))
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"))
        .arg(format!("--listen-peer-urls={}", peers.own))
        .arg(format!("--initial-advertise-peer-urls={}", peers.own))
        .arg(format!("--initial-cluster={}", peers.all))
        .args(["--logger=zap", "--log-level=warn"])
        // Passwords of tests need not be hard to guess, and a busy machine takes its time.
        .arg("--bcrypt-cost=4")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect(MISSING)
}

/// `ca.pem`, and of it `server.pem` for 127.0.0.1 and `client.pem`, with their keys; `other.pem`, which signed nothing.
fn make_certificates(dir: &Path) {
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout other.key -out other.pem
        echo subjectAltName=IP:127.0.0.1 > names
        for name in server client; do
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out $name.pem
        done
        chmod 600 *.key";
    run(script, dir);
}

fn run(script: &str, dir: &Path) {
    let done = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A wire to a server.
pub struct Wire {
    pub url: String,
    state: Arc<watch::Sender<bool>>,
}

impl Wire {
    /// To the server at a `http://` URL.
    pub async fn to(url: &str) -> Self {
        let server: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(watch::Sender::new(true));
        let whole = Arc::downgrade(&state);
        tokio::spawn(async move {
            while let (Ok((mut client, _)), Some(state)) = (listener.accept().await, whole.upgrade()) {
                let mut whole = state.subscribe();
                tokio::spawn(async move {
                    let Ok(mut server) = tokio::net::TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = whole.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { url, state }
    }

    /// Ends all connections, and lets no new one through.
    pub fn cut(&self) {
        self.state.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.send_replace(true);
    }
}
