//! A charon of ours (`ike: managed`): its files, its life.
//!
//! It runs in the twins' namespace, on control's core, with a strongswan.conf that is written here, and only with the
//! sockets in our run directory. It outlives a crash of ours: then its security associations and its negotiations go on,
//! and the next process finds it again. It is ended when we stop, so that its peers are told.

mod error;
mod log;
mod process;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub use error::CharonError;
use log::{LogFile, explain};
use process::{Launch, Process};

use super::run_directory;
use super::vici::{Client, Message};

/// How long it may take to answer after its start; it takes half a second.
const START: Duration = Duration::from_secs(15);
/// How often it is asked meanwhile.
const START_STEP: Duration = Duration::from_millis(50);
/// How long it may take to tell its peers at the end.
const STOP: Duration = Duration::from_secs(5);
/// How long a found one may take to answer.
const FOUND: Duration = Duration::from_secs(3);
/// Our plugin, where Debian's charon looks for it.
pub const PLUGIN: &str = "/usr/lib/ipsec/plugins/libstrongswan-penstock.so";

/// What a charon of ours is started with.
#[derive(Debug)]
pub struct Settings {
    /// The program, `/usr/sbin/charon-systemd`.
    pub program: PathBuf,
    /// The directory of its files; made if it is not there.
    pub run: PathBuf,
    /// The text of its strongswan.conf.
    pub text: String,
    /// Its vici socket, as that text has it.
    pub vici: PathBuf,
    /// The file of the network namespace.
    pub netns: File,
    /// The core that it may use.
    pub core: Option<usize>,
    /// The file of the plugin that it cannot do without.
    pub plugin: Option<PathBuf>,
}

/// A charon of ours.
#[derive(Debug)]
pub struct Charon {
    settings: Settings,
    log: LogFile,
    process: Option<Process>,
    running_since: Option<Instant>,
}

impl Charon {
    /// Prepares its directory. Nothing is started.
    ///
    /// # Errors
    /// When the directory cannot be made, or is not safe.
    pub fn new(settings: Settings) -> Result<Self, CharonError> {
        prepare(&settings.run)?;
        let log = LogFile::new(settings.run.join("charon.log"));
        Ok(Self { settings, log, process: None, running_since: None })
    }

    /// Its process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(|process| u32::try_from(process.pid()).ok())
    }

    /// How long it has run, or has been ours.
    pub fn uptime(&self) -> Option<Duration> {
        self.running_since.map(|since| since.elapsed())
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        self.log.path()
    }

    /// Makes sure that it runs: finds one that an earlier process of ours has left, or starts one. Returns when it
    /// answers; says whether it was found.
    ///
    /// # Errors
    /// When it does not answer in time, or ends; it does not run then.
    pub async fn start(&mut self) -> Result<bool, CharonError> {
        if self.process.is_some() {
            return Ok(true);
        }
        if let Some(process) = self.find().await? {
            self.process = Some(process);
            self.running_since = Some(Instant::now());
            return Ok(true);
        }
        self.launch()?;
        let answered = self.wait().await;
        if answered.is_err() {
            self.kill().await;
        }
        answered.map(|()| false)
    }

    /// Waits until it has ended by itself, and says how. Never returns while there is none.
    pub async fn ended(&mut self) -> String {
        let Some(process) = &mut self.process else { return std::future::pending().await };
        let status = process.ended().await;
        self.process = None;
        self.running_since = None;
        status.map_or_else(|| "it is gone".to_owned(), |status| status.to_string())
    }

    /// Ends it; its peers are told.
    pub async fn stop(&mut self) {
        let Some(process) = &mut self.process else { return };
        let asked = process.terminate();
        if asked.is_err() || timeout(STOP, process.ended()).await.is_err() {
            tracing::warn!(pid = process.pid(), "charon does not end by itself, it is killed");
        }
        self.kill().await;
        let _ = fs::remove_file(self.file("charon.pid"));
    }

    /// Ends it without a word; does nothing when it has ended.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take()
            && process.kill().is_ok()
        {
            // SIGKILL cannot be refused; a process that hangs in the kernel is not waited for.
            let _ = timeout(STOP, process.ended()).await;
        }
        self.running_since = None;
    }

    /// Once in a while: its log is kept below its bound.
    pub fn turn(&self) {
        if let Err(error) = self.log.bound() {
            tracing::warn!(%error, file = %self.log.path().display(), "charon's log grows");
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.settings.run.join(name)
    }

    /// The charon of an earlier process of ours. One that is not as it has to be is ended.
    async fn find(&self) -> Result<Option<Process>, CharonError> {
        let Some((pid, started)) =
            fs::read_to_string(self.file("charon.pid")).ok().and_then(|text| parse(&text))
        else {
            return Ok(None);
        };
        let found = Process::adopt(pid, started).map_err(CharonError::system("find the charon of before"))?;
        let Some(mut process) = found else { return Ok(None) };
        let same_text =
            fs::read_to_string(self.file("strongswan.conf")).is_ok_and(|text| text == self.settings.text);
        let why = if !same_text {
            "its settings have changed"
        } else if !process.is_in(&self.settings.netns) {
            "it is in another network namespace"
        } else if !answers(&self.settings.vici).await {
            "it does not answer"
        } else {
            tracing::info!(pid, "charon still runs from before, it is kept");
            return Ok(Some(process));
        };
        tracing::warn!(pid, why, "charon still runs from before, it is ended");
        if process.terminate().is_err() || timeout(STOP, process.ended()).await.is_err() {
            let _ = process.kill();
            let _ = timeout(STOP, process.ended()).await;
        }
        Ok(None)
    }

    fn launch(&mut self) -> Result<(), CharonError> {
        if let Some(plugin) = self.settings.plugin.as_ref().filter(|plugin| !plugin.exists()) {
            return Err(CharonError::Plugin(plugin.clone()));
        }
        let settings = self.file("strongswan.conf");
        write(&settings, &self.settings.text).map_err(CharonError::system("write charon's settings"))?;
        // A socket of a charon that was killed would look like one that does not answer.
        let _ = fs::remove_file(&self.settings.vici);
        let launch = Launch {
            program: &self.settings.program,
            settings: &settings,
            netns: self.settings.netns.as_fd(),
            core: self.settings.core,
            output: self.log.open().map_err(CharonError::system("open charon's log"))?,
        };
        let process = Process::spawn(&launch).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                CharonError::Missing(self.settings.program.clone())
            } else {
                CharonError::System { action: "start charon", source }
            }
        })?;
        let line = format!("{} {}\n", process.pid(), process.started());
        let noted = write(&self.file("charon.pid"), &line);
        self.process = Some(process);
        self.running_since = Some(Instant::now());
        noted.map_err(CharonError::system("write charon's process id"))
    }

    /// Until it answers.
    async fn wait(&mut self) -> Result<(), CharonError> {
        let deadline = Instant::now() + START;
        let log = self.log.path().to_owned();
        let reason = |log: &LogFile| log.tail().ok().and_then(|text| explain(&text));
        while Instant::now() < deadline {
            let Some(process) = &mut self.process else { break };
            tokio::select! {
                status = process.ended() => {
                    let how = status.map_or_else(String::new, |status| format!(" ({status})"));
                    return Err(CharonError::Ended { how, reason: reason(&self.log), log });
                }
                () = sleep(START_STEP) => {}
            }
            if answers(&self.settings.vici).await {
                return Ok(());
            }
        }
        Err(CharonError::Silent { seconds: START.as_secs(), reason: reason(&self.log), log })
    }
}

async fn answers(vici: &Path) -> bool {
    let ask = async { Client::connect(vici).await?.request("version", &Message::new()).await };
    timeout(FOUND, ask).await.is_ok_and(|answer| answer.is_ok())
}

/// `PID START`
fn parse(text: &str) -> Option<(i32, u64)> {
    let (pid, started) = text.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

/// Makes the run directory, for us alone.
fn prepare(directory: &Path) -> Result<(), CharonError> {
    let fail = |source| CharonError::Directory { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
    let found = fs::symlink_metadata(directory).map_err(fail)?;
    if !found.is_dir() || found.uid() != nix::unistd::Uid::effective().as_raw() {
        return Err(CharonError::Unsafe(directory.to_owned()));
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(fail)
}

/// Writes a file as a whole or not at all, for us alone.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    run_directory::replace(path, &path.with_extension("new"), text.as_bytes())
}
