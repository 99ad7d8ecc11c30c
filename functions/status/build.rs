//! Makes JSON of `infra/openapi.yaml`, so that the function has nothing to parse.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const DOCUMENT: &str = "../../infra/openapi.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    let document: serde_json::Value = serde_norway::from_str(&fs::read_to_string(DOCUMENT)?)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("openapi.json"), document.to_string())?;
    Ok(())
}
