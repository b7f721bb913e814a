//! The command line: what can be asked, and how answers and failures are shown.
//!
//! Every command but `init`, `serve`, `check`, `callers token`, `audit verify`, `pki`, and all of `store`
//! but `store backup`, is a client of the running daemon: the store is open in one process only.

mod audit;
mod callers;
mod check;
mod connection;
mod events;
mod export;
mod fetchers;
mod import;
mod incident;
mod init;
mod keys;
mod look;
mod operate;
mod pki;
mod plan;
mod print;
mod refusing;
mod serve;
mod short;
mod show;
mod sign;
mod status;
mod store;
mod timeline;
mod verifiers;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use jwksd::api::Code;
use jwksd::client::ClientError;
use jwksd::clock::{Clock, SystemClock};
use jwksd::config::{Config, ConfigError};
use serde::Serialize;

use self::connection::{Connection, NoToken};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  not allowed
  4  no such key set or key
  5  the state of the keys does not allow it
  6  the daemon or its store is not available
  7  the audit was changed since it was written, or a backup is damaged
  8  nothing was restored yet: store restore wants --accept
  9  ready, with warnings: only with status --fail-on-warning";

/// Makes signing keys on a schedule, publishes them as a JWK Set, and signs for internal callers
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    /// The configuration file. Paths in it are relative to the working directory.
    #[arg(long, value_name = "FILE", default_value = "config.toml", global = true)]
    config: PathBuf,
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the master key and an empty store, if neither exists
    Init(init::Args),
    /// Run the daemon in the foreground
    Serve(serve::Args),
    /// Check the configuration and show the waits, the next rotations and what verifiers make of it
    Check(verifiers::Asked),
    /// Show what comes: when each key is published, activates, ends and retires
    Plan(plan::Args),
    /// Let the running daemon read its configuration again
    Reload,
    /// Show how each check stands; the exit code is 6 where the daemon is not ready
    Status(status::Args),
    /// See and change keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Show who has fetched which version of the JWK Sets
    Fetchers(fetchers::Args),
    /// Get a token signed; prints the token alone
    Sign(sign::Args),
    /// Set up callers
    #[command(subcommand)]
    Callers(callers::Command),
    /// Check the audit, or see its newest lines
    #[command(subcommand)]
    Audit(audit::Command),
    /// Back up the store, go back to a backup, change the master key
    #[command(subcommand)]
    Store(store::Command),
    /// Make a CA, and certificates of it, for development
    Pki(pki::Args),
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Out { json: cli.json };
    match run(&cli, &out) {
        Ok(code) => code,
        Err(error) => {
            let text = match error.downcast_ref() {
                Some(ClientError::Problem(problem)) if cli.json => {
                    serde_json::to_string_pretty(problem).unwrap_or_default()
                }
                _ => format!("jwksd: {error:#}"),
            };
            // A closed stderr leaves no way to tell.
            let _ = writeln!(std::io::stderr(), "{text}");
            exit_code(&error)
        }
    }
}

fn run(cli: &Cli, out: &Out) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Init(args) => init::run(&cli.config, args),
        Command::Serve(args) => serve::run(&cli.config, args),
        Command::Check(args) => check::run(&cli.config, args, out),
        Command::Plan(args) => plan::run(&cli.connection.admin(&cli.config)?, args, out),
        Command::Reload => operate::reload(&cli.connection.admin(&cli.config)?, out),
        Command::Status(args) => status::run(&cli.connection.admin(&cli.config)?, args, out),
        Command::Keys(command) => keys::run(&cli.connection.admin(&cli.config)?, command, out),
        Command::Fetchers(args) => fetchers::run(&cli.connection.admin(&cli.config)?, args, out),
        Command::Sign(args) => sign::run(&cli.connection.internal(&cli.config)?, args, out),
        Command::Callers(command) => callers::run(command, out),
        Command::Audit(command) => audit::run(&cli.config, &cli.connection, command, out),
        Command::Store(command) => store::run(&cli.config, &cli.connection, command, out),
        Command::Pki(args) => pki::run(args, out),
    }
}

/// Where answers go.
struct Out {
    json: bool,
}

impl Out {
    /// Prints an answer: as JSON, or as `text` makes it.
    fn print<T: Serialize>(
        &self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text =
            if self.json { serde_json::to_string_pretty(answer)? + "\n" } else { text(answer) };
        print(&text)
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever read has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot print"),
    }
}

fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load(path, SystemClock.wall()).map_err(unread)
}

/// What to do where there is no configuration: mostly, it is the wrong folder.
fn unread(error: ConfigError) -> anyhow::Error {
    let is_missing = matches!(
        &error,
        ConfigError::Read { error: why, .. } if why.kind() == std::io::ErrorKind::NotFound
    );
    if is_missing {
        return anyhow::anyhow!(
            "{error}: go to the daemon's working directory, or give --config FILE"
        );
    }
    error.into()
}

/// Runs a request of the client.
fn ask<T>(request: impl Future<Output = Result<T, ClientError>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(request)?)
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<NoToken>() {
        return ExitCode::from(3);
    }
    if error.downcast_ref().is_some_and(store::Unusable::is_damaged) {
        return ExitCode::from(7);
    }
    let code = match error.downcast_ref::<ClientError>() {
        Some(ClientError::Problem(problem)) => exit_code_of(problem.code),
        Some(ClientError::Unreachable { error, .. })
            if error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            3
        }
        Some(ClientError::Unreachable { .. } | ClientError::Lost { .. }) => 6,
        Some(ClientError::Refused { .. }) => 3,
        Some(ClientError::Untrusted { .. } | ClientError::Strange { .. }) | None => 1,
    };
    ExitCode::from(code)
}

fn exit_code_of(code: Code) -> u8 {
    match code {
        Code::UnknownCaller | Code::NotAllowed | Code::WrongHost | Code::CrossSite => 3,
        Code::UnknownKeyset | Code::UnknownKey => 4,
        Code::NotConfigured
        | Code::ExpectActiveRequired
        | Code::ActiveChanged
        | Code::TooEarly
        | Code::WrongState
        | Code::KeyUsed
        | Code::StandbyExported
        | Code::JwkSetFull => 5,
        Code::NoActiveKey
        | Code::NotDurable
        | Code::NotRecorded
        | Code::RevocationPending
        | Code::StoreUnavailable
        | Code::AuditUnavailable
        | Code::Busy
        | Code::RateLimited
        | Code::TooManyAtOnce
        | Code::Stopping => 6,
        Code::NotFound
        | Code::MethodNotAllowed
        | Code::InvalidRequest
        | Code::BodyTooLarge
        | Code::UnsupportedMediaType
        | Code::InvalidClaims
        | Code::InvalidTtl
        | Code::InvalidTyp
        | Code::InvalidKey
        | Code::PassphraseRequired
        | Code::WrongPassphrase
        | Code::InvalidConfig
        | Code::Internal => 1,
    }
}
