//! The fuzz targets without a fuzzer: each is given all inputs that are committed, those of its corpus
//! and those that once failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a target fails by panicking, and is public for libFuzzer"
)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Gives all inputs of a target to it.
fn replay(target: &str, run: fn(&[u8])) {
    let inputs: Vec<PathBuf> =
        ["corpus", "regressions"].iter().flat_map(|folder| inputs(folder, target)).collect();
    assert!(inputs.len() >= 5, "{target} has {} inputs", inputs.len());
    for input in inputs {
        // Shown when it fails.
        println!("{}", input.display());
        run(&fs::read(input).unwrap());
    }
    targets::stop();
}

fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

macro_rules! replay {
    ($($target:ident $test:ident)*) => {
        $(
            #[test]
            fn $test() {
                replay(stringify!($target), targets::$target::run);
            }
        )*

        #[test]
        fn every_target_is_given_to_the_fuzzer() {
            let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
            for target in [$(stringify!($target)),*] {
                let binary = fuzz.join("fuzz_targets").join(target).with_extension("rs");
                let binary = fs::read_to_string(binary).unwrap();
                assert!(binary.contains(&format!("jwksd_fuzz::{target}::run")), "{binary}");
                assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            }
        }

        #[test]
        fn every_folder_of_inputs_belongs_to_a_target() {
            let known = [$(stringify!($target)),*];
            let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            for folder in ["corpus", "regressions"] {
                for entry in fs::read_dir(fuzz.join(folder)).into_iter().flatten() {
                    let name = entry.unwrap().file_name();
                    assert!(known.iter().any(|target| name == **target), "{name:?}");
                }
            }
        }
    };
}

replay! {
    audit the_audit_stands_every_input
    batch batches_stand_every_input
    config the_configuration_stands_every_input
    cron schedules_stand_every_input
    duration durations_stand_every_input
    import_jwk key_files_that_are_jwks_stand_every_input
    import_pem key_files_in_pem_stand_every_input
    jwk keys_as_json_stand_every_input
    routes the_routes_stand_every_input
    sealed what_is_sealed_stands_every_input
    sign requests_for_tokens_stand_every_input
    tls certificates_and_their_keys_stand_every_input
}
