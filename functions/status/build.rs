//! Makes JSON of `infra/openapi.yaml`, so that the function has nothing to parse, with a place for the URL that it is
//! served at.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// Stands for that URL, also in lib.rs.
const BASE_URL: &str = "{base_url}";
const DOCUMENT: &str = "../../infra/openapi.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    println!("cargo::rustc-env=OPENAPI_BASE_URL={BASE_URL}");
    let mut document: serde_json::Value = serde_norway::from_str(&fs::read_to_string(DOCUMENT)?)?;
    document["servers"] = serde_json::json!([{"url": BASE_URL}]);
    fs::write(Path::new(&env::var("OUT_DIR")?).join("openapi.json"), document.to_string())?;
    Ok(())
}
