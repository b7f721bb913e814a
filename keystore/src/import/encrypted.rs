//! Encrypted PEM: PBES2 of PKCS#8 (RFC 8018, section 6.2), and `DEK-Info` of old.
//!
//! The file says what it costs to make a key from the passphrase. That is bounded before anything
//! is computed.

use std::num::NonZeroU32;

use md5::{Digest, Md5};
use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::pkcs5::{EncryptionScheme, pbes2};
use zeroize::Zeroizing;

use super::Passphrase;
use super::error::{ImportError, PemFault};
use crate::crypto::passphrase::{Prf, decrypt_aes_cbc, pbkdf2};

/// A second, where HMAC-SHA-512 is slow. OpenSSL takes 2,048, those who care up to 1,300,000.
const PBKDF2_LIMIT: u64 = 2_000_000;
/// N · r · p, which is a memory of at most 128 MiB and half a second. OpenSSL takes 131,072.
const SCRYPT_LIMIT: u64 = 1 << 20;

/// Opens an encrypted PKCS#8.
pub(super) fn decrypt(
    info: &EncryptedPrivateKeyInfo<'_>,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    use pbes2::EncryptionScheme as Cipher;
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err(ImportError::UnknownCipher);
    };
    let (iv, length) = match parameters.encryption {
        Cipher::Aes128Cbc { iv } => (iv, 16),
        Cipher::Aes192Cbc { iv } => (iv, 24),
        Cipher::Aes256Cbc { iv } => (iv, 32),
        _ => return Err(ImportError::UnknownCipher),
    };
    if parameters.kdf.key_length().is_some_and(|stated| usize::from(stated) != length) {
        return Err(ImportError::UnknownCipher);
    }
    let key = derive(&parameters.kdf, length, passphrase)?;
    decrypt_aes_cbc(&key, *iv, info.encrypted_data).map_err(|_| ImportError::WrongPassphrase)
}

fn derive(
    kdf: &pbes2::Kdf<'_>,
    length: usize,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
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
    let refused = |()| ImportError::UnknownCipher;
    let n = parameters.cost_parameter;
    let (r, p) = (u32::from(parameters.block_size), u32::from(parameters.parallelization));
    let work = n.saturating_mul(r.into()).saturating_mul(p.into());
    affordable(work, "blocks of scrypt", SCRYPT_LIMIT)?;
    if n < 2 || !n.is_power_of_two() || work == 0 {
        return Err(ImportError::UnknownCipher);
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| refused(()))?;
    let parameters_of_crate = scrypt::Params::new(log_n, r, p, length).map_err(|_| refused(()))?;
    let mut key = Zeroizing::new(vec![0; length]);
    let passphrase = needed(passphrase)?.expose();
    scrypt::scrypt(passphrase, parameters.salt, &parameters_of_crate, &mut key)
        .map_err(|_| refused(()))?;
    Ok(key)
}

/// Opens what OpenSSL encrypted before PKCS#8: a key by MD5, which is why it is old.
pub(super) fn decrypt_legacy(
    dek_info: &str,
    ciphertext: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let headers = ImportError::Pem(PemFault::Headers);
    let (cipher, iv) = dek_info.split_once(',').ok_or_else(|| headers.clone())?;
    let length = match cipher.trim() {
        "AES-128-CBC" => 16,
        "AES-192-CBC" => 24,
        "AES-256-CBC" => 32,
        _ => return Err(ImportError::UnknownCipher),
    };
    let iv = from_hex(iv.trim()).ok_or(headers)?;
    let key = legacy_key(needed(passphrase)?.expose(), &iv, length);
    decrypt_aes_cbc(&key, iv, ciphertext).map_err(|_| ImportError::WrongPassphrase)
}

/// `EVP_BytesToKey` with MD5 and one round; the salt is the first half of the IV.
fn legacy_key(passphrase: &[u8], iv: &[u8; 16], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(48));
    let mut block = Zeroizing::new([0; 16]);
    while key.len() < length {
        let mut hash = Md5::new();
        if !key.is_empty() {
            hash.update(block.as_ref());
        }
        hash.update(passphrase);
        hash.update(&iv[..8]);
        hash.finalize_into((&mut *block).into());
        key.extend_from_slice(block.as_ref());
    }
    key.truncate(length);
    key
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

pub(super) fn needed(passphrase: Option<&Passphrase>) -> Result<&Passphrase, ImportError> {
    passphrase.ok_or(ImportError::PassphraseNeeded)
}

pub(super) fn affordable(work: u64, unit: &'static str, limit: u64) -> Result<(), ImportError> {
    if work > limit { Err(ImportError::TooCostly { work, unit, limit }) } else { Ok(()) }
}
