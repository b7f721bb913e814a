//! The file as written, and the way from there to a [`Config`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jwksd_keystore::algorithm::{Algorithm, KeyType, RsaBits};
use jwksd_keystore::facts::{Checked, Facts, FactsError, FirstKey, KeyTypes};
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::schedule::{Rotation, Schedule, check_zone};
use jwksd_keystore::time::Time;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::fetchers::RawFetchers;
use super::limits::{RawLimits, Written};
use super::{
    Config, ConfigError, Discovery, Keyset, Keysets, Listen, Public, Store, TokenSettings,
    ValueError,
};
use crate::audit::{self, OnFailure};
use crate::claims::OWN_CLAIMS;
use crate::duration;
use crate::escape::InLine;
use crate::hosts::Host;
use crate::limits::Settings;
use crate::log;
use crate::metrics::series;
use crate::policy::{Action, Caller, Grant, Identity, KeysetPattern};
use crate::tls::{Files, Tables};
use crate::verifiers::Catalogue;

/// A terabyte: larger numbers are slips.
const LARGEST_FILE_MIB: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    store: RawStore,
    #[serde(default)]
    audit: RawAudit,
    public: RawPublic,
    internal: RawListener,
    admin: RawAdmin,
    #[serde(default)]
    keysets: BTreeMap<KeysetName, RawKeyset>,
    #[serde(default)]
    callers: Vec<RawCaller>,
    #[serde(default)]
    limits: RawLimits,
    metrics: Option<RawMetrics>,
    #[serde(default)]
    fetchers: RawFetchers,
    #[serde(default)]
    log: log::Settings,
}

/// Only how to log, whatever else the file says.
#[derive(Deserialize)]
pub(super) struct RawLogAlone {
    #[serde(default)]
    pub(super) log: log::Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    path: PathBuf,
    master_key: PathBuf,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawAudit {
    path: PathBuf,
    on_failure: OnFailure,
    max_file_mib: u64,
}

impl Default for RawAudit {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data/audit.jsonl"),
            on_failure: OnFailure::Refuse,
            max_file_mib: 100,
        }
    }
}

impl RawAudit {
    fn check(self) -> Result<audit::Settings, Wrong> {
        if !(1..=LARGEST_FILE_MIB).contains(&self.max_file_mib) {
            return Err(wrong("audit.max_file_mib", ValueError::FileSize));
        }
        let Self { path, on_failure, max_file_mib } = self;
        Ok(audit::Settings { path, on_failure, full_size: max_file_mib << 20 })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublic {
    listen: OneOrMany,
    base_url: String,
    root: KeysetName,
    tls: Option<RawPublicTls>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListener {
    listen: OneOrMany,
    tls: Option<RawTls>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetrics {
    listen: OneOrMany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    listen: OneOrMany,
    tls: Option<RawTls>,
    #[serde(default)]
    hosts: Vec<String>,
}

impl RawAdmin {
    fn hosts(&self) -> Result<Vec<Host>, Wrong> {
        let host = |text: &String| text.parse().map_err(|error| wrong("admin.hosts", error));
        self.hosts.iter().map(host).collect()
    }

    fn listener(self) -> RawListener {
        RawListener { listen: self.listen, tls: self.tls }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublicTls {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl RawPublicTls {
    fn files(self) -> Files {
        Files { certificate: self.certificate, key: self.key, client_ca: None }
    }
}

impl RawTls {
    fn files(self) -> Files {
        Files { certificate: self.certificate, key: self.key, client_ca: self.client_ca }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeyset {
    algorithm: RawAlgorithm,
    rsa_bits: Option<u32>,
    rotate: String,
    #[serde(default = "utc")]
    time_zone: String,
    issuer: String,
    audience: Option<OneOrMany>,
    max_token_ttl: Span,
    #[serde(default = "five_minutes")]
    jwks_max_age: Span,
    #[serde(default = "a_day")]
    verifier_cache: Span,
    #[serde(default = "a_minute")]
    clock_skew: Span,
    #[serde(default = "generate")]
    first_key: FirstKey,
    #[serde(default)]
    mixed_kty: bool,
    token_types: Option<Vec<String>>,
    discovery: Option<bool>,
    jwks_file: Option<PathBuf>,
    verifiers: Option<Vec<String>>,
}

/// An algorithm by its JOSE name, for keys of 2048 bits where it is one of RSA.
#[derive(Clone, Copy)]
struct RawAlgorithm(Algorithm);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCaller {
    name: String,
    uid: Option<Id>,
    gid: Option<Id>,
    token_sha256: Option<String>,
    san: Option<String>,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    in_flight: Option<u32>,
    #[serde(default)]
    grants: Vec<RawGrant>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number or a name")]
enum Id {
    Number(u32),
    Name(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrant {
    keyset: String,
    actions: BTreeSet<Action>,
    audiences: Option<Vec<String>>,
    max_ttl: Option<Span>,
    token_types: Option<Vec<String>>,
    #[serde(default)]
    force: BTreeMap<String, toml::Value>,
}

/// Only where the daemon listens for callers and admins, whatever else the file says.
#[derive(Deserialize)]
pub(super) struct RawEndpoints {
    internal: RawListener,
    admin: RawAdmin,
}

impl RawEndpoints {
    pub(super) fn check(self) -> Result<super::Endpoints, Wrong> {
        Ok(super::Endpoints {
            internal: listens("internal.listen", self.internal.listen)?,
            admin: listens("admin.listen", self.admin.listen)?,
            tls: Tables {
                public: None,
                internal: self.internal.tls.map(RawTls::files),
                admin: self.admin.tls.map(RawTls::files),
            },
        })
    }
}

/// A duration such as `15m`.
#[derive(Clone, Copy)]
struct Span(Duration);

impl<'de> Deserialize<'de> for RawAlgorithm {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = String::deserialize(input)?;
        Algorithm::named(&name, RsaBits::B2048).map(Self).ok_or_else(|| {
            let names = Algorithm::names().join(", ");
            D::Error::custom(format!("there is no algorithm {name:?}; use one of {names}"))
        })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        duration::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn five_minutes() -> Span {
    Span(Duration::from_mins(5))
}

fn a_day() -> Span {
    Span(Duration::from_hours(24))
}

fn a_minute() -> Span {
    Span(Duration::from_mins(1))
}

fn generate() -> FirstKey {
    FirstKey::Generate
}

/// A value that cannot be, and where it stands.
pub(super) struct Wrong {
    place: String,
    error: ValueError,
}

impl Wrong {
    pub(super) fn in_file(self, path: &Path) -> ConfigError {
        ConfigError::Value { path: path.to_owned(), place: self.place, error: self.error }
    }
}

pub(super) fn wrong(place: impl Into<String>, error: impl Into<ValueError>) -> Wrong {
    Wrong { place: place.into(), error: error.into() }
}

impl Raw {
    pub(super) fn check(self, now: Time) -> Result<Config, Wrong> {
        let mut keysets = Keysets::new();
        let mut alike = Alike::default();
        for (name, raw) in self.keysets {
            let place = format!("keysets.{name}");
            keysets.insert(name, raw.check(&place, now, &mut alike)?);
        }
        if keysets.is_empty() {
            return Err(wrong("keysets", ValueError::NoKeyset));
        }
        check_issuers(&keysets)?;
        check_verifiers(&keysets)?;
        let (public, public_tls) = self.public.check(&keysets)?;
        let (internal, internal_tls) = private_listener("internal", self.internal)?;
        let admin_hosts = self.admin.hosts()?;
        let (admin, admin_tls) = private_listener("admin", self.admin.listener())?;
        let metrics = self.metrics.map(|table| listens("metrics.listen", table.listen));
        let (of_callers, connections) = self.limits.check()?;
        let config = Config {
            store: Store { path: self.store.path, master_key: self.store.master_key },
            audit: self.audit.check()?,
            public,
            internal,
            admin,
            tls: Tables { public: public_tls, internal: internal_tls, admin: admin_tls },
            callers: check_callers(self.callers, of_callers)?,
            connections,
            keysets,
            metrics: metrics.transpose()?.unwrap_or_default(),
            fetchers: self.fetchers.check()?,
            admin_hosts,
            log: self.log,
        };
        check_places(&config)?;
        check_groups(&config)?;
        Ok(config)
    }
}

impl RawPublic {
    fn check(self, keysets: &Keysets) -> Result<(Public, Option<Files>), Wrong> {
        let rest = self
            .base_url
            .strip_prefix("https://")
            .or_else(|| self.base_url.strip_prefix("http://"))
            .unwrap_or("");
        if rest.is_empty() || rest.ends_with('/') || rest.contains(['?', '#', ' ', '"']) {
            return Err(wrong("public.base_url", ValueError::Url));
        }
        if !keysets.contains_key(&self.root) {
            return Err(wrong("public.root", ValueError::NoSuchKeyset(self.root.to_string())));
        }
        let listen = listens("public.listen", self.listen)?;
        let files = self.tls.map(RawPublicTls::files);
        Ok((Public { listen, base_url: self.base_url, root: self.root }, files))
    }
}

/// What several key sets have, once for all of them: mostly many are alike. Five years of a schedule take
/// their time, and what is shared is looked at by each token of any of them.
#[derive(Default)]
struct Alike {
    facts: Recent<(Facts, Checked)>,
    lists: Recent<Arc<[String]>>,
}

/// What was kept last, newest last.
struct Recent<T>(VecDeque<T>);

impl Alike {
    /// The same facts, which share their schedule with those like them, and what holds of them.
    fn checked(&mut self, facts: Facts, now: Time) -> Result<(Facts, Checked), FactsError> {
        if let Some(known) = self.facts.find(|(known, _)| *known == facts) {
            return Ok(known);
        }
        let checked = facts.check(now)?;
        Ok(self.facts.keep((facts, checked)))
    }

    /// The same texts.
    fn list(&mut self, texts: Vec<String>) -> Arc<[String]> {
        let known = self.lists.find(|known| **known == *texts);
        known.unwrap_or_else(|| self.lists.keep(texts.into()))
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Clone> Recent<T> {
    /// How many are kept.
    const MOST: usize = 16;

    fn find(&self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        self.0.iter().rev().find(|kept| is_wanted(kept)).cloned()
    }

    fn keep(&mut self, new: T) -> T {
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(new.clone());
        new
    }
}

impl RawKeyset {
    fn check(self, place: &str, now: Time, alike: &mut Alike) -> Result<Keyset, Wrong> {
        let at = |key: &str| format!("{place}.{key}");
        check_zone(&self.time_zone).map_err(|error| wrong(at("time_zone"), error))?;
        let facts = Facts {
            algorithm: self.algorithm(place)?,
            rotate: self.rotation().map_err(|error| wrong(at("rotate"), error))?,
            jwks_max_age: self.jwks_max_age.0,
            verifier_cache: self.verifier_cache.0,
            max_token_ttl: self.max_token_ttl.0,
            clock_skew: self.clock_skew.0,
            first_key: self.first_key,
            key_types: if self.mixed_kty { KeyTypes::Mixed } else { KeyTypes::One },
        };
        let (facts, checked) = alike.checked(facts, now).map_err(|error| wrong(place, error))?;
        if self.issuer.is_empty() {
            return Err(wrong(at("issuer"), ValueError::Empty));
        }
        let audiences = self.audience.map_or_else(Vec::new, OneOrMany::into_list);
        if audiences.iter().any(String::is_empty) {
            return Err(wrong(at("audience"), ValueError::Empty));
        }
        let types = self.token_types.unwrap_or_else(|| vec!["JWT".into(), "at+jwt".into()]);
        check_types(&types).map_err(|error| wrong(at("token_types"), error))?;
        Ok(Keyset {
            facts,
            checked,
            tokens: TokenSettings {
                issuer: self.issuer,
                audiences: alike.list(audiences),
                types: alike.list(types),
            },
            discovery: match self.discovery {
                None | Some(true) => Discovery::On,
                Some(false) => Discovery::Off,
            },
            jwks_file: self.jwks_file,
            verifiers: match self.verifiers {
                Some(list) if list.is_empty() => {
                    return Err(wrong(at("verifiers"), ValueError::Empty));
                }
                list => list.unwrap_or_default(),
            },
        })
    }

    fn algorithm(&self, place: &str) -> Result<Algorithm, Wrong> {
        let RawAlgorithm(algorithm) = self.algorithm;
        let at = || format!("{place}.rsa_bits");
        match (self.rsa_bits, algorithm.key_type()) {
            (None, _) => Ok(algorithm),
            (Some(bits), KeyType::Rsa) => RsaBits::from_u32(bits)
                .and_then(|bits| Algorithm::named(algorithm.jose_name(), bits))
                .ok_or_else(|| wrong(at(), ValueError::RsaBits)),
            (Some(_), KeyType::Ec | KeyType::Okp | KeyType::Akp) => {
                Err(wrong(at(), ValueError::NotRsa))
            }
        }
    }

    fn rotation(&self) -> Result<Rotation, ValueError> {
        if self.rotate == "manual" {
            return Ok(Rotation::Manual);
        }
        Ok(Rotation::Scheduled(Schedule::parse(&self.rotate, &self.time_zone)?))
    }
}

impl OneOrMany {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

fn check_types(types: &[String]) -> Result<(), ValueError> {
    let is_typ = |typ: &String| {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b".+-".contains(&c);
        (1..=64).contains(&typ.len()) && typ.bytes().all(allowed)
    };
    match types.iter().find(|typ| !is_typ(typ)) {
        Some(typ) => Err(ValueError::TokenType(typ.clone())),
        None if types.is_empty() => Err(ValueError::NoTokenType),
        None => Ok(()),
    }
}

fn check_issuers(keysets: &Keysets) -> Result<(), Wrong> {
    let mut seen: BTreeMap<&str, &KeysetName> = BTreeMap::new();
    for (name, keyset) in keysets {
        if keyset.discovery == Discovery::Off {
            continue;
        }
        if let Some(other) = seen.insert(&keyset.tokens.issuer, name) {
            let place = format!("keysets.{name}.issuer");
            return Err(wrong(place, ValueError::SameIssuer(other.clone())));
        }
    }
    Ok(())
}

fn check_verifiers(keysets: &Keysets) -> Result<(), Wrong> {
    let mut stating = keysets.iter().filter(|(_, keyset)| !keyset.verifiers.is_empty()).peekable();
    if stating.peek().is_none() {
        return Ok(());
    }
    let catalogue = Catalogue::built_in();
    let check = |(name, keyset): (&KeysetName, &Keyset)| {
        let place = || format!("keysets.{name}.verifiers");
        catalogue.chosen(&keyset.verifiers).map(drop).map_err(|error| wrong(place(), error))
    };
    stating.try_for_each(check)
}

fn listens(place: &str, raw: OneOrMany) -> Result<Vec<Listen>, Wrong> {
    let texts = raw.into_list();
    if texts.is_empty() {
        return Err(wrong(place, ValueError::NowhereToListen));
    }
    let parse = |text: &String| Listen::parse(text).map_err(|error| wrong(place, error));
    texts.iter().map(parse).collect()
}

/// A listener for callers or admins: without TLS only on this machine.
fn private_listener(name: &str, raw: RawListener) -> Result<(Vec<Listen>, Option<Files>), Wrong> {
    let place = format!("{name}.listen");
    let listens = listens(&place, raw.listen)?;
    match (listens.iter().find(|listen| !listen.is_local()), raw.tls) {
        (Some(remote), None) => {
            let (table, remote) = (format!("{name}.tls"), remote.to_string());
            Err(wrong(place, ValueError::TcpWithoutTls { place: remote, table }))
        }
        (_, tls) => Ok((listens, tls.map(RawTls::files))),
    }
}

fn check_places(config: &Config) -> Result<(), Wrong> {
    let mut seen = BTreeSet::new();
    let listeners = [
        ("public.listen", &config.public.listen),
        ("internal.listen", &config.internal),
        ("admin.listen", &config.admin),
        ("metrics.listen", &config.metrics),
    ];
    for (place, listens) in listeners {
        for listen in listens {
            let is_any_port = matches!(listen, Listen::Tcp(address) if address.ends_with(":0"));
            if !seen.insert(listen) && !is_any_port {
                return Err(wrong(place, ValueError::SamePlace(listen.clone())));
            }
        }
    }
    Ok(())
}

/// A socket has one group, so the callers by group must be of one.
fn check_groups(config: &Config) -> Result<(), Wrong> {
    let mut groups = config.callers.iter().filter_map(|caller| match caller.identity {
        Identity::Gid(gid) => Some((gid, &caller.name)),
        Identity::Uid(_) | Identity::TokenSha256(_) | Identity::San(_) => None,
    });
    let Some((first, name)) = groups.next() else {
        return Ok(());
    };
    match groups.find(|(gid, _)| *gid != first) {
        Some((_, other)) => {
            Err(wrong(format!("callers.{other}"), ValueError::OtherGroup(name.clone())))
        }
        None => Ok(()),
    }
}

fn check_callers(raw: Vec<RawCaller>, limits: Settings) -> Result<Vec<Arc<Caller>>, Wrong> {
    let mut callers: Vec<Arc<Caller>> = Vec::new();
    for raw in raw {
        let place = format!("callers.{}", raw.name);
        let caller = raw.check(&place, limits)?;
        if callers.iter().any(|other| other.name == caller.name) {
            return Err(wrong(place, ValueError::SameName));
        }
        if let Some(other) = callers.iter().find(|other| other.identity == caller.identity) {
            return Err(wrong(place, ValueError::SameIdentity(other.name.clone())));
        }
        callers.push(Arc::new(caller));
    }
    Ok(callers)
}

impl RawCaller {
    fn check(self, place: &str, limits: Settings) -> Result<Caller, Wrong> {
        check_caller_name(&self.name).map_err(|error| wrong("callers.name", error))?;
        let identity = match (&self.uid, &self.gid, &self.token_sha256, &self.san) {
            (Some(uid), None, None, None) => uid_of(uid).map(Identity::Uid),
            (None, Some(gid), None, None) => gid_of(gid).map(Identity::Gid),
            (None, None, Some(digest), None) => digest_of(digest).map(Identity::TokenSha256),
            (None, None, None, Some(san)) => {
                san.parse().map(Identity::San).map_err(ValueError::San)
            }
            _ => Err(ValueError::Identity),
        };
        let identity = identity.map_err(|error| wrong(place, error))?;
        let grants = self
            .grants
            .into_iter()
            .map(|grant| grant.check().map_err(|error| wrong(format!("{place}.grants"), error)))
            .collect::<Result<_, _>>()?;
        let Self { requests_per_second, burst, in_flight, .. } = self;
        let limits = Written { requests_per_second, burst, in_flight }.check(place, limits)?;
        Ok(Caller { name: self.name, identity, grants, limits })
    }
}

/// Whether a caller can have this name.
///
/// # Errors
///
/// [`ValueError`]: it is empty, has what cannot be seen, or means something else.
pub fn check_caller_name(name: &str) -> Result<(), ValueError> {
    if name.is_empty() {
        Err(ValueError::Empty)
    } else if InLine(name).to_string() != name {
        Err(ValueError::Invisible(name.to_owned()))
    } else if [audit::DAEMON, series::OTHER, series::UNKNOWN].contains(&name) {
        Err(ValueError::Reserved(name.to_owned()))
    } else {
        Ok(())
    }
}

impl RawGrant {
    fn check(self) -> Result<Grant, ValueError> {
        let keysets = match self.keyset.strip_suffix('*') {
            Some(prefix) if prefix.is_empty() || prefix.parse::<KeysetName>().is_ok() => {
                KeysetPattern::Prefix(prefix.to_owned())
            }
            Some(_) => return Err(ValueError::Pattern),
            None => {
                self.keyset.parse().map(KeysetPattern::Exactly).map_err(|_| ValueError::Pattern)?
            }
        };
        if self.actions.contains(&Action::Operate) && !keysets.is_all() {
            return Err(ValueError::OperateNeedsAll);
        }
        let settled = OWN_CLAIMS.iter().chain(&["aud", "nbf"]);
        if let Some(name) = settled.into_iter().find(|name| self.force.contains_key(**name)) {
            return Err(ValueError::ForcedClaim((*name).to_owned()));
        }
        if let Some(types) = &self.token_types {
            check_types(types)?;
        }
        let force = self
            .force
            .into_iter()
            .map(|(name, value)| Ok((name.clone(), json_of(&name, value)?)))
            .collect::<Result<_, ValueError>>()?;
        Ok(Grant {
            keysets,
            actions: self.actions,
            audiences: self.audiences,
            max_ttl: self.max_ttl.map(|span| span.0),
            token_types: self.token_types,
            force,
        })
    }
}

/// A forced claim as JSON, which has no dates and no infinite numbers.
fn json_of(name: &str, value: toml::Value) -> Result<serde_json::Value, ValueError> {
    let not_json = || ValueError::NotJson(name.to_owned());
    match value {
        toml::Value::String(text) => Ok(text.into()),
        toml::Value::Integer(number) => Ok(number.into()),
        toml::Value::Boolean(truth) => Ok(truth.into()),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).map(Into::into).ok_or_else(not_json)
        }
        toml::Value::Datetime(_) => Err(not_json()),
        toml::Value::Array(list) => {
            list.into_iter().map(|value| json_of(name, value)).collect::<Result<_, _>>()
        }
        toml::Value::Table(table) => {
            let member = |(key, value): (String, _)| Ok((key, json_of(name, value)?));
            let members: Result<serde_json::Map<_, _>, _> = table.into_iter().map(member).collect();
            members.map(Into::into)
        }
    }
}

fn uid_of(id: &Id) -> Result<u32, ValueError> {
    match id {
        Id::Number(uid) => Ok(*uid),
        Id::Name(name) if name == "self" => Ok(rustix::process::geteuid().as_raw()),
        Id::Name(name) => uzers::get_user_by_name(name)
            .map(|user| user.uid())
            .ok_or_else(|| ValueError::NoSuchId { kind: "user", name: name.clone() }),
    }
}

fn gid_of(id: &Id) -> Result<u32, ValueError> {
    match id {
        Id::Number(gid) => Ok(*gid),
        Id::Name(name) => uzers::get_group_by_name(name)
            .map(|group| group.gid())
            .ok_or_else(|| ValueError::NoSuchId { kind: "group", name: name.clone() }),
    }
}

fn digest_of(text: &str) -> Result<[u8; 32], ValueError> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ValueError::Digest);
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| ValueError::Digest)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| ValueError::Digest)?;
    }
    Ok(digest)
}
