//! The lab's command: what can be seen of it before a job is taken for it.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// How much of a program's beginning the kernel looks at.
const HEAD_BYTES: u64 = 256;
const ELF: &[u8] = b"\x7fELF";
/// Where the two bytes stand that name an ELF file's kind of processor.
const ELF_MACHINE: std::ops::Range<usize> = 18..20;
/// Programs whose first argument, if it is no option, is the file of a script.
const INTERPRETERS: [&str; 10] =
    ["bash", "dash", "julia", "node", "perl", "python", "python2", "python3", "ruby", "sh"];

/// Why a command cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum NotStartable {
    /// There is no such file.
    #[error("there is no such file; name the program by a path or put it on the PATH")]
    NoSuchProgram,
    /// It is there, and not to be executed.
    #[error("{0} is not executable by this user; chmod +x, unless its file system is mounted noexec")]
    NotExecutable(PathBuf),
    /// A script without a word on what runs it.
    #[error(
        "{0} has no #! line; call it as sh {0}, or whatever else runs it, or begin it with a line such as #!/bin/sh"
    )]
    NoInterpreterLine(PathBuf),
    /// A script whose first line ends as lines do on Windows.
    #[error("the #! line of {script} ends in CRLF, so that {interpreter:?} is looked for; save it with LF line ends")]
    WindowsLineEnd {
        /// The script.
        script: PathBuf,
        /// The name with the carriage return.
        interpreter: String,
    },
    /// A script whose interpreter is not there.
    #[error("the #! line of {script} names {interpreter}, which is not there or not executable")]
    NoInterpreter {
        /// The script.
        script: PathBuf,
        /// What it names.
        interpreter: String,
    },
    /// The interpreter is there, the script is not.
    #[error("there is no file {script} for {interpreter} to run")]
    NoScript {
        /// What is to run it.
        interpreter: String,
        /// The argument that should be a file.
        script: String,
    },
    /// A program for another kind of processor.
    #[error("{0} is a program for another kind of processor")]
    OtherProcessor(PathBuf),
    /// Whatever the system says.
    #[error("{0}")]
    System(io::Error),
}

/// Looks for a program as the system does, and at all that the system would need to start it; gives
/// its path.
pub(crate) fn find(command: &[String]) -> Result<PathBuf, NotStartable> {
    let (name, arguments) = command.split_first().ok_or(NotStartable::NoSuchProgram)?;
    let path = resolve(name)?;
    check_head(&path)?;
    check_script(name, arguments)?;
    Ok(path)
}

/// A path as it is, a name on the `PATH`: there, the first one that can be executed.
fn resolve(name: &str) -> Result<PathBuf, NotStartable> {
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        let folders = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&folders).map(|folder| folder.join(name)).collect()
    };

    let mut not_executable = None;
    for path in candidates.into_iter().filter(|path| path.is_file()) {
        if is_executable(&path) {
            return Ok(path);
        }
        not_executable.get_or_insert(path);
    }
    Err(not_executable.map_or(NotStartable::NoSuchProgram, NotStartable::NotExecutable))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// Whether the kernel, or who it asks, knows how to run a file that begins like this.
fn check_head(path: &Path) -> Result<(), NotStartable> {
    let Some(head) = read_head(path).map_err(NotStartable::System)? else { return Ok(()) };
    if let Some(line) = head.strip_prefix(b"#!") {
        return check_interpreter(path, line);
    }
    if head.starts_with(ELF) {
        return check_machine(path, &head);
    }
    // Java, Wine and others may have told the kernel about files of theirs. Text is nobody's.
    let is_text = !head.contains(&0);
    if is_text || !has_foreign_formats() {
        return Err(NotStartable::NoInterpreterLine(path.to_owned()));
    }
    Ok(())
}

/// The first bytes; `None` where the file may be executed and not read.
fn read_head(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        opened => opened?,
    };
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(Some(head))
}

fn check_interpreter(script: &Path, after_mark: &[u8]) -> Result<(), NotStartable> {
    let line = after_mark.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let script = script.to_owned();
    // The carriage return belongs to the last word, also where that is an argument.
    if let Some(line) = line.strip_suffix('\r') {
        let last_word = line.split_ascii_whitespace().last().unwrap_or_default();
        return Err(NotStartable::WindowsLineEnd { script, interpreter: format!("{last_word}\r") });
    }

    let mut words = line.split_ascii_whitespace();
    let Some(interpreter) = words.next() else { return Err(NotStartable::NoInterpreterLine(script)) };
    if !is_executable(Path::new(interpreter)) {
        return Err(NotStartable::NoInterpreter { script, interpreter: interpreter.to_owned() });
    }

    let is_env = Path::new(interpreter).file_name().is_some_and(|name| name == "env");
    let named = words.find(|word| !word.starts_with('-') && !word.contains('='));
    if let Some(named) = named.filter(|_| is_env)
        && resolve(named).is_err()
    {
        return Err(NotStartable::NoInterpreter { script, interpreter: named.to_owned() });
    }
    Ok(())
}

fn check_machine(path: &Path, head: &[u8]) -> Result<(), NotStartable> {
    let own = read_head(Path::new("/proc/self/exe")).ok().flatten().unwrap_or_default();
    let is_other = match (head.get(ELF_MACHINE), own.get(ELF_MACHINE)) {
        (Some(machine), Some(own)) => machine != own,
        _ => false,
    };
    // A processor may run programs of its smaller siblings, and an emulator anything.
    let may_run = !is_other || has_foreign_formats() || is_sibling(head.get(ELF_MACHINE));
    if may_run { Ok(()) } else { Err(NotStartable::OtherProcessor(path.to_owned())) }
}

/// The 32-bit programs that 64-bit kernels run: x86 and ARM.
fn is_sibling(machine: Option<&[u8]>) -> bool {
    matches!(machine, Some([3 | 40, 0]))
}

/// Whether somebody has told the kernel how to run other kinds of files (`binfmt_misc`).
fn has_foreign_formats() -> bool {
    const OWN_FILES: usize = 2;
    fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|formats| formats.count() > OWN_FILES)
}

/// Where an interpreter is given a script, the script should be there.
fn check_script(name: &str, arguments: &[String]) -> Result<(), NotStartable> {
    let interpreter = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_python = interpreter.strip_prefix("python3.").is_some_and(|minor| minor.parse::<u8>().is_ok());
    if !is_python && !INTERPRETERS.contains(&interpreter) {
        return Ok(());
    }
    let Some(script) = arguments.first().filter(|argument| !argument.starts_with('-')) else { return Ok(()) };

    // Shells look on the PATH as well.
    let is_there = Path::new(script).exists() || resolve(script).is_ok();
    let interpreter = name.to_owned();
    if is_there { Ok(()) } else { Err(NotStartable::NoScript { interpreter, script: script.clone() }) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program of this content and mode; what is said of it.
    fn said(content: &[u8], mode: u32) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match find(&[path.display().to_string()]) {
            Ok(found) => {
                assert_eq!(found, path);
                "ok".to_owned()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_the_system_can_start_is_found() {
        assert_eq!(said(b"#!/bin/sh\necho\n", 0o755), "ok");
        assert_eq!(said(b"#! /usr/bin/env -S LANG=C sh -e\n", 0o755), "ok");
        assert_eq!(said(&fs::read("/proc/self/exe").unwrap(), 0o755), "ok");
        assert!(find(&["sh".to_owned(), "-c".to_owned(), "echo".to_owned()]).is_ok());
    }

    #[test]
    fn what_it_cannot_start_is_named() {
        for (content, mode, reason) in [
            (&b"#!/bin/sh\n"[..], 0o644, "not executable"),
            (b"#!/bin/sh\r\necho\r\n", 0o755, "CRLF"),
            (b"#!/usr/bin/env python3\r\n", 0o755, "CRLF"),
            (b"#!/no/such/interpreter\n", 0o755, "/no/such/interpreter, which is not there"),
            (b"#!/usr/bin/env no-such-interpreter\n", 0o755, "names no-such-interpreter"),
            (b"echo 1\n", 0o755, "no #! line"),
            (b"", 0o755, "no #! line"),
        ] {
            let said = said(content, mode);
            assert!(said.contains(reason), "{said}");
        }
        let foreign = [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0"[..], &[0xf7, 0xf7]].concat();
        if !has_foreign_formats() {
            assert!(said(&foreign, 0o755).contains("another kind of processor"));
        }
    }

    #[test]
    fn a_slip_in_the_name_is_seen() {
        let words = |command: &[&str]| command.iter().map(ToString::to_string).collect::<Vec<_>>();
        let missing = find(&words(&["no-such-program"])).unwrap_err();
        assert!(matches!(missing, NotStartable::NoSuchProgram), "{missing}");
        let slip = find(&words(&["sh", "no-such-script.sh"])).unwrap_err();
        assert!(slip.to_string().contains("no file no-such-script.sh for sh"), "{slip}");
    }
}
