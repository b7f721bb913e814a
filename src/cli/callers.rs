//! `jwksd callers token`: a bearer token, shown once, and the line for the configuration.

use std::process::ExitCode;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwksd::config;
use jwksd_keystore::crypto;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Out;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a bearer token for a caller; only its digest goes into the configuration
    Token {
        /// The caller's name
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
    },
}

#[derive(Serialize)]
struct Made<'a> {
    name: &'a str,
    token: &'a str,
    token_sha256: String,
}

pub(super) fn run(command: &Command, out: &Out) -> anyhow::Result<ExitCode> {
    let Command::Token { name } = command;
    config::check_caller_name(name)?;
    let random = crypto::random::<32>()?;
    let token = Zeroizing::new(format!("jwksd_{}", BASE64_URL_SAFE_NO_PAD.encode(random.as_ref())));
    let token_sha256 = crypto::hex(&crypto::sha256(token.as_bytes()));
    let made = Made { name, token: &token, token_sha256 };
    out.print(&made, |made| {
        format!(
            "{}\n\nThis is shown once. Give it to the caller, and put this into the \
             configuration:\n\n[[callers]]\nname = {}\ntoken_sha256 = \"{}\"\ngrants = [{{ keyset = \
             \"default\", actions = [\"sign-token\"] }}]\n",
            made.token,
            toml::Value::from(made.name),
            made.token_sha256
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
