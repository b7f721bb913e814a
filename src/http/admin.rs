//! The admin listener: see, rotate, revoke, retire, import, export, reload, back up.
//!
//! Every act waits for the disk, so it is an errand.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use jwksd_keystore::id::{KeyId, KeysetName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::Body;
use super::identity::{RequestIds, identify, still};
use super::internal::parsed;
use super::openapi;
use super::problem;
use super::query::query_of;
use super::routes::Routes;
use crate::administration::{AdminError, Administration, Made};
use crate::api::{
    AuditQuery, BACKUP_HEADER, BackupHolds, Code, ExportRequest, FetchersQuery, PlanQuery, Problem,
    RevokeAllRequest, RevokeRequest, RotateRequest,
};
use crate::custody::Asker;

pub(super) type Admin = Data<Arc<Administration>>;

/// Routes of the admin listener.
pub fn configure(service: &mut ServiceConfig) {
    routes(service);
    super::console::configure(service);
}

pub(super) fn routes(service: &mut ServiceConfig) -> Vec<(Method, &'static str)> {
    Routes::of(service)
        .get("/v1/keysets", list)
        .get("/v1/keysets/{keyset}", show)
        .post("/v1/keysets/{keyset}/rotate", rotate)
        .post("/v1/keysets/{keyset}/revoke-all", revoke_all)
        .post("/v1/keysets/{keyset}/keys/{kid}/revoke", revoke)
        .post("/v1/keysets/{keyset}/keys/{kid}/retire", retire)
        .get("/v1/keysets/{keyset}/keys/{kid}/incident", incident)
        .get("/v1/keysets/{keyset}/incident", keyset_incident)
        .post("/v1/keysets/{keyset}/keys/{kid}/export", export)
        .post("/v1/keysets/{keyset}/export", export_set)
        .post("/v1/keysets/{keyset}/import", super::import::import)
        .post("/v1/reload", reload)
        .post("/v1/store/backup", back_up)
        .get("/v1/status", status)
        .get("/v1/plan", plan)
        .get("/v1/fetchers", fetchers)
        .get("/v1/signatures", signatures)
        .get("/v1/audit", audit)
        .get(openapi::PATH, openapi::serve(openapi::admin))
        .served()
}

async fn list(request: HttpRequest, admin: Admin, ids: Data<RequestIds>) -> HttpResponse {
    act(&request, admin, &ids, Ok(()), |admin, asker, ()| admin.list(asker)).await
}

async fn status(request: HttpRequest, admin: Admin, ids: Data<RequestIds>) -> HttpResponse {
    act(&request, admin, &ids, Ok(()), |admin, asker, ()| admin.status(asker)).await
}

/// The answer may be long, so the listener's worker only hands it on.
async fn plan(request: HttpRequest, admin: Admin, ids: Data<RequestIds>) -> HttpResponse {
    let wanted = query_of::<PlanQuery>(&request)
        .and_then(|query| Ok((query.keyset.clone().map(keyset_name).transpose()?, query)));
    let act = |admin: &Administration, asker: &Asker, (keyset, query): (Option<_>, PlanQuery)| {
        let plan = admin.plan(asker, keyset.as_ref(), query.days, query.verifiers.as_deref());
        plan.map(|plan| serde_json::to_vec(&plan))
    };
    answer(&request, admin, &ids, wanted, act, |json| match json {
        Ok(json) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .content_type("application/json")
            .body(json),
        Err(error) => problem::respond(&problem::internal(&error, None)),
    })
    .await
}

async fn fetchers(request: HttpRequest, admin: Admin, ids: Data<RequestIds>) -> HttpResponse {
    let wanted = query_of::<FetchersQuery>(&request)
        .and_then(|query| query.keyset.map(keyset_name).transpose());
    act(&request, admin, &ids, wanted, |admin, asker, keyset| {
        admin.fetchers(asker, keyset.as_ref())
    })
    .await
}

async fn signatures(request: HttpRequest, admin: Admin, ids: Data<RequestIds>) -> HttpResponse {
    act(&request, admin, &ids, Ok(()), |admin, asker, ()| Ok(admin.signatures(asker))).await
}

async fn reload(request: HttpRequest, admin: Admin, ids: Data<RequestIds>) -> HttpResponse {
    act(&request, admin, &ids, Ok(()), |admin, asker, ()| admin.reload(asker)).await
}

/// Answers with the bytes, and what they hold in a header.
async fn back_up(request: HttpRequest, admin: Admin, ids: Data<RequestIds>) -> HttpResponse {
    let act = |admin: &Administration, asker: &Asker, ()| admin.back_up(asker);
    answer(&request, admin, &ids, Ok(()), act, |made: Made| {
        let holds = serde_json::to_string(&BackupHolds::from(&made.header)).unwrap_or_default();
        HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((BACKUP_HEADER, holds))
            .content_type("application/octet-stream")
            .body(made.bytes)
    })
    .await
}

async fn show(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    keyset: Path<String>,
) -> HttpResponse {
    let keyset = keyset_name(keyset.into_inner());
    act(&request, admin, &ids, keyset, |admin, asker, keyset| admin.show(asker, &keyset)).await
}

async fn rotate(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    keyset: Path<String>,
    body: Body,
) -> HttpResponse {
    let wanted = with_body::<_, RotateRequest>(keyset_name(keyset.into_inner()), body);
    act(&request, admin, &ids, wanted, |admin, asker, (keyset, wanted)| {
        admin.rotate(asker, &keyset, &wanted)
    })
    .await
}

async fn revoke_all(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    keyset: Path<String>,
    body: Body,
) -> HttpResponse {
    let wanted = with_body::<_, RevokeAllRequest>(keyset_name(keyset.into_inner()), body);
    act(&request, admin, &ids, wanted, |admin, asker, (keyset, wanted)| {
        admin.revoke_all(asker, &keyset, wanted)
    })
    .await
}

async fn revoke(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    path: Path<(String, String)>,
    body: Body,
) -> HttpResponse {
    let wanted = with_body::<_, RevokeRequest>(key_of(path.into_inner()), body);
    act(&request, admin, &ids, wanted, |admin, asker, ((keyset, kid), wanted)| {
        admin.revoke(asker, &keyset, &kid, wanted)
    })
    .await
}

async fn retire(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    path: Path<(String, String)>,
) -> HttpResponse {
    let key = key_of(path.into_inner());
    act(&request, admin, &ids, key, |admin, asker, (keyset, kid)| {
        admin.retire(asker, &keyset, &kid)
    })
    .await
}

async fn incident(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    path: Path<(String, String)>,
) -> HttpResponse {
    let key = key_of(path.into_inner());
    act(&request, admin, &ids, key, |admin, asker, (keyset, kid)| {
        admin.incident(asker, &keyset, &kid)
    })
    .await
}

async fn keyset_incident(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    keyset: Path<String>,
) -> HttpResponse {
    let keyset = keyset_name(keyset.into_inner());
    act(&request, admin, &ids, keyset, |admin, asker, keyset| admin.keyset_incident(asker, &keyset))
        .await
}

async fn audit(request: HttpRequest, admin: Admin, ids: Data<RequestIds>) -> HttpResponse {
    let wanted = query_of::<AuditQuery>(&request).map(|query| query.last);
    act(&request, admin, &ids, wanted, Administration::audit_tail).await
}

async fn export(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    path: Path<(String, String)>,
    body: Body,
) -> HttpResponse {
    let wanted = with_body::<_, ExportRequest>(key_of(path.into_inner()), body);
    act(&request, admin, &ids, wanted, |admin, asker, ((keyset, kid), wanted)| {
        admin.export(asker, &keyset, &kid, &wanted)
    })
    .await
}

async fn export_set(
    request: HttpRequest,
    admin: Admin,
    ids: Data<RequestIds>,
    keyset: Path<String>,
) -> HttpResponse {
    let keyset = keyset_name(keyset.into_inner());
    act(&request, admin, &ids, keyset, |admin, asker, keyset| admin.export_set(asker, &keyset))
        .await
}

/// Recognises the caller first, so that nobody else learns what is wrong with a request; then
/// carries the act out where it may wait.
async fn act<W: Send + 'static, T: Serialize + Send + 'static>(
    request: &HttpRequest,
    admin: Admin,
    ids: &RequestIds,
    wanted: Result<W, Problem>,
    act: impl FnOnce(&Administration, &Asker, W) -> Result<T, AdminError> + Send + 'static,
) -> HttpResponse {
    answer(request, admin, ids, wanted, act, json).await
}

/// The same, with an answer of any form.
async fn answer<W: Send + 'static, T: Send + 'static>(
    request: &HttpRequest,
    admin: Admin,
    ids: &RequestIds,
    wanted: Result<W, Problem>,
    act: impl FnOnce(&Administration, &Asker, W) -> Result<T, AdminError> + Send + 'static,
    respond: impl FnOnce(T) -> HttpResponse,
) -> HttpResponse {
    let asker = match identify(request, &admin.custody, ids) {
        Ok(asker) => asker,
        Err(problem) => return problem::respond(&problem),
    };
    acted(admin, asker, wanted, act, respond).await
}

/// Carries the act of a caller that was recognised out where it may wait.
pub(super) async fn acted<W: Send + 'static, T: Send + 'static>(
    admin: Admin,
    asker: Asker,
    wanted: Result<W, Problem>,
    act: impl FnOnce(&Administration, &Asker, W) -> Result<T, AdminError> + Send + 'static,
    respond: impl FnOnce(T) -> HttpResponse,
) -> HttpResponse {
    let request_id = Some(asker.request_id.clone());
    let problem = match wanted {
        Err(problem) => problem,
        Ok(wanted) => match admin.errand(move |of| carried_out(of, asker, wanted, act)).await {
            Some(Ok(answer)) => return respond(answer),
            Some(Err(problem)) => problem,
            None => Problem::new(Code::Stopping, "the daemon is stopping"),
        },
    };
    problem::respond(&Problem { request_id, ..problem })
}

pub(super) fn json<T: Serialize>(answer: T) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer)
}

/// It may have waited: whoever was taken away meanwhile gets nothing.
fn carried_out<W, T>(
    admin: &Administration,
    mut asker: Asker,
    wanted: W,
    act: impl FnOnce(&Administration, &Asker, W) -> Result<T, AdminError>,
) -> Result<T, Problem> {
    still(&mut asker, &admin.custody)?;
    act(admin, &asker, wanted).map_err(|error| problem::of_admin(&error, &asker.request_id))
}

/// What the path names, with the body as what the path takes.
fn with_body<N, T: DeserializeOwned>(
    named: Result<N, Problem>,
    body: Body,
) -> Result<(N, T), Problem> {
    Ok((named?, parsed(&body.0?)?))
}

pub(super) fn keyset_name(name: String) -> Result<KeysetName, Problem> {
    KeysetName::try_from(name).map_err(|error| Problem::new(Code::UnknownKeyset, error.to_string()))
}

fn key_of((keyset, kid): (String, String)) -> Result<(KeysetName, KeyId), Problem> {
    let kid =
        KeyId::try_from(kid).map_err(|error| Problem::new(Code::UnknownKey, error.to_string()))?;
    Ok((keyset_name(keyset)?, kid))
}
