//! What the processor can do, against what the program and the ciphers need.

use penstock_dataplane::esp::cipher::Backend;

use super::{Finding, Host, encrypts};
use crate::config::{CryptoBackend, ValidConfig};

/// What the compiler may use: x86-64-v3, without what the operating system adds.
const NEEDED: [&str; 6] = ["avx2", "bmi1", "bmi2", "fma", "movbe", "abm"];

pub(super) fn examine(host: &Host, config: Option<&ValidConfig>) -> Vec<Finding> {
    vec![features(host), crypto(host, config)]
}

/// The instructions that the first processor of the host has.
fn flags(host: &Host) -> Vec<String> {
    let cpuinfo = host.read("/proc/cpuinfo").unwrap_or_default();
    let line = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    line.split_whitespace().skip(2).map(str::to_owned).collect()
}

fn features(host: &Host) -> Finding {
    const CHECK: &str = "cpu.features";
    let flags = flags(host);
    let missing: Vec<_> =
        NEEDED.into_iter().filter(|needed| !flags.iter().any(|flag| flag == needed)).collect();
    if missing.is_empty() {
        let constant = flags.iter().any(|flag| flag == "constant_tsc");
        return match constant {
            true => Finding::ok(CHECK, "x86-64-v3 (AVX2, BMI2), constant time stamp counter"),
            false => Finding::warning(
                CHECK,
                "the time stamp counter follows the core's frequency: rates and budgets are off by as much",
                "fix the frequency: cpupower frequency-set --governor performance",
            ),
        };
    }
    Finding::bad(
        CHECK,
        format!("the processor lacks {}; the program is built for x86-64-v3", missing.join(", ")),
        "use a processor of 2013 (Intel Haswell) or 2015 (AMD Excavator) or later; in a virtual machine give it the host's \
         processor: -cpu host",
    )
}

fn crypto(host: &Host, config: Option<&ValidConfig>) -> Finding {
    const CHECK: &str = "cpu.crypto";
    const INSTALL: &str = "apt-get install libipsec-mb1";
    let wanted = match config {
        Some(config) if !encrypts(config) => {
            return Finding::not_needed(CHECK, "no tunnel encrypts");
        }
        Some(config) => config.crypto.backend,
        None => CryptoBackend::Auto,
    };
    let state = |backend| {
        let known = host.live.backends.iter().find(|known| known.backend == backend);
        known.map_or_else(|| Err("it is not built in".to_owned()), |known| known.state.clone())
    };
    let named = |backend: Backend, mend: &str| match state(backend) {
        Ok(what) => Finding::ok(CHECK, format!("{backend}: {what}")),
        Err(why) => {
            Finding::bad(CHECK, format!("crypto.backend is {backend}, which cannot be used: {why}"), mend)
        }
    };
    match wanted {
        CryptoBackend::IpsecMb => named(Backend::IpsecMb, INSTALL),
        CryptoBackend::Vaes => named(Backend::Vaes, "write crypto: {backend: auto}, then penstock check"),
        CryptoBackend::RustCrypto => named(Backend::RustCrypto, ""),
        CryptoBackend::Auto => match (state(Backend::IpsecMb), state(Backend::Vaes)) {
            (Ok(what), Ok(vaes)) => Finding::ok(CHECK, format!("{vaes}; other suites by {what}")),
            (Ok(what), Err(_)) => Finding::ok(CHECK, what),
            (Err(why), Ok(vaes)) => {
                Finding::ok(CHECK, format!("{vaes}. intel-ipsec-mb, for other suites, cannot be used: {why}"))
            }
            (Err(why), Err(_)) => Finding::warning(
                CHECK,
                format!("only the portable code can encrypt, which is several times slower: {why}"),
                INSTALL,
            ),
        },
    }
}
