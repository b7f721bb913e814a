//! `jwksd sign`: prints a token, and nothing else unless asked for JSON.

use std::process::ExitCode;

use anyhow::Context;
use jwksd::api::{TokenResponse, Ttl};
use jwksd::client::Client;
use jwksd_keystore::id::KeysetName;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Out, ask};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The key set
    keyset: KeysetName,
    /// The claims as a JSON object; the daemon adds iss, iat, exp and jti
    #[arg(long, value_name = "JSON")]
    claims: String,
    /// The lifetime, such as 15m
    #[arg(long)]
    ttl: String,
    /// The typ header; JWT if not given
    #[arg(long)]
    typ: Option<String>,
}

#[derive(Serialize)]
struct Request<'a> {
    claims: &'a RawValue,
    ttl: Ttl,
    #[serde(skip_serializing_if = "Option::is_none")]
    typ: Option<&'a str>,
}

pub(super) fn run(client: &Client, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    let claims: &RawValue = serde_json::from_str(&args.claims).context("--claims is not JSON")?;
    let ttl = match args.ttl.parse() {
        Ok(seconds) => Ttl::Seconds(seconds),
        Err(_) => Ttl::Text(args.ttl.clone()),
    };
    let request = Request { claims, ttl, typ: args.typ.as_deref() };
    let path = format!("/v1/keysets/{}/tokens", args.keyset);
    let answer: TokenResponse = ask(client.post(&path, &request))?;
    out.print(&answer, |answer| format!("{}\n", answer.token))?;
    Ok(ExitCode::SUCCESS)
}
