//! What the log says of keys: one line for each change of a key's state, with what it came from.

use std::io;
use std::sync::{Mutex, OnceLock};

use jwksd::api::{Code, ImportResponse, KeyState};
use serde_json::{Value, json};

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, PUBLISH_AHEAD, TestApp};
use crate::import::p256;

/// What all daemons of this process say, those of other tests too: kids tell them apart.
fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| {
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| ToLog).init();
        Mutex::default()
    })
}

struct ToLog;

impl io::Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log().lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn started(keysets: &str) -> TestApp {
    log();
    TestApp::with(keysets, CALLERS).await
}

/// The lines about what became of a key.
fn lines(kid: &str) -> Vec<Value> {
    let log = String::from_utf8(log().lock().unwrap().clone()).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    // What an incident needs is told of a key, too, when it has been read.
    lines.filter(|line| line["kid"] == kid && line["event"] != "incident").collect()
}

/// What became of a key, and why.
fn news(kid: &str) -> Vec<String> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    lines(kid).iter().map(|line| word(line, "event") + " " + &word(line, "why")).collect()
}

#[actix_web::test]
async fn a_key_that_lives_by_its_schedule_has_a_line_for_each_of_its_states() {
    let app = started(KEYSETS).await;
    let (first, second) = app.active_and_standby().await;
    assert_eq!(news(&second), ["published standby"]);
    app.advance(9 * DAY).await;
    assert_eq!(news(&second), ["published standby", "activated schedule"]);
    app.advance(2 * HOUR).await;
    let of_first = ["published first-key", "activated first-key", "ended schedule", "retired time"];
    assert_eq!(news(&first), of_first);
    let ended = &lines(&first)[2];
    assert_eq!(ended["keyset"], "default");
    assert_eq!(ended["retires"], "2026-12-01T04:01:00Z");
    let next = (&ended["next"], &ended["next_event"], &ended["next_kid"]);
    assert_eq!(next, (&ended["retires"], &json!("retires"), &json!(first)));
    assert!(ended.get("caller").is_none(), "{ended}");
    // The set goes on from there.
    let third = app.kid(KeyState::Pending).await;
    let published = &lines(&third)[0];
    assert_eq!(lines(&first)[3]["next_kid"], json!(third));
    assert_eq!(lines(&first)[3]["next"], published["activates"]);
}

#[actix_web::test]
async fn an_activation_is_told_also_while_the_store_fails_and_once() {
    let app = started(KEYSETS).await;
    let second = app.kid(KeyState::Pending).await;
    app.rows.set_failing(true);
    app.advance(9 * DAY).await;
    assert_eq!(news(&second), ["published standby", "activated schedule"]);
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(news(&second), ["published standby", "activated schedule"]);
}

#[actix_web::test]
async fn what_the_configuration_changes_is_said_to_come_from_it() {
    let app = started(KEYSETS).await;
    let (first, second) = app.active_and_standby().await;
    app.configure(&KEYSETS.replace("0 3 1", "0 3 2"), CALLERS);
    app.daemon.administration.reload_unasked().unwrap();
    assert_eq!(news(&second), ["published standby", "planned configuration"]);
    assert_eq!(lines(&second)[1]["activates"], "2026-12-02T03:00:00Z");
    app.configure(&KEYSETS.replace("ES256", "ES384"), CALLERS);
    app.daemon.administration.reload_unasked().unwrap();
    app.advance(2 * DAY).await;
    assert_eq!(news(&second).last().unwrap(), "replaced configuration");
    let other = KEYSETS.replace("default", "other");
    app.configure(&other, CALLERS);
    app.edit("root = \"default\"", "root = \"other\"");
    app.daemon.administration.reload_unasked().unwrap();
    assert_eq!(news(&first).last().unwrap(), "ended configuration");
}

#[actix_web::test]
async fn time_that_was_not_served_is_why_a_key_is_planned_anew() {
    let mut app = started(KEYSETS).await;
    let second = app.kid(KeyState::Pending).await;
    app.restart_after(9 * DAY).await;
    let news = news(&second);
    assert_eq!(news, ["published standby", "planned not-served"]);
}

#[actix_web::test]
async fn what_admins_do_names_them_and_their_request() {
    let app = started(KEYSETS).await;
    let (first, second) = app.active_and_standby().await;
    app.rotate(json!({"expect_active": first})).await.unwrap();
    let planned = lines(&second).pop().unwrap();
    assert_eq!((&planned["event"], &planned["why"]), (&json!("planned"), &json!("admin")));
    assert_eq!(planned["caller"], "local");
    let of_request = |line: &&Value| line["request_id"] == planned["request_id"];
    assert!(app.audit().iter().filter(of_request).count() >= 2);
    app.advance(PUBLISH_AHEAD).await;
    assert_eq!(news(&second).last().unwrap(), "activated admin");

    let third = app.kid(KeyState::Pending).await;
    let _: Value = app.revoke(&second).await.unwrap();
    assert_eq!(news(&second).last().unwrap(), "revoked admin");
    assert_eq!(lines(&second).last().unwrap()["reason"], "stolen");
    let activated = lines(&third).into_iter().find(|line| line["event"] == "activated").unwrap();
    assert_eq!((&activated["why"], &activated["caller"]), (&json!("revocation"), &json!("local")));
    // A key that left is marked as revoked, too.
    app.advance(2 * HOUR).await;
    let _: Value = app.revoke(&first).await.unwrap();
    assert_eq!(news(&first).split_off(3), ["retired time", "revoked admin"]);
}

#[actix_web::test]
async fn keys_that_come_from_elsewhere_are_told_as_such() {
    let app = started(KEYSETS).await;
    let standby = app.kid(KeyState::Pending).await;
    let pem = p256();
    let path = "/v1/keysets/default/import";
    // A kid of its own: other tests import the same key.
    let brought = json!({"key": pem, "kid": "brought-for-the-log"});
    let imported: ImportResponse = app.admin_post(path, brought).await.unwrap();
    assert_eq!(news(imported.kid.as_str()), ["imported admin"]);
    assert_eq!(news(&standby), ["published standby", "replaced admin"]);
    let again = app.admin_post::<Value>(path, json!({"key": "nonsense"})).await.unwrap_err();
    assert_eq!(again.code, Code::InvalidKey);
}
