//! PURE: what is read from a certificate: how long it is valid, what it may be used for, and the
//! names of its subject. Whether it is to be trusted is decided elsewhere.

use std::time::Duration;

use jwksd_keystore::time::Time;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::san::San;

/// A certificate that expires within this time is worth a warning, unless it is short-lived.
const SOON: Duration = Duration::from_hours(7 * 24);

/// The part of its lifetime that takes the place of [`SOON`] for a short-lived one.
const SOON_PART: u32 = 6;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub begins: Time,
    /// Not after.
    pub ends: Time,
}

/// How a validity stands to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not begun.
    NotYet,
    /// It lasts for a while.
    Good,
    /// It ends soon: within 7 days, or a sixth of its whole length if that is shorter.
    EndsSoon,
    /// It has ended.
    Ended,
}

/// Why a certificate is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate, or one that contradicts itself.
    #[error("is not a certificate that can be read")]
    Malformed,
    /// It names no use as a client.
    #[error("is not for clients: its extended key usage does not name clientAuth")]
    NotForClients,
    /// X509-SVID, section 2: exactly one URI.
    #[error("has several URIs among its names")]
    SeveralUris,
}

impl Validity {
    /// The validity of a certificate.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Malformed`].
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        parse(certificate).map(|parsed| Self::of_parsed(&parsed))
    }

    /// The same of one that was parsed.
    pub(crate) fn of_parsed(certificate: &X509Certificate<'_>) -> Self {
        let time = |seconds: i64| {
            Time::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
        };
        let validity = certificate.validity();
        let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Self { begins: time(begins), ends: time(ends) }
    }

    /// How it stands at `now`. The last second belongs to it (RFC 5280, section 4.1.2.5).
    #[must_use]
    pub fn at(&self, now: Time) -> Standing {
        let soon = SOON.min(self.ends.since(self.begins) / SOON_PART);
        if now < self.begins {
            Standing::NotYet
        } else if now.as_secs() > self.ends.as_secs() {
            Standing::Ended
        } else if self.ends.since(now) < soon {
            Standing::EndsSoon
        } else {
            Standing::Good
        }
    }

    /// Whether a certificate is valid at `now`.
    #[must_use]
    pub fn holds_at(&self, now: Time) -> bool {
        !matches!(self.at(now), Standing::NotYet | Standing::Ended)
    }
}

/// The names of a client's certificate by which a caller can be known.
///
/// # Errors
///
/// [`CertificateError`].
pub fn client_names(certificate: &CertificateDer<'_>) -> Result<Vec<San>, CertificateError> {
    let parsed = parse(certificate)?;
    let usage = parsed.extended_key_usage().map_err(|_| CertificateError::Malformed)?;
    if !usage.is_some_and(|usage| usage.value.client_auth) {
        return Err(CertificateError::NotForClients);
    }
    let names = parsed.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let uris = names.iter().filter(|name| matches!(name, GeneralName::URI(_))).count();
    if uris > 1 {
        return Err(CertificateError::SeveralUris);
    }
    names.iter().filter_map(|name| san(name).transpose()).collect()
}

/// Whether a certificate may be shown by a server: it names no uses, or that one (RFC 5280, section
/// 4.2.1.12).
pub(super) fn is_for_servers(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|parsed| match parsed.extended_key_usage() {
        Ok(Some(uses)) => uses.value.any || uses.value.server_auth,
        Ok(None) => true,
        Err(_) => false,
    })
}

/// Whether a certificate says that its key may sign others (RFC 5280, section 4.2.1.9).
pub(super) fn is_ca(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|parsed| parsed.is_ca())
}

/// What of a name can be a caller's: what is none cannot be in the configuration either.
fn san(name: &GeneralName<'_>) -> Result<Option<San>, CertificateError> {
    let parsed = match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) => text.parse::<San>().ok(),
        GeneralName::Invalid(..) => return Err(CertificateError::Malformed),
        _ => None,
    };
    // A URI is no DNS name, and a DNS name no URI, whatever it looks like.
    Ok(parsed.filter(|san| matches!(san, San::Spiffe(_)) == matches!(name, GeneralName::URI(_))))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) | Err(_) => Err(CertificateError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn standings(length: Duration, ages: &[Duration]) -> Vec<Standing> {
        let begins = Time::from_millis(1_795_000_000_000);
        let validity = Validity { begins, ends: begins + length };
        ages.iter().map(|&age| validity.at(begins + age)).collect()
    }

    #[test]
    fn a_long_lived_certificate_ends_soon_in_its_last_week() {
        let before_the_last_week = 83 * 24 * HOUR;
        let ages = [
            Duration::ZERO,
            before_the_last_week,
            before_the_last_week + Duration::from_secs(1),
            90 * 24 * HOUR,
        ];
        let soon = Standing::EndsSoon;
        let expected = [Standing::Good, Standing::Good, soon, soon];
        assert_eq!(standings(90 * 24 * HOUR, &ages), expected);
    }

    #[test]
    fn a_short_lived_certificate_ends_soon_in_its_last_sixth() {
        let ages = [4 * HOUR, 5 * HOUR + Duration::from_secs(1)];
        assert_eq!(standings(6 * HOUR, &ages), [Standing::Good, Standing::EndsSoon]);
    }

    #[test]
    fn the_last_second_belongs_to_the_validity_and_the_next_does_not() {
        let millis = Duration::from_millis;
        let ages = [HOUR + millis(999), HOUR + millis(1000)];
        assert_eq!(standings(HOUR, &ages), [Standing::EndsSoon, Standing::Ended]);
    }

    #[test]
    fn before_its_time_it_is_not_valid() {
        let begins = Time::from_millis(1_795_000_000_000);
        let validity = Validity { begins, ends: begins + HOUR };
        let now = begins.before(Duration::from_millis(1));
        assert_eq!(validity.at(now), Standing::NotYet);
    }
}
