//! How the API describes (OpenAPI 3.1) what it takes and gives as plain text or JSON of any shape.
//!
//! Names of key sets and kids belong to the key store, which knows no HTTP; the rest is text.

use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

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
            .pattern(Some("^[A-Za-z0-9._~-]{1,128}$"))
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

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(description.to_owned()))
}
