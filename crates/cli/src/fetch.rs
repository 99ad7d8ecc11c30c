//! A result, from the API to where it is wanted, in bounded memory.

use std::io::{self, BufWriter, IsTerminal, Read, Seek, SeekFrom, Write};

use anyhow::Context;
use bcrlapi::Client;
use bcrlapi_domain::JobId;
use tempfile::SpooledTempFile;

use crate::output::{CANNOT_WRITE, NewFile, Output, say, unless_closed};
use crate::table::{self, CsvForm};

/// What is larger waits on the disk.
const SPOOL_MAX_BYTES: usize = 8 << 20;

/// What is made of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    AsItIs,
    Csv(CsvForm),
}

impl Form {
    pub(crate) fn of(csv: bool, excel: bool) -> Self {
        match (csv, excel) {
            (_, true) => Self::Csv(CsvForm::Excel),
            (true, false) => Self::Csv(CsvForm::Plain),
            (false, false) => Self::AsItIs,
        }
    }
}

/// Fetches a result and writes it to the file, or to standard output. Nothing of it is shown before all of it is there
/// and is what the API has sent.
pub(crate) async fn fetch(client: &Client, id: JobId, form: Form, output: &Output) -> anyhow::Result<()> {
    match (form, &output.file) {
        (Form::AsItIs, Some(path)) => {
            let mut file = NewFile::create(path)?;
            let size = client.fetch_result(id, &mut file).await?;
            file.finish()?;
            say(&format!("{size} bytes written to {}", path.display()));
        }
        (Form::AsItIs, None) => {
            let mut spool = spool(client, id).await?;
            unless_closed(copy_to_stdout(&mut spool).context(CANNOT_WRITE))?;
        }
        (Form::Csv(form), Some(path)) => {
            let mut spool = spool(client, id).await?;
            let mut file = BufWriter::new(NewFile::create(path)?);
            table::write(&mut spool, &mut file, form)?;
            file.into_inner().map_err(io::IntoInnerError::into_error).context("cannot write the file")?.finish()?;
            say(&format!("written to {}", path.display()));
        }
        (Form::Csv(form), None) => {
            let mut spool = spool(client, id).await?;
            let mut stdout = BufWriter::new(io::stdout().lock());
            let mut written = table::write(&mut spool, &mut stdout, form);
            if written.is_ok() {
                written = stdout.flush().context(CANNOT_WRITE);
            }
            unless_closed(written)?;
        }
    }
    Ok(())
}

/// The whole result, checked, to be read from its beginning.
async fn spool(client: &Client, id: JobId) -> anyhow::Result<SpooledTempFile> {
    let mut spool = SpooledTempFile::new(SPOOL_MAX_BYTES);
    client.fetch_result(id, &mut spool).await?;
    spool.rewind().context("cannot read the result again")?;
    Ok(spool)
}

/// Byte for byte; a person at a terminal gets a line's end too.
fn copy_to_stdout(spool: &mut SpooledTempFile) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    io::copy(spool, &mut stdout)?;
    if stdout.is_terminal() && !ends_with_newline(spool)? {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

fn ends_with_newline(spool: &mut SpooledTempFile) -> io::Result<bool> {
    let mut last = [0];
    if spool.stream_position()? == 0 {
        return Ok(false);
    }
    spool.seek(SeekFrom::End(-1))?;
    spool.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
