//! `jwksd check`: the configuration, the waits that follow with their arithmetic, and the next
//! rotations.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use jwksd::clock::{Clock, SystemClock};
use jwksd::config::{Config, Keyset};
use jwksd::folder;
use jwksd::sink;
use jwksd::verifiers::{Catalogue, UnknownVerifier};
use jwksd_keystore::facts::{Span, Waits};
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::jwk::{JWK_SET_LIMIT, JwkSet, PublicJwk};
use jwksd_keystore::schedule::Rotation;
use jwksd_keystore::time::Time;
use serde::Serialize;

use super::{Out, load, print, verifiers};

/// How many rotations are shown.
const SHOWN: usize = 3;

#[derive(Serialize)]
struct Report<'a> {
    keysets: Vec<KeysetReport<'a>>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct KeysetReport<'a> {
    name: KeysetName,
    algorithm: String,
    issuer: String,
    publish_ahead: Wait,
    verify_only: Wait,
    rotate: String,
    next_rotations: Vec<Fire>,
    live_kids: u32,
    jwk_set: Size,
    discovery: Option<String>,
    jwks_file: Option<String>,
    verifiers: verifiers::Report<'a>,
}

#[derive(Serialize)]
struct Wait {
    span: String,
    arithmetic: String,
}

#[derive(Serialize)]
struct Size {
    bytes: usize,
    arithmetic: String,
}

#[derive(Serialize)]
struct Fire {
    utc: String,
    local: String,
}

pub(super) fn run(path: &Path, args: &verifiers::Asked, out: &Out) -> anyhow::Result<ExitCode> {
    let config = load(path)?;
    let now = SystemClock.wall();
    let catalogue = Catalogue::built_in();
    let mut report = report(&config, args, &catalogue, now)?;
    report.warnings.extend(config.tls.check(now)?);
    report.warnings.extend(file_warnings(&config));
    out.print(&report, |report| text(report, args))?;
    if !out.json {
        print(&format!("{} is good\n", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report<'a>(
    config: &Config,
    args: &verifiers::Asked,
    catalogue: &'a Catalogue,
    now: Time,
) -> Result<Report<'a>, UnknownVerifier> {
    let keyset = |(name, keyset): (&KeysetName, &Keyset)| {
        let waits = keyset.facts.waits();
        Ok(KeysetReport {
            name: name.clone(),
            algorithm: keyset.facts.algorithm.to_string(),
            issuer: keyset.tokens.issuer.clone(),
            publish_ahead: publish_ahead(waits),
            verify_only: verify_only(&keyset.facts),
            rotate: match &keyset.facts.rotate {
                Rotation::Manual => "manual".to_owned(),
                Rotation::Scheduled(schedule) => schedule.to_string(),
            },
            next_rotations: next_rotations(&keyset.facts.rotate, now),
            live_kids: keyset.checked.live_kids,
            jwk_set: jwk_set(keyset),
            discovery: config.discovery_path(name).map(|path| {
                format!("{}{path}/.well-known/openid-configuration", config.public.base_url)
            }),
            jwks_file: keyset.jwks_file.as_ref().map(|file| file.display().to_string()),
            verifiers: verifiers::report(keyset, args, catalogue)?,
        })
    };
    let keysets = config.keysets.iter().map(keyset).collect::<Result<_, _>>()?;
    Ok(Report { keysets, warnings: config.warnings() })
}

/// What is wrong with the places of files. It keeps no daemon from its start, so it is no error.
fn file_warnings(config: &Config) -> Vec<String> {
    let files =
        || config.keysets.iter().filter_map(|(name, set)| Some((name, set.jwks_file.as_ref()?)));
    let cannot = files().filter_map(|(name, file)| {
        let error = sink::check(file).err()?;
        Some(format!("keysets.{name}.jwks_file: {error}; until then its standby does not sign"))
    });
    let real = |file: &Path| Some(folder::of(file).canonicalize().ok()?.join(file.file_name()?));
    let twice = files().enumerate().filter_map(|(index, (name, file))| {
        let file = real(file)?;
        let (other, _) =
            files().take(index).find(|(_, other)| real(other).as_ref() == Some(&file))?;
        let file = file.display();
        Some(format!("keysets.{name}.jwks_file: is {file}, and so is that of keysets.{other}"))
    });
    cannot.chain(twice).collect()
}

fn publish_ahead(waits: Waits) -> Wait {
    Wait { span: Span(waits.publish_ahead()).to_string(), arithmetic: waits.arithmetic() }
}

fn verify_only(facts: &jwksd_keystore::facts::Facts) -> Wait {
    Wait {
        span: Span(facts.waits().verify_only()).to_string(),
        arithmetic: format!(
            "max_token_ttl {} + clock_skew {}",
            Span(facts.max_token_ttl),
            Span(facts.clock_skew)
        ),
    }
}

/// The longest JWK Set that the schedule comes to.
fn jwk_set(keyset: &Keyset) -> Size {
    let (algorithm, keys) = (keyset.facts.algorithm, keyset.checked.published_keys());
    Size {
        bytes: JwkSet::length(algorithm, keys as usize),
        arithmetic: format!(
            "{keys} keys of {} bytes; verifiers read {JWK_SET_LIMIT}",
            PublicJwk::length(algorithm)
        ),
    }
}

fn next_rotations(rotate: &Rotation, now: Time) -> Vec<Fire> {
    match rotate {
        Rotation::Manual => Vec::new(),
        Rotation::Scheduled(schedule) => schedule
            .fires_after(now)
            .take(SHOWN)
            .map(|fire| Fire {
                utc: fire.to_string(),
                local: super::print::local(fire, schedule.zone_name()),
            })
            .collect(),
    }
}

fn text(report: &Report<'_>, args: &verifiers::Asked) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for keyset in &report.keysets {
        let _ = writeln!(
            text,
            "key set {} ({}), issuer {}",
            keyset.name, keyset.algorithm, keyset.issuer
        );
        let wait = &keyset.publish_ahead;
        let _ = writeln!(text, "  a key is published before it signs for  {}", wait.span);
        let _ = writeln!(text, "      = {}", wait.arithmetic);
        let wait = &keyset.verify_only;
        let _ = writeln!(text, "  and stays published after it ended for  {}", wait.span);
        let _ = writeln!(text, "      = {}", wait.arithmetic);
        let _ = writeln!(text, "  keys whose tokens can be alive at once  {}", keyset.live_kids);
        let _ = writeln!(text, "  the JWK Set has at most  {} bytes", keyset.jwk_set.bytes);
        let _ = writeln!(text, "      = {}", keyset.jwk_set.arithmetic);
        let _ = writeln!(text, "  rotates  {}", keyset.rotate);
        for fire in &keyset.next_rotations {
            let _ = writeln!(text, "      {}   {}", fire.utc, fire.local);
        }
        let discovery = keyset.discovery.as_deref().unwrap_or("not served");
        let _ = writeln!(text, "  discovery  {discovery}");
        if let Some(file) = &keyset.jwks_file {
            let _ = writeln!(text, "  the JWK Set is also written to  {file}");
        }
        text += &match args.verifiers {
            Some(_) => verifiers::details(&keyset.verifiers),
            None => verifiers::summary(&keyset.verifiers),
        };
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}
