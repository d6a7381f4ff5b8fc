//! No text makes the reader panic, run long, or use much memory.

use proptest::prelude::*;

use super::{BARE_METAL, problems};
use crate::config::parse_str;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        let _ = parse_str(&text);
    }

    #[test]
    fn any_mixture_of_yaml_marks(text in r#"[-a-c:{}\[\],&*!|>'"%@#?~ \n0-9./<]{0,200}"#) {
        let _ = parse_str(&text);
    }

    /// A good file with a piece cut out and another piece put in.
    #[test]
    fn any_damage(at in 0usize..5000, cut in 0usize..60, put in r#"[-a-z:{}\[\],&*'" \n0-9./]{0,12}"#) {
        let chars: Vec<char> = BARE_METAL.chars().collect();
        let at = at.min(chars.len());
        let after = (at + cut).min(chars.len());
        let text: String = chars[..at].iter().copied().chain(put.chars()).chain(chars[after..].iter().copied()).collect();
        match parse_str(&text) {
            Ok(config) => prop_assert_eq!(parse_str(&config.to_yaml()).unwrap(), config),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }
}

#[test]
fn nesting_is_bounded() {
    for open in ["[", "{a: ", "- ", "? "] {
        let text = open.repeat(100_000);
        assert!(!problems(&text).is_empty());
    }
    let deep: String = (0..2000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(
        problems(&deep)[0].contains("nested deeper than 24 levels; check the indentation"),
        "{:?}",
        problems(&deep)
    );
}

#[test]
fn aliases_work_and_cannot_explode() {
    let text = super::replace(
        "remote: 192.0.2.77",
        "remote: &r 192.0.2.77\n      dc2: {endpoint: gw, remote: *r, key: 1}",
    );
    let config = super::valid(&text);
    let tunnels = &config.tenants["acme"].tunnels;
    assert_eq!(tunnels["dc1"].remote, tunnels["dc2"].remote);

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb += &format!("a{i}: &a{i} [{aliases}]\n");
    }
    assert_eq!(
        problems(&bomb),
        ["6:45: aliases copy more than 1000000 values; write the values out instead of aliasing aliases"]
    );
    assert!(problems("a: &a [*a]")[0].contains("the alias names a value that contains it"));
}

#[test]
fn only_the_first_problems_are_listed() {
    let text: String = (0..5000).map(|i| format!("x{i}: 1\n")).collect();
    let problems = problems(&text);
    assert_eq!(problems.len(), 101);
    assert!(problems[100].contains("more problems; mend these first"), "{}", problems[100]);
}

#[test]
fn not_yaml_names_the_place() {
    let problems = problems("cores: {control: 0\nports: [");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("not YAML"), "{problems:?}");
    assert!(parse_str("").is_err());
    assert!(super::problems("a: 1\n---\nb: 2\n")[0].starts_with("2:1: a second YAML document starts here"));
}
