//! The console: a page for admins that shows what there is and changes nothing. Its files are part
//! of the program, and all that it shows it asks of the API, as whoever looks at it.

use std::future::ready;

use actix_web::dev::Handler;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, LOCATION, REFERRER_POLICY,
};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::admin::Admin;
use super::browser::{CONSOLE, ENTRANCES};
use super::identity::{RequestIds, identify};
use super::problem;
use super::routes::Routes;

/// Nothing but its own files, no script that a text could become, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const EMBEDDER_POLICY: HeaderName = HeaderName::from_static("cross-origin-embedder-policy");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($path:literal, $content_type:ident) => {
        File {
            path: concat!("/console/", $path),
            content_type: $content_type,
            text: include_str!(concat!("../../console/", $path)),
        }
    };
}

const INDEX: File =
    File { path: CONSOLE, content_type: HTML, text: include_str!("../../console/index.html") };

const FILES: [File; 16] = [
    INDEX,
    file!("console.css", CSS),
    file!("api.js", SCRIPT),
    file!("audit.js", SCRIPT),
    file!("console.js", SCRIPT),
    file!("copy.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("fetchers.js", SCRIPT),
    file!("keyset.js", SCRIPT),
    file!("plan.js", SCRIPT),
    file!("shell.js", SCRIPT),
    file!("sparkline.js", SCRIPT),
    file!("standing.js", SCRIPT),
    file!("timeline.js", SCRIPT),
    file!("words.js", SCRIPT),
    file!("icon.svg", SVG),
];

/// Adds the page to a listener.
pub(super) fn configure(service: &mut ServiceConfig) {
    let mut routes = Routes::of(service);
    for entrance in ENTRANCES.into_iter().filter(|entrance| *entrance != CONSOLE) {
        routes = routes.get(entrance, known(lead_there));
    }
    for file in FILES {
        routes = routes.get(file.path, known(move || show(file)));
    }
}

/// Answers whoever is known; what they may not see, the API does not tell them.
fn known(
    answer: impl Fn() -> HttpResponse + Clone + 'static,
) -> impl Handler<(HttpRequest, Admin, Data<RequestIds>), Output = HttpResponse> {
    move |request: HttpRequest, admin: Admin, ids: Data<RequestIds>| {
        ready(match identify(&request, &admin.custody, &ids) {
            Ok(_) => answer(),
            Err(problem) => problem::respond(&problem),
        })
    }
}

fn lead_there() -> HttpResponse {
    HttpResponse::Found()
        .insert_header((LOCATION, CONSOLE))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish()
}

fn show(file: File) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((OPENER_POLICY, "same-origin"))
        .insert_header((EMBEDDER_POLICY, "require-corp"))
        .content_type(file.content_type)
        .body(file.text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let there = std::fs::read_dir(folder).unwrap();
        let there = there.map(|file| file.unwrap().file_name().into_string().unwrap());
        let served = FILES.iter().map(|file| match file.path.strip_prefix(CONSOLE).unwrap() {
            "" => "index.html".to_owned(),
            name => name.to_owned(),
        });
        assert_eq!(served.collect::<BTreeSet<_>>(), there.collect());
    }

    #[test]
    fn what_the_files_import_is_served() {
        for file in FILES.iter().filter(|file| file.content_type == SCRIPT) {
            for line in file.text.lines().filter(|line| line.contains(" from \"")) {
                let imported = line.split('"').nth(1).unwrap().trim_start_matches("./");
                let path = format!("{CONSOLE}{imported}");
                assert!(FILES.iter().any(|file| file.path == path), "{}: {line}", file.path);
            }
        }
    }

    #[test]
    fn the_page_holds_no_script_style_or_place_elsewhere() {
        for file in &FILES {
            for never in ["style=", "onclick", "onload", "innerHTML", "://cdn", "eval("] {
                assert!(!file.text.contains(never), "{} has {never}", file.path);
            }
            let elsewhere = file.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("http"), "{} names another host", file.path);
        }
        let scripts = INDEX.text.matches("<script").count();
        assert_eq!(scripts, INDEX.text.matches("<script type=\"module\" src=\"").count());
        assert!(!INDEX.text.contains("<style"));
    }
}
