//! RSA keys: what makes one weak or wrong, and the values that some formats leave out.
//!
//! The library checks most of it again, but does not say what is wrong, and takes weak primes and
//! exponents. Neither looks whether the primes are prime: a key whose primes are not does not
//! survive the trial signature.

use crypto_bigint::{NonZero, U4096, Zero};
use pkcs1::UintRef;
use pkcs1::der::Encode;
use zeroize::Zeroizing;

use super::Material;
use super::error::{ExponentFault, ImportError};
use crate::algorithm::RsaBits;
use crate::crypto::parts;
use crate::jwk::PublicKey;

/// The numbers of an RSA key pair, big-endian, with or without leading zeros.
pub(super) struct Numbers<'a> {
    pub(super) n: &'a [u8],
    pub(super) e: &'a [u8],
    pub(super) d: &'a [u8],
    pub(super) p: &'a [u8],
    pub(super) q: &'a [u8],
    /// Where the file has them.
    pub(super) crt: Option<Crt<'a>>,
}

/// The values for the Chinese remainder theorem (RFC 8017, section 3.2).
pub(super) struct Crt<'a> {
    pub(super) dp: &'a [u8],
    pub(super) dq: &'a [u8],
    pub(super) qinv: &'a [u8],
}

type Number = Zeroizing<U4096>;

/// A key pair.
pub(super) fn pair(numbers: &Numbers<'_>) -> Result<Material, ImportError> {
    let bits = check_public(numbers.n, numbers.e)?;
    let (p, q) = primes(numbers, bits)?;
    let d = private_exponent(numbers, bits)?;
    let (dp, dq) = (below(&d, &p)?, below(&d, &q)?);
    let e = number(numbers.e).ok_or(ImportError::RsaExponent(ExponentFault::Large))?;
    for (half, prime) in [(&dp, &p), (&dq, &q)] {
        // The exponent has 31 bits and the half 2048, so nothing is cut off.
        let product = Zeroizing::new(half.wrapping_mul(&e));
        if *below(&product, prime)? != U4096::ONE {
            return Err(ImportError::RsaPrivateExponent);
        }
    }
    let qinv = inverse(&q, &p)?;
    check_crt(numbers, [&dp, &dq, &qinv])?;
    encode(numbers, [&dp, &dq, &qinv])
}

/// A public key.
pub(super) fn public(n: &[u8], e: &[u8]) -> Result<Material, ImportError> {
    check_public(n, e)?;
    let (n, e) = (stripped(n).to_vec(), stripped(e).to_vec());
    Ok(Material::Public(PublicKey::Rsa { n, e }))
}

/// The size of a modulus.
pub(super) fn size(n: &[u8]) -> Result<RsaBits, ImportError> {
    let bits = bit_length(n);
    if bits < 2048 {
        return Err(ImportError::RsaTooWeak { bits });
    }
    u32::try_from(bits).ok().and_then(RsaBits::from_u32).ok_or(ImportError::RsaSize { bits })
}

fn check_public(n: &[u8], e: &[u8]) -> Result<RsaBits, ImportError> {
    let bits = size(n)?;
    check_exponent(e)?;
    if has_small_factor(n) {
        return Err(ImportError::RsaSmallFactor);
    }
    if is_roca(n) {
        return Err(ImportError::RsaRoca);
    }
    Ok(bits)
}

fn check_exponent(e: &[u8]) -> Result<(), ImportError> {
    let fault = |fault| Err(ImportError::RsaExponent(fault));
    let digits = stripped(e);
    if digits.last().is_none_or(|byte| byte % 2 == 0) {
        return fault(ExponentFault::Even);
    }
    if bit_length(digits) > 31 {
        return fault(ExponentFault::Large);
    }
    if digits.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) < 65_537 {
        return fault(ExponentFault::Small);
    }
    Ok(())
}

/// The primes, once they are known to be those of the modulus, and as FIPS 186-5, appendix A.1.3
/// wants them: of half its length, and not close to each other.
fn primes(numbers: &Numbers<'_>, bits: RsaBits) -> Result<(Number, Number), ImportError> {
    let half = bits.as_u32() as usize / 2;
    let (p, q) = (prime(numbers.p)?, prime(numbers.q)?);
    let n = number(numbers.n).ok_or(ImportError::RsaPrimes)?;
    if p.bits() + q.bits() > U4096::BITS || p.wrapping_mul(&q) != *n {
        return Err(ImportError::RsaPrimes);
    }
    let distance = if *p > *q { p.wrapping_sub(&q) } else { q.wrapping_sub(&p) };
    if p.bits() != half || q.bits() != half || Zeroizing::new(distance).bits() <= half - 100 {
        return Err(ImportError::RsaWeakPrimes);
    }
    Ok((p, q))
}

fn prime(digits: &[u8]) -> Result<Number, ImportError> {
    let prime = number(digits).ok_or(ImportError::RsaPrimes)?;
    if prime.is_zero().into() { Err(ImportError::RsaPrimes) } else { Ok(prime) }
}

/// FIPS 186-5, appendix A.1.1 wants it above the square root of the modulus.
fn private_exponent(numbers: &Numbers<'_>, bits: RsaBits) -> Result<Number, ImportError> {
    let d = number(numbers.d).ok_or(ImportError::RsaPrivateExponent)?;
    if d.bits() <= bits.as_u32() as usize / 2 {
        return Err(ImportError::RsaWeakPrivateExponent);
    }
    Ok(d)
}

/// `value` modulo `prime` - 1.
fn below(value: &Number, prime: &Number) -> Result<Number, ImportError> {
    let modulus = NonZero::new(prime.wrapping_sub(&U4096::ONE));
    let modulus = Option::from(modulus).ok_or(ImportError::RsaPrimes)?;
    Ok(Zeroizing::new(value.rem(&modulus)))
}

/// The inverse of `q` modulo `p`.
fn inverse(q: &Number, p: &Number) -> Result<Number, ImportError> {
    let (inverse, exists) = q.inv_odd_mod(p);
    if exists.into() { Ok(Zeroizing::new(inverse)) } else { Err(ImportError::RsaPrimes) }
}

fn check_crt(numbers: &Numbers<'_>, computed: [&Number; 3]) -> Result<(), ImportError> {
    let Some(crt) = &numbers.crt else {
        return Ok(());
    };
    let stated = [crt.dp, crt.dq, crt.qinv];
    let same = |(stated, computed): (&[u8], &Number)| {
        number(stated).is_some_and(|stated| *stated == **computed)
    };
    if stated.into_iter().zip(computed).all(same) { Ok(()) } else { Err(ImportError::RsaCrt) }
}

/// Hands the numbers to the library as PKCS#1, which is what it reads.
fn encode(numbers: &Numbers<'_>, [dp, dq, qinv]: [&Number; 3]) -> Result<Material, ImportError> {
    let wrong = |_| ImportError::RsaPrimes;
    let [dp, dq, qinv] = [bytes(dp), bytes(dq), bytes(qinv)];
    let key = pkcs1::RsaPrivateKey {
        modulus: UintRef::new(numbers.n).map_err(wrong)?,
        public_exponent: UintRef::new(numbers.e).map_err(wrong)?,
        private_exponent: UintRef::new(numbers.d).map_err(wrong)?,
        prime1: UintRef::new(numbers.p).map_err(wrong)?,
        prime2: UintRef::new(numbers.q).map_err(wrong)?,
        exponent1: UintRef::new(&*dp).map_err(wrong)?,
        exponent2: UintRef::new(&*dq).map_err(wrong)?,
        coefficient: UintRef::new(&*qinv).map_err(wrong)?,
        other_prime_infos: None,
    };
    let der = Zeroizing::new(key.to_der().map_err(wrong)?);
    parts::rsa_pair(&der).map(Material::Pair).map_err(|_| ImportError::RsaPrimes)
}

/// Whether a prime below 2^12 divides it.
pub(super) fn has_small_factor(digits: &[u8]) -> bool {
    // A candidate that is not prime has a smaller factor, which was tried.
    remainder(digits, 2) == 0 || (3..1 << 12).step_by(2).any(|by| remainder(digits, by) == 0)
}

/// Whether it was made by the library of Infineon whose keys can be factored (ROCA, CVE-2017-15361):
/// modulo small primes, those are powers of 65537. One in 240 million of other keys
/// looks so too.
fn is_roca(digits: &[u8]) -> bool {
    const PRIMES: [u32; 17] =
        [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    PRIMES.into_iter().all(|prime| {
        let rest = remainder(digits, prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65_537 % prime));
        powers.take(prime as usize).any(|power| power == rest)
    })
}

fn remainder(digits: &[u8], by: u32) -> u32 {
    digits.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % by)
}

fn number(digits: &[u8]) -> Option<Number> {
    let digits = stripped(digits);
    let mut padded = Zeroizing::new([0; U4096::BYTES]);
    let begin = padded.len().checked_sub(digits.len())?;
    padded[begin..].copy_from_slice(digits);
    Some(Zeroizing::new(U4096::from_be_slice(&*padded)))
}

fn bytes(number: &Number) -> Zeroizing<[u8; U4096::BYTES]> {
    use crypto_bigint::Encoding;
    Zeroizing::new(number.to_be_bytes())
}

fn bit_length(digits: &[u8]) -> usize {
    let digits = stripped(digits);
    digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}

fn stripped(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|byte| **byte == 0).count();
    &digits[zeros..]
}
