//! Signatures over certificates and requests for them, in the form that X.509 wants.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding};

use super::{Inner, SigningKey};
use crate::algorithm::{Curve, RsaScheme};
use crate::crypto::CryptoError;

/// The first byte of a DER sequence (ITU-T X.690, section 8.9).
const SEQUENCE: u8 = 0x30;

impl SigningKey {
    /// Signs a `TBSCertificate` (RFC 5280, section 4.1) or a `CertificationRequestInfo` (RFC 2986,
    /// section 4.1). RSA signs with PKCS #1 v1.5 and the hash of its scheme, since few programs read
    /// certificates with PSS (RFC 8017, section 8.2); signatures of ECDSA are DER (RFC 3279, section
    /// 2.2.3).
    ///
    /// # Errors
    ///
    /// [`CryptoError::Sign`], also for what is no DER sequence.
    pub(crate) fn certify(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        // What is signed here must never be a token. The input of a JWS (RFC 7515, section 5.1)
        // begins with the base64url text of `{` or of white space; of neither does it begin with
        // `0`, as a sequence does.
        if to_be_signed.first() != Some(&SEQUENCE) {
            return Err(CryptoError::Sign);
        }
        match &self.0 {
            Inner::Rsa(scheme, pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(pkcs1(*scheme), &SystemRandom::new(), to_be_signed, &mut signature)
                    .map_err(|_| CryptoError::Sign)?;
                Ok(signature)
            }
            Inner::Ec(curve, _) => der(*curve, &self.sign(to_be_signed)?),
            Inner::Ed25519(_) | Inner::MlDsa(..) => self.sign(to_be_signed),
        }
    }
}

fn pkcs1(scheme: RsaScheme) -> &'static dyn RsaEncoding {
    match scheme {
        RsaScheme::Pkcs1Sha256 | RsaScheme::PssSha256 => &RSA_PKCS1_SHA256,
        RsaScheme::Pkcs1Sha384 | RsaScheme::PssSha384 => &RSA_PKCS1_SHA384,
        RsaScheme::Pkcs1Sha512 | RsaScheme::PssSha512 => &RSA_PKCS1_SHA512,
    }
}

/// Both numbers of a signature, of a fixed length, as `ECDSA-Sig-Value`.
fn der(curve: Curve, signature: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let failed = |_| CryptoError::Sign;
    Ok(match curve {
        Curve::P256 => {
            let signature = p256::ecdsa::Signature::from_slice(signature).map_err(failed)?;
            signature.to_der().as_bytes().to_vec()
        }
        Curve::P384 => {
            let signature = p384::ecdsa::Signature::from_slice(signature).map_err(failed)?;
            signature.to_der().as_bytes().to_vec()
        }
        Curve::P521 => {
            let signature = p521::ecdsa::Signature::from_slice(signature).map_err(failed)?;
            signature.to_der().as_bytes().to_vec()
        }
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;
    use crate::algorithm::{Algorithm, RsaBits};
    use crate::crypto::{self, samples};

    #[test]
    fn only_what_can_be_no_token_is_signed() {
        let pair = samples::pair(Algorithm::Es256);
        let key = SigningKey::new(Algorithm::Es256, &pair.secret).unwrap();
        assert!(key.certify(&[SEQUENCE, 0]).is_ok());
        for token in [r#"{"alg":"ES256"}"#, r#" {"alg":"ES256"}"#, "\t{}", "\r\n{}", "\n{}"] {
            let input = BASE64_URL_SAFE_NO_PAD.encode(token) + ".e30";
            assert_eq!(key.certify(input.as_bytes()), Err(CryptoError::Sign), "{token}");
        }
        assert_eq!(key.certify(b""), Err(CryptoError::Sign));
    }

    /// The signature as the algorithm has it in tokens.
    fn as_in_tokens(algorithm: Algorithm, signature: Vec<u8>) -> Vec<u8> {
        match algorithm {
            Algorithm::Es256 => p256::ecdsa::Signature::from_der(&signature).unwrap().to_vec(),
            Algorithm::Es384 => p384::ecdsa::Signature::from_der(&signature).unwrap().to_vec(),
            Algorithm::Es512 => p521::ecdsa::Signature::from_der(&signature).unwrap().to_vec(),
            _ => signature,
        }
    }

    #[test]
    fn a_certificate_is_signed_with_the_hash_of_the_algorithm_and_rsa_always_by_pkcs1() {
        let bits = RsaBits::B2048;
        for (algorithm, signed_as) in [
            (Algorithm::Rs256(bits), Algorithm::Rs256(bits)),
            (Algorithm::Ps256(bits), Algorithm::Rs256(bits)),
            (Algorithm::Ps384(bits), Algorithm::Rs384(bits)),
            (Algorithm::Rs512(bits), Algorithm::Rs512(bits)),
            (Algorithm::Es256, Algorithm::Es256),
            (Algorithm::Es384, Algorithm::Es384),
            (Algorithm::Es512, Algorithm::Es512),
            (Algorithm::EdDsa, Algorithm::EdDsa),
        ] {
            let pair = samples::pair(algorithm);
            let key = SigningKey::new(algorithm, &pair.secret).unwrap();
            let to_be_signed = [SEQUENCE, 1, 2, 3];
            let signature = as_in_tokens(algorithm, key.certify(&to_be_signed).unwrap());
            let verified = crypto::verify(signed_as, &pair.public, &to_be_signed, &signature);
            assert_eq!(verified, Ok(()), "{algorithm}");
        }
    }
}
