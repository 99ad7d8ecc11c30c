//! The example programs, carried in the binary, so that the local stack works wherever it is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;

const FILES: [(&str, &str); 3] = [
    ("app-server/main.py", include_str!("../../../examples/app-server/main.py")),
    ("soc/main.py", include_str!("../../../examples/soc/main.py")),
    ("mock/main.py", include_str!("../../../examples/mock/main.py")),
];

/// A realistic request for `soc`.
pub const SOC_REQUEST: &str = include_str!("../../../examples/soc/request.json");

/// The apis that the programs serve.
pub const APIS: [&str; 2] = ["soc", "mock"];

/// Fails, and says what to do, where there is no python3 to run the programs.
pub fn check_python() -> anyhow::Result<()> {
    let run = Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = run.is_ok_and(|status| status.success());
    ensure!(is_there, "python3 does not run here; install it (or, with `up`, bring your own worker: --no-worker)");
    Ok(())
}

/// Writes the programs below `directory`; gives the one to run, which picks the others by a request's api.
pub fn write(directory: &Path) -> std::io::Result<PathBuf> {
    for (name, content) in FILES {
        let file = directory.join(name);
        fs::create_dir_all(file.parent().expect("every program is in a folder"))?;
        fs::write(file, content)?;
    }
    Ok(directory.join("app-server/main.py"))
}
