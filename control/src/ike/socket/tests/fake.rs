//! A kernel that writes down what it is asked for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use penstock_dataplane::esp::sa::Spi;
use tokio::sync::Notify;

use crate::ike::protocol::*;
use crate::ike::socket::Kernel;

#[derive(Default)]
pub(super) struct Fake {
    calls: Mutex<Vec<String>>,
    /// What all calls are refused with.
    pub(super) refuse: Mutex<Option<Refused>>,
    /// Whether `add_sa` waits for `go_on`.
    pub(super) wait: Mutex<bool>,
    pub(super) go_on: Notify,
}

impl Fake {
    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn done<T>(&self, call: &str, charon: Instance, answer: T) -> Result<T, Refused> {
        self.calls.lock().unwrap().push(format!("{call} {:x}", charon.0));
        match self.refuse.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(refused) => Err(refused),
            None => Ok(answer),
        }
    }
}

impl Kernel for Fake {
    async fn hello(&self, charon: Instance, versions: Hello) -> Result<(), Refused> {
        assert_eq!(versions.charon, "5.9.8");
        self.done("hello", charon, ())
    }

    async fn sync(&self, charon: Instance, installed: Vec<Installed>) -> Result<Vec<SaId>, Refused> {
        self.done("sync", charon, installed.into_iter().map(|sa| sa.id).collect())
    }

    async fn gone(&self, charon: Instance) {
        let _ = self.done("gone", charon, ());
    }

    async fn get_spi(&self, charon: Instance, _: GetSpi) -> Result<Spi, Refused> {
        self.done("get_spi", charon, Spi(0xc000_0001))
    }

    async fn add_sa(&self, charon: Instance, sa: Box<AddSa>) -> Result<(), Refused> {
        let must_wait = *self.wait.lock().unwrap();
        if must_wait {
            self.go_on.notified().await;
        }
        assert!(sa.keys().is_ok());
        self.done("add_sa", charon, ())
    }

    async fn update_sa(&self, charon: Instance, _: UpdateSa) -> Result<(), Refused> {
        self.done("update_sa", charon, ())
    }

    async fn del_sa(&self, charon: Instance, _: SaId) -> Result<(), Refused> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.done("del_sa", charon, ())
    }

    async fn query_sa(&self, charon: Instance, id: SaId) -> Result<Usage, Refused> {
        assert!(id.spi.0 != 666, "a fault of ours");
        self.done("query_sa", charon, Usage { bytes: 1, packets: 2, idle_s: None })
    }

    async fn flush_sas(&self, charon: Instance) -> Result<(), Refused> {
        self.done("flush_sas", charon, ())
    }

    async fn add_policy(&self, charon: Instance, _: PolicySpec) -> Result<(), Refused> {
        self.done("add_policy", charon, ())
    }

    async fn del_policy(&self, charon: Instance, _: PolicySpec) -> Result<(), Refused> {
        self.done("del_policy", charon, ())
    }

    async fn flush_policies(&self, charon: Instance) -> Result<(), Refused> {
        self.done("flush_policies", charon, ())
    }
}
