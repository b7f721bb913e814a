//! The OpenAPI documents: served, committed, and complete.

use std::collections::BTreeSet;
use std::path::Path;

use hyper::Method;
use jwksd::api::{BATCH_LIMIT, Code, Problem};
use jwksd::http::openapi;
use jwksd_keystore::import::FILE_LIMIT;
use serde_json::Value;

use crate::app::{CALLERS, KEYSETS, TestApp, To};

fn documents() -> [(&'static str, Value); 2] {
    [("internal", openapi::internal()), ("admin", openapi::admin())]
        .map(|(name, document)| (name, serde_json::to_value(document).unwrap()))
}

/// All operations of a document, with method and path.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &'_ Value)| {
        let methods = item.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        methods.into_iter().map(|method| (method, path.clone())).collect::<Vec<_>>()
    };
    let all = paths.iter().flat_map(of_path).collect::<Vec<_>>();
    all.into_iter()
        .map(|(method, path)| {
            let operation = &paths[&path][&method];
            (method, path, operation)
        })
        .collect()
}

/// Every problem that any test gets must be one that its operation is described to have.
pub(crate) fn check(to: To, method: &Method, path: &str, problem: &Problem) {
    if matches!(problem.code, Code::NotFound | Code::MethodNotAllowed) {
        return;
    }
    let [(_, internal), (_, admin)] = documents();
    let document = if to == To::Internal { internal } else { admin };
    let path = path.split('?').next().unwrap();
    let is_of = |template: &str| {
        let (parts, names) = (path.split('/'), template.split('/'));
        parts.clone().count() == names.clone().count()
            && parts.zip(names).all(|(part, name)| name.starts_with('{') || part == name)
    };
    let method = method.as_str().to_lowercase().replace("head", "get");
    let mut operations = operations(&document).into_iter();
    let operation = operations.find(|(of, template, _)| *of == method && is_of(template));
    let (_, template, operation) =
        operation.unwrap_or_else(|| panic!("{method} {path}: {problem:?}"));
    let code = serde_json::to_value(problem.code).unwrap();
    let is_described = codes(operation).contains(code.as_str().unwrap());
    assert!(is_described, "{method} {template} is not described to answer {problem:?}");
}

/// The codes of an operation.
fn codes(operation: &Value) -> BTreeSet<String> {
    let responses = operation["responses"].as_object().unwrap().values();
    let codes = responses.filter_map(|response| response["x-codes"].as_array()).flatten();
    codes.map(|code| code.as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn each_listener_serves_its_committed_document_to_anyone() {
    let strangers = CALLERS.replace("\"self\"", "4000000");
    let app = TestApp::with(KEYSETS, &strangers).await;
    let mut stale = String::new();
    for (to, name) in [(To::Internal, "internal"), (To::Admin, "admin")] {
        let answer = app.ask(to, Method::GET, openapi::PATH, &[], b"").await;
        let content_type = answer.header("content-type");
        assert_eq!((answer.status.as_u16(), content_type), (200, "application/json"));
        let committed = format!("{}/docs/openapi/{name}.json", env!("CARGO_MANIFEST_DIR"));
        if std::fs::read(&committed).ok().as_ref() != Some(&answer.body) {
            let fresh = format!("{}/{name}.json", env!("CARGO_TARGET_TMPDIR"));
            std::fs::write(&fresh, &answer.body).unwrap();
            stale += &format!("cp {fresh} {committed}\n");
        }
    }
    assert!(stale.is_empty(), "documents are stale; look at the difference, then\n{stale}");
    // Whoever asks for more must be known.
    assert_eq!(app.ask(To::Admin, Method::GET, "/v1/status", &[], b"").await.status, 401);
}

#[test]
fn every_reference_and_link_of_a_document_leads_somewhere() {
    for (name, document) in documents() {
        assert_eq!(document["openapi"], "3.1.0");
        let operations = operations(&document);
        let ids =
            operations.iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap());
        let unique = ids.clone().collect::<BTreeSet<_>>();
        assert_eq!(unique.len(), ids.count(), "{name}: an operationId stands twice");
        each_member(&document, &mut |member, value| match (member, value) {
            ("$ref", Value::String(target)) => {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{name}: {target}");
            }
            ("operationId", Value::String(id)) => {
                assert!(unique.contains(id.as_str()), "{name}: {id}");
            }
            _ => {}
        });
        for (method, path, operation) in operations {
            let named =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let declared = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let declared = declared.map(|parameter| parameter["name"].as_str().unwrap());
            assert!(named.eq(declared), "{name}: {method} {path}");
        }
    }
}

fn each_member(value: &Value, look: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            look(name, value);
            each_member(value, look);
        }),
        Value::Array(items) => items.iter().for_each(|item| each_member(item, look)),
        _ => {}
    }
}

#[test]
fn every_code_is_documented_where_it_can_come_and_belongs_to_its_status() {
    let mut documented = BTreeSet::from(["not_found".to_owned(), "method_not_allowed".to_owned()]);
    for (_, document) in documents() {
        for (_, path, operation) in operations(&document) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let codes = response["x-codes"].as_array().cloned().unwrap_or_default();
                let unique: BTreeSet<String> = codes.iter().map(Value::to_string).collect();
                assert_eq!(unique.len(), codes.len(), "{path} {status}: a code stands twice");
                for code in codes {
                    let known: Code = serde_json::from_value(code.clone()).unwrap();
                    assert_eq!(known.status().to_string(), *status, "{path}: {code}");
                    let code = code.as_str().unwrap();
                    let examples = &response["content"]["application/problem+json"]["examples"];
                    assert_eq!(examples[code]["value"]["code"], code, "{path}");
                    documented.insert(code.to_owned());
                }
            }
            let has_body = operation["requestBody"].is_object();
            for code in ["body_too_large", "unsupported_media_type"] {
                assert_eq!(codes(operation).contains(code), has_body, "{path}: {code}");
            }
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            let has_query = parameters.any(|parameter| parameter["in"] == "query");
            let can_be_invalid = codes(operation).contains("invalid_request");
            assert_eq!(can_be_invalid, has_body || has_query, "{path}");
        }
    }
    assert_eq!(documented, every_code());
}

/// Every variant of [`Code`], as the schema of it has them.
fn every_code() -> BTreeSet<String> {
    let (_, document) = documents().into_iter().next().unwrap();
    let codes = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap().clone();
    codes.into_iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_documented_limits_are_those_in_force() {
    let [(_, internal), (_, admin)] = documents();
    let schemas = &internal["components"]["schemas"];
    assert_eq!(schemas["BatchRequest"]["properties"]["requests"]["maxItems"], BATCH_LIMIT);
    for request in ["BatchRequest", "TokenRequest"] {
        assert_eq!(schemas[request]["additionalProperties"], false, "{request}");
    }
    let schemas = &admin["components"]["schemas"];
    for request in ["RotateRequest", "RevokeRequest", "RevokeAllRequest", "ImportRequest"] {
        assert_eq!(schemas[request]["additionalProperties"], false, "{request}");
    }
    assert_eq!(schemas["ImportRequest"]["properties"]["key"]["maxLength"], FILE_LIMIT);
    for form in schemas["ExportRequest"]["oneOf"].as_array().unwrap() {
        assert_eq!(form["additionalProperties"], false, "{form}");
    }
    assert_eq!(schemas["RotateRequest"]["required"], serde_json::json!(["expect_active"]));
}

#[test]
fn the_page_about_the_api_has_every_code_with_its_status() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `")).collect::<BTreeSet<_>>();
    let told = every_code().into_iter().map(|name| {
        let code: Code = serde_json::from_value(name.clone().into()).unwrap();
        format!("| `{name}` | {} | {} |", code.status(), code.title())
    });
    for row in told {
        assert!(rows.iter().any(|line| line.starts_with(&row)), "docs/api.md lacks: {row}");
    }
    assert_eq!(rows.len(), every_code().len());
}
