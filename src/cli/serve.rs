//! `jwksd serve`: the daemon in the foreground.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use jwksd::api::{EventKind, Keyset};
use jwksd::clock::{Clock, SystemClock};
use jwksd::config::{self, Config, Listen};
use jwksd::descriptors::{self, Descriptors};
use jwksd::health::{Health, Subject};
use jwksd::http::connection::Timeouts;
use jwksd::listeners::Passed;
use jwksd::log::{self, Format, Reader};
use jwksd::memory::{self, Swap};
use jwksd::server::{self, Daemon, Foundation, Places, Sockets};
use jwksd::sink;
use jwksd::supervise::{self, Signals};
use jwksd::view;
use jwksd_keystore::crypto;
use listenfd::ListenFd;

use super::init::Presence;
use super::print::counted;
use super::{init, load, print};

/// How many key sets the summary shows.
const SHOWN: usize = 50;

/// For how long the summary waits for what files have to say.
const FILE_PATIENCE: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Make the master key and an empty store first, if neither exists
    #[arg(long)]
    init: bool,
}

pub(super) fn run(config_path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let settings = config::log_settings(config_path);
    log::begin(settings, reader(), environment("RUST_LOG").as_deref());
    match (serve(config_path, args), settings.format) {
        (Err(error), Format::Json) => {
            tracing::error!(event = "failed", "{error:#}");
            Ok(super::exit_code(&error))
        }
        (ended, _) => ended,
    }
}

fn serve(config_path: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    // Before there are threads: it changes the environment.
    let passed = Passed::receive(ListenFd::from_env())?;
    protect_memory()?;
    gather_entropy()?;
    let config = load(config_path)?;
    tell_warnings(&config);
    // Before anything is made or opened, as with sockets below. Warnings come with the start.
    config.tls.read()?;
    let descriptors = descriptors::take_all(&config);
    let connections = descriptors::share(&config, descriptors);
    let presence = init::presence(&config)?;
    if presence == Presence::Neither && !args.init {
        bail!(
            "there is neither a master key at {} nor a store at {}\n\
             for a first start, run: jwksd serve --init",
            std::path::absolute(&config.store.master_key)?.display(),
            std::path::absolute(&config.store.path)?.display()
        );
    }
    init::check_formats(&config)?;
    // Before anything is made or opened: a place that is taken must change nothing.
    let sockets = Sockets::bind(&config, passed)?.with_connections(connections);
    let (store, master_keys) = match presence {
        Presence::Both => init::open(&config)?,
        Presence::Neither => {
            let made = init::make(&config)?;
            tell_made(&config)?;
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
        tell_descriptors(descriptors, &daemon.health);
        say_ready(&daemon)?;
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

/// Lets the cryptographic library gather entropy while the rest starts: it takes 15 to 40 ms once in a
/// process, of whoever asks first for random bytes. Where all keys are there, nothing before the
/// listeners asks for any.
fn gather_entropy() -> anyhow::Result<()> {
    let first = || {
        // Where there is none, whoever needs it is told.
        drop(crypto::random::<1>());
    };
    thread::Builder::new().name("entropy".into()).spawn(first).context("cannot start a thread")?;
    Ok(())
}

/// Says where there are too few: then listeners take fewer connections.
fn tell_descriptors(descriptors: Descriptors, health: &Health) {
    if let Descriptors::TooFew { allowed, wanted } = descriptors {
        let why = format!(
            "only {allowed} file descriptors are allowed, and all connections take {wanted}: each \
             listener takes fewer; LimitNOFILE in the systemd unit or `ulimit -n` allows more, \
             limits.connections wants fewer"
        );
        tracing::warn!("{why}");
        health.warn(Subject::Descriptors, &why);
    }
}

/// `jwksd check` has the words: with many key sets they are many, and the same at each start.
fn tell_warnings(config: &Config) {
    let count = config.warnings().len();
    if count > 0 {
        let warnings = counted(count as u64, "warning");
        tracing::warn!("the configuration has {warnings}: `jwksd check` says which");
    }
}

/// Who reads stderr: systemd says what it connected to the journal (systemd.exec(5), `JOURNAL_STREAM`).
fn reader() -> Reader {
    let stderr = std::io::stderr();
    if stderr.is_terminal() {
        return Reader::Terminal;
    }
    let stream = environment("JOURNAL_STREAM");
    let own = rustix::fs::fstat(&stderr).map(|own| format!("{}:{}", own.st_dev, own.st_ino));
    if stream.is_some() && stream == own.ok() { Reader::Journal } else { Reader::Other }
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn tell_made(config: &Config) -> anyhow::Result<()> {
    let (key, store) = (config.store.master_key.display(), config.store.path.display());
    if config.log.format == Format::Text {
        return print(&format!("made the master key {key} and the store {store}\n"));
    }
    tracing::info!(event = "made", %key, %store, "made the master key and the store");
    Ok(())
}

/// Says that it is ready: to people on stdout, to a collector as an event.
fn say_ready(daemon: &Daemon) -> anyhow::Result<()> {
    let config = daemon.custody.config();
    if config.log.format == Format::Text {
        return print(&summary(daemon)?);
    }
    let listed = |places: &[Listen]| places.iter().map(ToString::to_string).collect::<Vec<_>>();
    tracing::info!(
        event = "ready",
        version = env!("CARGO_PKG_VERSION"),
        public = listed(&daemon.places.public).join(" "),
        internal = listed(&daemon.places.internal).join(" "),
        admin = listed(&daemon.places.admin).join(" "),
        metrics = listed(&daemon.places.metrics).join(" "),
        keysets = config.keysets.len(),
        "ready"
    );
    Ok(())
}

/// Where it listens, the key sets, their active keys and next rotations.
fn summary(daemon: &Daemon) -> anyhow::Result<String> {
    let config = daemon.custody.config();
    let mut text = format!("jwksd {} is ready\n", env!("CARGO_PKG_VERSION"));
    text.push_str(&places(&daemon.places, &config));
    let store = &daemon.administration.store;
    let now = SystemClock.wall();
    let names: Vec<_> = config.keysets.keys().take(SHOWN).cloned().collect();
    // A file that is as it shall be is known to be so in a moment; one that hangs is not waited for.
    let standings = &daemon.administration.standings;
    standings.wait(&names, FILE_PATIENCE, |standing| standing.asked.is_none());
    for (name, keyset) in config.keysets.iter().take(SHOWN) {
        let standing = standings.of(name);
        let (standing, loaded) = (standing.as_ref(), store.load(name)?);
        let seen = view::of_keyset(name, Some(keyset), standing, &loaded, &[], now);
        text.push_str(&keyset_line(&seen));
    }
    let others = config.keysets.len().saturating_sub(SHOWN);
    if others > 0 {
        let others = counted(others as u64, "other key set");
        text += &format!("  and {others}: jwksd keys list\n");
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
