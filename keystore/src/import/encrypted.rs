//! Encrypted PEM: PBES2 of PKCS#8 (RFC 8018, section 6.2), and `DEK-Info` of old.
//!
//! The file says what it costs to make a key from the passphrase. That is bounded before anything
//! is computed.

use std::num::NonZeroU32;

use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{self, Decode};
use pkcs8::pkcs5::pbes2;
use pkcs8::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::Passphrase;
use super::error::{Form, ImportError, PemFault};
use crate::crypto::passphrase::{
    Prf, ScryptCost, bytes_to_key, decrypt_aes_cbc, decrypt_triple_des_cbc, pbkdf2, scrypt,
};

/// A second, where HMAC-SHA-512 is slow. OpenSSL takes 2,048, those who care up to 1,300,000.
const PBKDF2_LIMIT: u64 = 2_000_000;
/// N · r · p, which is a memory of at most 128 MiB and half a second. OpenSSL takes 131,072.
const SCRYPT_LIMIT: u64 = 1 << 20;

/// How the content is encrypted.
#[derive(Clone, Copy)]
enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
}

/// Opens an `EncryptedPrivateKeyInfo` (RFC 5958, section 3).
pub(super) fn decrypt(
    der: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let damaged = |_| ImportError::Damaged(Form::Pkcs8);
    let unknown = |_| ImportError::UnknownCipher;
    let (scheme, ciphertext) = sequence(der).map_err(damaged)?;
    let ciphertext = OctetStringRef::try_from(ciphertext).map_err(damaged)?;
    if scheme.oid != pbes2::PBES2_OID {
        return Err(ImportError::UnknownCipher);
    }
    let (kdf, cipher) = scheme
        .parameters
        .ok_or(ImportError::UnknownCipher)?
        .sequence(|reader| {
            Ok((AlgorithmIdentifierRef::decode(reader)?, AlgorithmIdentifierRef::decode(reader)?))
        })
        .map_err(unknown)?;
    let kdf = pbes2::Kdf::try_from(kdf).map_err(unknown)?;
    let iv = cipher.parameters.ok_or(ImportError::UnknownCipher)?;
    let iv = OctetStringRef::try_from(iv).map_err(unknown)?;
    let cipher = Cipher::of(cipher.oid)?;
    let key = derive(&kdf, cipher.key_length(), passphrase)?;
    cipher.decrypt(&key, iv.as_bytes(), ciphertext.as_bytes())
}

fn sequence(der: &[u8]) -> der::Result<(AlgorithmIdentifierRef<'_>, AnyRef<'_>)> {
    AnyRef::from_der(der)?
        .sequence(|reader| Ok((AlgorithmIdentifierRef::decode(reader)?, AnyRef::decode(reader)?)))
}

impl Cipher {
    fn of(oid: ObjectIdentifier) -> Result<Self, ImportError> {
        const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");
        match oid {
            pbes2::AES_128_CBC_OID => Ok(Self::Aes128),
            pbes2::AES_192_CBC_OID => Ok(Self::Aes192),
            pbes2::AES_256_CBC_OID => Ok(Self::Aes256),
            DES_EDE3_CBC => Ok(Self::TripleDes),
            _ => Err(ImportError::UnknownCipher),
        }
    }

    fn named(name: &str) -> Result<Self, ImportError> {
        match name {
            "AES-128-CBC" => Ok(Self::Aes128),
            "AES-192-CBC" => Ok(Self::Aes192),
            "AES-256-CBC" => Ok(Self::Aes256),
            "DES-EDE3-CBC" => Ok(Self::TripleDes),
            _ => Err(ImportError::UnknownCipher),
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
        }
    }

    fn decrypt(
        self,
        key: &[u8],
        iv: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ImportError> {
        let bad_iv = |_| ImportError::UnknownCipher;
        let opened = match self {
            Self::Aes128 | Self::Aes192 | Self::Aes256 => {
                decrypt_aes_cbc(key, iv.try_into().map_err(bad_iv)?, ciphertext)
            }
            Self::TripleDes => {
                decrypt_triple_des_cbc(key, iv.try_into().map_err(bad_iv)?, ciphertext)
            }
        };
        opened.map_err(|_| ImportError::WrongPassphrase)
    }
}

fn derive(
    kdf: &pbes2::Kdf<'_>,
    length: usize,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    if kdf.key_length().is_some_and(|stated| usize::from(stated) != length) {
        return Err(ImportError::UnknownCipher);
    }
    match kdf {
        pbes2::Kdf::Pbkdf2(parameters) => derive_pbkdf2(parameters, length, passphrase),
        pbes2::Kdf::Scrypt(parameters) => derive_scrypt(parameters, length, passphrase),
        _ => Err(ImportError::UnknownCipher),
    }
}

fn derive_pbkdf2(
    parameters: &pbes2::Pbkdf2Params<'_>,
    length: usize,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let prf = match parameters.prf {
        pbes2::Pbkdf2Prf::HmacWithSha1 => Prf::Sha1,
        pbes2::Pbkdf2Prf::HmacWithSha256 => Prf::Sha256,
        pbes2::Pbkdf2Prf::HmacWithSha384 => Prf::Sha384,
        pbes2::Pbkdf2Prf::HmacWithSha512 => Prf::Sha512,
        _ => return Err(ImportError::UnknownCipher),
    };
    let iterations = parameters.iteration_count;
    affordable(iterations.into(), "rounds of PBKDF2", PBKDF2_LIMIT)?;
    let iterations = NonZeroU32::new(iterations).ok_or(ImportError::UnknownCipher)?;
    let passphrase = needed(passphrase)?.expose();
    Ok(pbkdf2(prf, iterations, parameters.salt, passphrase, length))
}

/// RFC 7914.
fn derive_scrypt(
    parameters: &pbes2::ScryptParams<'_>,
    length: usize,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let n = parameters.cost_parameter;
    let (r, p) = (u32::from(parameters.block_size), u32::from(parameters.parallelization));
    let work = n.saturating_mul(r.into()).saturating_mul(p.into());
    affordable(work, "blocks of scrypt", SCRYPT_LIMIT)?;
    // Zero and one are refused too; the crate would panic.
    if n < 2 || !n.is_power_of_two() || work == 0 {
        return Err(ImportError::UnknownCipher);
    }
    let cost = ScryptCost { log_n: n.trailing_zeros(), r, p };
    let passphrase = needed(passphrase)?.expose();
    scrypt(cost, parameters.salt, passphrase, length).map_err(|_| ImportError::UnknownCipher)
}

/// Opens what OpenSSL encrypted before PKCS#8: the salt is the beginning of the IV.
pub(super) fn decrypt_legacy(
    dek_info: &str,
    ciphertext: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let headers = ImportError::Pem(PemFault::Headers);
    let (cipher, iv) = dek_info.split_once(',').ok_or_else(|| headers.clone())?;
    let cipher = Cipher::named(cipher.trim())?;
    let iv = from_hex(iv.trim()).filter(|iv| iv.len() >= 8).ok_or(headers)?;
    let key = bytes_to_key(&iv[..8], needed(passphrase)?.expose(), cipher.key_length());
    cipher.decrypt(&key, &iv, ciphertext)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
    let byte = |[high, low]: &[u32; 2]| u8::try_from(high << 4 | low).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

pub(super) fn needed(passphrase: Option<&Passphrase>) -> Result<&Passphrase, ImportError> {
    passphrase.ok_or(ImportError::PassphraseNeeded)
}

pub(super) fn affordable(work: u64, unit: &'static str, limit: u64) -> Result<(), ImportError> {
    if work > limit { Err(ImportError::TooCostly { work, unit, limit }) } else { Ok(()) }
}
