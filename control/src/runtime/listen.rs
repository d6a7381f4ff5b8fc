//! The API over TCP, as the configuration wants it.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;

use super::Running;
use crate::api::remote::{Remote, Terms};
use crate::config::ValidConfig;

/// The files of the configuration's `api`, read.
pub(super) type Tls = Arc<ServerConfig>;

impl Running {
    /// Listens where and for whom the configuration says, or nowhere.
    ///
    /// # Errors
    /// When the address cannot be listened on. It listens as before then.
    pub(super) async fn listen(&mut self, config: &ValidConfig, tls: Option<Tls>) -> Result<(), String> {
        let (Some(api), Some(tls)) = (&config.api, tls) else {
            self.remote = None;
            return Ok(());
        };
        // The private key is in memory from now on.
        super::hide_memory();
        let terms = Terms { config: api.clone(), tls };
        match &self.remote {
            Some(remote) if remote.listen() == api.listen => remote.set(terms),
            _ => {
                let started = Remote::start(terms, self.api.clone()).await.map_err(|error| {
                    let advice = match error.kind() {
                        ErrorKind::AddrInUse => "see who has it: ss -ltnp",
                        ErrorKind::AddrNotAvailable => {
                            "write an address that this server has outside of the twins' namespace: ip address"
                        }
                        _ => "write another one into api.listen",
                    };
                    format!("{} cannot be listened on: {error}; {advice}", api.listen)
                })?;
                self.remote = Some(started);
            }
        }
        Ok(())
    }
}
