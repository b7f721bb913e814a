//! A JWK Set that is also served from a file: what is published counts only when both have it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jwksd::api::{
    Code, ImportResponse, KeyState, ReloadResponse, RevokeResponse, RotateResponse, Status,
};
use jwksd::sink::{Disk, OnDisk, Standing};
use serde_json::{Value, json};

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, PUBLISH_AHEAD, TestApp};
use crate::disk::FaultyDisk;

const SECOND: Duration = Duration::from_secs(1);

/// A set without a file beside the usual one.
const OTHER: &str = r#"
[keysets.other]
algorithm = "ES256"
rotate = "0 3 1 * *"
issuer = "http://127.0.0.1:8080/other"
max_token_ttl = "1h"
"#;

/// A daemon whose usual key set has a file.
struct Site {
    app: TestApp,
    disk: Arc<FaultyDisk>,
    file: PathBuf,
}

fn with_file(keysets: &str, file: &Path) -> String {
    format!("{keysets}\njwks_file = \"{}\"\n", file.display())
}

impl Site {
    /// With a good disk, and all written.
    async fn start() -> Self {
        let site = Self::on(Arc::default(), "", |_| ()).await;
        site.wait_until(Standing::is_confirmed).await;
        site
    }

    /// With a disk on which nothing can be written.
    async fn start_on_a_full_disk() -> Self {
        let disk = Arc::new(FaultyDisk::default());
        disk.fill();
        let site = Self::on(disk, "", |_| ()).await;
        site.wait_until(|standing| standing.problem.is_some()).await;
        site
    }

    async fn on(disk: Arc<FaultyDisk>, others: &str, before: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        before(&file);
        let keysets = format!("{others}{}", with_file(KEYSETS, &file));
        let app = TestApp::with_files(dir, &keysets, disk.means()).await;
        Self { app, disk, file }
    }

    fn standing(&self) -> Standing {
        self.app.daemon.administration.standings.of(&"default".parse().unwrap()).unwrap()
    }

    /// Waits until the file stands so, and all that follows is done.
    async fn wait_until(&self, is_so: impl Fn(&Standing) -> bool + Send + 'static) {
        let administration = self.app.daemon.administration.clone();
        let keysets = ["default".parse().unwrap()];
        let waiting = tokio::task::spawn_blocking(move || {
            administration.standings.wait(&keysets, 20 * SECOND, &is_so);
            is_so(&administration.standings.of(&keysets[0]).unwrap())
        });
        assert!(waiting.await.unwrap(), "{:#?}", self.standing());
        self.app.settle().await;
    }

    /// There is space again, and what was missing is written.
    async fn mend(&self) {
        self.disk.empty();
        self.wait_until(|standing| standing.is_confirmed() && standing.held.is_empty()).await;
    }

    async fn written(&self) -> Vec<String> {
        assert_eq!(fs::read(&self.file).unwrap(), self.app.get("/jwks.json").await.body);
        self.app.served_kids().await
    }

    async fn is_ready(&self) -> bool {
        self.app.get("/readyz").await.status == 200
    }

    async fn problem(&self) -> String {
        let status: Status = self.app.admin_get("/v1/status").await.unwrap();
        let about = |problem: &&String| problem.starts_with("jwks_file of key set default: ");
        status.problems.iter().find(about).expect("no problem").clone()
    }

    async fn signs(&self) -> String {
        self.app.sign("default").await.kid.to_string()
    }

    /// When the standby activates if it is asked to as soon as it may.
    async fn rotate(&self) -> RotateResponse {
        let active = self.signs().await;
        self.app.rotate(json!({"expect_active": active})).await.unwrap()
    }

    async fn reload(&self) -> ReloadResponse {
        let answer = self.app.admin_post("/v1/reload", json!({})).await.unwrap();
        self.app.settle().await;
        answer
    }

    fn at(&self, span: Duration) -> String {
        (self.app.now() + span).to_string()
    }
}

#[actix_web::test]
async fn the_file_holds_what_is_served_through_rotations_and_retirements() {
    let site = Site::start().await;
    assert_eq!(site.written().await.len(), 2);
    let before = site.app.show("default").await;
    let active = before.active.clone().unwrap();
    site.app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    site.wait_until(Standing::is_confirmed).await;
    assert_eq!(site.written().await.len(), 3);
    site.app.advance(HOUR + Duration::from_mins(1)).await;
    site.wait_until(Standing::is_confirmed).await;
    assert_eq!(site.written().await.len(), 2);
    let file = site.app.show("default").await.jwks_file.unwrap();
    assert_eq!((file.confirmed, file.problem, file.waiting), (true, None, vec![]));
    assert_eq!(file.path, site.file.display().to_string());
    assert!(site.is_ready().await);
}

#[actix_web::test]
async fn a_file_in_time_changes_no_plan() {
    let (site, plain) = (Site::start().await, TestApp::start().await);
    assert_eq!(
        site.app.key(KeyState::Pending).await.activates,
        plain.key(KeyState::Pending).await.activates
    );
    let commits = |keyset: jwksd::api::Keyset| keyset.revision;
    assert_eq!(commits(site.app.show("default").await), commits(plain.show("default").await));
}

#[actix_web::test]
async fn a_standby_does_not_sign_before_its_file_has_it_and_then_waits() {
    let site = Site::start_on_a_full_disk().await;
    let (first, standby) = site.app.active_and_standby().await;
    assert!(!site.is_ready().await);
    let problem = site.problem().await;
    assert!(problem.contains("jwks.json") && problem.contains(&standby), "{problem}");
    site.app.advance(20 * DAY).await;
    assert_eq!(site.signs().await, first);
    let file = site.app.show("default").await.jwks_file.unwrap();
    assert_eq!((file.confirmed, &file.waiting[0].to_string()), (false, &standby));
    assert_eq!(site.app.key(KeyState::Pending).await.activates, None);

    site.mend().await;
    assert!(site.is_ready().await);
    assert_eq!(site.written().await, [first.clone(), standby.clone()]);
    assert_eq!(site.app.key(KeyState::Pending).await.activates, Some(site.at(PUBLISH_AHEAD)));
    site.app.advance(PUBLISH_AHEAD.saturating_sub(SECOND)).await;
    assert_eq!(site.signs().await, first);
    site.app.advance(SECOND).await;
    assert_eq!(site.signs().await, standby);
}

#[actix_web::test]
async fn a_rotation_by_hand_waits_from_when_the_file_has_the_key() {
    let site = Site::start_on_a_full_disk().await;
    site.app.advance(5 * DAY).await;
    let answer = site.rotate().await;
    assert_eq!(answer.waits_for, Some(site.file.display().to_string()));
    site.app.advance(5 * DAY).await;
    assert_eq!(site.signs().await, answer.from.to_string());
    site.mend().await;
    let standby = site.app.key(KeyState::Pending).await;
    assert_eq!(standby.activates, Some(site.at(PUBLISH_AHEAD)));
    assert_eq!(standby.planned_by, "admin");
    site.app.advance(PUBLISH_AHEAD).await;
    assert_eq!(site.signs().await, answer.to.to_string());
}

#[actix_web::test]
async fn a_restart_in_between_does_not_shorten_the_wait() {
    for is_killed in [false, true] {
        let mut site = Site::start_on_a_full_disk().await;
        let first = site.app.kid(KeyState::Active).await;
        site.app.advance(8 * DAY).await;
        if is_killed {
            site.app.crash_and_restart_after(SECOND).await;
        } else {
            site.app.restart_after(SECOND).await;
        }
        site.wait_until(|standing| standing.problem.is_some()).await;
        // Past the time that was planned first.
        site.app.advance(2 * DAY).await;
        assert_eq!(site.signs().await, first, "killed: {is_killed}");
        site.app.crash_and_restart_after(SECOND).await;
        site.mend().await;
        assert_eq!(site.app.key(KeyState::Pending).await.activates, Some(site.at(PUBLISH_AHEAD)));
        assert_eq!(site.signs().await, first, "killed: {is_killed}");
        site.app.advance(PUBLISH_AHEAD).await;
        assert_ne!(site.signs().await, first, "killed: {is_killed}");
    }
}

#[actix_web::test]
async fn a_kill_while_an_activation_is_held_back_does_not_let_it_through() {
    // The wait was over long before a reload gave the set a file that cannot be written.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let disk = Arc::new(FaultyDisk::default());
    let keysets = format!("{OTHER}{KEYSETS}");
    let app = TestApp::with_files(dir, &keysets, disk.means()).await;
    let mut site = Site { app, disk, file };
    let first = site.app.kid(KeyState::Active).await;
    site.app.advance((9 * DAY).saturating_sub(2 * SECOND)).await;
    site.disk.fill();
    site.app.configure(&with_file(&keysets, &site.file), CALLERS);
    site.reload().await;
    site.app.clock.advance(3 * SECOND);
    assert_eq!(site.signs().await, first);
    // What another set commits, says nothing about the time of this one.
    let active = site.app.sign("other").await.kid;
    let now = json!({"expect_active": active, "now": true});
    let path = "/v1/keysets/other/rotate";
    let _: RotateResponse = site.app.admin_post(path, now).await.unwrap();
    site.app.crash_and_restart_after(SECOND).await;
    assert_eq!(site.signs().await, first);
    site.mend().await;
    assert_eq!(site.app.key(KeyState::Pending).await.activates, Some(site.at(PUBLISH_AHEAD)));
}

#[actix_web::test]
async fn a_restart_with_a_good_file_puts_nothing_off() {
    let mut site = Site::start().await;
    let planned = site.app.key(KeyState::Pending).await;
    site.app.advance(5 * DAY).await;
    site.app.restart_after(SECOND).await;
    site.wait_until(Standing::is_confirmed).await;
    assert_eq!(site.app.key(KeyState::Pending).await, planned);
    assert_eq!(site.rotate().await.activates, Some(site.at(Duration::ZERO)));
    assert_eq!(site.signs().await, planned.kid.to_string());
}

#[actix_web::test]
async fn the_first_key_what_an_admin_does_now_and_a_revocation_wait_for_no_file() {
    let site = Site::start_on_a_full_disk().await;
    let (first, second) = (site.signs().await, site.app.kid(KeyState::Pending).await);
    let now = json!({"expect_active": first, "now": true});
    let answer = site.app.rotate(now).await.unwrap();
    assert_eq!((answer.to.to_string(), answer.waits_for), (second.clone(), None));
    assert_eq!(site.signs().await, second);
    let third = site.app.kid(KeyState::Pending).await;
    let answer: RevokeResponse = site.app.revoke(&second).await.unwrap();
    assert_eq!(answer.active.unwrap().to_string(), third);
    // The file never had it.
    assert_eq!(answer.still_in, None);
    assert_eq!(site.signs().await, third);
    site.app.advance(20 * DAY).await;
    assert_eq!(site.signs().await, third);
    let all = json!({"reason": "stolen", "expect_active": third});
    let answer: RevokeResponse = site.app.revoke_all(all).await.unwrap();
    assert_eq!(site.signs().await, answer.active.unwrap().to_string());
}

#[actix_web::test]
async fn a_revoked_key_that_cannot_be_taken_out_of_the_file_is_told() {
    let site = Site::start().await;
    let (first, standby) = (site.signs().await, site.app.kid(KeyState::Pending).await);
    site.disk.fill();
    let answer: RevokeResponse = site.app.revoke(&first).await.unwrap();
    assert_eq!(answer.still_in, Some(site.file.display().to_string()));
    // The standby was in the file before, and signs.
    assert_eq!(site.signs().await, standby);
    site.wait_until(|standing| standing.problem.is_some()).await;
    let problem = site.problem().await;
    assert!(problem.contains(&format!("still trust revoked keys ({first})")), "{problem}");
    site.mend().await;
    assert!(!site.written().await.contains(&first));
    assert!(site.is_ready().await);
    let third = site.signs().await;
    let answer: RevokeResponse = site.app.revoke(&third).await.unwrap();
    assert_eq!(answer.still_in, None);
    assert!(!fs::read_to_string(&site.file).unwrap().contains(&third));
}

#[actix_web::test]
async fn a_key_that_cannot_leave_the_file_holds_no_other_back() {
    let site = Site::start().await;
    let first = site.signs().await;
    let now = json!({"expect_active": first, "now": true});
    site.app.rotate(now).await.unwrap();
    site.wait_until(Standing::is_confirmed).await;
    let standby = site.app.key(KeyState::Pending).await;
    site.disk.fill();
    site.app.advance(2 * HOUR).await;
    assert!(!site.app.served_kids().await.contains(&first), "it retired");
    site.wait_until(|standing| standing.problem.is_some()).await;
    let problem = site.problem().await;
    assert!(problem.contains(&format!("may still be in it ({first})")), "{problem}");
    assert!(!problem.contains("does not sign"), "{problem}");
    site.app.advance(9 * DAY).await;
    assert_eq!(site.signs().await, standby.kid.to_string());
    // Its successor is held back; it is new.
    let successor = site.app.kid(KeyState::Pending).await;
    site.wait_until(|standing| !standing.held.is_empty()).await;
    assert!(site.problem().await.contains(&format!("{successor} does not sign")));
    site.mend().await;
}

#[actix_web::test]
async fn a_store_that_is_away_does_not_let_a_key_through_either() {
    let site = Site::start_on_a_full_disk().await;
    let first = site.signs().await;
    site.app.rows.set_failing(true);
    site.app.advance(20 * DAY).await;
    assert_eq!(site.signs().await, first);
    site.disk.empty();
    site.wait_until(Standing::is_confirmed).await;
    // That it waits anew has to be durable before it may sign.
    assert_eq!(site.signs().await, first);
    site.app.rows.set_failing(false);
    site.app.advance(HOUR).await;
    site.wait_until(|standing| standing.held.is_empty()).await;
    site.app.advance(PUBLISH_AHEAD).await;
    assert_ne!(site.signs().await, first);
}

#[actix_web::test]
async fn the_revocation_of_a_key_that_is_held_back_leaves_the_signer_however_late_it_is_stored() {
    let site = Site::start_on_a_full_disk().await;
    let (first, standby) = (site.signs().await, site.app.kid(KeyState::Pending).await);
    site.app.rows.set_failing(true);
    site.app.advance(20 * DAY).await;
    for _ in 0..2 {
        let problem = site.app.revoke::<RevokeResponse>(&standby).await.unwrap_err();
        assert_eq!(problem.code, Code::NotDurable);
    }
    site.app.rows.set_failing(false);
    site.app.advance(HOUR).await;
    assert_eq!(site.app.kid(KeyState::Revoked).await, standby);
    assert_eq!(site.signs().await, first);
}

#[actix_web::test]
async fn the_waits_of_other_key_sets_go_on_while_a_file_fails() {
    let disk = Arc::new(FaultyDisk::default());
    disk.fill();
    let mut site = Site::on(disk, OTHER, |_| ()).await;
    for _ in 0..3 {
        site.app.advance(DAY).await;
        let now = site.app.now();
        let is_noted = move |standing: &Standing| standing.held.values().all(|it| it.since == now);
        site.wait_until(is_noted).await;
    }
    site.app.crash_and_restart_after(SECOND).await;
    let active = site.app.sign("other").await.kid;
    let path = "/v1/keysets/other/rotate";
    let answer: RotateResponse =
        site.app.admin_post(path, json!({"expect_active": active})).await.unwrap();
    assert_eq!(answer.activates, Some(site.at(Duration::ZERO)));
}

#[actix_web::test]
async fn what_others_make_of_the_file_is_put_right_and_the_standby_waits_anew() {
    let site = Site::start().await;
    let (first, standby) = (site.signs().await, site.app.kid(KeyState::Pending).await);
    let damages: [&dyn Fn(); 4] = [
        &|| fs::remove_file(&site.file).unwrap(),
        &|| fs::write(&site.file, "<html>").unwrap(),
        // An older copy: what a backup or a deployment puts back.
        &|| {
            let text = fs::read_to_string(&site.file).unwrap();
            let mut set: Value = serde_json::from_str(&text).unwrap();
            set["keys"].as_array_mut().unwrap().truncate(1);
            fs::write(&site.file, set.to_string()).unwrap();
        },
        // The kid is there, but it is another key.
        &|| fs::write(&site.file, text_with_another_key(&site.file)).unwrap(),
    ];
    for damage in damages {
        site.app.advance(2 * DAY).await;
        // So that it is noticed before it is put right.
        site.disk.fill();
        damage();
        site.wait_until(|standing| standing.problem.is_some() && standing.held.len() == 1).await;
        site.mend().await;
        assert_eq!(site.written().await, [first.clone(), standby.clone()]);
        let later = site.rotate().await;
        assert_eq!(later.activates, Some(site.at(PUBLISH_AHEAD)));
        // Put off again, so that it is pending for the next turn.
        let at = json!({"expect_active": first, "at": site.at(300 * DAY)});
        site.app.rotate(at).await.unwrap();
    }
}

/// The set with the standby's key exchanged, but not its kid.
fn text_with_another_key(file: &Path) -> String {
    let mut set: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let x = set["keys"][0]["x"].clone();
    set["keys"][1]["x"] = x;
    set.to_string()
}

#[actix_web::test]
async fn a_rotation_that_waits_for_a_file_is_asked_for_once() {
    let site = Site::start_on_a_full_disk().await;
    let first = site.rotate().await;
    assert!(!first.already && first.waits_for.is_some());
    site.app.advance(HOUR).await;
    let again = site.rotate().await;
    assert!(again.already && again.waits_for.is_some(), "{again:?}");
    assert_eq!(again.to, first.to);

    let (active, at) = (site.signs().await, site.at(PUBLISH_AHEAD + 60 * SECOND));
    let ask = json!({"expect_active": active, "at": at});
    assert!(!site.app.rotate(ask.clone()).await.unwrap().already);
    // By now it could not be planned so any more.
    site.app.advance(120 * SECOND).await;
    let again = site.app.rotate(ask).await.unwrap();
    assert_eq!((again.already, again.activates), (true, Some(at)));
    assert_eq!(site.signs().await, active);
}

/// Brings a key that takes the place of the standby; returns when it activates once the file has it.
async fn imported(site: &Site) -> Option<String> {
    let folder = format!("{}/keystore/src/import/test_keys", env!("CARGO_MANIFEST_DIR"));
    let file = fs::read_to_string(format!("{folder}/taken/p256.pkcs8.pem")).unwrap();
    let path = "/v1/keysets/default/import";
    let answer: ImportResponse = site.app.admin_post(path, json!({"key": file})).await.unwrap();
    site.mend().await;
    let keys = site.app.show("default").await.keys;
    keys.into_iter().find(|key| key.kid == answer.kid).unwrap().activates
}

#[actix_web::test]
async fn a_key_that_takes_the_place_of_one_held_back_keeps_what_an_admin_planned() {
    let site = Site::start_on_a_full_disk().await;
    let (active, at) = (site.signs().await, site.at(20 * DAY));
    site.app.rotate(json!({"expect_active": active, "at": at})).await.unwrap();
    site.app.advance(DAY).await;
    assert_eq!(imported(&site).await, Some(at));

    // Where that has passed, as soon as it may.
    let site = Site::start_on_a_full_disk().await;
    site.rotate().await;
    site.app.advance(DAY).await;
    assert_eq!(imported(&site).await, Some(site.at(PUBLISH_AHEAD)));
}

#[actix_web::test]
async fn a_file_that_a_reload_adds_holds_the_standby_back_unless_it_has_it() {
    for has_it in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        let disk = Arc::new(FaultyDisk::default());
        let app = TestApp::with_files(dir, KEYSETS, disk.means()).await;
        let site = Site { app, disk, file };
        site.app.advance(2 * DAY).await;
        if has_it {
            fs::write(&site.file, site.app.get("/jwks.json").await.body).unwrap();
        }
        site.app.configure(&with_file(KEYSETS, &site.file), CALLERS);
        assert_eq!(site.reload().await.changed.len(), 1);
        site.written().await;
        let wait = if has_it { Duration::ZERO } else { PUBLISH_AHEAD };
        assert_eq!(site.rotate().await.activates, Some(site.at(wait)), "has it: {has_it}");
    }
}

#[actix_web::test]
async fn a_file_that_a_reload_takes_away_is_left_as_it_is_and_holds_nothing_back() {
    let site = Site::start().await;
    let (first, standby) = (site.signs().await, site.app.kid(KeyState::Pending).await);
    let before = fs::read(&site.file).unwrap();
    site.disk.fill();
    fs::remove_file(&site.file).unwrap();
    site.wait_until(|standing| !standing.held.is_empty()).await;
    fs::write(&site.file, &before).unwrap();
    site.app.configure(KEYSETS, CALLERS);
    assert_eq!(site.reload().await.changed.len(), 1);
    assert_eq!(site.app.show("default").await.jwks_file, None);
    assert!(site.is_ready().await);
    site.app.advance(9 * DAY).await;
    assert_eq!(site.signs().await, standby);
    site.app.advance(2 * HOUR).await;
    assert!(!site.app.served_kids().await.contains(&first));
    assert_eq!(fs::read(&site.file).unwrap(), before);
}

#[actix_web::test]
async fn two_sets_may_change_files_with_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.json"), dir.path().join("b.json"));
    let keysets = |one: &Path, other: &Path| {
        format!("{}{}", with_file(KEYSETS, one), with_file(OTHER, other))
    };
    let before = keysets(&a, &b);
    let after = keysets(&b, &a);
    let disk = Arc::new(FaultyDisk::default());
    let app = TestApp::with_files(dir, &before, disk.means()).await;
    let site = Site { app, disk, file: a.clone() };
    site.wait_until(Standing::is_confirmed).await;
    site.app.configure(&after, CALLERS);
    site.reload().await;
    assert_eq!(fs::read(&b).unwrap(), site.app.get("/jwks.json").await.body);
    let other = site.app.get("/other/.well-known/jwks.json").await.body;
    assert_eq!(fs::read(&a).unwrap(), other);
}

#[actix_web::test]
async fn a_set_that_never_had_a_key_leaves_the_file_alone() {
    let keysets = OTHER.replace("rotate", "first_key = \"import\"\nrotate");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    fs::write(&file, "of the issuer before").unwrap();
    let keysets = format!("{KEYSETS}{}", with_file(&keysets, &file));
    let app = TestApp::with_files(dir, &keysets, Arc::new(FaultyDisk::default()).means()).await;
    app.settle().await;
    assert_eq!(app.get("/readyz").await.status, 200);
    assert_eq!(fs::read(&file).unwrap(), b"of the issuer before");
    // Nor is it taken for a file that holds what is served.
    let file = app.show("other").await.jwks_file.unwrap();
    assert_eq!((file.confirmed, file.problem), (false, None));
}

#[actix_web::test]
async fn a_file_does_not_publish_revoked_keys_while_there_is_no_other() {
    let site = Site::start().await;
    let kids = site.written().await;
    site.app.rows.set_failing(true);
    for kid in &kids {
        let problem = site.app.revoke::<Value>(kid).await.unwrap_err();
        assert_eq!(problem.code, Code::NotDurable);
    }
    site.wait_until(Standing::is_confirmed).await;
    assert_eq!(OnDisk.read(&site.file).unwrap(), None);
    site.app.rows.set_failing(false);
    site.app.advance(HOUR).await;
    site.wait_until(Standing::is_confirmed).await;
    let fresh = site.written().await;
    assert!(kids.iter().all(|kid| !fresh.contains(kid)));
}

#[actix_web::test]
async fn a_file_that_hangs_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (file, other) = (dir.path().join("jwks.json"), dir.path().join("other.json"));
    let keysets = format!("{}{}", with_file(KEYSETS, &file), with_file(OTHER, &other));
    let disk = Arc::new(FaultyDisk::default());
    disk.hang_at(&file);
    // It starts.
    let app = TestApp::with_files(dir, &keysets, disk.means()).await;
    let mut site = Site { app, disk, file };
    site.disk.wait_until_it_hangs();
    let first = site.signs().await;
    assert!(site.is_ready().await, "a moment is no problem");
    site.app.advance(10 * SECOND).await;
    let problem = site.problem().await;
    assert!(problem.contains("no answer about"), "{problem}");
    assert!(problem.contains("for 10s"), "{problem}");

    // The other set rotates, and its file follows.
    let active = site.app.sign("other").await.kid;
    let path = "/v1/keysets/other/rotate";
    let now = json!({"expect_active": active, "now": true});
    let answer: RotateResponse = site.app.admin_post(path, now).await.unwrap();
    assert_eq!(site.app.sign("other").await.kid, answer.to);
    site.app.settle().await;
    let served = site.app.get("/other/.well-known/jwks.json").await.body;
    while fs::read(&other).unwrap() != served {
        tokio::task::yield_now().await;
    }
    // Its own standby does not, its revocations and what an admin does now do.
    site.app.advance(20 * DAY).await;
    assert_eq!(site.signs().await, first);
    let answer: RevokeResponse = site.app.revoke(&first).await.unwrap();
    assert_eq!(site.signs().await, answer.active.unwrap().to_string());
    // It stops, and starts again, while the thread still waits.
    site.app.restart_after(SECOND).await;
    assert_ne!(site.signs().await, first);
    site.disk.let_go();
    site.wait_until(|standing| standing.is_confirmed() && standing.held.is_empty()).await;
    site.written().await;
}

#[actix_web::test]
async fn whoever_reads_the_file_finds_a_whole_set_at_any_moment() {
    let site = Site::start().await;
    let (file, done) = (site.file.clone(), Arc::new(AtomicBool::new(false)));
    let is_done = done.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let mut found = BTreeSet::new();
        while !is_done.load(Ordering::Relaxed) {
            let text = fs::read_to_string(&file).unwrap();
            let set: Value = serde_json::from_str(&text).unwrap();
            let keys = set["keys"].as_array().unwrap();
            assert!(keys.len() >= 2 && keys.iter().all(|key| key["kid"].is_string()), "{text}");
            found.insert(text);
        }
        found.len()
    });
    for _ in 0..10 {
        let now = json!({"expect_active": site.signs().await, "now": true});
        site.app.rotate(now).await.unwrap();
        site.wait_until(Standing::is_confirmed).await;
        site.app.advance(2 * HOUR).await;
        site.wait_until(Standing::is_confirmed).await;
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 1);
}
