//! Key pairs on curves in OpenSSH's private keys. OpenSSH leaves out the zeros that a scalar begins
//! with (RFC 4251, section 5, `mpint`), as one in four of P-521 does, and the library wants them.

use ssh_key::{Algorithm, EcdsaCurve, PrivateKey};
use zeroize::Zeroizing;

use super::DAMAGED;
use crate::algorithm::Curve;
use crate::import::error::ImportError;
use crate::import::{Material, Passphrase, points};

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Those who pad most, pad as for a cipher with blocks of 16 bytes, and always.
const LONGEST_PADDING: usize = 16;

/// The public and the private section of a file that is not encrypted, if its key is one on a curve.
pub(super) fn sections(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = file.strip_prefix(MAGIC)?;
    let (cipher, kdf, options) = (text(&mut rest)?, text(&mut rest)?, text(&mut rest)?);
    let rest = &mut rest.strip_prefix(&[0, 0, 0, 1])?;
    let (public, private) = (text(rest)?, text(rest)?);
    let is_plain = cipher == b"none" && kdf == b"none" && options.is_empty() && rest.is_empty();
    let is_on_a_curve = text(&mut &*public)?.starts_with(b"ecdsa-sha2-");
    (is_plain && is_on_a_curve).then_some((public, private))
}

/// The private section of an encrypted file; nothing where the passphrase is wrong.
pub(super) fn decrypted(
    key: &PrivateKey,
    file: &[u8],
    passphrase: &Passphrase,
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = key.cipher();
    let tag = if cipher.has_tag() { Some(*file.last_chunk()?) } else { None };
    let mut section = Zeroizing::new(key.key_data().encrypted()?.to_vec());
    let (secret, iv) = key.kdf().derive_key_and_iv(cipher, passphrase.expose()).ok()?;
    cipher.decrypt(&secret, &iv, &mut section, tag).ok()?;
    (section.first_chunk::<4>() == section.get(4..8)?.first_chunk()).then_some(section)
}

/// The key pair in a private section that is not encrypted (any more), of which `public` is one half.
pub(super) fn pair(public: &[u8], section: &[u8]) -> Result<Material, ImportError> {
    let Fields { half, curve, point, scalar } = fields(section).ok_or(DAMAGED)?;
    if half != public {
        return Err(ImportError::Mismatch);
    }
    points::ec_pair(curve, scalar, Some(point))
}

struct Fields<'a> {
    /// All of the public half, as it also stands before the private section.
    half: &'a [u8],
    curve: Curve,
    point: &'a [u8],
    scalar: &'a [u8],
}

/// What is in a private section: a number twice, the key, its comment, and padding.
fn fields(section: &[u8]) -> Option<Fields<'_>> {
    let (checks, key) = section.split_at_checked(8)?;
    let rest = &mut &*key;
    let (algorithm, name, point) = (text(rest)?, text(rest)?, text(rest)?);
    let half = key.get(..key.len() - rest.len())?;
    let (scalar, _comment) = (text(rest)?, text(rest)?);
    let Ok(Algorithm::Ecdsa { curve }) = Algorithm::new(str::from_utf8(algorithm).ok()?) else {
        return None;
    };
    let are_equal = checks[..4] == checks[4..] && curve.as_str().as_bytes() == name;
    let is_padding =
        rest.len() <= LONGEST_PADDING && rest.iter().copied().eq((1..).take(rest.len()));
    (are_equal && is_padding).then_some(Fields { half, curve: curve_of(curve), point, scalar })
}

/// The same curve, as it is named here.
pub(super) fn curve_of(curve: EcdsaCurve) -> Curve {
    match curve {
        EcdsaCurve::NistP256 => Curve::P256,
        EcdsaCurve::NistP384 => Curve::P384,
        EcdsaCurve::NistP521 => Curve::P521,
    }
}

/// Takes a `string` (RFC 4251, section 5) off the beginning.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (text, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(text)
}
