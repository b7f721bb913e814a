//! How many signatures the cryptographic library makes in a second of CPU time on one thread: the
//! price of a token without anything around it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::clock::thread_cpu_time;

/// Signs with a fresh key, again and again, and prints how many signatures a CPU-second makes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// With what to sign.
    algorithm: Algorithm,
    /// CPU time to spend.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Length of what is signed; that of a token's header and claims in base64url, as `bench/run` asks for
    /// them.
    #[arg(long, default_value_t = 384)]
    bytes: usize,
}

/// What can be measured, by the names that `bench/run` uses.
#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "RS256-3072")]
    Rs256With3072,
    #[value(name = "RS256-4096")]
    Rs256With4096,
    #[value(name = "PS256")]
    Ps256,
    #[value(name = "ES256")]
    Es256,
    #[value(name = "ES384")]
    Es384,
    #[value(name = "ES512")]
    Es512,
    #[value(name = "EdDSA")]
    EdDsa,
}

/// # Errors
///
/// When the library makes no key or no signature.
pub(crate) fn run(arguments: &Arguments) -> Result<Value> {
    if arguments.bytes == 0 {
        bail!("--bytes must be at least 1");
    }
    let message = vec![b'a'; arguments.bytes];
    let mut sign = signer(arguments.algorithm)?;
    let span = Duration::try_from_secs_f64(arguments.seconds).context("--seconds")?;
    // The first signatures fill caches and, with RSA, blinding factors.
    measure(span / 10, || sign(&message))?;
    let (signatures, cpu) = measure(span, || sign(&message))?;
    let per_cpu_second = f64::from(signatures) / cpu.as_secs_f64();
    Ok(json!({
        "signatures": signatures,
        "cpu_seconds": cpu.as_secs_f64(),
        "per_cpu_second": per_cpu_second,
    }))
}

type Sign = Box<dyn FnMut(&[u8]) -> Result<()>>;

fn signer(algorithm: Algorithm) -> Result<Sign> {
    match algorithm {
        Algorithm::Rs256 => rsa(KeySize::Rsa2048, &RSA_PKCS1_SHA256),
        Algorithm::Rs256With3072 => rsa(KeySize::Rsa3072, &RSA_PKCS1_SHA256),
        Algorithm::Rs256With4096 => rsa(KeySize::Rsa4096, &RSA_PKCS1_SHA256),
        Algorithm::Ps256 => rsa(KeySize::Rsa2048, &RSA_PSS_SHA256),
        Algorithm::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::Es512 => ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING),
        Algorithm::EdDsa => ed25519(),
    }
}

fn rsa(size: KeySize, encoding: &'static dyn RsaEncoding) -> Result<Sign> {
    let pair = RsaKeyPair::generate(size).context("no RSA key")?;
    let rng = SystemRandom::new();
    let mut signature = vec![0; pair.public_modulus_len()];
    Ok(Box::new(move |message| {
        pair.sign(encoding, &rng, message, &mut signature).context("no signature")
    }))
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Sign> {
    let pair = EcdsaKeyPair::generate(algorithm).context("no EC key")?;
    let rng = SystemRandom::new();
    Ok(Box::new(move |message| {
        pair.sign(&rng, message).map(std::hint::black_box).map(drop).context("no signature")
    }))
}

fn ed25519() -> Result<Sign> {
    let pair = Ed25519KeyPair::generate().context("no Ed25519 key")?;
    Ok(Box::new(move |message| {
        std::hint::black_box(pair.sign(message));
        Ok(())
    }))
}

/// How often `work` was done until this thread had used `span` of CPU time, and how much it used.
fn measure(span: Duration, mut work: impl FnMut() -> Result<()>) -> Result<(u32, Duration)> {
    // Reading the clock takes a system call: 0.3 us, against 8 us of the fastest signature.
    const BETWEEN_LOOKS: u32 = 16;
    let start = thread_cpu_time()?;
    let mut done = 0;
    loop {
        for _ in 0..BETWEEN_LOOKS {
            work()?;
        }
        done += BETWEEN_LOOKS;
        let used = thread_cpu_time()?.saturating_sub(start);
        if used >= span {
            return Ok((done, used));
        }
    }
}
