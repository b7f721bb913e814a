//! One operation of a listener as OpenAPI has it: what it takes, what it gives, and every problem.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{
    OperationBuilder, ParameterBuilder, ParameterIn, ParameterStyle, Paths,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    ContentBuilder, HttpMethod, Ref, RefOr, Required, Response, ResponseBuilder,
};

use super::problems;
use crate::api::{Code, Problem, schema};

/// The problems of whoever asks for too much, or reads too slowly: any operation can have them.
const LIMITS: [Code; 3] = [Code::RateLimited, Code::TooManyAtOnce, Code::Busy];

/// An operation under construction.
pub(super) struct Operation {
    method: HttpMethod,
    path: &'static str,
    described: OperationBuilder,
    answer: ResponseBuilder,
    codes: Vec<Code>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Operation {
    pub(super) fn get(path: &'static str, id: &'static str, summary: &str) -> Self {
        Self::new(HttpMethod::Get, path, id, summary)
    }

    pub(super) fn post(path: &'static str, id: &'static str, summary: &str) -> Self {
        Self::new(HttpMethod::Post, path, id, summary)
    }

    fn new(method: HttpMethod, path: &'static str, id: &str, summary: &str) -> Self {
        let mut described = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        let mut schemas = Vec::new();
        if path.contains("{keyset}") {
            let keyset = parameter::<schema::KeysetName>("keyset", ParameterIn::Path, &mut schemas);
            described = described.parameter(keyset);
        }
        if path.contains("{kid}") {
            let kid = parameter::<schema::KeyId>("kid", ParameterIn::Path, &mut schemas);
            described = described.parameter(kid);
        }
        let answer = ResponseBuilder::new().header("Cache-Control", no_store());
        Self { method, path, described, answer, codes: Vec::new(), schemas }
    }

    /// What it does.
    pub(super) fn says(mut self, description: &str) -> Self {
        self.described = self.described.description(Some(description));
        self
    }

    /// What its query may have, which is refused where it is anything else.
    pub(super) fn may_ask<T: ToSchema>(mut self, name: &str, description: &str) -> Self {
        let parameter = parameter::<T>(name, ParameterIn::Query, &mut self.schemas);
        self.described = self.described.parameter(parameter.description(Some(description)));
        self
    }

    /// The same for a list with commas between its members.
    pub(super) fn may_list<T: ToSchema>(mut self, name: &str, description: &str) -> Self {
        let parameter = parameter::<T>(name, ParameterIn::Query, &mut self.schemas)
            .style(Some(ParameterStyle::Form))
            .explode(Some(false));
        self.described = self.described.parameter(parameter.description(Some(description)));
        self
    }

    /// The body that it wants, with an example.
    pub(super) fn takes<T: ToSchema>(mut self, example: Value) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .example(Some(example))
            .build();
        let body = RequestBodyBuilder::new()
            .required(Some(Required::True))
            .content("application/json", content);
        self.described = self.described.request_body(Some(body.build()));
        self
    }

    /// The body of its 200.
    pub(super) fn gives<T: ToSchema>(mut self, description: &str, example: Value) -> Self {
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .example(Some(example))
            .build();
        self.answer = self.answer.description(description).content("application/json", content);
        self
    }

    /// The body of its 200 where that is no JSON.
    pub(super) fn gives_bytes(mut self, description: &str) -> Self {
        // In OpenAPI 3.1 bytes have no schema.
        let content = ContentBuilder::new().build();
        let answer = self.answer.description(description);
        self.answer = answer.content("application/octet-stream", content);
        self
    }

    /// A header of its 200 that holds JSON.
    pub(super) fn tells<T: ToSchema>(
        mut self,
        name: &str,
        description: &str,
        example: &Value,
    ) -> Self {
        let text = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .content_media_type("application/json")
            .examples([Value::from(example.to_string())]);
        let header = HeaderBuilder::new()
            .schema(Some(Schema::from(text.build())))
            .description(Some(format!("{description} A `{}` as JSON.", T::name())));
        self.answer = self.answer.header(name, header.build());
        // The schema itself is listed all the same.
        drop(self.reference::<T>());
        self
    }

    /// What of its 200 another operation takes. `parameters` and the members of `body` are runtime
    /// expressions.
    pub(super) fn leads_to(
        mut self,
        name: &str,
        operation: &str,
        parameters: &[(&str, &str)],
        body: Option<Value>,
    ) -> Self {
        let link = LinkBuilder::new().operation_id(operation).request_body(body);
        let link = parameters.iter().fold(link, |link, (name, from)| link.parameter(*name, *from));
        self.answer = self.answer.link(name, link.build());
        self
    }

    /// The problems that it can have.
    pub(super) fn refuses(mut self, codes: &[Code]) -> Self {
        self.codes.extend(codes);
        self
    }

    /// For anyone who can connect.
    pub(super) fn open(mut self) -> Self {
        self.described = self.described.security(SecurityRequirement::default());
        self
    }

    /// Adds it to a document.
    pub(super) fn add(mut self, paths: &mut Paths, schemas: &mut BTreeMap<String, RefOr<Schema>>) {
        let is_missing = |code: &Code| !self.codes.contains(code);
        let missing: Vec<Code> = LIMITS.into_iter().filter(is_missing).collect();
        self.codes.extend(missing);
        let mut by_status = BTreeMap::<u16, Vec<Code>>::new();
        for code in &self.codes {
            by_status.entry(code.status()).or_default().push(*code);
        }
        let problem = self.reference::<Problem>();
        let mut described = self.described.response("200", self.answer.build());
        for (status, codes) in by_status {
            let response = refusal(&problem, &codes);
            described = described.response(status.to_string(), response);
        }
        paths.add_path_operation(self.path, vec![self.method], described.build());
        schemas.extend(self.schemas);
    }

    fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        reference::<T>(&mut self.schemas)
    }
}

fn reference<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}

/// What is in a path must be given, what is in a query may.
fn parameter<T: ToSchema>(
    name: &str,
    place: ParameterIn,
    schemas: &mut Vec<(String, RefOr<Schema>)>,
) -> ParameterBuilder {
    let required = match place {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .schema(Some(reference::<T>(schemas)))
}

/// A status with all codes that it can stand for. They are in `x-codes` too, for programs.
fn refusal(problem: &RefOr<Schema>, codes: &[Code]) -> Response {
    let lines = codes.iter().map(|code| format!("`{}`: {}.", problems::name(*code), code.title()));
    let examples = codes.iter().map(|code| {
        let example = ExampleBuilder::new().value(Some(problems::example(*code))).build();
        (problems::name(*code), example)
    });
    let content =
        ContentBuilder::new().schema(Some(problem.clone())).examples_from_iter(examples).build();
    let names = codes.iter().map(|code| problems::name(*code)).collect::<Vec<_>>();
    let response = ResponseBuilder::new()
        .description(lines.collect::<Vec<_>>().join(" "))
        .content("application/problem+json", content)
        .header("Cache-Control", no_store())
        .extensions(Some(ExtensionsBuilder::new().add("x-codes", names).build()));
    let response = if codes.contains(&Code::UnknownCaller) {
        response.header("WWW-Authenticate", header("The scheme that TCP wants.", "Bearer"))
    } else {
        response
    };
    let response = if codes.iter().any(|code| LIMITS.contains(code)) {
        let seconds = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
        let seconds = HeaderBuilder::new()
            .schema(Some(Schema::from(seconds.build())))
            .description(Some("After how many seconds to try again, where that is known."));
        response.header("Retry-After", seconds.build())
    } else {
        response
    };
    response.build()
}

fn no_store() -> utoipa::openapi::header::Header {
    header("Nothing of this is for a cache.", "no-store")
}

fn header(description: &str, value: &str) -> utoipa::openapi::header::Header {
    let text =
        ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).enum_values(Some([value]));
    HeaderBuilder::new()
        .schema(Some(Schema::from(text.build())))
        .description(Some(description))
        .build()
}
