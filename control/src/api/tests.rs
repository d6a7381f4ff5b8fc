//! Server and client over a real socket, in front of a gateway that is made up.

pub(crate) mod fake;
mod requests;
mod socket;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Gateway, bind, serve};

/// A server in a directory of its own.
struct Running {
    directory: TempDir,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start(gateway: Arc<dyn Gateway>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = bind(&socket_in(directory.path())).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(socket, gateway, async move {
            let _ = stopped.await;
        }));
        Self { directory, stop, server }
    }

    fn socket(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap().unwrap();
        assert!(!socket_in(self.directory.path()).exists(), "the socket stays behind");
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("run/api.sock")
}
