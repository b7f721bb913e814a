//! The configuration: what is written in the file, and what can be relied on.
//!
//! `raw` is the file as written, with unknown keys refused. [`Config`] cannot be wrong: every
//! contradiction is found while it is made, with a message that names the place.

mod fetchers;
mod files;
mod limits;
mod raw;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use jwksd_keystore::algorithm::KeyType;
use jwksd_keystore::facts::{Checked, Facts, FactsError, KeyTypes, LIVE_KIDS_WARNING};
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::schedule::ScheduleError;
use jwksd_keystore::time::Time;
use serde::de::DeserializeOwned;

pub use raw::check_caller_name;

use crate::audit;
use crate::fetchers::Settings as FetcherSettings;
use crate::hosts::Host;
use crate::listeners::Access;
use crate::log;
use crate::policy::{Action, Caller, Identity};
use crate::san::NameError;
use crate::tls;
use crate::verifiers::{self, Catalogue, KeyKind, UnknownVerifier};

/// A configuration without contradictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[store]`
    pub store: Store,
    /// `[audit]`
    pub audit: audit::Settings,
    /// `[public]`
    pub public: Public,
    /// `[internal] listen`
    pub internal: Vec<Listen>,
    /// `[admin] listen`
    pub admin: Vec<Listen>,
    /// `[public.tls]`, `[internal.tls]`, `[admin.tls]`
    pub tls: tls::Tables,
    /// `[keysets.*]`
    pub keysets: Keysets,
    /// `[[callers]]`
    pub callers: Vec<Arc<Caller>>,
    /// `[limits] connections`
    pub connections: Connections,
    /// `[metrics] listen`: nowhere without that table.
    pub metrics: Vec<Listen>,
    /// `[fetchers]`, unless that is off.
    pub fetchers: Option<FetcherSettings>,
    /// `[admin] hosts`
    pub admin_hosts: Vec<Host>,
    /// `[log]`
    pub log: log::Settings,
}

/// How many connections each listener has at once; others wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// The public listener.
    pub public: NonZeroUsize,
    /// The internal listener.
    pub internal: NonZeroUsize,
    /// The admin listener.
    pub admin: NonZeroUsize,
    /// The listener for metrics.
    pub metrics: NonZeroUsize,
}

impl Default for Connections {
    /// A head may take 128 KiB of each, so this bounds the memory.
    fn default() -> Self {
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self { public: count(1024), internal: count(1024), admin: count(256), metrics: count(64) }
    }
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The directory of the store.
    pub path: PathBuf,
    /// The file of the master key.
    pub master_key: PathBuf,
}

/// `[public]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// Under which URL verifiers reach it, without a slash at the end.
    pub base_url: String,
    /// The key set at `/.well-known/jwks.json`.
    pub root: KeysetName,
}

/// One key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyset {
    /// What the rules need.
    pub facts: Facts,
    /// What holds of the facts.
    pub checked: Checked,
    /// What its tokens have.
    pub tokens: TokenSettings,
    /// Whether discovery may be served for its issuer.
    pub discovery: Discovery,
    /// The file that its JWK Set is written to besides.
    pub jwks_file: Option<PathBuf>,
    /// The ids of the verifiers that it has, as far as they are stated; none where they are not.
    pub verifiers: Vec<String>,
}

/// What the tokens of a key set have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// `iss`.
    pub issuer: String,
    /// `aud`, where the caller names none.
    pub audiences: Arc<[String]>,
    /// The `typ` headers that a caller may ask for. Never empty.
    pub types: Arc<[String]>,
}

/// Whether discovery may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Where the issuer is the base URL and the path of the set.
    On,
    /// Never.
    Off,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP address, as `host:port`.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Key sets in the order of their names. Each token looks one up: among 10,000 that is one step, not one
/// for each level of a tree.
pub type Keysets = IndexMap<KeysetName, Keyset>;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not the TOML that is wanted. The message has line and caret.
    #[error("{}: {error}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and what.
        error: Box<toml::de::Error>,
    },
    /// A value contradicts another, or cannot be.
    #[error("{}: {place}: {error}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key in the file.
        place: String,
        /// What is wrong with it.
        error: ValueError,
    },
}

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The facts of a key set contradict each other.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The schedule cannot be.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// There is no key set.
    #[error("there must be at least one key set")]
    NoKeyset,
    /// It names a key set that is not there.
    #[error("there is no [keysets.{0}]")]
    NoSuchKeyset(String),
    /// Two discovery documents would contradict each other.
    #[error(
        "the key set {0} has the same issuer; verifiers would find only one of the two: give one \
         of them another issuer, or discovery = false"
    )]
    SameIssuer(KeysetName),
    /// Not a URL that a listener can have.
    #[error("must be an http:// or https:// URL without query and without a slash at the end")]
    Url,
    /// Not a place to listen.
    #[error("must be \"host:port\" or \"unix:path\"")]
    Listen,
    /// A listener without a place.
    #[error("must name at least one place to listen")]
    NowhereToListen,
    /// Callers and admins would be asked for secrets over a network in the clear.
    #[error(
        "{place} is not a loopback address: without TLS, tokens would cross the network in the \
         clear. Add the table [{table}] with certificate, key and client_ca \
         (`jwksd pki` makes some), or listen on \"unix:path\" or 127.0.0.1"
    )]
    TcpWithoutTls {
        /// Where.
        place: String,
        /// What it takes.
        table: String,
    },
    /// Not a name by which a caller can be known.
    #[error(transparent)]
    San(#[from] NameError),
    /// No size that a file of the audit can have.
    #[error("must be from 1 to 1048576: the size in MiB from which on a file is full")]
    FileSize,
    /// Two listeners at one place.
    #[error("{0} is listened on twice")]
    SamePlace(Listen),
    /// Two callers of one name.
    #[error("there are two callers of this name")]
    SameName,
    /// Two callers that cannot be told apart.
    #[error("the caller {0} has the same uid, gid, token or san")]
    SameIdentity(String),
    /// None or several of `uid`, `gid`, `token_sha256`, `san`.
    #[error("must have exactly one of uid, gid, token_sha256 and san")]
    Identity,
    /// No such user or group here.
    #[error("there is no {kind} {name:?} on this machine")]
    NoSuchId {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Not a digest.
    #[error("must be 64 hexadecimal digits, as `jwksd callers token` prints them")]
    Digest,
    /// Only a grant on everything can allow what concerns everything.
    #[error("\"operate\" is store-wide: it needs a grant with keyset = \"*\"")]
    OperateNeedsAll,
    /// Not a name or a pattern.
    #[error("must be a key set's name, \"*\", or the beginning of names with * at the end")]
    Pattern,
    /// A value that JSON does not have.
    #[error("the forced claim {0:?} is not JSON: there are no dates and no infinite numbers")]
    NotJson(String),
    /// A socket has one group.
    #[error("the caller {0} has another gid, and a socket has one group: put them into one")]
    OtherGroup(String),
    /// A claim that the daemon sets cannot be forced.
    #[error("the daemon sets or checks {0:?} itself; it cannot be forced")]
    ForcedClaim(String),
    /// Not a `typ`.
    #[error("{0:?} is not a typ: use 1 to 64 of A-Z, a-z, 0-9 and . + -")]
    TokenType(String),
    /// A set without `typ`.
    #[error("must name at least one typ")]
    NoTokenType,
    /// A verifier that nobody knows.
    #[error(transparent)]
    Verifier(#[from] UnknownVerifier),
    /// Not an RSA size.
    #[error("must be 2048, 3072 or 4096")]
    RsaBits,
    /// `rsa_bits` for another algorithm.
    #[error("is only for RS256, RS384, RS512, PS256, PS384 and PS512")]
    NotRsa,
    /// A number that cannot be.
    #[error("must be from {least} to {most}")]
    OutOfRange {
        /// The smallest that can be.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// Not the path of a file.
    #[error("must be the path of a file")]
    NotAFile,
    /// Something else is, or is made, at the path of a JWK Set's file.
    #[error("must be a file of its own: {} is {owner}", path.display())]
    NotItsOwn {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// A text that must not be empty.
    #[error("must not be empty")]
    Empty,
    /// A caller's name with what cannot be seen, or with what controls a terminal.
    #[error(
        "{0:?} has characters that cannot be seen: the audit, the log and metrics show the name"
    )]
    Invisible(String),
    /// A caller's name that others would be taken for.
    #[error("{0:?} cannot be a caller's name: the audit or the metrics mean something else by it")]
    Reserved(String),
    /// Not a header that can say who fetches.
    #[error("{name:?} cannot say who fetches: {why}")]
    Header {
        /// Its name.
        name: String,
        /// Why not.
        why: &'static str,
    },
}

/// Where a running daemon listens for callers and admins: all that its clients need, so that they
/// work while the rest of the file is being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// `[internal] listen`
    pub internal: Vec<Listen>,
    /// `[admin] listen`
    pub admin: Vec<Listen>,
    /// Which of them speak TLS.
    pub tls: tls::Tables,
}

impl Endpoints {
    /// Reads them from the file.
    ///
    /// # Errors
    ///
    /// As [`Config::load`], but only about these.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let raw: raw::RawEndpoints = parse_toml(&text, path)?;
        raw.check().map_err(|wrong| wrong.in_file(path))
    }
}

impl Config {
    /// Reads and checks the file. Schedules are checked over the five years after `now`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place.
    pub fn load(path: &Path, now: Time) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, path, now)
    }

    /// The same from text; `path` is for messages.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path, now: Time) -> Result<Self, ConfigError> {
        let raw: raw::Raw = parse_toml(text, path)?;
        let checked = raw.check(now).and_then(|config| files::checked(config, path));
        checked.map_err(|wrong| wrong.in_file(path))
    }

    /// What is allowed but worth a second look.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let catalogue = Catalogue::built_in();
        for (name, keyset) in &self.keysets {
            let kids = keyset.checked.live_kids;
            if kids > LIVE_KIDS_WARNING {
                warnings.push(format!(
                    "keysets.{name}: tokens of {kids} keys can be alive at once; some verifiers \
                     cache only three keys by default"
                ));
            }
            if keyset.facts.key_types == KeyTypes::Mixed {
                warnings.push(format!(
                    "keysets.{name}: mixed_kty lets keys of different kty stand in one set; \
                     python-jose, auth0-python and fastapi-azure-auth, among others, then refuse \
                     the whole set"
                ));
            }
            let algorithm = keyset.facts.algorithm;
            // Those that are stated are known: the file was checked.
            let verifiers = catalogue.chosen(&keyset.verifiers).unwrap_or_default();
            let choking = verifiers::choking(verifiers.iter().copied(), algorithm);
            if !choking.is_empty() {
                let names: Vec<&str> = choking.iter().map(|client| client.name.as_str()).collect();
                warnings.push(format!(
                    "keysets.{name}: {count} of {of} {which} verifiers refuse a whole JWK Set \
                     with {key} keys: {names}{few}",
                    count = choking.len(),
                    of = verifiers.len(),
                    which = if keyset.verifiers.is_empty() { "known" } else { "stated" },
                    key = KeyKind::of(algorithm).name(),
                    names = names.join(", "),
                    few = match algorithm.key_type() {
                        KeyType::Akp => "; of the others only few can verify its tokens",
                        KeyType::Rsa | KeyType::Ec | KeyType::Okp => "",
                    }
                ));
            }
            if keyset.discovery == Discovery::On && self.discovery_path(name).is_none() {
                warnings.push(format!(
                    "keysets.{name}: no discovery is served, since its issuer is neither \
                     {base}/{name} nor, for the root set, {base}",
                    base = self.public.base_url
                ));
            }
        }
        for caller in &self.callers {
            for grant in &caller.grants {
                if !self.keysets.keys().any(|name| grant.keysets.matches(name)) {
                    warnings.push(format!(
                        "callers.{}: a grant matches no key set of this file",
                        caller.name
                    ));
                }
            }
        }
        warnings.extend(self.tls_warnings());
        warnings.extend(self.metrics_warnings());
        warnings
    }

    /// Of places where strangers can read what is meant for whoever watches.
    fn metrics_warnings(&self) -> impl Iterator<Item = String> {
        self.metrics.iter().filter(|place| !place.is_local()).map(|place| {
            format!(
                "metrics.listen: whoever can reach {place} reads the names of key sets and callers, \
                 how much they sign, and what is not well: no caller is asked who it is there"
            )
        })
    }

    /// Of TLS that does not do what it looks like.
    fn tls_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let listeners = [
            ("public", &self.public.listen, &self.tls.public),
            ("internal", &self.internal, &self.tls.internal),
            ("admin", &self.admin, &self.tls.admin),
        ];
        for (name, places, tls) in listeners {
            if tls.is_some() && !places.iter().any(|place| matches!(place, Listen::Tcp(_))) {
                warnings.push(format!("{name}.tls: the listener has no TCP place to speak TLS on"));
            }
        }
        if self.tls.public.is_some() && self.public.base_url.starts_with("http://") {
            warnings.push("public.base_url: is http://, and the listener speaks TLS".to_owned());
        }
        let asks =
            |tls: &Option<tls::Files>| tls.as_ref().is_some_and(|files| files.client_ca.is_some());
        if asks(&self.tls.internal) || asks(&self.tls.admin) {
            return warnings;
        }
        for caller in &self.callers {
            if matches!(caller.identity, Identity::San(_)) {
                warnings.push(format!(
                    "callers.{}: is known by a certificate, and no listener has a client_ca",
                    caller.name
                ));
            }
        }
        warnings
    }

    /// The path below the base URL whose discovery documents describe this set: empty for the
    /// root, else `/name`; `None` where its issuer is elsewhere.
    #[must_use]
    pub fn discovery_path(&self, name: &KeysetName) -> Option<String> {
        let keyset = self.keysets.get(name).filter(|set| set.discovery == Discovery::On)?;
        let path = keyset.tokens.issuer.strip_prefix(&self.public.base_url)?;
        let is_root = path.is_empty() && *name == self.public.root;
        (is_root || path.strip_prefix('/') == Some(name.as_str())).then(|| path.to_owned())
    }

    /// What the wall clock may jump and be followed at once: the smallest skew stated.
    #[must_use]
    pub fn smallest_skew(&self) -> Duration {
        let skews = self.keysets.values().map(|keyset| keyset.facts.clock_skew);
        skews.min().unwrap_or(Duration::from_mins(1)).max(Duration::from_secs(1))
    }

    /// Who must be able to open the Unix sockets of the internal and the admin listener: whoever
    /// has a grant that is served there.
    #[must_use]
    pub fn socket_access(&self) -> (Access, Access) {
        let access = |serves: fn(Action) -> bool| {
            let own = rustix::process::geteuid().as_raw();
            let mut access = Access::Owner;
            for caller in &self.callers {
                let mut actions = caller.grants.iter().flat_map(|grant| &grant.actions);
                match caller.identity {
                    _ if !actions.any(|&action| serves(action)) => {}
                    Identity::Uid(uid) if uid != own && access == Access::Owner => {
                        access = Access::Group(None);
                    }
                    Identity::Gid(gid) => access = Access::Group(Some(gid)),
                    Identity::Uid(_) | Identity::TokenSha256(_) | Identity::San(_) => {}
                }
            }
            access
        };
        (access(|action| action == Action::SignToken), access(|action| action != Action::SignToken))
    }

    /// What differs from `other` and is read only at start.
    #[must_use]
    pub fn needs_restart(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("store", self.store != other.store),
            ("audit", self.audit != other.audit),
            ("public.listen", self.public.listen != other.public.listen),
            ("internal.listen", self.internal != other.internal),
            ("admin.listen", self.admin != other.admin),
            ("public.tls", self.tls.public.is_some() != other.tls.public.is_some()),
            ("internal.tls", self.tls.internal.is_some() != other.tls.internal.is_some()),
            ("admin.tls", self.tls.admin.is_some() != other.tls.admin.is_some()),
            ("limits.connections", self.connections != other.connections),
            ("metrics.listen", self.metrics != other.metrics),
            ("log", self.log != other.log),
            ("who may open the sockets", self.socket_access() != other.socket_access()),
        ];
        pairs.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()).collect()
    }
}

/// `[log]` alone, for what is logged before anything else of the file is looked at: as if it said
/// nothing, where the file or the table is of no use. [`Config::load`] says what is wrong.
#[must_use]
pub fn log_settings(path: &Path) -> log::Settings {
    let text = read(path).unwrap_or_default();
    parse_toml::<raw::RawLogAlone>(&text, path).map(|raw| raw.log).unwrap_or_default()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Read { path: path.to_owned(), error })
}

fn parse_toml<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text)
        .map_err(|error| ConfigError::Toml { path: path.to_owned(), error: Box::new(error) })
}

impl Listen {
    /// Parses `host:port` or `unix:path`.
    ///
    /// # Errors
    ///
    /// [`ValueError::Listen`].
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(ValueError::Listen)
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or(ValueError::Listen)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(ValueError::Listen);
        }
        Ok(Self::Tcp(text.to_owned()))
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => {
                let host = address.rsplit_once(':').map_or("", |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
