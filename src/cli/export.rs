//! `jwksd keys export`: public keys for verifiers that do not fetch a JWK Set. The text goes to
//! stdout alone, or to a file; what people should know of it goes to stderr.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory, ValueEnum};
use jwksd::api::{Code, ExportRequest, ExportResponse, KeyState, Problem};
use jwksd::client::{Client, ClientError};
use jwksd::new_file::{Existing, NewFile, Readers};
use jwksd::pki::names::Subject;
use jwksd::pki::signing_key::MAX_DAYS;
use jwksd_keystore::id::{KeyId, KeysetName};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::keys::act;
use super::print::seconds;
use super::{Cli, Out, print, show};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The key set
    keyset: KeysetName,
    /// The key; or --active or --standby
    #[arg(allow_hyphen_values = true, conflicts_with_all = ["active", "standby"])]
    kid: Option<KeyId>,
    /// The key that signs
    #[arg(long, conflicts_with = "standby")]
    active: bool,
    /// The key that signs next
    #[arg(long)]
    standby: bool,
    /// In which form: `jwks` is the whole set, the others are one key
    #[arg(long)]
    format: Format,
    /// Write to this file, in place of one that is there, and not to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The common name in a certificate or a request for one; the kid if not given
    #[arg(long, value_name = "NAME")]
    subject: Option<Subject>,
    /// For how many days a certificate is valid; 365 if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    days: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JWK, as it is published
    Jwk,
    /// The JWK Set, as it is published
    Jwks,
    /// A public key in PEM (`SubjectPublicKeyInfo`)
    Pem,
    /// A line of OpenSSH
    Openssh,
    /// A certificate of the key by itself
    X509,
    /// A request to a CA for a certificate
    Csr,
}

pub(super) fn run(client: &Client, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    args.check();
    match args.request() {
        Some(request) => export_key(client, args, &request, out),
        None => export_set(client, args, out),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn export_key(
    client: &Client,
    args: &Args,
    request: &ExportRequest,
    out: &Out,
) -> anyhow::Result<()> {
    let kid = args.kid(client)?;
    let path = format!("/v1/keysets/{}/keys/{kid}/export", args.keyset);
    let file = args.begin()?;
    let answer: ExportResponse = act(client, &path, request)?;
    args.put(file, out, &answer.text, &answer)?;
    if !out.json {
        // A closed stderr leaves no way to tell.
        let _ = writeln!(std::io::stderr(), "{}", note(&answer));
    }
    Ok(())
}

fn export_set(client: &Client, args: &Args, out: &Out) -> anyhow::Result<()> {
    let path = format!("/v1/keysets/{}/export", args.keyset);
    let file = args.begin()?;
    let set: Box<RawValue> = act(client, &path, &json!({}))?;
    args.put(file, out, &format!("{set}\n"), &set)
}

impl Args {
    /// Which options go together, as far as `clap` cannot tell.
    fn check(&self) {
        let is_set = self.format == Format::Jwks;
        let names_a_key = self.kid.is_some() || self.active || self.standby;
        let has_subject = matches!(self.format, Format::X509 | Format::Csr);
        let rules = [
            (is_set && names_a_key, "--format jwks is the whole set: name no key"),
            (!is_set && !names_a_key, "name a key: KID, --active or --standby"),
            (self.subject.is_some() && !has_subject, "--subject goes with --format x509 or csr"),
            (self.days.is_some() && self.format != Format::X509, "--days goes with --format x509"),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(is_broken, _)| *is_broken) {
            usage().error(ErrorKind::ArgumentConflict, rule).exit()
        }
    }

    /// What is asked of one key; `None` for the set.
    fn request(&self) -> Option<ExportRequest> {
        let subject = self.subject.as_ref().map(|subject| subject.as_str().to_owned());
        match self.format {
            Format::Jwks => None,
            Format::Jwk => Some(ExportRequest::Jwk {}),
            Format::Pem => Some(ExportRequest::Pem {}),
            Format::Openssh => Some(ExportRequest::Openssh {}),
            Format::X509 => Some(ExportRequest::X509 { subject, days: self.days.map(u64::from) }),
            Format::Csr => Some(ExportRequest::Csr { subject }),
        }
    }

    fn kid(&self, client: &Client) -> anyhow::Result<KeyId> {
        if let Some(kid) = &self.kid {
            return Ok(kid.clone());
        }
        let set = show::fetch(client, &self.keyset)?;
        let (kid, code, missing) = if self.active {
            (set.active, Code::NoActiveKey, "the key set has no active key")
        } else {
            (set.standby, Code::UnknownKey, "the key set has no standby")
        };
        let problem = || ClientError::Problem(Box::new(Problem::new(code, missing)));
        Ok(kid.ok_or_else(problem)?)
    }

    /// The file of `--out`. Before the daemon is asked: where it cannot be written, the key is not
    /// noted as given out.
    fn begin(&self) -> anyhow::Result<Option<NewFile>> {
        let new = |path| NewFile::begin(path, Existing::IsReplaced, Readers::Everyone);
        let begun = self.out.as_deref().map(new).transpose();
        begun.with_context(|| self.cannot_write())
    }

    /// The text to the file or to stdout; of an answer as JSON, all of it to stdout.
    fn put<T: Serialize>(
        &self,
        file: Option<NewFile>,
        out: &Out,
        text: &str,
        answer: &T,
    ) -> anyhow::Result<()> {
        let to_stdout = file.is_none();
        if let Some(file) = file {
            file.finish(text.as_bytes()).with_context(|| self.cannot_write())?;
        }
        if out.json {
            return out.print(answer, |_| String::new());
        }
        if to_stdout { print(text) } else { Ok(()) }
    }

    fn cannot_write(&self) -> String {
        format!("cannot write {}", self.out.as_deref().unwrap_or(Path::new("stdout")).display())
    }
}

/// `keys export` as `clap` knows it, so that an error shows its usage.
fn usage() -> Command {
    let mut cli = Cli::command();
    cli.build();
    let keys = cli.find_subcommand("keys").and_then(|keys| keys.find_subcommand("export"));
    keys.cloned().unwrap_or(cli)
}

/// What people should know of the key.
fn note(answer: &ExportResponse) -> String {
    let time = |time: &Option<String>| time.as_deref().map(seconds);
    let kid = &answer.kid;
    let (by, until) = (time(&answer.in_place_by), time(&answer.needed_until));
    match (answer.state, by, until) {
        (KeyState::Pending, Some(by), _) => {
            format!(
                "{kid} signs from {by} on: put it in place before, beside the key that signs now"
            )
        }
        (KeyState::Pending, None, _) => {
            format!("{kid} signs when asked: put it in place, then `keys rotate {}`", answer.keyset)
        }
        (KeyState::Active, _, until) => {
            let since = time(&answer.signs_since).unwrap_or_default();
            let until = until.map(|until| format!(", and is needed until {until} at least"));
            format!("{kid} signs since {since}{}", until.unwrap_or_default())
        }
        (_, _, Some(until)) => format!("{kid} signs no more, and is needed until {until}"),
        (_, _, None) => format!("{kid} signs no more"),
    }
}
