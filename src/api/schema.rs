//! How the API describes (OpenAPI 3.1) what it takes and gives as plain text or JSON of any shape.
//!
//! Names of key sets and kids belong to the key store, which knows no HTTP; the rest is text.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema,
    SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::pki::signing_key::MAX_DAYS;

/// An example of a kid: the thumbprint of RFC 8037, appendix A.3.
pub const KID: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

/// The name of a key set, as [`jwksd_keystore::id::KeysetName`] takes it.
pub enum KeysetName {}

/// A kid, as [`jwksd_keystore::id::KeyId`] takes it.
pub enum KeyId {}

/// An instant: RFC 3339 in UTC.
pub enum Instant {}

/// A span of time, such as `1h30m`.
pub enum Span {}

/// A lifetime, as [`crate::api::Ttl`] takes it.
pub enum Ttl {}

/// The claims of a caller, as [`crate::claims`] takes them.
pub enum Claims {}

/// The reason of a revocation.
pub enum Reason {}

/// Whom a certificate names, as [`crate::pki::names::Subject`] takes it.
pub enum Subject {}

/// A JWK Set, as it is published.
pub enum JwkSet {}

/// A line of the audit.
pub enum AuditLine {}

/// How many lines of the audit are wanted.
pub enum LastLines {}

/// One or more numbers with units, the largest first ([`crate::duration`]).
const SPAN: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

impl ToSchema for KeysetName {}

impl PartialSchema for KeysetName {
    fn schema() -> RefOr<Schema> {
        text("The name of a key set.")
            .pattern(Some("^[a-z0-9-]{1,63}$"))
            .examples(["default"])
            .into()
    }
}

impl ToSchema for KeyId {}

impl PartialSchema for KeyId {
    fn schema() -> RefOr<Schema> {
        text("A `kid` (RFC 7517, section 4.5).")
            .pattern(Some("^(?![.]{1,2}$)[A-Za-z0-9._~-]{1,128}$"))
            .examples([KID])
            .into()
    }
}

impl ToSchema for Instant {}

impl PartialSchema for Instant {
    fn schema() -> RefOr<Schema> {
        text("An instant: RFC 3339, in UTC where the daemon tells it.")
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-12-01T03:00:00Z"])
            .into()
    }
}

impl ToSchema for Span {}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        let description = "A span of time: numbers with `d`, `h`, `m`, `s` or `ms`.";
        text(description).pattern(Some(SPAN)).min_length(Some(2)).examples(["1d6m"]).into()
    }
}

impl ToSchema for Ttl {}

impl PartialSchema for Ttl {
    fn schema() -> RefOr<Schema> {
        let seconds = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .description(Some("Seconds. No key set allows more than 366 days."))
            .minimum(Some(1))
            .maximum(Some(366 * 24 * 3600))
            .examples([json!(900)]);
        let span = text("A span of time of whole seconds, at least one.")
            .pattern(Some(SPAN))
            .min_length(Some(2))
            .examples(["15m", "1h30m"]);
        OneOfBuilder::new()
            .description(Some(
                "A lifetime. What is longer than the key set's `max_token_ttl`, or the `max_ttl` of \
                 the caller's grant, is refused.",
            ))
            .item(seconds)
            .item(span)
            .into()
    }
}

impl ToSchema for Claims {}

impl PartialSchema for Claims {
    fn schema() -> RefOr<Schema> {
        let audiences = OneOfBuilder::new()
            .item(text("One audience."))
            .item(ArrayBuilder::new().items(text("An audience.")).min_items(Some(1)));
        ObjectBuilder::new()
            .description(Some(
                "The claims of the caller, which arrive in the token byte for byte. Refused are \
                 `iss`, `iat`, `exp` and `jti`, which the daemon sets; and what JSON parsers could \
                 read differently: names that stand twice in one object, at any depth, and names \
                 that differ from another, or from a registered claim, only in case.",
            ))
            .property("sub", text("RFC 7519, section 4.1.2."))
            .property("aud", audiences.description(Some("RFC 7519, section 4.1.3.")))
            .property(
                "nbf",
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::Number))
                    .description(Some("RFC 7519, section 4.1.5.")),
            )
            .examples([json!({"sub": "123"})])
            .into()
    }
}

impl ToSchema for Reason {}

impl PartialSchema for Reason {
    fn schema() -> RefOr<Schema> {
        text("Why. Kept with the key and in the audit. Not only white space.")
            .min_length(Some(1))
            .max_length(Some(500))
            .pattern(Some(r"\S"))
            .examples(["host was stolen"])
            .into()
    }
}

impl ToSchema for Subject {}

impl PartialSchema for Subject {
    fn schema() -> RefOr<Schema> {
        text("The common name of a certificate, alone. Printable, and not only white space.")
            .min_length(Some(1))
            .max_length(Some(64))
            .pattern(Some(r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"))
            .examples(["tokens.example.com"])
            .into()
    }
}

impl ToSchema for super::ExportRequest {
    fn name() -> Cow<'static, str> {
        "ExportRequest".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Subject::name().into_owned(), Subject::schema()));
    }
}

/// Each form with the members that it takes, and no others.
impl PartialSchema for super::ExportRequest {
    fn schema() -> RefOr<Schema> {
        let form = |name: &str, description: &str| {
            let format = ObjectBuilder::new()
                .schema_type(SchemaType::Type(Type::String))
                .enum_values(Some([name]));
            ObjectBuilder::new()
                .description(Some(description))
                .property("format", format)
                .required("format")
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        let subject = || {
            OneOfBuilder::new()
                .description(Some("Whom it names; the kid if not given."))
                .item(Ref::from_schema_name(Subject::name()))
                .item(ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null)))
        };
        let days = ObjectBuilder::new()
            .schema_type(SchemaType::Array(vec![Type::Integer, Type::Null]))
            .description(Some("For how many days it is valid; 365 if not given."))
            .minimum(Some(1))
            .maximum(Some(MAX_DAYS));
        let certificate = "A certificate of the key by itself. Not of a key that only verifies.";
        let request = "A request to a CA for a certificate. Not of a key that only verifies.";
        OneOfBuilder::new()
            .description(Some("In which form a public key is wanted."))
            .item(form("jwk", "The JWK, as it is published."))
            .item(form("pem", "A public key in PEM: `SubjectPublicKeyInfo`."))
            .item(form("openssh", "OpenSSH's line, with the kid as its comment. Not of ML-DSA."))
            .item(form("x509", certificate).property("subject", subject()).property("days", days))
            .item(form("csr", request).property("subject", subject()))
            .into()
    }
}

impl ToSchema for JwkSet {}

impl PartialSchema for JwkSet {
    fn schema() -> RefOr<Schema> {
        let object = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::Object));
        let key = object().description(Some("A public key: `kty`, `use`, `alg`, `kid`, …"));
        object()
            .description(Some("A JWK Set (RFC 7517, section 5), byte for byte as it is published."))
            .property("keys", ArrayBuilder::new().items(key).min_items(Some(1)))
            .required("keys")
            .into()
    }
}

impl ToSchema for AuditLine {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Instant::name().into_owned(), Instant::schema()));
    }
}

impl PartialSchema for AuditLine {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
        let time = Ref::from_schema_name(Instant::name());
        ObjectBuilder::new()
            .description(Some(
                "A line of the audit, byte for byte as it is written. Its texts are other people's.",
            ))
            .property("line", number)
            .property("previous", text("The SHA-256 of the line before."))
            .property("time", time)
            .property("caller", text("Who, or `jwksd`."))
            .property("action", text("What."))
            .property("decision", text("Decided how."))
            .examples([json!({
                "line": 7,
                "previous": "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg",
                "time": "2026-11-22T03:00:00Z",
                "caller": "backend",
                "action": "sign-token",
                "decision": "allowed",
            })])
            .into()
    }
}

impl ToSchema for LastLines {}

impl PartialSchema for LastLines {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .minimum(Some(1))
            .maximum(Some(super::MOST_LINES))
            .examples([json!(50)])
            .into()
    }
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(description.to_owned()))
}
