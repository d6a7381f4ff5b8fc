//! Stands where `ipsec_mb` is, in a build without it: there are no such keys and no such engine.

use super::job::{OpenJob, SealJob};
use super::{Backend, CipherError};
use crate::esp::key::KeyMaterial;

/// There is none.
#[derive(Clone)]
pub(super) enum MbKey {}

impl MbKey {
    pub(super) fn new(_: &KeyMaterial) -> Result<Self, CipherError> {
        Err(CipherError::Unavailable(Backend::IpsecMb))
    }

    pub(super) fn fetch(&self) {
        match *self {}
    }
}

/// There is none.
pub(super) enum MbEngine {}

impl MbEngine {
    pub(super) fn new() -> Result<Self, CipherError> {
        Err(CipherError::Unavailable(Backend::IpsecMb))
    }

    pub(super) fn seal(&mut self, _: &mut [SealJob<'_>]) {
        match *self {}
    }

    pub(super) fn open(&mut self, _: &mut [OpenJob<'_>]) {
        match *self {}
    }
}

/// Why.
pub(super) fn description() -> Result<String, String> {
    let reason = if cfg!(feature = "dpdk") {
        "this build has no intel-ipsec-mb: install libipsec-mb-dev and build again"
    } else {
        "this build has no DPDK, and intel-ipsec-mb comes with it"
    };
    Err(reason.to_owned())
}
