//! The example programs, carried in the binary, so that the local stack works wherever it is started.

use std::fs;
use std::path::{Path, PathBuf};

const FILES: [(&str, &str); 3] = [
    ("app-server/main.py", include_str!("../../../examples/app-server/main.py")),
    ("soc/main.py", include_str!("../../../examples/soc/main.py")),
    ("mock/main.py", include_str!("../../../examples/mock/main.py")),
];

/// A realistic request for `soc`.
pub const SOC_REQUEST: &str = include_str!("../../../examples/soc/request.json");

/// The apis that the programs serve.
pub const APIS: [&str; 2] = ["soc", "mock"];

/// Writes the programs below `directory`; gives the one to run, which picks the others by a request's api.
pub fn write(directory: &Path) -> std::io::Result<PathBuf> {
    for (name, content) in FILES {
        let file = directory.join(name);
        fs::create_dir_all(file.parent().expect("every program is in a folder"))?;
        fs::write(file, content)?;
    }
    Ok(directory.join("app-server/main.py"))
}
