//! `penstock check`: every problem of a configuration at once, one a line, each with place and fix.

use anyhow::bail;
use penstock_control::api::Problem;
use penstock_control::config::{self, ValidConfig};
use penstock_control::fleet::key_file;
use penstock_control::ike::connections::Credentials;
use penstock_control::static_sas;
use serde::Serialize;

use crate::args::CheckArgs;
use crate::terminal;

#[derive(Serialize)]
struct Verdict {
    valid: bool,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

pub fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let file = args.config.display().to_string();
    let rows =
        |list: &[config::Problem]| list.iter().map(|one| Problem::of(&file, one.clone())).collect::<Vec<_>>();
    let checked = config::load(&args.config);
    let mut verdict = match &checked {
        Ok(valid) => Verdict { valid: true, problems: Vec::new(), warnings: rows(valid.warnings()) },
        Err(problems) => Verdict { valid: false, problems: rows(problems), warnings: Vec::new() },
    };
    // The files that it names may be on another machine. What those hold that are here is right or wrong.
    if let Ok(valid) = &checked {
        let found = Credentials::check(valid);
        verdict.warnings.extend(rows(&found.unread));
        let of_api = penstock_control::api::check_files(valid);
        verdict.warnings.extend(rows(&of_api.unread));
        verdict.problems.extend(rows(&of_api.wrong));
        let (unread, wrong) = key_file::check(valid);
        verdict.warnings.extend(rows(&unread));
        verdict.problems.extend(rows(&found.wrong));
        verdict.problems.extend(rows(&wrong));
        verdict.valid = verdict.problems.is_empty();
    }
    let config_is_right = verdict.valid;
    // Whether the associations are right depends on the configuration.
    let mut associations = None;
    if let (Ok(valid), Some(file)) = (&checked, &args.static_sas) {
        match static_sas::load(file, valid) {
            Ok(sas) => {
                verdict.warnings.extend(rows(sas.warnings()));
                associations = Some(sas.len());
            }
            Err(problems) => {
                verdict.valid = false;
                verdict.problems.extend(rows(&problems));
            }
        }
    }
    if args.json {
        terminal::print_json(&verdict)?;
    } else {
        for warning in &verdict.warnings {
            eprintln!("{warning} (warning)");
        }
        for problem in &verdict.problems {
            eprintln!("{problem}");
        }
    }
    let files = match &args.static_sas {
        Some(sas) if config_is_right => sas.display().to_string(),
        _ => file.clone(),
    };
    match (checked, verdict.problems.len()) {
        (Ok(_), 0) if args.json => Ok(()),
        (Ok(valid), 0) => terminal::print(&format!("{file} is valid: {}\n", summary(&valid, associations))),
        (_, 1) => bail!("{files} has a problem"),
        (_, many) => bail!("{files} has {many} problems"),
    }
}

/// How much there is of what, so that an empty or wrong file does not pass unnoticed.
fn summary(valid: &ValidConfig, associations: Option<usize>) -> String {
    let of_tenants =
        |count: fn(&config::TenantConfig) -> usize| valid.tenants.values().map(count).sum::<usize>();
    let amounts = [
        (valid.ports.len(), "port"),
        (valid.cores.workers.len(), "worker"),
        (valid.endpoints.len(), "endpoint"),
        (valid.tenants.len(), "tenant"),
        (of_tenants(|tenant| tenant.tunnels.len()), "tunnel"),
        (valid.routes.len() + of_tenants(|tenant| tenant.routes.len()), "route"),
    ];
    let amounts = amounts.into_iter().chain(associations.map(|amount| (amount, "security association")));
    let words: Vec<_> = amounts
        .map(|(amount, what)| format!("{amount} {what}{}", if amount == 1 { "" } else { "s" }))
        .collect();
    words.join(", ")
}
