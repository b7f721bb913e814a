//! `jwksd check`: a configuration that is wrong is refused with the place and the reason.

use crate::place::Place;

/// Changes the good configuration, and expects these words of `check`.
#[track_caller]
fn refused(from: &str, to: &str, words: &[&str]) {
    let place = Place::with(from, to);
    place.run(&["check"]).fails(1, words);
    assert!(!place.has("data"), "check made something");
}

#[test]
fn a_good_configuration_is_shown_with_its_waits_and_next_rotations() {
    let place = Place::new();
    let said = place.run(&["check"]).ok();
    for words in [
        "key set default (ES256)",
        "1d6m",
        "jwks_max_age 5m + max(jwks_max_age 5m, verifier_cache 1d) + clock_skew 1m",
        "max_token_ttl 1h + clock_skew 1m",
        "-01T03:00:00Z",
        "config.toml is good",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let report = place.run(&["check", "--json"]).json();
    assert_eq!(report["keysets"][0]["next_rotations"].as_array().unwrap().len(), 3);
    let warnings: Vec<&str> =
        report["warnings"].as_array().unwrap().iter().filter_map(|text| text.as_str()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("keysets.default: 3 of 63 known"), "{warnings:?}");
    assert!(warnings[1].contains("keysets.second: 4 of 63 known"), "{warnings:?}");
    assert!(!place.has("data"), "check made something");
}

#[test]
fn the_configuration_that_is_shipped_is_good() {
    let place = Place::new();
    place.write("config.toml", include_str!("../../config.toml"));
    let said = place.run(&["check"]).ok();
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn metrics_that_other_machines_can_read_are_warned_about() {
    let place = Place::with("[admin]", "[metrics]\nlisten = \"127.0.0.1:9464\"\n[admin]");
    let said = place.run(&["check"]).ok();
    assert!(!said.contains("metrics.listen"), "{said}");
    place.edit("127.0.0.1:9464", "0.0.0.0:9464");
    let said = place.run(&["check"]).ok();
    assert!(said.contains("metrics.listen: whoever can reach 0.0.0.0:9464"), "{said}");
}

#[test]
fn metrics_at_the_place_of_another_listener_are_refused() {
    let metrics = "[metrics]\nlisten = \"unix:data/sign.sock\"\n[admin]";
    refused("[admin]", metrics, &["metrics.listen", "unix:data/sign.sock is listened on twice"]);
}

#[test]
fn every_algorithm_is_good_and_an_unknown_one_names_them() {
    let names = [
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
        "EdDSA",
        "ML-DSA-44",
        "ML-DSA-65",
        "ML-DSA-87",
    ];
    for name in names {
        let said = Place::with("ES256", name).run(&["check"]).ok();
        assert!(said.contains(&format!("key set default ({name}")), "{said}");
    }
    refused("ES256", "HS256", &["line 18, column 13", "^^^^^^^", &names.join(", ")]);
}

#[test]
fn the_size_is_for_all_rsa_algorithms_and_no_others() {
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let place = Place::with("\"ES256\"", &format!("\"{name}\"\nrsa_bits = 3072"));
        let said = place.run(&["check"]).ok();
        assert!(said.contains(&format!("key set default ({name}-3072)")), "{said}");
    }
    let words = ["keysets.default.rsa_bits", "2048, 3072 or 4096"];
    refused("\"ES256\"", "\"PS256\"\nrsa_bits = 1024", &words);
    let words = ["keysets.default.rsa_bits", "only for RS256", "PS512"];
    refused("\"ES256\"", "\"ES384\"\nrsa_bits = 2048", &words);
}

#[test]
fn verifiers_that_refuse_the_algorithm_are_named() {
    let said = Place::with("ES256", "ML-DSA-65").run(&["check"]).ok();
    for words in ["keysets.default: 14 of 63 known verifiers", "node-jose", "go-oidc 2"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let said = Place::with("ES256", "RS512").run(&["check"]).ok();
    assert!(!said.contains("keysets.default:"), "{said}");
}

#[test]
fn the_length_of_the_jwk_set_is_shown_with_its_arithmetic() {
    let report = Place::with("ES256", "ML-DSA-87").run(&["check", "--json"]).json();
    let jwk_set = &report["keysets"][0]["jwk_set"];
    assert_eq!(jwk_set["bytes"], 17_815);
    assert_eq!(jwk_set["arithmetic"], "5 keys of 3560 bytes; verifiers read 51200");
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    Place::new().run(&["--config", "nowhere.toml", "check"]).fails(1, &["nowhere.toml"]);
}

#[test]
fn wrong_toml_is_shown_with_line_and_caret() {
    let words = ["config.toml", "line 9, column 8", "root = default", "^^^^^^^"];
    refused(r#"root = "default""#, "root = default", &words);
}

#[test]
fn an_unknown_field_is_named_with_a_caret() {
    let words = ["max_ttl = \"1h\"\n   | ^^^^^^^", "unknown field `max_ttl`", "`max_token_ttl`"];
    refused("max_token_ttl", "max_ttl", &words);
}

#[test]
fn a_duration_without_a_unit_is_refused_with_a_caret() {
    let words = ["^^^^^^", "not a duration", "1h30m"];
    refused(r#"max_token_ttl = "1h""#, r#"max_token_ttl = "3600""#, &words);
}

#[test]
fn durations_that_contradict_each_other_are_named() {
    let skew = "max_token_ttl = \"1h\"\nclock_skew = \"20m\"";
    refused("max_token_ttl = \"1h\"", skew, &["keysets.default", "clock_skew (20m)", "10m"]);
    let zero = "max_token_ttl = \"0s\"";
    refused("max_token_ttl = \"1h\"", zero, &["keysets.default", "max_token_ttl", "zero"]);
    let long = "max_token_ttl = \"300d\"";
    refused(
        "max_token_ttl = \"1h\"",
        long,
        &["keysets.default", "max_token_ttl 300d", "28d", "12 keys"],
    );
}

#[test]
fn a_schedule_that_is_too_dense_is_refused_with_the_arithmetic() {
    let words = [
        "keysets.default",
        "\"0 3 * * *\" in UTC",
        "1d later",
        "1d6m (jwks_max_age 5m + max(jwks_max_age 5m, verifier_cache 1d) + clock_skew 1m) + 1h",
    ];
    refused("0 3 1 * *", "0 3 * * *", &words);
}

#[test]
fn a_week_day_as_a_number_is_refused() {
    refused("0 3 1 * *", "0 3 * * 1", &["keysets.default.rotate", "by name", "the number 1"]);
}

#[test]
fn an_unknown_time_zone_is_named_at_its_place() {
    let words = ["keysets.default.time_zone", "Mars/Base", "Europe/Berlin"];
    refused(r#"time_zone = "UTC""#, r#"time_zone = "Mars/Base""#, &words);
}

#[test]
fn an_unknown_time_zone_is_refused_even_where_nothing_is_scheduled() {
    let to = "rotate = \"manual\"\ntime_zone = \"Mars/Base\"";
    refused(r#"rotate = "manual""#, to, &["keysets.second.time_zone", "Mars/Base"]);
}

#[test]
fn a_root_that_is_not_a_key_set_is_named() {
    refused(r#"root = "default""#, r#"root = "other""#, &["public.root", "[keysets.other]"]);
}

#[test]
fn two_key_sets_with_one_issuer_are_refused() {
    let words = ["keysets.second.issuer", "default has the same issuer", "discovery = false"];
    refused("8080/second", "8080", &words);
}

#[test]
fn a_listener_for_callers_beyond_this_machine_is_refused_without_tls_and_told_how_to_get_it() {
    let words = ["internal.listen", "0.0.0.0:9999", "[internal.tls]", "jwksd pki"];
    refused("unix:data/sign.sock", "0.0.0.0:9999", &words);
    let words = ["admin.listen", "[::]:9999", "[admin.tls]"];
    refused("unix:data/admin.sock", "[::]:9999", &words);
}

#[test]
fn a_caller_with_two_identities_is_named() {
    let words = ["callers.local", "exactly one of uid, gid, token_sha256 and san"];
    refused(r#"uid = "self""#, "uid = \"self\"\ngid = 0", &words);
    refused(r#"uid = "self""#, "", &words);
}

#[test]
fn a_token_digest_that_is_none_is_named() {
    let words = ["callers.local", "64 hexadecimal digits", "jwksd callers token"];
    refused(r#"uid = "self""#, r#"token_sha256 = "abc""#, &words);
}

#[test]
fn a_sign_is_not_a_hexadecimal_digit() {
    let digest = format!("token_sha256 = \"{}\"", "+a".repeat(32));
    refused(r#"uid = "self""#, &digest, &["callers.local", "64 hexadecimal digits"]);
}

#[test]
fn operate_on_one_key_set_is_refused_since_it_is_store_wide() {
    let words = ["callers.local.grants", "\"operate\"", "keyset = \"*\""];
    refused(r#"keyset = "*""#, r#"keyset = "default""#, &words);
}

#[test]
fn serve_refuses_what_check_refuses_and_makes_nothing() {
    let place = Place::with(r#"root = "default""#, r#"root = "other""#);
    place.run_serve(&["serve", "--init"]).fails(1, &["public.root", "[keysets.other]"]);
    assert!(!place.has("data"));
}

#[test]
fn where_there_is_no_configuration_it_is_said_how_to_name_one() {
    let place = Place::new();
    for command in [&["check"][..], &["keys", "list"], &["store", "verify", "backup"]] {
        place
            .run(&[command, &["--config", "none.toml"]].concat())
            .fails(1, &["cannot read none.toml", "give --config FILE"]);
    }
}

/// The default configuration, changed.
fn shipped_with(edits: &[(&str, &str)]) -> Place {
    let place = Place::new();
    place.write("config.toml", include_str!("../../config.toml"));
    for (from, to) in edits {
        place.edit(&format!("\n{from}"), &format!("\n{to}"));
    }
    place
}

#[test]
fn what_a_configuration_means_for_verifiers_is_said_in_a_few_lines() {
    let said = shipped_with(&[]).run(&["check"]).ok();
    let lines = said.lines().skip_while(|line| !line.starts_with("  verifiers  63 known"));
    let lines: Vec<&str> = lines.collect();
    assert!((10..25).contains(&lines.len()), "{said}");
    for words in [
        "tokens of a key that was published in time: none refuse them",
        "a verifier_cache of 1d does",
        "tokens of a key that signs at once, by --now: 26 refuse them",
        "for 1d: fastapi-azure-auth, drf-oidc-auth",
        "for 20m or less: 21 others",
        "mend: rotate without --now",
        "until it is restarted: get-jwks with fast-jwt, PyJWT (PyJWKClient with cache_keys=True)",
        "tokens with typ at+jwt are refused by 4: hono/jwk",
        "refused for 7d5m by fastify-jwt-jwks",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}

#[test]
fn a_verifier_cache_that_is_too_short_is_said_with_the_one_that_would_do() {
    let said = shipped_with(&[("# verifier_cache = \"24h\"", "verifier_cache = \"10m\"")])
        .run(&["check"])
        .ok();
    for words in [
        "tokens of a key that was published in time: 6 refuse them",
        "for 23h49m: fastapi-azure-auth, drf-oidc-auth, TIBCO EMS",
        "for 1h49m: AWS API Gateway",
        "for 9m or less: 1 other",
        "mend: verifier_cache = \"1d\"\n",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}

#[test]
fn verifiers_that_are_asked_about_are_shown_one_by_one() {
    let place = shipped_with(&[("max_token_ttl = \"1h\"", "max_token_ttl = \"91d\"")]);
    let said = place.run(&["check", "--verifiers", "okta-jwt-verifier-node,pyjwt,pyjwt"]).ok();
    for words in [
        "  verifiers  2\n",
        "okta-jwt-verifier-node  no               no (6m)      1h (1h5m)",
        "no more than 3 keys are kept: max_token_ttl = \"56d\", or fewer rotations; restart it",
        "pyjwt                   no               30s (5m30s)  5m (10m)",
        "restart it, or set lifespan",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let all = place.run(&["check", "--verifiers", "all", "--json"]).json();
    let told = &all["keysets"][0]["verifiers"];
    assert_eq!(told["effects"].as_array().unwrap().len(), 63);
    assert_eq!(told["least_verifier_cache"], "1d");
    let envoy = told["effects"].as_array().unwrap().iter().find(|of| of["id"] == "envoy").unwrap();
    assert_eq!(envoy["changes"]["rotation"]["shared_cache"], "none");
    assert_eq!(envoy["changes"]["at_once"]["shared_cache"], "15m");
    assert_eq!(envoy["changes"]["revocation"]["direct"], "10m");
    assert_eq!(envoy["mends"][1]["setting"], "cache_duration");
    let unknown = place.run(&["check", "--verifiers", "pyjwt,envoi"]);
    unknown.fails(1, &["there is no verifier \"envoi\", but \"envoy\""]);
}

#[test]
fn verifiers_that_the_key_set_names_are_the_ones_that_count() {
    let place = shipped_with(&[
        ("algorithm = \"RS256\"", "algorithm = \"ES256\""),
        ("# verifiers = [\"pyjwt\", \"envoy\"]", "verifiers = [\"envoy\", \"auth0-python\"]"),
    ]);
    let said = place.run(&["check"]).ok();
    for words in [
        "  verifiers  2 named;",
        "a verifier_cache of 10m does",
        "for 10m: Envoy (jwt_authn)",
        "JWK Sets with EC keys are refused by 1: auth0-python",
        "mend: a key set of its own with algorithm = \"RS256\"",
        "keysets.default: 1 of 2 stated verifiers refuse a whole JWK Set with EC keys: auth0-python",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let named = place.run(&["check", "--verifiers", "all"]).ok();
    assert!(named.contains("  verifiers  63\n"), "{named}");
}

#[test]
fn a_verifier_that_nobody_knows_is_refused_with_the_one_that_is_most_like_it() {
    let unknown = "max_token_ttl = \"1h\"\nverifiers = [\"pyjwt\", \"Enovy\"]";
    let words = ["keysets.default.verifiers", "there is no verifier \"Enovy\", but \"envoy\""];
    refused("max_token_ttl = \"1h\"", unknown, &words);
    let none = "max_token_ttl = \"1h\"\nverifiers = []";
    refused("max_token_ttl = \"1h\"", none, &["keysets.default.verifiers", "must not be empty"]);
}

#[test]
fn a_caller_whose_name_would_mislead_whoever_reads_it_is_refused() {
    let named = |name: &str| Place::with("name = \"local\"", &format!("name = \"{name}\""));
    for name in
        [r"a\nb", r"a\u001b[31m", r"a\u202eb", r"a\u200bb", r"\u0000", r"a\u2028", r"a\u007f"]
    {
        let words = ["callers.name", "has characters that cannot be seen"];
        named(name).run(&["check"]).fails(1, &words);
    }
    for name in ["jwksd", "_unknown", "_other"] {
        let words = ["callers.name", name, "cannot be a caller's name"];
        named(name).run(&["check"]).fails(1, &words);
    }
    for name in ["Käse-Dienst", "a b", "billing@example.com", "x\\\\y"] {
        named(name).run(&["check"]).ok();
    }
}
