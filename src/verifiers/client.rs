//! What is known of a verifier: how it keeps a JWK Set, and what it cannot live with.

use std::time::Duration;

use jwksd_keystore::algorithm::{Algorithm, Curve, Family};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::duration;
use jwksd_keystore::facts::Span;

/// A verifier: a library, or a proxy, with the settings that it has when nobody changes any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// What it is called in a configuration and on the command line: `[a-z0-9-]`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its language, or what it is.
    pub platform: Platform,
    /// The versions that this holds for; empty where it was not read from one.
    #[serde(default)]
    pub versions: String,
    /// How this is known.
    pub source: Source,
    /// How it keeps a JWK Set; `None` where its caller fetches the set, as it likes.
    #[serde(default)]
    pub cache: Option<Cache>,
    /// Keys beside which it refuses good tokens of every key in the set.
    #[serde(default)]
    pub chokes_on: Vec<KeyKind>,
    /// The most bytes of a JWK Set that it reads.
    #[serde(default)]
    pub body_limit: Option<usize>,
    /// What it thinks of tokens with `typ` `at+jwt`.
    #[serde(default)]
    pub at_jwt: AtJwt,
    /// Its limit for fetching the set, in the words of its documentation; empty where not known.
    #[serde(default)]
    pub time_out: String,
    /// What else it asks of a set or a token, a sentence each.
    #[serde(default)]
    pub demands: Vec<String>,
    /// The setting of its own that shortens for how long it keeps keys; empty where there is none.
    #[serde(default)]
    pub setting: String,
    /// The setting of its own that makes it keep more keys; empty where there is none.
    #[serde(default)]
    pub keys_setting: String,
    /// What was measured, where it was.
    #[serde(default)]
    pub measured: Vec<Measured>,
}

/// What a verifier runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Platform {
    /// JavaScript on Node and elsewhere.
    #[serde(rename = "Node")]
    Node,
    /// Python.
    Python,
    /// The JVM.
    Java,
    /// .NET.
    #[serde(rename = ".NET")]
    DotNet,
    /// Go.
    Go,
    /// Ruby.
    Ruby,
    /// Rust.
    Rust,
    /// A proxy, gateway or web server.
    #[serde(rename = "proxy")]
    Proxy,
}

impl Platform {
    /// As people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Python => "Python",
            Self::Java => "Java",
            Self::DotNet => ".NET",
            Self::Go => "Go",
            Self::Ruby => "Ruby",
            Self::Rust => "Rust",
            Self::Proxy => "proxy",
        }
    }
}

/// How something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// It ran against an issuer that rotated, revoked and failed.
    Measured,
    /// Its source was read.
    Source,
    /// Its documentation or its issues were read.
    Docs,
}

/// How a verifier keeps a JWK Set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// For how long it uses what it fetched.
    pub keeps: Keeps,
    /// What it keeps.
    #[serde(default)]
    pub unit: Unit,
    /// What it does with a kid that it has not got.
    pub unknown_kid: UnknownKid,
    /// For how long it trusts a key that left the set, where that is not until it fetches the
    /// set again.
    #[serde(default)]
    pub trusts: Option<Trusts>,
    /// For how long it takes a token that it has seen for good, whatever became of its key.
    #[serde(default, with = "optional_span")]
    pub results: Option<Duration>,
    /// What becomes of keys that it has when the set cannot be fetched.
    pub on_failure: OnFailure,
    /// The most keys that it keeps.
    #[serde(default)]
    pub most_keys: Option<u32>,
    /// The conditional header that it sends, where it sends one.
    #[serde(default)]
    pub conditional: Option<String>,
}

/// What a verifier keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// The whole set: whatever makes it fetch replaces all of it.
    #[default]
    Set,
    /// Each key by itself.
    Kid,
}

/// For how long a verifier uses what it fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It fetches for every token.
    Nothing,
    /// For so long.
    For(Duration),
    /// As `Cache-Control: max-age` says.
    MaxAge,
    /// Until the process ends.
    Process,
}

/// What a verifier does with a kid that it has not got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownKid {
    /// It refuses the token.
    Refuses,
    /// Not known; taken for [`UnknownKid::Refuses`].
    NotKnown,
    /// It fetches the set.
    Fetches,
    /// It fetches the set, but for so long after a fetch that did not bring the kid, it refuses.
    FetchesUnlessMissed(#[serde(with = "span")] Duration),
    /// It fetches the set, so many times in a time; then it refuses.
    FetchesAtMost {
        /// How many times.
        times: u32,
        /// In which time.
        #[serde(with = "span")]
        per: Duration,
    },
    /// It fetches the set, but not so soon after any fetch; until then it refuses.
    FetchesAfter(#[serde(with = "span")] Duration),
    /// It fetches the set in the last so much of its `max-age`, and after it; until then it refuses.
    FetchesBeforeExpiry(#[serde(with = "span")] Duration),
}

/// For how long a verifier trusts a key that left the set, whatever it fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trusts {
    /// For so long.
    For(Duration),
    /// Until the process ends.
    Process,
}

/// What becomes of keys that a verifier has when the set cannot be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It uses them for as long as it would anyway, then it refuses.
    Expires,
    /// It goes on using them.
    Keeps,
    /// It uses them for so long from when it fetched them.
    Lasts(#[serde(with = "span")] Duration),
    /// It uses them for so much longer than it would.
    Longer(#[serde(with = "span")] Duration),
}

/// A kind of key that can be in a JWK Set of jwksd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// RSA of any size.
    Rsa,
    /// P-256 and P-384.
    Ec,
    /// P-521.
    P521,
    /// Ed25519, with `alg` `EdDSA`.
    Ed25519,
    /// ML-DSA of any size.
    MlDsa,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rsa, Self::Ec, Self::P521, Self::Ed25519, Self::MlDsa];

    /// Of keys for this algorithm.
    #[must_use]
    pub const fn of(algorithm: Algorithm) -> Self {
        match algorithm.family() {
            Family::Rsa(..) => Self::Rsa,
            Family::Ec(Curve::P256 | Curve::P384) => Self::Ec,
            Family::Ec(Curve::P521) => Self::P521,
            Family::Ed25519 => Self::Ed25519,
            Family::MlDsa(_) => Self::MlDsa,
        }
    }

    /// As people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
            Self::P521 => "P-521",
            Self::Ed25519 => "Ed25519",
            Self::MlDsa => "ML-DSA",
        }
    }
}

/// What a verifier thinks of tokens with `typ` `at+jwt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtJwt {
    /// It takes them and others.
    #[default]
    Takes,
    /// It refuses them.
    Refuses,
    /// It refuses all others.
    Requires,
}

/// What was measured of a verifier, in seconds of its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The `max-age` of the set, where it was not five minutes.
    #[serde(default, with = "optional_span", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// What it kept the set for, where that was set for the measurement.
    #[serde(default, with = "optional_span", skip_serializing_if = "Option::is_none")]
    pub keeps: Option<Duration>,
    /// A key was published and signed in the same instant: for how long its tokens were refused.
    pub at_once: Seconds,
    /// The same after one token of the key came before it was published.
    pub premature: Seconds,
    /// A kid was removed: for how long its tokens were taken, while no others came.
    pub revoked: Seconds,
    /// The removed kid's tokens, right after one of a new kid was taken.
    pub old_after_new: OldKid,
    /// The set could not be fetched: for how long tokens of a known kid were taken.
    pub down: Seconds,
}

/// What became of tokens of an old kid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldKid {
    /// They were taken.
    Accepted,
    /// They were refused.
    Rejected,
}

/// A time that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seconds {
    /// So many.
    Exactly(u64),
    /// The run ended before.
    MoreThan(u64),
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "seconds, or a text such as \">4500\"")]
        enum Written {
            Exactly(u64),
            MoreThan(String),
        }
        match Written::deserialize(input)? {
            Written::Exactly(seconds) => Ok(Self::Exactly(seconds)),
            Written::MoreThan(text) => text
                .strip_prefix('>')
                .and_then(|seconds| seconds.parse().ok())
                .map(Self::MoreThan)
                .ok_or_else(|| D::Error::custom(format!("{text:?} is not like \">4500\""))),
        }
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exactly(seconds) => output.serialize_u64(*seconds),
            Self::MoreThan(seconds) => output.collect_str(&format_args!(">{seconds}")),
        }
    }
}

impl<'de> Deserialize<'de> for Keeps {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        match text.as_str() {
            "nothing" => Ok(Self::Nothing),
            "max-age" => Ok(Self::MaxAge),
            "process" => Ok(Self::Process),
            span => duration::parse(span).map(Self::For).map_err(D::Error::custom),
        }
    }
}

impl Serialize for Keeps {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => output.serialize_str("nothing"),
            Self::MaxAge => output.serialize_str("max-age"),
            Self::Process => output.serialize_str("process"),
            Self::For(span) => output.collect_str(&Span(*span)),
        }
    }
}

impl<'de> Deserialize<'de> for Trusts {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        match text.as_str() {
            "process" => Ok(Self::Process),
            span => duration::parse(span).map(Self::For).map_err(D::Error::custom),
        }
    }
}

impl Serialize for Trusts {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Process => output.serialize_str("process"),
            Self::For(span) => output.collect_str(&Span(*span)),
        }
    }
}

/// A duration as the configuration writes it.
mod span {
    use super::{Deserialize, Deserializer, Duration, Error, Serializer, Span, duration};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(input)?;
        duration::parse(&text).map_err(D::Error::custom)
    }

    pub(super) fn serialize<S: Serializer>(span: &Duration, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(&Span(*span))
    }
}

/// The same where there may be none.
mod optional_span {
    use super::{Deserializer, Duration, Serializer, span};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Duration>, D::Error> {
        span::deserialize(input).map(Some)
    }

    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        output: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::span::serialize(span, output),
            None => output.serialize_none(),
        }
    }
}
