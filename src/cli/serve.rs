//! `jwksd serve`: the daemon in the foreground.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use jwksd::api::{EventKind, Keyset};
use jwksd::clock::{Clock, SystemClock};
use jwksd::config::Config;
use jwksd::descriptors::{self, Descriptors};
use jwksd::http::connection::Timeouts;
use jwksd::listeners::Passed;
use jwksd::memory::{self, Swap};
use jwksd::server::{self, Daemon, Foundation, Places, Sockets};
use jwksd::sink;
use jwksd::supervise::{self, Signals};
use jwksd::view;
use listenfd::ListenFd;
use tracing_subscriber::EnvFilter;

use super::init::Presence;
use super::{init, load, print};

/// For how long the summary waits for what files have to say.
const FILE_PATIENCE: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Make the master key and an empty store first, if neither exists
    #[arg(long)]
    init: bool,
}

pub(super) fn run(config_path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    log_to_stderr();
    // Before there are threads: it changes the environment.
    let passed = Passed::receive(ListenFd::from_env())?;
    protect_memory()?;
    let config = load(config_path)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    // Before anything is made or opened, as with sockets below. Warnings come with the start.
    config.tls.read()?;
    take_descriptors(&config);
    let presence = init::presence(&config)?;
    if presence == Presence::Neither && !args.init {
        bail!(
            "there is neither a master key at {} nor a store at {}\n\
             for a first start, run: jwksd serve --init",
            std::path::absolute(&config.store.master_key)?.display(),
            std::path::absolute(&config.store.path)?.display()
        );
    }
    // Before anything is made or opened: a place that is taken must change nothing.
    let sockets = Sockets::bind(&config, passed)?;
    let (store, master_keys) = match presence {
        Presence::Both => init::open(&config)?,
        Presence::Neither => {
            let made = init::make(&config)?;
            let (key, store) = (config.store.master_key.display(), config.store.path.display());
            print(&format!("made the master key {key} and the store {store}\n"))?;
            made
        }
    };
    let foundation = Foundation {
        config,
        config_path: config_path.to_owned(),
        clock: Arc::new(SystemClock),
        store: Arc::new(store),
        master_keys,
        sockets,
        timeouts: Timeouts::default(),
        sink: sink::Means::default(),
    };
    actix_web::rt::System::new().block_on(async {
        let signals = Signals::receive()?;
        let daemon = server::start(foundation)?;
        print(&summary(&daemon)?)?;
        supervise::run(daemon, signals).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn protect_memory() -> anyhow::Result<()> {
    let why = match memory::protect().context("cannot protect the memory of this process")? {
        Swap::Never => return Ok(()),
        Swap::Limited => "the process may lock only so much of it".to_owned(),
        Swap::Refused(error) => error.to_string(),
    };
    tracing::info!(
        "the memory may be written to the swap: {why}; LimitMEMLOCK=infinity in the systemd unit, \
         `ulimit -l unlimited` or CAP_IPC_LOCK allows to forbid it"
    );
    Ok(())
}

fn take_descriptors(config: &Config) {
    if let Descriptors::TooFew { allowed, wanted } = descriptors::take_all(config) {
        tracing::warn!(
            "only {allowed} file descriptors are allowed, and all connections take {wanted}: without \
             one nobody new is served; LimitNOFILE in the systemd unit or `ulimit -n` allows more, \
             limits.connections takes fewer"
        );
    }
}

/// Text on a terminal or in a journal; the level by `RUST_LOG`.
fn log_to_stderr() {
    // What actix_http has to say is that someone sent what is no HTTP: anyone could fill the log.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,actix_server=warn,actix_http=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // What cannot be written would be told on stderr again, by a panic: a full disk or a reader
        // that has gone must not end the daemon.
        .log_internal_errors(false)
        .init();
}

/// Where it listens, the key sets, their active keys and next rotations.
fn summary(daemon: &Daemon) -> anyhow::Result<String> {
    let config = daemon.custody.config();
    let mut text = format!("jwksd {} is ready\n", env!("CARGO_PKG_VERSION"));
    text.push_str(&places(&daemon.places, &config));
    let store = &daemon.administration.store;
    let now = SystemClock.wall();
    let names: Vec<_> = config.keysets.keys().cloned().collect();
    // A file that is as it shall be is known to be so in a moment; one that hangs is not waited for.
    let standings = &daemon.administration.standings;
    standings.wait(&names, FILE_PATIENCE, |standing| standing.asked.is_none());
    for (name, keyset) in &config.keysets {
        let standing = standings.of(name);
        let (standing, loaded) = (standing.as_ref(), store.load(name)?);
        let seen = view::of_keyset(name, Some(keyset), standing, &loaded, &[], now);
        text.push_str(&keyset_line(&seen));
    }
    Ok(text)
}

fn places(places: &Places, config: &Config) -> String {
    let mut text = String::new();
    let lists = [
        ("public", &places.public),
        ("internal", &places.internal),
        ("admin", &places.admin),
        ("metrics", &places.metrics),
    ];
    for (name, places) in lists {
        for place in places {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:9} {place}");
        }
    }
    let base = &config.public.base_url;
    let _ = writeln!(text, "  JWK Set   {base}/.well-known/jwks.json");
    text
}

fn keyset_line(keyset: &Keyset) -> String {
    let active = keyset.active.as_ref().map_or("none yet", |kid| kid.as_str());
    let next = keyset.next.iter().find(|event| event.event == EventKind::Activates);
    let next = match next {
        Some(event) => event.at.as_str(),
        None if keyset.has_key_that_waits_for_its_file() => "when its jwks_file has the key",
        None if keyset.waits_for_its_first_key() => "after its first key was imported",
        None => "when asked",
    };
    let algorithm = keyset.algorithm.as_deref().unwrap_or("");
    format!("  key set   {} ({algorithm})  active {active}  next rotation {next}\n", keyset.name)
}
