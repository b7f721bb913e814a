//! Public keys for verifiers that do not fetch a JWK Set.

use jwksd_keystore::id::{KeyId, KeysetName};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{KeyState, schema};

/// `POST /v1/keysets/{keyset}/keys/{kid}/export`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "lowercase", deny_unknown_fields)]
pub enum ExportRequest {
    /// The JWK, as it is published.
    Jwk {},
    /// A public key in PEM: `SubjectPublicKeyInfo`.
    Pem {},
    /// The line of OpenSSH, with the kid as its comment. There is none of ML-DSA.
    Openssh {},
    /// A certificate of the key by itself. Not of a key that only verifies.
    X509 {
        /// Whom it names; the kid if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// For how many days it is valid; 365 if not given.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "days")]
        days: Option<u64>,
    },
    /// A request to a CA for a certificate. Not of a key that only verifies.
    Csr {
        /// Whom it names; the kid if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
    },
}

/// A public key for a verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportResponse {
    /// The key set.
    #[schema(value_type = schema::KeysetName)]
    pub keyset: KeysetName,
    /// The key.
    #[schema(value_type = schema::KeyId)]
    pub kid: KeyId,
    /// The form of `text`.
    pub format: String,
    /// What the key may do now.
    pub state: KeyState,
    /// The key, with a line break at its end.
    pub text: String,
    /// When it was first given out in such a form while it was pending.
    #[schema(value_type = Option<schema::Instant>)]
    pub exported: Option<String>,
    /// Until when a pending key has to be in place: then it starts to sign. Not there while that is
    /// not planned.
    #[schema(value_type = Option<schema::Instant>)]
    pub in_place_by: Option<String>,
    /// Since when it signs.
    #[schema(value_type = Option<schema::Instant>)]
    pub signs_since: Option<String>,
    /// Until when tokens that it signed may live, as in [`super::Key::needed_until`].
    #[schema(value_type = Option<schema::Instant>)]
    pub needed_until: Option<String>,
}

impl ExportRequest {
    /// What the form is called.
    #[must_use]
    pub const fn format(&self) -> &'static str {
        match self {
            Self::Jwk {} => "jwk",
            Self::Pem {} => "pem",
            Self::Openssh {} => "openssh",
            Self::X509 { .. } => "x509",
            Self::Csr { .. } => "csr",
        }
    }
}

fn days<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Days(#[serde(deserialize_with = "super::whole_number")] u64);
    Ok(Option::<Days>::deserialize(input)?.map(|Days(days)| days))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_format_takes_is_taken() {
        let read = serde_json::from_str::<ExportRequest>;
        assert_eq!(read(r#"{"format":"pem"}"#).unwrap(), ExportRequest::Pem {});
        let subject = Some("a".to_owned());
        let x509 = r#"{"days":30.0,"format":"x509","subject":"a"}"#;
        let wanted = ExportRequest::X509 { subject: subject.clone(), days: Some(30) };
        assert_eq!(read(x509).unwrap(), wanted);
        let nothing = ExportRequest::X509 { subject: None, days: None };
        assert_eq!(read(r#"{"format":"x509","days":null}"#).unwrap(), nothing);
        let csr = ExportRequest::Csr { subject };
        assert_eq!(read(r#"{"format":"csr","subject":"a"}"#).unwrap(), csr);
        for wrong in [
            "{}",
            r#"{"format":"PEM"}"#,
            r#"{"format":"pem","subject":"a"}"#,
            r#"{"format":"csr","days":30}"#,
            r#"{"format":"x509","days":1.5}"#,
            r#"{"format":"x509","days":-1}"#,
            r#"{"format":"jwk","format":"pem"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for request in [
            ExportRequest::Jwk {},
            ExportRequest::Openssh {},
            ExportRequest::X509 { subject: Some("a".to_owned()), days: Some(1) },
            ExportRequest::Csr { subject: None },
        ] {
            let text = serde_json::to_string(&request).unwrap();
            assert!(text.contains(&format!(r#""format":"{}""#, request.format())), "{text}");
            assert_eq!(serde_json::from_str::<ExportRequest>(&text).unwrap(), request);
        }
    }
}
