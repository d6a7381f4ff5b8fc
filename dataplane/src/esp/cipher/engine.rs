//! A worker's tool: checks a burst's jobs, writes their IVs, and lets each backend do its own.

use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroize;

use super::job::{OpenJob, SealJob, State, payload_fits};
use super::{Backend, CipherError, ipsec_mb, rust};
use crate::esp::suite::{Encryption, HEADER_LEN};

/// Seals and opens bursts with keys of the backend it was made for, of RustCrypto and of `vaes`.
pub struct Engine {
    /// Makes the unpredictable IVs of CBC.
    iv_key: Aes128Enc,
    /// Where it was made for keys of that backend.
    ipsec_mb: Option<ipsec_mb::MbEngine>,
}

impl Engine {
    /// An engine for keys of `backend`.
    ///
    /// # Errors
    /// When the backend does not work here, or the system gives no random bytes.
    pub fn new(backend: Backend) -> Result<Self, CipherError> {
        let ipsec_mb = match backend {
            Backend::RustCrypto | Backend::Vaes => None,
            Backend::IpsecMb => Some(ipsec_mb::MbEngine::new()?),
        };
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| CipherError::NoRandom)?;
        let iv_key = Aes128Enc::new(&Array(random));
        random.zeroize();
        Ok(Self { iv_key, ipsec_mb })
    }

    /// Encrypts and authenticates; see [`SealJob::is_sealed`].
    #[inline]
    pub fn seal(&mut self, jobs: &mut [SealJob<'_>]) {
        #[cfg(target_arch = "x86_64")]
        if !super::vaes::seal(jobs) {
            return;
        }
        self.seal_others(jobs);
    }

    #[inline(never)]
    fn seal_others(&mut self, jobs: &mut [SealJob<'_>]) {
        let mut backends = Backends::default();
        for job in &mut *jobs {
            if job.state == State::New {
                job.state = if self.write_iv(job) { State::Checked } else { State::Refused };
            }
            backends.add(job.cipher.backend());
        }
        if backends.has(Backend::RustCrypto) {
            rust::seal(jobs);
        }
        if backends.has(Backend::IpsecMb)
            && let Some(engine) = &mut self.ipsec_mb
        {
            engine.seal(jobs);
        }
    }

    /// Verifies and decrypts; see [`OpenJob::is_authentic`].
    #[inline]
    pub fn open(&mut self, jobs: &mut [OpenJob<'_>]) {
        #[cfg(target_arch = "x86_64")]
        if !super::vaes::open(jobs) {
            return;
        }
        self.open_others(jobs);
    }

    #[inline(never)]
    fn open_others(&mut self, jobs: &mut [OpenJob<'_>]) {
        let mut backends = Backends::default();
        for job in &mut *jobs {
            if job.state == State::New {
                let fits = payload_fits(job.cipher.suite(), job.esp.len());
                job.state = if fits { State::Checked } else { State::Refused };
            }
            backends.add(job.cipher.backend());
        }
        if backends.has(Backend::RustCrypto) {
            rust::open(jobs);
        }
        if backends.has(Backend::IpsecMb)
            && let Some(engine) = &mut self.ipsec_mb
        {
            engine.open(jobs);
        }
    }

    /// The library's part, where there is one.
    #[cfg(all(test, ipsec_mb))]
    pub(super) fn ipsec_mb(&mut self) -> Option<&mut ipsec_mb::MbEngine> {
        self.ipsec_mb.as_mut()
    }

    /// Makes IVs that a test can foresee.
    #[cfg(test)]
    pub(super) fn set_iv_key(&mut self, key: [u8; 16]) {
        self.iv_key = Aes128Enc::new(&Array(key));
    }

    /// Checks the job's lengths and writes its IV.
    #[inline(always)]
    fn write_iv(&self, job: &mut SealJob<'_>) -> bool {
        let suite = job.cipher.suite();
        if !payload_fits(suite, job.esp.len()) {
            return false;
        }
        let Some(rest) = job.esp.get_mut(HEADER_LEN..) else { return false };
        match suite.encryption() {
            // The number itself: unique is enough (RFC 4106 section 3.1, RFC 7634 section 2).
            Encryption::AesGcm128 | Encryption::AesGcm256 | Encryption::ChaCha20Poly1305 => {
                let Some(iv) = rest.first_chunk_mut() else { return false };
                *iv = job.iv;
            }
            // Nobody may foresee it (RFC 3602 section 3): the number under a key that only this engine knows
            // (SP 800-38A appendix C, the first method).
            Encryption::AesCbc128 | Encryption::AesCbc256 => {
                let Some(iv) = rest.first_chunk_mut::<16>() else { return false };
                let mut block = [0; 16];
                block[..8].copy_from_slice(&job.iv);
                let mut block = Array(block);
                self.iv_key.encrypt_block(&mut block);
                *iv = block.0;
            }
            Encryption::Null => {}
        }
        true
    }
}

/// The backends whose keys a burst has.
#[derive(Default)]
struct Backends(u8);

impl Backends {
    #[inline(always)]
    fn add(&mut self, backend: Backend) {
        self.0 |= 1 << backend as u8;
    }

    #[inline(always)]
    fn has(&self, backend: Backend) -> bool {
        self.0 & (1 << backend as u8) != 0
    }
}
