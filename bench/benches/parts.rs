//! The parts of a signing request, of a JWK Set and of a rotation, each by itself.
//!
//! `cargo bench -p jwksd-bench`, or with a part of a name behind it, such as `-- claims`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use criterion::Criterion;
use jwksd::audit::{Audit, Decision, Line, Recorder};
use jwksd::claims::{Added, CallerClaims};
use jwksd::clock::SystemClock;
use jwksd::config::Config;
use jwksd::policy::{Action, FinalToken};
use jwksd_keystore::crypto;
use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::{KeysetName, Revision};
use jwksd_keystore::lifecycle::{Intent, Keyset, Now, plan};
use jwksd_keystore::ring::{Ring, Signing};
use jwksd_keystore::seal::{MasterKeys, Place};
use jwksd_keystore::store::Record;
use jwksd_keystore::time::Time;
use serde_json::value::RawValue;

/// Those whose signatures differ in price. The name is that of the key set too, in small letters.
const ALGORITHMS: [&str; 9] =
    ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"];

const CLAIMS: &str = r#"{"sub":"3f0c9d6e-5b1f-4d0a-9a57-0f5a8b1f6c11","aud":"api.example.com","scope":"orders:read orders:write"}"#;
const JTI: &str = "0123456789abcdefghijkl";

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let folder = tempfile::tempdir()?;
    let config = Config::parse(&config(), &folder.path().join("config.toml"), now().wall)?;
    let master_keys = Arc::new(MasterKeys::parse(&MasterKeys::generate_file()?)?);
    token(&mut criterion, &config)?;
    audit(&mut criterion, folder.path(), &config, &master_keys)?;
    for name in ALGORITHMS {
        signature(&mut criterion, name, &config, &master_keys)?;
    }
    let keyset = "es256".parse()?;
    keys(&mut criterion, &Living::of(&keyset, &config, &master_keys)?)?;
    criterion.final_summary();
    Ok(())
}

/// What becomes of a caller's claims.
fn token(criterion: &mut Criterion, config: &Config) -> anyhow::Result<()> {
    let json: &RawValue = serde_json::from_str(CLAIMS)?;
    criterion.bench_function("claims/parse", |bench| bench.iter(|| CallerClaims::parse(json)));

    let claims = CallerClaims::parse(json)?;
    let audiences = claims.audiences().context("no audience")?;
    let added = Added {
        issuer: "https://issuer.example.com",
        issued: now().wall,
        expires: now().wall + Duration::from_mins(15),
        id: JTI,
        audiences: &audiences,
        forced: &[],
    };
    criterion.bench_function("claims/payload", |bench| bench.iter(|| claims.payload(added)));

    let caller = config.callers.first().context("no caller")?;
    let keyset: KeysetName = "es256".parse()?;
    let claim = |name: &str| claims.claim(name);
    let final_token = || FinalToken {
        audiences: &audiences,
        ttl: Duration::from_mins(15),
        typ: "JWT",
        claims: &claim,
    };
    caller.may_sign(&keyset, final_token())?;
    criterion.bench_function("policy", |bench| {
        bench.iter(|| {
            caller.may(Action::SignToken, &keyset).is_ok()
                && caller.may_sign(&keyset, final_token()).is_ok()
        });
    });
    Ok(())
}

/// A signature's line, chained and handed to the kernel.
fn audit(
    criterion: &mut Criterion,
    folder: &Path,
    config: &Config,
    master_keys: &Arc<MasterKeys>,
) -> anyhow::Result<()> {
    let mut settings = config.audit.clone();
    settings.path = folder.join("audit.jsonl");
    let audit = Audit::open(settings, master_keys.clone(), Arc::new(SystemClock))?;
    let keyset: KeysetName = "es256".parse()?;
    let algorithm = config.keysets.get(&keyset).context("no such key set")?.facts.algorithm;
    let kid = crypto::generate(algorithm)?.thumbprint.into();
    let audiences = ["api.example.com".to_owned()];
    let line = Line {
        keyset: Some(&keyset),
        kid: Some(&kid),
        jti: Some(JTI),
        sub: Some("3f0c9d6e-5b1f-4d0a-9a57-0f5a8b1f6c11"),
        aud: &audiences,
        exp: Some(now().wall.as_secs() + 900),
        request_id: Some("0123456789abcdef-1"),
        ..Line::new(now().wall, "local", "sign-token", Decision::Allowed)
    };
    audit.record(&line, Recorder::Worker)?;
    criterion.bench_function("audit/record", |bench| {
        bench.iter(|| audit.record(&line, Recorder::Worker).is_ok());
    });
    audit.close();
    Ok(())
}

/// From the ring of a set to a token, its payload being there.
fn signature(
    criterion: &mut Criterion,
    algorithm: &str,
    config: &Config,
    master_keys: &Arc<MasterKeys>,
) -> anyhow::Result<()> {
    let keyset = algorithm.to_lowercase().parse()?;
    let ring = Living::of(&keyset, config, master_keys)?.ring(None);
    let payload = [b'a'; 240];
    ring.signer_at(now().lifecycle)?.sign("JWT", &payload)?;
    criterion.bench_function(&format!("ring/sign/{algorithm}"), |bench| {
        bench.iter(|| ring.signer_at(now().lifecycle)?.sign("JWT", &payload));
    });
    Ok(())
}

/// What a step of the rotator and a start do.
fn keys(criterion: &mut Criterion, living: &Living<'_>) -> anyhow::Result<()> {
    let before = living.ring(None);
    criterion.bench_function("ring/build with its JWK Set", |bench| {
        bench.iter(|| living.ring(Some(&before)));
    });

    let record = living.records.first().context("no key")?;
    let sealed = record.secret.as_ref().context("no secret")?;
    let place = Place {
        keyset: living.keyset,
        number: record.life.number,
        kid: &record.kid,
        algorithm: record.life.algorithm,
        revision: sealed.revision,
    };
    living.master_keys.open(&sealed.sealed, &place)?;
    criterion.bench_function("record/open", |bench| {
        bench.iter(|| living.master_keys.open(&sealed.sealed, &place));
    });

    criterion.bench_function("plan with nothing to do", |bench| {
        bench.iter(|| plan(&living.set, Some(living.facts), &Intent::Tick, now()));
    });
    Ok(())
}

/// A key set with a key that signs and a standby.
struct Living<'a> {
    keyset: &'a KeysetName,
    facts: &'a Facts,
    master_keys: &'a Arc<MasterKeys>,
    set: Keyset,
    records: Vec<Record>,
}

impl<'a> Living<'a> {
    fn of(
        keyset: &'a KeysetName,
        config: &'a Config,
        master_keys: &'a Arc<MasterKeys>,
    ) -> anyhow::Result<Self> {
        let facts = &config.keysets.get(keyset).context("no such key set")?.facts;
        let mut set = Keyset::default();
        loop {
            let steps = plan(&set, Some(facts), &Intent::Tick, now())?.steps;
            if steps.is_empty() {
                break;
            }
            for step in &steps {
                set.apply(step);
            }
        }
        let record = |life: &_| {
            let pair = crypto::generate(facts.algorithm)?;
            let life = Clone::clone(life);
            anyhow::Ok(Record::of_new_key(keyset, life, Revision(1), pair, master_keys)?)
        };
        let records = set.lives.iter().map(record).collect::<Result<_, _>>()?;
        Ok(Self { keyset, facts, master_keys, set, records })
    }

    fn ring(&self, previous: Option<&Ring>) -> Ring {
        let (records, facts) = (&self.records, Some(self.facts));
        Ring::new(self.keyset, records, facts, Signing::On, self.master_keys, previous)
    }
}

/// 2026-11-22T03:00:00Z.
fn now() -> Now {
    let now = Time::from_millis(1_795_316_400_000);
    Now { lifecycle: now, wall: now }
}

fn config() -> String {
    let mut text = String::from(
        "[store]\npath = \"store\"\nmaster_key = \"master.key\"\n[audit]\npath = \"audit.jsonl\"\n\
         [public]\nlisten = \"127.0.0.1:0\"\nbase_url = \"http://127.0.0.1:8080\"\nroot = \"es256\"\n\
         [internal]\nlisten = \"unix:sign.sock\"\n[admin]\nlisten = \"unix:admin.sock\"\n\
         [[callers]]\nname = \"local\"\nuid = \"self\"\n\
         grants = [{ keyset = \"*\", actions = [\"sign-token\"] }]\n",
    );
    for algorithm in ALGORITHMS {
        let name = algorithm.to_lowercase();
        text += &format!(
            "[keysets.{name}]\nalgorithm = \"{algorithm}\"\nrotate = \"0 3 1 * *\"\n\
             issuer = \"https://{name}.example.com\"\nmax_token_ttl = \"1h\"\n"
        );
    }
    text
}
