//! Any text as a file of security associations.

use std::sync::LazyLock;

use penstock_control::config::{self, ValidConfig};
use penstock_control::static_sas::{diff, parse_str};

/// A tunnel of each kind.
static CONFIG: LazyLock<ValidConfig> = LazyLock::new(|| {
    let text = "\
cores: {control: 0, workers: [1]}
ports: {edge0: {device: net_null0, addresses: [192.0.2.1/24]}}
endpoints: {gw: 203.0.113.1}
tenants:
  acme:
    tunnels:
      dc1: {type: ipsec, endpoint: gw, remote: 192.0.2.77}
      dc2: {type: ipsec, endpoint: gw, remote: 192.0.2.77}
      plain: {endpoint: gw, remote: 192.0.2.77}
";
    config::parse_str(text).expect("the configuration is valid")
});

/// Security associations or problems, never a panic; and whatever is wrong, no problem quotes a key.
pub fn static_sas(data: &[u8]) {
    let read = |text: &mut Vec<u8>| parse_str(text, &CONFIG);
    match read(&mut data.to_vec()) {
        Ok(sas) => {
            for (_, tunnel) in sas.tunnels() {
                assert!(tunnel.inbound.iter().all(|sa| sa.spi >= 256 && sa.keys().is_ok()));
                assert!(tunnel.outbound.iter().all(|sa| sa.spi >= 256 && sa.keys().is_ok()));
            }
            let again = read(&mut data.to_vec()).unwrap_or_default();
            assert_eq!(diff(&sas, &again), Ok(vec![]));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            // With its escapes YAML can put together what does not look like a key here.
            if !data.contains(&b'\\') {
                problems.iter().for_each(|problem| no_key(&problem.to_string()));
            }
        }
    }
}

/// No word has as many hexadecimal digits in a row as the shortest key; names of tunnels, which have a slash, may.
fn no_key(text: &str) {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"/_-".contains(c));
    for word in words.filter(|word| !word.contains('/')) {
        let longest = word.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
        assert!(longest < Some(32), "{text}");
    }
}
