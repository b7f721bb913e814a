//! The configuration: for each key set a choice among facts that matter, and the file that it is
//! written to.

use std::fmt::Write;
use std::path::Path;

use proptest::prelude::*;

/// The file that a JWK Set is written to.
pub(crate) const FILE: &str = "jwks.json";

/// What can be chosen, by key of the configuration.
const CHOICES: [(&str, &[&str]); 6] = [
    ("rotate", &["0 3 1 * *", "0 3 * * MON", "30 2 1,15 * *", "0 0 1 */3 *", "manual"]),
    ("jwks_max_age", &["5m", "1h", "5h"]),
    ("verifier_cache", &["10m", "1h", "24h", "96h"]),
    ("max_token_ttl", &["15m", "1h", "24h", "480h"]),
    ("clock_skew", &["60s", "10m", "0s"]),
    ("algorithm", &["ES256", "ES384"]),
];

/// Where the algorithm is among them: a key set of EdDSA keeps to it.
const ALGORITHM: usize = 5;

/// Which of the facts each key set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice([usize; CHOICES.len()]);

/// What a key set is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has EdDSA keys, the quickest.
    Plain,
    /// It has keys of P-256 or P-384, takes keys of others, and may wait for its first.
    Importing,
    /// It is written to a file besides.
    Filed,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Importing => "importing",
            Self::Filed => "filed",
        }
    }
}

/// Where the first key of the importing key set comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Generated,
    Imported,
}

impl Choice {
    /// Monthly, 5m, 24h, 1h, 60s, ES256.
    pub(crate) const USUAL: Self = Self([0, 0, 2, 1, 0, 0]);

    /// The same with another fact.
    pub(crate) fn with(self, field: usize, value: usize) -> Self {
        let mut choice = self;
        let field = field % CHOICES.len();
        choice.0[field] = value % CHOICES[field].1.len();
        choice
    }

    /// The same with this value of a fact.
    pub(crate) fn with_named(self, key: &str, value: &str) -> Self {
        let field = CHOICES.iter().position(|(name, _)| *name == key).unwrap();
        let value = CHOICES[field].1.iter().position(|text| *text == value).unwrap();
        self.with(field, value)
    }
}

/// Choices that come up at a start. Those that contradict each other are not used.
pub(crate) fn choices() -> impl Strategy<Value = Choice> {
    let of = |field: usize| 0..CHOICES[field].1.len();
    (of(0), of(1), of(2), of(3), of(4)).prop_map(|(a, b, c, d, e)| Choice([a, b, c, d, e, 0]))
}

/// Which fact is changed to what.
pub(crate) fn changes() -> impl Strategy<Value = (usize, usize)> {
    (0..CHOICES.len(), 0_usize..5)
}

/// More than a century writes: what fills the place of the audit knows no file that continues another.
const LARGEST_AUDIT_MIB: u32 = 1024;

/// The text of a configuration with these key sets.
pub(crate) fn text(folder: &Path, first: First, keysets: &[(Role, Choice)]) -> String {
    let folder_text = folder.display();
    let root = keysets.first().map_or("plain", |(role, _)| role.name());
    let mut text = format!(
        r#"
[store]
path = "{folder_text}/store"
master_key = "{folder_text}/master.key"
[audit]
path = "{folder_text}/audit.jsonl"
max_file_mib = {LARGEST_AUDIT_MIB}
[public]
listen = "unix:{folder_text}/public.sock"
base_url = "http://127.0.0.1:8080"
root = "{root}"
[internal]
listen = "unix:{folder_text}/sign.sock"
[admin]
listen = "unix:{folder_text}/admin.sock"
[[callers]]
name = "everyone"
uid = "self"
grants = [{{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"] }}]
"#
    );
    for (role, choice) in keysets {
        let name = role.name();
        let _ = write!(text, "[keysets.{name}]\nissuer = \"http://127.0.0.1:8080/{name}\"\n");
        let facts = CHOICES.iter().zip(choice.0).enumerate();
        for (field, ((key, values), value)) in facts {
            let value = match role {
                Role::Plain | Role::Filed if field == ALGORITHM => "EdDSA",
                _ => values[value],
            };
            let _ = writeln!(text, "{key} = \"{value}\"");
        }
        match role {
            Role::Importing if first == First::Imported => {
                text.push_str("first_key = \"import\"\n");
            }
            Role::Filed => {
                let _ = writeln!(text, "jwks_file = \"{folder_text}/{FILE}\"");
            }
            Role::Plain | Role::Importing => {}
        }
    }
    text
}
