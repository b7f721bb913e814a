//! The bytes to search for: taken from PKCS#8, whatever the algorithm.

use aws_lc_rs::digest::{SHA512, digest};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use jwksd_keystore::crypto::hex;

/// Shorter parts of a key are no secrets: versions, exponents, names of algorithms.
const SHORTEST: usize = 16;

// Tags of DER (X.690, section 8.1.2).
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;
const CLASS: u8 = 0xc0;
const CONTEXT_SPECIFIC: u8 = 0x80;

/// The private numbers and strings of a PKCS#8 document: every primitive value in its private key
/// that is long enough and none of `public`. Arrays of bytes as they stand, without the zero that
/// DER puts before a number.
pub(super) fn parts(pkcs8: &[u8], public: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    collect(pkcs8, &mut parts);
    parts.retain(|part| part.len() >= SHORTEST && !public.contains(part));
    parts.sort();
    parts.dedup();
    parts
}

fn collect(mut der: &[u8], parts: &mut Vec<Vec<u8>>) {
    while let Some((tag, value, rest)) = element(der) {
        der = rest;
        match tag {
            INTEGER => parts.push(value.iter().copied().skip_while(|&byte| byte == 0).collect()),
            OCTET_STRING => {
                // It may hold DER, as that of PKCS#8 itself does; a secret may look like DER.
                let before = parts.len();
                if let Some((SEQUENCE | OCTET_STRING, _, [])) = element(value) {
                    collect(value, parts);
                }
                if parts.len() == before {
                    parts.push(value.to_vec());
                }
            }
            _ if tag & CONSTRUCTED != 0 => collect(value, parts),
            // The seed of ML-DSA (RFC 9881, section 6).
            _ if tag & CLASS == CONTEXT_SPECIFIC => parts.push(value.to_vec()),
            _ => {}
        }
    }
}

/// Tag, value and what follows of the first element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = bytes.iter().try_fold(0_usize, |length, &byte| {
            length.checked_mul(256).map(|length| length + usize::from(byte))
        });
        (length?, rest)
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

/// What a part looks like in memory: as it stands, with its bytes in the order of the limbs of a big
/// number, and as Ed25519 signs with it. Each in pieces, since whoever takes freed memory over writes
/// into its beginning.
pub(super) fn in_memory(part: &[u8]) -> Vec<Vec<u8>> {
    let limbs: Vec<u8> = part.iter().rev().copied().collect();
    let mut forms = vec![part.to_vec(), limbs];
    if part.len() == 32 {
        // RFC 8032, section 5.1.5: the scalar, and the prefix of what nonces are made from.
        let mut expanded = digest(&SHA512, part).as_ref().to_vec();
        expanded[0] &= 0xf8;
        expanded[31] = expanded[31] & 0x7f | 0x40;
        forms.push(expanded);
    }
    forms.iter().flat_map(|form| form.chunks_exact(SHORTEST)).map(Vec::from).collect()
}

/// What bytes look like in texts: raw, as Rust prints them, in hexadecimal of either case, in both alphabets of base64,
/// at any place of a longer text.
pub(super) fn in_text(secret: &[u8]) -> Vec<Vec<u8>> {
    let lower = hex(secret);
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut texts = vec![
        secret.to_vec(),
        numbers.join(", ").into_bytes(),
        lower.to_uppercase().into_bytes(),
        lower.into_bytes(),
    ];
    for skipped in 0..3.min(secret.len()) {
        let whole = &secret[skipped..secret.len() - (secret.len() - skipped) % 3];
        texts.push(BASE64_STANDARD_NO_PAD.encode(whole).into_bytes());
        texts.push(BASE64_URL_SAFE_NO_PAD.encode(whole).into_bytes());
    }
    texts
}

/// The bytes of a text in base64url.
pub(super) fn from_base64url(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}
