//! The verifiers that are known, from the file beside this one.

use serde::Deserialize;

use super::Client;

/// The catalogue as written.
const TEXT: &str = include_str!("catalogue.toml");

/// What stands for all of them, where verifiers are named.
pub const ALL: &str = "all";

/// The longest name for which another is suggested.
const LONGEST: usize = 64;

/// How alike a name must be to be suggested, from 0 to 1.
const ALIKE: f64 = 0.7;

/// The verifiers that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The day of the measurements, `YYYY-MM-DD`.
    pub date: String,
    /// Each once, by platform and name.
    #[serde(rename = "client")]
    pub clients: Vec<Client>,
}

/// There is no such verifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no verifier {name:?}{}; docs/verifiers.md has those that are known",
    but_one_like_it(.nearest.as_deref())
)]
pub struct UnknownVerifier {
    /// What was given.
    pub name: String,
    /// What may have been meant.
    pub nearest: Option<String>,
}

fn but_one_like_it(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |id| format!(", but {id:?}"))
}

impl Catalogue {
    /// The one that comes with this version, in a millisecond.
    #[must_use]
    pub fn built_in() -> Self {
        // It can be read: a test of this file does.
        toml::from_str(TEXT).unwrap_or_default()
    }

    /// The verifier of this id.
    ///
    /// # Errors
    ///
    /// [`UnknownVerifier`], with the id that is most like it.
    pub fn named(&self, id: &str) -> Result<&Client, UnknownVerifier> {
        self.clients
            .iter()
            .find(|client| client.id == id)
            .ok_or_else(|| UnknownVerifier { name: id.to_owned(), nearest: self.nearest(id) })
    }

    /// The verifiers of these ids, each once; all where there are none, or [`ALL`] is among them.
    ///
    /// # Errors
    ///
    /// [`UnknownVerifier`], about the first that is not there.
    pub fn chosen<'a>(&'a self, ids: &[String]) -> Result<Vec<&'a Client>, UnknownVerifier> {
        if ids.is_empty() || ids.iter().any(|id| id == ALL) {
            return Ok(self.clients.iter().collect());
        }
        let mut chosen: Vec<&Client> = Vec::new();
        for id in ids {
            let client = self.named(id)?;
            if !chosen.iter().any(|other| other.id == client.id) {
                chosen.push(client);
            }
        }
        Ok(chosen)
    }

    fn nearest(&self, id: &str) -> Option<String> {
        if id.len() > LONGEST {
            return None;
        }
        let wanted = id.to_lowercase();
        let likeness = |client: &Client| {
            let name = client.name.to_lowercase();
            strsim::jaro_winkler(&client.id, &wanted).max(strsim::jaro_winkler(&name, &wanted))
        };
        let scored = self.clients.iter().map(|client| (likeness(client), client));
        let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
        best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, client)| client.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_told_with_the_one_that_was_meant() {
        let catalogue = Catalogue::built_in();
        let nearest = |id: &str| catalogue.named(id).unwrap_err().nearest;
        assert_eq!(nearest("pyjtw").as_deref(), Some("pyjwt"));
        assert_eq!(nearest("Envoy").as_deref(), Some("envoy"));
        assert_eq!(nearest("jwksrsa").as_deref(), Some("jwks-rsa"));
        assert_eq!(nearest("Spring Security").as_deref(), Some("spring-security"));
        assert_eq!(nearest("qqqq"), None);
        assert_eq!(nearest(""), None);
        let error = catalogue.chosen(&["envoy".to_owned(), "pyjtw".to_owned()]).unwrap_err();
        assert!(error.to_string().starts_with("there is no verifier \"pyjtw\", but \"pyjwt\";"));
    }
}
