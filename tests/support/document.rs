use std::sync::LazyLock;

use bcrlapi_api::Route;
use http::Method;
use jsonschema::Draft;
use serde_json::{Map, Value, json};

use crate::Reply;

/// What the gateway and HTTP itself add to every answer.
const ADDED: [&str; 4] = ["content-length", "content-type", "date", "x-amzn-requestid"];

/// `infra/openapi.yaml`.
#[derive(Debug)]
pub struct Document(Value);

impl Document {
    /// The one there is.
    pub fn get() -> &'static Self {
        static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
            let yaml = include_str!("../../infra/openapi.yaml");
            Document(serde_norway::from_str(yaml).expect("the document is YAML"))
        });
        &DOCUMENT
    }

    /// All of it.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// What the document has of a route.
    pub fn operation(&self, route: Route) -> &Value {
        &self.0["paths"][route.template()][route.method().as_str().to_lowercase()]
    }

    /// What is meant, where it stands elsewhere in the document.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let pointer = reference.strip_prefix('#').expect("references stay in the document");
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// What is wrong with a value of ours by a schema of the document; nothing where it fits. The document leaves room
    /// for what a later version adds; what this version says has to be in it.
    pub fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        self.errors_with(schema, value, strict)
    }

    /// What is wrong with a value for a client that goes by the document as it is.
    pub fn client_errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        self.errors_with(schema, value, |_| ())
    }

    fn errors_with(&self, schema: &Value, value: &Value, change: fn(&mut Map<String, Value>)) -> Vec<String> {
        let mut whole = draft4(schema, change);
        whole["components"] = json!({"schemas": draft4(&self.0["components"]["schemas"], change)});
        let options = jsonschema::options().with_draft(Draft::Draft4).should_validate_formats(true);
        let validator = options.build(&whole).unwrap_or_else(|error| panic!("{error} in {schema}"));
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// Checks that a value fits a schema of the document.
    #[track_caller]
    pub fn assert_fits(&self, schema: &Value, value: &Value, what: &str) {
        let errors = self.errors(schema, value);
        assert!(errors.is_empty(), "{what}: {errors:#?} in {value}");
    }

    /// Checks that an answer is one that the document has: status, headers, media type and body.
    #[track_caller]
    pub(crate) fn assert_answers(&self, method: &Method, path: &str, reply: &Reply) {
        let route = Route::ALL.into_iter().find(|route| route.method() == *method && fits(route.template(), path));
        let what = format!("{} to {method} {path}", reply.status);
        let Some(route) = route else {
            assert!([403, 404, 405, 413].contains(&reply.status.as_u16()), "{what}");
            if method != Method::HEAD {
                self.assert_fits(&json!({"$ref": "#/components/schemas/Problem"}), &reply.json(), &what);
            }
            return;
        };
        let response = self.resolve(&self.operation(route)["responses"][reply.status.as_str()]);
        assert!(response.is_object(), "the document does not have {what}");
        self.assert_headers(&response["headers"], reply, &what);
        match response["content"].as_object() {
            None => assert!(reply.body.is_empty(), "{what} has a body"),
            Some(content) => {
                let media_type = reply.header("content-type");
                let content = content.get(media_type).unwrap_or_else(|| panic!("{what} is {media_type}"));
                self.assert_fits(&content["schema"], &reply.json(), &what);
            }
        }
    }

    fn assert_headers(&self, documented: &Value, reply: &Reply, what: &str) {
        let documented = documented.as_object().expect("every answer has headers");
        for (name, header) in documented {
            let header = self.resolve(header);
            let Some(value) = reply.headers.get(name) else {
                assert_ne!(header["required"], true, "{what} has no {name}");
                continue;
            };
            let text = value.to_str().expect("the header is readable");
            let value = match self.resolve(&header["schema"])["type"].as_str() {
                Some("integer") => text.parse::<i64>().map_or(Value::Null, Value::from),
                _ => Value::from(text),
            };
            self.assert_fits(&header["schema"], &value, &format!("{name} of {what}"));
        }
        for name in reply.headers.keys().map(http::HeaderName::as_str).filter(|name| !ADDED.contains(name)) {
            let is_documented = documented.keys().any(|documented| documented.eq_ignore_ascii_case(name));
            assert!(is_documented, "the document does not have {name} of {what}");
        }
    }
}

/// A schema of `OpenAPI` 3.0 as JSON Schema writes it: the two differ in how null is allowed. `change` is given each part
/// first.
fn draft4(schema: &Value, change: fn(&mut Map<String, Value>)) -> Value {
    match schema {
        Value::Object(members) => {
            let mut converted: Map<_, _> =
                members.iter().map(|(name, member)| (name.clone(), draft4(member, change))).collect();
            change(&mut converted);
            if converted.remove("nullable") == Some(Value::Bool(true)) {
                converted["type"] = json!([converted["type"], "null"]);
                if let Some(words) = converted.get_mut("enum").and_then(Value::as_array_mut) {
                    words.push(Value::Null);
                }
            }
            Value::Object(converted)
        }
        Value::Array(items) => items.iter().map(|item| draft4(item, change)).collect(),
        other => other.clone(),
    }
}

/// Without the room for later versions: no other words, no other fields. `.ci/strict.py` does the same.
fn strict(schema: &mut Map<String, Value>) {
    if let Some(words) = schema.remove("x-extensible-enum") {
        schema.insert("enum".to_owned(), words);
    }
    if schema.contains_key("properties") {
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}

/// Whether a path is one of the template's.
fn fits(template: &str, path: &str) -> bool {
    let is_same = |(wanted, given): (&str, &str)| wanted == given || (wanted.starts_with('{') && !given.is_empty());
    template.split('/').count() == path.split('/').count() && template.split('/').zip(path.split('/')).all(is_same)
}
