//! The public listener.

use hyper::Method;
use hyper::header::{DATE, IF_NONE_MATCH};
use jwksd::api::Code;

use crate::app::{Answer, CALLERS, KEYSETS, TestApp};

#[actix_web::test]
async fn the_set_is_served_with_what_caches_need_and_no_more() {
    let app = TestApp::start().await;
    let answer = app.get("/.well-known/jwks.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    assert_eq!(answer.header("content-type"), "application/jwk-set+json");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.header("etag").starts_with('"'));
    for unwanted in ["last-modified", "vary", "content-encoding", "set-cookie", "server"] {
        assert_eq!(answer.header(unwanted), "", "{unwanted}");
    }
    let set = answer.json();
    for key in set["keys"].as_array().unwrap() {
        let members: Vec<&String> = key.as_object().unwrap().keys().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
}

#[actix_web::test]
async fn the_alias_and_the_path_of_the_set_serve_the_same_bytes() {
    let app = TestApp::start().await;
    let root = app.get("/.well-known/jwks.json").await;
    for path in ["/jwks.json", "/default/.well-known/jwks.json", "/jwks.json?kid=x&t=1"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body, root.body, "{path}");
        assert_eq!(answer.header("etag"), root.header("etag"), "{path}");
    }
}

#[actix_web::test]
async fn head_tells_the_length_without_the_body() {
    let app = TestApp::start().await;
    let full = app.get("/jwks.json").await;
    let head = app.fetch(Method::HEAD, "/jwks.json", &[]).await;
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), full.body.len().to_string());
    assert_eq!(head.header("etag"), full.header("etag"));
}

#[actix_web::test]
async fn a_known_version_is_not_sent_again() {
    let app = TestApp::start().await;
    let etag = app.get("/jwks.json").await.header("etag").to_owned();
    for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let answer = app.fetch(Method::GET, "/jwks.json", &[(IF_NONE_MATCH, &known)]).await;
        assert_eq!(answer.status, 304, "{known}");
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), etag);
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
    }
    let answer = app.fetch(Method::GET, "/jwks.json", &[(IF_NONE_MATCH, "\"other\"")]).await;
    assert_eq!(answer.status, 200);
}

#[actix_web::test]
async fn a_path_that_is_written_otherwise_is_answered_in_the_same_way() {
    let app = TestApp::start().await;
    let etag = app.get("/jwks.json").await.header("etag").to_owned();
    for (path, other) in [
        ("/jwks.json", "/jwks%2Ejson"),
        ("/.well-known/jwks.json", "/.well%2Dknown/jwks.json"),
        ("/default/.well-known/jwks.json", "/de%66ault/.well-known/jwks.json"),
        ("/other/.well-known/jwks.json", "/othe%72/.well-known/jwks.json"),
    ] {
        for method in [Method::GET, Method::HEAD, Method::PUT] {
            for known in ["\"other\"", etag.as_str(), "*"] {
                let about = format!("{method} {path} {known}");
                let headers = [(IF_NONE_MATCH, known)];
                let answer = app.fetch(method.clone(), path, &headers).await;
                let same = app.fetch(method.clone(), other, &headers).await;
                assert_eq!(answer.status, same.status, "{about}");
                assert_eq!(answer.body, same.body, "{about}");
                let without_date = |mut answer: Answer| {
                    answer.headers.remove(DATE);
                    answer.headers
                };
                assert_eq!(without_date(answer), without_date(same), "{about}");
            }
        }
    }
}

#[actix_web::test]
async fn what_is_not_there_is_a_problem_with_a_code() {
    let app = TestApp::start().await;
    let code = |path: &'static str| {
        let app = &app;
        async move {
            let answer = app.get(path).await;
            (answer.status.as_u16(), answer.problem().code)
        }
    };
    assert_eq!(code("/other/.well-known/jwks.json").await, (404, Code::UnknownKeyset));
    assert_eq!(code("/NOT-A-NAME/.well-known/jwks.json").await, (404, Code::NotFound));
    assert_eq!(code("/nothing").await, (404, Code::NotFound));
    assert_eq!(code("/v1/keysets").await, (404, Code::NotFound));
    let answer = app.fetch(Method::POST, "/jwks.json", &[]).await;
    assert_eq!(answer.problem().code, Code::MethodNotAllowed);
    assert_eq!(answer.header("allow"), "GET, HEAD");
}

#[actix_web::test]
async fn a_set_without_a_key_is_not_served_empty() {
    let keysets = KEYSETS.replace("rotate =", "first_key = \"import\"\nrotate =");
    let app = TestApp::with(&keysets, CALLERS).await;
    let answer = app.get("/jwks.json").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem().code, Code::NoActiveKey);
}

#[actix_web::test]
async fn discovery_says_exactly_what_is_there() {
    let app = TestApp::start().await;
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(
            answer.json(),
            serde_json::json!({
                "issuer": "http://127.0.0.1:8080",
                "jwks_uri": "http://127.0.0.1:8080/.well-known/jwks.json",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            })
        );
    }
    // Its issuer is the base URL, so no document describes it under its own path.
    assert_eq!(app.get("/default/.well-known/openid-configuration").await.status, 404);
}

#[actix_web::test]
async fn discovery_of_an_issuer_with_a_path_stands_where_each_rfc_puts_it() {
    let keysets = KEYSETS.replace(
        "issuer = \"http://127.0.0.1:8080\"",
        "issuer = \"http://127.0.0.1:8080/default\"",
    );
    let app = TestApp::with(&keysets, CALLERS).await;
    let paths = [
        "/default/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/default",
    ];
    for path in paths {
        let document = app.get(path).await.json();
        assert_eq!(document["issuer"], "http://127.0.0.1:8080/default");
        let jwks = document["jwks_uri"].as_str().unwrap();
        assert_eq!(jwks, "http://127.0.0.1:8080/default/.well-known/jwks.json");
    }
    assert_eq!(app.get("/.well-known/openid-configuration").await.status, 404);
}

#[actix_web::test]
async fn discovery_that_is_off_or_of_another_issuer_is_not_served() {
    let elsewhere =
        KEYSETS.replace("issuer = \"http://127.0.0.1:8080\"", "issuer = \"https://id\"");
    let off = KEYSETS.replace("rotate =", "discovery = false\nrotate =");
    for keysets in [elsewhere, off] {
        let app = TestApp::with(&keysets, CALLERS).await;
        assert_eq!(app.get("/.well-known/openid-configuration").await.status, 404);
        assert_eq!(app.get("/.well-known/jwks.json").await.status, 200);
    }
}

#[actix_web::test]
async fn health_says_no_reasons() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/healthz").await.status, 200);
    assert_eq!(app.get("/readyz").await.body, b"ready\n");
}
