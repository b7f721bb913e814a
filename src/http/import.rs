//! Keys that admins bring. What is secret in a request is wiped after use, and no answer, not even to
//! a request that is wrong, says anything of it: neither the parser's words nor what was sent.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::import::Passphrase;
use jwksd_keystore::lifecycle::Replaceable;
use jwksd_keystore::time::NotAnInstant;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::admin::{Admin, acted, json, keyset_name};
use super::body::{check_type, passed_over, received_secret};
use super::identity::{RequestIds, identify};
use super::{IMPORT_BODY_LIMIT, problem};
use crate::administration::Administration;
use crate::administration::import::{ImportOrder, Purpose};
use crate::api::{Code, Problem};
use crate::custody::Asker;

/// The body as it is sent. What is secret in it stays where it was received.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow, default)]
    passphrase: Option<&'a RawValue>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    verify_only_until: Option<String>,
    #[serde(default)]
    force: bool,
}

/// `POST /v1/keysets/{keyset}/import`
pub(super) async fn import(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    keyset: Path<String>,
    body: Payload,
) -> HttpResponse {
    let asker = match identify(&request, &admin.custody, &ids) {
        Ok(asker) => asker,
        Err(problem) => return problem::respond(&problem),
    };
    let wanted = wanted(&request, &admin, &asker, keyset.into_inner(), body).await;
    let act = |admin: &Administration, asker: &Asker, (keyset, order): (KeysetName, _)| {
        admin.import(asker, &keyset, order)
    };
    acted(admin, asker, wanted, act, json).await
}

/// A key file is received only from someone who may bring keys.
async fn wanted(
    request: &HttpRequest,
    admin: &Administration,
    asker: &Asker,
    keyset: String,
    body: Payload,
) -> Result<(KeysetName, ImportOrder), Problem> {
    let keyset = keyset_name(keyset).and_then(|keyset| {
        admin
            .may_import(asker, &keyset)
            .map_err(|error| problem::of_admin(&error, &asker.request_id))?;
        Ok(keyset)
    });
    let keyset = match keyset {
        Ok(keyset) => keyset,
        Err(problem) => {
            passed_over(request, body).await;
            return Err(problem);
        }
    };
    let body = received_secret(request, body, IMPORT_BODY_LIMIT).await;
    check_type(request.headers())?;
    Ok((keyset, order(&body?)?))
}

fn order(body: &[u8]) -> Result<ImportOrder, Problem> {
    let sent: Sent<'_> = serde_json::from_slice(body).map_err(|error| not_an_order(&error))?;
    let file = text(sent.key).ok_or_else(|| invalid("key is not text"))?;
    let passphrase = sent.passphrase.map(|sent| text(sent).ok_or("passphrase is not text"));
    let passphrase = passphrase.transpose().map_err(invalid)?.map(Passphrase::new);
    let kid = sent.kid.map(KeyId::try_from).transpose();
    let kid = kid.map_err(|error| invalid(&format!("kid: {error}")))?;
    let purpose = match (sent.verify_only_until, sent.force) {
        (None, false) => Purpose::Sign { may_replace: Replaceable::NotExported },
        (None, true) => Purpose::Sign { may_replace: Replaceable::Any },
        (Some(_), true) => return Err(invalid("force is for a key that is to sign")),
        (Some(until), false) => {
            let until = until.parse();
            let until = until
                .map_err(|error: NotAnInstant| invalid(&format!("verify_only_until is {error}")));
            Purpose::VerifyOnly { until: until? }
        }
    };
    Ok(ImportOrder { file, passphrase, kid, purpose })
}

/// The parser's words may have a part of the file in them, so only the place is told.
fn not_an_order(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    invalid(&format!(
        "the body is not {{\"key\": TEXT}} with, at will, \"passphrase\", \"kid\", \
         \"verify_only_until\" and \"force\", from line {line}, column {column} on"
    ))
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Code::InvalidRequest, detail)
}

/// The bytes of a JSON text. The parser's own buffers are not wiped, so it gets to see nothing but
/// single escapes.
fn text(raw: &RawValue) -> Option<Zeroizing<Vec<u8>>> {
    let mut rest = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    let mut text = Zeroizing::new(Vec::with_capacity(rest.len()));
    while let Some(at) = rest.find('\\') {
        let (plain, escaped) = rest.split_at(at);
        text.extend_from_slice(plain.as_bytes());
        let (escape, after) = escaped.split_at_checked(escape_length(escaped))?;
        let character: char = serde_json::from_str(&format!("\"{escape}\"")).ok()?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = after;
    }
    text.extend_from_slice(rest.as_bytes());
    Some(text)
}

/// How long the escape is that `text` begins with (RFC 8259, section 7): what lies beyond the first
/// 65,536 characters takes two of six.
fn escape_length(text: &str) -> usize {
    let unit = |at: usize| u16::from_str_radix(text.get(at..at + 4)?, 16).ok();
    match text.as_bytes().get(1) {
        Some(b'u') if unit(2).is_some_and(|unit| (0xD800..0xDC00).contains(&unit)) => 12,
        Some(b'u') => 6,
        Some(_) | None => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Option<String> {
        let text = text(serde_json::from_str(json).unwrap())?;
        Some(String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn the_bytes_of_a_text_are_those_that_any_parser_finds() {
        let texts = [
            r#""""#,
            r#""plain""#,
            r#""-----BEGIN\nPRIVATE\r\n\tKEY-----\n""#,
            r#""\"\\\/\b\f\u00e4\u20AC""#,
            r#""\ud83D\uDE00 and 😀 are one""#,
            r#""\\u0041\\""#,
        ];
        for json in texts {
            assert_eq!(parsed(json), Some(serde_json::from_str(json).unwrap()), "{json}");
        }
    }

    #[test]
    fn what_is_no_text_is_none() {
        for json in ["null", "1", "[]", r#"{"a":"b"}"#, "true", r#""\ud800""#, r#""\udc00""#] {
            assert_eq!(parsed(json), None, "{json}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_without_its_words() {
        let secret = "c2VjcmV0";
        for body in [
            format!("\"{secret}\""),
            format!(r#"{{"{secret}":1}}"#),
            format!(r#"{{"key":"a","force":"{secret}"}}"#),
            format!(r#"{{"key":"a","kid":{{"{secret}":0}}}}"#),
            format!(r#"{{"key":"a","kid":"/{secret}"}}"#),
            format!(r#"{{"key":"a","verify_only_until":"{secret}"}}"#),
            format!(r#"{{"key":{{"d":"{secret}"}}}}"#),
            format!(r#"{{"key":"a","passphrase":["{secret}"]}}"#),
            format!(r#"{{"key":"{secret}"#),
        ] {
            let problem = order(body.as_bytes()).err().unwrap();
            assert_eq!(problem.code, Code::InvalidRequest);
            assert!(!problem.detail.contains(secret), "{}", problem.detail);
        }
    }
}
