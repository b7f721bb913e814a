//! What key files are encrypted with: keys from passphrases, and ciphers in CBC mode.
//!
//! PBKDF2 and AES are the library's. It has no scrypt and no MD5, and Triple-DES only with all of
//! its bindings.
//!
//! It does not bound what a file may cost; [`crate::import`] does.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, KeyIvInit};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::CryptoError;

/// The hash that PBKDF2 uses in its HMAC.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prf {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// PBKDF2 (RFC 8018, section 5.2): `length` bytes, at most 64.
pub(crate) fn pbkdf2(
    prf: Prf,
    iterations: NonZeroU32,
    salt: &[u8],
    passphrase: &[u8],
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let algorithm = match prf {
        Prf::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Prf::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Prf::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Prf::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    };
    let mut key = Zeroizing::new(vec![0; length.min(64)]);
    pbkdf2::derive(algorithm, iterations, salt, passphrase, &mut key);
    key
}

/// What scrypt costs (RFC 7914, section 2): N as its logarithm to base 2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScryptCost {
    pub(crate) log_n: u32,
    pub(crate) r: u32,
    pub(crate) p: u32,
}

/// scrypt (RFC 7914): `length` bytes, at most 64.
///
/// # Errors
///
/// [`CryptoError::Open`]: there is no scrypt of such cost.
pub(crate) fn scrypt(
    cost: ScryptCost,
    salt: &[u8],
    passphrase: &[u8],
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let log_n = u8::try_from(cost.log_n).map_err(|_| CryptoError::Open)?;
    let parameters =
        scrypt::Params::new(log_n, cost.r, cost.p, length).map_err(|_| CryptoError::Open)?;
    let mut key = Zeroizing::new(vec![0; length.min(64)]);
    scrypt::scrypt(passphrase, salt, &parameters, &mut key).map_err(|_| CryptoError::Open)?;
    Ok(key)
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round: `length` bytes, at most 48.
pub(crate) fn bytes_to_key(salt: &[u8], passphrase: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(48));
    let mut block = Zeroizing::new([0; 16]);
    for round in 0..3 {
        let mut hash = Md5::new();
        if round > 0 {
            hash.update(block.as_ref());
        }
        hash.update(passphrase);
        hash.update(salt);
        hash.finalize_into((&mut *block).into());
        key.extend_from_slice(block.as_ref());
    }
    key.truncate(length);
    key
}

/// AES in CBC with the padding of PKCS#7, by a key of 16, 24 or 32 bytes.
///
/// # Errors
///
/// [`CryptoError::Open`]: the key is another, or the ciphertext damaged. Not every wrong key shows.
pub(crate) fn decrypt_aes_cbc(
    key: &[u8],
    iv: [u8; 16],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let wrong = |_| CryptoError::Open;
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return Err(CryptoError::Open),
    };
    let key = UnboundCipherKey::new(algorithm, key).map_err(wrong)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(wrong)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let iv = DecryptionContext::Iv128(FixedLength::from(iv));
    let length = key.decrypt(&mut buffer, iv).map_err(wrong)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// Triple-DES in CBC with the padding of PKCS#7.
///
/// # Errors
///
/// As [`decrypt_aes_cbc`].
pub(crate) fn decrypt_triple_des_cbc(
    key: &[u8],
    iv: [u8; 8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let cipher = cbc::Decryptor::<des::TdesEde3>::new_from_slices(key, &iv);
    let cipher = cipher.map_err(|_| CryptoError::Open)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let opened = cipher.decrypt_padded_mut::<Pkcs7>(&mut buffer);
    let length = opened.map_err(|_| CryptoError::Open)?.len();
    buffer.truncate(length);
    Ok(buffer)
}
